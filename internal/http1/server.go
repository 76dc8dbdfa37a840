package http1

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Server serves what an [http.Server] says. Its methods may be called by several goroutines.
type Server struct {
	hs *http.Server

	buffers sync.Pool // of *[outBytes]byte
	copies  sync.Pool // of *[copyBytes]byte
	date    atomic.Pointer[date]

	closing atomic.Bool // no connection is kept any more

	mu        sync.Mutex
	listeners map[*handover]struct{}
	conns     map[*conn]struct{}
	closed    bool // there are no new ones
}

// New returns a server for hs, which has a Handler and must not be changed any more. Listeners are served by Serve alone.
func New(hs *http.Server) *Server {
	return &Server{hs: hs, listeners: map[*handover]struct{}{}, conns: map[*conn]struct{}{}}
}

const (
	// acceptPause is how long nothing is accepted at first when that fails, and acceptPauseMost at most.
	acceptPause     = 5 * time.Millisecond
	acceptPauseMost = time.Second
)

var errBase = errors.New("http1: BaseContext returned a nil context")

// Serve serves the connections of l, which it closes, until Shutdown or Close is called, or either of the http.Server's: then its
// error is [http.ErrServerClosed].
func (s *Server) Serve(l net.Listener) error {
	if p := s.hs.Protocols; p != nil && !p.HTTP1() {
		return s.hs.Serve(l)
	}
	others := newHandover(l)
	defer func() { _ = others.Close() }()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.hs.Serve(others) // which ends with others
	}()
	if !s.track(others) {
		_ = others.Close()
		<-ended
		return http.ErrServerClosed
	}
	defer s.untrack(others)
	base := context.Background()
	if s.hs.BaseContext != nil {
		if base = s.hs.BaseContext(l); base == nil {
			_ = others.Close()
			<-ended
			return errBase
		}
	}
	base = context.WithValue(base, http.ServerContextKey, s.hs)
	pause := time.Duration(0)
	for {
		raw, err := l.Accept()
		if err == nil {
			pause = 0
			s.serve(base, raw, others)
			continue
		}
		if others.isClosed() {
			<-ended
			return http.ErrServerClosed
		}
		if !isTemporary(err) {
			_ = others.Close()
			<-ended
			return err
		}
		pause = min(max(2*pause, acceptPause), acceptPauseMost)
		s.logf("http: Accept error: %v; retrying in %v", err, pause)
		others.rest(pause)
	}
}

func isTemporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// serve begins to serve a connection.
func (s *Server) serve(base context.Context, raw net.Conn, others *handover) {
	c := newConn(s, raw, others)
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.conns[c] = struct{}{}
	}
	s.mu.Unlock()
	if closed {
		_ = raw.Close()
		return
	}
	go c.serve(base)
}

func (s *Server) track(l *handover) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return false
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *Server) untrack(l *handover) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

// forget takes a connection out of those that are served.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// close closes the listeners, and returns the connections there are, and whether a listener may yet have another.
func (s *Server) close() (conns []*conn, more bool) {
	s.mu.Lock()
	s.closing.Store(true)
	listeners := make([]*handover, 0, len(s.listeners))
	for l := range s.listeners {
		listeners = append(listeners, l)
	}
	s.mu.Unlock()
	for _, l := range listeners {
		_ = l.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	conns = make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	return conns, len(s.listeners) > 0
}

const (
	// pollEvery is how often Shutdown looks at first whether it is done, and pollMost at least.
	pollEvery = time.Millisecond
	pollMost  = 500 * time.Millisecond
	// newGrace is how long a connection may have been open without a request until Shutdown ends it.
	newGrace = 5 * time.Second
)

// Shutdown closes the listeners and waits until all connections have ended: idle ones at once, others behind their request. It
// returns the error of ctx if that ends before. Connections that were taken over are not waited for, as with net/http.
func (s *Server) Shutdown(ctx context.Context) error {
	wait := pollEvery
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		conns, more := s.close()
		if len(conns) == 0 && !more {
			return nil
		}
		for _, c := range conns {
			c.endIdle()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			wait = min(2*wait, pollMost)
			timer.Reset(wait)
		}
	}
}

// Close closes the listeners and all connections that were not taken over.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	conns, _ := s.close()
	for _, c := range conns {
		_ = c.raw.Close()
	}
	return nil
}

func (s *Server) logf(format string, args ...any) {
	if s.hs.ErrorLog != nil {
		s.hs.ErrorLog.Printf(format, args...)
		return
	}
	slog.NewLogLogger(slog.Default().Handler(), slog.LevelWarn).Printf(format, args...)
}

func (s *Server) readHeaderTimeout() time.Duration {
	if s.hs.ReadHeaderTimeout != 0 {
		return s.hs.ReadHeaderTimeout
	}
	return s.hs.ReadTimeout
}

func (s *Server) idleTimeout() time.Duration {
	if s.hs.IdleTimeout != 0 {
		return s.hs.IdleTimeout
	}
	return s.hs.ReadTimeout
}

// handshakeTimeout is the shortest of the bounds that are set.
func (s *Server) handshakeTimeout() time.Duration {
	var least time.Duration
	for _, d := range []time.Duration{s.hs.ReadHeaderTimeout, s.hs.ReadTimeout, s.hs.WriteTimeout} {
		if d > 0 && (least == 0 || d < least) {
			least = d
		}
	}
	return least
}

// headSlack is by how much a head may exceed MaxHeaderBytes, as with net/http.
const headSlack = 4 << 10

func (s *Server) maxHead() int {
	if s.hs.MaxHeaderBytes > 0 {
		return s.hs.MaxHeaderBytes + headSlack
	}
	return http.DefaultMaxHeaderBytes + headSlack
}

// date is the value of a Date field.
type date struct {
	unix int64
	text []byte
}

// appendDate appends the value of a Date field.
func (s *Server) appendDate(b []byte, now time.Time) []byte {
	d := s.date.Load()
	if unix := now.Unix(); d == nil || d.unix != unix {
		d = &date{unix, now.UTC().AppendFormat(nil, http.TimeFormat)}
		s.date.Store(d)
	}
	return append(b, d.text...)
}
