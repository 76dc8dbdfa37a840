package gatewaytest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"syscall"
)

// Upstream is a backend in memory. It speaks HTTP/1.1 over pipes, as a real one would over TCP. All methods are safe
// for concurrent use.
type Upstream struct {
	host     string
	srv      *http.Server
	listener *listener
	done     chan struct{}
	conns    sync.WaitGroup

	mu       sync.Mutex
	script   []http.Handler
	next     int
	down     bool
	requests []Request
	dials    int
}

// Request is what reached an [Upstream].
type Request struct {
	Method, URI, Host, Proto string
	Header                   http.Header
	Trailer                  http.Header
	// Body is what had arrived when the handler was done with it; BodyErr is how reading it failed, if it did.
	Body    []byte
	BodyErr error
}

// NewUpstream starts an upstream that is reached as http://host. It answers each request with the next handler of the
// script, and goes on with the last one; an empty script answers 200 "ok". Steps are any handlers: [Respond] and the
// faults of this package, or a handler of your own. Close ends it.
func NewUpstream(host string, script ...http.Handler) *Upstream {
	u := &Upstream{host: host, done: make(chan struct{}), listener: newListener(host)}
	u.Script(script...)
	u.srv = &http.Server{ //nolint:gosec // in memory, and its clients are the test's own
		Handler:   http.HandlerFunc(u.serve),
		ErrorLog:  log.New(io.Discard, "", 0),
		ConnState: u.count,
	}
	go func() {
		defer close(u.done)
		_ = u.srv.Serve(u.listener) // ends with http.ErrServerClosed
	}()
	return u
}

// URL returns "http://" and the host, as the URL of a target.
func (u *Upstream) URL() string { return "http://" + u.host }

// Script replaces the script and begins it.
func (u *Upstream) Script(steps ...http.Handler) {
	if len(steps) == 0 {
		steps = []http.Handler{Respond(http.StatusOK, "ok")}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.script, u.next = append([]http.Handler{}, steps...), 0
}

// SetDown makes the upstream refuse new connections, or take them again. Connections that exist stay.
func (u *Upstream) SetDown(down bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.down = down
}

// Requests returns what reached the upstream so far, in the order it came. A request appears when its body was read
// and before it is answered.
func (u *Upstream) Requests() []Request {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]Request{}, u.requests...)
}

// Last returns the request that came last; the zero Request when none did.
func (u *Upstream) Last() Request {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.requests) == 0 {
		return Request{}
	}
	return u.requests[len(u.requests)-1]
}

// Dials returns how many connections were asked for, refused ones included.
func (u *Upstream) Dials() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.dials
}

// Dial connects to the upstream; it is what the Dial field of an upstream's configuration takes. Any address is taken
// for this upstream; use [Dial] for several.
func (u *Upstream) Dial(ctx context.Context, network, _ string) (net.Conn, error) {
	u.mu.Lock()
	u.dials++
	down := u.down
	u.mu.Unlock()
	if down {
		return nil, refused(network, u.host)
	}
	return u.listener.dial(ctx, network)
}

// Dial returns a dialler that reaches each of the upstreams under its own host, and nothing else.
func Dial(upstreams ...*Upstream) func(ctx context.Context, network, addr string) (net.Conn, error) {
	byHost := make(map[string]*Upstream, len(upstreams))
	for _, u := range upstreams {
		byHost[withPort(u.host)] = u
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		u, ok := byHost[withPort(addr)]
		if !ok {
			return nil, refused(network, addr)
		}
		return u.Dial(ctx, network, addr)
	}
}

func withPort(host string) string {
	if _, _, err := net.SplitHostPort(host); err != nil {
		return net.JoinHostPort(host, "80")
	}
	return host
}

func refused(network, host string) error {
	return &net.OpError{Op: "dial", Net: network, Addr: addr(host), Err: syscall.ECONNREFUSED}
}

// count keeps track of the connections' goroutines: the last state of each is closed or hijacked.
func (u *Upstream) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		u.conns.Add(1)
	case http.StateClosed, http.StateHijacked:
		u.conns.Done()
	case http.StateActive, http.StateIdle:
	}
}

// Close cuts all connections and waits for the server to end. It may be called more than once.
func (u *Upstream) Close() error {
	err := u.srv.Close()
	<-u.done
	u.conns.Wait()
	if err != nil {
		return fmt.Errorf("gatewaytest: %w", err)
	}
	return nil
}

// serve records the request and runs the next step of the script. A step that implements streams reads the body itself.
func (u *Upstream) serve(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	step := u.script[min(u.next, len(u.script)-1)]
	u.next++
	u.mu.Unlock()
	rec := Request{Method: r.Method, URI: r.RequestURI, Host: r.Host, Proto: r.Proto, Header: r.Header.Clone()}
	if s, ok := step.(early); ok {
		u.record(rec)
		s.ServeHTTP(w, r)
		return
	}
	rec.Body, rec.BodyErr = io.ReadAll(r.Body)
	rec.Trailer = r.Trailer.Clone()
	u.record(rec)
	r.Body = io.NopCloser(bytes.NewReader(rec.Body))
	step.ServeHTTP(w, r)
}

func (u *Upstream) record(rec Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.requests = append(u.requests, rec)
}
