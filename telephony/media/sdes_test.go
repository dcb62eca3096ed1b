package media

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"dialer/telephony"
)

// Packets that libsrtp's own tests seal: their keys, those of RFC 6188 section
// 7.4 among them, make what we open, and the other way round.
func TestPacketsOfLibsrtp(t *testing.T) {
	const plain = "800f1234decafbadcafebabe" + "abababababababababababababababab"
	for name, c := range map[string]struct{ key, packet string }{
		"AES_CM_128_HMAC_SHA1_80": {
			"e1f97a0d3e018be0d64fa32c06de4139" + "0ec675ad498afeebb6960b3aabe6",
			"4e55dc4ce79978d88ca4d215949d2402" + "b78d6acc99ea179b8dbb"},
		"AES_256_CM_HMAC_SHA1_80": {
			"f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6" + "3b04803de51ee7c96423ab5b78d2",
			"f1d9de17ff251ff1aa007774b0b4b40d" + "a08d9d9a5b3a55d8873b"},
		"AEAD_AES_128_GCM": {
			"000102030405060708090a0b0c0d0e0f" + "a0a1a2a3a4a5a6a7a8a9aaab",
			"c5002ede04cfdd2eb91159e0880aa06e" + "d2976826f796b201df3131a127e8a392"},
	} {
		su, _ := suiteOf(name)
		secret, sealed := unhex(t, c.key), append(unhex(t, plain[:24]), unhex(t, c.packet)...)
		k := masterKey{key: string(secret[:su.master]), salt: string(secret[su.master:])}
		crypto := &Crypto{suite: su, send: k, receive: []masterKey{k}}
		opened, err := newUnseal(crypto, nil).openRTP(sealed)
		if err != nil || hex.EncodeToString(opened) != plain {
			t.Errorf("%s: opened as %x, %v", name, opened, err)
		}
		ours, err := newSeal(crypto).sealRTP(append(make([]byte, 0, 200), unhex(t, plain)...))
		if err != nil || string(ours) != string(sealed) {
			t.Errorf("%s: sealed as %x, %v", name, ours, err)
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	key30 = "PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR" // of RFC 4568
	key46 = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdA"
)

func TestParseCrypto(t *testing.T) {
	for line, want := range map[string]string{
		// suite, number of keys, MKI in hex of the first
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30:                                             "AES_CM_128_HMAC_SHA1_80 1 ",
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "|2^20|1:32":                              "AES_CM_128_HMAC_SHA1_80 1 " + strings.Repeat("00", 31) + "01",
		"2 AES_CM_128_HMAC_SHA1_32 inline:" + key30 + "|2^31":                                   "AES_CM_128_HMAC_SHA1_32 1 ",
		"2 AES_CM_128_HMAC_SHA1_32 inline:" + key30 + "|1048576|65535:2":                        "AES_CM_128_HMAC_SHA1_32 1 ffff",
		"2 AES_CM_128_HMAC_SHA1_32 inline:" + key30 + "|66051:4":                                "AES_CM_128_HMAC_SHA1_32 1 00010203",
		"999999999 aes_cm_128_hmac_sha1_80 INLINE:" + key30:                                     "AES_CM_128_HMAC_SHA1_80 1 ",
		"3 AES_256_CM_HMAC_SHA1_80 inline:" + key46:                                             "AES_256_CM_HMAC_SHA1_80 1 ",
		"3 AES_256_CM_HMAC_SHA1_80 inline:" + key46 + "==":                                      "AES_256_CM_HMAC_SHA1_80 1 ",
		"3 AES_CM_256_HMAC_SHA1_32 inline:" + key46 + "==":                                      "AES_256_CM_HMAC_SHA1_32 1 ",
		"4 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "|2^20|1:4;inline:" + key30 + "|2^20|2:4": "AES_CM_128_HMAC_SHA1_80 2 00000001",
		"4 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + " WSH=128 -x-unknown=1":                   "AES_CM_128_HMAC_SHA1_80 1 ",
		"4 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + " WSH=10":                                 "refused WSH",
		"4 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + " UNENCRYPTED_SRTP":                       "refused UNENCRYPTED_SRTP",
		"4 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + " UNENCRYPTED_SRTCP":                      "refused UNENCRYPTED_SRTCP",
		"4 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + " UNAUTHENTICATED_SRTP":                   "refused UNAUTHENTICATED_SRTP",
		"4 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + " KDR=1":                                  "refused KDR",
		"4 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + " FEC_ORDER=FEC_SRTP":                     "refused FEC_ORDER",
		"1 F8_128_HMAC_SHA1_80 inline:" + key30:                                                 "refused suite",
		"1 AEAD_AES_128_GCM_8 inline:" + key30:                                                  "refused suite",
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key46:                                             "refused 30 bytes",
		"1 AEAD_AES_128_GCM inline:" + key30:                                                    "refused 28 bytes",
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30[:39] + "*":                                  "refused base64",
		"1 AES_CM_128_HMAC_SHA1_80 inline:":                                                     "refused 30 bytes",
		"1 AES_CM_128_HMAC_SHA1_80 uri:" + key30:                                                "refused method",
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "|0":                                      "refused lifetime",
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "|2^49":                                   "refused lifetime",
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "|99999999999999999999":                   "refused lifetime",
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "|2^31|1:0":                               "refused MKI",
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "|2^31|1:129":                             "refused MKI",
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "|2^31|256:1":                             "refused MKI",
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "|2^31|-1:1":                              "refused MKI",
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "|2^31|1:1|x":                             "refused more",
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + ";inline:" + key30:                        "refused MKI",
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "|1:1;inline:" + key30 + "|2:2":           "refused MKI",
		"x AES_CM_128_HMAC_SHA1_80 inline:" + key30:                                             "refused tag",
		"1234567890 AES_CM_128_HMAC_SHA1_80 inline:" + key30:                                    "refused tag",
		"1 AES_CM_128_HMAC_SHA1_80":                                                             "refused names no",
		"":                                                                                      "refused names no",
	} {
		l, err := parseCrypto(line)
		if says, refused := strings.CutPrefix(want, "refused "); refused {
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%q: %v, want an error that says %q", line, err, says)
			}
			if err != nil && strings.Contains(err.Error(), key30[:20]) {
				t.Errorf("%q: the error tells the key", line)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", line, err)
			continue
		}
		if got := l.suite.name + " " + string(rune('0'+len(l.keys))) + " " + hex.EncodeToString([]byte(l.keys[0].mki)); got != want {
			t.Errorf("%q: %s, want %s", line, got, want)
		}
	}
}

// Keys must not get into logs.
func TestKeysAreNotPrinted(t *testing.T) {
	_, n, _ := meet(t, "AES_CM_128_HMAC_SHA1_80", telephony.SRTPRequired)
	r, err := n.Accept(plain("m=audio 4000 RTP/SAVP 0", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"+key30))
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Crypto.String(); got != "AES_CM_128_HMAC_SHA1_80" {
		t.Errorf("keys are told as %q", got)
	}
	if got := r.Crypto.receive[0].String(); strings.Contains(got, r.Crypto.receive[0].key) {
		t.Errorf("a key is told as %q", got)
	}
}

// Offers as they come from programs and gateways, and what we answer to them.
func TestOffersOfOthers(t *testing.T) {
	required, optional := telephony.SRTPRequired, telephony.SRTPOptional
	for name, c := range map[string]struct {
		offer  []byte
		policy telephony.SRTPPolicy
		answer []string // the m= lines, and the suite under its tag
	}{
		"Asterisk, SDES": {plain("m=audio 17342 RTP/SAVP 0 8 101",
			"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"+key30,
			"a=rtpmap:0 PCMU/8000", "a=rtpmap:8 PCMA/8000", "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-16",
			"a=ptime:20", "a=maxptime:150", "a=sendrecv"), required,
			[]string{"audio 5000 RTP/SAVP 0 101", "1 AES_CM_128_HMAC_SHA1_80"}},
		"Asterisk, optimistic": {plain("m=audio 17342 RTP/AVP 8 101", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"+key30,
			"a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:"+key30, "a=rtpmap:8 PCMA/8000", "a=rtpmap:101 telephone-event/8000"), optional,
			[]string{"audio 5000 RTP/AVP 8 101", "1 AES_CM_128_HMAC_SHA1_80"}},
		"FreeSWITCH, all suites": {plain("m=audio 22014 RTP/SAVP 102 9 0 8 103 101", "a=rtpmap:102 opus/48000/2", "a=rtpmap:9 G722/8000",
			"a=rtpmap:0 PCMU/8000", "a=rtpmap:8 PCMA/8000", "a=rtpmap:103 telephone-event/48000", "a=fmtp:103 0-15",
			"a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-15",
			"a=crypto:1 AEAD_AES_256_GCM_8 inline:"+key46, "a=crypto:2 AEAD_AES_128_GCM_8 inline:"+key30,
			"a=crypto:3 AES_CM_256_HMAC_SHA1_80 inline:"+key46, "a=crypto:4 AES_CM_192_HMAC_SHA1_80 inline:"+key30,
			"a=crypto:5 AES_CM_128_HMAC_SHA1_80 inline:"+key30, "a=ptime:20", "m=audio 22014 RTP/AVP 0 101", "a=rtpmap:0 PCMU/8000"), required,
			[]string{"audio 5000 RTP/SAVP 0 101", "3 AES_CM_256_HMAC_SHA1_80", "audio 0 RTP/AVP 0 101"}},
		"rtpengine, mux and ICE": {plain("a=ice-lite", "m=audio 30080 RTP/SAVPF 0 8 126", "a=mid:0", "a=rtpmap:0 PCMU/8000", "a=rtpmap:8 PCMA/8000",
			"a=rtpmap:126 telephone-event/8000", "a=sendrecv", "a=rtcp:30081", "a=rtcp-mux",
			"a=crypto:1 AEAD_AES_256_GCM inline:QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXI=",
			"a=crypto:2 AES_256_CM_HMAC_SHA1_80 inline:"+key46+"==", "a=ice-ufrag:abcd", "a=ice-pwd:0123456789abcdef0123456789",
			"a=candidate:1 1 UDP 2130706431 192.0.2.1 30080 typ host", "a=end-of-candidates"), optional,
			[]string{"audio 5000 RTP/SAVPF 0 126", "1 AEAD_AES_256_GCM"}},
		"Cisco CUBE": {body("v=0", "o=CiscoSystemsSIP-GW-UserAgent 8129 6318 IN IP4 192.0.2.9", "s=SIP Call", "c=IN IP4 192.0.2.9", "t=0 0",
			"m=audio 8100 RTP/SAVP 18 0 8 101 19", "c=IN IP4 192.0.2.9", "a=rtpmap:18 G729/8000", "a=fmtp:18 annexb=yes", "a=rtpmap:0 PCMU/8000",
			"a=rtpmap:8 PCMA/8000", "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-16", "a=rtpmap:19 CN/8000", "a=ptime:20",
			"a=crypto:1 AEAD_AES_256_GCM inline:QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXI=|2^31",
			"a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:"+key30+"|2^31|1:1"), required,
			[]string{"audio 5000 RTP/SAVP 0 101", "1 AEAD_AES_256_GCM"}},
		"AudioCodes": {plain("m=audio 6010 RTP/SAVP 8 0 96", "a=rtpmap:8 PCMA/8000", "a=rtpmap:0 PCMU/8000", "a=rtpmap:96 telephone-event/8000",
			"a=fmtp:96 0-15", "a=ptime:20", "a=sendrecv", "a=rtcp:6011 IN IP4 192.0.2.1",
			"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"+key30+"|2^31|1:1", "a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:"+key30+"|2^31"), required,
			[]string{"audio 5000 RTP/SAVP 8 96", "1 AES_CM_128_HMAC_SHA1_80"}},
		"Ribbon, session parameters": {plain("m=audio 1044 RTP/SAVP 0 101", "a=rtpmap:101 telephone-event/8000",
			"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"+key30+"|2^31 UNENCRYPTED_SRTCP",
			"a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:"+key30+"|2^31"), required,
			[]string{"audio 5000 RTP/SAVP 0 101", "2 AES_CM_128_HMAC_SHA1_80"}},
		"Teams": {plain("m=audio 51834 RTP/SAVP 8 0 101 13", "a=rtcp:51835", "a=label:main-audio", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"+key30+"|2^31|1:1",
			"a=rtpmap:101 telephone-event/8000", "a=rtpmap:13 CN/8000", "a=ptime:20"), required,
			[]string{"audio 5000 RTP/SAVP 8 101", "1 AES_CM_128_HMAC_SHA1_80"}},
		"baresip": {plain("m=audio 31000 RTP/SAVP 8 101", "b=AS:125", "a=rtpmap:8 PCMA/8000", "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-15",
			"a=rtcp:31001", "a=ssrc:123 cname:sip:7@x", "a=rtcp-mux", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"+key30, "a=sendrecv", "a=label:1", "a=ptime:20"), optional,
			[]string{"audio 5000 RTP/SAVP 8 101", "1 AES_CM_128_HMAC_SHA1_80"}},
		"Yealink, F8 last": {plain("m=audio 11780 RTP/SAVP 0 8 18 9 101", "a=crypto:3 F8_128_HMAC_SHA1_80 inline:"+key30,
			"a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:"+key30, "a=rtpmap:101 telephone-event/8000"), optional,
			[]string{"audio 5000 RTP/SAVP 0 101", "2 AES_CM_128_HMAC_SHA1_32"}},
		"Snom, two kinds of one stream": {plain("m=audio 50000 RTP/SAVP 8", "a=crypto:1 AES_CM_128_HMAC_SHA1_32 inline:"+key30, "m=audio 50000 RTP/AVP 8"),
			"", []string{"audio 0 RTP/SAVP 8", "audio 5000 RTP/AVP 8"}},
		"fax and video beside": {plain("m=audio 4000 RTP/AVP 0", "m=video 4002 RTP/AVP 96", "a=rtpmap:96 H264/90000", "m=text 4004 RTP/AVP 98",
			"m=image 4006 udptl t38", "a=T38FaxVersion:0", "m=application 9 UDP/DTLS/SCTP webrtc-datachannel"), optional,
			[]string{"audio 5000 RTP/AVP 0", "video 0 RTP/AVP 96", "text 0 RTP/AVP 98", "image 0 udptl t38", "application 0 UDP/DTLS/SCTP webrtc-datachannel"}},
		"bundle":              {plain("a=group:BUNDLE 0 1", "m=audio 4000 RTP/AVPF 0", "a=mid:0", "m=video 4000 RTP/AVPF 96", "a=mid:1"), optional, []string{"audio 5000 RTP/AVPF 0", "video 0 RTP/AVPF 96"}},
		"PCMU by a dynamic":   {plain("m=audio 4000 RTP/AVP 97 98 100", "a=rtpmap:97 pcma/8000/1", "a=rtpmap:98 PCMU/8000", "a=rtpmap:100 telephone-event/8000"), optional, []string{"audio 5000 RTP/AVP 97 100"}},
		"PCMU at 16 kHz":      {plain("m=audio 4000 RTP/AVP 97 8", "a=rtpmap:97 PCMU/16000"), optional, []string{"audio 5000 RTP/AVP 8"}},
		"PCMU in stereo":      {plain("m=audio 4000 RTP/AVP 97 8", "a=rtpmap:97 PCMU/8000/2"), optional, []string{"audio 5000 RTP/AVP 8"}},
		"events at their own": {plain("m=audio 4000 RTP/AVP 0 110", "a=rtpmap:110 telephone-event/48000"), optional, []string{"audio 5000 RTP/AVP 0 110"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := NewNegotiation(netip.MustParseAddrPort("192.0.2.2:5000"), both, c.policy)
			body, r, err := n.Answer(c.offer, "")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for line := range strings.Lines(string(body)) {
				line = strings.TrimSpace(line)
				if m, ok := strings.CutPrefix(line, "m="); ok {
					got = append(got, m)
				}
				if v, ok := strings.CutPrefix(line, "a=crypto:"); ok {
					v, _, _ = strings.Cut(v, " inline:")
					got = append(got, v)
				}
				if strings.Contains(line, "ice") || strings.Contains(line, "group") || strings.Contains(line, "candidate") {
					t.Errorf("the answer has %q", line)
				}
			}
			if strings.Join(got, "|") != strings.Join(c.answer, "|") {
				t.Errorf("answered %q, want %q", got, c.answer)
			}
			if strings.Contains(string(c.offer), "rtcp-mux") != strings.Contains(string(body), "a=rtcp-mux") || r.Mux != strings.Contains(string(c.offer), "rtcp-mux") {
				t.Errorf("rtcp-mux is answered otherwise than offered:\n%s", body)
			}
			// And asked for our own offer, we go on with what was agreed.
			again := string(n.Offer(""))
			if profile := "m=audio 5000 " + strings.Fields(c.answer[0])[2] + " "; strings.HasPrefix(c.answer[0], "audio 5000") && !strings.Contains(again, profile) {
				t.Errorf("we offer after that\n%s", again)
			}
		})
	}
}

// What a policy refuses.
func TestOffersRefused(t *testing.T) {
	secured := plain("m=audio 4000 RTP/SAVP 0", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"+key30)
	for name, c := range map[string]struct {
		offer  []byte
		policy telephony.SRTPPolicy
		says   string
	}{
		"SRTP where it is off":       {secured, telephony.SRTPOff, "off here"},
		"plain where it is required": {plain("m=audio 4000 RTP/AVP 0"), telephony.SRTPRequired, "does not encrypt"},
		"SAVP without keys":          {plain("m=audio 4000 RTP/SAVP 0"), telephony.SRTPOptional, "no a=crypto"},
		"SAVP with a foreign suite":  {plain("m=audio 4000 RTP/SAVP 0", "a=crypto:1 F8_128_HMAC_SHA1_80 inline:"+key30), telephony.SRTPOptional, "F8_128"},
		"DTLS":                       {plain("m=audio 4000 UDP/TLS/RTP/SAVPF 0", "a=fingerprint:sha-256 00"), telephony.SRTPOptional, "UDP/TLS"},
	} {
		_, r, err := NewNegotiation(netip.MustParseAddrPort("192.0.2.2:5000"), both, c.policy).Answer(c.offer, "")
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %+v, %v, want an error that says %q", name, r, err, c.says)
		}
	}
}

func FuzzParseCrypto(f *testing.F) {
	for _, s := range []string{
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "|2^31|1:4;inline:" + key30 + "|2^20|2:4 KDR=1",
		"2 AEAD_AES_256_GCM inline:QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXI= WSH=64",
		"3 AES_256_CM_HMAC_SHA1_80 inline:" + key46 + "|1:128",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := parseCrypto(s)
		if err != nil {
			return
		}
		if len(l.keys) == 0 || len(l.keys) > maxCryptoKeys {
			t.Fatalf("%d keys", len(l.keys))
		}
		for _, k := range l.keys {
			if len(k.key) != l.suite.master || len(k.salt) != l.suite.salt || len(k.mki) > maxMKI {
				t.Fatalf("a key of %d and %d bytes with an MKI of %d", len(k.key), len(k.salt), len(k.mki))
			}
			back, err := l.suite.parseKey(k.inline())
			if err != nil || back != k {
				t.Fatalf("written as SDP the key is another: %v", err)
			}
		}
		newUnseal(&Crypto{suite: l.suite, receive: l.keys}, nil).openRTP(make([]byte, 200)) //nolint:errcheck // must not panic
	})
}

// FuzzUnseal: nothing that a stranger sends is opened, and nothing panics.
func FuzzUnseal(f *testing.F) {
	for i := range suites {
		f.Add(uint8(i), false, packetOf(0, 1, 2, 3, make([]byte, 170)))
		f.Add(uint8(i), true, []byte{0x80, 200, 0, 6, 1, 2, 3, 4, 0x80, 0, 0, 1})
	}
	f.Fuzz(func(t *testing.T, which uint8, mki bool, b []byte) {
		su := suites[int(which)%len(suites)]
		k := su.newKey()
		if mki {
			k.mki = "\x01\x02"
		}
		u := newUnseal(&Crypto{suite: su, receive: []masterKey{k}}, nil)
		if _, err := u.openRTP(b); err == nil {
			t.Error("a forged packet was opened")
		}
		if _, err := u.openRTCP(b); err == nil {
			t.Error("a forged report was opened")
		}
	})
}
