package siptrunk

import (
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"

	"github.com/emiago/sipgo/sip"

	"dialer"
	"dialer/telephony"
)

// barred says why a call may not go over a trunk, or "". It is asked before
// anything is sent.
func barred(cfg telephony.Trunk, inv telephony.Invite) string {
	if !cfg.Allows(inv.To) {
		return "the trunk's destinations do not allow this number"
	}
	if err := telephony.CheckHeaders(cfg.Headers); err != nil {
		return "trunk: " + err.Error()
	}
	return ""
}

// written is a number as the trunk wants it.
func written(o telephony.TrunkOptions, n dialer.Number) string {
	if o.NoPlus {
		return strings.TrimPrefix(string(n), "+")
	}
	return string(n)
}

// readNumber is the inverse of written, with the prefix of numbers that are
// called: what a redirection's URI says of whom to call.
func readNumber(o telephony.TrunkOptions, user string) dialer.Number {
	user, _, _ = strings.Cut(user, ";") // number portability adds parameters
	user = strings.TrimPrefix(user, o.Prefix)
	return dialer.Number("+" + strings.TrimPrefix(user, "+"))
}

// identify says who calls whom, as the trunk wants it: the URIs, the identity
// headers, and those of the trunk and of the call. at is the trunk's own URI.
func (p *peer) identify(cfg telephony.Trunk, inv telephony.Invite, at sip.Uri) {
	called := cfg.Prefix + written(cfg.TrunkOptions, inv.To)
	p.recipient = sip.Uri{Scheme: "sip", User: called, Host: at.Host, Port: at.Port}
	p.to = sip.Uri{Scheme: "sip", User: called, Host: at.Host}
	ours := sip.Uri{Scheme: "sip", User: written(cfg.TrunkOptions, inv.From), Host: p.ours.String()}
	if cfg.FromDomain != "" {
		ours.Host = cfg.FromDomain
	}
	p.from, p.fromName = ours, inv.FromName
	said := identityHeaders(cfg.TrunkOptions, inv, ours)
	if cfg.Private { // RFC 3323 4.1.1.3
		p.from, p.fromName = sip.Uri{Scheme: "sip", User: "anonymous", Host: "anonymous.invalid"}, "Anonymous"
	}
	p.headers = overlaid(said, cfg.Headers, inv.Headers)
}

// identityHeaders are those that a trunk's options ask for.
func identityHeaders(o telephony.TrunkOptions, inv telephony.Invite, ours sip.Uri) map[string]string {
	headers := map[string]string{}
	caller := "<" + ours.String() + ">"
	if name := displayName(inv.FromName); name != "" {
		caller = `"` + name + `" ` + caller
	}
	privacy := "off"
	if o.Private {
		privacy = "full"
		headers["Privacy"] = "id"
	}
	switch o.Identity {
	case telephony.PAI:
		headers["P-Asserted-Identity"] = caller
	case telephony.PPI:
		headers["P-Preferred-Identity"] = caller
	case telephony.RPID:
		headers["Remote-Party-ID"] = caller + ";party=calling;id-type=subscriber;screen=yes;privacy=" + privacy
	}
	if o.Diversion != "" {
		diverted := sip.Uri{Scheme: "sip", User: written(o, o.Diversion), Host: ours.Host}
		headers["Diversion"] = "<" + diverted.String() + ">;reason=unconditional;counter=1;privacy=" + privacy
	}
	return headers
}

// overlaid joins sets of headers; a later one wins over an earlier of its name.
func overlaid(sets ...map[string]string) map[string]string {
	all, names := map[string]string{}, map[string]string{}
	for _, set := range sets {
		for name, value := range set {
			key := strings.ToLower(name)
			delete(all, names[key])
			names[key], all[name] = name, value
		}
	}
	return all
}

// attestationHeaders are those in which carriers name the attestation without
// its signature.
var attestationHeaders = []string{
	"attestation-info", "p-attestation-indicator", "x-stir-attest", "x-stir-attestation", "x-attestation",
	"x-attestation-info", "x-attestation-level",
}

// attestationOf reads what a message says of the caller's right to its number
// (RFC 8224, RFC 8588): A, B, C, or "" when it says nothing.
func attestationOf(msg sip.Message) string {
	for _, h := range headersOf(msg, "identity") {
		if level := passported(h.Value()); level != "" {
			return level
		}
	}
	for _, name := range attestationHeaders {
		if level := level(headerValues(msg, name)); level != "" {
			return level
		}
	}
	return ""
}

// attested takes note of it: the carrier's word over ours.
func (c *call) attested(msg sip.Message) {
	if level := attestationOf(msg); level != "" {
		c.attestation = level
	}
}

// passported reads the "attest" claim of an Identity header's PASSporT (RFC 8225).
// Its signature is for those who terminate the call to check.
func passported(identity string) string {
	token, _, _ := strings.Cut(strings.TrimSpace(identity), ";")
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	claims, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return ""
	}
	var passport struct {
		Attest string `json:"attest"`
	}
	if json.Unmarshal(claims, &passport) != nil {
		return ""
	}
	return level(passport.Attest)
}

// levelText finds the level in "A", "attest=B" and "TN-Validation-Passed-C".
var levelText = regexp.MustCompile(`(?i)^(?:[a-z_-]+[=:-]\s*)?"?([ABC])"?\s*(?:[;,].*)?$`)

func level(text string) string {
	if found := levelText.FindStringSubmatch(strings.TrimSpace(text)); found != nil {
		return strings.ToUpper(found[1])
	}
	return ""
}
