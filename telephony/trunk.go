package telephony

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"dialer"
)

// A Trunk is a SIP peer that carries our calls.
type Trunk struct {
	ID   dialer.TrunkID
	Name string
	// Address is host:port of the peer; the port defaults to 5060.
	Address string
	// Username and Password answer the peer's digest challenge; empty when the
	// peer knows us by address.
	Username, Password string
	// Realm that a challenge must name; empty accepts the first one seen from
	// the peer's own address.
	Realm string
	// FromDomain is the host part of From; empty means our own address.
	FromDomain string
	// Channels is the most calls at once, CPS the most new calls a second.
	Channels int
	CPS      float64
	// Codecs in order of preference, "PCMU" and "PCMA"; empty means both.
	Codecs []string
	// MediaSources from which RTP is accepted beside the address in the SDP.
	MediaSources []netip.Prefix
	Enabled      bool
}

// Validate returns the first mistake as an Invalid *dialer.Error, or nil.
func (t Trunk) Validate() error {
	switch {
	case strings.TrimSpace(t.Name) == "":
		return dialer.Fieldf("name", "is empty: give the trunk a name")
	case t.Address == "":
		return dialer.Fieldf("address", "is empty: give host or host:port of the SIP peer")
	case strings.ContainsAny(t.Address, " \r\n\t<>;@\x00"):
		return dialer.Fieldf("address", "%q is not host or host:port", t.Address)
	case t.Channels < 1 || t.Channels > 100_000:
		return dialer.Fieldf("channels", "%d is not between 1 and 100000", t.Channels)
	case !(t.CPS > 0 && t.CPS <= 10_000):
		return dialer.Fieldf("cps", "%g is not above 0 and at most 10000", t.CPS)
	case t.Password != "" && t.Username == "":
		return dialer.Fieldf("username", "is empty while a password is set")
	}
	for _, f := range [...]struct{ name, value string }{
		{"username", t.Username}, {"realm", t.Realm}, {"from_domain", t.FromDomain},
	} {
		if strings.ContainsAny(f.value, "\r\n\x00\"<>") {
			return dialer.Fieldf(f.name, "has a character that may not stand in a SIP header")
		}
	}
	for _, c := range t.Codecs {
		if !slices.Contains([]string{"PCMU", "PCMA"}, c) {
			return dialer.Fieldf("codecs", "%q is not PCMU or PCMA", c)
		}
	}
	if host, _, err := net.SplitHostPort(t.HostPort()); err != nil || host == "" {
		return dialer.Fieldf("address", "%q is not host or host:port", t.Address)
	}
	return nil
}

// HostPort returns the address with the default port filled in.
func (t Trunk) HostPort() string {
	if _, _, err := net.SplitHostPort(t.Address); err == nil {
		return t.Address
	}
	return net.JoinHostPort(strings.Trim(t.Address, "[]"), "5060")
}
