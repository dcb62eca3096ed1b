package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dialer"
	"dialer/api"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/telephony"
	"dialer/telephony/siptrunk/siptest"
)

// TestE2EKill kills the dialer, and its database with it, at random moments of
// a busy campaign. The carrier lives on in this process and remembers every
// INVITE: its ledger is the truth that the records are held against.
func TestE2EKill(t *testing.T) {
	t.Parallel()
	kills, desks := 50, 20
	if testing.Short() {
		kills, desks = 3, 5
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	r := newRig(t, "info")
	dialing := make(chan struct{}, 1) // an INVITE has come
	carrier, err := siptest.NewCarrier(siptest.CarrierConfig{
		OnEvent: func(e siptest.Event, _ siptest.CallRecord) {
			if e != siptest.Arrived {
				return
			}
			select {
			case dialing <- struct{}{}:
			default:
			}
		},
		Listen: "127.0.0.1:0", Seed: seed, RTP: siptest.PortRange{First: 30000, Last: 39999},
		Script: func(number string, attempt int) (siptest.Behaviour, bool) { return brisk(seed, number, attempt), true },
	})
	if err != nil {
		t.Fatal(err)
	}
	background(t, "carrier", carrier.Run)

	var message api.AssetView
	if err := r.api.call(t.Context(), http.MethodPost, "/v1/assets?name=abandoned", "audio/wav", bytes.NewReader(demoMessage()), &message); err != nil {
		t.Fatal(err)
	}
	soon := campaign.RetryRule{AfterS: 1, Max: 100}
	id, list := r.campaign("kill", r.trunk("carrier", carrier.Addr().String()), map[string]any{
		"mode": campaign.Power, "ratio": 2, "abandon_cap": 0.1, "message_asset": message.SHA256,
		"max_attempts": 100, "max_per_day": 100,
		"retry": map[campaign.Outcome]campaign.RetryRule{
			campaign.OutcomeBusy: soon, campaign.OutcomeFailed: soon, campaign.OutcomeCongestion: soon, campaign.OutcomeCancelled: soon,
		},
		"dispositions": []campaign.Disposition{
			{Code: "SALE", Label: "Sale", Retry: &soon}, {Code: "NOT_INTERESTED", Label: "No", Retry: &soon}, {Code: "DNC", Label: "Done"},
		},
	})
	var csv bytes.Buffer
	if err := writeDemoLeads(&csv, 2000, seed); err != nil {
		t.Fatal(err)
	}
	if status, _, answer := r.upload(list, &csv); status != http.StatusCreated {
		t.Fatalf("upload: %d %s", status, answer)
	}
	// Two shifts: a phone whose dialer died needs a moment to hang up.
	shifts := [2][]*seat{}
	for i := range 2 * desks {
		shifts[i%2] = append(shifts[i%2], r.seat(id, true))
	}
	ready, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, s := range slices.Concat(shifts[0], shifts[1]) {
		if err := s.phone.Await(ready, func(p siptest.PhoneState) bool { return p.Registered }); err != nil {
			t.Fatal(err)
		}
	}
	r.post("/v1/campaigns/"+string(id)+"/start", nil, nil)

	began := time.Now()
	n := 0
	for ; n < kills && time.Since(began) < 75*time.Second; n++ {
		shift := shifts[n%2]
		ctx, off := context.WithCancel(t.Context())
		var working sync.WaitGroup
		for i, s := range shift {
			working.Go(func() { r.work(ctx, s, 600*time.Millisecond, 100*time.Millisecond, seed+uint64(i)) })
		}
		// One kill in four comes whenever, the others among calls; the pause is the
		// random moment and waits for nothing.
		if rnd.IntN(4) > 0 {
			select {
			case <-dialing:
			default:
			}
			select {
			case <-dialing:
			case <-time.After(2 * time.Second):
			}
		}
		pause(t.Context(), time.Duration(min(600*rnd.ExpFloat64(), 2000)*float64(time.Millisecond)))
		r.kill()
		off()
		working.Wait()
		for _, s := range shift {
			s.phone.Hangup()
		}
		r.start()
	}
	took := time.Since(began)

	// Calls of dead dialers are hung up within 15 s of the last start.
	r.until("no answered call open at the carrier", 15*time.Second, func() (bool, any) {
		open := accounts{ledger: carrier.Calls(), calls: r.calls(id)}.leftOpen()
		return len(open) == 0, open
	})
	r.post("/v1/campaigns/"+string(id)+"/stop", nil, nil)
	// What rings at a stop rings out.
	r.until("no call open in the records", 40*time.Second, func() (bool, any) {
		var open []api.CallView
		for _, c := range r.calls(id) {
			if c.State != campaign.Ended {
				open = append(open, c)
			}
		}
		return len(open) == 0, open
	})
	both := accounts{ledger: carrier.Calls(), calls: r.calls(id), leads: all[api.LeadView](r, "/v1/lists/"+string(list)+"/leads"), events: r.events()}
	outcomes := map[campaign.Outcome]int{}
	for _, c := range both.calls {
		outcomes[c.Outcome]++
	}
	counts := carrier.Counts()
	t.Logf("%d kills in %v: %d INVITEs, %d answered, %d left ringing, %d left up, %d records: %v",
		n, took.Round(time.Second), counts.Arrived, counts.Answered, counts.Ringing, counts.Talking, len(both.calls), outcomes)
	wrong := both.reconcile()
	for i, w := range wrong {
		if i == 20 {
			t.Errorf("… and %d more", len(wrong)-i)
			break
		}
		t.Error(w)
	}
	if counts.Arrived < n || outcomes[campaign.OutcomeInterrupted] == 0 {
		t.Errorf("%d INVITEs and %d interrupted calls in %d kills: too few to prove anything", counts.Arrived, outcomes[campaign.OutcomeInterrupted], n)
	}
}

// brisk is how people behave who have no time: everything happens within two
// seconds, so that a kill meets every stage of a call.
func brisk(seed uint64, number string, attempt int) siptest.Behaviour {
	b := siptest.DefaultPopulation().Behave(seed, number, attempt)
	b = siptest.Behaviour{
		Kind: siptest.Human, PostDial: b.PostDial / 50, Ring: b.Ring / 20, Audio: "hello-1", Voice: "person-1",
		SpeakAfter: 50 * time.Millisecond, Patience: time.Minute, Talk: time.Minute,
		LateAnswer: b.LateAnswer, Retransmit: b.Retransmit, HangsUp: b.HangsUp,
	}
	switch digit := number[len(number)-1]; {
	case digit == '0':
		b.Kind, b.Status = siptest.Busy, 486
	case digit == '1':
		b.Kind = siptest.NoAnswer
	case digit <= '4' && b.HangsUp:
		b.Talk = 300 * time.Millisecond
	}
	return b
}

// accounts are what both sides say of the same calls, at rest.
type accounts struct {
	ledger []siptest.CallRecord // the carrier's: what was
	calls  []api.CallView       // the dialer's: what it says
	leads  []api.LeadView
	events []dialer.Event
}

// leftOpen are the calls up at the carrier that a dialer should have ended: all
// that were answered. What only rings it cannot end, since the transaction that
// could CANCEL it died; that is hung up when it is answered.
func (b accounts) leftOpen() (open []string) {
	for _, l := range b.ledger {
		if call, _, _ := strings.Cut(l.CallID, "@"); l.Open() && !l.AnsweredAt.IsZero() {
			open = append(open, call)
		}
	}
	return open
}

// reconcile returns every promise that they show broken.
func (b accounts) reconcile() (wrong []string) {
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if n := overlapping(b.ledger, func(l siptest.CallRecord) (string, time.Time, time.Time) { return l.To, l.ArrivedAt, l.EndedAt }); n > 0 {
		add("%d times a number was in two calls at once", n)
	}
	records := map[string][]api.CallView{}
	for _, c := range b.calls {
		records[string(c.ID)] = append(records[string(c.ID)], c)
		if c.State != campaign.Ended || c.Outcome == "" || c.Class == "" {
			add("call %s is at rest in state %s, outcome %q, class %q", c.ID, c.State, c.Outcome, c.Class)
		}
	}
	for _, call := range b.leftOpen() {
		add("call %s is still open at the carrier", call)
	}
	invited := map[string]bool{}
	last := map[string]siptest.CallRecord{}
	for _, l := range b.ledger {
		call, _, _ := strings.Cut(l.CallID, "@")
		if invited[call] {
			add("call %s had two INVITEs", call)
		}
		invited[call] = true
		found := records[call]
		if len(found) != 1 {
			add("the INVITE of call %s to %s has %d records", call, l.To, len(found))
			continue
		}
		if c := found[0]; string(c.To) != l.To && string(c.To) != "+"+l.To {
			add("call %s went to %s and its record says %s", call, l.To, c.To)
		}
		if before, ok := last[l.To]; ok {
			id, _, _ := strings.Cut(before.CallID, "@")
			if old := records[id]; len(old) == 1 && old[0].Outcome == campaign.OutcomeInterrupted && l.ArrivedAt.Sub(before.ArrivedAt) < time.Hour {
				add("call %s to %s was tried again at once after its attempt %s was interrupted", call, l.To, id)
			}
		}
		last[l.To] = l
	}
	for _, c := range b.calls {
		if c.SentAt != nil && !invited[string(c.ID)] && c.Outcome != campaign.OutcomeInterrupted && c.Cause != telephony.CauseNotSent {
			add("call %s says that it was sent, ended %s, and the carrier never saw it", c.ID, c.Outcome)
		}
	}
	for _, l := range b.leads {
		if l.State == campaign.Claimed || l.State == campaign.Calling {
			add("lead %s is stuck in state %s", l.ID, l.State)
		}
	}
	for _, v := range compliance.Audit(b.events) {
		add("%s", v)
	}
	return wrong
}

// TestReconcileSees proves that the kill test can fail.
func TestReconcileSees(t *testing.T) {
	at := func(s int) time.Time { return time.Date(2026, 1, 2, 3, 4, s, 0, time.UTC) }
	stamp := func(s int) *time.Time { v := at(s); return &v }
	sound := func() accounts {
		b := accounts{leads: []api.LeadView{{ID: "led_1", State: campaign.Dialable}, {ID: "led_2", State: campaign.Done}}}
		for i, outcome := range []campaign.Outcome{campaign.OutcomeBusy, campaign.OutcomeConnected, campaign.OutcomeInterrupted} {
			id := dialer.CallID(fmt.Sprintf("cal_%d", i))
			to := dialer.Number(fmt.Sprintf("+1212456789%d", i%2))
			b.ledger = append(b.ledger, siptest.CallRecord{CallID: string(id) + "@host", To: string(to), ArrivedAt: at(10 * i), EndedAt: at(10*i + 5)})
			b.calls = append(b.calls, api.CallView{ID: id, To: to, State: campaign.Ended, Outcome: outcome, Class: "failed", SentAt: stamp(10 * i)})
			lead := dialer.LeadID(fmt.Sprintf("led_%d", i%2))
			b.events = append(b.events,
				dialer.Event{Seq: int64(2*i + 1), At: at(10 * i), Call: id, Lead: lead, Fact: dialer.CallPlaced{To: to}},
				dialer.Event{Seq: int64(2*i + 2), At: at(10*i + 5), Call: id, Lead: lead, Fact: dialer.CallEnded{Class: "failed"}})
		}
		return b
	}
	if wrong := sound().reconcile(); len(wrong) > 0 {
		t.Fatalf("sound accounts: %v", wrong)
	}
	for _, c := range []struct {
		name   string
		spoil  func(*accounts)
		spoken string
	}{
		{"two calls at once", func(b *accounts) { b.ledger[2].ArrivedAt = at(3) }, "two calls at once"},
		{"an INVITE without a record", func(b *accounts) { b.calls = b.calls[1:] }, "has 0 records"},
		{"two records", func(b *accounts) { b.calls = append(b.calls, b.calls[0]) }, "has 2 records"},
		{"two INVITEs", func(b *accounts) { b.ledger[2].CallID = b.ledger[1].CallID }, "two INVITEs"},
		{"another number", func(b *accounts) { b.calls[0].To = "+12124567899" }, "its record says"},
		{"a dialog left open", func(b *accounts) {
			b.ledger[1].AnsweredAt, b.ledger[1].EndedAt, b.calls[1].AnsweredAt = at(11), time.Time{}, stamp(11)
		}, "open at the carrier"},
		{"a record without an INVITE", func(b *accounts) { b.ledger = b.ledger[1:] }, "never saw it"},
		{"a record without an end", func(b *accounts) { b.calls[0].State = campaign.Ringing }, "at rest in state ringing"},
		{"a retry of an interrupted attempt", func(b *accounts) { b.calls[0].Outcome = campaign.OutcomeInterrupted }, "tried again at once"},
		{"a stuck lead", func(b *accounts) { b.leads[0].State = campaign.Calling }, "stuck in state calling"},
		{"a log without an end", func(b *accounts) { b.events = b.events[:5] }, "has no end"},
	} {
		b := sound()
		c.spoil(&b)
		if wrong := strings.Join(b.reconcile(), "\n"); !strings.Contains(wrong, c.spoken) {
			t.Errorf("%s: not seen in %q", c.name, wrong)
		}
	}
}
