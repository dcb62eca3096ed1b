package ladder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dialer"
	"dialer/internal/memstore"
	"dialer/telephony"
)

// store is a Store that can be away.
type store struct {
	*memstore.Store
	mu   sync.Mutex
	away error
}

func (s *store) set(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = err
}

func (s *store) SaveLadders(ctx context.Context, parts []telephony.Ladder) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away != nil {
		return s.away
	}
	return s.Store.SaveLadders(ctx, parts)
}

// A house is a recorder that runs in a bubble.
type house struct {
	*Recorder
	t     *testing.T
	store *store
}

func open(t *testing.T, run bool) *house {
	t.Helper()
	h := &house{t: t, store: &store{Store: memstore.New()}}
	h.Recorder = New(h.store, 2*time.Hour, slog.New(slog.DiscardHandler))
	if run {
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if err := h.Run(ctx); err != nil {
				t.Error(err)
			}
		}()
		t.Cleanup(func() { stop(); <-ended })
	}
	return h
}

var peer = netip.MustParseAddrPort("192.0.2.1:5060")

// hear gives the recorder messages: "> INVITE", "< 200 INVITE", …
func (h *house) hear(call dialer.CallID, messages ...string) {
	for _, m := range messages {
		h.Hear(message(call, m))
	}
}

func message(call dialer.CallID, m string) telephony.SIPMessage {
	words := strings.Fields(m)
	method, first := words[len(words)-1], words[1]+" sip:+12025550143@192.0.2.1 SIP/2.0"
	if len(words) > 2 {
		first = "SIP/2.0 " + words[1] + " Whatever"
	}
	return telephony.SIPMessage{
		At: time.Now(), Sent: words[0] == ">", Transport: telephony.UDP, Remote: peer,
		Data: fmt.Appendf(nil, "%s\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nTo: <sip:+12025550143@192.0.2.1>\r\nCall-ID: %s@abc\r\nCSeq: 1 %s\r\n"+
			"Authorization: Digest response=\"c4n4ry\"\r\n\r\n", first, call, method),
	}
}

// of is the ladder of a call in one line.
func (h *house) of(call dialer.CallID) string {
	h.t.Helper()
	l, err := h.Of(h.t.Context(), call)
	if err != nil {
		h.t.Fatal(err)
	}
	var all []string
	for _, r := range l.Rungs() {
		if strings.Contains(string(r.Data)+r.Text, "c4n4ry") {
			h.t.Errorf("a secret is told: %s", r.Text)
		}
		word, _, _ := strings.Cut(strings.TrimPrefix(r.First, "SIP/2.0 "), " ")
		all = append(all, map[bool]string{true: ">", false: "<"}[r.Sent]+word)
	}
	return strings.Join(all, " ")
}

func (h *house) stored(call dialer.CallID) int {
	parts, err := h.store.Ladders(h.t.Context(), call)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, p := range parts {
		for _, m := range p.Messages {
			if bytes.Contains(m.Data, []byte("c4n4ry")) {
				h.t.Errorf("a secret is stored: %s", m.Data)
			}
		}
	}
	return len(parts)
}

// TestLifeOfALadder: it can be read at any time, and is stored once the call is over.
func TestLifeOfALadder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, true)
		call := dialer.NewCallID()
		h.hear(call, "> INVITE", "< 180 INVITE", "< 200 INVITE", "> ACK")
		if got, want := h.of(call), ">INVITE <180 <200 >ACK"; got != want {
			t.Errorf("ringing: %s", got)
		}
		time.Sleep(10 * time.Minute)
		if h.stored(call) != 0 {
			t.Error("stored in the middle of the talk")
		}
		h.hear(call, "< BYE", "> 200 BYE")
		time.Sleep(linger + 2*sweepEvery)
		if n := h.stored(call); n != 1 {
			t.Errorf("%d rows after the end", n)
		}
		want := ">INVITE <180 <200 >ACK <BYE >200"
		if got := h.of(call); got != want {
			t.Errorf("after the end %s", got)
		}
		h.hear(call, "< BYE") // it has not heard us
		if got := h.of(call); got != want+" <BYE" {
			t.Errorf("a late message: %s", got)
		}
		time.Sleep(linger + 2*sweepEvery)
		if got := h.of(call); got != want+" <BYE" || h.stored(call) != 2 || h.Stats() != (Stats{}) {
			t.Errorf("afterwards: %s, %+v", got, h.Stats())
		}
		time.Sleep(3 * time.Hour)
		if got := h.of(call); got != "" {
			t.Errorf("kept for too long: %s", got)
		}
	})
}

// TestEveryEnd: calls that were not answered, failed over or became a ghost have
// a ladder too.
func TestEveryEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, true)
		ends := map[string][]string{
			"busy":      {"> INVITE", "< 486 INVITE", "> ACK"},
			"given up":  {"> INVITE", "< 180 INVITE", "> CANCEL", "< 200 CANCEL", "< 487 INVITE", "> ACK"},
			"failover":  {"> INVITE", "< 503 INVITE", "> ACK", "> INVITE", "< 404 INVITE", "> ACK"},
			"ghost":     {"> INVITE", "> CANCEL", "< 200 INVITE", "> ACK", "> BYE", "< 200 BYE"},
			"challenge": {"> INVITE", "< 401 INVITE", "> ACK", "> INVITE", "< 486 INVITE", "> ACK"},
		}
		ids := map[string]dialer.CallID{}
		for name, messages := range ends {
			ids[name] = dialer.NewCallID()
			h.hear(ids[name], messages...)
		}
		late := dialer.NewCallID() // answered long after it was given up
		h.hear(late, "< 200 INVITE")
		silent := dialer.NewCallID()
		h.hear(silent, "> INVITE")
		time.Sleep(linger + 2*sweepEvery)
		for name, id := range ids {
			if h.stored(id) != 1 || len(strings.Fields(h.of(id))) != len(ends[name]) {
				t.Errorf("%s: %d rows, %s", name, h.stored(id), h.of(id))
			}
		}
		if h.stored(silent) != 0 || h.stored(late) != 0 {
			t.Error("a call that may go on is stored")
		}
		h.hear(late, "> ACK", "> BYE", "< 200 BYE")
		time.Sleep(quiet)
		if h.stored(silent) != 1 || h.stored(late) != 1 || h.Stats().Live != 0 {
			t.Error("a call that nobody hears of stays in memory")
		}
	})
}

// TestLadderOfALongCall keeps the begin and the end.
func TestLadderOfALongCall(t *testing.T) {
	h := open(t, false)
	call := dialer.NewCallID()
	for range 1000 {
		h.hear(call, "> UPDATE", "< 200 UPDATE")
	}
	h.hear(call, "> BYE")
	l, err := h.Of(t.Context(), call)
	if err != nil || len(l.Messages) != headMessages+tailMessages || l.LeftOut != 2001-len(l.Messages) || l.Head != headMessages {
		t.Errorf("%d messages, %d left out, %v", len(l.Messages), l.LeftOut, err)
	}
	if last := l.Messages[len(l.Messages)-1].Data; !bytes.HasPrefix(last, []byte("BYE ")) {
		t.Errorf("the last is %s", last)
	}
	big := message(dialer.NewCallID(), "> INVITE")
	big.Data = append(big.Data, make([]byte, 60_000)...)
	other := dialer.NewCallID()
	for range 100 {
		m := big
		m.Data = bytes.Replace(big.Data, []byte("Call-ID: cal_"), []byte("Call-ID: "+string(other)+"@x\r\nX: "), 1)
		h.Hear(m)
	}
	if n := h.Stats().Bytes; n > 3*mostBytes+headMessages*2000 {
		t.Errorf("%d bytes in memory", n)
	}
}

// TestStoreAway: what waits is bounded, calls go on, and it is saved in the end.
func TestStoreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, true)
		h.store.set(errors.New("away"))
		long := strings.Repeat("x", 8000)
		call := func() dialer.CallID {
			id := dialer.NewCallID()
			for _, m := range []string{"> INVITE", "< 486 INVITE"} {
				msg := message(id, m)
				msg.Data = append(msg.Data, long...)
				h.Hear(msg)
			}
			return id
		}
		for range 60 {
			for range 100 {
				call()
			}
			time.Sleep(time.Second)
		}
		time.Sleep(linger + 2*sweepEvery)
		s := h.Stats()
		if s.Bytes > mostMemory/2 || s.Waiting < 1000 || s.Lost == 0 {
			t.Errorf("%+v", s)
		}
		last := call()
		if h.of(last) != ">INVITE <486" {
			t.Errorf("in memory: %s", h.of(last))
		}
		time.Sleep(time.Minute)
		h.store.set(nil)
		time.Sleep(2 * saveLimit)
		if s := h.Stats(); s.Waiting != 0 || s.Bytes != 0 || h.stored(last) != 1 {
			t.Errorf("once it is back: %+v, %d rows", s, h.stored(last))
		}
	})
}

// TestEndSaves: what is up when the dialer ends is not lost.
func TestEndSaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, false)
		call := dialer.NewCallID()
		h.hear(call, "> INVITE")
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if err := h.Run(ctx); err != nil || h.stored(call) != 1 {
			t.Errorf("%v, %d rows", err, h.stored(call))
		}
	})
}

// TestStrangers: what belongs to no call is not kept, and nobody fills the memory
// with calls that we have not placed.
func TestStrangers(t *testing.T) {
	h := open(t, false)
	for _, id := range []dialer.CallID{"", "cal_", "cal_../../x", "trk_01h455vb4pex5vsknk084sn02q", "1234"} {
		h.hear(id, "< OPTIONS", "> 200 OPTIONS")
	}
	h.Hear(telephony.SIPMessage{Data: []byte("\r\n\r\n")})
	h.Hear(telephony.SIPMessage{})
	if s := h.Stats(); s != (Stats{}) {
		t.Errorf("%+v", s)
	}
	for range 2 * mostUnasked {
		h.hear(dialer.NewCallID(), "< BYE")
	}
	if s := h.Stats(); s.Live != mostUnasked || s.Lost != mostUnasked {
		t.Errorf("%+v", s)
	}
	ours := dialer.NewCallID()
	h.hear(ours, "> INVITE")
	if h.of(ours) == "" {
		t.Error("a call of ours has no ladder")
	}
}

func TestLaddersOfAPhone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, true)
		ring := func(station string, messages ...string) dialer.CallID {
			id := dialer.NewCallID()
			for _, m := range messages {
				msg := message(id, m)
				msg.Data = bytes.ReplaceAll(msg.Data, []byte("+12025550143"), []byte(station))
				h.Hear(msg)
			}
			time.Sleep(10 * time.Second)
			return id
		}
		ring("anna", "> INVITE", "< 486 INVITE")
		shift := ring("anna", "> INVITE", "< 200 INVITE")
		ring("bert", "> INVITE")
		time.Sleep(time.Hour) // the begin of the shift is stored
		h.hear(shift, "< BYE")
		got, err := h.OfStation(t.Context(), "anna", 5)
		if err != nil || len(got) != 2 || got[0].Call != shift || len(got[0].Messages) != 3 || got[0].Station != "anna" {
			t.Errorf("%+v, %v", got, err)
		}
		if got, err := h.OfStation(t.Context(), "anna", 1); err != nil || len(got) != 1 || got[0].Call != shift {
			t.Errorf("the last one: %+v, %v", got, err)
		}
	})
}

// TestHearFromMany goroutines while others read and save.
func TestHearFromMany(t *testing.T) {
	h := open(t, true)
	ids := make([]dialer.CallID, 20)
	for i := range ids {
		ids[i] = dialer.NewCallID()
	}
	var all sync.WaitGroup
	for _, id := range ids {
		all.Go(func() {
			h.hear(id, "> INVITE", "< 180 INVITE", "< 200 INVITE", "> ACK", "> BYE", "< 200 BYE")
			h.Of(t.Context(), id)
		})
	}
	all.Wait()
	for _, id := range ids {
		if got := h.of(id); got != ">INVITE <180 <200 >ACK >BYE <200" {
			t.Errorf("%s", got)
		}
	}
	if got := slices.Sorted(slices.Values(ids)); len(got) != 20 {
		t.Error(got)
	}
}

// BenchmarkHear is what a message costs the call path: about what a carrier sends.
func BenchmarkHear(b *testing.B) {
	r := New(&store{Store: memstore.New()}, time.Hour, slog.New(slog.DiscardHandler))
	m := message(dialer.NewCallID(), "< 200 INVITE")
	m.Data = append(m.Data, make([]byte, 700)...)
	b.SetBytes(int64(len(m.Data)))
	b.ReportAllocs()
	for b.Loop() {
		r.Hear(m)
	}
}

// BenchmarkHearDuringSweep is how long the readers of SIP wait while 10,000 calls
// end at once and their ladders are taken out.
func BenchmarkHearDuringSweep(b *testing.B) {
	r := New(&store{Store: memstore.New()}, time.Hour, slog.New(slog.DiscardHandler))
	fill := func() {
		for range 10_000 {
			id := dialer.NewCallID()
			for _, m := range []string{"> INVITE", "< 180 INVITE", "< 486 INVITE", "> ACK"} {
				r.Hear(message(id, m))
			}
		}
	}
	m := message(dialer.NewCallID(), "< 200 INVITE")
	var longest, total time.Duration
	heard := 0
	for b.Loop() {
		b.StopTimer()
		fill()
		b.StartTimer()
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.sweep(time.Now().Add(linger), false)
		}()
		for over := false; !over; heard++ {
			select {
			case <-done:
				over = true
			default:
			}
			at := time.Now()
			r.Hear(m)
			took := time.Since(at)
			longest, total = max(longest, took), total+took
		}
		b.StopTimer()
		r.sweep(time.Now(), true)
		r.over = nil
		r.bytes.Store(0)
		b.StartTimer()
	}
	b.ReportMetric(float64(longest.Microseconds()), "max-µs")
	b.ReportMetric(float64(total.Nanoseconds())/float64(heard), "ns/Hear")
}
