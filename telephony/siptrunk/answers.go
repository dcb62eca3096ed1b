package siptrunk

import (
	"context"
	"sync"

	"github.com/emiago/sipgo/sip"

	"dialer/telephony"
)

// answers are the 2xx of one call. They outlive the call by the 32 s in which
// sipgo hears of repeated ones, so they hold nothing else of it.
type answers struct {
	e    *Endpoint
	peer peer

	mu   sync.Mutex
	acks map[string]*sip.Request // by To tag, to be repeated
}

// ack confirms the 2xx that made a dialog and keeps the ACK to repeat it.
func (a *answers) ack(d *dialog, invite *sip.Request) {
	ack := d.build(sip.ACK, invite.CSeq().SeqNo)
	for _, name := range []string{"Authorization", "Proxy-Authorization"} { // RFC 3261 22.1
		if h := invite.GetHeader(name); h != nil {
			ack.AppendHeader(sip.NewHeader(name, h.Value()))
		}
	}
	a.e.send(a.peer, ack)
	a.mu.Lock()
	a.acks[d.tag] = ack
	a.mu.Unlock()
}

// repeated handles a 2xx after the first: the same again, whose ACK was lost,
// or that of another fork, which is ended (RFC 3261 13.2.2.4).
func (a *answers) repeated(invite *sip.Request, res *sip.Response) {
	a.mu.Lock()
	ack, known := a.acks[toTag(res)]
	full := len(a.acks) > 32
	a.mu.Unlock()
	switch {
	case known:
		a.e.send(a.peer, ack)
	case !full:
		d := a.e.newDialog(context.Background(), a.peer, invite, res)
		a.ack(d, invite)
		a.e.bye(d, telephony.CauseNormal)
	}
}
