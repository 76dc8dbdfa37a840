//go:build unix

package transport

import "syscall"

// canPeek says whether there are sockets to look into.
const canPeek = true

// socket lets one look into it without taking anything out.
type socket struct {
	raw            syscall.RawConn
	one            [1]byte
	waiting, ended bool
	look           func(fd uintptr) // made once, so that looking allocates nothing
}

func newSocket(c syscall.Conn) *socket {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	s := &socket{raw: raw}
	s.look = func(fd uintptr) {
		switch n, _, err := syscall.Recvfrom(int(fd), s.one[:], syscall.MSG_PEEK); {
		case err == syscall.EAGAIN || err == syscall.EWOULDBLOCK || err == syscall.EINTR:
		case err != nil || n == 0:
			s.ended = true
		default:
			s.waiting = true
		}
	}
	return s
}

// peek reports whether bytes are waiting, and whether the connection is at its end. It does not wait, and another
// goroutine may be reading.
func (s *socket) peek() (waiting, ended bool) {
	s.waiting, s.ended = false, false
	if s.raw.Control(s.look) != nil {
		return false, true
	}
	return s.waiting, s.ended
}
