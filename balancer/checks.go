package balancer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"
)

// checks are the checks of a pool.
type checks struct {
	Active

	ctx    context.Context
	cancel context.CancelFunc
	over   bool // guarded by the pool
	slots  chan struct{}
	wg     sync.WaitGroup // of those under way
}

func newChecks(c Active) *checks {
	k := &checks{Active: c, slots: make(chan struct{}, c.Concurrency)}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	if k.Dial == nil {
		k.Dial = new(net.Dialer).DialContext
	}
	return k
}

// checking is what is known about the checks of a member. It is guarded by the pool.
type checking struct {
	timer     *time.Timer // of the next check; nil while there is one, or none is to come
	successes int         // in a row
	rows      [kinds]int  // of failures

	at   time.Time     // of the last check
	took time.Duration // which it took
	err  error         // which it returned
}

// checksBringBack reports whether what is out is checked, and comes back by that.
func (p *Pool) checksBringBack() bool {
	return p.checks != nil && !p.checks.over && p.checks.UnhealthyInterval > 0 && p.checks.Successes > 0
}

// begin has checks made from now on.
func (p *Pool) begin(k *checks) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.checks = k
	if s := p.state.Load(); s != nil {
		p.checkAll(s.members, nil)
	}
}

// EndChecks ends the active checks for good, those under way too, without waiting for them. Targets keep the state that they have,
// until time or requests change it: it is for a pool that only requests in flight still use. It may be called at any time.
func (p *Pool) EndChecks() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.checks == nil || p.closed {
		return
	}
	for _, m := range slices.Concat(p.state.Load().members, p.draining) {
		p.uncheck(m)
	}
	p.checks.over = true
	p.checks.cancel()
}

// checkAll begins the checks of the members that take traffic, and ends those of others. p.mu is held.
func (p *Pool) checkAll(members, removed []*Member) {
	if p.checks == nil || p.checks.over || p.closed {
		return
	}
	for _, m := range removed {
		p.uncheck(m)
	}
	for _, m := range members {
		switch r := &m.record; {
		case m.placed().weight == 0:
			p.uncheck(m)
		case r.check == nil:
			r.check = &checking{}
			p.schedule(m, rand.N(min(max(p.checks.Interval, p.checks.UnhealthyInterval), time.Second)/4+1)) //nolint:gosec // G404: no secret
		}
	}
}

func (p *Pool) uncheck(m *Member) {
	if c := m.record.check; c != nil {
		if c.timer != nil {
			c.timer.Stop()
		}
		m.record.check = nil
	}
}

// schedule has m checked after d. p.mu is held.
func (p *Pool) schedule(m *Member, d time.Duration) {
	if p.interval(m) < 0 {
		return
	}
	c := m.record.check
	c.timer = time.AfterFunc(d, func() { p.check(m, c) })
}

// interval returns the time between two checks of m.
func (p *Pool) interval(m *Member) time.Duration {
	if m.state() == Healthy {
		return p.checks.Interval
	}
	return p.checks.UnhealthyInterval
}

// reschedule has the next check of m made when its state asks for it. p.mu is held.
func (p *Pool) reschedule(m *Member) {
	c := m.record.check
	if p.checks == nil || p.closed || c == nil {
		return
	}
	if c.timer != nil && !c.timer.Stop() {
		return // it is about to be made, and comes here again
	}
	c.timer = nil
	const shares = 10
	d := p.interval(m)
	p.schedule(m, d-d/shares+rand.N(max(2*d/shares, 0)+1)) //nolint:gosec // G404: no secret
}

// check makes a check, if c is still what is known about those of m.
func (p *Pool) check(m *Member, c *checking) {
	k := p.checks
	p.mu.Lock()
	if p.closed || m.record.check != c {
		p.mu.Unlock()
		return
	}
	k.wg.Add(1)
	ejections := m.record.ejections
	p.mu.Unlock()
	defer p.follow() // whoever is told may close the pool
	defer k.wg.Done()

	select {
	case k.slots <- struct{}{}:
	case <-k.ctx.Done():
		return
	}
	at := time.Now()
	err := k.ask(m, p.Socket)
	took := time.Since(at)
	<-k.slots

	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || m.record.check != c {
		return
	}
	c.timer, c.at, c.took, c.err = nil, at, took, err
	if err != nil || ejections == m.record.ejections { // a success from before an ejection says nothing
		p.checked(m, c, p.home.since(time.Now()))
	}
	if c.timer == nil {
		p.reschedule(m)
	}
}

// ask calls the Checker. One that panics has found a failure.
func (k *checks) ask(m *Member, socket func(address string) string) (err error) {
	ctx, cancel := context.WithTimeout(k.ctx, k.Timeout)
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("balancer: the Checker panicked: %v", v)
		}
	}()
	c := Check{Target: m.asTarget(), URL: m.url, ServerName: serverName(m.Host())}
	network, to := "tcp", address(m.url)
	if c.Target.Socket = socket(to); c.Target.Socket != "" {
		network, to = "unix", c.Target.Socket
	}
	c.Dial = func(ctx context.Context) (net.Conn, error) { return k.Dial(ctx, network, to) }
	if k.TLS != nil {
		c.TLS = k.TLS()
	}
	err = k.Checker.Check(ctx, c)
	if late := ctx.Err(); late != nil { // what came too late does not count, and what it is called neither
		if err == nil {
			return late
		}
		return fmt.Errorf("%w: %v", late, err) //nolint:errorlint // see above
	}
	return err
}

// kindOf returns what the error of a check counts as.
func (k *checks) kindOf(err error) kind {
	var answered *AnswerError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &answered):
		return answer
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT): // a Unix socket that its server has removed
		return k.Failures.counted(refused)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return timeouts
	}
	return tcp
}

// checked takes in the result of a check. p.mu is held.
func (p *Pool) checked(m *Member, c *checking, now time.Duration) {
	r := &m.record
	switch {
	case errors.Is(c.err, ErrInconclusive):
	case c.err != nil:
		kind := p.checks.kindOf(c.err)
		c.successes = 0
		c.rows[kind]++
		if !r.failing && c.rows[kind] >= p.checks.Failures.limit(kind) {
			why := cause{reason: kind.reason(), err: c.err}
			if answered := (*AnswerError)(nil); errors.As(c.err, &answered) {
				why.status = answered.Status
			}
			before := m.state()
			r.failing = true
			p.changed(m, before, why, now)
		}
	default:
		c.rows = [kinds]int{}
		if m.state() == Healthy {
			return
		}
		c.successes++
		if p.checks.Successes < 0 || c.successes < p.checks.Successes {
			return
		}
		before := m.state()
		if !r.byAnswer || now >= r.until {
			p.readmit(m, now)
		}
		if r.failing {
			r.failing = false
			r.restart(now, true)
		}
		p.changed(m, before, cause{reason: reasonChecks}, now)
	}
}
