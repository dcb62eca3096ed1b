package siptrunk

import (
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"dialer"
	"dialer/telephony"
)

// answers are the 2xx of one call. They outlive the call by the 32 s in which
// sipgo hears of repeated ones, so they hold nothing else of it.
type answers struct {
	e    *Endpoint
	peer peer

	mu   sync.Mutex
	acks map[string]*sip.Request // by To tag, to be repeated

	once  sync.Once
	first chan struct{} // closed with the first ACK: until then nothing is a repetition
}

func newAnswers(e *Endpoint, p peer) *answers {
	return &answers{e: e, peer: p, acks: map[string]*sip.Request{}, first: make(chan struct{})}
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
	a.once.Do(func() { close(a.first) })
}

// repeated handles a 2xx after the first: the same again, whose ACK was lost,
// or that of another fork, which is ended (RFC 3261 13.2.2.4) and told: somebody
// took that phone and heard nothing.
func (a *answers) repeated(invite *sip.Request, res *sip.Response) {
	tag := toTag(res)
	a.mu.Lock()
	ack, known := a.acks[tag]
	fresh := !known && len(a.acks) <= 32
	if fresh {
		a.acks[tag] = nil // ours: a copy of it may come at the same time
	}
	a.mu.Unlock()
	switch {
	case ack != nil:
		a.e.send(a.peer, ack.Clone())
	case fresh:
		d := a.e.newDialog(a.peer, invite, res)
		a.ack(d, invite)
		a.e.bye(d, telephony.CauseNormal)
		callID := invite.CallID().Value()
		if a.e.firstStray(strayKey(callID, fromTag(invite), tag), time.Now()) {
			a.e.ghost(dialer.CallID(callOf(callID)), time.Now())
		}
	}
}
