package mirror

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/internal/respw"
	"github.com/gatehouse-go/gateway/policy"
)

// overhead is what a copy is taken to hold beside its head, its body and its answers.
const overhead = 4 << 10

// copyKey is in the context of a copy, so that none is made of it, by whichever Mirror.
type copyKey struct{}

// duplicate is a request that is copied, from when it is chosen until its answers have been compared.
type duplicate struct {
	m *Mirror
	r *http.Request    // the copy
	x *policy.Exchange // and its
	// For differences.
	id, method, route, path string

	announce http.Header // the trailers of the request, which has their values when its body has been read
	declared int64       // the length of the body; -1 when that is not known
	complete bool        // it has no body

	mu       sync.Mutex
	state    state
	body     []byte
	held     int64
	deadline time.Time

	// With Config.Compare.
	real, shadow         *answer
	w                    *respw.Writer
	before               func([]byte, error)
	unwatched            bool // the handler has returned; for its goroutine
	realDone, shadowDone bool
	useless              atomic.Bool // there is nothing to compare with
}

// state is how far the copy is.
type state uint8

const (
	reading state = iota // the body
	ready                // handed over
	over                 // dropped, or done with
)

// copyOf returns a copy of r, or why there is none.
func (m *Mirror) copyOf(r *http.Request) (*duplicate, reason) {
	hasBody := r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0
	switch {
	case m.root.Err() != nil:
		return nil, closed
	case hasBody && r.ContentLength > m.cfg.MaxBody, hasBody && m.cfg.MaxBody < 0:
		return nil, bodyTooLarge
	}
	if !hasBody { // spares the copying
		if why := m.pool.full(); why != none {
			return nil, why
		}
	}
	c := &duplicate{m: m, announce: r.Trailer, declared: r.ContentLength, complete: !hasBody}
	if !m.hold(&c.held, overhead+headBytes(r)) {
		return nil, bytesHeld
	}
	out := r.Clone(context.WithValue(context.WithoutCancel(r.Context()), copyKey{}, true))
	out.Body, out.GetBody = http.NoBody, nil
	out.Form, out.PostForm, out.MultipartForm = nil, nil, nil // of which the files go with the request
	if out.Header == nil {
		out.Header = http.Header{}
	}
	for _, name := range m.cfg.DropHeaders {
		delete(out.Header, name)
	}
	delete(out.Header, "Expect")        // nothing is waited for
	canonical.DropNominated(out.Header) // before the mark is there, which a client could have taken away otherwise
	delete(out.Header, "Connection")    // which is about another connection
	c.x, c.r = policy.DuplicateExchange(out)
	c.id, c.method, c.route, c.path = c.x.RequestID(), out.Method, c.x.Route(), c.x.Path()
	if c.path == "" && r.URL != nil {
		c.path = r.URL.EscapedPath()
	}
	if m.cfg.DropIdentity {
		c.x.SetIdentity(policy.Identity{})
	}
	if !m.cfg.SkipHeader {
		c.r.Header[m.cfg.Header] = []string{c.id}
		if c.x.Path() == "" { // without an Entry outside there is one in the upstream, which believes nobody
			c.x.OnTry(mark{m.cfg.Header, c.id})
		}
	}
	return c, none
}

// mark sets the field in the requests of an upstream.
type mark struct{ name, value string }

// BeginTry implements [policy.TryHook].
func (k mark) BeginTry(ctx context.Context, t *policy.Try) context.Context {
	t.Out.Header[k.name] = []string{k.value}
	return ctx
}

// EndTry implements [policy.TryHook].
func (mark) EndTry(context.Context, *policy.Try) {}

// headBytes is about what the head of r takes.
func headBytes(r *http.Request) int64 {
	n := len(r.RequestURI) + len(r.Host) + headerBytes(r.Header) + headerBytes(r.Trailer)
	if r.URL != nil {
		n += len(r.URL.Path) + len(r.URL.RawPath) + len(r.URL.RawQuery)
	}
	return int64(n)
}

func headerBytes(h http.Header) (n int) {
	const each = 16 // the head of a string
	for name, values := range h {
		n += len(name) + 3*each
		for _, v := range values {
			n += len(v) + each
		}
	}
	return n
}

// hold takes n bytes more of MaxBytes for account, unless they are not there.
func (m *Mirror) hold(account *int64, n int64) bool {
	if m.held.Add(n) > m.cfg.MaxBytes {
		m.held.Add(-n)
		return false
	}
	*account += n
	return true
}

// release gives back what account holds.
func (m *Mirror) release(account *int64) {
	m.held.Add(-*account)
	*account = 0
}

// tee is the body of the request, of which the copy gets what is read.
type tee struct {
	io.ReadCloser

	c *duplicate
}

func (t *tee) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	t.c.read(p[:min(max(n, 0), len(p))], err)
	return n, err
}

// read is told what came of the body. It may be called when the handler has returned.
func (c *duplicate) read(p []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != reading {
		return
	}
	why := c.take(p)
	switch n := int64(len(c.body)); {
	case why != none:
	case n == c.declared && len(c.announce) == 0, (n == c.declared || c.declared < 0) && errors.Is(err, io.EOF): // trailers come with the end
		why = c.submit()
	case err != nil:
		why = bodyAborted
	}
	if why != none {
		c.drop(why)
	}
}

// take adds p to the body. The caller holds the lock.
func (c *duplicate) take(p []byte) reason {
	need := int64(len(c.body) + len(p))
	if need > c.m.cfg.MaxBody || c.declared >= 0 && need > c.declared {
		return bodyTooLarge
	}
	if room := int64(cap(c.body)); need > room {
		const least = 512
		size := max(need, min(max(2*room, least), c.m.cfg.MaxBody))
		if c.declared >= 0 {
			size = min(size, c.declared)
		}
		if !c.m.hold(&c.held, size-room) {
			return bytesHeld
		}
		body := make([]byte, len(c.body), size)
		copy(body, c.body)
		c.body = body
	}
	c.body = append(c.body, p...)
	return none
}

// submit hands a complete copy over, or says why not. The caller holds the lock, where others may know of c.
func (c *duplicate) submit() reason {
	if len(c.body) > 0 || c.declared < 0 && !c.complete {
		c.r.Body = io.NopCloser(bytes.NewReader(c.body))
	}
	for name := range c.r.Trailer { // those that were announced
		c.r.Trailer[name] = slices.Clone(c.announce[name])
	}
	c.announce = nil
	c.deadline = time.Now().Add(c.m.cfg.Timeout)
	c.state = ready
	why := c.m.pool.add(job{c: c})
	if why != none && c.complete {
		c.discard()
	}
	return why
}

// drop counts a copy that is not sent, and lets go of it. The caller holds the lock.
func (c *duplicate) drop(why reason) {
	c.m.counts.dropped[why].Add(1)
	c.discard()
}

// discard lets go of the copy. The caller holds the lock, where others may know of c.
func (c *duplicate) discard() {
	c.state, c.body, c.r = over, nil, nil
	c.useless.Store(true)
	c.m.release(&c.held)
}

// left is told that the handler has returned.
func (c *duplicate) left() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == reading {
		c.drop(bodyAborted)
	}
}

// watch looks on while the request is answered through the writer it returns.
func (c *duplicate) watch(w http.ResponseWriter) http.ResponseWriter {
	c.real = newAnswer(c, w.Header())
	c.w = respw.Wrap(w)
	c.w.OnHeader(func(status int, h http.Header) {
		if !c.unwatched { // or somebody further out sends it
			c.real.head(status, h)
		}
	})
	c.before = c.w.Tap(c.saw)
	return c.w
}

func (c *duplicate) saw(p []byte, err error) {
	if c.before != nil {
		c.before(p, err)
	}
	c.real.write(p)
	if err != nil {
		c.real.bad = true
	}
}

// realEnded is told how the request was answered.
func (c *duplicate) realEnded(x *policy.Exchange, r *http.Request, returned bool) {
	c.w.Tap(c.before)
	c.unwatched = true
	c.left()
	a := c.real
	switch {
	case c.useless.Load():
	case !returned, c.w.Broken(), c.w.Hijacked(), x.GatewayMade(), r.Context().Err() != nil:
		a.bad = true
	default:
		if a.status == 0 {
			a.head(http.StatusOK, c.w.Header())
		}
		a.end(c.w.Header())
	}
	c.w = nil
	c.mu.Lock()
	defer c.mu.Unlock()
	c.realDone = true
	switch {
	case c.useless.Load():
		a.free()
	case a.bad:
		c.settle(incomparable)
	case c.shadowDone && c.m.pool.add(job{c, true}) != none:
		c.settle(incomparable)
	}
}

// shadowEnded is told that the copy has been answered, or never will be, by a worker, and compares the answers if there are two.
func (c *duplicate) shadowEnded(whole bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state, c.body, c.r, c.x = over, nil, nil, nil
	c.shadowDone = true
	if c.m.cfg.Compare == nil {
		c.m.release(&c.held)
		return
	}
	switch {
	case c.useless.Load():
		c.m.release(&c.held)
		c.shadow.free()
	case !whole || c.shadow.bad:
		c.settle(incomparable)
	case c.realDone:
		c.mu.Unlock()
		c.judge()
		c.mu.Lock()
	}
}

// settle counts what came of a comparison, and lets go of all. The caller holds the lock.
func (c *duplicate) settle(v verdict) {
	if c.useless.Swap(true) {
		return
	}
	switch v {
	case incomparable:
		c.m.counts.incomparable.Add(1)
	case equal:
		c.m.counts.equal.Add(1)
	case different:
		c.m.counts.different.Add(1)
	}
	if c.shadowDone {
		c.m.release(&c.held)
		c.shadow.free()
	}
	if c.realDone {
		c.real.free()
	}
}
