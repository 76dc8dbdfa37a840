package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Direct is a [Transport] that speaks HTTP/1.1 over plain TCP on the goroutine that sends: it writes the request, waits and
// reads on it, and keeps for each connection all an exchange needs. What it does not speak goes over a [Standard]: TLS and
// HTTP/2, requests with Expect or Upgrade, and connections of Config.Dial whose socket cannot be looked into.
//
// An answer, its header, its body and its trailers belong to one goroutine, and to nobody once the body was closed: the next
// exchange on the connection reuses them. Values of fields may be kept.
//
// A request is sent again, over another connection and at last over a new one, when a kept one turns out to be dead before the
// first byte of an answer: without a body, and with a method that is safe, as by a Standard, or where Limits.Again allows it.
type Direct struct {
	std       *Standard
	dialer    func(ctx context.Context, network, addr string) (net.Conn, error)
	anyDialer bool // the dialer is the application's
	maxConns  int
	maxIdle   int
	idleTime  time.Duration
	maxAge    time.Duration
	maxHeader int

	life context.Context // ends with Close
	end  context.CancelFunc

	running atomic.Int64 // exchanges, and ended once Close was called
	done    chan struct{}
	once    sync.Once

	smallBodies sync.Pool // *smallBody
	uploads     sync.Pool // *uploadBuffer

	pools atomic.Pointer[map[string]*pool] // by the host of a URL; a map never changes

	mu      sync.Mutex
	wires   map[*wire]struct{}
	sweepAt int // when there are so many pools, those that nobody uses go
}

// fewPools is up to how many pools are kept that nobody uses.
const fewPools = 64

// directEnded marks a Direct that was closed, in a bit that the number of exchanges cannot reach.
const directEnded = 1 << 62

// NewDirect returns a Direct. c.MaxHeaderBytes must not be negative.
func NewDirect(c Config) *Direct {
	d := &Direct{
		dialer: c.Dial, anyDialer: c.Dial != nil,
		maxConns: max(orDefault(c.MaxConns, DefaultMaxConns), 0), maxIdle: max(orDefault(c.MaxIdleConns, DefaultMaxIdleConns), 0),
		idleTime: max(orDefault(c.IdleTimeout, DefaultIdleTimeout), 0), maxAge: max(orDefault(c.MaxAge, DefaultMaxAge), 0),
		maxHeader: int(orDefault(c.MaxHeaderBytes, DefaultMaxHeaderBytes)),
		done:      make(chan struct{}), wires: map[*wire]struct{}{},
	}
	d.smallBodies.New, d.uploads.New = emptySmallBody, emptyUploadBuffer
	if d.dialer == nil {
		d.dialer = NewDialer().DialContext
	}
	d.pools.Store(&map[string]*pool{})
	d.life, d.end = context.WithCancel(context.Background())
	c.Dial = d.dialStandard
	d.std = NewStandard(c)
	return d
}

// Field is a header field.
type Field struct{ Name, Value string }

// Send implements [Transport].
func (d *Direct) Send(out *http.Request, l Limits) (*Answer, error) {
	if d.std.clear != nil || out.URL.Scheme != "http" || len(out.Header["Expect"]) > 0 || asksToSwitch(out) {
		return d.std.Send(out, l)
	}
	return d.send(out, nil, l)
}

// SendFields is Send for a request whose header is in fields, which spares a map. Its own header is empty, and not nil; none
// of the fields is Expect.
func (d *Direct) SendFields(out *http.Request, fields []Field, l Limits) (*Answer, error) {
	if d.std.clear != nil || out.URL.Scheme != "http" {
		return d.sendStandard(out, fields, l)
	}
	return d.send(out, fields, l)
}

// sendStandard sends a request over the Standard.
func (d *Direct) sendStandard(out *http.Request, fields []Field, l Limits) (*Answer, error) {
	for _, f := range fields {
		out.Header[f.Name] = append(out.Header[f.Name], f.Value)
	}
	if _, ok := out.Header["User-Agent"]; fields != nil && !ok {
		out.Header["User-Agent"] = nil // net/http would send its own
	}
	return d.std.Send(out, l)
}

func (d *Direct) send(out *http.Request, fields []Field, l Limits) (*Answer, error) {
	body := out.Body
	if body == http.NoBody {
		body = nil
	}
	if !d.enter() {
		closeBody(body)
		return nil, &Error{Code: Closed, Err: net.ErrClosed}
	}
	entered := true
	defer func() { // also when the dialer or the receiver panics
		if entered {
			d.leave()
		}
	}()
	var inline *smallBody
	defer func() {
		if inline != nil {
			d.release(inline)
		}
	}()
	small := body != nil && out.ContentLength > 0 && out.ContentLength <= maxInline
	p := d.pool(out.URL.Host)
	var due time.Time // of the wait for a connection
	for try := 0; ; {
		c, err := p.acquire(out.Context(), l, l.Fresh || try == maxStale, &due)
		if err == errRetired { //nolint:errorlint // the very value
			p = d.pool(out.URL.Host)
			continue
		}
		if err == errOpaque { //nolint:errorlint // the very value
			entered = false
			d.leave()
			if out.Body = body; inline != nil {
				out.Body = &readBody{*bytes.NewReader(bytes.Clone(inline.bytes())), body}
			}
			return d.sendStandard(out, fields, l)
		}
		if err != nil {
			closeBody(body)
			return nil, err
		}
		if small { // not before there is a connection: what is unread can go elsewhere
			small = false
			s := d.newSmallBody(body, out.ContentLength)
			switch whole, err := s.isWhole(); {
			case err != nil:
				p.giveBack(c)
				_ = body.Close()
				return nil, unreadBody(out.Context(), err)
			case whole:
				inline = s
			default:
				body = s
			}
		}
		stale := c.used
		res, failed := c.exchange(out, fields, body, inline, l)
		if failed == nil {
			entered = false // the body of the answer leaves
			return res, nil
		}
		if failed.Err == errUnfit { //nolint:errorlint // the very value: nothing was sent
			continue
		}
		again := body == nil && (l.Again || isSafe(out.Method))
		if failed.Code == StaleConnection && stale && try < maxStale && again && out.Context().Err() == nil {
			try++
			continue
		}
		closeBody(body)
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
	return &Error{Code: bodyFailure(err), Err: err}
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
	if p := (*d.pools.Load())[host]; p != nil {
		return p
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	pools := *d.pools.Load()
	if p := pools[host]; p != nil {
		return p
	}
	pools = maps.Clone(pools)
	if len(pools) >= max(d.sweepAt, fewPools) { // targets come and go
		maps.DeleteFunc(pools, func(_ string, p *pool) bool { return p.retire() })
		d.sweepAt = 2 * len(pools)
	}
	p := newPool(d, host)
	pools[host] = p
	d.pools.Store(&pools)
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
	for _, p := range *d.pools.Load() {
		if c := p.probed.Load(); c != nil && p.addr == addr && p.probed.CompareAndSwap(c, nil) {
			return *c, nil
		}
	}
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
	pools := *d.pools.Load()
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
