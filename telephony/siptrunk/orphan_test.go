package siptrunk

import (
	"strings"
	"testing"
	"time"

	"dialer"
	"dialer/telephony"
)

// The phone of a process that died still rings: the next one cancels it, whether
// its INVITE was challenged or not, and hangs up who answers all the same.
func TestCallThatRangForADeadProcessIsCancelled(t *testing.T) {
	key := []byte("the same at each start")
	for name, tc := range map[string]struct{ challenged, answered bool }{
		"ringing": {}, "ringing after a challenge": {challenged: true}, "answers as it is cancelled": {answered: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newRawPeer(t)
			tr := testTrunk(p)
			if tc.challenged {
				tr.Username, tr.Password = "acme", "s3cret"
			}
			before := startEndpoint(t, func(c *Config) { c.Key = key }, tr)
			inv := invite()
			d := dial(t, t.Context(), before, inv)
			m := p.expect("INVITE")
			if tc.challenged {
				p.reply(m, reply{status: "407 Proxy Authentication Required", tag: "x", headers: []string{challengeFor("carrier")}})
				m = p.expect("INVITE")
			}
			p.reply(m, reply{status: "180 Ringing", tag: "a1"})

			ghosts := make(chan dialer.CallID, 1)
			next := startEndpoint(t, func(c *Config) {
				c.Key = key
				c.OnGhost = func(id dialer.CallID, _ time.Time) { ghosts <- id }
			}, tr)
			ended := asked(func() error {
				return next.CancelOrphan(t.Context(), telephony.Invite{Call: inv.Call, To: inv.To, From: inv.From, Trunk: inv.Trunk})
			})
			c := p.expect("CANCEL")
			branch := func(m *rawMessage) string { _, b, _ := strings.Cut(m.get("Via"), "branch="); return b }
			tag := func(m *rawMessage) string { _, tag, _ := strings.Cut(m.get("From"), "tag="); return tag }
			if branch(c) != branch(m) || tag(c) != tag(m) || c.cseq() != m.cseq() || c.get("Call-ID") != m.get("Call-ID") || c.uri() != m.uri() {
				t.Errorf("CANCEL does not match its INVITE:\n%v\n%v", c, m)
			}
			p.ok(c)
			if err := awaitErr(t, ended); err != nil {
				t.Fatal(err)
			}
			// Its last word comes to the process that is there now.
			now := *m
			now.from = c.from
			if tc.answered {
				p.reply(&now, answerSDP)
				p.expect("ACK")
				p.ok(p.expect("BYE"))
				if id := <-ghosts; id != inv.Call {
					t.Errorf("ghost of %s", id)
				}
			} else {
				p.reply(&now, reply{status: "487 Request Terminated", tag: "a1"})
				if ack := p.expect("ACK"); branch(ack) != branch(m) || ack.from != next.Addr() {
					t.Errorf("the refusal was acknowledged by %v", ack)
				}
			}
			p.reply(m, reply{status: "487 Request Terminated", tag: "a1"})
			d.failed()
		})
	}
}

func TestCancelOrphanOfNobody(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	ended := asked(func() error { return e.CancelOrphan(t.Context(), invite()) })
	p.reply(p.expect("CANCEL"), reply{status: "481 Call/Transaction Does Not Exist"})
	if err := awaitErr(t, ended); err != nil {
		t.Error(err)
	}
	bad := invite()
	bad.Trunk = "trk_other"
	if err := e.CancelOrphan(t.Context(), bad); dialer.CodeOf(err) != dialer.NotFound {
		t.Errorf("no such trunk: %v", err)
	}
	bad = invite()
	bad.To = "x"
	if err := e.CancelOrphan(t.Context(), bad); dialer.CodeOf(err) != dialer.Invalid {
		t.Errorf("no number: %v", err)
	}
}
