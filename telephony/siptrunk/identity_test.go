package siptrunk

import (
	"encoding/base64"
	"strings"
	"testing"

	"dialer"
	"dialer/telephony"
)

// passport is an Identity header (RFC 8224) with an attestation.
func passport(level string) string {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	return part(`{"alg":"ES256","ppt":"shaken","typ":"passport","x5u":"https://cert.example/c.pem"}`) + "." +
		part(`{"attest":"`+level+`","dest":{"tn":["4930123456"]},"iat":1,"orig":{"tn":"4940987654"},"origid":"x"}`) +
		"." + strings.Repeat("s", 86) + ";info=<https://cert.example/c.pem>;alg=ES256;ppt=shaken"
}

func TestCallerIdentity(t *testing.T) {
	for name, tc := range map[string]struct {
		change  func(*telephony.Trunk)
		headers map[string]string
		uri     string
		from    string // what From begins with
		want    map[string]string
	}{
		"plain": {
			change: func(*telephony.Trunk) {}, uri: "+4930123456", from: `"Test" <sip:+4940987654@127.0.0.1>;tag=`,
			want: map[string]string{"P-Asserted-Identity": "", "Privacy": "", "Remote-Party-ID": "", "Diversion": ""},
		},
		"asserted, own domain": {
			change: func(tr *telephony.Trunk) { tr.Identity, tr.FromDomain = telephony.PAI, "us.example" },
			uri:    "+4930123456", from: `"Test" <sip:+4940987654@us.example>;tag=`,
			want: map[string]string{"P-Asserted-Identity": `"Test" <sip:+4940987654@us.example>`},
		},
		"preferred": {
			change: func(tr *telephony.Trunk) { tr.Identity = telephony.PPI },
			uri:    "+4930123456", from: `"Test" <sip:+4940987654@`,
			want: map[string]string{"P-Preferred-Identity": `"Test" <sip:+4940987654@127.0.0.1>`, "P-Asserted-Identity": ""},
		},
		"remote party": {
			change: func(tr *telephony.Trunk) { tr.Identity = telephony.RPID },
			uri:    "+4930123456", from: `"Test" <sip:+4940987654@`,
			want: map[string]string{
				"Remote-Party-ID": `"Test" <sip:+4940987654@127.0.0.1>;party=calling;id-type=subscriber;screen=yes;privacy=off`,
			},
		},
		"withheld from the person, told to the carrier": {
			change: func(tr *telephony.Trunk) { tr.Private, tr.Identity, tr.Diversion = true, telephony.PAI, "+49401" },
			uri:    "+4930123456", from: `"Anonymous" <sip:anonymous@anonymous.invalid>;tag=`,
			want: map[string]string{
				"P-Asserted-Identity": `"Test" <sip:+4940987654@127.0.0.1>`, "Privacy": "id",
				"Diversion": "<sip:+49401@127.0.0.1>;reason=unconditional;counter=1;privacy=full",
			},
		},
		"prefix, no plus": {
			change: func(tr *telephony.Trunk) {
				tr.Prefix, tr.NoPlus, tr.Identity, tr.Diversion = "9#", true, telephony.PAI, "+49401"
			},
			uri: "9#4930123456", from: `"Test" <sip:4940987654@127.0.0.1>;tag=`,
			want: map[string]string{
				"P-Asserted-Identity": `"Test" <sip:4940987654@127.0.0.1>`,
				"Diversion":           "<sip:49401@127.0.0.1>;reason=unconditional;counter=1;privacy=off",
			},
		},
		"headers of the trunk, of the call over them": {
			change: func(tr *telephony.Trunk) {
				tr.Identity, tr.Headers = telephony.PAI, map[string]string{"X-Customer": "7", "X-Route": "trunk"}
			},
			headers: map[string]string{"x-route": "call", "p-asserted-identity": "<sip:given@x>"},
			uri:     "+4930123456", from: `"Test" <sip:+4940987654@`,
			want: map[string]string{"X-Customer": "7", "X-Route": "call", "P-Asserted-Identity": "<sip:given@x>"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newRawPeer(t)
			tr := testTrunk(p)
			tc.change(&tr)
			e := startEndpoint(t, nil, tr)
			inv := invite()
			inv.Headers = tc.headers
			d := dial(t, t.Context(), e, inv)
			m := p.expect("INVITE")
			p.reply(m, reply{status: "486 Busy Here", tag: "x"})
			d.failed()
			host := p.addr().String()
			if m.uri() != "sip:"+tc.uri+"@"+host || !strings.HasPrefix(m.get("To"), "<sip:"+tc.uri+"@127.0.0.1>") {
				t.Errorf("called %s, To %s, want %s", m.uri(), m.get("To"), tc.uri)
			}
			if !strings.HasPrefix(m.get("From"), tc.from) {
				t.Errorf("From is %s, want %s", m.get("From"), tc.from)
			}
			for name, want := range tc.want {
				if got := strings.Join(m.all(name), ", "); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
		})
	}
}

// A number that the trunk may not call, or a header that could break out of its
// line, never leaves.
func TestBarredBeforeAnythingIsSent(t *testing.T) {
	p := newRawPeer(t)
	tr := testTrunk(p)
	tr.Destinations = []string{"+44", "+1"}
	e := startEndpoint(t, nil, tr)
	inv := invite()
	if err := dial(t, t.Context(), e, inv).failed(); err.Cause != telephony.CauseNotSent || !strings.Contains(err.Reason, "destinations") {
		t.Errorf("got %+v", err)
	}
	if c := e.Capacity("trk_test"); c.InUse != 0 {
		t.Errorf("%d channels in use", c.InUse)
	}
	tr.Destinations, tr.Headers = nil, map[string]string{"X-A": "1\r\nX-B: 2"}
	e.SetTrunks([]telephony.Trunk{tr})
	if err := dial(t, t.Context(), e, inv).failed(); err.Cause != telephony.CauseNotSent || !strings.Contains(err.Reason, "X-A") {
		t.Errorf("got %+v", err)
	}
	select {
	case m := <-p.in:
		t.Errorf("sent %s", m.start)
	default:
	}
}

// What is attested goes out as it was given and is told with the leg.
func TestAttestation(t *testing.T) {
	for name, tc := range map[string]struct {
		sent     map[string]string
		returned string
		want     string
	}{
		"none":                    {nil, "", ""},
		"signed by us":            {map[string]string{"Identity": passport("A")}, "", "A"},
		"said by us":              {map[string]string{"Attestation-Info": "B"}, "", "B"},
		"lowered by the carrier":  {map[string]string{"Identity": passport("A")}, "P-Attestation-Indicator: C", "C"},
		"signed by the carrier":   {nil, "Identity: " + passport("B"), "B"},
		"compact":                 {nil, "y: " + passport("C"), "C"},
		"in words":                {nil, "X-Stir-Attest: TN-Validation-Passed-A", "A"},
		"not a token, not a word": {map[string]string{"Identity": "x.y.z", "X-Attestation": "Z"}, "Identity: a.!.b", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newRawPeer(t)
			e := startEndpoint(t, nil, testTrunk(p))
			inv := invite()
			inv.Headers = tc.sent
			d := dial(t, t.Context(), e, inv)
			m := p.expect("INVITE")
			for name, want := range tc.sent {
				if m.get(name) != want {
					t.Errorf("%s was sent as %q, want %q", name, m.get(name), want)
				}
			}
			answer := answerSDP
			if tc.returned != "" {
				answer.headers = []string{tc.returned}
			}
			p.reply(m, answer)
			leg := d.answered()
			if got := leg.Info().Attestation; got != tc.want {
				t.Errorf("attestation %q, want %q", got, tc.want)
			}
			p.expect("ACK")
			p.request("BYE", m, "a1", 1, "")
			awaitDone(t, leg)
		})
	}
}

// A call that is not answered has its attestation as well.
func TestAttestationOfRefusedCall(t *testing.T) {
	for name, headers := range map[string][2][]string{
		"as it was sent": {nil, nil},
		"while it rang":  {{"P-Attestation-Indicator: C"}, nil},
		"in the refusal": {nil, {"P-Attestation-Indicator: C"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newRawPeer(t)
			e := startEndpoint(t, nil, testTrunk(p))
			inv := invite()
			inv.Headers = map[string]string{"Identity": passport("A")}
			d := dial(t, t.Context(), e, inv)
			m := p.expect("INVITE")
			p.reply(m, reply{status: "180 Ringing", tag: "a", headers: headers[0]})
			p.reply(m, reply{status: "486 Busy Here", tag: "a", headers: headers[1]})
			want := "C"
			if headers[0] == nil && headers[1] == nil {
				want = "A"
			}
			if err := d.failed(); err.Attestation != want {
				t.Errorf("attestation %q, want %q", err.Attestation, want)
			}
		})
	}
}

// Refusals of STIR say nothing of the number called, so they are failures and
// not rejections.
func TestStirRefusals(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	for status, want := range map[string]telephony.Cause{
		"428 Use Identity Header": telephony.CauseFailed, "436 Bad Identity Info": telephony.CauseFailed,
		"437 Unsupported Credential": telephony.CauseFailed, "438 Invalid Identity Header": telephony.CauseFailed,
		"608 Rejected": telephony.CauseRejected,
	} {
		d := dial(t, t.Context(), e, invite())
		p.reply(p.expect("INVITE"), reply{status: status, tag: "x"})
		if err := d.failed(); err.Cause != want {
			t.Errorf("%s: %s, want %s", status, err.Cause, want)
		}
		p.expect("ACK")
	}
}

func TestReadNumber(t *testing.T) {
	for _, tc := range []struct {
		o    telephony.TrunkOptions
		user string
		want dialer.Number
	}{
		{telephony.TrunkOptions{}, "+4930123456", "+4930123456"},
		{telephony.TrunkOptions{}, "+4930123456;npdi;rn=+4930", "+4930123456"},
		{telephony.TrunkOptions{Prefix: "9#", NoPlus: true}, "9#4930123456", "+4930123456"},
		{telephony.TrunkOptions{NoPlus: true}, "4930123456", "+4930123456"},
	} {
		if got := readNumber(tc.o, tc.user); got != tc.want {
			t.Errorf("readNumber(%+v, %q) = %s, want %s", tc.o, tc.user, got, tc.want)
		}
	}
}

func FuzzAttestation(f *testing.F) {
	f.Add(passport("A"))
	f.Add("a.b.c;info=<x>")
	f.Add("attest=B")
	f.Fuzz(func(t *testing.T, s string) {
		for _, got := range []string{passported(s), level(s)} {
			if got != "" && got != "A" && got != "B" && got != "C" {
				t.Errorf("%q of %q", got, s)
			}
		}
	})
}
