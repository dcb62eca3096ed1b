package siptrunk

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// A nameServer is a DNS server on a real socket, as much of one as the tests
// need: A, AAAA and SRV, "no such name", and death.
type nameServer struct {
	conn *net.UDPConn

	mu    sync.Mutex
	hosts map[string][]netip.Addr
	srvs  map[string][]net.SRV
	dead  bool // it fails every question
	asked []string
}

func newNameServer(t *testing.T) *nameServer {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{conn: conn, hosts: map[string][]netip.Addr{}, srvs: map[string][]net.SRV{}}
	var serving sync.WaitGroup
	serving.Go(func() {
		buf := make([]byte, 512)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if answer := s.answer(buf[:n]); answer != nil {
				_, _ = conn.WriteToUDPAddrPort(answer, from)
			}
		}
	})
	t.Cleanup(func() {
		conn.Close()
		serving.Wait()
	})
	return s
}

// resolver asks this server and no other.
func (s *nameServer) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", s.conn.LocalAddr().String())
	}}
}

func (s *nameServer) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

const (
	typeA, typeAAAA, typeSRV = 1, 28, 33
	serverFailure, noName    = 2, 3
)

// answer makes the reply to one question (RFC 1035 4).
func (s *nameServer) answer(q []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(q) < 17 {
		return nil
	}
	var labels []string
	at := 12
	for at < len(q) && q[at] != 0 {
		n := int(q[at])
		if at+1+n >= len(q) {
			return nil
		}
		labels = append(labels, string(q[at+1:at+1+n]))
		at += 1 + n
	}
	name := strings.ToLower(strings.Join(labels, ".")) + "."
	if at+5 > len(q) {
		return nil
	}
	kind := binary.BigEndian.Uint16(q[at+1:])
	question := q[12 : at+5]
	s.asked = append(s.asked, name)

	var records [][]byte
	switch kind {
	case typeA, typeAAAA:
		for _, a := range s.hosts[name] {
			if a.Is4() == (kind == typeA) {
				records = append(records, a.AsSlice())
			}
		}
	case typeSRV:
		for _, r := range s.srvs[name] {
			data := binary.BigEndian.AppendUint16(nil, r.Priority)
			data = binary.BigEndian.AppendUint16(data, r.Weight)
			data = binary.BigEndian.AppendUint16(data, r.Port)
			records = append(records, append(data, wireName(r.Target)...))
		}
	}
	flags := uint16(0x8180)
	_, host := s.hosts[name]
	_, srv := s.srvs[name]
	switch {
	case s.dead:
		flags, records = flags|serverFailure, nil
	case !host && !srv:
		flags |= noName
	}
	var b bytes.Buffer
	b.Write(q[:2])
	for _, v := range []uint16{flags, 1, uint16(len(records)), 0, 0} {
		_ = binary.Write(&b, binary.BigEndian, v)
	}
	b.Write(question)
	for _, data := range records {
		b.Write([]byte{0xc0, 12}) // the question's name
		for _, v := range []uint16{kind, 1, 0, 30, uint16(len(data))} {
			_ = binary.Write(&b, binary.BigEndian, v)
		}
		b.Write(data)
	}
	return b.Bytes()
}

func wireName(name string) []byte {
	var b []byte
	for label := range strings.SplitSeq(strings.Trim(name, "."), ".") {
		if label != "" {
			b = append(append(b, byte(len(label))), label...)
		}
	}
	return append(b, 0)
}
