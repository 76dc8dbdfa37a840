//go:build unix

package transport

import (
	"io"
	"net"
	"sync"
	"syscall"
)

// canPeek says whether there are sockets to look into.
const canPeek = true

// socket lets one look into it without taking anything out.
type socket struct {
	raw            syscall.RawConn
	plain          bool // nothing stands between the connection's methods and its socket
	one            [1]byte
	waiting, ended bool
	look           func(fd uintptr)      // made once, as step is, so that looking allocates nothing
	step           func(fd uintptr) bool // of a round

	mu    sync.Mutex            // held while bytes are taken, and while peek and since look
	taken uint64                // how often there were some
	taker func(fd uintptr) bool // of a take, made once

	// Of a round, or a take.
	out, in     []byte
	skip, begun bool
	wrote, read int
	err         error
}

func newSocket(c syscall.Conn) *socket {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	s := &socket{raw: raw}
	s.look, s.step, s.taker = s.lookInto, s.advance, s.takeFrom
	_, s.plain = c.(*net.TCPConn) // what embeds one may have a Write and a Read of its own
	return s
}

func (s *socket) lookInto(fd uintptr) {
	switch n, _, err := syscall.Recvfrom(int(fd), s.one[:], syscall.MSG_PEEK); {
	case err == syscall.EAGAIN || err == syscall.EWOULDBLOCK || err == syscall.EINTR:
	case err != nil || n == 0:
		s.ended = true
	default:
		s.waiting = true
	}
}

// peek reports whether bytes are waiting, and whether the connection is at its end. It does not wait, and other goroutines
// may be reading or looking.
func (s *socket) peek() (waiting, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peekLocked()
}

func (s *socket) peekLocked() (waiting, ended bool) {
	s.waiting, s.ended = false, false
	if s.raw.Control(s.look) != nil {
		return false, true
	}
	return s.waiting, s.ended
}

// round is, in one, a look, a write of out, and the first read, into in, which saves locks. Where look is set and bytes are waiting or the connection is at its end, nothing is written, and fit is false.
// As long as wrote is less than len(out) nothing was read, and err, if there is one, is that of the write.
func (s *socket) round(out, in []byte, look bool) (wrote, read int, fit bool, err error) {
	s.out, s.in, s.skip, s.begun, s.wrote, s.read, s.err = out, in, !look, false, 0, 0, nil
	s.waiting, s.ended = false, false
	err = s.raw.Read(s.step)
	s.out, s.in = nil, nil
	if s.err != nil {
		err = s.err
	}
	return s.wrote, s.read, !s.waiting && !s.ended, err
}

// advance is called before the first wait and after each.
func (s *socket) advance(fd uintptr) bool {
	if !s.begun {
		s.begun = true
		if !s.skip {
			if s.lookInto(fd); s.waiting || s.ended {
				return true
			}
		}
		n, err := syscall.Write(int(fd), s.out)
		s.wrote = max(n, 0)
		if err != nil && err != syscall.EAGAIN && err != syscall.EINTR {
			s.err = err
		}
		if s.wrote < len(s.out) {
			return true
		}
	}
	return s.readFrom(fd)
}

// readFrom reads once, and reports false when it has to be waited for that.
func (s *socket) readFrom(fd uintptr) bool {
	for {
		n, err := syscall.Read(int(fd), s.in)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return false
		case err != nil:
			s.err = err
		case n == 0:
			s.err = io.EOF
		default:
			s.read = n
		}
		return true
	}
}

// take reads into p, and counts it: since sees the bytes at every moment, either in the socket or here.
func (s *socket) take(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s.in, s.read, s.err = p, 0, nil
	err := s.raw.Read(s.taker)
	s.in = nil
	if s.err != nil {
		err = s.err
	}
	return s.read, err
}

// takeFrom is called before the first wait and after each.
func (s *socket) takeFrom(fd uintptr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	done := s.readFrom(fd)
	if s.read > 0 {
		s.taken++
	}
	return done
}

// takes returns how often take had something.
func (s *socket) takes() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken
}

// since is peek, and reports whether take had something since takes returned then. A take may be under way.
func (s *socket) since(then uint64) (waiting, taken, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting, ended = s.peekLocked()
	return waiting, s.taken != then, ended
}
