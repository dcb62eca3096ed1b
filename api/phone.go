package api

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"dialer"
	"dialer/telephony"
)

// longestExtension is how many digits an agent's extension may have. More are
// somebody's number.
const longestExtension = 6

// checkPhone returns what is wrong with the fixed address of an agent's phone,
// which is called without any of a campaign's checks: it must not be a way to
// call numbers. Names are compared here; what they resolve to, at the call.
func (s *Server) checkPhone(ctx context.Context, uri string) error {
	rest, ok := strings.CutPrefix(uri, "sip:")
	if !ok || strings.Count(rest, "@") > 1 || strings.ContainsAny(uri, "? \r\n\t<>\"\x00") {
		return dialer.Fieldf("uri", "%q is not sip:user@host", clip(uri, 100))
	}
	user, at, found := strings.Cut(rest, "@")
	if !found {
		user, at = "", rest
	}
	if isNumber(user) {
		return dialer.Fieldf("uri", "calls a phone number: give the address of the agent's phone, as sip:anna@192.0.2.7. People are called by campaigns")
	}
	at, _, _ = strings.Cut(at, ";")
	here := telephony.Trunk{Address: at}.HostPort()
	trunks, err := s.store.ListTrunks(ctx)
	if err != nil {
		return err
	}
	for _, t := range trunks {
		peers := []string{t.HostPort()}
		for _, b := range t.Backups {
			peers = append(peers, telephony.Trunk{Address: b}.HostPort())
		}
		if slices.ContainsFunc(peers, func(peer string) bool { return sameHost(here, peer) }) {
			return dialer.Fieldf("uri", "is at the trunk %q: give the address of the agent's phone itself", t.Name)
		}
	}
	return nil
}

// isNumber reports whether the user part of a SIP URI is a phone number, in
// whatever way it is written.
func isNumber(user string) bool {
	user, _, _ = strings.Cut(user, ";") // 0301234567;phone-context=…
	if plain, err := url.PathUnescape(user); err == nil {
		user = plain
	}
	user, _, _ = strings.Cut(user, ":") // a password
	digits := 0
	for _, r := range user {
		switch {
		case r >= '0' && r <= '9':
			digits++
		case unicode.IsLetter(r), r == '_':
			return false
		}
	}
	return digits > longestExtension
}

// sameHost compares the hosts of two host:port; on the loopback, where all is
// one host, the ports too.
func sameHost(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil {
		return false
	}
	ipA, errA := netip.ParseAddr(hostA)
	ipB, errB := netip.ParseAddr(hostB)
	switch {
	case errA == nil && errB == nil:
		return ipA.Unmap() == ipB.Unmap() && (!ipA.Unmap().IsLoopback() || portA == portB)
	case strings.EqualFold(hostA, "localhost"):
		return strings.EqualFold(hostB, "localhost") && portA == portB
	}
	return strings.EqualFold(strings.TrimSuffix(hostA, "."), strings.TrimSuffix(hostB, "."))
}
