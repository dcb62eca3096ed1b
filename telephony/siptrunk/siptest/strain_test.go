package siptest

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

func TestThreeHundredCallsAtOnce(t *testing.T) {
	const calls = 300
	c := newWatched(t, CarrierConfig{
		Speed: 20, RTP: PortRange{20000, 29999},
		Population: &Population{Groups: []Group{{Kind: Human, Share: 1, PostDial: Fixed(time.Second), Ring: Uniform(time.Second, 20*time.Second), Patience: Fixed(30 * time.Second)}}},
	})
	from := newCaller(t)
	sink, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	_ = sink.SetReadBuffer(4 << 20)
	port := sink.LocalAddr().(*net.UDPAddr).Port
	streams := map[string]int{}
	counted := make(chan struct{})
	go func() {
		defer close(counted)
		buf := make([]byte, 1500)
		for {
			n, _, err := sink.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if n > 12 {
				streams[string(buf[8:12])]++
			}
		}
	}()
	var up, over sync.WaitGroup
	hangUp := make(chan struct{})
	for i := range calls {
		up.Add(1)
		over.Go(func() {
			call := &testCall{t: t, caller: from, bye: make(chan struct{}, 1), cseq: 1}
			call.send(c.Addr(), fmt.Sprintf("+1555%07d", i), fmt.Sprintf("load-%d", i), port)
			if call.tx == nil {
				up.Done()
				return
			}
			var res *sip.Response
			for res == nil || res.StatusCode < 200 {
				select {
				case res = <-call.tx.Responses():
				case <-call.tx.Done():
					t.Errorf("call %d: %v", i, call.tx.Err())
					up.Done()
					return
				}
			}
			if res.StatusCode == 200 {
				call.ack(res, nil)
			} else {
				t.Errorf("call %d got %d", i, res.StatusCode)
			}
			up.Done()
			<-hangUp
			call.do(sip.BYE, res, nil)
		})
	}
	up.Wait()
	if n := c.Counts(); n.Talking != calls {
		t.Errorf("%d calls up at once, want %d", n.Talking, calls)
	}
	<-time.After(time.Second)
	close(hangUp)
	over.Wait()
	if n := c.Counts(); n.Arrived != calls || n.Answered != calls || n.CallerEnded != calls || n.Open() != 0 || n.Unacked != 0 {
		t.Errorf("counts %+v", n)
	}
	sink.Close()
	<-counted
	if len(streams) != calls {
		t.Errorf("heard %d streams, want %d", len(streams), calls)
	}
}

func TestHostileDatagramsDoNotStopTheCarrier(t *testing.T) {
	t.Parallel()
	c := newWatched(t, CarrierConfig{Script: always(Behaviour{Kind: Busy})})
	conn, err := net.Dial("udp", c.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, data := range []string{
		"", "\r\n\r\n", "\x00\x00\x00", "INVITE", "INVITE sip:x SIP/2.0\r\n\r\n",
		"INVITE sip:x@y SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1\r\nFrom: <sip:a@b>\r\nTo: <sip:x@y>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContent-Length: 99999\r\n\r\n",
		"BYE sip:x SIP/2.0\r\nVia: SIP/2.0/UDP h:70000\r\nFrom: a\r\nTo: b;tag=1\r\nCall-ID: 1\r\nCSeq: 1 BYE\r\n\r\n",
		"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 BYE\r\n\r\n",
		strings.Repeat("A", 60000),
	} {
		if _, err := conn.Write([]byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	newCaller(t).dial(t, c.Addr(), number).want(486)
}
