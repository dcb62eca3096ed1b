package api

import (
	"context"
	"strings"
	"time"

	"dialer"
	"dialer/agents"
	"dialer/campaign"
)

// The wait for a disposition to be on disk.
const (
	keptWithin = 5 * time.Second
	keptPoll   = 10 * time.Millisecond
)

// dispose passes on what an agent says of a call, and returns when it is
// committed: what has been acknowledged outlives this process.
func (s *Server) dispose(ctx context.Context, id dialer.AgentID, c Command) error {
	if len(c.Note) > 4000 {
		return dialer.Fieldf("note", "has %d bytes, more than 4000", len(c.Note))
	}
	said := agents.Disposition{Code: c.Code, Note: c.Note, Callback: c.Callback, Own: c.Own}
	if err := s.checkDisposition(ctx, c.Call, said); err != nil {
		return err
	}
	if err := s.agents.Dispose(id, c.Call, said, c.Then); err != nil {
		return err
	}
	return s.kept(ctx, c.Call)
}

// checkDisposition refuses a word that the campaign does not know, and a
// callback without a time. Without the database the word is taken as it is: the
// call is over, and the agent must be able to go on.
func (s *Server) checkDisposition(ctx context.Context, id dialer.CallID, said agents.Disposition) error {
	call, err := s.store.GetCall(ctx, id)
	if err != nil {
		return nil
	}
	c, err := s.store.GetCampaign(ctx, call.Campaign)
	if err != nil {
		return nil
	}
	settings := c.Settings.Defaulted()
	d, ok := settings.Disposition(said.Code)
	switch {
	case !ok:
		return dialer.Fieldf("code", "%q is not a disposition of this campaign: use %s", clip(said.Code, 40), codes(settings.Dispositions))
	case d.Callback && said.Callback.IsZero():
		return dialer.Fieldf("callback_at", "is missing: say when the person is to be called again")
	case d.Callback && said.Callback.Before(s.now()):
		return dialer.Fieldf("callback_at", "%s has passed", said.Callback.UTC().Format(time.RFC3339))
	case !d.Callback && !said.Callback.IsZero():
		return dialer.Fieldf("callback_at", "does not go with %s, which is no callback", said.Code)
	}
	return nil
}

func codes(all []campaign.Disposition) string {
	words := make([]string, len(all))
	for i, d := range all {
		words[i] = d.Code
	}
	return strings.Join(words, ", ")
}

// kept waits until the call has its disposition in the store.
func (s *Server) kept(ctx context.Context, id dialer.CallID) error {
	ctx, cancel := context.WithTimeout(ctx, keptWithin)
	defer cancel()
	poll := time.NewTicker(keptPoll)
	defer poll.Stop()
	for {
		call, err := s.store.GetCall(ctx, id)
		if err == nil && call.Disposition != "" || dialer.CodeOf(err) == dialer.NotFound {
			return nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return dialer.Errorf(dialer.Unavailable,
				"the database does not answer: the disposition is held here and is saved when it does; say it again to be sure")
		}
	}
}
