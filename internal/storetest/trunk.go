package storetest

import (
	"fmt"
	"reflect"
	"time"

	"dialer/telephony"
)

// ca is a certificate of nobody.
const ca = `-----BEGIN CERTIFICATE-----
MIIBQzCB6qADAgECAgEBMAoGCCqGSM49BAMCMA8xDTALBgNVBAMTBHRlc3QwHhcN
MjYwMTAxMDAwMDAwWhcNMzYwMTAxMDAwMDAwWjAPMQ0wCwYDVQQDEwR0ZXN0
-----END CERTIFICATE-----
`

// FullTrunkOptions sets every option of a trunk. It panics when it was forgotten
// that there is a new one, so that the tests that carry options through a store,
// the API or the configuration know of it.
func FullTrunkOptions() telephony.TrunkOptions {
	o := telephony.TrunkOptions{
		Transport: telephony.TLS, Backups: []string{"sip2.example.net", "192.0.2.9:5071"}, CA: ca, ServerName: "sip.example.net",
		Register: true, RegisterSeconds: 300, OptionsSeconds: -1, SRTP: telephony.SRTPRequired, Identity: telephony.PAI,
		Private: true, Diversion: "+12025550111", Headers: map[string]string{"X-Account": "4711", "X-Route.a": "a: \"b\""},
		Prefix: "0011#", NoPlus: true, Destinations: []string{"+44", "+1202"}, SessionSeconds: 900, Redirects: true, InfoDigits: true,
	}
	mustBeFull(o)
	return o
}

// mustBeFull panics when a field of a struct has no value.
func mustBeFull(of any) {
	v := reflect.ValueOf(of)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			panic(fmt.Sprintf("storetest: give %s of %T a value here", v.Type().Field(i).Name, of))
		}
	}
}

// quality is stats of a leg in which no field is zero.
func quality(n int64) telephony.MediaStats {
	m := telephony.MediaStats{
		PacketsIn: 9 * n, PacketsOut: 8 * n, Lost: 7 * n, Rejected: 6 * n, Jitter: time.Millisecond, LostThere: 5 * n,
		RoundTrip: 40 * time.Millisecond, MOS: 4.3, Codec: "PCMU", Secured: true,
	}
	mustBeFull(m)
	return m
}
