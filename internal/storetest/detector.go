package storetest

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"dialer"
	"dialer/campaign"
	"dialer/compliance"
)

// detectorCounts: what is known of the detector's verdicts is counted by trunk,
// and a label goes before the verdict.
func detectorCounts(t *testing.T, f *fixture) {
	sampled := campaign.Heard{Agent: &campaign.Draw{Value: 3, Share: 10}}
	passed := campaign.Heard{Agent: &campaign.Draw{Value: 30, Share: 10}}
	var calls []campaign.Call
	for i, in := range []campaign.Call{
		{Trunk: "trk_1", Verdict: "machine", AnsweredBy: "machine", AnsweredBySource: "amd", Heard: passed},
		{Trunk: "trk_1", Verdict: "machine", AnsweredBy: "machine", AnsweredBySource: "amd", Heard: passed},
		{Trunk: "trk_1", Verdict: "machine", AnsweredBy: "person", AnsweredBySource: "agent", Heard: sampled},
		{Trunk: "trk_2", Verdict: "machine", AnsweredBy: "machine", AnsweredBySource: "amd", Heard: campaign.Heard{Kept: "a.wav"}},
		{Trunk: "trk_2", Verdict: "human", AnsweredBy: "machine", AnsweredBySource: "agent", Heard: campaign.Heard{LateMachineAt: now}},
		{Trunk: "trk_2"},
	} {
		c := f.call(i + 1)
		c.Trunk, c.Verdict, c.AnsweredBy, c.AnsweredBySource, c.Heard = in.Trunk, in.Verdict, in.AnsweredBy, in.AnsweredBySource, in.Heard
		c.AnsweredAt = now.Add(time.Second)
		c = ended(c, campaign.OutcomeMachine, compliance.ClassMachine)
		f.EndCall(c, campaign.Next{State: campaign.Done, Why: "machine"})
		calls = append(calls, c)
	}
	f.flush()
	count := func(from, to time.Time, sampled bool) []compliance.DetectorCount {
		counts, err := f.DetectorCounts(f.ctx, f.id, from, to, sampled)
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(counts, func(a, b compliance.DetectorCount) int {
			return cmp.Or(cmp.Compare(a.Trunk, b.Trunk), cmp.Compare(a.Verdict, b.Verdict), cmp.Compare(a.Truth, b.Truth))
		})
		return counts
	}
	want := []compliance.DetectorCount{
		{Trunk: "trk_1", Verdict: "machine", Calls: 2},
		{Trunk: "trk_1", Verdict: "machine", Sampled: true, Truth: "person", Calls: 1},
		{Trunk: "trk_2", Verdict: "human", Truth: "machine", Late: true, Calls: 1},
		{Trunk: "trk_2", Verdict: "machine", Sampled: true, Calls: 1},
	}
	diff(t, "all counts", count(time.Time{}, time.Time{}, false), want)
	diff(t, "those of a draw", count(time.Time{}, time.Time{}, true), slices.Delete(slices.Clone(want), 2, 3))
	if later := count(now.Add(time.Hour), time.Time{}, false); len(later) > 0 {
		t.Errorf("later ones: %+v", later)
	}

	f.want(labelled(f, calls[0].ID, "human"), dialer.Conflict, "a label for a call of which nothing is kept")
	f.want(labelled(f, calls[3].ID, "dog"), dialer.Invalid, "a label that is none")
	f.want(labelled(f, "cal_01jc0000000000000000000000", "human"), dialer.NotFound, "a label for no call")
	if err := labelled(f, calls[3].ID, "human"); err != nil {
		t.Fatal(err)
	}
	want[3].Truth = "human"
	diff(t, "with a label", count(time.Time{}, time.Time{}, false), want)
	c := f.kept(calls[3].ID)
	if c.Class != compliance.ClassAbandonedSilent || c.AnsweredBy != "person" || c.AnsweredBySource != "label" || c.Heard.LabelBy != "ann" || c.Outcome != campaign.OutcomeMachine {
		t.Errorf("a person who was taken for a machine counts as %s: %+v", c.Class, c)
	}
	tally, err := f.AbandonTally(f.ctx, f.id, now.Add(-time.Hour))
	if err != nil || tally.Abandoned() != 1 || tally.ByClass[compliance.ClassMachine] != 5 {
		t.Errorf("tally %+v, %v", tally, err)
	}
	diff(t, "facts", f.kinds(c.ID)[1:], []string{"call.labelled"})
}

func labelled(f *fixture, id dialer.CallID, label string) error {
	_, err := f.LabelCall(f.ctx, id, label, "ann", now.Add(time.Hour))
	return err
}
