package telephony

import (
	"slices"
	"testing"
)

func TestTrunkTellsEveryMistake(t *testing.T) {
	good := Trunk{Name: "main", Address: "sip.example.net", Channels: 30, CPS: 5}
	if found := good.Validate(); len(found) != 0 {
		t.Errorf("a good trunk has %v", found)
	}
	bad := Trunk{Address: "::bad::", Username: "u", Realm: "a\r\nb", Channels: -1, Codecs: []string{"G729", "PCMU", "opus"}}
	var fields []string
	for _, e := range bad.Validate() {
		fields = append(fields, e.Field)
	}
	if want := []string{"name", "address", "password", "realm", "channels", "cps", "codecs", "codecs"}; !slices.Equal(fields, want) {
		t.Errorf("mistakes in %v, want %v", fields, want)
	}
}

func TestTrunkAddress(t *testing.T) {
	for address, good := range map[string]bool{
		"sip.example.net": true, "sip.example.net:5080": true, "sip.example.net.": true, "localhost": true, "my_pbx-1": true,
		"192.0.2.1": true, "192.0.2.1:5061": true, "::1": true, "[::1]": true, "[2001:db8::1]:5060": true,
		"": false, "::bad::": false, "x.example:99999": false, "x.example:0": false, "x.example:-1": false, "x.example:": false,
		"x.example:sip": false, "sip:x.example": false, ":5060": false, "a b": false, "u@x.example": false, "<x>": false,
		"300.1.2.3": false, "1.2.3": false, "x..example": false, "-x.example": false, "[::1": false,
		"x.example;transport=tcp": false, "x\x00": false,
	} {
		found := Trunk{Name: "main", Address: address, Channels: 1, CPS: 1}.Validate()
		if (len(found) == 0) != good {
			t.Errorf("%q: %v, want good %v", address, found, good)
		}
	}
}
