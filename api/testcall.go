package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"dialer"
	"dialer/compliance"
	"dialer/telephony"
)

// TestCallSettings ask for a test call.
type TestCallSettings struct {
	To      string  `json:"to" maxLength:"40" doc:"The number to call" example:"+12025550143"`
	From    string  `json:"from" maxLength:"40" doc:"The caller ID, one that the carrier lets you use" example:"+12025550100"`
	Seconds float64 `json:"seconds,omitempty" minimum:"0.5" maximum:"10" doc:"How long the call is kept up when it is answered; 5 when absent"`
	Own     bool    `json:"own_phone,omitempty" doc:"The phone is your own: it may be called outside calling hours. Do-not-call lists hold all the same"`
}

// testHours are when a test may call a phone of which nobody says that it is his:
// the hours of 47 CFR 64.1200(c)(1), which are wider than a campaign's.
var testHours, always = mustHours("Mon-Sun 08:00-21:00"), mustHours("Mon-Sun 00:00-24:00")

func mustHours(s string) compliance.WeeklyHours {
	h, err := compliance.ParseHours(s)
	if err != nil {
		panic(err)
	}
	return h
}

func (s *Server) routeTestCall() {
	route(s, huma.Operation{
		OperationID: "test-trunk", Method: http.MethodPost, Path: "/v1/trunks/{id}/test",
		Summary: "Place a test call over a trunk", Tags: []string{"trunks"},
		Description: "Calls a number and says what happened, step by step; whoever answers hears silence. The answer comes when the call is " +
			"over, within a minute. One test call at a time. It is refused, as 409, for a number that is on any do-not-call list, and outside " +
			"08:00 to 21:00 where the number is. It is no part of any campaign; its SIP is at /v1/calls/{id}/sip.",
	}, s.testTrunk)
}

func (s *Server) testTrunk(ctx context.Context, in *struct {
	TrunkPath
	Body TestCallSettings
}) (*bodyOf[telephony.TestReport], error) {
	t, _, err := s.store.GetTrunk(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	to, err := compliance.ParseNumber(in.Body.To, "")
	if err != nil {
		return nil, fieldError("to", err)
	}
	from := dialer.Number(in.Body.From)
	switch {
	case !from.Valid():
		return nil, dialer.Fieldf("from", "is not a number in E.164, such as +12025550100")
	case !t.Enabled:
		return nil, dialer.Errorf(dialer.Conflict, "the trunk is disabled: enable it first")
	case !t.Allows(to):
		return nil, dialer.Fieldf("to", "the trunk's destinations do not allow this number")
	case s.tester == nil:
		return nil, dialer.Errorf(dialer.Unavailable, "this server places no calls")
	}
	if err := s.mayTest(ctx, to, in.Body.Own); err != nil {
		return nil, err
	}
	select {
	case <-s.draining:
		return nil, dialer.Errorf(dialer.Unavailable, "the server is draining: it places no calls any more")
	default:
	}
	if !s.testing.CompareAndSwap(nil, &t.Name) {
		other := t.Name
		if name := s.testing.Load(); name != nil {
			other = *name
		}
		return nil, dialer.Errorf(dialer.Conflict, "another test call is under way over trunk %q: try again when it is over", other)
	}
	defer s.testing.Store(nil)
	seconds := in.Body.Seconds
	if seconds == 0 {
		seconds = 5
	}
	call := telephony.TestCall{
		Call: dialer.NewCallID(), Trunk: t.ID, To: to, From: from, Talk: time.Duration(seconds * float64(time.Second)),
	}
	s.log.Info("test call", "trunk", string(t.ID), "call", string(call.Call), "to", to.Masked(), "by", callerOf(ctx).name())
	return &bodyOf[telephony.TestReport]{s.tester.TestCall(ctx, call)}, nil
}

// mayTest refuses a call that may be illegal: it reaches a person like any other.
func (s *Server) mayTest(ctx context.Context, to dialer.Number, own bool) error {
	found, err := s.store.CheckDNC(ctx, to)
	if err != nil {
		return err
	}
	c := compliance.Candidate{Number: to, Hours: testHours}
	if own {
		c.Hours, c.Zone = always, "UTC"
	}
	if len(found) > 0 {
		c.OnDNC = "all campaigns"
		if id := found[0].Campaign; id != "" {
			c.OnDNC = string(id)
		}
	}
	v := compliance.Check(c, s.now())
	switch {
	case v.Allowed:
		return nil
	case v.Rule == "window" || v.Rule == "zone":
		return dialer.Errorf(dialer.Conflict, "%s: call your own phone, and say so with own_phone", v.Reason)
	}
	return dialer.Errorf(dialer.Conflict, "%s", v.Reason)
}
