package siptrunk

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
)

// A router finds addresses: of far ends by name, and our own as a peer sees it.
type router struct {
	cfg   Config
	names *resolver

	mu     sync.Mutex
	routes map[netip.Addr]netip.Addr // our address on the way to a peer
}

func newRouter(cfg Config, names *resolver) *router {
	return &router{cfg: cfg, names: names, routes: map[netip.Addr]netip.Addr{}}
}

// forget has our addresses found anew: an interface may have changed.
func (r *router) forget() {
	r.mu.Lock()
	clear(r.routes)
	r.mu.Unlock()
}

// resolve returns the address of host:port, of our socket's family.
func (r *router) resolve(ctx context.Context, hostPort string) (netip.AddrPort, error) {
	return r.find(hostPort, func(host string) ([]netip.Addr, error) {
		addrs, _, err := r.names.addrs(ctx, host)
		return addrs, err
	})
}

// known is resolve without waiting for DNS; fresh is false when that is worth
// asking.
func (r *router) known(hostPort string) (addr netip.AddrPort, fresh bool, err error) {
	fresh = true
	addr, err = r.find(hostPort, func(host string) (addrs []netip.Addr, err error) {
		addrs, fresh, err = r.names.known(host)
		return addrs, err
	})
	return addr, fresh, err
}

func (r *router) find(hostPort string, lookUp func(host string) ([]netip.Addr, error)) (netip.AddrPort, error) {
	host, portText, err := net.SplitHostPort(hostPort)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is not host:port: %w", hostPort, err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || port == 0 {
		return netip.AddrPort{}, fmt.Errorf("%q has no valid port", hostPort)
	}
	addrs, err := lookUp(host)
	if err != nil {
		return netip.AddrPort{}, told(host, err)
	}
	return netip.AddrPortFrom(addrs[0], uint16(port)), nil
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
