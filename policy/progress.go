package policy

import (
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// progressBody is a request body whose reads must make progress: each moves the connection's read deadline on. It lives
// in the Exchange, so it costs no allocation. Like every body it is read by one goroutine at a time.
type progressBody struct {
	body    io.ReadCloser
	control http.ResponseController
	limit   time.Duration
	armed   time.Time     // when the deadline was last set
	rate    int           // bytes in a second; not positive: any
	got     int64         // bytes so far
	waited  time.Duration // for them
	stream  bool          // an HTTP/2 stream or later
	done    bool          // no deadline is to be set, or none any more

	// touched and ended are for those who answer while another goroutine may still read.
	touched, ended atomic.Bool
}

// init prepares the guard for r, whose answer goes to w, the server's own writer. Without a positive limit it only
// watches.
func (b *progressBody) init(w http.ResponseWriter, r *http.Request, limit time.Duration, rate int) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return
	}
	b.body = r.Body
	b.limit, b.rate, b.control, b.stream, b.done = limit, rate, *http.NewResponseController(w), r.ProtoMajor > 1, limit <= 0
}

// bind puts the guard between r and its body.
func (b *progressBody) bind(r *http.Request) {
	if b.body != nil && r.Body == b.body {
		r.Body = b
	}
}

// Read reads from the body. Setting a deadline costs a timer, so one serves for an eighth of its time. On an HTTP/2
// stream a deadline that passes between two reads ends the body for good, though it may be the upstream that is slow;
// so there it is lifted after each.
func (b *progressBody) Read(p []byte) (int, error) {
	b.touched.Store(true)
	if b.done {
		return b.read(p)
	}
	now := time.Now()
	left := b.left()
	if b.stream || left < b.limit || now.Sub(b.armed) > b.limit/8 {
		b.armed = now
		if b.control.SetReadDeadline(now.Add(left)) != nil {
			b.done = true
		}
	}
	n, err := b.read(p)
	b.got += int64(n)
	b.waited += time.Since(now)
	return n, err
}

// left returns how long the next Read may wait.
func (b *progressBody) left() time.Duration {
	if b.rate <= 0 {
		return b.limit
	}
	return min(b.limit, b.limit+time.Duration(b.got/int64(b.rate))*time.Second-b.waited)
}

func (b *progressBody) read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	if err == io.EOF {
		b.ended.Store(true)
	}
	if (err != nil || b.stream) && !b.done {
		// After the end of an HTTP/1 body net/http watches the connection for the client's leaving: with the deadline
		// armed it would take its passing for that.
		b.done = err != nil
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// state reports whether nobody has read from the body, and whether somebody has read it to its end.
func (b *progressBody) state() (untouched, ended bool) { return !b.touched.Load(), b.ended.Load() }

// release leaves the deadline to the caller from now on.
func (b *progressBody) release() { b.done = true }

// Close closes the body.
func (b *progressBody) Close() error { return b.body.Close() }

// leave bounds what the server reads of an unread body after the answer. The server sets a new deadline for the next
// request by itself.
func (b *progressBody) leave() {
	if b.body != nil && !b.done && !b.stream {
		_ = b.control.SetReadDeadline(time.Now().Add(b.limit))
	}
}
