package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"dialer"
)

const (
	maxStreams   = 200              // event streams at once
	streamBatch  = 500              // events read at once
	streamBeat   = 15 * time.Second // a comment when nothing happens, so that proxies keep the stream
	streamWrite  = 10 * time.Second // a reader that takes longer is dropped; it resumes by Last-Event-ID
	maxEventPage = 1000
)

// EventView is one thing that happened.
type EventView struct {
	Seq      int64             `json:"seq" doc:"Grows in the order of commits; resume after it"`
	Type     string            `json:"type" doc:"noun.verb" example:"call.ended"`
	At       time.Time         `json:"at"`
	Campaign dialer.CampaignID `json:"campaign_id,omitempty"`
	Lead     dialer.LeadID     `json:"lead_id,omitempty"`
	Call     dialer.CallID     `json:"call_id,omitempty"`
	Agent    dialer.AgentID    `json:"agent_id,omitempty"`
	Data     any               `json:"data" doc:"What the type tells; see the glossary of facts"`
}

func viewEvent(e dialer.Event) EventView {
	v := EventView{
		Seq: e.Seq, At: e.At.UTC().Truncate(time.Millisecond),
		Campaign: e.Campaign, Lead: e.Lead, Call: e.Call, Agent: e.Agent, Data: e.Fact,
	}
	if e.Fact != nil {
		v.Type = e.Fact.Kind()
	}
	return v
}

// EventPage is a part of the log.
type EventPage struct {
	Items []EventView `json:"items"`
	After int64       `json:"after" doc:"Pass as after for what follows"`
}

func (s *Server) routeEvents() {
	route(s, huma.Operation{
		OperationID: "list-events", Method: http.MethodGet, Path: "/v1/events",
		Summary: "Read the event log", Tags: []string{"events"},
		Description: "Everything that happened, in the order of commits. With wait_s the answer waits for the next event.",
	}, func(ctx context.Context, in *struct {
		After int64 `query:"after" minimum:"0" doc:"The seq after which to begin; 0 is the beginning"`
		Limit int   `query:"limit" minimum:"1" maximum:"1000" doc:"Most events; 100 when absent"`
		Wait  int   `query:"wait_s" minimum:"0" maximum:"30" doc:"Seconds to wait when there is none"`
	}) (*bodyOf[EventPage], error) {
		limit := Paging{Limit: in.Limit}.limit()
		if in.Wait > 0 {
			waiting, stop := context.WithTimeout(ctx, time.Duration(in.Wait)*time.Second)
			err := s.events.WaitEvents(waiting, in.After)
			timedOut := waiting.Err() != nil
			stop()
			if err != nil && !timedOut {
				return nil, err
			}
		}
		found, err := s.events.ReadEvents(ctx, in.After, limit)
		if err != nil {
			return nil, err
		}
		out := EventPage{Items: make([]EventView, 0, len(found)), After: in.After}
		for _, e := range found {
			out.Items = append(out.Items, viewEvent(e))
			out.After = e.Seq
		}
		return &bodyOf[EventPage]{out}, nil
	})
	route(s, huma.Operation{
		OperationID: "stream-events", Method: http.MethodGet, Path: "/v1/events/stream",
		Summary: "Follow the event log", Tags: []string{"events"},
		Description: "Server-sent events: id is the seq, event the type, data the event. A client that was cut off sends Last-Event-ID and misses nothing. Without it and without after, the stream begins now.",
		Responses: map[string]*huma.Response{"200": {
			Description: "A stream without end",
			Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: "string"}}},
		}},
	}, func(ctx context.Context, in *struct {
		LastID   string            `header:"Last-Event-ID" maxLength:"20" doc:"The id of the last event seen"`
		After    string            `query:"after" maxLength:"20" doc:"The same for a first request"`
		Campaign dialer.CampaignID `query:"campaign_id" maxLength:"40" doc:"Only events of this campaign"`
	}) (*huma.StreamResponse, error) {
		after, err := s.streamStart(ctx, in.LastID, in.After)
		if err != nil {
			return nil, err
		}
		select {
		case s.streams <- struct{}{}:
		default:
			return nil, dialer.Errorf(dialer.Unavailable, "%d event streams are open, which is the most: use one stream for many purposes", maxStreams)
		}
		return &huma.StreamResponse{Body: func(hctx huma.Context) {
			defer func() { <-s.streams }()
			r, w := humachi.Unwrap(hctx)
			// Whatever ends it, the client comes back with Last-Event-ID.
			if err := s.stream(r.Context(), w, after, in.Campaign); err != nil {
				s.log.Debug("an event stream ended", "request", requestURN(r.Context()), "err", err)
			}
		}}, nil
	})
}

// streamStart returns the seq after which a stream begins.
func (s *Server) streamStart(ctx context.Context, lastID, after string) (int64, error) {
	place := "header.Last-Event-ID"
	text := lastID
	if text == "" {
		text, place = after, "query.after"
	}
	if text == "" {
		return s.store.LastEvent(ctx)
	}
	seq, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seq < 0 {
		p := refuse(http.StatusUnprocessableEntity, "%s: not the id of an event", place)
		p.Errors = []Fault{{Location: place, Message: "not the id of an event", Value: text}}
		return 0, p
	}
	return seq, nil
}

func (s *Server) stream(ctx context.Context, w http.ResponseWriter, after int64, only dialer.CampaignID) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(s.closing, stop)()
	who := callerOf(ctx)

	rc := http.NewResponseController(w)
	rc.SetReadDeadline(time.Time{}) // the server's own would end the stream
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	fmt.Fprint(w, "retry: 2000\n\n")
	if err := rc.Flush(); err != nil {
		return err
	}
	for {
		found, err := s.events.ReadEvents(ctx, after, streamBatch)
		if err != nil {
			return err
		}
		if len(found) > 0 {
			rc.SetWriteDeadline(time.Now().Add(streamWrite))
			for _, e := range found {
				after = e.Seq
				if only != "" && e.Campaign != only {
					continue
				}
				data, err := json.Marshal(viewEvent(e))
				if err != nil {
					return err
				}
				if _, err := fmt.Fprintf(w, "id: %d\nevent: %s\ndata: %s\n\n", e.Seq, e.Fact.Kind(), data); err != nil {
					return err
				}
			}
			if err := rc.Flush(); err != nil {
				return err
			}
			continue
		}
		waiting, done := context.WithTimeout(ctx, streamBeat)
		err = s.events.WaitEvents(waiting, after)
		idle := waiting.Err() != nil && ctx.Err() == nil
		done()
		switch {
		case idle:
			if !s.still(ctx, who) {
				return nil
			}
			rc.SetWriteDeadline(time.Now().Add(streamWrite))
			if _, err := fmt.Fprint(w, ": still here\n\n"); err != nil {
				return err
			}
			if err := rc.Flush(); err != nil {
				return err
			}
		case err != nil:
			return err
		}
	}
}

// still reports whether a caller may go on: the session is open, the key not
// revoked, the role as it was.
func (s *Server) still(ctx context.Context, who caller) bool {
	if who.key == "" {
		return s.sessions.alive(who, s.now())
	}
	user, _, err := s.store.APIKey(ctx, who.key)
	return err == nil && user.Role == who.user.Role && user.Agent == who.user.Agent
}
