package campaign

import (
	"context"
	"time"

	"dialer"
	"dialer/compliance"
)

// A hopper holds the leads that the runner has claimed and may call next. Only
// the runner's goroutine touches it.
type hopper struct {
	leads   []Lead
	release []dialer.LeadID // to be given back
	emptyAt time.Time       // when the store had no more
}

// The size of the hopper, per agent and in all.
const (
	hopperPerAgent = 4
	hopperLeast    = 10
	hopperMost     = 500
	// claimPause is how long after an empty claim the next one is made.
	claimPause = time.Second
)

func (h *hopper) pop() Lead {
	lead := h.leads[0]
	h.leads = h.leads[1:]
	return lead
}

// putBack takes a lead whose attempt did not begin: it is next again.
func (h *hopper) putBack(lead Lead) { h.leads = append([]Lead{lead}, h.leads...) }

// empty makes all leads ready to be given back.
func (h *hopper) empty() {
	for _, lead := range h.leads {
		h.release = append(h.release, lead.ID)
	}
	h.leads = nil
}

// fill tops the hopper up for a number of agents. What the rules forbid now is
// put aside until they allow it.
func (r *runner) fill(ctx context.Context, agents int, now time.Time) error {
	h := &r.hopper
	size := min(max(hopperLeast, hopperPerAgent*agents), hopperMost)
	if len(h.leads) > size/2 || now.Sub(h.emptyAt) < claimPause {
		return nil
	}
	claimed, err := r.claim(ctx, size-len(h.leads), "", now)
	if err != nil {
		return err
	}
	if claimed == 0 {
		h.emptyAt = now
	}
	return nil
}

// claim takes up to n leads, of an own callback's agent or of nobody's, and asks
// the rules about each. It returns how many the store had.
func (r *runner) claim(ctx context.Context, n int, owner dialer.AgentID, now time.Time) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	c := r.current()
	leads, err := r.s.cfg.Store.ClaimLeads(ctx, r.id, n, owner, now)
	if err != nil {
		return 0, err
	}
	numbers := make([]dialer.Number, len(leads))
	for i, lead := range leads {
		numbers[i] = lead.Number
	}
	forbidden, err := r.s.cfg.Store.DNCOf(ctx, r.id, numbers)
	if err != nil {
		for _, lead := range leads {
			r.hopper.release = append(r.hopper.release, lead.ID)
		}
		return len(leads), err
	}
	for i, lead := range leads {
		r.chances.claimed(lead.AnswerProbability)
		candidate := r.candidate(c, lead)
		candidate.OnDNC = forbidden[lead.Number]
		verdict := compliance.Check(candidate, now)
		if verdict.Allowed {
			if owner != "" {
				r.start(lead, r.ownMode(c))
			} else {
				r.hopper.leads = append(r.hopper.leads, lead)
			}
			continue
		}
		r.excluded(verdict)
		if err := r.s.cfg.Store.ExcludeLead(ctx, lead, verdict, now); err != nil {
			for _, rest := range leads[i:] {
				r.hopper.release = append(r.hopper.release, rest.ID)
			}
			return len(leads), err
		}
	}
	return len(leads), nil
}

// candidate is what the rules look at.
func (r *runner) candidate(c Campaign, lead Lead) compliance.Candidate {
	return compliance.Candidate{
		Number: lead.Number, Zone: lead.Zone, Hours: c.Settings.Hours,
		MaxPerDay: c.Settings.MaxPerDay, MaxAttempts: c.Settings.MaxAttempts,
		Attempts: lead.Attempts, Recent: lead.Recent,
	}
}

// giveUpLeads returns to the store what is to be given back.
func (r *runner) giveUpLeads(ctx context.Context) error {
	if len(r.hopper.release) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	if err := r.s.cfg.Store.ReleaseLeads(ctx, r.hopper.release); err != nil {
		return err
	}
	r.hopper.release = nil
	return nil
}
