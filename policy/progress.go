package policy

import (
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// progressBody is a request body whose reads must make progress: each moves the connection's read deadline on. Like every
// body it is read by one goroutine at a time, which may outlive the handler. A nil one stands for no body.
type progressBody struct {
	body    io.ReadCloser
	control http.ResponseController
	limit   time.Duration
	armed   time.Time // when the deadline was last set
	rate    int       // bytes in a second; not positive: any
	got     int64     // bytes so far
	stream  bool      // an HTTP/2 stream or later

	// How long the client was waited for, and since when it is, counted from made and 1 later, or 0: both are read while
	// another goroutine may be in Read.
	made          time.Time
	waited, waits atomic.Int64

	mu   sync.Mutex // for done and the deadline: a Read may be under way when the handler returns
	done bool       // no deadline is to be set, or none any more

	// touched and ended are for those who answer while another goroutine may still read.
	touched, ended atomic.Bool
}

// newProgressBody returns the guard for r, whose answer goes to w, the server's own writer. Without a positive limit it only
// watches.
func newProgressBody(w http.ResponseWriter, r *http.Request, limit time.Duration, rate int) *progressBody {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil
	}
	return &progressBody{made: time.Now(), body: r.Body, limit: limit, rate: rate, control: *http.NewResponseController(w), stream: r.ProtoMajor > 1, done: limit <= 0}
}

// bind puts the guard between r and its body.
func (b *progressBody) bind(r *http.Request) {
	if b != nil && r.Body == b.body {
		r.Body = b
	}
}

// Read reads from the body. Setting a deadline costs a timer, so one serves for an eighth of its time. On an HTTP/2
// stream a deadline that passes between two reads ends the body for good, though it may be the upstream that is slow;
// so there it is lifted after each.
func (b *progressBody) Read(p []byte) (int, error) {
	b.touched.Store(true)
	now := time.Now()
	b.waits.Store(int64(now.Sub(b.made)) + 1)
	if left := b.left(); b.stream || left < b.limit || now.Sub(b.armed) > b.limit/8 {
		b.armed = now
		b.set(now.Add(left), false)
	}
	n, err := b.body.Read(p)
	b.got += int64(n)
	b.waited.Add(int64(time.Since(now)))
	b.waits.Store(0)
	switch {
	case err == io.EOF:
		b.ended.Store(true)
		// From now on net/http watches an HTTP/1 connection for the client's leaving: with the deadline armed it would
		// take its passing for that.
		b.set(time.Time{}, true)
	case err != nil:
		b.release() // and the deadline bounds what the server still reads of the body
	case b.stream:
		b.set(time.Time{}, false)
	}
	return n, err
}

// left returns how long the next Read may wait.
func (b *progressBody) left() time.Duration {
	if b.rate <= 0 {
		return b.limit
	}
	return min(b.limit, b.limit+time.Duration(b.got/int64(b.rate))*time.Second-time.Duration(b.waited.Load()))
}

// set moves the deadline, unless that is over.
func (b *progressBody) set(t time.Time, last bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.done {
		b.done = b.control.SetReadDeadline(t) != nil || last
	}
}

// wait returns how long the client was waited for, up to now.
func (b *progressBody) wait() time.Duration {
	if b == nil {
		return 0
	}
	// In this order a Read that ends meanwhile is left out, and not counted twice.
	waits, waited := b.waits.Load(), time.Duration(b.waited.Load())
	if waits != 0 && b.waits.Load() == waits {
		waited += max(time.Since(b.made)-time.Duration(waits-1), 0)
	}
	return waited
}

// state reports whether nobody has read from the body, and whether somebody has read it to its end.
func (b *progressBody) state() (untouched, ended bool) {
	if b == nil {
		return true, false
	}
	return !b.touched.Load(), b.ended.Load()
}

// release leaves the deadline as it is from now on. Once the handler has returned nobody may move it: it is the next
// request's, and on HTTP/2 there is nothing left to move.
func (b *progressBody) release() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done = true
}

// Close closes the body, for which net/http reads some of what is left.
func (b *progressBody) Close() error {
	if !b.stream {
		b.set(time.Now().Add(b.limit), false)
	}
	return b.body.Close()
}

// leave bounds what the server reads of an unread body after the answer. The server sets a new deadline for the next
// request by itself.
func (b *progressBody) leave() {
	if b == nil {
		return
	}
	if !b.stream {
		b.set(time.Now().Add(min(b.limit, unreadLinger)), true)
	}
	b.release()
}

// unreadLinger bounds the wait for the rest of a body once there is an answer that did not need it: net/http waits for it before
// it sends the answer, or closes the connection, and a client that expects 100 Continue may never send it.
const unreadLinger = time.Second
