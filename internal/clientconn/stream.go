package clientconn

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// ErrFraming is why a connection was ended on which two servers could have read different requests.
var ErrFraming = errors.New("gateway: a request has ambiguous framing")

const (
	refusal = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

	refusalTimeout = time.Second            // for a client that does not take it
	lingering      = 500 * time.Millisecond // for one that still sends: a reset could overtake the answer
	lingeringBytes = 256 << 10
)

// receiver is a connection below a stream.
type receiver interface {
	net.Conn
	receive(p []byte) (int, error)
	CloseWrite() error
}

// stream lets net/http read only requests whose framing has one reading. It relies on how net/http reads: a single byte while
// a request is served whose body has been read, and more only for a body, or for a request when the last answer is out.
type stream struct {
	checked bool
	refused func(net.Addr, error) // nil for nobody

	begun atomic.Bool // something was read, before which nobody can take the connection over
	over  atomic.Bool // somebody has taken it over
	open  atomic.Bool // nothing is left to do here

	mu       sync.Mutex // readers come one after the other, as with a socket
	f        framing
	found    event  // badHead, badBody, mustClose, or goesOn
	unsure   bool   // whether what follows is a request
	answered bool   // the client was told
	told     bool   // refused was
	ahead    []byte // what came behind a request after which that is unsure
}

// takeOver says that what comes is for somebody else than net/http, which has read a request before.
func (s *stream) takeOver() {
	if s.checked && s.begun.Load() {
		s.over.Store(true)
	}
}

func (s *stream) read(c receiver, p []byte) (int, error) {
	if s.open.Load() || len(p) == 0 {
		return c.receive(p)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	watching, over := len(p) == 1, s.over.Load()
	if !watching && !over {
		s.unsure = false // the answer is out, and nobody has taken over
	}
	switch {
	case s.found == badBody, s.found == badHead && !s.unsure && over:
		return 0, s.fault(c)
	case over:
		s.open.Store(len(s.ahead) == 0)
	case s.found == badHead && !watching:
		return 0, s.refuse(c)
	case s.found == badHead && !s.unsure:
		return 0, s.discard(c)
	case s.found == mustClose && !watching:
		return 0, io.EOF
	}
	n, err := len(s.ahead), error(nil)
	if n > 0 {
		n = copy(p, s.ahead)
	} else if n, err = c.receive(p); n == 0 {
		return 0, err
	}
	if over || s.over.Load() || s.found != goesOn {
		s.taken(n)
		return n, err
	}
	if !s.begun.Load() {
		s.begun.Store(true)
	}
	return s.check(c, p[:n], err, watching)
}

// taken takes n bytes off those that came ahead, if there are any.
func (s *stream) taken(n int) {
	if len(s.ahead) > 0 {
		s.ahead = s.ahead[n:]
	}
}

// check scans what was read and returns what of it net/http gets.
func (s *stream) check(c receiver, p []byte, err error, watching bool) (int, error) {
	n, e := s.f.scan(p)
	if n < len(p) {
		err = nil
	}
	switch e {
	case opened:
		s.open.Store(true)
	case mayPause, mustClose:
		if s.unsure = true; e == mustClose {
			s.found = e
		}
		if len(s.ahead) == 0 && n < len(p) {
			s.ahead = append(s.ahead, p[n:]...)
			return n, nil
		}
	case badHead:
		s.found = e
		switch {
		case n > 0:
		case !watching:
			return 0, s.refuse(c)
		case s.unsure: // whoever takes over gets it
			n = 1
		default:
			return 0, s.discard(c)
		}
	case badBody:
		if s.found = e; n == 0 {
			return 0, s.fault(c)
		}
	}
	s.taken(n)
	return n, err
}

// discard waits as net/http does for a client that leaves, while the answer to the request before is on its way. Nothing
// that comes is of use any more.
func (s *stream) discard(c receiver) error {
	p := make([]byte, 4<<10)
	for {
		if _, err := c.receive(p); err != nil {
			return err
		}
	}
}

// refuse answers in net/http's place and returns why.
func (s *stream) refuse(c receiver) error {
	if s.answered {
		return s.fault(c)
	}
	s.answered = true
	s.tell(c)
	_ = c.SetWriteDeadline(time.Now().Add(refusalTimeout))
	if _, err := io.WriteString(c, refusal); err != nil || c.CloseWrite() != nil {
		return s.fault(c)
	}
	_ = c.SetReadDeadline(time.Now().Add(lingering))
	p := make([]byte, 4<<10)
	for n := 0; n < lingeringBytes; {
		k, err := c.receive(p)
		if err != nil {
			break
		}
		n += k
	}
	return s.fault(c)
}

// tell tells the listener's owner, once.
func (s *stream) tell(c receiver) {
	if s.refused != nil && !s.told {
		s.told = true
		s.refused(c.RemoteAddr(), ErrFraming)
	}
}

// fault is an error that net/http does not answer.
func (s *stream) fault(c receiver) error {
	s.tell(c)
	return &net.OpError{Op: "read", Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: ErrFraming}
}
