package http1

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"time"
)

const (
	// inBytes is the size of the buffer for requests. Larger heads get a larger one, for as long as it takes.
	inBytes = 4 << 10
	// outBytes is the size of the buffer for answers, which a connection has while it is used.
	outBytes = 4 << 10
)

// conn is a connection. Its goroutine reads requests and runs the handler; beside it there is at most the one that watches the
// client.
type conn struct {
	s      *Server
	raw    net.Conn
	others *handover
	origin origin // what the connection came through; nil for any other listener
	tls    *tls.ConnectionState
	remote string
	ctx    context.Context //nolint:containedctx // the one all its requests derive from

	in       []byte // what was read and not taken yet is in[from:to]
	from, to int
	used     bool // there was a request before

	room *[outBytes]byte // of out
	out  []byte          // what is not sent yet
	sent bool            // something of the answer went out
	lost error           // why nothing can be sent any more

	watch watch
}

// origin is a connection of a listener that knows what goes through it.
type origin interface {
	// LeaveFraming says that whoever reads on checks how requests are framed, and reports whether that is wanted.
	LeaveFraming() bool
	// Ambiguous tells the listener's owner that the framing of a request is.
	Ambiguous()
}

func newConn(s *Server, raw net.Conn, others *handover) *conn {
	c := &conn{s: s, raw: raw, others: others}
	c.watch.c = c
	return c
}

// past is a deadline that has expired for every connection.
func past() time.Time { return time.Unix(1, 0) }

// serve serves the connection until it ends.
func (c *conn) serve(base context.Context) {
	var x *exchange
	gone := false // the connection is somebody else's
	defer func() {
		if v := recover(); v != nil {
			if v != http.ErrAbortHandler { //nolint:errorlint // the very value, as with net/http
				stack := make([]byte, 64<<10)
				stack = stack[:runtime.Stack(stack, false)]
				c.s.logf("http: panic serving %v: %v\n%s", c.remote, v, stack)
			}
			if x != nil && !c.watch.isTaken() {
				x.abort()
			}
		}
		if !gone && !c.watch.isTaken() {
			_ = c.raw.Close()
			c.stateHook(http.StateClosed)
		}
		if x != nil {
			x.cancel()
		}
		c.freeOut()
		c.s.forget(c)
	}()
	if addr := c.raw.RemoteAddr(); addr != nil {
		c.remote = addr.String()
	}
	if gone = c.belongsElsewhere(base); gone {
		return
	}
	c.stateHook(http.StateNew)
	if c.s.hs.ConnContext != nil {
		if base = c.s.hs.ConnContext(base, c.raw); base == nil {
			c.s.logf("http: ConnContext returned a nil context")
			return
		}
	}
	c.ctx = context.WithValue(base, http.LocalAddrContextKey, c.raw.LocalAddr())
	c.in = make([]byte, inBytes)
	for {
		start, ok := c.await()
		if !ok {
			return
		}
		if !c.used && c.tls == nil && c.isPreface() {
			c.stateHook(http.StateHijacked) // net/http has a new one
			gone = c.handOver(&prefixed{c.raw, c.in[c.from:c.to]})
			return
		}
		c.stateHook(http.StateActive)
		c.used = true
		var h head
		if err := c.readRequest(&h, start); err != nil {
			c.refuse(err)
			return
		}
		if h.expected && !h.expects {
			c.refuse(errExpecting)
			return
		}
		x = c.newExchange(&h, start)
		next := c.answer(x)
		x = nil
		if !next { // or it was taken over
			return
		}
		c.stateHook(http.StateIdle)
	}
}

// belongsElsewhere makes a connection that is not HTTP/1 that of net/http's server, or ends it. It reports whether the connection
// is none of ours any more.
func (c *conn) belongsElsewhere(ctx context.Context) bool {
	below := c.raw
	secured, isTLS := c.raw.(*tls.Conn)
	if isTLS {
		below = secured.NetConn()
	}
	if o, ok := below.(origin); ok {
		if !o.LeaveFraming() {
			return c.handOver(c.raw)
		}
		c.origin = o
	}
	if !isTLS {
		if t, ok := c.raw.(interface{ ConnectionState() tls.ConnectionState }); ok {
			state := t.ConnectionState()
			c.tls = &state
		}
		return false
	}
	if d := c.s.handshakeTimeout(); d > 0 {
		c.bothDeadlines(time.Now().Add(d))
	}
	if err := secured.HandshakeContext(ctx); err != nil {
		reason := err.Error()
		var header tls.RecordHeaderError
		if errors.As(err, &header) && header.Conn != nil && looksLikeHTTP(header.RecordHeader) {
			_, _ = io.WriteString(header.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
			reason = "client sent an HTTP request to an HTTPS server"
		}
		c.s.logf("http: TLS handshake error from %s: %v", c.remote, reason)
		_ = c.raw.Close()
		return true
	}
	c.bothDeadlines(time.Time{})
	state := secured.ConnectionState()
	switch state.NegotiatedProtocol {
	case "", "http/1.1", "http/1.0":
		c.tls = &state
		return false
	}
	return c.handOver(c.raw)
}

// bothDeadlines sets them without SetDeadline, with which a connection is taken over.
func (c *conn) bothDeadlines(t time.Time) {
	_ = c.raw.SetReadDeadline(t) // it fails on a closed connection only, as that below
	_ = c.raw.SetWriteDeadline(t)
}

// handOver gives the connection to net/http's server, or closes it when that has ended.
func (c *conn) handOver(to net.Conn) bool {
	if !c.others.hand(to) {
		_ = c.raw.Close()
	}
	return true
}

func looksLikeHTTP(record [5]byte) bool {
	switch string(record[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO":
		return true
	}
	return false
}

// preface is what HTTP/2 begins with (RFC 9113 section 3.4), as far as no HTTP/1 request does.
const preface = "PRI * HTTP/2.0\r\n"

// isPreface reports whether the connection is HTTP/2 without TLS, and that is allowed.
func (c *conn) isPreface() bool {
	if p := c.s.hs.Protocols; p == nil || !p.UnencryptedHTTP2() {
		return false
	}
	for {
		b := c.in[c.from:c.to]
		n := min(len(b), len(preface))
		switch {
		case string(b[:n]) != preface[:n]:
			return false
		case n == len(preface):
			return true
		}
		if c.fill() != nil {
			return false
		}
	}
}

// stateHook tells who wants to know.
func (c *conn) stateHook(state http.ConnState) {
	if hook := c.s.hs.ConnState; hook != nil {
		hook(c.raw, state)
	}
}

// arrivedTime is how long it may take to read what has arrived, and arrivedTries how often that is tried: on a busy machine the time
// can be over before the read has begun, which then does not look.
const (
	arrivedTime  = 10 * time.Millisecond
	arrivedTries = 3
)

// await waits for the first byte of a request, and returns when it came. It reports false when there is none.
func (c *conn) await() (time.Time, bool) {
	now := time.Now()
	d := c.s.readHeaderTimeout() // of the first
	if c.used {
		d = c.s.idleTimeout()
	}
	if c.from == c.to {
		if len(c.in) > inBytes {
			c.in = make([]byte, inBytes)
		}
		c.from, c.to = 0, 0
		c.watch.idle(now, d)
		err := os.ErrDeadlineExceeded
		if !c.used || !c.s.closing.Load() { // the first request may be on its way
			err = c.fill()
		}
		for try := 0; try < arrivedTries && c.s.closing.Load() && errors.Is(err, os.ErrDeadlineExceeded); try++ {
			c.watch.busy()                                         // so that nobody ends the wait once more
			_ = c.raw.SetReadDeadline(time.Now().Add(arrivedTime)) // it fails on a closed connection only
			err = c.fill()
		}
		if err != nil {
			return now, false
		}
		now = time.Now()
	}
	c.watch.busy()
	c.sent = false
	return now, true
}

// endIdle ends the connection if it waits for a request. What has come of one is served.
func (c *conn) endIdle() { c.watch.endIdle(time.Now().Add(-newGrace)) }

// fill reads more of what the client sends. Where the buffer is full it gets a larger one.
func (c *conn) fill() error {
	if c.from == c.to {
		c.from, c.to = 0, 0
	}
	if c.to == len(c.in) {
		if c.from > 0 {
			c.to = copy(c.in, c.in[c.from:c.to])
			c.from = 0
		} else {
			c.in = append(c.in, make([]byte, len(c.in))...)
		}
	}
	for range 100 {
		n, err := c.raw.Read(c.in[c.to:])
		c.to += n
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// write sends p.
func (c *conn) write(p []byte) error {
	if c.lost != nil {
		return c.lost
	}
	_, c.lost = c.raw.Write(p)
	c.sent = true
	return c.lost
}

// flush sends what is held back.
func (c *conn) flush() error {
	if len(c.out) == 0 {
		return c.lost
	}
	err := c.write(c.out)
	c.out = c.room[:0] // a larger one was for a large head
	return err
}

// useOut makes room for an answer.
func (c *conn) useOut() {
	if c.room != nil {
		return
	}
	room, ok := c.s.buffers.Get().(*[outBytes]byte)
	if !ok {
		room = new([outBytes]byte)
	}
	c.room, c.out = room, room[:0]
}

// freeOut gives the room back that answers need.
func (c *conn) freeOut() {
	if c.room != nil {
		c.s.buffers.Put(c.room)
	}
	c.room, c.out = nil, nil
}

// lingerBytes is how much is read of what a client still sends on a connection that is to be closed, and lingerTime how long.
// A reset would destroy the answer on its way.
const (
	lingerBytes = 256 << 10
	lingerTime  = 500 * time.Millisecond
)

// linger closes the connection towards the client, and waits for it to do so, too.
func (c *conn) linger() {
	_ = c.raw.SetReadDeadline(time.Now().Add(lingerTime)) // it fails on a closed connection only
	closer, ok := c.raw.(interface{ CloseWrite() error })
	if !ok || closer.CloseWrite() != nil {
		return
	}
	for n := c.to - c.from; n < lingerBytes; {
		k, err := c.raw.Read(c.in)
		if err != nil {
			return
		}
		n += k
	}
}
