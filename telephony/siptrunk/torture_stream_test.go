package siptrunk

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"dialer/telephony"
	"dialer/telephony/siptrunk/siptest"
)

// A wireStream is a TCP or TLS connection of a peer that says what it likes.
type wireStream struct {
	net.Conn
	in *bufio.Reader
}

// openWire opens a connection from a host.
func openWire(t *testing.T, host string, to netip.AddrPort, secure bool) *wireStream {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}, Timeout: patience}
	conn, err := d.Dial("tcp4", to.String())
	if err == nil && secure {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // who it is, is not the question here
	}
	if err != nil {
		t.Fatal(err)
	}
	return &wireStream{Conn: conn, in: bufio.NewReader(conn)}
}

// next is the next message, or nil when the connection ends or says no more for
// a while.
func (s *wireStream) next(wait time.Duration) (*rawMessage, error) {
	_ = s.SetReadDeadline(time.Now().Add(wait))
	var text strings.Builder
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			return nil, err
		}
		if text.WriteString(line); line == "\r\n" && text.Len() > 2 {
			break
		}
	}
	return parseRaw(text.String()), nil // no answer to these has a body
}

// TestRFC4475OverStreams: the same answers over TCP and TLS, or the end of the
// connection where the end of the message is not known.
func TestRFC4475OverStreams(t *testing.T) {
	messages := torture(t)
	authority, err := siptest.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := authority.IssueFiles(t.TempDir(), "127.0.0.1", time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	p := newRawPeerAt(t, "127.14.75.3")
	e := startEndpoint(t, func(c *Config) {
		withPhones(c)
		c.MediaTimeout = time.Minute
		c.TLSListen, c.TLSCert, c.TLSKey = netip.MustParseAddrPort("127.0.0.1:0"), cert, key
	}, testTrunk(p))
	if err := e.sock.await(t.Context()); err != nil {
		t.Fatal(err)
	}
	live := upOn(t, e, p)
	// What has no end that can be known over a stream, or, dblreq, something
	// after it that is no message: the connection ends.
	endless := []string{"baddn", "clerr", "ncl", "mcl01", "inv2543", "dblreq"}
	for _, secure := range []bool{false, true} {
		name, at := "TCP", e.Addr()
		if secure {
			name, at = "TLS", e.TLSAddr()
		}
		t.Run(name, func(t *testing.T) {
			good := 0
			for i, c := range rfc4475 {
				text := messages[c.file]
				s := openWire(t, "127.14.75.3", at, secure)
				_, _ = io.WriteString(s, text)
				_, _ = io.WriteString(s, strings.ReplaceAll(outside("OPTIONS", p, e, i), "/UDP", "/"+name))
				got, wait := "-", 5*time.Second
				if slices.Contains(endless, c.file) {
					wait = 300 * time.Millisecond
				}
				for probed := false; ; {
					m, err := s.next(wait)
					if err != nil {
						if errors.Is(err, os.ErrDeadlineExceeded) && wait == 5*time.Second {
							t.Errorf("%s: the connection hangs", c.file)
						}
						break
					}
					if m.get("Call-ID") == fmt.Sprintf("out%d", i) {
						probed = true
					} else if slices.Contains(readHead([]byte(text)).all("call-id"), m.get("Call-ID")) || m.get("Call-ID") == "" {
						got = m.status()
					}
					if probed && (got != "-" || c.right[0] == "-") {
						break
					}
				}
				s.Close()
				if slices.Contains(c.right, got) || slices.Contains(endless, c.file) && (got == "400" || got == "401" || got == "-") {
					good++
				} else {
					t.Errorf("%s (%s) got %s, want one of %v", c.file, c.says, got, c.right)
				}
				if strings.HasPrefix(text, "REGISTER ") {
					continue
				}
				stranger := openWire(t, "127.14.75.4", at, secure)
				_, _ = io.WriteString(stranger, text)
				if m, err := stranger.next(wait); m != nil {
					t.Errorf("a stranger's %s was answered: %s", c.file, m.start)
				} else if errors.Is(err, os.ErrDeadlineExceeded) && !slices.Contains(endless, c.file) {
					t.Errorf("a stranger's connection stays after %s", c.file)
				}
				stranger.Close()
			}
			t.Logf("%d of %d right", good, len(rfc4475))
		})
	}
	select {
	case <-live.leg.Done():
		t.Error("the live call was lost")
	default:
	}
	live.end(t, 1)
	if info := live.leg.Info(); info.EndedBy != telephony.Callee {
		t.Errorf("ended by %s", info.EndedBy)
	}
}
