package http1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// exchange is a request and its answer. As an [http.ResponseWriter] it belongs to the handler's goroutine; of other requests it
// knows nothing, so that who uses it too long finds it ended.
type exchange struct {
	c      *conn
	r      *http.Request
	cancel context.CancelFunc
	start  time.Time
	body   body
	done   atomic.Bool // the handler has returned

	// Of the request, which the handler may change.
	head, old   bool // the method is HEAD, the version 1.0
	connect     bool // the method is CONNECT
	close, keep bool // what the client wants of the connection

	header     http.Header
	status     int
	committed  bool  // WriteHeader was called for a final head
	composed   bool  // the head is whole, and it is known how the body is framed
	chunked    bool  // it is in chunks
	bodiless   bool  // it has none
	length     int64 // that is declared; negative for none
	written    int64
	hold       []byte // of the body: what is not framed yet
	fields     composed
	last       bool // the connection is not used any more
	fullDuplex bool
	bounded    atomic.Bool   // the handler has set a deadline for the request body
	draining   chan struct{} // closed when the request body was read away; nil when nobody does

	expects    bool // the client waits, or has waited, for 100 Continue
	continueMu sync.Mutex
	continues  bool // which may yet be sent
}

// holdBytes is how much of a body is held back until it is decided how it is framed, and to put into one chunk.
const holdBytes = 2 << 10

func (c *conn) newExchange(h *head, start time.Time) *exchange {
	ctx, cancel := context.WithCancel(c.ctx)
	x := &exchange{
		c: c, cancel: cancel, start: start, header: make(http.Header), length: -1,
		head: h.r.Method == http.MethodHead, old: h.r.ProtoMinor == 0, connect: h.r.Method == http.MethodConnect, close: h.close, keep: h.keep,
	}
	x.r = h.r.WithContext(ctx)
	x.r.RemoteAddr, x.r.TLS = c.remote, c.tls
	x.body.x = x
	switch {
	case h.chunked:
		x.body.begin(-1)
		x.r.Body = &x.body
	case h.r.ContentLength > 0:
		x.body.begin(h.r.ContentLength)
		x.r.Body = &x.body
	default:
		x.body.ended = true
		x.r.Body = http.NoBody
	}
	x.expects = h.expects && !x.old && !x.body.ended
	x.continues = x.expects
	return x
}

// answer runs the handler, and reports whether another request may follow on the connection.
func (c *conn) answer(x *exchange) bool {
	c.useOut()
	if d := c.s.hs.WriteTimeout; d > 0 {
		_ = c.raw.SetWriteDeadline(x.start.Add(d)) // it fails on a closed connection only, as those below
	}
	if x.body.ended {
		c.watch.begin(x.cancel)
	} else {
		by := time.Time{}
		if d := c.s.hs.ReadTimeout; d > 0 {
			by = x.start.Add(d)
			x.bounded.Store(true)
		}
		_ = c.raw.SetReadDeadline(by)
	}
	h := c.s.hs.Handler
	if x.r.RequestURI == "*" && x.r.Method == http.MethodOptions && !c.s.hs.DisableGeneralOptionsHandler {
		h = http.HandlerFunc(options)
	}
	h.ServeHTTP(x, x.r)
	x.done.Store(true)
	if c.watch.isTaken() {
		x.cancel()
		return false
	}
	keep := x.finish()
	_ = c.raw.SetWriteDeadline(time.Time{})
	c.freeOut()
	return keep
}

// options answers "OPTIONS *" as net/http does.
func options(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "0") }

// finish ends the answer, and reports whether another request may follow on the connection.
func (x *exchange) finish() bool {
	c := x.c
	x.commit(http.StatusOK)
	if !x.composed {
		x.compose(x.hold, true)
	}
	if x.sendHeld(); x.chunked {
		x.sendTrailers()
	}
	x.hold = nil
	failed := c.flush() != nil
	c.watch.end()
	x.cancel()
	read := x.settle()
	if x.r.MultipartForm != nil {
		_ = x.r.MultipartForm.RemoveAll()
	}
	switch {
	case failed, !x.head && !x.bodiless && x.length >= 0 && x.written != x.length:
		return false // the client must not take what follows for the rest
	case !read, x.last && c.from < c.to:
		c.linger()
		return false
	}
	return !x.last
}

// abort ends what the handler has broken off. The end of the connection must not look like that of the answer.
func (x *exchange) abort() {
	c := x.c
	x.done.Store(true)
	x.stopContinue()
	x.hold = nil
	c.watch.end()
	if !c.sent {
		return
	}
	below := c.raw
	for {
		b, ok := below.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		below = b.NetConn() // TLS would say that all is well
	}
	if l, ok := below.(interface{ SetLinger(sec int) error }); ok && x.composed && !x.chunked && x.length < 0 {
		_ = l.SetLinger(0)
	}
	if below != c.raw {
		_ = below.Close()
	}
}

// Header implements [http.ResponseWriter].
func (x *exchange) Header() http.Header { return x.header }

// WriteHeader implements [http.ResponseWriter]. A status that is none becomes 500.
func (x *exchange) WriteHeader(status int) {
	if status < 100 || status > 999 {
		x.c.s.logf("http: invalid WriteHeader code %d", status)
		status = http.StatusInternalServerError
	}
	switch {
	case x.done.Load() || x.c.watch.isTaken():
		x.c.s.logf("http: response.WriteHeader on a connection that was taken over, or after the handler has returned")
	case x.committed:
		x.c.s.logf("http: superfluous response.WriteHeader call")
	case status < 200 && status != http.StatusSwitchingProtocols:
		x.inform(status)
	default:
		x.commit(status)
	}
}

// inform sends an informational head at once.
func (x *exchange) inform(status int) {
	if x.old {
		return // a client of HTTP/1.0 knows none (RFC 9110 section 15.2)
	}
	x.continueMu.Lock()
	defer x.continueMu.Unlock()
	if status == http.StatusContinue {
		x.continues = false
	}
	x.appendInformational(status)
	x.lose(x.c.flush())
}

// sendContinue tells a client that waits for it to send the body.
func (x *exchange) sendContinue() {
	if !x.expects {
		return
	}
	x.continueMu.Lock()
	defer x.continueMu.Unlock()
	if x.continues {
		x.continues = false
		x.lose(x.c.write([]byte("HTTP/1.1 100 Continue\r\n\r\n")))
	}
}

// stopContinue returns whether the client still waits for 100 Continue, which it will not get. One that is being sent by the
// reader of the body is out when it returns.
func (x *exchange) stopContinue() bool {
	if !x.expects {
		return false
	}
	x.continueMu.Lock()
	defer x.continueMu.Unlock()
	waited := x.continues
	x.continues = false
	return waited
}

// lose ends the request when the connection is broken.
func (x *exchange) lose(err error) {
	if err != nil {
		x.cancel()
	}
}

// begin readies the answer for bytes of the body, or for none.
func (x *exchange) begin() error {
	switch {
	case x.c.watch.isTaken():
		return http.ErrHijacked
	case x.done.Load():
		return errDone
	}
	x.commit(http.StatusOK)
	return nil
}

var errDone = errors.New("http1: the handler has returned")

// Write implements [http.ResponseWriter].
func (x *exchange) Write(p []byte) (int, error) {
	if err := x.begin(); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if x.bodiless {
		return 0, http.ErrBodyNotAllowed
	}
	x.written += int64(len(p)) // too much of it also means that the answer is not what the handler wanted
	if x.length >= 0 && x.written > x.length {
		return 0, http.ErrContentLength
	}
	if !x.composed {
		if x.length < 0 && len(x.hold)+len(p) <= holdBytes {
			x.holdBack(p)
			return len(p), nil
		}
		sniffed := p
		if len(x.hold) > 0 {
			sniffed = append(bytes.Clone(x.hold), p[:min(len(p), sniffBytes)]...)
		}
		x.compose(sniffed, false)
	}
	switch {
	case x.head: // its head says what it would be
	case x.chunked && len(x.hold)+len(p) <= holdBytes:
		x.holdBack(p)
	case x.chunked:
		x.sendChunk(p)
	default:
		x.sendHeld()
		x.send(p)
	}
	if err := x.c.lost; err != nil {
		x.cancel()
		return 0, err
	}
	return len(p), nil
}

// WriteString implements [io.StringWriter].
func (x *exchange) WriteString(s string) (int, error) {
	p := []byte(s)
	return x.Write(p)
}

func (x *exchange) holdBack(p []byte) { x.hold = append(x.hold, p...) }

// sendHeld sends what is held back, now that it is known how it is framed.
func (x *exchange) sendHeld() {
	switch {
	case x.chunked:
		x.sendChunk(nil)
		return
	case !x.head && len(x.hold) > 0:
		x.send(x.hold)
	}
	x.hold = x.hold[:0]
}

// send sends bytes as they are, large ones at once.
func (x *exchange) send(p []byte) {
	c := x.c
	if room := cap(c.out) - len(c.out); len(p) > room {
		if len(c.out) > 0 {
			c.out = append(c.out, p[:room]...)
			p = p[room:]
			x.push()
		}
		if len(p) >= outBytes {
			x.drainBeside()
			x.lose(c.write(p))
			return
		}
	}
	c.out = append(c.out, p...)
}

// push sends what is held back on the connection.
func (x *exchange) push() {
	x.drainBeside()
	x.lose(x.c.flush())
}

// sendChunk sends what is held back, and p behind it, as one chunk.
func (x *exchange) sendChunk(p []byte) {
	n := len(x.hold) + len(p)
	if n == 0 {
		return
	}
	c := x.c
	if cap(c.out)-len(c.out) < maxChunkHead {
		x.push()
	}
	c.out = append(appendHex(c.out, n), "\r\n"...)
	x.send(x.hold)
	x.hold = x.hold[:0]
	x.send(p)
	x.send([]byte("\r\n"))
}

// Flush implements [http.Flusher].
func (x *exchange) Flush() { _ = x.FlushError() }

// FlushError sends what is held back.
func (x *exchange) FlushError() error {
	if err := x.begin(); err != nil {
		return err
	}
	if !x.composed {
		x.compose(x.hold, false)
	}
	x.sendHeld()
	x.push()
	return x.c.lost
}

// copyBytes is the size of the buffer for what is copied.
const copyBytes = 32 << 10

// ReadFrom implements [io.ReaderFrom]. Where the connection can copy by itself, it does so for a body of declared length.
func (x *exchange) ReadFrom(src io.Reader) (int64, error) {
	buf, ok := x.c.s.copies.Get().(*[copyBytes]byte)
	if !ok {
		buf = new([copyBytes]byte)
	}
	defer x.c.s.copies.Put(buf)
	var total int64
	for {
		n, err := src.Read(buf[:])
		if n > 0 {
			m, failed := x.Write(buf[:n])
			total += int64(m)
			if failed != nil {
				return total, failed
			}
		}
		switch {
		case err == io.EOF:
			return total, nil
		case err != nil:
			return total, err
		}
		if to, ok := x.c.raw.(io.ReaderFrom); ok && x.composed && !x.head && !x.bodiless && !x.chunked && x.length > x.written && total > 0 {
			n, err := x.copyDirect(to, src)
			return total + n, err
		}
	}
}

// copyDirect lets the connection copy src, of which there must not be more than the rest of what is declared.
func (x *exchange) copyDirect(to io.ReaderFrom, src io.Reader) (int64, error) {
	if x.push(); x.c.lost != nil {
		return 0, x.c.lost
	}
	rest := x.length - x.written
	part := &io.LimitedReader{R: src, N: rest}
	whole, limited := src.(*io.LimitedReader)
	if limited { // a file is recognised behind one, not behind two
		part.R, part.N = whole.R, min(whole.N, rest)
	}
	n, err := to.ReadFrom(part)
	if x.written += n; limited {
		whole.N -= n
	}
	if err != nil {
		return n, err // of src or of the connection: in either case the answer is not whole
	}
	if n < rest {
		return n, nil
	}
	var more [1]byte
	if k, _ := io.ReadFull(src, more[:]); k > 0 {
		return n, http.ErrContentLength
	}
	return n, nil
}

// Hijack implements [http.Hijacker].
func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c := x.c
	if x.done.Load() {
		return nil, nil, errDone
	}
	if c.watch.isTaken() {
		return nil, nil, http.ErrHijacked
	}
	x.leaveBody()
	if x.committed {
		if err := x.FlushError(); err != nil {
			return nil, nil, err
		}
	}
	x.stopContinue()
	if !c.watch.takeOver() {
		return nil, nil, http.ErrHijacked
	}
	_ = c.raw.SetDeadline(time.Time{}) // it fails on a closed connection only
	c.s.forget(c)
	c.stateHook(http.StateHijacked)
	read := bytes.Clone(c.in[c.from:c.to])
	c.from = c.to
	in := bufio.NewReaderSize(&prefixed{c.raw, read}, max(inBytes, len(read)))
	_, _ = in.Peek(len(read)) // so that they are buffered there
	return c.raw, bufio.NewReadWriter(in, bufio.NewWriter(c.raw)), nil
}

// SetReadDeadline is for [http.ResponseController].
func (x *exchange) SetReadDeadline(t time.Time) error { return x.c.watch.setReadDeadline(x, t) }

// SetWriteDeadline is for [http.ResponseController].
func (x *exchange) SetWriteDeadline(t time.Time) error { return x.c.watch.setWriteDeadline(x, t) }

// EnableFullDuplex is for [http.ResponseController]. Reading and writing never wait for each other here; with it, a request
// body is not read away beside the answer, because the handler does so.
func (x *exchange) EnableFullDuplex() error {
	x.fullDuplex = true
	return nil
}
