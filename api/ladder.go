package api

import (
	"context"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"dialer"
	"dialer/telephony"
)

// Ladders are the SIP of calls, as telephony/ladder keeps it.
type Ladders interface {
	// Of returns the ladder of a call, up or over; it has no messages when
	// nothing is kept of the call.
	Of(ctx context.Context, call dialer.CallID) (telephony.Ladder, error)
	// OfStation returns the ladders of the last calls to an agent's phone, newest
	// first.
	OfStation(ctx context.Context, station string, limit int) ([]telephony.Ladder, error)
	// Lost counts what could not be kept.
	Lost() int64
}

// LadderView is the SIP of one call.
type LadderView struct {
	Call     dialer.CallID `json:"call_id"`
	Messages []SIPView     `json:"messages" doc:"In the order of the wire"`
	LeftOut  int           `json:"left_out,omitempty" doc:"So many were not kept, after the first left_out_after"`
	Head     int           `json:"left_out_after,omitempty"`
}

// SIPView is one SIP message.
type SIPView struct {
	At        time.Time           `json:"at"`
	OffsetMS  float64             `json:"offset_ms" doc:"Since the first message"`
	Direction string              `json:"direction" enum:"in,out"`
	Transport telephony.Transport `json:"transport"`
	Local     string              `json:"local" doc:"Our address"`
	Remote    string              `json:"remote" doc:"The peer's address"`
	First     string              `json:"first_line"`
	Again     bool                `json:"retransmission,omitempty"`
	Text      string              `json:"text" doc:"The message; credentials, keys of SRTP and key presses are masked"`
}

func viewLadder(l telephony.Ladder) LadderView {
	v := LadderView{Call: l.Call, LeftOut: l.LeftOut, Messages: []SIPView{}}
	if l.LeftOut > 0 {
		v.Head = l.Head
	}
	for _, r := range l.Rungs() {
		direction := "in"
		if r.Sent {
			direction = "out"
		}
		v.Messages = append(v.Messages, SIPView{
			At: r.At.UTC(), OffsetMS: float64(r.At.Sub(l.Start()).Microseconds()) / 1000, Direction: direction, Transport: r.Transport,
			Local: r.Local.String(), Remote: r.Remote.String(), First: r.First, Again: r.Again, Text: r.Text,
		})
	}
	return v
}

// LadderFormat chooses between JSON and text.
type LadderFormat struct {
	Format string `query:"format" enum:"json,text" doc:"json when absent, unless the Accept header asks for text/plain"`
	Accept string `header:"Accept" maxLength:"500"`
}

func (f LadderFormat) text() bool {
	return f.Format == "text" || f.Format == "" && strings.HasPrefix(f.Accept, "text/plain")
}

// shownLadders is how many calls to an agent's phone are shown.
const shownLadders = 5

func (s *Server) routeLadders() {
	tags := []string{"calls"}
	answers := func(schema *huma.Schema) map[string]*huma.Response {
		return map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{
			"application/json": {Schema: schema}, "text/plain": {Schema: &huma.Schema{Type: huma.TypeString}},
		}}}
	}
	schemas := s.api.OpenAPI().Components.Schemas
	route(s, huma.Operation{
		OperationID: "get-call-sip", Method: http.MethodGet, Path: "/v1/calls/{id}/sip", Summary: "The SIP of a call: a ladder", Tags: tags,
		Description: "Of calls that are up, and of those that are over for as long as sip.ladder_keep says. As text it is drawn: who sent what to whom, then the messages.",
		Responses:   answers(schemas.Schema(reflect.TypeFor[LadderView](), true, "LadderView")),
	}, s.callLadder)
	route(s, huma.Operation{
		OperationID: "get-agent-sip", Method: http.MethodGet, Path: "/v1/agents/{id}/sip", Summary: "The SIP of the last calls to an agent's phone", Tags: []string{"agents"},
		Description: "Newest first, at most 5: why does the phone not ring?",
		Responses:   answers(schemas.Schema(reflect.TypeFor[Page[LadderView]](), true, "PageLadderView")),
	}, s.agentLadders)
}

// errNoLadders is told where the dialer was started without them.
func errNoLadders() error {
	return dialer.Errorf(dialer.NotFound, "no SIP is kept: sip.ladder_keep is 0 in the configuration")
}

func (s *Server) callLadder(ctx context.Context, in *struct {
	CallPath
	LadderFormat
}) (*huma.StreamResponse, error) {
	if s.ladders == nil {
		return nil, errNoLadders()
	}
	l, err := s.ladders.Of(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if len(l.Messages) == 0 {
		if _, err := s.store.GetCall(ctx, in.ID); err != nil {
			return nil, err
		}
		return nil, dialer.Errorf(dialer.NotFound, "no SIP is kept of the call %s: it was not sent, or it is longer ago than sip.ladder_keep", in.ID)
	}
	return ladderAnswer(in.text(), viewLadder(l), l), nil
}

func (s *Server) agentLadders(ctx context.Context, in *struct {
	AgentPath
	LadderFormat
}) (*huma.StreamResponse, error) {
	if s.ladders == nil {
		return nil, errNoLadders()
	}
	a, err := s.store.GetAgent(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	station := a.Extension
	if user, _, ok := strings.Cut(strings.TrimPrefix(a.URI, "sip:"), "@"); ok {
		station = user // the phone's own name
	}
	all, err := s.ladders.OfStation(ctx, station, shownLadders)
	if err != nil {
		return nil, err
	}
	page := Page[LadderView]{Items: []LadderView{}}
	for _, l := range all {
		page.Items = append(page.Items, viewLadder(l))
	}
	return ladderAnswer(in.text(), page, all...), nil
}

// ladderAnswer is one text or one JSON.
func ladderAnswer(text bool, view any, ladders ...telephony.Ladder) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		if !text {
			hctx.SetHeader("Content-Type", "application/json")
			hctx.SetStatus(http.StatusOK)
			jsonFormat.Marshal(hctx.BodyWriter(), view) // the client is gone when this fails
			return
		}
		hctx.SetHeader("Content-Type", "text/plain; charset=utf-8")
		hctx.SetStatus(http.StatusOK)
		if len(ladders) == 0 {
			hctx.BodyWriter().Write([]byte("no call to this phone is kept\n"))
		}
		for _, l := range ladders {
			hctx.BodyWriter().Write([]byte(l.Text() + "\n")) // the client is gone when this fails
		}
	}}
}
