package siptrunk_test

import (
	"context"
	"crypto/md5"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"dialer"
	"dialer/telephony"
	"dialer/telephony/siptrunk"
	"dialer/telephony/siptrunk/siptest"
)

// run runs a server until the test ends.
func run(t *testing.T, what string, serve func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
	})
}

// TestPopulationAndPhones runs calls to a whole population, faults included,
// over UDP, TCP and TLS, and to phones on another SIP stack, and compares our word with the carrier's.
func TestPopulationAndPhones(t *testing.T) {
	const calls, phones = 120, 5
	authority, err := siptest.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := authority.Issue("127.0.0.1", time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	carrier, err := siptest.NewCarrier(siptest.CarrierConfig{
		Listen: "127.0.0.1:0", Seed: 7, Speed: 20, User: "acme", Password: "s3cret",
		TLS: &tls.Config{Certificates: []tls.Certificate{cert}},
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg := siptrunk.DefaultConfig()
	cfg.Listen = netip.MustParseAddrPort("127.0.0.1:0")
	cfg.RTPLow, cfg.RTPHigh = 26000, 27999
	ghosts := make(chan dialer.CallID, calls)
	cfg.OnGhost = func(id dialer.CallID, _ time.Time) { ghosts <- id }
	cfg.Credentials = func(_ context.Context, user string) (string, bool, error) {
		sum := md5.Sum([]byte(user + ":" + cfg.Realm + ":pw"))
		return hex.EncodeToString(sum[:]), true, nil
	}
	e, err := siptrunk.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var trunks []telephony.Trunk
	for i, transport := range []telephony.Transport{telephony.UDP, telephony.TCP, telephony.TLS} {
		trunk := telephony.Trunk{
			ID: dialer.TrunkID(fmt.Sprint("trk_", i)), Name: "carrier", Address: carrier.Addr().String(), Username: "acme", Password: "s3cret",
			Channels: calls, CPS: 10_000, Enabled: true, TrunkOptions: telephony.TrunkOptions{Transport: transport},
		}
		if transport == telephony.TLS {
			trunk.Address, trunk.CA = carrier.TLSAddr().String(), authority.PEM()
		}
		trunks = append(trunks, trunk)
	}
	e.SetTrunks(trunks)
	inUse := func() (n int) {
		for _, trunk := range trunks {
			n += e.Capacity(trunk.ID).InUse
		}
		return n
	}
	run(t, "carrier", carrier.Run)
	run(t, "endpoint", e.Run)

	var stations []telephony.Leg
	for i := range phones {
		p, err := siptest.NewPhone(siptest.PhoneConfig{
			Registrar: e.Addr().String(), Extension: fmt.Sprint(100 + i), Password: "pw", Listen: "127.0.0.1:0",
		})
		if err != nil {
			t.Fatal(err)
		}
		run(t, "phone", p.Run)
		if err := p.Await(t.Context(), func(s siptest.PhoneState) bool { return s.Registered }); err != nil {
			t.Fatal(err)
		}
		leg, err := e.Ring(t.Context(), telephony.Station{Extension: fmt.Sprint(100 + i)})
		if err != nil {
			t.Fatal(err)
		}
		stations = append(stations, leg)
	}

	type word struct {
		answered, ghost bool
		status          int
	}
	var mu sync.Mutex
	words := map[dialer.CallID]word{}
	agents := make(chan telephony.Leg, phones)
	for _, s := range stations {
		agents <- s
	}
	var dialing sync.WaitGroup
	for i := range calls {
		inv := telephony.Invite{
			Call: dialer.NewCallID(), Trunk: trunks[i%len(trunks)].ID, From: "+4940987654",
			To: dialer.Number(fmt.Sprintf("+49301%06d", i)), RingTimeout: 1500 * time.Millisecond,
		}
		dialing.Go(func() {
			leg, err := e.Dial(t.Context(), inv)
			var w word
			var de *telephony.DialError
			switch {
			case errors.As(err, &de):
				w.status, w.ghost = de.SIPStatus, de.Ghost
			default:
				w.answered = true
				agent := <-agents
				talk, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				_ = telephony.Bridge(talk, leg, agent) // either end of it is fine
				cancel()
				agents <- agent
				leg.Hangup(telephony.CauseNormal)
			}
			mu.Lock()
			words[inv.Call] = w
			mu.Unlock()
		})
		time.Sleep(5 * time.Millisecond) // 200 calls a second
	}
	dialing.Wait()
	for deadline := time.Now().Add(10 * time.Second); carrier.Open() > 0 || inUse() > 0; {
		if time.Now().After(deadline) {
			t.Fatalf("%d calls open at the carrier, %d channels in use here", carrier.Open(), inUse())
		}
		time.Sleep(5 * time.Millisecond) // capacity has no event to wait on
	}
	close(ghosts)
	late := map[dialer.CallID]bool{}
	for id := range ghosts {
		late[id] = true
	}
	records := carrier.Calls()
	if len(records) != calls {
		t.Errorf("the carrier saw %d calls, %d were placed", len(records), calls)
	}
	answered := 0
	for _, r := range records {
		id := dialer.CallID(r.CallID[:len("cal_")+26])
		w, placed := words[id]
		if !placed {
			t.Errorf("the carrier saw %s, which was not placed", r.CallID)
			continue
		}
		if there, here := !r.AnsweredAt.IsZero(), w.answered || w.ghost || late[id]; there != here {
			t.Errorf("%s to a %s: answered there %v, here %+v", id, r.Kind, there, w)
		}
		if !r.AnsweredAt.IsZero() && r.AckedAt.IsZero() {
			t.Errorf("%s: the answer was not ACKed", id)
		}
		if w.answered {
			answered++
		}
	}
	if answered < calls/5 {
		t.Errorf("only %d of %d answered", answered, calls)
	}
	for i, s := range stations {
		select {
		case <-s.Done():
			t.Errorf("the leg of phone %d ended: %+v", i, s.Info())
		default:
		}
		if s.Info().Media.PacketsIn == 0 {
			t.Errorf("phone %d was not heard", i)
		}
	}
}
