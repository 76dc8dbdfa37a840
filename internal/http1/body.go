package http1

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/internal/chunked"
)

// body is the body of a request.
type body struct {
	x *exchange

	mu     sync.Mutex
	left   int64 // negative when it is in chunks
	chunks *chunked.Reader
	ended  bool  // the end was read
	err    error // why it cannot be read any further
	closed bool
}

// begin readies the body: with a length, or in chunks when that is negative.
func (b *body) begin(length int64) {
	if b.left = length; length < 0 {
		b.chunks = &chunked.Reader{MaxTrailer: b.x.c.s.maxHead()}
	}
}

// Read implements [io.Reader].
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
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

// fail ends the body. When the client's side is broken, the request ends with it.
func (b *body) fail(err error) {
	b.err = err
	if c := b.x.c; !errors.Is(err, chunked.ErrMalformed) {
		b.x.cancel()
	} else if c.origin != nil {
		c.origin.Ambiguous()
	}
}

// trailers gives the handler those that came. The error is [io.EOF] when they are in order.
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
		r := b.x.r
		if r.Trailer == nil {
			r.Trailer = make(http.Header)
		}
		name = http.CanonicalHeaderKey(name)
		r.Trailer[name] = append(r.Trailer[name], value)
	}
	return io.EOF
}

// Close implements [io.Closer]. What is unread then is read away behind the answer.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}

const (
	// drainBytes is how much of a request body is read that nobody wants, so that its connection can be used again.
	drainBytes = 256 << 10
	// drainTime bounds the wait for it behind the answer, when nobody has set a deadline.
	drainTime = time.Second
)

// ending is how the body of a request ended.
type ending uint8

const (
	settled ending = iota // it is read
	unread                // the client may still be sending it
)

// settle ends the use of the body behind the answer, and reads what is left of it within bounds.
func (x *exchange) settle() ending {
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
	b.closed = true
	switch {
	case b.ended:
		return settled
	case b.err != nil:
		return unread
	case waits || x.last || b.left > drainBytes:
		return unread
	}
	x.boundRest()
	b.drain()
	if b.ended {
		x.c.watch.end() // nothing is served that could be watched
		return settled
	}
	return unread
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

// drainBeside reads a request body away beside a long answer that the handler sends without having read it: a client that sends
// all of it before it reads would never come to read.
func (x *exchange) drainBeside() {
	if x.fullDuplex || x.draining != nil || x.last || x.done.Load() || !x.body.mu.TryLock() {
		return
	}
	defer x.body.mu.Unlock()
	if b := &x.body; b.ended || b.err != nil || b.left > drainBytes {
		return
	}
	done := make(chan struct{})
	x.draining = done
	go func() {
		defer close(done)
		x.body.mu.Lock()
		defer x.body.mu.Unlock()
		x.body.drain()
	}()
}

// stopDraining has the handler's goroutine be the only one that reads.
func (x *exchange) stopDraining() {
	x.fullDuplex = true
	if x.draining != nil {
		_ = x.c.raw.SetReadDeadline(past()) // likewise
		<-x.draining
	}
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
