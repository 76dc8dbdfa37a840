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
// such a deadline passes between two writes, which is what event streams do all
// the time, and [http.ResponseController] does not promise that a deadline can
// be extended once it passed. So a timer runs instead, and a deadline is only set
// to end a write in progress.
type watch struct {
	limit time.Duration // 0: off; written by the handler's goroutine only

	mu    sync.Mutex // guards the rest, and limit against fire
	timer *time.Timer
	since time.Time // start of the write in progress, zero when there is none
	armed bool      // the timer runs
	cut   bool
}

// begin marks the start of a write to under, which is always the same, and reports
// whether end has to follow.
func (t *watch) begin(under http.ResponseWriter) bool {
	if t.limit == 0 {
		return false
	}
	if t.timer == nil && deadliner(under) == nil {
		t.setLimit(0)
		return false
	}
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.since = now
	switch {
	case t.armed:
	case t.timer == nil:
		t.timer = time.AfterFunc(t.limit, func() { t.fire(under) })
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
func (t *watch) fire(under http.ResponseWriter) {
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
	t.cut = deadliner(under).SetWriteDeadline(past()) == nil
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

// deadliner returns the writer through which a ResponseController would set
// write deadlines for rw, or nil.
func deadliner(rw http.ResponseWriter) interface{ SetWriteDeadline(time.Time) error } {
	for {
		switch t := rw.(type) {
		case interface{ SetWriteDeadline(time.Time) error }:
			return t
		case interface{ Unwrap() http.ResponseWriter }:
			rw = t.Unwrap()
		default:
			return nil
		}
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
