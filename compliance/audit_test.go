package compliance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"dialer"
)

// logOf numbers facts and gives them times a second apart.
func logOf(events ...dialer.Event) []dialer.Event {
	for i := range events {
		events[i].Seq = int64(i + 1)
		if events[i].At.IsZero() {
			events[i].At = monday.Add(time.Duration(i) * time.Second)
		}
	}
	return events
}

func ev(call, lead, agent string, f dialer.Fact) dialer.Event {
	return dialer.Event{Call: dialer.CallID(call), Lead: dialer.LeadID(lead), Agent: dialer.AgentID(agent), Fact: f}
}

func placed(call, lead, to string) dialer.Event {
	return ev(call, lead, "", dialer.CallPlaced{To: dialer.Number(to)})
}

func ended(call, class string) dialer.Event { return ev(call, "", "", dialer.CallEnded{Class: class}) }

// wholeCall is one good call.
func wholeCall(call, lead, agent, to string) []dialer.Event {
	return []dialer.Event{
		placed(call, lead, to),
		ev(call, lead, "", dialer.CallRinging{Status: 180}),
		ev(call, lead, "", dialer.CallAnswered{}),
		ev(call, lead, agent, dialer.AgentOffered{}),
		ev(call, lead, agent, dialer.CallConnected{}),
		ended(call, "connected"),
		ev(call, lead, agent, dialer.CallDispositioned{Disposition: "sale"}),
		ev("", "", agent, dialer.AgentStateChanged{From: "wrap_up", To: "ready"}),
	}
}

func TestAuditFindsNothingInGoodLogs(t *testing.T) {
	one := wholeCall("c1", "l1", "a1", "+12125550123")
	preview := []dialer.Event{ // offered before it is placed, skipped the first time
		ev("c2", "l2", "a1", dialer.AgentOffered{Mode: "preview"}),
		ev("", "", "a1", dialer.AgentStateChanged{From: "reserved", To: "ready"}),
		ev("c3", "l3", "a1", dialer.AgentOffered{Mode: "preview"}),
		placed("c3", "l3", "+12125550125"),
		ended("c3", "no_answer"),
		ev("c4", "l4", "a1", dialer.AgentOffered{Mode: "preview"}),
	}
	again := wholeCall("c5", "l1", "a1", "+12125550123") // the same lead later
	if got := Audit(logOf(slices.Concat(one, preview[:5], again)...)); len(got) != 0 {
		t.Errorf("a good log has violations: %v", got)
	}
	// An answer that came too late is booked beside the end, in either order.
	late := []dialer.Event{
		placed("c6", "l6", "+12125550126"),
		{At: monday.Add(time.Hour), Call: "c6", Fact: dialer.CallGhosted{}},
		ended("c6", "no_answer"),
	}
	if got := Audit(logOf(late...)); len(got) != 0 {
		t.Errorf("a ghost beside the end: %v", got)
	}
	if got := Audit(nil); got != nil {
		t.Errorf("an empty log has violations: %v", got)
	}
}

func TestAuditFindsWhatWasPlanted(t *testing.T) {
	a := func() []dialer.Event { return wholeCall("c1", "l1", "a1", "+12125550123") }
	for rule, events := range map[string][]dialer.Event{
		NoEnd:           a()[:5],
		PlacedTwice:     slices.Insert(a(), 1, placed("c1", "l1", "+12125550123")),
		EndedTwice:      slices.Insert(a(), 6, ended("c1", "connected")),
		EndWithoutCall:  {ended("c9", "failed")},
		LeadTwice:       append(a()[:1], placed("c2", "l1", "+12125550199"), ended("c2", "busy"), ended("c1", "busy")),
		NumberTwice:     append(a()[:1], placed("c2", "l2", "+12125550123"), ended("c2", "busy"), ended("c1", "busy")),
		AgentTwice:      append(a()[:5], placed("c2", "l2", "+12125550199"), ev("c2", "l2", "a1", dialer.AgentOffered{}), ended("c2", "failed"), ended("c1", "connected")),
		ConnectedTwice:  slices.Insert(a(), 5, ev("c1", "l1", "a1", dialer.CallConnected{})),
		NotAnswered:     slices.Delete(a(), 2, 3),
		NotPlaced:       {ev("c9", "", "", dialer.CallRinging{})},
		AfterEnd:        append(a(), ev("c1", "l1", "", dialer.CallAnswered{})),
		TimeBackwards:   {placed("c1", "l1", "+12125550123"), {At: monday.Add(-time.Hour), Call: "c1", Fact: dialer.CallEnded{}}},
		ClassNotReached: {placed("c1", "l1", "+12125550123"), ended("c1", "connected")},
	} {
		got := Audit(logOf(events...))
		if len(got) != 1 || got[0].Rule != rule || got[0].Detail == "" {
			t.Errorf("%s was planted, found %v", rule, got)
		}
	}
}

// TestAuditInTraffic: in a long interleaved log without faults nothing is found,
// and one lost or doubled end is.
func TestAuditInTraffic(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var events []dialer.Event
	streams := make([][]dialer.Event, 20) // one agent each
	for call := 0; len(events) < 5000; {
		s := r.IntN(len(streams))
		if len(streams[s]) == 0 {
			call++
			streams[s] = wholeCall(fmt.Sprint("c", call), fmt.Sprint("l", s*1000+call%7), fmt.Sprint("a", s), fmt.Sprintf("+1212555%04d", s*100+call%7))
		}
		events = append(events, streams[s][0])
		streams[s] = streams[s][1:]
	}
	for _, s := range streams {
		events = append(events, s...)
	}
	if got := Audit(logOf(events...)); len(got) != 0 {
		t.Fatalf("%d violations in a good log, the first: %v", len(got), got[0])
	}
	for range 20 {
		at := r.IntN(len(events))
		for ; events[at].Fact.Kind() != "call.ended"; at = (at + 1) % len(events) {
		}
		call := events[at].Call
		named := func(v Violation) bool { return v.Event.Call == call }
		lost := Audit(slices.Delete(slices.Clone(events), at, at+1))
		if !slices.ContainsFunc(lost, func(v Violation) bool { return named(v) && v.Rule == NoEnd }) {
			t.Errorf("the end of %s is missing and was not missed", call)
		}
		doubled := Audit(slices.Insert(slices.Clone(events), at, events[at]))
		if !slices.ContainsFunc(doubled, func(v Violation) bool { return named(v) && v.Rule == EndedTwice }) {
			t.Errorf("%s ended twice and it was not found", call)
		}
	}
}
