package siptrunk

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// noticeLoss lets a connection fail when what was sent is not acknowledged in
// time: the kernel would else try for a quarter of an hour, and every call with
// it.
func noticeLoss(_, _ string, c syscall.RawConn) error {
	const patience = 10 * time.Second
	var err error
	if failed := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(patience/time.Millisecond))
	}); failed != nil {
		return failed
	}
	return err
}

// mark sets the DSCP of what a socket sends, where the system lets us.
func mark(c syscall.RawConn, dscp int) {
	_ = c.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TOS, dscp<<2)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_TCLASS, dscp<<2) // fails on IPv4
	})
}
