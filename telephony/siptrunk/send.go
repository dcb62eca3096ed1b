package siptrunk

import (
	"context"
	"errors"
	"net/netip"

	"github.com/emiago/sipgo/sip"

	"dialer/telephony"
)

// connect makes sure that a request has a connection to go by; it returns nil
// for UDP. When a dialog's next hop cannot be reached, what the call was placed
// over serves, as long as it is up: many a Contact is an address that nobody can
// connect to.
func (e *Endpoint) connect(ctx context.Context, p peer, req *sip.Request) (*stream, error) {
	transport := transportIn(req)
	if transport == telephony.UDP {
		return nil, nil
	}
	to, err := netip.ParseAddrPort(req.Destination())
	if err != nil {
		return nil, err
	}
	s, err := e.conns.to(ctx, route{transport, to}, p.tls)
	if err != nil && transport == p.transport && to != p.addr {
		if first := e.conns.find(route{p.transport, p.addr}); first != nil && first.proven(p.tls) == nil {
			req.SetDestination(p.addr.String())
			return first, nil
		}
	}
	return s, err
}

// reach opens the connection that a peer's calls go by, if there is none, and
// notes our end of it.
func (e *Endpoint) reach(ctx context.Context, p *peer) error {
	s, err := e.conns.to(ctx, route{p.transport, p.addr}, p.tls)
	if s != nil {
		p.port = s.from.local.Port()
	}
	return err
}

// begin sends a request as a transaction of its own. lost is closed when the
// connection that it went by is; it is nil for UDP.
func (e *Endpoint) begin(ctx context.Context, p peer, req *sip.Request) (tx sip.ClientTransaction, lost <-chan struct{}, err error) {
	s, err := e.connect(ctx, p, req)
	if err != nil {
		return nil, nil, err
	}
	if s != nil {
		lost = s.gone
	}
	// Not ctx: the transaction must outlive a caller who gives up.
	tx, err = e.client.TransactionRequest(context.Background(), req, asBuilt)
	return tx, lost, err
}

// do sends a request and returns its final response. One whose connection is
// lost is sent once more, over a new one: the peer takes it for a repetition.
func (e *Endpoint) do(ctx context.Context, p peer, req *sip.Request) (*sip.Response, error) {
	for again := false; ; again = true {
		res, lost, err := e.try(ctx, p, req)
		if !lost || again {
			return res, err
		}
	}
}

func (e *Endpoint) try(ctx context.Context, p peer, req *sip.Request) (res *sip.Response, lost bool, err error) {
	tx, gone, err := e.begin(ctx, p, req)
	if err != nil {
		select {
		case <-gone: // under our hands
			return nil, true, err
		default:
			return nil, false, err
		}
	}
	defer tx.Terminate()
	for {
		select {
		case res := <-tx.Responses():
			if res == nil || res.IsProvisional() {
				continue
			}
			return res, false, nil
		case <-gone:
			return nil, true, errLost
		case <-tx.Done():
			if err = tx.Err(); err == nil { // sipgo's, when it closes under a request
				err = errors.New("the SIP user agent was closed")
			}
			return nil, false, err
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

// send writes a request that has no transaction, an ACK, and changes it: one that
// others have as well is cloned before. Whoever sends it does not wait for a
// connection.
func (e *Endpoint) send(p peer, req *sip.Request) {
	write := func() {
		_, err := e.connect(context.Background(), p, req)
		if err == nil {
			err = e.client.WriteRequest(req, asBuilt)
		}
		if err != nil {
			e.log.Warn("cannot send", "method", string(req.Method), "to", req.Destination(), "err", err)
		}
	}
	if e.connected(req) {
		write()
		return
	}
	req = req.Clone() // the caller may keep it
	e.goEnd("an ACK", write)
}

// connected reports whether a request can be sent without connecting first.
func (e *Endpoint) connected(req *sip.Request) bool {
	transport := transportIn(req)
	if transport == telephony.UDP {
		return true
	}
	to, err := netip.ParseAddrPort(req.Destination())
	return err != nil || e.conns.find(route{transport, to}) != nil
}
