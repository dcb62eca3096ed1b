package siptrunk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"dialer/telephony"
)

// A target is one address of a trunk's peer, and how it is spoken to.
type target struct {
	transport telephony.Transport
	addr      netip.AddrPort
	// name is the peer as it was configured, "host" or "host:port": what stands
	// in the Request-URI and, when the trunk names no other, in the certificate.
	name string
}

func (t target) String() string { return string(t.transport) + ":" + t.addr.String() }

// A record is a set of targets that are equally good: of one SRV record, or of
// one host. Records of a lower tier are tried first; within a tier the weight is
// the record's share of the calls (RFC 2782).
type record struct {
	tier    int
	weight  uint16
	targets []target
}

// targetsOf puts the targets of records into the order in which a call tries
// them. intn is rand.IntN.
func targetsOf(records []record, intn func(int) int) []target {
	var all []target
	for rest := slices.Clone(records); len(rest) > 0; {
		tier := slices.MinFunc(rest, func(a, b record) int { return a.tier - b.tier }).tier
		i := pick(rest, tier, intn)
		for _, t := range rest[i].targets {
			if !slices.ContainsFunc(all, t.same) {
				all = append(all, t)
			}
		}
		rest = slices.Delete(rest, i, i+1)
	}
	return all
}

// same reports whether both are the same address, by whatever name.
func (t target) same(o target) bool { return t.addr == o.addr && t.transport == o.transport }

// pick chooses one record of a tier, by the running sums of RFC 2782: those of
// weight 0 come first in it, so that they have a small chance beside the others.
func pick(records []record, tier int, intn func(int) int) int {
	var order []int
	sum := 0
	for _, zero := range []bool{true, false} {
		for i, r := range records {
			if r.tier == tier && (r.weight == 0) == zero {
				order = append(order, i)
				sum += int(r.weight)
			}
		}
	}
	n := intn(sum + 1)
	running := 0
	for _, i := range order {
		if running += int(records[i].weight); running >= n {
			return i
		}
	}
	return order[len(order)-1]
}

// A resolver finds addresses by DNS, as RFC 3263 has it, and keeps what it found:
// when DNS fails, the last good answer serves on. sipgo never resolves a name.
type resolver struct {
	dns     *net.Resolver
	network string // "ip4" when our socket is of IPv4 only, else "ip"

	mu    sync.Mutex
	hosts map[string]kept[[]netip.Addr]
	srvs  map[string]kept[[]*net.SRV]
}

// kept is what DNS said last.
type kept[T any] struct {
	answer T
	found  bool // ever
	err    error
	until  time.Time // asked again then
}

const (
	nameLife      = time.Minute     // of an answer: net.Resolver does not tell the TTL
	failLife      = 5 * time.Second // of a failure
	lookupTimeout = 3 * time.Second
	// maxNames bounds what is kept: the Contacts of far ends can name anything.
	maxNames = 4096
)

func newResolver(cfg Config) *resolver {
	r := &resolver{dns: cfg.Resolver, network: "ip", hosts: map[string]kept[[]netip.Addr]{}, srvs: map[string]kept[[]*net.SRV]{}}
	if r.dns == nil {
		r.dns = net.DefaultResolver
	}
	if cfg.Listen.Addr().Is4() {
		r.network = "ip4"
	}
	return r
}

// addrs returns the addresses of a host. The error is nil as long as there are
// any, and is then told in stale.
func (r *resolver) addrs(ctx context.Context, host string) (addrs []netip.Addr, stale, err error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil, nil
	}
	return ask(ctx, r, r.hosts, strings.ToLower(host), func(ctx context.Context) ([]netip.Addr, error) {
		addrs, err := r.dns.LookupNetIP(ctx, r.network, host)
		if err == nil && len(addrs) == 0 {
			err = errors.New("it has no address")
		}
		for i := range addrs {
			addrs[i] = addrs[i].Unmap()
		}
		return addrs, err
	})
}

var errNotAsked = errors.New("DNS was not asked yet")

// known is addrs without waiting for DNS. fresh is false when that is worth
// asking again.
func (r *resolver) known(host string) (addrs []netip.Addr, fresh bool, err error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, true, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.hosts[strings.ToLower(host)]
	fresh = time.Now().Before(k.until)
	if k.found {
		return k.answer, fresh, nil
	}
	return nil, fresh, cmp.Or(k.err, errNotAsked)
}

// srv returns the SRV records of a host for a transport; none when it has none.
func (r *resolver) srv(ctx context.Context, host string, transport telephony.Transport) (found []*net.SRV, stale, err error) {
	name := "_sip._udp."
	switch transport {
	case telephony.TCP:
		name = "_sip._tcp."
	case telephony.TLS:
		name = "_sips._tcp."
	}
	name = strings.ToLower(name + strings.TrimSuffix(host, ".") + ".")
	return ask(ctx, r, r.srvs, name, func(ctx context.Context) ([]*net.SRV, error) {
		_, found, err := r.dns.LookupSRV(ctx, "", "", name)
		var none *net.DNSError
		if errors.As(err, &none) && none.IsNotFound {
			return nil, nil
		}
		return found, err
	})
}

// ask returns what is kept of a name, or looks it up.
func ask[T any](ctx context.Context, r *resolver, all map[string]kept[T], name string,
	lookUp func(context.Context) (T, error)) (answer T, stale, err error) {

	r.mu.Lock()
	k := all[name]
	r.mu.Unlock()
	if now := time.Now(); !now.Before(k.until) {
		ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
		found, err := lookUp(ctx)
		gaveUp := errors.Is(ctx.Err(), context.Canceled)
		cancel()
		if gaveUp && !k.found {
			return answer, nil, err // by whoever asked: says nothing of DNS
		}
		k.err, k.until = err, now.Add(failLife)
		if err == nil {
			k.answer, k.found, k.until = found, true, now.Add(nameLife)
		}
		r.mu.Lock()
		if len(all) >= maxNames {
			clear(all)
		}
		all[name] = k
		r.mu.Unlock()
	}
	if k.found {
		return k.answer, k.err, nil
	}
	return answer, nil, k.err
}

// records returns what a trunk's peers resolve to. Each address is looked up for
// itself: one that has no answer leaves the others. stale tells what could not
// be looked up; err is set when nothing is known at all.
func (r *resolver) records(ctx context.Context, cfg telephony.Trunk) (all []record, stale, err error) {
	transport := trunkTransport(cfg)
	tier := 0
	for _, name := range append([]string{cfg.Address}, cfg.Backups...) {
		found, old, e := r.peer(ctx, name, transport)
		stale, err = errors.Join(stale, old), errors.Join(err, e)
		base := tier
		for _, rec := range found {
			rec.tier += base
			tier = max(tier, rec.tier+1)
			all = append(all, rec)
		}
	}
	if len(all) > 0 {
		return all, errors.Join(stale, err), nil
	}
	return nil, nil, err
}

func trunkTransport(cfg telephony.Trunk) telephony.Transport {
	if cfg.Transport == "" {
		return telephony.UDP
	}
	return cfg.Transport
}

// peer resolves one configured name: an address or a name with a port by itself,
// a bare name by SRV and, when it has none, by its addresses (RFC 3263 4.2).
func (r *resolver) peer(ctx context.Context, name string, transport telephony.Transport) (all []record, stale, err error) {
	host, port, err := hostAndPort(name, transport)
	if err != nil {
		return nil, nil, err
	}
	if bareName(name) {
		srvs, old, err := r.srv(ctx, host, transport)
		stale = told(host, errors.Join(old, err))
		if len(srvs) == 1 && srvs[0].Target == "." { // RFC 2782: decidedly not here
			return nil, nil, fmt.Errorf("%s says that it has no SIP over %s (SRV)", host, transport)
		}
		var failed error
		for _, s := range srvs {
			targets, old, err := r.at(ctx, s.Target, s.Port, transport, name)
			stale, failed = errors.Join(stale, old), errors.Join(failed, err)
			if len(targets) > 0 {
				all = append(all, record{tier: int(s.Priority), weight: s.Weight, targets: targets})
			}
		}
		if len(all) > 0 {
			return flat(all), errors.Join(stale, failed), nil
		}
		if len(srvs) > 0 {
			return nil, nil, failed
		}
	}
	targets, old, err := r.at(ctx, host, port, transport, name)
	if err != nil {
		return nil, nil, err
	}
	return []record{{targets: targets}}, errors.Join(stale, old), nil
}

// flat numbers the tiers without gaps.
func flat(records []record) []record {
	slices.SortStableFunc(records, func(a, b record) int { return a.tier - b.tier })
	tier, last := 0, records[0].tier
	for i, r := range records {
		if r.tier != last {
			tier, last = tier+1, r.tier
		}
		records[i].tier = tier
	}
	return records
}

// at returns the targets of one host, in the order of DNS.
func (r *resolver) at(ctx context.Context, host string, port uint16, transport telephony.Transport, name string) (targets []target, stale, err error) {
	addrs, stale, err := r.addrs(ctx, host)
	if err != nil {
		return nil, nil, told(host, err)
	}
	for _, a := range addrs {
		targets = append(targets, target{transport: transport, addr: netip.AddrPortFrom(a, port), name: name})
	}
	return targets, told(host, stale), nil
}

// told names the host in an error of DNS, in few words: people read it.
func told(host string, err error) error {
	var dns *net.DNSError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Errorf("DNS knows no %s", host)
	case errors.As(err, &dns) && dns.IsTimeout, errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("DNS does not answer for %s", host)
	}
	return fmt.Errorf("cannot look up %s: %w", host, err)
}

// bareName reports whether a configured name has no port and is no address.
func bareName(name string) bool {
	if _, _, err := net.SplitHostPort(name); err == nil {
		return false
	}
	_, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err != nil
}

// hostAndPort takes a configured name apart, with the default port filled in.
func hostAndPort(name string, transport telephony.Transport) (host string, port uint16, err error) {
	t := telephony.Trunk{Address: name, TrunkOptions: telephony.TrunkOptions{Transport: transport}}
	host, portText, err := net.SplitHostPort(t.HostPort())
	if err != nil {
		return "", 0, fmt.Errorf("%q is not host or host:port: %w", name, err)
	}
	n, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("%q has no valid port", name)
	}
	return host, uint16(n), nil
}

// order is a trunk's targets in the order of one call.
func order(records []record) []target { return targetsOf(records, rand.IntN) }
