package transport

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// tracked is a connection the transport knows of, so that it can close it.
type tracked struct {
	net.Conn

	owner *Standard
	era   *era // nil for none
	once  sync.Once
	under *socket // where all reads are counted; nil where they cannot be
	ended bool    // a Read has found the end; of whoever reads
}

// Read implements [net.Conn].
func (t *tracked) Read(p []byte) (n int, err error) {
	if t.under != nil {
		n, err = t.under.take(p)
	} else {
		n, err = t.Conn.Read(p)
	}
	t.ended = t.ended || n == 0 && err == io.EOF //nolint:errorlint // a wrapped EOF is not the end
	return n, err
}

// Close implements [net.Conn].
func (t *tracked) Close() error {
	t.once.Do(func() { t.owner.forget(t) })
	return t.Conn.Close()
}

// http1 is a connection on which net/http speaks HTTP/1. It sees to it that one exchange never gets what the target sent
// before its request: bytes after the end of an answer (a body with 204, more than Content-Length says) would be taken
// for the answer to somebody else's request. net/http puts a connection back while such bytes may lie in its buffer.
//
// Its buffer is known to be empty as soon as it reads again, so that is what the next exchange waits for, once nothing was
// found below either. What arrives from then until the request is written was not asked for, and ends the connection.
type http1 struct {
	net.Conn // a *tracked, or a *tls.Conn on one

	state *tls.ConnectionState // nil without TLS
	under *socket              // nil when there is nothing to look into
	below *tracked             // nil when it is unknown
	heard bool                 // something of the answer has been read; of the goroutine that reads

	user  atomic.Pointer[attempt] // the exchange that runs on it, when it has a request body
	asked atomic.Bool             // the request has begun to be written
	gone  chan struct{}
	once  sync.Once

	free chan struct{} // holds a token when the next exchange may begin; not used before the first

	mu       sync.Mutex
	used     bool
	again    bool      // by another exchange than the first
	until    time.Time // when it must not be used any more; zero: as long as others
	idle     uint64    // what had been taken from the socket when the last one was over
	kept     bool      // net/http has put it back
	listened bool      // and reads again
	judged   bool      // the answer was found fit
}

func newHTTP1(c net.Conn) *http1 {
	h := &http1{Conn: c, gone: make(chan struct{}), free: make(chan struct{}, 1)}
	if t, ok := c.(*tls.Conn); ok {
		state := t.ConnectionState()
		h.state = &state
		c = t.NetConn()
	}
	if t, ok := c.(*tracked); ok {
		h.below = t
		if c = t.Conn; t.under != nil {
			h.under = t.under
			return h
		}
	}
	if s, ok := c.(syscall.Conn); ok {
		h.under = newSocket(s)
	}
	return h
}

var (
	errUnsolicited = errors.New("the target sent bytes nobody had asked for")
	errEnded       = errors.New("the target had ended the kept connection, or was about to")
)

// begin is called with the next exchange before it writes its request. It returns when the one before is over for good,
// or the connection closed, or stop.
func (c *http1) begin(stop <-chan struct{}) {
	c.mu.Lock()
	used := c.used
	c.used, c.again = true, used
	c.mu.Unlock()
	if !used {
		return
	}
	select {
	case <-c.free:
	case <-c.gone:
	case <-stop:
	}
}

// keep is called when net/http has put the connection back, by the goroutine that reads.
func (c *http1) keep() {
	c.asked.Store(false)
	c.heard = false
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept = true
}

// hangUp ends the connection. net/http notices, and only its own Close lets the next exchange go on: until then it might
// still find an answer in its buffer. There may be no connection.
func (c *http1) hangUp() {
	if c != nil {
		_ = c.Conn.Close()
	}
}

// judge lets the next exchange have the connection, once this one has ended, until then if that is not zero. There may be none.
func (c *http1) judge(until time.Time) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.judged, c.until = true, until
	c.offer()
}

// listen lets the next exchange have a connection that was put back, unless something came behind the answer: taken out by a
// Read while that exchange writes its request, it would pass for its answer.
func (c *http1) listen(p []byte) error {
	c.mu.Lock()
	kept := c.kept
	c.mu.Unlock()
	if !kept {
		return nil
	}
	if c.leftover(p) {
		c.hangUp()
		return errUnsolicited
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept, c.listened = false, true
	if c.under != nil {
		c.idle = c.under.takes()
	}
	c.offer()
	return nil
}

// leftover tells whether bytes are there already, and may use p. Of those below TLS only those count that it makes something of.
func (c *http1) leftover(p []byte) bool {
	if c.under == nil {
		return false
	}
	waiting, _ := c.under.peek()
	if c.state == nil {
		return waiting
	}
	until := time.Unix(1, 0) // what is decrypted already
	if waiting {
		until = time.Now().Add(time.Millisecond)
	}
	if c.SetReadDeadline(until) != nil {
		return false // the Read that follows says why
	}
	n, _ := c.Conn.Read(p)
	return c.SetReadDeadline(time.Time{}) == nil && n > 0
}

func (c *http1) offer() {
	if c.listened && c.judged {
		c.listened, c.judged = false, false
		c.free <- struct{}{}
	}
}

// Read implements [net.Conn].
func (c *http1) Read(p []byte) (int, error) {
	if err := c.listen(p); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	if n > 0 && !c.asked.Load() {
		c.hangUp()
		return 0, errUnsolicited
	}
	// An answer that ends with its connection is whole only when TLS has said that this is the end (RFC 9112 section 9.8): the
	// connection below can be cut by anybody. Package tls does not tell the two apart between records. Before an answer it
	// makes no difference, and net/http has to know an idle connection that was closed.
	c.heard = c.heard || n > 0
	if err == io.EOF && c.state != nil && c.heard && c.below != nil && c.below.ended { //nolint:errorlint // a wrapped EOF is not the end
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Write implements [net.Conn].
func (c *http1) Write(p []byte) (int, error) {
	if !c.asked.Load() {
		if err := c.look(); err != nil {
			c.hangUp()
			return 0, err // and as nothing was written, net/http takes another connection where it may
		}
		c.asked.Store(true)
	}
	n, err := c.Conn.Write(p)
	if a := c.user.Load(); err != nil && a != nil {
		a.awaitHead(c.gone) // net/http prefers the error to an answer that is there
	}
	return n, err
}

// look tells whether the connection is in the state to send a request: what has arrived may not have been read yet.
func (c *http1) look() error {
	c.mu.Lock()
	again, idle := c.again, c.idle
	over := again && !c.until.IsZero() && !time.Now().Before(c.until)
	c.mu.Unlock()
	if over {
		return errEnded
	}
	if c.under == nil {
		return nil
	}
	switch waiting, taken, ended := c.under.since(idle); {
	case ended:
		return errEnded
	case (c.state == nil || again) && (waiting || taken):
		// Below TLS there are bytes that are nobody's answer: tickets, behind the handshake. On a kept connection they are so rare
		// that it is given up for them, too, rather than that an answer which is there already is taken for the next.
		return errUnsolicited
	default:
		return nil
	}
}

// Close implements [net.Conn]; net/http calls it when it has given the connection up. It waits then for the request body
// to be read on, for as long as the client likes; so the body is told.
func (c *http1) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.gone) }) // now, because who waits for it must not be able to write
	if a := c.user.Load(); a != nil {
		a.broke()
	}
	return err
}

// serve makes a the exchange whose request body is told when the connection closes.
func (c *http1) serve(a *attempt) {
	c.user.Store(a)
	select {
	case <-c.gone:
		a.broke()
	default:
	}
}

// suspect reports whether the target might send a body that net/http does not expect: it announced one with an answer
// that has none (RFC 9110 section 6.4.1), or should not send what it announced.
func suspect(res *http.Response) bool {
	if res.Request.Method == http.MethodHead {
		return true
	}
	if res.StatusCode != http.StatusNoContent && res.StatusCode != http.StatusNotModified {
		return false
	}
	length := res.Header["Content-Length"]
	return len(res.TransferEncoding) > 0 || len(length) > 0 && length[0] != "0"
}
