package telephony

import (
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	"dialer"
)

// A Transport carries SIP to a peer.
type Transport string

// The transports.
const (
	UDP Transport = "udp"
	TCP Transport = "tcp"
	TLS Transport = "tls" // the peer's certificate is checked
)

// An SRTPPolicy says whether audio is encrypted (RFC 3711, keys by RFC 4568).
type SRTPPolicy string

// The policies.
const (
	SRTPOff      SRTPPolicy = "off"
	SRTPOptional SRTPPolicy = "optional" // offered; plain audio is taken too
	SRTPRequired SRTPPolicy = "required" // a call without it is ended
)

// An IdentityHeader carries the caller's number beside From.
type IdentityHeader string

// The identity headers.
const (
	NoIdentity IdentityHeader = ""
	PAI        IdentityHeader = "p-asserted-identity"  // RFC 3325
	PPI        IdentityHeader = "p-preferred-identity" // RFC 3325
	RPID       IdentityHeader = "remote-party-id"
)

// TrunkOptions is what carriers differ in. The zero value suits most that speak
// plain SIP over UDP.
type TrunkOptions struct {
	// Transport, "" is UDP.
	Transport Transport `json:"transport,omitempty"`
	// Backups are further peers of the same carrier, "host" or "host:port", tried
	// in order after all addresses of Trunk.Address.
	Backups []string `json:"backups,omitempty"`
	// CA is PEM: the only authorities that may have signed a TLS peer's
	// certificate. Empty takes those of the system.
	CA string `json:"ca,omitempty"`
	// ServerName that the certificate must bear; empty is the host of Address.
	ServerName string `json:"server_name,omitempty"`
	// Register: the carrier wants a REGISTER before it takes calls.
	Register bool `json:"register,omitempty"`
	// RegisterSeconds is how long a registration is asked for; 0 is 600.
	RegisterSeconds int `json:"register_seconds,omitempty"`
	// OptionsSeconds is the pause between keep-alive OPTIONS; 0 is 15, -1 never.
	OptionsSeconds int `json:"options_seconds,omitempty"`
	// SRTP policy, "" is off.
	SRTP SRTPPolicy `json:"srtp,omitempty"`
	// Identity is the header that carries the caller's number beside From.
	Identity IdentityHeader `json:"identity,omitempty"`
	// Private withholds the caller's number from the person called: From is
	// anonymous, Privacy is id (RFC 3323). Identity still tells the carrier.
	Private bool `json:"private,omitempty"`
	// Diversion is the number that calls say they were diverted from (RFC 5806).
	Diversion dialer.Number `json:"diversion,omitempty"`
	// Headers are added to each INVITE.
	Headers map[string]string `json:"headers,omitempty"`
	// Prefix is put before the number called ("tech prefix").
	Prefix string `json:"prefix,omitempty"`
	// NoPlus sends numbers without the leading +.
	NoPlus bool `json:"no_plus,omitempty"`
	// Destinations are the E.164 prefixes that may be called, "+44"; empty is all.
	Destinations []string `json:"destinations,omitempty"`
	// SessionSeconds is the session interval that we ask for (RFC 4028); 0 is
	// 1800, -1 asks for none.
	SessionSeconds int `json:"session_seconds,omitempty"`
	// Redirects: 3xx answers are followed, to the trunk's own peers only.
	Redirects bool `json:"redirects,omitempty"`
	// InfoDigits sends key presses by SIP INFO (application/dtmf-relay) instead
	// of RFC 4733.
	InfoDigits bool `json:"info_digits,omitempty"`
}

// validate returns every mistake, each about one field.
func (o TrunkOptions) validate() []*dialer.Error {
	var found []*dialer.Error
	check := func(ok bool, field, format string, args ...any) {
		if !ok {
			found = append(found, dialer.Fieldf(field, format, args...))
		}
	}
	check(slices.Contains([]Transport{"", UDP, TCP, TLS}, o.Transport), "transport", "%q is not udp, tcp or tls", o.Transport)
	check(len(o.Backups) <= 8, "backups", "%d are too many: at most 8", len(o.Backups))
	for i, b := range o.Backups {
		why := addressMistake(hostPort(b, o.Transport))
		check(why == "", fmt.Sprintf("backups/%d", i), "%q is not host or host:port: %s", b, why)
	}
	if o.CA != "" {
		block, _ := pem.Decode([]byte(o.CA))
		check(block != nil && block.Type == "CERTIFICATE", "ca", "is not a certificate in PEM")
	}
	check(o.CA == "" || o.Transport == TLS, "ca", "is only used with transport tls")
	check(o.ServerName == "" || hostName.MatchString(o.ServerName), "server_name", "%q is not a host name", o.ServerName)
	check(o.RegisterSeconds == 0 || o.RegisterSeconds >= 60 && o.RegisterSeconds <= 86400, "register_seconds",
		"%d is not between 60 and 86400", o.RegisterSeconds)
	check(o.OptionsSeconds >= -1 && o.OptionsSeconds <= 3600, "options_seconds", "%d is not between 1 and 3600, nor -1 for never", o.OptionsSeconds)
	check(slices.Contains([]SRTPPolicy{"", SRTPOff, SRTPOptional, SRTPRequired}, o.SRTP), "srtp", "%q is not off, optional or required", o.SRTP)
	check(slices.Contains([]IdentityHeader{NoIdentity, PAI, PPI, RPID}, o.Identity), "identity",
		"%q is not p-asserted-identity, p-preferred-identity or remote-party-id", o.Identity)
	check(o.Diversion == "" || o.Diversion.Valid(), "diversion", "%q is not a number in E.164", o.Diversion)
	check(len(o.Prefix) <= 16 && strings.Trim(o.Prefix, "0123456789*#") == "", "prefix", "%q is not up to 16 digits, * and #", o.Prefix)
	for i, d := range o.Destinations {
		digits, ok := strings.CutPrefix(d, "+")
		check(ok && digits != "" && len(digits) <= 15 && strings.Trim(digits, "0123456789") == "",
			fmt.Sprintf("destinations/%d", i), "%q is not a + and the first digits of numbers that may be called", d)
	}
	check(o.SessionSeconds == -1 || o.SessionSeconds == 0 || o.SessionSeconds >= 90 && o.SessionSeconds <= 86400, "session_seconds",
		"%d is not between 90 and 86400, nor -1 for none", o.SessionSeconds)
	return found
}

// Allows reports whether a number may be called over the trunk.
func (o TrunkOptions) Allows(to dialer.Number) bool {
	return len(o.Destinations) == 0 || slices.ContainsFunc(o.Destinations, func(prefix string) bool {
		return strings.HasPrefix(string(to), prefix)
	})
}
