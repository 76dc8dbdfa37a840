package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// linger is how long the server may go on reading a request body that nobody wants any more, so that closing the
	// connection does not destroy the answer on its way. Without a bound the client would choose how long it holds the
	// connection.
	linger = time.Second
	// again is when the end of a Read is asked for once more: the first time may have come just before the Read set a
	// deadline of its own.
	again = 20 * time.Millisecond
)

var (
	errUploadEnded = errors.New("proxy: the request body is not wanted any more")
	errPanicked    = errors.New("proxy: the request body panicked")
	errShort       = errors.New("proxy: a plugin made the request body shorter than its declared length")
)

// Upload is the client's request body as a transport reads it, possibly on another goroutine and beyond the answer. It
// knows whether the client sent all of it and how it failed, and it lets the handler return: net/http does not allow
// that a body is read afterwards.
type Upload struct {
	body io.ReadCloser
	ctx  context.Context // the client's
	w    http.ResponseWriter

	http1 bool

	mu       sync.Mutex
	left     int64 // of the declared length; negative when none was declared
	ended    bool  // the end was read
	reading  bool
	waking   int  // calls of wake that are using w
	released bool // the handler may have returned: w must not be used any more
	closed   bool
	woken    bool // a Read was made to return
	late     bool // the context had ended before that
	err      error
	panicked any
	idle     chan struct{} // closed by the Read, or the wake, that release waits for
	trailers *trailers     // nil when none are sent on

	begun bool   // somebody has read
	kept  []byte // what was read before it is sent
	whole bool   // that is all of it
	at    int    // how much of kept was sent, unless it is whole
	first part
}

// part is the body as one try sends it.
type part struct {
	u      *Upload
	closed bool // guarded by that of u
}

// Read implements [io.Reader].
func (p *part) Read(b []byte) (int, error) {
	u := p.u
	u.mu.Lock()
	if p.closed {
		u.mu.Unlock()
		return 0, errUploadEnded
	}
	if u.at < len(u.kept) {
		n := copy(b, u.kept[u.at:])
		u.at += n
		u.mu.Unlock()
		return n, nil
	}
	u.begun = true
	u.mu.Unlock()
	return u.Read(b)
}

// Close says that the try does not want the body any more. If nothing of it was read, another may.
func (p *part) Close() error {
	u := p.u
	u.mu.Lock()
	p.closed = true
	begun := u.begun
	u.mu.Unlock()
	if !begun {
		return nil
	}
	return u.Close()
}

// keptPart is a body that is in memory, as one try sends it.
type keptPart struct{ bytes.Reader }

// Close implements [io.Closer].
func (*keptPart) Close() error { return nil }

// part returns the body for a try.
func (u *Upload) part() io.ReadCloser {
	if u.whole {
		return &keptPart{*bytes.NewReader(u.kept)}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.first.u == nil {
		u.first.u = u
		return &u.first
	}
	return &part{u: u}
}

// keep reads the body before it is sent, if it has at most that many bytes, so that it can be sent more than once.
func (u *Upload) keep(most int64) error {
	if u.left > most || u.trailers != nil {
		return nil
	}
	room := min(most, firstKept) // a declared length has cost the client nothing
	if u.left >= 0 {
		room = min(u.left, room)
	}
	kept := bytes.NewBuffer(make([]byte, 0, room+bytes.MinRead))
	n, err := kept.ReadFrom(io.LimitReader(u, most+1))
	if err != nil {
		return err
	}
	u.kept, u.begun, u.whole = kept.Bytes(), true, n <= most
	return nil
}

// firstKept is for how much of a body there is room at first.
const firstKept = 4 << 10

// repeatable reports whether the body can be sent in another try.
func (u *Upload) repeatable() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.whole || !u.begun && !u.closed
}

func newUpload(w http.ResponseWriter, r *http.Request) *Upload {
	return &Upload{body: r.Body, ctx: r.Context(), w: w, http1: r.ProtoMajor == 1, left: r.ContentLength}
}

// Read implements [io.Reader].
func (u *Upload) Read(p []byte) (n int, err error) {
	u.mu.Lock()
	if u.closed || u.err != nil {
		u.mu.Unlock()
		return 0, errUploadEnded
	}
	u.reading = true
	u.mu.Unlock()
	defer func() {
		v := recover()
		u.mu.Lock()
		defer u.mu.Unlock()
		u.reading = false
		if v != nil {
			u.panicked, n, err = v, 0, errPanicked
		}
		if u.left >= 0 {
			u.left -= int64(n)
		}
		switch {
		case err == io.EOF: //nolint:errorlint // a wrapped EOF is not the end
			u.ended = true
		case err != nil && u.closed && !(u.late && isTimeout(err)):
			err = errUploadEnded
		case err != nil:
			u.err = err
		}
		u.signal()
	}()
	n, err = u.body.Read(p)
	if err == io.EOF && u.trailers != nil { //nolint:errorlint // a wrapped EOF is not the end
		err = u.trailers.take()
	}
	return n, err
}

// signal tells release to look again. The caller holds the lock.
func (u *Upload) signal() {
	if u.idle != nil {
		close(u.idle)
		u.idle = nil
	}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// Close says that the body is not wanted any more. A Read that waits for the client is made to return. It may be called
// more than once, from any goroutine.
func (u *Upload) Close() error {
	u.mu.Lock()
	first := !u.closed
	u.closed = true
	u.mu.Unlock()
	if first {
		u.wake()
	}
	return nil
}

// wake ends a Read in progress, now or as soon as it waits.
func (u *Upload) wake() {
	u.mu.Lock()
	reading := u.reading && !u.released
	if reading && !u.woken {
		// While a body is read, net/http's server ends the context only because that Read failed: then the failure is the
		// client's, although the Read has not returned with it yet.
		u.late = errors.Is(u.ctx.Err(), context.Canceled)
	}
	u.woken = u.woken || reading
	if reading {
		u.waking++
	}
	u.mu.Unlock()
	if !reading {
		return
	}
	defer func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.waking--
		u.signal()
	}()
	if http.NewResponseController(u.w).SetReadDeadline(time.Unix(1, 0)) != nil {
		_ = u.body.Close() // no server's connection: then closing is the way
	}
	time.AfterFunc(again, u.wake)
}

// release returns when nothing reads the body any more, and nothing will.
func (u *Upload) release() {
	_ = u.Close()
	u.mu.Lock()
	defer u.mu.Unlock()
	for u.reading || u.waking > 0 {
		idle := make(chan struct{})
		u.idle = idle
		u.mu.Unlock()
		<-idle
		u.mu.Lock()
	}
	first := !u.released
	u.released = true
	// Whatever deadline is set, the one that ended a Read among them, was for a body that was wanted. Streams of HTTP/2 end with
	// the handler, without their rest.
	if first && (u.woken || u.http1 && !u.ended && u.left != 0) {
		_ = http.NewResponseController(u.w).SetReadDeadline(time.Now().Add(linger))
	}
}

// complete reports whether the client sent all of the body.
func (u *Upload) complete() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.ended || u.left == 0
}

// failure returns how the client's own side failed; nil when it did not.
func (u *Upload) failure() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err == nil && u.ended && u.left > 0 {
		return errShort
	}
	return u.err
}

// wasWoken reports whether a Read was made to return. net/http's server then ends the request's context as if the client
// had left.
func (u *Upload) wasWoken() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.woken
}

func (u *Upload) panicValue() any {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.panicked
}
