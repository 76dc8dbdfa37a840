package respw

import (
	"net/http"
	"sync"
	"time"
)

const (
	// bufferedBytes is what net/http's HTTP/1 server holds back before a write
	// may reach the network; its HTTP/2 server holds back more.
	bufferedBytes = 2048

	// slice is the most that is written in one watched operation, so that a
	// slow client that does take data is not mistaken for a stalled one.
	slice = 64 << 10
)

// past is a deadline that has expired for every connection.
func past() time.Time { return time.Unix(1, 0) }

// watch cuts a response off when one write takes longer than limit. A deadline
// set ahead of each write would be simpler, but HTTP/2 resets the stream when
// such a deadline passes between writes, HTTP/1 leaves it to the next handler
// on the connection, and neither promises that it can be extended. So a timer
// runs instead, and a deadline is only set to end a write in progress.
type watch struct {
	limit time.Duration // 0: off; written by the handler's goroutine only

	mu    sync.Mutex // guards the rest, and limit against fire
	timer *time.Timer
	armed bool      // the timer runs
	since time.Time // start of the write in progress, zero when there is none
	under http.ResponseWriter
	cut   bool
}

// begin marks the start of a write to under and reports whether end has to
// follow.
func (t *watch) begin(under http.ResponseWriter) bool {
	if t.limit == 0 {
		return false
	}
	if t.timer == nil && !takesDeadlines(under) {
		t.setLimit(0)
		return false
	}
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.under, t.since = under, now
	switch {
	case t.armed:
	case t.timer == nil:
		t.timer = time.AfterFunc(t.limit, t.fire)
	default:
		t.timer.Reset(t.limit)
	}
	t.armed = true
	return true
}

func (t *watch) setLimit(d time.Duration) {
	t.mu.Lock()
	t.limit = d
	t.mu.Unlock()
}

// end marks the end of the write. The timer is left running: it is cheaper to
// let it find nothing than to stop it each time, and it ends by itself.
func (t *watch) end() {
	t.mu.Lock()
	t.since = time.Time{}
	t.mu.Unlock()
}

// fire runs on the timer's goroutine. It holds the lock while it sets the
// deadline, so that end, and with it the handler, waits for it.
func (t *watch) fire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.armed = false
	if t.since.IsZero() {
		return
	}
	if left := t.limit - time.Since(t.since); left > 0 {
		t.armed = true
		t.timer.Reset(left)
		return
	}
	if http.NewResponseController(t.under).SetWriteDeadline(past()) == nil {
		t.cut = true
	}
}

func (t *watch) wasCut() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cut
}

// stop ends the timer and the limit.
func (t *watch) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.limit = 0
	if t.timer != nil {
		t.timer.Stop()
		t.armed = false
	}
}

// takesDeadlines reports whether a ResponseController could set a write
// deadline through rw.
func takesDeadlines(rw http.ResponseWriter) bool {
	for {
		switch t := rw.(type) {
		case interface{ SetWriteDeadline(time.Time) error }:
			return true
		case interface{ Unwrap() http.ResponseWriter }:
			rw = t.Unwrap()
		default:
			return false
		}
	}
}

// Finish ends what LimitWrites began. It flushes an answer larger than the
// server's buffer, so that the last bytes are watched as the first ones were.
// No deadline is left on an HTTP/1 connection; on an HTTP/2 stream one is left
// for the bytes that the server sends when the handler has returned. Calls
// without a limit, after a hijack and after the first do nothing.
func (w *Writer) Finish() {
	d := w.watch.limit
	if d == 0 {
		return
	}
	if !w.hijacked && w.size > bufferedBytes && w.pending > 0 {
		_ = w.FlushError()
	}
	w.watch.stop()
	if !w.hijacked && w.size > 0 && isHTTP2(w.under) {
		// Not flow-controlled, a head alone cannot be held up by the client.
		_ = http.NewResponseController(w.under).SetWriteDeadline(time.Now().Add(d))
	}
}

// isHTTP2 reports whether rw ends in the writer of an HTTP/2 server, which is
// the only one to offer pushes.
func isHTTP2(rw http.ResponseWriter) bool {
	for {
		switch t := rw.(type) {
		case http.Pusher:
			return true
		case interface{ Unwrap() http.ResponseWriter }:
			rw = t.Unwrap()
		default:
			return false
		}
	}
}
