package telephony

import (
	"encoding/pem"
	"fmt"
	"maps"
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
// plain SIP over UDP. Store, API and configuration take the fields from here.
type TrunkOptions struct {
	// Transport, "" is UDP.
	Transport Transport `json:"transport,omitempty" doc:"udp, tcp or tls (the certificate is checked); udp when absent"`
	// Backups are further peers of the same carrier, "host" or "host:port", tried
	// in order after all addresses of Trunk.Address.
	Backups []string `json:"backups,omitempty" doc:"Further peers of the same carrier, host or host:port, tried in order after all addresses of address"`
	// CA is PEM: the only authorities that may have signed a TLS peer's
	// certificate. Empty takes those of the system.
	CA string `json:"ca,omitempty" doc:"PEM: the only authorities that may have signed the certificate of a TLS peer; those of the system when absent"`
	// ServerName that the certificate must bear; empty is the host of Address.
	ServerName string `json:"server_name,omitempty" doc:"The name that the certificate must bear; the host of address when absent"`
	// Register: the carrier wants a REGISTER before it takes calls.
	Register bool `json:"register,omitempty" doc:"The carrier wants a REGISTER before it takes calls"`
	// RegisterSeconds is how long a registration is asked for; 0 is 600.
	RegisterSeconds int `json:"register_seconds,omitempty" doc:"How long a registration is asked for; 600 when absent"`
	// OptionsSeconds is the pause between keep-alive OPTIONS; 0 is 15, -1 never.
	OptionsSeconds int `json:"options_seconds,omitempty" doc:"The pause between keep-alive OPTIONS; 15 when absent, -1 for never"`
	// SRTP policy, "" is off.
	SRTP SRTPPolicy `json:"srtp,omitempty" doc:"off, optional (offered, plain audio is taken too) or required (a call without it is ended); off when absent"`
	// Identity is the header that carries the caller's number beside From.
	Identity IdentityHeader `json:"identity,omitempty" doc:"The header that carries the caller ID beside From: p-asserted-identity, p-preferred-identity or remote-party-id"`
	// Private withholds the caller's number from the person called: From is
	// anonymous, Privacy is id (RFC 3323). Identity still tells the carrier.
	Private bool `json:"private,omitempty" doc:"The caller ID is withheld from the person called"`
	// Diversion is the number that calls say they were diverted from (RFC 5806).
	Diversion dialer.Number `json:"diversion,omitempty" doc:"The number that calls say they were diverted from"`
	// Headers are added to each INVITE.
	Headers map[string]string `json:"headers,omitempty" doc:"Added to each INVITE"`
	// Prefix is put before the number called ("tech prefix").
	Prefix string `json:"prefix,omitempty" doc:"Digits, * and # put before the number called"`
	// NoPlus sends numbers without the leading +.
	NoPlus bool `json:"no_plus,omitempty" doc:"Numbers are sent without the +"`
	// Destinations are the E.164 prefixes that may be called, "+44"; empty is all.
	Destinations []string `json:"destinations,omitempty" doc:"The prefixes of numbers that may be called, such as +44; all when absent"`
	// SessionSeconds is the session interval that we ask for (RFC 4028); 0 is
	// 1800, -1 asks for none.
	SessionSeconds int `json:"session_seconds,omitempty" doc:"The session interval that is asked for; 1800 when absent, -1 for none"`
	// Redirects: 3xx answers are followed, to the trunk's own peers only.
	Redirects bool `json:"redirects,omitempty" doc:"3xx answers are followed, to the trunk's own peers only"`
	// InfoDigits sends key presses by SIP INFO (application/dtmf-relay) instead
	// of RFC 4733.
	InfoDigits bool `json:"info_digits,omitempty" doc:"Key presses are sent by SIP INFO instead of RFC 4733"`
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
		check(block != nil && block.Type == "CERTIFICATE" && len(o.CA) <= 256<<10, "ca", "is not a certificate in PEM, or longer than 256 kB")
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
	check(len(o.Headers) <= maxHeaders, "headers", "%d are too many: at most %d", len(o.Headers), maxHeaders)
	for _, name := range slices.Sorted(maps.Keys(o.Headers)) {
		why := HeaderMistake(name, o.Headers[name])
		check(why == "", "headers/"+name, "%s", why)
	}
	check(len(o.Prefix) <= 16 && strings.Trim(o.Prefix, "0123456789*#") == "", "prefix", "%q is not up to 16 digits, * and #", o.Prefix)
	check(len(o.Destinations) <= 1000, "destinations", "%d are too many: at most 1000", len(o.Destinations))
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
