package siptrunk

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"dialer/telephony"
)

// TestSips: what began over TLS stays there, and a peer that is sips gets a
// Contact that is.
func TestSips(t *testing.T) {
	w := newTLSWorld(t)
	p := newStreamPeer(t, w.server("127.0.0.1", time.Now().Add(time.Hour)))
	e := startEndpoint(t, w.listening, w.trunk(p))
	d := dial(t, t.Context(), e, invite())
	m := p.expect("INVITE")
	sips := "sips:callee@" + p.addr().String()
	p.reply(m, reply{status: "200 OK", tag: "a1", body: sdp(someSDPPort), contact: "<" + sips + ">"})
	leg := d.answered()
	if ack := p.expect("ACK"); ack.uri() != sips || ack.from != m.from {
		t.Errorf("ACK to %s from %s", ack.uri(), ack.from)
	}
	again := *m // its Contact is what a request goes to
	again.headers = append([][2]string{{"Contact", strings.Replace(m.get("Contact"), "sip:", "sips:", 1)}}, m.headers...)
	p.request("INVITE", &again, "a1", 1, sdp(someSDPPort), sdpType)
	if got := p.expect("200").get("Contact"); !strings.HasPrefix(got, "<sips:dialer@") {
		t.Errorf("Contact is %s", got)
	}
	p.request("ACK", m, "a1", 1, "")
	p.request("BYE", m, "a1", 2, "")
	awaitDone(t, leg)
}

// TestWrongCertificates: a peer that cannot prove who it is gets nothing of us,
// and the call says why.
func TestWrongCertificates(t *testing.T) {
	w, other := newTLSWorld(t), newTLSWorld(t)
	soon := time.Now().Add(time.Hour)
	plain := newStreamPeer(t, nil)
	plain.on.via = "TLS"
	go func() { // what is no TLS at all
		for conn := range plain.on.accepted {
			conn.Write([]byte("SIP/2.0 400 Bad Request\r\n\r\n"))
		}
	}()
	t.Cleanup(func() { close(plain.on.accepted) })
	for name, c := range map[string]struct {
		peer  *rawPeer
		trunk func(*telephony.Trunk)
		want  string
	}{
		"of another authority": {newStreamPeer(t, other.server("127.0.0.1", soon)), nil, "not signed by the trunk's ca"},
		"of an unknown authority": {newStreamPeer(t, other.server("127.0.0.1", soon)), func(tr *telephony.Trunk) { tr.CA = "" },
			"give the trunk its ca"},
		"of another address": {newStreamPeer(t, w.server("127.0.0.2", soon)), nil, "give the trunk its server_name"},
		"of another name": {newStreamPeer(t, w.server("sip.example.net", soon)), func(tr *telephony.Trunk) { tr.ServerName = "sip.example.com" },
			`not for "sip.example.com"`},
		"expired":        {newStreamPeer(t, w.server("127.0.0.1", time.Now().Add(-time.Minute))), nil, "expired"},
		"no certificate": {plain, nil, "no TLS with"},
	} {
		t.Run(name, func(t *testing.T) {
			tr := w.trunk(c.peer)
			if c.trunk != nil {
				c.trunk(&tr)
			}
			e := startEndpoint(t, nil, tr)
			err := dial(t, t.Context(), e, invite()).failed()
			if err.Cause != telephony.CauseUnreachable || !strings.Contains(err.Reason, c.want) {
				t.Errorf("got %+v", err)
			}
			c.peer.silent("INVITE", 20*time.Millisecond)
		})
	}
	t.Run("of the right name", func(t *testing.T) {
		p := newStreamPeer(t, w.server("sip.example.net", soon))
		tr := w.trunk(p)
		tr.ServerName = "sip.example.net"
		upOn(t, startEndpoint(t, nil, tr), p).end(t, 1)
	})
}

// A certificate of ours is shown to peers that ask for one.
func TestClientCertificate(t *testing.T) {
	w := newTLSWorld(t)
	settings := w.server("127.0.0.1", time.Now().Add(time.Hour))
	settings.ClientAuth = tls.RequireAnyClientCert
	p := newStreamPeer(t, settings)
	e := startEndpoint(t, w.listening, w.trunk(p))
	upOn(t, e, p).end(t, 1)
	conn := p.connected().(*tls.Conn)
	if shown := conn.ConnectionState().PeerCertificates; len(shown) == 0 || shown[0].VerifyHostname("127.0.0.1") != nil {
		t.Errorf("shown %v", shown)
	}
}
