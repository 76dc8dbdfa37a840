package http1

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/internal/chunked"
)

// body is the body of a request.
type body struct {
	x *exchange

	closed atomic.Bool // for the handler

	mu     sync.Mutex
	left   int64 // negative when it is in chunks
	chunks *chunked.Reader
	begun  bool  // the handler reads it
	ended  bool  // the end was read
	err    error // why it cannot be read any further
}

// begin readies the body: with a length, or in chunks when that is negative.
func (b *body) begin(length int64) {
	if b.left = length; length < 0 {
		b.chunks = &chunked.Reader{MaxTrailer: b.x.c.s.maxHead()}
	}
}

// Read implements [io.Reader].
func (b *body) Read(p []byte) (int, error) {
	if b.closed.Load() { // whoever reads it away may do so for long
		return 0, http.ErrBodyReadAfterClose
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	b.begun = true
	return b.read(p)
}

// read reads whether or not the body was closed. The caller holds the lock.
func (b *body) read(p []byte) (n int, err error) {
	switch {
	case b.err != nil:
		return 0, b.err
	case b.ended:
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	}
	x := b.x
	x.sendContinue()
	if b.chunks != nil {
		n, err = b.chunks.Read((*source)(x.c), p)
	} else {
		n, err = (*source)(x.c).Read(p[:min(int64(len(p)), b.left)])
		if b.left -= int64(n); b.left == 0 {
			err = io.EOF
		} else if err == io.EOF { //nolint:errorlint // a wrapped EOF is not the end
			err = io.ErrUnexpectedEOF
		}
	}
	if err == io.EOF && b.chunks != nil { //nolint:errorlint // likewise
		err = b.trailers()
	}
	switch {
	case err == nil:
	case err == io.EOF: //nolint:errorlint // likewise
		b.ended = true
		x.c.watch.begin(x.cancel)
	default:
		b.fail(err)
	}
	return n, err
}

// fail ends the body. When the client's side is broken, the request ends with it; that time is up for what nobody wants is no
// sign of that.
func (b *body) fail(err error) {
	b.err = err
	switch c := b.x.c; {
	case b.closed.Load() && errors.Is(err, os.ErrDeadlineExceeded):
	case !errors.Is(err, chunked.ErrMalformed):
		b.x.cancel()
	case c.origin != nil:
		c.origin.Ambiguous()
	}
}

// trailers gives the handler those that came, unless the body is read away beside it. The error is [io.EOF] when they are in order.
func (b *body) trailers() error {
	text := b.chunks.Trailer()
	for text != "" {
		var line string
		if line, text, _ = strings.Cut(text, "\r\n"); line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		if !ok || !canonical.Token(name) || !canonical.FieldValue(value) {
			return fmt.Errorf("%w: a trailer is malformed", chunked.ErrMalformed)
		}
		if b.closed.Load() {
			continue
		}
		r := b.x.r
		if r.Trailer == nil {
			r.Trailer = make(http.Header)
		}
		name = http.CanonicalHeaderKey(name)
		r.Trailer[name] = append(r.Trailer[name], value)
	}
	return io.EOF
}

// Close implements [io.Closer]. It waits for nobody. What is unread then is read away behind the answer.
func (b *body) Close() error {
	b.closed.Store(true)
	return nil
}

const (
	// drainBytes is how much of a request body is read that nobody wants, so that its connection can be used again.
	drainBytes = 256 << 10
	// drainTime bounds the wait for it behind the answer, when nobody has set a deadline.
	drainTime = time.Second
	// longAnswer is from where on an answer is long. One that is shorter fits in what the systems on the way take.
	longAnswer = 16 << 10
)

// settle ends the use of the body behind the answer, and reads what is left of it within bounds. It reports whether all of it was
// read; else the client may still be sending it.
func (x *exchange) settle() bool {
	b := &x.body
	waits := x.stopContinue()
	if x.draining != nil {
		x.boundRest()
		<-x.draining
	}
	if !b.mu.TryLock() { // somebody still reads
		_ = x.c.raw.SetReadDeadline(past()) // it fails on a closed connection only
		b.mu.Lock()
	}
	defer b.mu.Unlock()
	b.closed.Store(true)
	if !b.ended && b.err == nil && !waits && !x.last && b.left <= drainBytes {
		x.boundRest()
		b.drain()
	}
	if !b.ended {
		return false
	}
	x.c.watch.end() // it may have ended but now, and nothing is served that could be watched
	return true
}

// boundRest bounds the wait for what is left of the body, if nobody has.
func (x *exchange) boundRest() {
	if !x.bounded.Load() {
		_ = x.c.raw.SetReadDeadline(time.Now().Add(drainTime)) // likewise
	}
}

// drain reads the body away, up to a bound. The caller holds the lock.
func (b *body) drain() {
	var scratch [4 << 10]byte
	for total := 0; total < drainBytes; {
		n, err := b.read(scratch[:])
		if total += n; err != nil {
			return
		}
	}
}

// drainBeside reads a request body away beside a long answer that the handler sends without having read any of it: a client that
// sends all of it before it reads would never come to read. The handler cannot read it then: it would not get all of it.
func (x *exchange) drainBeside() {
	if x.fullDuplex || x.draining != nil || x.last || max(x.written, x.length) < longAnswer || x.done.Load() || !x.body.mu.TryLock() {
		return
	}
	defer x.body.mu.Unlock()
	b := &x.body
	if b.ended || b.err != nil || b.left > drainBytes || b.begun && !b.closed.Load() {
		return
	}
	b.closed.Store(true)
	done := make(chan struct{})
	x.draining = done
	go func() {
		defer close(done)
		b.mu.Lock()
		defer b.mu.Unlock()
		b.drain()
	}()
}

// leaveBody has the handler's goroutine be the only one that reads.
func (x *exchange) leaveBody() {
	x.fullDuplex = true
	b := &x.body
	b.closed.Store(true)
	if x.draining != nil || !b.mu.TryLock() {
		_ = x.c.raw.SetReadDeadline(past()) // likewise
		if x.draining != nil {
			<-x.draining
		}
		b.mu.Lock()
	}
	b.mu.Unlock()
}

// source is a conn as bodies are read from it.
type source conn

// Buffered implements [chunked.Source].
func (s *source) Buffered() []byte { return s.in[s.from:s.to] }

// Take implements [chunked.Source].
func (s *source) Take(n int) { s.from += n }

// More implements [chunked.Source].
func (s *source) More() error {
	if err := (*conn)(s).fill(); err != io.EOF { //nolint:errorlint // a wrapped EOF is not the end
		return err
	}
	return io.ErrUnexpectedEOF
}

// Read implements [chunked.Source].
func (s *source) Read(p []byte) (int, error) {
	if s.from == s.to {
		if len(p) >= len(s.in) {
			return s.raw.Read(p)
		}
		if err := (*conn)(s).fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.in[s.from:s.to])
	s.from += n
	return n, nil
}
