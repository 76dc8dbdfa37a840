package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Direct is a [Transport] that speaks HTTP/1.1 over plain TCP on the goroutine that sends: it writes the request, waits and
// reads on it, and keeps for each connection all an exchange needs. What it does not speak goes over a [Standard]: TLS, and
// with it HTTP/2, requests with Expect, and connections of Config.Dial whose socket cannot be looked into.
//
// An answer, its header, its body and its trailers belong to one goroutine, and to nobody once the body was closed: the next
// exchange on the connection reuses them. Values of fields may be kept.
//
// A request is sent again as by a Standard: over another connection when a kept one turns out to be dead before the first
// byte of an answer, and then only with a method that is safe and without a body.
type Direct struct {
	std       *Standard
	dialer    func(ctx context.Context, network, addr string) (net.Conn, error)
	anyDialer bool // the dialer is the application's
	maxConns  int
	maxIdle   int
	idleTime  time.Duration
	maxHeader int

	life context.Context // ends with Close
	end  context.CancelFunc

	running atomic.Int64 // exchanges, and ended once Close was called
	done    chan struct{}
	once    sync.Once

	smallBodies sync.Pool // *smallBody
	uploads     sync.Pool // *uploadBuffer

	mu    sync.Mutex
	pools map[string]*pool
	wires map[*wire]struct{}
}

// directEnded marks a Direct that was closed, in a bit that the number of exchanges cannot reach.
const directEnded = 1 << 62

// NewDirect returns a Direct. c.MaxHeaderBytes must not be negative.
func NewDirect(c Config) *Direct {
	d := &Direct{
		dialer: c.Dial, anyDialer: c.Dial != nil,
		maxConns: max(orDefault(c.MaxConns, DefaultMaxConns), 0), maxIdle: max(orDefault(c.MaxIdleConns, DefaultMaxIdleConns), 0),
		idleTime: max(orDefault(c.IdleTimeout, DefaultIdleTimeout), 0), maxHeader: int(orDefault(c.MaxHeaderBytes, DefaultMaxHeaderBytes)),
		done: make(chan struct{}), pools: map[string]*pool{}, wires: map[*wire]struct{}{},
	}
	d.smallBodies.New, d.uploads.New = emptySmallBody, emptyUploadBuffer
	if d.dialer == nil {
		d.dialer = (&net.Dialer{KeepAlive: keepAlive}).DialContext
	}
	d.life, d.end = context.WithCancel(context.Background())
	c.Dial = d.dialStandard
	d.std = NewStandard(c)
	return d
}

// Send implements [Transport].
func (d *Direct) Send(out *http.Request, l Limits) (*http.Response, error) {
	if out.URL.Scheme != "http" || len(out.Header["Expect"]) > 0 {
		return d.std.Send(out, l)
	}
	body := out.Body
	if body == http.NoBody {
		body = nil
	}
	if !d.enter() {
		closeBody(body)
		return nil, &Error{Code: Closed, Err: net.ErrClosed}
	}
	var inline []byte
	if body != nil && out.ContentLength > 0 && out.ContentLength <= maxInline {
		small := d.newSmallBody(body, out.ContentLength)
		var err error
		if inline, err = small.whole(); err != nil {
			_ = body.Close()
			d.leave()
			return nil, unreadBody(out.Context(), err)
		}
		if inline == nil {
			body = small
		} else {
			defer d.release(small)
		}
	}
	p := d.pool(out.URL.Host)
	for try := 0; ; try++ {
		c, err := p.acquire(out.Context(), l, try == maxStale)
		if err == errOpaque { //nolint:errorlint // the very value
			d.leave()
			if out.Body = body; inline != nil {
				out.Body = &readBody{*bytes.NewReader(bytes.Clone(inline)), body}
			}
			return d.std.Send(out, l)
		}
		if err != nil {
			closeBody(body)
			d.leave()
			return nil, err
		}
		stale := c.used
		res, failed := c.exchange(out, body, inline, l)
		if failed == nil {
			return res, nil
		}
		if failed.Code == StaleConnection && stale && try < maxStale && body == nil && isSafe(out.Method) && out.Context().Err() == nil {
			continue
		}
		closeBody(body)
		d.leave()
		return nil, failed
	}
}

func closeBody(body io.Closer) {
	if body != nil {
		_ = body.Close()
	}
}

// isSafe tells of methods that change nothing (RFC 9110 section 9.2.1).
func isSafe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// readBody is a request body that was read, and what it was read from.
type readBody struct {
	bytes.Reader

	under io.Closer
}

// Close implements [io.Closer].
func (b *readBody) Close() error { return b.under.Close() }

// unreadBody is the error for a body that the client did not send as it had declared it.
func unreadBody(ctx context.Context, err error) *Error {
	if ctxErr := ctx.Err(); ctxErr != nil {
		return &Error{Code: endOf(ctxErr), Err: ctxErr}
	}
	return &Error{Code: ConnectionReset, Err: err}
}

// endOf is the code of an exchange whose context has ended.
func endOf(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return TotalLimit
	}
	return Canceled
}

// enter takes part in what Close waits for, and reports false after Close.
func (d *Direct) enter() bool {
	if d.running.Add(1)&directEnded != 0 {
		d.leave()
		return false
	}
	return true
}

func (d *Direct) leave() {
	if d.running.Add(-1) == directEnded {
		d.once.Do(func() { close(d.done) })
	}
}

func (d *Direct) pool(host string) *pool {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.pools[host]
	if p == nil {
		p = newPool(d, host)
		d.pools[host] = p
	}
	return p
}

// adopt takes a new connection into care, and reports false after Close.
func (d *Direct) adopt(c *wire) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.life.Err() != nil {
		return false
	}
	d.wires[c] = struct{}{}
	return true
}

func (d *Direct) forget(c *wire) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.wires, c)
}

// dialStandard makes connections for the Standard. One that turned out to be of no use here is used up first.
func (d *Direct) dialStandard(ctx context.Context, network, addr string) (net.Conn, error) {
	d.mu.Lock()
	for _, p := range d.pools {
		if c := p.probed.Load(); c != nil && p.addr == addr && p.probed.CompareAndSwap(c, nil) {
			d.mu.Unlock()
			return *c, nil
		}
	}
	d.mu.Unlock()
	return d.dialer(ctx, network, addr)
}

// Close implements [Transport].
func (d *Direct) Close() error {
	if d.running.Or(directEnded) == 0 {
		d.once.Do(func() { close(d.done) })
	}
	d.mu.Lock()
	d.end() // nothing is adopted any more
	cut := make([]*wire, 0, len(d.wires))
	for c := range d.wires {
		cut = append(cut, c)
	}
	pools := make([]*pool, 0, len(d.pools))
	for _, p := range d.pools {
		pools = append(pools, p)
	}
	d.mu.Unlock()
	for _, c := range cut {
		c.cut(Closed, 0)
	}
	for _, p := range pools {
		p.close()
	}
	<-d.done
	for _, p := range pools {
		p.close() // what was put back meanwhile
	}
	return d.std.Close()
}
