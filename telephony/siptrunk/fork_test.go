package siptrunk

import (
	"slices"
	"strings"
	"testing"

	"dialer/telephony"
)

// Each fork's answer is ACKed with its own tag; the second is hung up.
func TestTwoForksAnswer(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	d := dial(t, t.Context(), e, invite())
	m := p.expect("INVITE")
	p.reply(m, reply{status: "180 Ringing", tag: "a1"})
	p.reply(m, answerSDP)
	leg := d.answered()
	p.expect("ACK")
	p.reply(m, reply{status: "200 OK", tag: "fork2", body: sdp(someSDPPort)})
	if ack := p.expect("ACK"); !strings.HasSuffix(ack.get("To"), ";tag=fork2") {
		t.Errorf("the second fork's ACK has To %s", ack.get("To"))
	}
	bye := p.expect("BYE")
	if !strings.HasSuffix(bye.get("To"), ";tag=fork2") {
		t.Errorf("BYE has To %s", bye.get("To"))
	}
	p.ok(bye)
	p.reply(m, answerSDP) // the first one again: its ACK was lost
	if ack := p.expect("ACK"); !strings.HasSuffix(ack.get("To"), ";tag=a1") {
		t.Errorf("the repeated ACK has To %s", ack.get("To"))
	}
	select {
	case <-leg.Done():
		t.Error("the first fork's leg ended")
	default:
	}
	leg.Hangup(telephony.CauseNormal)
	p.ok(p.expect("BYE"))
}

// Contact is elsewhere and no proxy recorded a route: what goes there
// leaves from our port and says so.
func TestContactElsewhere(t *testing.T) {
	p, elsewhere := newRawPeer(t), newRawPeerAt(t, "127.0.0.2")
	e := startEndpoint(t, nil, testTrunk(p))
	d := dial(t, t.Context(), e, invite())
	m := p.expect("INVITE")
	p.reply(m, reply{
		status: "200 OK", tag: "a1", body: sdp(someSDPPort),
		contact: "<sip:gw@" + elsewhere.addr().String() + ">",
	})
	leg := d.answered()
	ack := elsewhere.expect("ACK")
	leg.Hangup(telephony.CauseNormal)
	bye := elsewhere.expect("BYE")
	for _, r := range []*rawMessage{ack, bye} {
		if r.from != e.Addr() || !strings.Contains(r.get("Via"), " "+e.Addr().String()+";") {
			t.Errorf("%s came from %s with Via %s, want %s", r.method(), r.from, r.get("Via"), e.Addr())
		}
	}
	elsewhere.ok(bye)
	awaitFree(t, e)
}

func TestRecordRoute(t *testing.T) {
	p, proxy := newRawPeer(t), newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	d := dial(t, t.Context(), e, invite())
	m := p.expect("INVITE")
	p.reply(m, reply{
		status: "200 OK", tag: "a1", body: sdp(someSDPPort), contact: "<sip:gw@192.0.2.1:5070>",
		headers: []string{"Record-Route: <sip:192.0.2.9;lr>, <sip:" + proxy.addr().String() + ";lr>"},
	})
	leg := d.answered()
	proxy.expect("ACK")
	leg.Hangup(telephony.CauseNormal)
	bye := proxy.expect("BYE")
	want := []string{"<sip:" + proxy.addr().String() + ";lr>", "<sip:192.0.2.9;lr>"}
	if got := bye.all("Route"); !slices.Equal(got, want) || bye.uri() != "sip:gw@192.0.2.1:5070" {
		t.Errorf("BYE %s has Route %v, want %v", bye.uri(), got, want)
	}
	proxy.ok(bye)
}
