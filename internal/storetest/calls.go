package storetest

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"dialer"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/telephony"
)

func lifeOfACall(t *testing.T, f *fixture) {
	c := f.call(1)
	f.wantLead(c.Lead, campaign.Calling, "")
	step := func(state campaign.CallState, change func(*campaign.Call), facts ...dialer.Fact) {
		c.Version++
		c.State = state
		change(&c)
		f.UpdateCall(c, facts...)
	}
	agent := dialer.NewAgentID()
	step(campaign.Ringing, func(c *campaign.Call) { c.SentAt, c.RingingAt = now.Add(time.Millisecond), now.Add(time.Second) }, dialer.CallRinging{Status: 180})
	step(campaign.Answered, func(c *campaign.Call) { c.AnsweredAt = now.Add(5 * time.Second) }, dialer.CallAnswered{RingMS: 4000})
	step(campaign.Connected, func(c *campaign.Call) {
		c.Agent, c.ConnectedAt, c.AnsweredBy, c.AnsweredBySource = agent, now.Add(6*time.Second), "person", "amd"
		c.SpeechStartAt, c.GreetingEndAt, c.DecidedAt = now.Add(5*time.Second), now.Add(6*time.Second), now.Add(6*time.Second)
		c.Verdict, c.VerdictReason, c.Class = "human", "short greeting", compliance.ClassConnected
	}, dialer.CallConnected{AnswerToAgentMS: 1000})
	c = ended(c, campaign.OutcomeConnected, compliance.ClassConnected)
	c.SIPStatus, c.Q850, c.Media = 200, 16, quality(1)
	c.AgentMedia, c.Attestation, c.Trunk = quality(2), "A", "trk_2"
	c.Heard = campaign.Heard{
		Code: "vacant", Reaction: campaign.ReactMessage, LateMachineAt: now, BeepStartAt: now, BeepEndAt: now.Add(time.Second), BeepHz: 1000,
		Voicemail: campaign.Voicemail{SHA: "00", StartedAt: now, PlayedMS: 12, Complete: true, After: "beep", Restarts: 1},
		Agent:     &campaign.Draw{Value: 4, Share: 1000}, Keep: &campaign.Draw{Value: 7, Share: 5}, Kept: "detection/x.wav",
	}
	c.Tries = []telephony.Try{
		{Trunk: "trk_1", Peer: "udp:192.0.2.1:5060", At: now, Status: 503, Why: "busy"},
		{Trunk: "trk_2", Peer: "tls:192.0.2.2:5061", At: now.Add(time.Second), Status: 200},
	}
	f.EndCall(c, campaign.Next{State: campaign.Done, Why: "connected"}, dialer.CallEnded{Outcome: "connected"})
	f.EndCall(c, campaign.Next{State: campaign.Dialable, Why: "again"}, dialer.CallEnded{Outcome: "connected"})
	f.flush()
	diff(t, "the call", f.kept(c.ID), c)
	diff(t, "facts", f.kinds(c.ID), []string{"call.placed", "call.ringing", "call.answered", "call.connected", "call.ended"})
	l := f.wantLead(c.Lead, campaign.Done, "connected")
	if l.Attempts != 1 || l.ByOutcome[campaign.OutcomeConnected] != 1 || l.LastOutcome != campaign.OutcomeConnected || len(l.Recent) != 1 {
		t.Errorf("the lead counts %+v", l)
	}
	// What is known later, such as the recording, is added to the ended call.
	c.Version++
	c.Recording = "a.wav"
	f.UpdateCall(c, dialer.RecordingSaved{Path: "a.wav"})
	f.flush()
	diff(t, "the call with its recording", f.kept(c.ID), c)
}

func beginRefusals(t *testing.T, f *fixture) {
	leads := f.add(1, 2, nil)
	f.want(f.BeginCall(f.ctx, f.placed(leads[0])), dialer.Conflict, "a lead that nobody claimed")
	claimed := f.claim(2)
	if err := f.AddDNC(f.ctx, "", claimed[0].Number, "test", now); err != nil {
		t.Fatal(err)
	}
	f.want(f.BeginCall(f.ctx, f.placed(claimed[0])), dialer.Forbidden, "a number on the global list")
	if err := f.AddDNC(f.ctx, f.id, claimed[1].Number, "test", now); err != nil {
		t.Fatal(err)
	}
	f.want(f.BeginCall(f.ctx, f.placed(claimed[1])), dialer.Forbidden, "a number on the campaign's list")
	found, err := f.DNCOf(f.ctx, f.id, []dialer.Number{claimed[0].Number, claimed[1].Number, "+12125559999"})
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "DNCOf", found, map[dialer.Number]string{claimed[0].Number: "global", claimed[1].Number: "campaign"})
	if l := f.Lead(claimed[0].ID); l.State != campaign.Claimed || l.Attempts != 0 {
		t.Errorf("a refusal changed the lead: %+v", l)
	}
	f.add(11, 1, nil)
	l := f.claim(1)[0]
	if _, err := f.SetCampaignState(f.ctx, f.id, []campaign.State{campaign.Running}, campaign.Paused, "ann", "", now); err != nil {
		t.Fatal(err)
	}
	f.want(f.BeginCall(f.ctx, f.placed(l)), dialer.Conflict, "a paused campaign")
	broken, cancel := context.WithCancel(f.ctx)
	cancel()
	if err := f.BeginCall(broken, f.placed(l)); err == nil {
		t.Error("a call was begun after its context had ended")
	}
}

func oneOpenAttempt(t *testing.T, f *fixture) {
	c := f.call(1)
	f.list = dialer.NewListID() // the number may be on two lists
	f.add(1, 1, nil)
	l := f.claim(1)[0]
	f.want(f.BeginCall(f.ctx, f.placed(l)), dialer.Conflict, "a number with an open attempt")
	f.EndCall(ended(c, campaign.OutcomeBusy, compliance.ClassBusy), campaign.Next{State: campaign.Done, Why: "busy"})
	f.begin(f.placed(l)) // waits for the end

	// Many begin calls to one lead at once: one does.
	f.add(11, 1, nil)
	l = f.claim(1)[0]
	var began, refused int
	var mu sync.Mutex
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			err := f.BeginCall(f.ctx, f.placed(l))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				began++
			case dialer.CodeOf(err) == dialer.Conflict:
				refused++
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	if began != 1 || refused != 7 {
		t.Errorf("%d calls began and %d were refused, want 1 and 7", began, refused)
	}
}

func agentInOneCall(t *testing.T, f *fixture) {
	agent := dialer.NewAgentID()
	f.add(1, 2, nil)
	leads := f.claim(2)
	first, second := f.placed(leads[0]), f.placed(leads[1])
	first.Agent, second.Agent = agent, agent
	f.begin(first)
	f.want(f.BeginCall(f.ctx, second), dialer.Conflict, "an agent in another call")
	f.EndCall(ended(first, campaign.OutcomeConnected, compliance.ClassConnected), campaign.Next{State: campaign.Done})
	f.begin(second)

	// A call gets the agent who left another in the middle of the talk; what
	// becomes of the one left takes nobody back.
	lost, got := f.call(11), f.call(12)
	talk := func(c *campaign.Call, agent dialer.AgentID) {
		c.Version++
		c.State, c.Agent = campaign.Connected, agent
		f.UpdateCall(*c, dialer.CallConnected{})
	}
	another := dialer.NewAgentID()
	talk(&lost, another)
	talk(&got, another)
	lost.MessageStartAt = now
	talk(&lost, another)
	f.flush()
	for _, c := range []campaign.Call{lost, got} {
		diff(t, "a call with the agent", f.kept(c.ID), c)
	}
	f.EndCall(ended(lost, campaign.OutcomeConnected, compliance.ClassConnected), campaign.Next{State: campaign.Done})
	f.add(13, 1, nil)
	next := f.placed(f.claim(1)[0])
	next.Agent = another
	f.want(f.BeginCall(f.ctx, next), dialer.Conflict, "the agent in the call that got them")
	f.EndCall(ended(got, campaign.OutcomeConnected, compliance.ClassConnected), campaign.Next{State: campaign.Done})
	f.begin(next)

	// An earlier run may still have the agent in a call.
	f.flush()
	f.Store = f.Restart()
	third := f.call(14)
	talk(&third, another)
	f.flush()
	if got := f.kept(third.ID); got.Agent != "" {
		t.Errorf("agent %s is in two open calls", got.Agent)
	}
	// One wrong save does not hold up the others.
	third.Agent = ""
	third.Version++
	f.EndCall(ended(third, campaign.OutcomeFailed, compliance.ClassFailed), campaign.Next{State: campaign.Done})
	f.flush()
	if got := f.kept(third.ID); got.State != campaign.Ended {
		t.Errorf("the call is %s, want ended", got.State)
	}
}

func staleSaves(t *testing.T, f *fixture) {
	c := f.call(1)
	newer := c
	newer.Version, newer.State, newer.RingingAt = 3, campaign.Ringing, now.Add(time.Second)
	f.UpdateCall(newer, dialer.CallRinging{})
	stale := c
	stale.Version, stale.SIPStatus = 2, 183
	f.UpdateCall(stale, dialer.CallAnswered{})
	back := newer
	back.Version, back.State = 4, campaign.Placed
	f.UpdateCall(back, dialer.CallAnswered{})
	f.flush()
	diff(t, "the call after stale saves", f.kept(c.ID), newer)
	diff(t, "facts", f.kinds(c.ID), []string{"call.placed", "call.ringing"})
}

func disposition(t *testing.T, f *fixture) {
	c := f.call(1)
	early := c
	early.Version, early.Disposition = 2, "SALE"
	f.want(f.DisposeCall(f.ctx, early, campaign.Next{State: campaign.Done}), dialer.Conflict, "a disposition before the talk")
	c = ended(c, campaign.OutcomeConnected, compliance.ClassConnected)
	f.EndCall(c, campaign.Next{State: campaign.Done, Why: "connected"})
	c.Version++
	c.Disposition, c.Note, c.DisposedAt = "CALLBACK", "ask for Bob\x00", now.Add(time.Minute)
	due := now.Add(24 * time.Hour)
	for range 2 {
		err := f.DisposeCall(f.ctx, c, campaign.Next{State: campaign.Dialable, Due: due, Why: "callback"}, dialer.CallDispositioned{Disposition: "CALLBACK"})
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := f.kept(c.ID); got.Disposition != "CALLBACK" || got.Outcome != campaign.OutcomeConnected {
		t.Errorf("the call has disposition %q and outcome %q", got.Disposition, got.Outcome)
	}
	if l := f.wantLead(c.Lead, campaign.Dialable, "callback"); !l.Due.Equal(due) {
		t.Errorf("due %v, want %v", l.Due, due)
	}
	diff(t, "facts", f.kinds(c.ID), []string{"call.placed", "call.dispositioned"})
	f.want(f.DisposeCall(f.ctx, campaign.Call{ID: CallID(now)}, campaign.Next{}), dialer.NotFound, "a call that is not there")
}

func dispositionBeforeEnd(t *testing.T, f *fixture) {
	c := f.call(1)
	c.Version++
	c.State, c.AnsweredAt, c.ConnectedAt = campaign.Connected, now, now
	f.UpdateCall(c)
	c.Version++
	c.Disposition, c.DisposedAt = "SALE", now
	if err := f.DisposeCall(f.ctx, c, campaign.Next{State: campaign.Done, Why: "SALE"}); err != nil {
		t.Fatal(err)
	}
	if l := f.Lead(c.Lead); l.State != campaign.Calling {
		t.Errorf("the lead is %s while its call is up", l.State)
	}
	f.EndCall(ended(c, campaign.OutcomeConnected, compliance.ClassConnected), campaign.Next{State: campaign.Dialable, Why: "connected"})
	f.flush()
	f.wantLead(c.Lead, campaign.Done, "SALE")
}

func orphans(t *testing.T, f *fixture) {
	ringing := f.call(1)
	answered := f.call(2)
	answered.Version++
	answered.State, answered.AnsweredAt, answered.Dialog = campaign.Answered, now, []byte("route and tags")
	f.UpdateCall(answered)
	machine := f.call(3)
	machine.Version++
	machine.State, machine.AnsweredAt, machine.AnsweredBy = campaign.Answered, now, "machine"
	f.UpdateCall(machine)
	talking := f.call(4)
	talking.Version++
	talking.State, talking.AnsweredAt, talking.ConnectedAt = campaign.Connected, now, now
	f.UpdateCall(talking)
	unrecorded := f.call(8) // answered, and killed before that was on record
	if err := f.SaveDialog(f.ctx, unrecorded.ID, []byte("its dialog")); err != nil {
		t.Error(err)
	}
	over := f.call(5)
	f.EndCall(ended(over, campaign.OutcomeBusy, compliance.ClassBusy), campaign.Next{State: campaign.Done, Why: "busy"})
	f.add(6, 1, nil)
	held := f.claim(1)[0]
	f.flush()

	f.Store = f.Restart()
	mine := f.call(7)
	settled, err := f.SettleOrphans(f.ctx, now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	classes := map[dialer.CallID]compliance.Class{}
	for _, c := range settled {
		classes[c.ID] = c.Class
		if c.State != campaign.Ended || c.Outcome != campaign.OutcomeInterrupted {
			t.Errorf("an orphan is %s with outcome %q", c.State, c.Outcome)
		}
		if c.ID == answered.ID && string(c.Dialog) != "route and tags" {
			t.Errorf("the dialog is %q", c.Dialog)
		}
		if c.ID == unrecorded.ID && string(c.Dialog) != "its dialog" {
			t.Errorf("the dialog saved before the ACK is %q", c.Dialog)
		}
	}
	diff(t, "classes of orphans", classes, map[dialer.CallID]compliance.Class{
		ringing.ID: compliance.ClassFailed, answered.ID: compliance.ClassAbandonedSilent,
		machine.ID: compliance.ClassMachine, talking.ID: compliance.ClassConnected,
		unrecorded.ID: compliance.ClassAbandonedSilent,
	})
	diff(t, "facts of the abandoned one", f.kinds(answered.ID), []string{"call.placed", "call.abandoned", "call.ended"})
	f.wantLead(held.ID, campaign.Dialable, "")
	f.wantLead(mine.Lead, campaign.Calling, "")
	if l := f.wantLead(ringing.Lead, campaign.Dialable, "interrupted"); l.Attempts != 1 || !l.Due.After(now.Add(time.Minute)) {
		t.Errorf("the lead of an interrupted call: %+v", l)
	}
	again, err := f.SettleOrphans(f.ctx, now.Add(time.Minute))
	if err != nil || len(again) != 0 {
		t.Errorf("settled a second time: %v, %v", again, err)
	}
	// The next start ends once more what may still be up, or ring.
	f.Store = f.Restart()
	again, err = f.SettleOrphans(f.ctx, now.Add(2*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	var ids []dialer.CallID
	for _, c := range again {
		ids = append(ids, c.ID)
	}
	want := []dialer.CallID{answered.ID, unrecorded.ID, mine.ID, ringing.ID}
	slices.Sort(ids)
	slices.Sort(want)
	diff(t, "orphans of the second restart", ids, want)
}

// ghosts: a call that was answered after it had been given up counts as
// abandoned, whether its end is saved before or after that is heard of.
func ghosts(t *testing.T, f *fixture) {
	at := now.Add(31 * time.Second)
	next := campaign.Next{State: campaign.Done, Why: "no-answer"}
	give := func(c campaign.Call, outcome campaign.Outcome, class compliance.Class) campaign.Call {
		c = ended(c, outcome, class)
		f.EndCall(c, next, dialer.CallEnded{Outcome: string(outcome)})
		return c
	}
	before, after := give(f.call(1), campaign.OutcomeNoAnswer, compliance.ClassNoAnswer), f.call(2)
	f.MarkGhost(before.ID, at)
	f.MarkGhost(before.ID, at.Add(time.Second))
	f.MarkGhost(after.ID, at)
	f.flush()
	if c := f.kept(after.ID); c.State != campaign.Placed || c.Version != after.Version {
		t.Errorf("the call which is still open is %s with version %d", c.State, c.Version)
	}
	after = give(after, campaign.OutcomeBusy, compliance.ClassBusy)
	f.flush()
	for _, want := range []campaign.Call{before, after} {
		want.Version++
		want.Ghost, want.AnsweredAt, want.Class, want.EndedBy = true, at, compliance.ClassAbandonedSilent, telephony.Caller
		want.AnsweredBy, want.AnsweredBySource = "unknown", "none"
		diff(t, "the ghost", f.kept(want.ID), want)
		diff(t, "facts", f.kinds(want.ID), []string{"call.placed", "call.ended", "call.ghosted", "call.abandoned"})
		f.wantLead(want.Lead, campaign.Done, "no-answer")
	}
	events, err := f.ReadEvents(f.ctx, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Call == before.ID && (e.Lead != before.Lead || e.Campaign != f.id) {
			t.Errorf("%s tells of lead %q and campaign %q", e.Fact.Kind(), e.Lead, e.Campaign)
		}
	}

	// What was answered keeps its class.
	talked := f.call(3)
	talked.AnsweredAt, talked.ConnectedAt = now, now
	talked = give(talked, campaign.OutcomeConnected, compliance.ClassConnected)
	f.MarkGhost(talked.ID, at)
	f.MarkGhost(CallID(now), at) // a call that nobody placed
	f.flush()
	if c := f.kept(talked.ID); !c.Ghost || c.Class != compliance.ClassConnected || !c.AnsweredAt.Equal(now) {
		t.Errorf("a call with an agent became %+v", c)
	}
	diff(t, "facts", f.kinds(talked.ID), []string{"call.placed", "call.ended", "call.ghosted"})
	got, err := f.AbandonTally(f.ctx, f.id, now.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "tally", got.ByClass, map[compliance.Class]int{compliance.ClassConnected: 1, compliance.ClassAbandonedSilent: 2})

	// A run that died before it saved the end has its ghosts settled too.
	orphan := f.call(4)
	f.MarkGhost(orphan.ID, at)
	f.flush()
	f.Store = f.Restart()
	if _, err := f.SettleOrphans(f.ctx, now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if c := f.kept(orphan.ID); !c.Ghost || c.Class != compliance.ClassAbandonedSilent {
		t.Errorf("the orphaned ghost is %+v", c)
	}
}

func tally(t *testing.T, f *fixture) {
	for i, class := range []compliance.Class{
		compliance.ClassConnected, compliance.ClassConnected, compliance.ClassAbandonedMsg, compliance.ClassMachine, compliance.ClassLate,
	} {
		c := f.call(i)
		f.EndCall(ended(c, campaign.OutcomeConnected, class), campaign.Next{State: campaign.Done})
	}
	abandoned := f.call(11) // still up, and abandoned for good
	abandoned.Version++
	abandoned.State, abandoned.Class = campaign.Answered, compliance.ClassAbandonedMsg
	f.UpdateCall(abandoned)
	f.call(12) // up, not classed yet
	f.flush()
	got, err := f.AbandonTally(f.ctx, f.id, now.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "tally", got.ByClass, map[compliance.Class]int{
		compliance.ClassConnected: 2, compliance.ClassAbandonedMsg: 2, compliance.ClassMachine: 1, compliance.ClassLate: 1,
	})
	if got, err := f.AbandonTally(f.ctx, f.id, now.Add(time.Hour)); err != nil || len(got.ByClass) != 0 {
		t.Errorf("tally since later: %v, %v", got, err)
	}
}

// tallyIsARecount: whatever happened to calls, and since whenever, the counts
// are those of the calls as they stand.
func tallyIsARecount(t *testing.T, f *fixture) {
	const calls, seed = 60, 7
	random := rand.New(rand.NewPCG(seed, seed))
	classes, outcomes := compliance.Classes(), campaign.Outcomes()
	class := func() compliance.Class { return classes[random.IntN(len(classes))] }
	f.add(1, calls, nil)
	var ids []dialer.CallID
	for _, l := range f.claim(calls) {
		c := f.placed(l)
		c.PlacedAt = now.Add(time.Duration(random.Int64N(int64(50 * time.Hour))))
		c.PlacedAt = c.PlacedAt.Truncate(time.Microsecond)
		c.ID = CallID(c.PlacedAt)
		f.begin(c)
		ids = append(ids, c.ID)
		for range random.IntN(3) {
			c.Version++
			c.State, c.Class = campaign.Connected, class()
			f.UpdateCall(c)
		}
		if random.IntN(5) == 0 {
			continue // still up
		}
		c = ended(c, outcomes[random.IntN(len(outcomes))], class())
		f.EndCall(c, campaign.Next{State: campaign.Done})
		if random.IntN(3) == 0 {
			c.Version++
			c.Class, c.Disposition, c.DisposedAt = class(), "MACHINE", now
			if err := f.DisposeCall(f.ctx, c, campaign.Next{State: campaign.Done}); err != nil {
				t.Fatal(err)
			}
		}
		if random.IntN(4) == 0 {
			f.MarkGhost(c.ID, now)
		}
	}
	f.flush()
	f.Store = f.Restart()
	if _, err := f.SettleOrphans(f.ctx, now.Add(60*time.Hour)); err != nil {
		t.Fatal(err)
	}
	kept := make([]campaign.Call, len(ids))
	byOutcome := map[campaign.Outcome]int{}
	for i, id := range ids {
		kept[i] = f.kept(id)
		byOutcome[kept[i].Outcome]++
	}
	hour := now.Truncate(time.Hour)
	for _, since := range []time.Time{{}, hour, now, hour.Add(9 * time.Hour), now.Add(20 * time.Hour), kept[7].PlacedAt,
		kept[7].PlacedAt.Add(time.Microsecond), hour.Add(48*time.Hour + 30*time.Minute), now.Add(51 * time.Hour)} {
		want := map[compliance.Class]int{}
		for _, c := range kept {
			if !c.PlacedAt.Before(since) {
				want[c.Class]++
			}
		}
		got, err := f.AbandonTally(f.ctx, f.id, since)
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "tally since "+since.String(), got.ByClass, want)
	}
	if counter, ok := f.Store.(interface {
		OutcomeCounts(context.Context, dialer.CampaignID) (map[campaign.Outcome]int, error)
	}); ok {
		got, err := counter.OutcomeCounts(f.ctx, f.id)
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "outcomes", got, byOutcome)
	}
}
