package callbench

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A far is the far end of any number of calls: it answers every INVITE (or only
// rings), sends 50 packets a second on each leg from one socket, and measures
// what comes back over the bridge. It is as cheap as can be, because it shares
// the machine with what is measured.
type far struct {
	sip, rtp *net.UDPConn
	rings    bool // and never answers
	epoch    time.Time

	mu      sync.Mutex
	invites map[string]string // by Call-ID, for the 487
	legs    []*farLeg
	byCall  map[string]*farLeg
	byAddr  map[netip.AddrPort]*farLeg
	delays  []time.Duration // since the last look

	streaming      atomic.Bool
	sent, received atomic.Int64
	ended          atomic.Int64 // calls that are over, by BYE or CANCEL
	doing          sync.WaitGroup
	stop           chan struct{}
}

type farLeg struct {
	to  netip.AddrPort
	seq uint16
	ts  uint32
}

func newFar(b testing.TB, rings bool) *far {
	f := &far{
		rings: rings, epoch: time.Now(), stop: make(chan struct{}),
		invites: map[string]string{}, byCall: map[string]*farLeg{}, byAddr: map[netip.AddrPort]*farLeg{},
	}
	for _, conn := range []**net.UDPConn{&f.sip, &f.rtp} {
		var err error
		if *conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
			b.Fatal(err)
		}
		_ = (*conn).SetReadBuffer(16 << 20)
	}
	f.doing.Go(f.signal)
	f.doing.Go(f.hear)
	f.doing.Go(f.speak)
	b.Cleanup(func() {
		close(f.stop)
		f.sip.Close()
		f.rtp.Close()
		f.doing.Wait()
	})
	return f
}

func (f *far) addr() string { return f.sip.LocalAddr().String() }

func header(text, name string) string {
	_, rest, _ := strings.Cut(text, "\r\n"+name+": ")
	value, _, _ := strings.Cut(rest, "\r\n")
	return value
}

// signal answers SIP.
func (f *far) signal() {
	buf := make([]byte, 65536)
	for {
		n, from, err := f.sip.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		text := string(buf[:n])
		method, _, _ := strings.Cut(text, " ")
		id := header(text, "Call-ID")
		switch method {
		case "INVITE":
			f.mu.Lock()
			f.invites[id] = text
			known := f.byCall[id] != nil
			f.mu.Unlock()
			f.respond(from, text, "180 Ringing", "")
			if f.rings {
				continue
			}
			if !known {
				f.begin(id, text)
			}
			port := f.rtp.LocalAddr().(*net.UDPAddr).Port
			f.respond(from, text, "200 OK", fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"+
				"m=audio %d RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\n", port))
		case "CANCEL":
			f.respond(from, text, "200 OK", "")
			f.mu.Lock()
			invite := f.invites[id]
			delete(f.invites, id)
			f.mu.Unlock()
			if invite != "" {
				f.respond(from, invite, "487 Request Terminated", "")
				f.ended.Add(1)
			}
		case "BYE":
			f.respond(from, text, "200 OK", "")
			f.end(id)
		}
	}
}

func (f *far) respond(to netip.AddrPort, req, status, sdp string) {
	tag := header(req, "To")
	if !strings.Contains(tag, "tag=") {
		tag += ";tag=far"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "SIP/2.0 %s\r\nVia: %s\r\nFrom: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %s\r\nContact: <sip:far@%s>\r\n",
		status, header(req, "Via"), header(req, "From"), tag, header(req, "Call-ID"), header(req, "CSeq"), f.addr())
	if sdp != "" {
		b.WriteString("Content-Type: application/sdp\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(sdp), sdp)
	_, _ = f.sip.WriteToUDPAddrPort([]byte(b.String()), to)
}

// begin notes where a call's audio goes.
func (f *far) begin(id, invite string) {
	var host string
	var port uint16
	for line := range strings.SplitSeq(invite, "\r\n") {
		if h, ok := strings.CutPrefix(line, "c=IN IP4 "); ok {
			host = h
		}
		if strings.HasPrefix(line, "m=audio ") {
			fmt.Sscanf(line, "m=audio %d", &port)
		}
	}
	to, err := netip.ParseAddr(host)
	if err != nil {
		return
	}
	leg := &farLeg{to: netip.AddrPortFrom(to, port)}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.legs = append(f.legs, leg)
	f.byCall[id], f.byAddr[leg.to] = leg, leg
}

func (f *far) end(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	leg := f.byCall[id]
	if leg == nil {
		return
	}
	f.ended.Add(1)
	delete(f.byCall, id)
	delete(f.invites, id)
	delete(f.byAddr, leg.to)
	f.legs = slices.DeleteFunc(f.legs, func(l *farLeg) bool { return l == leg })
}

// speak sends to every leg each 20 ms, a quarter of the legs each 5 ms. What a
// pause of this process has left out is left out.
func (f *far) speak() {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	packet := make([]byte, 172)
	packet[0] = 0x80
	for quarter := 0; ; quarter++ {
		select {
		case <-f.stop:
			return
		case <-tick.C:
		}
		if !f.streaming.Load() {
			continue
		}
		f.mu.Lock()
		legs := slices.Clone(f.legs)
		f.mu.Unlock()
		for i := quarter % 4; i < len(legs); i += 4 {
			leg := legs[i]
			leg.seq++
			leg.ts += 160
			binary.BigEndian.PutUint16(packet[2:], leg.seq)
			binary.BigEndian.PutUint32(packet[4:], leg.ts)
			binary.BigEndian.PutUint32(packet[8:], uint32(i)+1)
			binary.BigEndian.PutUint64(packet[12:], uint64(time.Since(f.epoch)))
			if _, err := f.rtp.WriteToUDPAddrPort(packet, leg.to); err == nil {
				f.sent.Add(1)
			}
		}
	}
}

// hear counts what comes back, and its age.
func (f *far) hear() {
	buf := make([]byte, 2048)
	for {
		n, _, err := f.rtp.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if n != 172 || buf[1]&0x7f != 0 {
			continue
		}
		age := time.Since(f.epoch) - time.Duration(binary.BigEndian.Uint64(buf[12:]))
		if age < 0 || age > time.Minute {
			continue // silence of the other end's own
		}
		f.received.Add(1)
		f.mu.Lock()
		if len(f.delays) < 1<<20 {
			f.delays = append(f.delays, age)
		}
		f.mu.Unlock()
	}
}

// delay is the median and the 99th percentile of what came since the last look.
func (f *far) delay() (median, p99 time.Duration) {
	f.mu.Lock()
	all := f.delays
	f.delays = nil
	f.mu.Unlock()
	if len(all) == 0 {
		return -1, -1
	}
	slices.Sort(all)
	return all[len(all)/2], all[len(all)*99/100]
}
