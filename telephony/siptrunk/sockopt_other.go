//go:build !linux

package siptrunk

import "syscall"

// noticeLoss leaves it to the kernel when a connection fails.
func noticeLoss(_, _ string, _ syscall.RawConn) error { return nil }

// mark is different from system to system: packets go unmarked.
func mark(syscall.RawConn, int) {}
