package http1

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// moment is how long a request is served at least before its client is watched. It may be twice that: most requests are over
// by then.
const moment = 10 * time.Millisecond

// watch is what several goroutines know of a connection: whether it waits for a request, and whether its client is still there
// while one is served, for which a goroutine reads on behind the request.
type watch struct {
	c     *conn
	taken atomic.Bool // somebody has taken the connection over

	mu      sync.Mutex
	waiting bool // for a request
	fresh   bool // for the first
	since   time.Time

	number  uint64 // counts the requests that may be watched
	on      bool   // one is
	whole   bool   // all of its body was read: nobody reads but the watcher
	cancel  context.CancelFunc
	seen    uint64 // the one that was on when the timer fired last
	ticking bool   // the timer runs
	timer   *time.Timer
	reading chan struct{} // closed when the watcher has ended; nil while there is none
}

// idle says that a request is waited for, at most as long as d, if that is positive.
func (w *watch) idle(now time.Time, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = true
	w.fresh = !w.c.used
	w.since = now
	by := time.Time{}
	if d > 0 {
		by = now.Add(d)
	}
	_ = w.c.raw.SetReadDeadline(by) // it fails on a closed connection only
}

// busy says that something of a request has come. The deadline of before is still set.
func (w *watch) busy() {
	w.mu.Lock()
	w.waiting = false
	w.mu.Unlock()
}

// endIdle makes a connection end that waits for a request: for the first only if it has done so since before.
func (w *watch) endIdle(before time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting && (!w.fresh || w.since.Before(before)) {
		_ = w.c.raw.SetReadDeadline(past()) // likewise
	}
}

// setReadDeadline bounds reads of the body of x. When that is over there is nothing to bound.
func (w *watch) setReadDeadline(x *exchange, t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case x.done.Load(): // end comes later, and waits
		return errDone
	case w.whole:
		return nil
	}
	x.bounded.Store(!t.IsZero())
	return w.c.raw.SetReadDeadline(t)
}

// setWriteDeadline bounds writes of the answer of x.
func (w *watch) setWriteDeadline(x *exchange, t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if x.done.Load() { // likewise
		return errDone
	}
	return w.c.raw.SetWriteDeadline(t)
}

// begin says that a request is served whose body has been read, or that has none. Cancel is called when the client has left.
func (w *watch) begin(cancel context.CancelFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.taken.Load() {
		return
	}
	w.whole, w.on, w.cancel = true, true, cancel
	w.number++
	switch {
	case w.ticking:
		return
	case w.timer == nil:
		w.timer = time.AfterFunc(moment, w.tick)
	default:
		w.timer.Reset(moment)
	}
	w.ticking, w.seen = true, w.number
}

// tick begins to read when the request of the time before is still served. It runs on as long as there are new ones, which is
// cheaper than to stop it each time.
func (w *watch) tick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case !w.on:
		w.ticking = false
	case w.seen != w.number:
		w.seen = w.number
		w.timer.Reset(moment)
	default:
		w.ticking = false
		_ = w.c.raw.SetReadDeadline(time.Time{}) // it fails on a closed connection only
		w.reading = make(chan struct{})
		go w.read(w.reading)
	}
}

// read reads what comes behind the request, as much as there is room for, until the client leaves or the request ends. It takes
// single bytes as net/http does, from which others tell that the answer is not out, unless it is known that nobody looks.
func (w *watch) read(done chan struct{}) {
	defer close(done)
	c := w.c
	if c.from == c.to {
		c.from, c.to = 0, 0
	}
	for c.to < len(c.in) {
		most := len(c.in)
		if c.origin == nil {
			most = c.to + 1
		}
		n, err := c.raw.Read(c.in[c.to:most])
		c.to += n
		if err == nil {
			continue
		}
		w.mu.Lock()
		cancel := w.cancel
		left := w.on && !errors.Is(err, os.ErrDeadlineExceeded)
		w.mu.Unlock()
		if left {
			cancel()
		}
		return
	}
}

// end says that the request is over, and returns when nobody reads any more.
func (w *watch) end() {
	w.mu.Lock()
	reading := w.reading
	w.on, w.whole, w.cancel, w.reading = false, false, nil, nil
	if reading != nil {
		_ = w.c.raw.SetReadDeadline(past()) // it fails on a closed connection only
	}
	w.mu.Unlock()
	if reading != nil {
		<-reading
	}
}

// takeOver says that the connection is somebody else's from now on. It reports false when it was before.
func (w *watch) takeOver() bool {
	w.end()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.taken.Swap(true) {
		return false
	}
	w.on, w.whole = false, true // late deadlines of ours do not touch it
	if w.timer != nil {
		w.timer.Stop()
	}
	return true
}

func (w *watch) isTaken() bool { return w.taken.Load() }
