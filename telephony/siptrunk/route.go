package siptrunk

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A router finds addresses: of peers by name, and our own as a peer sees it.
// It also tells the guard which hosts are trunks.
type router struct {
	cfg   Config
	peers *peers

	mu     sync.Mutex
	names  map[string]resolved
	routes map[netip.Addr]netip.Addr // our address on the way to a peer
	trunks []string
}

type resolved struct {
	addrs []netip.Addr
	at    time.Time
}

const (
	nameLife      = time.Minute
	lookupTimeout = 3 * time.Second
)

func newRouter(cfg Config, peers *peers) *router {
	return &router{
		cfg: cfg, peers: peers,
		names:  map[string]resolved{},
		routes: map[netip.Addr]netip.Addr{},
	}
}

// setTrunks tells the guard at once of trunks given by address; those given by
// name follow when refresh or the first call has looked them up.
func (r *router) setTrunks(hostPorts []string) {
	r.mu.Lock()
	r.trunks = hostPorts
	r.mu.Unlock()
	r.admitTrunks()
}

func (r *router) admitTrunks() {
	r.mu.Lock()
	var hosts []string
	for _, hp := range r.trunks {
		host, _, err := net.SplitHostPort(hp)
		if err != nil {
			continue
		}
		hosts = append(hosts, host)
	}
	r.mu.Unlock()
	var addrs []netip.Addr
	for _, host := range hosts {
		addrs = append(addrs, r.addrsOf(host)...)
	}
	r.peers.setTrunks(addrs)
}

// refresh keeps the addresses of trunks known by name, so that their requests
// are heard too. It ends with ctx.
func (r *router) refresh(ctx context.Context) {
	tick := time.NewTicker(nameLife)
	defer tick.Stop()
	for {
		r.mu.Lock()
		trunks := slices.Clone(r.trunks)
		clear(r.routes)
		r.mu.Unlock()
		for _, hp := range trunks {
			r.resolve(ctx, hp) // an unknown name is told by the Dial that needs it
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// resolve returns the address of host:port, of our socket's family.
func (r *router) resolve(ctx context.Context, hostPort string) (netip.AddrPort, error) {
	host, portText, err := net.SplitHostPort(hostPort)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is not host:port: %w", hostPort, err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || port == 0 {
		return netip.AddrPort{}, fmt.Errorf("%q has no valid port", hostPort)
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return netip.AddrPortFrom(a.Unmap(), uint16(port)), nil
	}
	r.mu.Lock()
	known := r.names[host]
	r.mu.Unlock()
	if time.Since(known.at) > nameLife {
		ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
		defer cancel()
		network := "ip"
		if r.cfg.Listen.Addr().Is4() {
			network = "ip4"
		}
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, network, host)
		if err != nil && len(known.addrs) == 0 {
			return netip.AddrPort{}, fmt.Errorf("cannot look up %q: %w", host, err)
		}
		if err == nil && len(addrs) > 0 { // else the last answer serves on
			for i := range addrs {
				addrs[i] = addrs[i].Unmap()
			}
			known = resolved{addrs, time.Now()}
			r.mu.Lock()
			r.names[host] = known
			r.mu.Unlock()
			r.admitTrunks()
		}
	}
	if len(known.addrs) == 0 {
		return netip.AddrPort{}, fmt.Errorf("%q has no address", host)
	}
	return netip.AddrPortFrom(known.addrs[0], uint16(port)), nil
}

// toTrunk reports whether a request to host, found at addr, would reach a trunk,
// on whatever port. On the loopback, where all is one host, the port counts.
func (r *router) toTrunk(ctx context.Context, host string, addr netip.AddrPort) bool {
	r.mu.Lock()
	trunks := slices.Clone(r.trunks)
	r.mu.Unlock()
	for _, hp := range trunks {
		at, err := r.resolve(ctx, hp)
		name, _, _ := net.SplitHostPort(hp)
		switch {
		case err == nil && at == addr:
			return true
		case addr.Addr().IsLoopback():
		case strings.EqualFold(strings.TrimSuffix(name, "."), strings.TrimSuffix(host, ".")):
			return true
		case slices.Contains(r.addrsOf(name), addr.Addr()):
			return true
		}
	}
	return false
}

// addrsOf returns what is known of a name's addresses.
func (r *router) addrsOf(host string) []netip.Addr {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.names[host].addrs
}

// ours returns the address that stands in Contact, Via and SDP towards a peer.
func (r *router) ours(peer netip.Addr) (netip.Addr, error) {
	if r.cfg.External.IsValid() {
		return r.cfg.External, nil
	}
	if a := r.cfg.Listen.Addr(); !a.IsUnspecified() {
		return a, nil
	}
	r.mu.Lock()
	a, ok := r.routes[peer]
	r.mu.Unlock()
	if ok {
		return a, nil
	}
	// A connected UDP socket tells the route's source address; nothing is sent.
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(peer, 9)))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("no route to %s: %w", peer, err)
	}
	defer conn.Close()
	a = conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	r.mu.Lock()
	r.routes[peer] = a
	r.mu.Unlock()
	return a, nil
}
