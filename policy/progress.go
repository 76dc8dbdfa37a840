package policy

import (
	"io"
	"net/http"
	"time"
)

// progressBody is a request body whose reads must make progress: each moves the connection's read deadline on. It lives
// in the Exchange, so it costs no allocation. Like every body it is read by one goroutine at a time.
type progressBody struct {
	body    io.ReadCloser
	control http.ResponseController
	limit   time.Duration // 0: not used
	armed   time.Time     // when the deadline was last set
	stream  bool          // an HTTP/2 stream or later
	done    bool          // the body's end was seen, or deadlines are not supported
}

// init prepares the guard for r, whose answer goes to w, the server's own writer.
func (b *progressBody) init(w http.ResponseWriter, r *http.Request, limit time.Duration) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return
	}
	b.limit, b.control, b.stream = limit, *http.NewResponseController(w), r.ProtoMajor > 1
}

// bind puts the guard between r and its body.
func (b *progressBody) bind(r *http.Request) {
	if b.limit > 0 && b.body == nil {
		b.body = r.Body
		r.Body = b
	}
}

// Read reads from the body. Setting a deadline costs a timer, so one serves for an eighth of its time. On an HTTP/2
// stream a deadline that passes between two reads ends the body for good, though it may be the upstream that is slow;
// so there it is lifted after each.
func (b *progressBody) Read(p []byte) (int, error) {
	if !b.done {
		if now := time.Now(); b.stream || now.Sub(b.armed) > b.limit/8 {
			b.armed = now
			if b.control.SetReadDeadline(now.Add(b.limit)) != nil {
				b.done = true
			}
		}
	}
	n, err := b.body.Read(p)
	if (err != nil || b.stream) && !b.done {
		// After the end of an HTTP/1 body net/http watches the connection for the client's leaving: with the deadline
		// armed it would take its passing for that.
		b.done = err != nil
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// Close closes the body.
func (b *progressBody) Close() error { return b.body.Close() }

// leave bounds what the server reads of an unread body after the answer. The server sets a new deadline for the next
// request by itself.
func (b *progressBody) leave() {
	if b.limit > 0 && !b.done && !b.stream {
		_ = b.control.SetReadDeadline(time.Now().Add(b.limit))
	}
}
