package transport

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// pool holds the connections to one target. The one used last is used next, so that those not needed grow old.
type pool struct {
	d    *Direct
	addr string // to dial

	probed atomic.Pointer[net.Conn] // a connection that only a Standard can use

	mu       sync.Mutex
	idle     []*wire // the one used last is last
	open     int     // connections, those being dialled included
	waiters  []*waiter
	retired  bool // there is another one for its target, or none
	use      use
	reaper   *time.Timer // nil until something was idle
	reaping  bool        // it runs
	uploads  map[*wire]struct{}
	shedding time.Time // when uploads were last looked at
}

// use says what is known of the connections that the application's dialer makes.
type use uint8

const (
	unknown use = iota
	probing     // somebody makes the first one
	direct
	opaque // their sockets cannot be looked into
)

// waiter waits for a connection.
type waiter struct{ ready chan grant }

// grant is a connection, or, without one, the right to look again: to dial, most likely.
type grant struct {
	c    *wire
	dial bool // the connection to be dialled is counted already
}

var (
	errOpaque  = errors.New("transport: the connection's socket cannot be looked into")
	errRetired = errors.New("transport: the pool is used no more")
	errWait    = errors.New("transport: no connection became free in time")
)

func newPool(d *Direct, host string) *pool {
	p := &pool{d: d, addr: dialAddr(host), use: direct}
	switch {
	case !canPeek:
		p.use = opaque
	case d.anyDialer:
		p.use = unknown
	}
	return p
}

// dialAddr is the address of the host of a URL.
func dialAddr(host string) string {
	u := url.URL{Host: host}
	if port := u.Port(); port != "" {
		return net.JoinHostPort(u.Hostname(), port)
	}
	return net.JoinHostPort(u.Hostname(), "80")
}

// acquire returns a connection for an exchange: one that was kept, which may be unfit, or a new one, unless fresh only those
// that are new. It waits when there are as many as there may be, until due at the latest, which it sets if it is zero.
func (p *pool) acquire(ctx context.Context, l Limits, fresh bool, ends *time.Time) (*wire, error) {
	due := *ends
	defer func() { *ends = due }()
	for {
		p.mu.Lock()
		if p.retired {
			p.mu.Unlock()
			return nil, errRetired
		}
		if p.use == opaque {
			p.mu.Unlock()
			return nil, errOpaque
		}
		full := p.d.maxConns > 0 && p.open >= p.d.maxConns
		if c, usable := p.take(fresh || full); c != nil {
			p.mu.Unlock()
			if usable && !fresh {
				return c, nil
			}
			p.drop(c)
			continue
		}
		if due.IsZero() && l.Connect > 0 {
			due = time.Now().Add(l.Connect)
		}
		if p.use != probing && !full {
			p.open++
			if p.use == unknown {
				p.use = probing
			}
			p.mu.Unlock()
			return p.dial(ctx, l, due)
		}
		w := &waiter{make(chan grant, 1)}
		p.waiters = append(p.waiters, w)
		p.mu.Unlock()
		g, err := p.wait(ctx, w, l, due)
		switch {
		case err != nil:
			return nil, err
		case g.c != nil:
			return g.c, nil
		case g.dial:
			return p.dial(ctx, l, due)
		}
	}
}

// settling is how long a connection rests after an answer without a body, to a request or with a status that does not have
// one, behind which the target might send one all the same (RFC 9110 section 6.4.1): it is there by then, also where
// it waits for the head to be acknowledged, and the connection is given up.
const settling = 100 * time.Millisecond

// take takes an idle connection out: the one used last of those that may be used, or else, if give is set, one to give up.
// The caller holds the lock.
func (p *pool) take(give bool) (c *wire, usable bool) {
	var now time.Time
	for i, c := range slices.Backward(p.idle) {
		if c.doubt {
			if now.IsZero() {
				now = time.Now()
			}
			if now.Sub(c.since) < settling {
				continue
			}
		}
		p.idle = slices.Delete(p.idle, i, i+1)
		return c, true
	}
	if !give || len(p.idle) == 0 {
		return nil, false
	}
	c = p.idle[0]
	p.idle = slices.Delete(p.idle, 0, 1)
	return c, false
}

// wait returns what w is granted.
func (p *pool) wait(ctx context.Context, w *waiter, l Limits, due time.Time) (grant, error) {
	limit, code := due, ConnectTimeout
	if !l.Deadline.IsZero() && (limit.IsZero() || l.Deadline.Before(limit)) {
		limit, code = l.Deadline, TotalLimit
	}
	var expired <-chan time.Time
	if !limit.IsZero() {
		t := time.NewTimer(time.Until(limit))
		defer t.Stop()
		expired = t.C
	}
	look := time.NewTicker(shedAfter)
	defer look.Stop()
	for {
		select {
		case g := <-w.ready:
			return g, nil
		case now := <-look.C:
			p.shed(now)
			continue
		case <-expired:
			p.abandon(w)
			return grant{}, &Error{Code: code, Err: errWait}
		case <-ctx.Done():
			p.abandon(w)
			return grant{}, &Error{Code: endOf(ctx.Err()), Err: ctx.Err()}
		case <-p.d.life.Done():
			p.abandon(w)
			return grant{}, &Error{Code: Closed, Err: net.ErrClosed}
		}
	}
}

// abandon takes w out of the line, and passes on what it was granted meanwhile.
func (p *pool) abandon(w *waiter) {
	p.mu.Lock()
	if i := slices.Index(p.waiters, w); i >= 0 {
		p.waiters = slices.Delete(p.waiters, i, i+1)
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	switch g := <-w.ready; {
	case g.c != nil:
		p.put(g.c)
	case g.dial:
		p.vacate()
	}
}

// next takes the first waiter out of the line. The caller holds the lock.
func (p *pool) next() *waiter {
	if len(p.waiters) == 0 {
		return nil
	}
	w := p.waiters[0]
	p.waiters = slices.Delete(p.waiters, 0, 1)
	return w
}

// giveBack gives back a connection that was acquired and not used.
func (p *pool) giveBack(c *wire) {
	if c.since.IsZero() {
		c.since = c.born
	}
	p.put(c)
}

// put gives a connection to who waits for one, or keeps it for the next.
func (p *pool) put(c *wire) {
	if p.d.life.Err() != nil || p.d.maxAge > 0 && c.since.Sub(c.born) >= p.d.maxAge {
		p.drop(c)
		return
	}
	p.mu.Lock()
	if len(p.waiters) > 0 {
		if c.doubt { // who waits dials
			p.mu.Unlock()
			p.drop(c)
			return
		}
		w := p.next()
		p.mu.Unlock()
		w.ready <- grant{c: c}
		return
	}
	if len(p.idle) >= p.d.maxIdle {
		p.mu.Unlock()
		p.drop(c)
		return
	}
	p.idle = append(p.idle, c)
	if p.d.idleTime > 0 && !p.reaping {
		p.reaping = true
		if p.reaper == nil {
			p.reaper = time.AfterFunc(p.d.idleTime, p.reap)
		} else {
			p.reaper.Reset(p.d.idleTime)
		}
	}
	p.mu.Unlock()
}

// reap closes what has been idle for too long.
func (p *pool) reap() {
	p.mu.Lock()
	now := time.Now()
	n := 0
	for n < len(p.idle) && now.Sub(p.idle[n].since) >= p.d.idleTime {
		n++
	}
	old := slices.Clone(p.idle[:n])
	p.idle = slices.Delete(p.idle, 0, n)
	if p.reaping = len(p.idle) > 0; p.reaping {
		p.reaper.Reset(p.idle[0].since.Add(p.d.idleTime).Sub(now))
	}
	p.mu.Unlock()
	for _, c := range old {
		p.drop(c)
	}
}

// drop closes a connection and gives its place to who waits for one.
func (p *pool) drop(c *wire) {
	if t, ok := c.Conn.(*net.TCPConn); ok && c.doubt {
		_ = t.SetLinger(0) // or answers to HEAD could use up the ports, each of which the system keeps back for a minute
	}
	_ = c.Conn.Close() // it is given up either way
	p.d.forget(c)
	p.vacate()
}

// vacate gives up the place of a connection.
func (p *pool) vacate() {
	p.mu.Lock()
	w := p.next()
	if w == nil {
		p.open--
	}
	p.mu.Unlock()
	if w != nil {
		w.ready <- grant{dial: true}
	}
}

// dial makes a connection, whose place is counted already.
func (p *pool) dial(ctx context.Context, l Limits, due time.Time) (*wire, error) {
	limit, code := due, ConnectTimeout
	if !l.Deadline.IsZero() && (limit.IsZero() || l.Deadline.Before(limit)) {
		limit, code = l.Deadline, TotalLimit
	}
	var dctx context.Context
	var cancel context.CancelFunc
	if limit.IsZero() {
		dctx, cancel = context.WithCancel(ctx)
	} else {
		dctx, cancel = context.WithDeadline(ctx, limit)
	}
	stop := context.AfterFunc(p.d.life, cancel)
	returned := false
	defer func() {
		if !returned { // the application's dialer panicked
			stop()
			cancel()
			p.settle(nil)
			p.vacate()
		}
	}()
	raw, err := p.d.dialer(dctx, "tcp", p.addr)
	returned = true
	if err == nil && raw == nil {
		err = errDialNil
	}
	if err != nil {
		switch ctxErr := ctx.Err(); {
		case p.d.life.Err() != nil:
			code = Closed
		case ctxErr != nil:
			code = endOf(ctxErr)
		case dctx.Err() == nil: // else it is the limit that was set
			code = dialCode(dctx, err)
		}
	}
	stop()
	cancel()
	if err != nil {
		p.settle(nil)
		p.vacate()
		return nil, &Error{Code: code, Err: err}
	}
	c := newWire(raw, p)
	if !p.settle(c) {
		if other := p.probed.Swap(&raw); other != nil {
			_ = (*other).Close()
		}
		p.vacate()
		return nil, errOpaque
	}
	if !p.d.adopt(c) {
		p.drop(c)
		return nil, &Error{Code: Closed, Err: net.ErrClosed}
	}
	return c, nil
}

// settle learns from the first connection of an application's dialer, and lets those go on that wait for that. It reports
// false for one that cannot be used here.
func (p *pool) settle(c *wire) bool {
	p.mu.Lock()
	var woken []*waiter
	if p.use == probing {
		switch {
		case c == nil:
			p.use = unknown
		case c.under == nil:
			p.use = opaque
		default:
			p.use = direct
		}
		woken, p.waiters = p.waiters, nil // they look again
	}
	usable := p.use != opaque && (c == nil || c.under != nil)
	p.mu.Unlock()
	for _, w := range woken {
		w.ready <- grant{}
	}
	return usable
}

// retire ends a pool without connections, and reports whether it was one. What was found out about those of an application's dialer
// is not found out again.
func (p *pool) retire() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retired = p.use == direct && p.open == 0 && len(p.waiters) == 0 && p.probed.Load() == nil
	return p.retired
}

// close closes what is idle.
func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle = nil
	if p.reaper != nil {
		p.reaper.Stop()
	}
	p.mu.Unlock()
	for _, c := range idle {
		p.drop(c)
	}
	if c := p.probed.Swap(nil); c != nil {
		_ = (*c).Close()
	}
}

// uploading and uploaded keep the list of exchanges whose request body is on its way.
func (p *pool) uploading(c *wire) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.uploads == nil {
		p.uploads = map[*wire]struct{}{}
	}
	p.uploads[c] = struct{}{}
}

func (p *pool) uploaded(c *wire) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.uploads, c)
}

// shed makes room, as Standard.shed does.
func (p *pool) shed(now time.Time) {
	type slow struct {
		c        *wire
		exchange uint64
		rate     float64
	}
	p.mu.Lock()
	if now.Sub(p.shedding) < shedPause || p.open < p.d.maxConns {
		p.mu.Unlock()
		return
	}
	p.shedding = now
	var list []slow
	for c := range p.uploads {
		if exchange, rate, ok := c.inVain(now); ok {
			list = append(list, slow{c, exchange, rate})
		}
	}
	waiting := len(p.waiters)
	p.mu.Unlock()
	slices.SortFunc(list, func(x, y slow) int { return cmp.Compare(x.rate, y.rate) })
	for _, s := range list[:min(len(list), waiting)] {
		s.c.cut(UploadTooSlow, s.exchange)
	}
}
