package transport

import (
	"syscall"
	"time"
)

// limitUnacknowledged sets TCP_USER_TIMEOUT (RFC 5482). Sockets that have none are as good without.
func limitUnacknowledged(_, _ string, c syscall.RawConn) error {
	const tcpUserTimeout = 0x12 // which package syscall does not name
	return c.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(unacknowledged/time.Millisecond))
	})
}
