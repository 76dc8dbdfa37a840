package transport

import (
	"errors"
	"io"
	"runtime"
	"sync"
	"time"
)

const (
	// maxInline is the largest declared body that is sent with the head of its request, if the client sends it at once.
	maxInline = 16 << 10
	// grace is how long that is waited for. A body that takes longer is passed on as it comes, so that the target sees the
	// request, and the client an early answer.
	grace = 5 * time.Millisecond
	// headRoom is for how long a head there is room in front of such a body.
	headRoom = 2 << 10
)

var errLong = errors.New("the request body is longer than its declared length")

// smallBody is a small request body that is read on a goroutine of its own: into one buffer that holds all of it, from which
// it is sent with the head, or, as an [io.ReadCloser], as it comes.
type smallBody struct {
	under  io.ReadCloser
	length int

	ready chan struct{} // gets a token when reading has ended
	timer *time.Timer

	mu    sync.Mutex
	more  sync.Cond // with mu: there is more in buf, or reading has ended
	n     int       // bytes of the body that are there
	taken int       // bytes that Read has returned
	ended bool
	err   error                          // io.EOF at the declared end
	buf   [headRoom + maxInline + 1]byte // the body lies behind the room
}

func emptySmallBody() any {
	s := &smallBody{ready: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
	s.more.L = &s.mu
	s.timer.Stop()
	return s
}

// newSmallBody begins to read body, which has that length.
func (d *Direct) newSmallBody(body io.ReadCloser, length int64) *smallBody {
	s, _ := d.smallBodies.Get().(*smallBody)
	s.under, s.length, s.n, s.taken, s.ended, s.err = body, int(length), 0, 0, false, nil
	go s.read()
	runtime.Gosched() // most bodies are there: then that is all, and nothing has to be waited for
	return s
}

func (s *smallBody) read() {
	for n := 0; ; {
		m, err := s.under.Read(s.buf[headRoom+n : headRoom+s.length+1])
		n += m
		switch {
		case n > s.length:
			err = errLong
		case err == io.EOF && n < s.length:
			err = errShortBody
		}
		s.mu.Lock()
		s.n, s.err, s.ended = n, err, err != nil
		s.more.Broadcast()
		s.mu.Unlock()
		if err != nil {
			s.ready <- struct{}{}
			return
		}
	}
}

// isWhole reports whether the body arrives at once. When it does not, or the error is not nil, the body must be closed, and s
// is not used again.
func (s *smallBody) isWhole() (bool, error) {
	select {
	case <-s.ready:
	default:
		s.timer.Reset(grace)
		defer s.timer.Stop()
		select {
		case <-s.ready:
		case <-s.timer.C:
			return false, nil
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != io.EOF { //nolint:errorlint // a wrapped EOF is not the end
		return false, s.err
	}
	return true, nil
}

// bytes returns a body that is whole.
func (s *smallBody) bytes() []byte { return s.buf[headRoom : headRoom+s.n] }

// behind returns a body that is whole behind a head, in a buffer that is the body's or the head's.
func (s *smallBody) behind(head []byte) []byte {
	if len(head) > headRoom {
		return append(head, s.bytes()...)
	}
	start := headRoom - len(head)
	copy(s.buf[start:], head)
	return s.buf[start : headRoom+s.n]
}

// release gives up a body that was returned whole: nobody reads into its buffer any more.
func (d *Direct) release(s *smallBody) {
	_ = s.under.Close()
	s.under = nil
	d.smallBodies.Put(s)
}

// Read implements [io.Reader].
func (s *smallBody) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.taken == s.n && !s.ended {
		s.more.Wait()
	}
	n := copy(p, s.buf[headRoom+s.taken:headRoom+min(s.n, s.length)])
	s.taken += n
	if s.taken >= min(s.n, s.length) && s.ended {
		return n, s.err
	}
	return n, nil
}

// Close implements [io.Closer].
func (s *smallBody) Close() error { return s.under.Close() }
