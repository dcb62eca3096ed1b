package siptrunk

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"dialer/telephony"
)

// secret is a key of the far end, made of one letter.
func secret(letter string) string {
	return "AES_CM_128_HMAC_SHA1_80 inline:" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(letter, 30)))
}

// crypto is the far end's line with a key.
func crypto(tag int, letter string) string { return fmt.Sprintf("a=crypto:%d %s", tag, secret(letter)) }

func savp(port int, extra ...string) string {
	return strings.Replace(sdp(port, extra...), "RTP/AVP", "RTP/SAVP", 1)
}

func cryptoLines(sdp string) (lines []string) {
	for line := range strings.Lines(sdp) {
		if strings.HasPrefix(line, "a=crypto:") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

func withSRTP(p *rawPeer, policy telephony.SRTPPolicy) telephony.Trunk {
	trunk := testTrunk(p)
	trunk.SRTP = policy
	return trunk
}

// What a trunk's policy offers, and which answers it takes.
func TestSRTPPolicy(t *testing.T) {
	for _, c := range []struct {
		policy          telephony.SRTPPolicy
		answer          func(port int, extra ...string) string
		lines           []string
		answered, plain bool
	}{
		{telephony.SRTPOff, sdp, nil, true, true},
		{telephony.SRTPOptional, sdp, nil, true, true},
		{telephony.SRTPOptional, sdp, []string{crypto(4, "x")}, true, false},
		{telephony.SRTPOptional, savp, []string{crypto(4, "x")}, true, false},
		{telephony.SRTPOptional, savp, nil, false, false},
		{telephony.SRTPRequired, savp, []string{crypto(4, "x")}, true, false},
		{telephony.SRTPRequired, sdp, []string{crypto(4, "x")}, true, false},
		{telephony.SRTPRequired, sdp, nil, false, false},
		{telephony.SRTPRequired, savp, []string{crypto(4, "x") + " UNENCRYPTED_SRTP"}, false, false},
	} {
		t.Run(fmt.Sprintf("%s/%d/%v", c.policy, len(c.lines), c.answered), func(t *testing.T) {
			t.Parallel()
			p := newRawPeer(t)
			e := startEndpoint(t, nil, withSRTP(p, c.policy))
			rtp := newRTPPeer(t)
			d := dial(t, t.Context(), e, invite())
			m := p.expect("INVITE")
			want := "RTP/AVP"
			if c.policy == telephony.SRTPRequired {
				want = "RTP/SAVP"
			}
			if !strings.Contains(m.body, " "+want+" ") || (len(cryptoLines(m.body)) == 6) == (c.policy == telephony.SRTPOff) {
				t.Fatalf("the offer is not %s with all suites:\n%s", want, m.body)
			}
			p.reply(m, reply{status: "200 OK", tag: "a1", body: c.answer(rtp.port(), c.lines...)})
			if !c.answered {
				p.expect("ACK")
				p.ok(p.expect("BYE"))
				if err := d.failed(); err.Cause != telephony.CauseFailed || !strings.Contains(err.Reason, "does not encrypt") {
					t.Errorf("ended as %s %q", err.Cause, err.Reason)
				}
				return
			}
			leg := d.answered()
			p.expect("ACK")
			if got := leg.Info().Media.Secured; got == c.plain {
				t.Errorf("secured: %v, want %v", got, !c.plain)
			}
			p.request("BYE", m, "a1", 1, "")
			awaitDone(t, leg)
		})
	}
}

// A peer that refuses the choice is asked once more for SRTP alone.
func TestSRTPRefusedAsAChoice(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, nil, withSRTP(p, telephony.SRTPOptional))
	d := dial(t, t.Context(), e, invite())
	first := p.expect("INVITE")
	p.reply(first, reply{status: "488 Not Acceptable Here", tag: "a0"})
	p.expect("ACK")
	second := p.expect("INVITE")
	if !strings.Contains(second.body, " RTP/SAVP ") || second.get("Call-ID") != first.get("Call-ID") || second.cseq() != "2" {
		t.Fatalf("asked again with CSeq %s and\n%s", second.cseq(), second.body)
	}
	if strings.Join(cryptoLines(first.body), "") != strings.Join(cryptoLines(second.body), "") {
		t.Error("the keys have changed")
	}
	p.reply(second, reply{status: "488 Not Acceptable Here", tag: "a0"})
	p.expect("ACK")
	if err := d.failed(); err.SIPStatus != 488 {
		t.Errorf("ended with %d %q, want 488", err.SIPStatus, err.Reason)
	}
}

// A re-INVITE keeps our key, may change theirs, and may not take the encryption
// away where it is required.
func TestSRTPReoffer(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, nil, withSRTP(p, telephony.SRTPRequired))
	rtp := newRTPPeer(t)
	d := dial(t, t.Context(), e, invite())
	m := p.expect("INVITE")
	var ours string
	for _, line := range cryptoLines(m.body) {
		if name, key, _ := strings.Cut(line, "inline:"); strings.Contains(name, "AES_CM_128_HMAC_SHA1_80") {
			ours = key
		}
	}
	p.reply(m, reply{status: "200 OK", tag: "a1", body: savp(rtp.port(), crypto(4, "x"))})
	leg := d.answered()
	p.expect("ACK")
	for i, tc := range []struct{ name, body, status string }{
		{"hold", savp(rtp.port(), crypto(1, "x"), "a=sendonly"), "200"},
		{"resume", savp(rtp.port(), crypto(1, "x")), "200"},
		{"new key", savp(rtp.port(), crypto(7, "y")), "200"},
		{"plain", sdp(rtp.port()), "488"},
		{"unusable key", savp(rtp.port(), "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:short"), "488"},
		{"over RTP/AVP", sdp(rtp.port(), crypto(1, "z")), "200"},
	} {
		p.request("UPDATE", m, "a1", i+1, tc.body, sdpType)
		res := p.expect(tc.status)
		if res.status() != "200" {
			continue
		}
		lines := cryptoLines(res.body)
		if len(lines) != 1 || !strings.HasSuffix(lines[0], "inline:"+ours) {
			t.Errorf("%s: answered with %q, want our key %s", tc.name, lines, ours)
		}
		offered := cryptoLines(tc.body)[0]
		if tag, _, _ := strings.Cut(offered, " "); len(lines) == 1 && !strings.HasPrefix(lines[0], tag+" ") {
			t.Errorf("%s: %q answers %q", tc.name, lines[0], offered)
		}
	}
	if !leg.Info().Media.Secured {
		t.Error("the leg is no longer secured")
	}
	// We are asked to offer, and the answer is plain: the call ends.
	p.request("INVITE", m, "a1", 20, "")
	offer := p.expect("200")
	if !strings.Contains(offer.body, " RTP/SAVP ") {
		t.Errorf("we offer\n%s", offer.body)
	}
	p.request("ACK", m, "a1", 20, sdp(rtp.port()), sdpType)
	p.ok(p.expect("BYE"))
	awaitDone(t, leg)
	if info := leg.Info(); info.Cause != telephony.CauseFailed || !strings.Contains(info.Reason, "does not encrypt") {
		t.Errorf("ended as %s %q", info.Cause, info.Reason)
	}
}

// Where encryption is a choice its loss does not end the call, but is told.
func TestSRTPDowngradeIsTold(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, nil, withSRTP(p, telephony.SRTPOptional))
	rtp := newRTPPeer(t)
	d := dial(t, t.Context(), e, invite())
	m := p.expect("INVITE")
	p.reply(m, reply{status: "200 OK", tag: "a1", body: sdp(rtp.port(), crypto(4, "x"))})
	leg := d.answered()
	p.expect("ACK")
	p.request("UPDATE", m, "a1", 1, sdp(rtp.port()), sdpType)
	if res := p.expect("200"); len(cryptoLines(res.body)) != 0 {
		t.Errorf("a plain offer is answered with\n%s", res.body)
	}
	if leg.Info().Media.Secured {
		t.Error("a call that was plain for a while counts as secured")
	}
	p.request("BYE", m, "a1", 2, "")
	awaitDone(t, leg)
}
