package telephony

import (
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"dialer"
)

// A Trunk is a SIP peer that carries our calls.
type Trunk struct {
	ID   dialer.TrunkID
	Name string
	// Address is "host" or "host:port" of the peer. A name without a port is
	// looked up by SRV first (RFC 3263); the port is else 5060, or 5061 for TLS.
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
	TrunkOptions
}

// Validate returns every mistake, each about one field; none when t is fine.
func (t Trunk) Validate() []*dialer.Error {
	var found []*dialer.Error
	add := func(field, format string, args ...any) {
		found = append(found, dialer.Fieldf(field, format, args...))
	}
	if strings.TrimSpace(t.Name) == "" {
		add("name", "is empty: give the trunk a name")
	}
	if t.Address == "" {
		add("address", "is empty: give host or host:port of the SIP peer")
	} else if why := addressMistake(t.HostPort()); why != "" {
		add("address", "%q is not host or host:port: %s", t.Address, why)
	}
	if t.Username != "" && t.Password == "" {
		add("password", "is empty while a username is set: give both or neither")
	}
	if t.Password != "" && t.Username == "" {
		add("username", "is empty while a password is set: give both or neither")
	}
	if t.Register && t.Username == "" {
		add("register", "needs a username and a password")
	}
	for _, f := range [...]struct{ name, value string }{
		{"username", t.Username}, {"realm", t.Realm}, {"from_domain", t.FromDomain},
	} {
		if strings.ContainsAny(f.value, "\r\n\x00\"<>") {
			add(f.name, "has a character that may not stand in a SIP header")
		}
	}
	if t.Channels < 1 || t.Channels > 100_000 {
		add("channels", "%d is not between 1 and 100000", t.Channels)
	}
	if !(t.CPS > 0 && t.CPS <= 10_000) {
		add("cps", "%g is not above 0 and at most 10000", t.CPS)
	}
	for _, c := range t.Codecs {
		if c != "PCMU" && c != "PCMA" {
			add("codecs", "%q is not PCMU or PCMA", c)
		}
	}
	return append(found, t.TrunkOptions.validate()...)
}

// addressMistake says what is wrong with a host:port, or "".
func addressMistake(hostPort string) string {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return "it cannot be taken apart"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "the port is a number from 1 to 65535"
	}
	if _, err := netip.ParseAddr(host); err == nil || hostName.MatchString(host) && len(host) <= 253 {
		return ""
	}
	return "the host is a name or an IP address"
}

// hostName is a DNS name whose last label begins with a letter, as RFC 3261 25.1
// has it, and with the underscore that private networks use.
var hostName = regexp.MustCompile(`^([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.?$`)

// HostPort returns the address with the default port filled in.
func (t Trunk) HostPort() string { return hostPort(t.Address, t.Transport) }

func hostPort(address string, transport Transport) string {
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	if inner, ok := strings.CutPrefix(address, "["); ok && strings.HasSuffix(inner, "]") {
		address = strings.TrimSuffix(inner, "]")
	}
	if transport == TLS {
		return net.JoinHostPort(address, "5061")
	}
	return net.JoinHostPort(address, "5060")
}
