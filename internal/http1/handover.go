package http1

import (
	"net"
	"sync"
	"time"
)

// handover is the listener from which net/http's server gets the connections that are not HTTP/1.
type handover struct {
	net.Listener // whose connections are looked at first

	conns   chan net.Conn
	closing chan struct{}
	close   func() error
}

func newHandover(l net.Listener) *handover {
	h := &handover{Listener: l, conns: make(chan net.Conn), closing: make(chan struct{})}
	h.close = sync.OnceValue(func() error {
		close(h.closing)
		return l.Close()
	})
	return h
}

// Accept implements [net.Listener].
func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closing:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener]. It closes the listener whose connections are looked at, too.
func (h *handover) Close() error { return h.close() }

func (h *handover) isClosed() bool {
	select {
	case <-h.closing:
		return true
	default:
		return false
	}
}

// rest waits for a while, or until the listener is closed.
func (h *handover) rest(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-h.closing:
	}
}

// hand reports whether somebody has taken c.
func (h *handover) hand(c net.Conn) bool {
	select {
	case h.conns <- c:
		return true
	case <-h.closing:
		return false
	}
}

// prefixed is a connection of which something was read.
type prefixed struct {
	net.Conn

	read []byte
}

// Read implements [io.Reader].
func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.read) == 0 {
		return p.Conn.Read(b)
	}
	n := copy(b, p.read)
	p.read = p.read[n:]
	return n, nil
}

// NetConn returns the connection below.
func (p *prefixed) NetConn() net.Conn { return p.Conn }
