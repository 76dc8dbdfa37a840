package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// wire is a connection over which one exchange after the other speaks HTTP/1.1. What an exchange needs belongs to it and is
// used again: its buffers, and the answer.
type wire struct {
	net.Conn

	pool   *pool
	under  *socket // nil where it cannot be looked into
	cancel func()  // cut with Canceled, made once
	born   time.Time
	since  time.Time // when it became idle, or the exchange began
	used   bool      // an exchange before went well
	doubt  bool      // the target might still send a body behind the answer before
	until  time.Time // when it must not be used any more; zero: as long as others

	in       []byte // what was read and not taken yet is in[from:to]
	from, to int
	out      []byte    // the head of the request
	readBy   time.Time // the deadlines that are set
	writeBy  time.Time
	answer   Answer
	body     wireBody

	// Of the exchange.
	ctx     context.Context
	limits  Limits
	stop    func() bool // disarms the cancellation; nil while it is not armed
	total   *time.Timer // nil without Limits.Deadline
	patient bool        // the target is awaited for a moment, without more ado
	readErr error       // the next read is not to be tried: this is what it has given already
	heard   bool        // something of the answer came

	waiting atomic.Bool // the body of the answer is waited for

	mu       sync.Mutex
	number   uint64 // counts the exchanges
	running  bool
	cause    string        // why it was cut
	headed   bool          // the head of the answer is there
	upload   io.ReadCloser // the request body that is on its way; nil when there is none
	sent     chan struct{} // closed when nobody reads it any more
	asking   bool          // the client is waited for
	begun    time.Time     // when the upload began
	uploaded int64
	whole    bool // the upload reached its end
}

const (
	wireBuffer = 4 << 10
	// keptFields is for how many header fields of an answer room is kept.
	keptFields = 64
	// keptOut is the largest buffer for the heads of requests that is kept behind them.
	keptOut = 8 << 10
)

func newWire(raw net.Conn, p *pool) *wire {
	c := &wire{Conn: raw, pool: p, born: time.Now(), in: make([]byte, wireBuffer)}
	if s, ok := raw.(syscall.Conn); ok {
		c.under = newSocket(s)
	}
	c.cancel = func() { c.cut(Canceled, 0) }
	c.body.c = c
	c.answer.Header = make(Header, 0, usualFields)
	return c
}

// look reports whether an idle connection is in the state to send a request: what a target sends between two exchanges is
// nobody's answer.
func (c *wire) look() bool {
	if c.from != c.to {
		return false
	}
	waiting, ended := c.under.peek()
	return !waiting && !ended
}

var (
	errCut = errors.New("transport: the exchange was ended")
	// errUnfit: nothing was sent.
	errUnfit = errors.New("transport: the target has ended the kept connection, or is about to, or sent what nobody had asked for")
)

// cut ends the exchange; which, when it is not 0, is the one that is meant. It may be called from any goroutine.
func (c *wire) cut(code string, which uint64) {
	c.mu.Lock()
	if !c.running || c.cause != "" || which != 0 && which != c.number {
		c.mu.Unlock()
		return
	}
	c.cause = code
	_ = c.Conn.SetDeadline(time.Unix(1, 0)) // it fails on a closed connection only
	if c.headed && c.limits.Receiver != nil && code != Canceled && code != ConnectionReset {
		c.limits.Receiver.Cut() // under the lock: later it may be another exchange's
	}
	upload := c.upload
	c.mu.Unlock()
	if upload != nil {
		_ = upload.Close()
	}
}

// expire is called when Limits.Deadline has come.
func (c *wire) expire(which uint64) {
	c.mu.Lock()
	client := c.asking || c.headed && !c.waiting.Load()
	c.mu.Unlock()
	if client {
		c.cut(ClientTooSlow, which)
		return
	}
	c.cut(TotalLimit, which)
}

// slack is by how much a limit may be exceeded, as a share of it: deadlines are set anew only when they would be too early.
const slack = 16

// patience is how long the target is awaited, to take the request or to answer, before its exchange is made to end with the client's: most are there by then, and
// arming costs more than reading them. It is doubled at most, for the same reason.
const patience = 10 * time.Millisecond

// extend returns the deadline for a wait of limit that begins now, and whether it has to be set in place of by. It lies
// beyond by no more than room.
func extend(by, now time.Time, limit, room time.Duration) (time.Time, bool) {
	if limit <= 0 {
		return time.Time{}, !by.IsZero()
	}
	due := now.Add(limit)
	if !by.Before(due) && by.Sub(due) <= room {
		return by, false
	}
	return due.Add(room), true
}

// awaitRead bounds the next wait for what the target sends, awaitWrite the one for it to take something. They fail when the
// exchange was cut.
func (c *wire) awaitRead(limit time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.awaitReadLocked(limit)
}

func (c *wire) awaitReadLocked(limit time.Duration) error {
	if c.cause != "" {
		return errCut
	}
	by, set := extend(c.readBy, time.Now(), limit, limit/slack)
	if !set {
		return nil
	}
	c.readBy = by
	return c.Conn.SetReadDeadline(by)
}

func (c *wire) awaitWriteLocked(limit time.Duration, now time.Time) error {
	if c.cause != "" {
		return errCut
	}
	by, set := extend(c.writeBy, now, limit, limit/slack)
	if !set {
		return nil
	}
	c.writeBy = by
	return c.Conn.SetWriteDeadline(by)
}

// begin readies the connection for an exchange. It returns errUnfit for a kept one that the target is about to close.
func (c *wire) begin(ctx context.Context, l Limits, streamed bool) error {
	c.doubt, c.heard, c.readErr, c.patient = false, false, nil, !streamed && !l.Prompt && (l.FirstByte <= 0 || l.FirstByte > patience)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.number++
	c.running, c.cause, c.headed, c.sent, c.upload, c.whole = true, "", false, nil, nil, false
	c.ctx, c.limits, c.stop = ctx, l, nil
	if c.pool.d.life.Err() != nil { // Close has gone by already
		c.cause = Closed
		return errCut
	}
	if ctx.Err() != nil {
		c.cause = Canceled
		return errCut
	}
	if !l.Deadline.IsZero() {
		which := c.number
		c.total = time.AfterFunc(time.Until(l.Deadline), func() { c.expire(which) })
	}
	now := l.Start
	if !c.patient || now.IsZero() {
		now = time.Now()
	}
	if c.ends(now) {
		return errUnfit
	}
	c.since = now
	if !c.patient {
		if err := c.awaitWriteLocked(l.FirstByte, now); err != nil {
			return err
		}
		return c.awaitReadLocked(l.FirstByte)
	}
	by, set := extend(c.readBy, now, patience, patience)
	if !set && by.Equal(c.writeBy) {
		return nil
	}
	c.readBy, c.writeBy = by, by
	return c.Conn.SetDeadline(by) // one timer for both
}

// send writes message, and may read a part of the answer already. On a kept connection that is not in the state to
// be used it writes nothing, and returns errUnfit.
func (c *wire) send(message []byte) error {
	looked := false
	if c.patient && c.under.plain {
		wrote, read, fit, err := c.under.round(message, c.in, c.used)
		c.to, looked = read, c.under.begun
		switch {
		case !fit:
			return errUnfit
		case wrote == len(message):
			if c.heard = read > 0; err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				c.readErr = err
			}
			return nil
		case looked && err != nil:
			return err
		}
		message = message[wrote:]
	}
	if c.used && !looked && !c.look() {
		return errUnfit
	}
	return c.sendRest(message)
}

// sendRest writes what round has left.
func (c *wire) sendRest(rest []byte) error {
	if !c.patient {
		c.watch()
	}
	n, err := c.Conn.Write(rest)
	if err == nil || !c.patient || !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	c.patient = false
	c.watch()
	c.mu.Lock()
	err = c.awaitWriteLocked(max(c.limits.FirstByte-patience, 0), time.Now())
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if _, err = c.Conn.Write(rest[n:]); err != nil {
		return err
	}
	return c.awaitRead(c.limits.FirstByte)
}

// watch makes the exchange end with the client's from now on.
func (c *wire) watch() {
	if c.stop == nil {
		c.stop = context.AfterFunc(c.ctx, c.cancel)
	}
}

// ends reports whether the target is about to close the connection.
func (c *wire) ends(now time.Time) bool { return !c.until.IsZero() && !now.Before(c.until) }

// finish ends the exchange. The connection is kept only when nobody can touch it any more: the cancellation is disarmed
// first, and one that runs already is as good as one that has run.
func (c *wire) finish(keep bool) {
	quick := c.stop == nil // it took no longer than patience
	if c.stop != nil && !c.stop() {
		keep = false
	}
	if c.total != nil {
		keep = c.total.Stop() && keep
		c.total = nil
	}
	c.mu.Lock()
	upload, sent := c.upload, c.sent
	if sent == nil {
		keep = c.retireLocked() && keep
		c.mu.Unlock()
	} else {
		c.running = false // nobody cuts it any more
		c.mu.Unlock()
		select {
		case <-sent:
		default: // the target does not want the rest
			keep = false
			c.mu.Lock()
			c.cause = ConnectionReset // the upload sets no deadline any more
			_ = c.Conn.SetDeadline(time.Unix(1, 0))
			c.mu.Unlock()
			_ = upload.Close()
			<-sent
		}
		c.pool.uploaded(c)
		c.mu.Lock()
		keep = keep && c.whole
		keep = c.retireLocked() && keep
		c.mu.Unlock()
	}
	header := c.answer.Header
	if clear(header); cap(header) > keptFields { // an enormous head is not to be paid for by all that follow
		header = nil
	}
	c.answer = Answer{Header: header[:0]}
	if !keep || c.from != c.to || !c.until.IsZero() && c.ends(time.Now()) {
		c.pool.drop(c) // and not to who waits, who would only drop it then and go to the end of the line
		return
	}
	if !quick || c.doubt {
		c.since = time.Now()
	}
	c.used, c.from, c.to = true, 0, 0
	if len(c.in) > wireBuffer {
		c.in = make([]byte, wireBuffer)
	}
	c.pool.put(c)
}

// retireLocked forgets the exchange, and tells whether it was not cut.
func (c *wire) retireLocked() bool {
	c.running = false
	c.ctx, c.stop, c.limits, c.upload, c.sent = nil, nil, Limits{}, nil, nil
	return c.cause == ""
}

// exchange sends out and returns the head of its answer; when it fails the connection is given up. A body that is not nil
// and not inline is sent by a goroutine, while the answer is waited for and passed on.
func (c *wire) exchange(out *http.Request, fields []Field, body io.ReadCloser, inline *smallBody, l Limits) (*Answer, *Error) {
	over := false
	defer func() {
		if !over { // a receiver panicked
			c.finish(false)
		}
	}()
	res, failed := c.attempt(out, fields, body, inline, l)
	over = true
	if failed != nil {
		c.finish(false)
	}
	return res, failed
}

// attempt is exchange, but that it leaves it to that to give the connection up.
func (c *wire) attempt(out *http.Request, fields []Field, body io.ReadCloser, inline *smallBody, l Limits) (*Answer, *Error) {
	streamed := body != nil && inline == nil
	err := c.begin(out.Context(), l, streamed)
	if err == nil {
		if err := c.writeHead(out, fields, streamed); err != nil {
			return nil, &Error{Code: InvalidRequest, Err: err}
		}
		message := c.out
		if inline != nil {
			message = inline.behind(message)
		}
		err = c.send(message)
		if cap(c.out) > keptOut { // while the answer is waited for, an HTTP/2 client has paid for a few bytes of it only
			c.out = nil
		}
	}
	if err != nil && !isBroken(err) {
		return nil, c.failure(err, false)
	}
	cutShort := err
	if cutShort != nil { // the target may have answered before it closed its side
		c.patient = false
		_ = c.awaitRead(earlyAnswer)
		closeBody(body)
	} else if streamed {
		c.startUpload(body, out.ContentLength, out.Trailer)
	}
	if err := c.readHead(out.Method); err != nil {
		if cutShort != nil {
			err = cutShort
		}
		return nil, c.failure(err, c.heard)
	}
	c.mu.Lock()
	c.headed = true
	cause := c.cause
	c.mu.Unlock()
	if cause != "" {
		return nil, c.failure(errCut, true)
	}
	if cutShort != nil {
		c.body.last = true
	}
	return &c.answer, nil
}

// isBroken tells whether the target has ended the connection.
func isBroken(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.ErrClosedPipe)
}

// failure explains why there is no answer; some of it came when partly is set.
func (c *wire) failure(err error, partly bool) *Error {
	c.mu.Lock()
	cause := c.cause
	c.mu.Unlock()
	var known *Error
	switch {
	case cause == Canceled:
		ctxErr := c.ctx.Err()
		return &Error{Code: endOf(ctxErr), Err: ctxErr}
	case cause != "":
		return &Error{Code: cause, Err: err}
	case err == errUnfit: //nolint:errorlint // the very value
		return &Error{Code: StaleConnection, Err: err, HTTP1: true}
	case errors.As(err, &known):
		return known
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &Error{Code: FirstByteLimit, Err: err}
	case isReset(err) && c.used && !partly:
		return &Error{Code: StaleConnection, Err: err, HTTP1: true}
	case isReset(err):
		return &Error{Code: ConnectionReset, Err: err}
	default:
		return &Error{Code: InvalidResponse, Err: err}
	}
}

// fill reads more of what the target sends.
func (c *wire) fill() error {
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
	if err := c.readErr; err != nil {
		c.readErr = nil
		return err
	}
	n, err := c.Conn.Read(c.in[c.to:])
	if n == 0 && c.patient && errors.Is(err, os.ErrDeadlineExceeded) {
		c.patient = false
		c.watch()
		if err := c.awaitRead(max(c.limits.FirstByte-patience, 0)); err != nil {
			return err
		}
		n, err = c.Conn.Read(c.in[c.to:])
	}
	c.to += n
	if n > 0 {
		c.heard = true
		return nil
	}
	if err == nil {
		err = errNothing
	}
	return err
}

var errNothing = errors.New("transport: a read gave neither bytes nor an error")
