package siptrunk_test

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"dialer/telephony"
	"dialer/telephony/siptrunk"
	"dialer/telephony/siptrunk/siptest"
)

// station is a phone on another SIP stack, the tone it says, and our leg to it.
type station struct {
	*siptest.Phone
	hz  float64
	leg telephony.Leg
}

// The tones of the parties: none is a harmonic of another.
const (
	personHz, agentHz, bossHz, clipHz = 310.0, 470.0, 730.0, 1030.0
)

// stations are phones that have registered and answered, one for each tone.
func stations(t *testing.T, tones ...float64) []station {
	t.Helper()
	cfg := siptrunk.DefaultConfig()
	cfg.Listen = netip.MustParseAddrPort("127.0.0.1:0")
	cfg.RTPLow, cfg.RTPHigh = 28000, 28199
	cfg.Credentials = func(_ context.Context, user string) (string, bool, error) {
		sum := md5.Sum([]byte(user + ":" + cfg.Realm + ":pw"))
		return hex.EncodeToString(sum[:]), true, nil
	}
	e, err := siptrunk.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, "endpoint", e.Run)
	var all []station
	for i, hz := range tones {
		extension := fmt.Sprint(200 + i)
		p, err := siptest.NewPhone(siptest.PhoneConfig{
			Registrar: e.Addr().String(), Extension: extension, Password: "pw", Listen: "127.0.0.1:0", ToneHz: hz,
		})
		if err != nil {
			t.Fatal(err)
		}
		run(t, "phone", p.Run)
		if err := p.Await(t.Context(), func(s siptest.PhoneState) bool { return s.Registered }); err != nil {
			t.Fatal(err)
		}
		leg, err := e.Ring(t.Context(), telephony.Station{Extension: extension})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { leg.Hangup(telephony.CauseNormal) })
		all = append(all, station{p, hz, leg})
	}
	return all
}

// window is the audio that is looked at: half a second tells the tones apart.
const window = 4000

// hears waits until the last half second that a phone heard holds these tones, each
// its share, and none of the others, its own included.
func (s station) hears(t *testing.T, when string, tones ...float64) {
	t.Helper()
	every := time.NewTicker(40 * time.Millisecond)
	defer every.Stop()
	timeout := time.After(10 * time.Second)
	for {
		wrong := s.wrong(tones)
		if wrong == "" {
			return
		}
		select {
		case <-every.C:
		case <-timeout:
			t.Fatalf("%s: the phone of %.0f Hz hears %s", when, s.hz, wrong)
		}
	}
}

// wrong says what a phone should not hear, or should.
func (s station) wrong(tones []float64) string {
	recent := s.Recent()
	if len(recent) < window {
		return "not half a second of audio"
	}
	recent = recent[len(recent)-window:]
	for _, hz := range []float64{personHz, agentHz, bossHz, clipHz} {
		least, most := 0.0, 0.002
		for _, tone := range tones {
			if tone == hz {
				least, most = 0.85/float64(len(tones)), 1
			}
		}
		if share := siptest.Power(recent, hz); share < least || share > most {
			return fmt.Sprintf("%.0f Hz with a share of %.3f, not %.3f to %.3f", hz, share, least, most)
		}
	}
	return ""
}

// A call over real SIP and RTP, from the bridge to a conference and back: each
// party's own tone is found where it should be, and nowhere else.
func TestWhoHearsWhom(t *testing.T) {
	t.Parallel()
	all := stations(t, personHz, agentHz, bossHz)
	person, agent, boss := all[0], all[1], all[2]

	talk := telephony.NewTalk(person.leg, agent.leg)
	person.hears(t, "relayed", agentHz)
	agent.hears(t, "relayed", personHz)

	atBoss, err := talk.Supervise(boss.leg, telephony.Listen)
	if err != nil {
		t.Fatal(err)
	}
	for _, now := range []struct {
		role          telephony.Role
		person, agent []float64
	}{
		{telephony.Listen, []float64{agentHz}, []float64{personHz}},
		{telephony.Whisper, []float64{agentHz}, []float64{personHz, bossHz}},
		{telephony.Barge, []float64{agentHz, bossHz}, []float64{personHz, bossHz}},
	} {
		atBoss.SetRole(now.role)
		person.hears(t, string(now.role), now.person...)
		agent.hears(t, string(now.role), now.agent...)
		boss.hears(t, string(now.role), personHz, agentHz)
	}
	atBoss.Leave()
	person.hears(t, "relayed again", agentHz)
	agent.hears(t, "relayed again", personHz)
	talk.End()

	ctx, cancel := context.WithCancel(t.Context())
	c := telephony.NewConference()
	ran := make(chan error, 1)
	go func() { ran <- c.Run(ctx) }()
	var members []*telephony.Member
	for i, role := range []telephony.Role{telephony.Person, telephony.Agent, telephony.Person} {
		m, err := c.Join(all[i].leg, role)
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, m)
	}
	person.hears(t, "of three", agentHz, bossHz)
	agent.hears(t, "of three", personHz, bossHz)
	boss.hears(t, "of three", personHz, agentHz)

	members[0].Hold(true)
	playing, stop := context.WithCancel(ctx)
	played := make(chan error, 1)
	go func() {
		_, err := c.Play(playing, telephony.Clip{Samples: siptest.Tone(clipHz, time.Minute)}, members[0])
		played <- err
	}()
	person.hears(t, "on hold, with music", clipHz)
	agent.hears(t, "with the person on hold", bossHz)
	boss.hears(t, "with the person on hold", agentHz)
	stop()
	<-played
	person.hears(t, "on hold")
	members[0].Hold(false)

	boss.Hangup() // the others go on
	<-members[2].Left()
	person.hears(t, "after the third hung up", agentHz)
	agent.hears(t, "after the third hung up", personHz)
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
}
