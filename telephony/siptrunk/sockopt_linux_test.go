package siptrunk

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Routers are told that it is signalling.
func TestSIPIsMarked(t *testing.T) {
	e := startEndpoint(t, func(c *Config) { c.SIPMark = 26 })
	raw, err := e.sock.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var tos int
	if err := raw.Control(func(fd uintptr) { tos, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TOS) }); err != nil {
		t.Fatal(err)
	}
	if err != nil || tos>>2 != 26 {
		t.Errorf("DSCP %d, %v; want 26", tos>>2, err)
	}
}
