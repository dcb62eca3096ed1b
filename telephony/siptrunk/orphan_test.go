package siptrunk

import (
	"strings"
	"testing"
	"time"

	"dialer"
	"dialer/telephony"
)

// The phone of a process that died still rings: the next one cancels it, however
// often its INVITE was sent again and at whichever trunk it ended up, and hangs up
// who answers all the same.
func TestCallThatRangForADeadProcessIsCancelled(t *testing.T) {
	key := []byte("the same at each start")
	challenge := reply{status: "407 Proxy Authentication Required", tag: "x", headers: []string{challengeFor("carrier")}}
	tooShort := reply{status: "422 Session Interval Too Small", tag: "x", headers: []string{"Min-SE: 3600"}}
	refused := reply{status: "503 Service Unavailable", tag: "x"}
	for name, tc := range map[string]struct {
		again    []reply // to the INVITEs before the one that rings
		backup   bool    // it rings at another trunk, after
		first    string  // trunk was "silent", or "refuses", and is "dead" now
		answered bool
	}{
		"ringing":                        {},
		"ringing after a challenge":      {again: []reply{challenge}},
		"ringing after a 422 as well":    {again: []reply{challenge, tooShort}},
		"answers as it is cancelled":     {answered: true},
		"at a backup trunk":              {backup: true, first: "refuses"},
		"challenged by a backup trunk":   {backup: true, first: "refuses", again: []reply{challenge}},
		"at a backup of a silent trunk":  {backup: true, first: "silent"},
		"at a backup of a dead trunk":    {backup: true, first: "dead"},
		"answered at a backup as it is…": {backup: true, first: "refuses", answered: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			named := func(c *Config) {
				c.Key = key
				if tc.first == "silent" || tc.first == "dead" {
					c.NoResponse = time.Second
				}
			}
			p := newRawPeer(t)
			tr := testTrunk(p)
			tr.Username, tr.Password = "acme", "s3cret"
			inv := invite()
			trunks := []telephony.Trunk{tr}
			var lost *rawPeer
			if tc.backup {
				lost = newRawPeer(t)
				inv.Trunk, inv.Backups = "trk_first", []dialer.TrunkID{"trk_none", tr.ID}
				first := testTrunk(lost)
				first.ID = inv.Trunk
				trunks = append(trunks, first)
			}
			before := startEndpoint(t, named, trunks...)
			d := dial(t, t.Context(), before, inv)
			if lost != nil {
				if m := lost.expect("INVITE"); tc.first == "refuses" {
					lost.reply(m, refused)
				}
				answers := func(m *rawMessage) {
					if m.method() == "CANCEL" && tc.first != "dead" { // known, for a while
						lost.ok(m)
					}
				}
				lost.serve.Store(&answers)
			}
			m := p.expect("INVITE")
			for _, r := range tc.again {
				p.reply(m, r)
				m = p.expect("INVITE")
			}
			p.reply(m, reply{status: "180 Ringing", tag: "a1"})

			ghosts := make(chan dialer.CallID, 1)
			next := startEndpoint(t, func(c *Config) {
				named(c)
				c.OnGhost = func(id dialer.CallID, _ time.Time) { ghosts <- id }
			}, trunks...)
			ended := asked(func() error {
				return next.CancelOrphan(t.Context(), telephony.Invite{Call: inv.Call, To: inv.To, From: inv.From, Trunk: inv.Trunk, Backups: inv.Backups})
			})
			branch := func(m *rawMessage) string { _, b, _ := strings.Cut(m.get("Via"), "branch="); return b }
			tag := func(m *rawMessage) string { _, tag, _ := strings.Cut(m.get("From"), "tag="); return tag }
			c := p.expect("CANCEL")
			for ; c.cseq() != m.cseq(); c = p.expect("CANCEL") {
				p.reply(c, reply{status: "481 Call/Transaction Does Not Exist"})
			}
			if branch(c) != branch(m) || tag(c) != tag(m) || c.get("Call-ID") != m.get("Call-ID") || c.uri() != m.uri() {
				t.Errorf("CANCEL does not match its INVITE:\n%v\n%v", c, m)
			}
			p.ok(c)
			err := awaitErr(t, ended)
			if dead := tc.first == "dead"; dead != (err != nil) {
				t.Errorf("cancelling ended with %v", err)
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
				ack := p.expect("ACK")
				for ; branch(ack) != branch(m); ack = p.expect("ACK") { // of the refusals before
				}
				if ack.from != next.Addr() {
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
	unknown := func(m *rawMessage) { p.reply(m, reply{status: "481 Call/Transaction Does Not Exist"}) }
	p.serve.Store(&unknown)
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

// A known host cannot make a ghost of a call that never was: a late answer must
// name an INVITE of ours.
func TestInventedAnswerIsNoGhost(t *testing.T) {
	ghosts := make(chan dialer.CallID, 8)
	p := newRawPeer(t)
	e := startEndpoint(t, func(c *Config) { c.OnGhost = func(id dialer.CallID, _ time.Time) { ghosts <- id } }, testTrunk(p))
	id := dialer.NewCallID()
	real := e.callID(id, "trk_test", route{telephony.UDP, p.addr()})
	answer := func(callID, tag string) {
		p.send(e.Addr(), "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP "+e.Addr().String()+";branch=z9hG4bK."+newTag()+"\r\n"+
			"From: <sip:a@127.0.0.1>;tag="+tag+"\r\nTo: <sip:b@127.0.0.1>;tag=x\r\nCall-ID: "+callID+"\r\nCSeq: 1 INVITE\r\n"+
			"Contact: <sip:b@"+p.addr().String()+">\r\nContent-Length: 0\r\n\r\n")
	}
	if err := e.sock.await(t.Context()); err != nil {
		t.Fatal(err)
	}
	answer(string(id)+"@aaaaaaaaaaaaaaaaaaaa", newTag())
	answer(real, newTag())
	answer("invented", e.named("tag", real, 0))
	answer(real, e.named("tag", real, 0)) // of a process before this one
	if ack := p.expect("ACK"); ack.get("Call-ID") != real || !strings.Contains(ack.get("From"), e.named("tag", real, 0)) {
		t.Errorf("the first ACK is of %s, %s", ack.get("Call-ID"), ack.get("From"))
	}
	p.ok(p.expect("BYE"))
	if got := <-ghosts; got != id {
		t.Errorf("ghost of %s", got)
	}
	select {
	case got := <-ghosts:
		t.Errorf("ghost of %s", got)
	default:
	}
}
