package balancer

import (
	"fmt"
	"time"
)

// HealthState is what a pool knows about the health of a target.
type HealthState uint8

// The states. The zero HealthState is Healthy, which a target is until something speaks against it.
const (
	Healthy HealthState = iota
	Ejected             // because of what became of requests
	Failing             // its checks fail
)

// String returns "healthy", "ejected" or "failing".
func (s HealthState) String() string {
	switch s {
	case Healthy:
		return "healthy"
	case Ejected:
		return "ejected"
	case Failing:
		return "failing"
	}
	return "unknown"
}

// MarshalText writes what String returns, in JSON and elsewhere. The error is nil.
func (s HealthState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// HealthChange is a change of the state of a target.
type HealthChange struct {
	// Target is the URL of the target, Number counts the changes in its pool, from 1.
	Target string
	Number uint64
	// At is when it changed, From and To what it was and is.
	At       time.Time
	From, To HealthState
	// Reason is one of
	//   - "connect_refused", "tcp_failures", "timeouts", "http_failures": so many in a row, of requests or of checks,
	//   - "failure_rate": the rule of that name,
	//   - "failed_on_probation": it was back, and the first request that said something failed,
	//   - "checks_succeeded", "ejection_over", "request_succeeded": it is back.
	Reason string
	// EjectedFor is how long it is out, if it was ejected. Ejections counts that.
	EjectedFor time.Duration
	Ejections  uint64
	// Status and Err are those of the last failure. Err may quote addresses and what a target sent; it is for logs.
	Status int
	Err    error
	// Pool is what the change means for the pool.
	Pool PoolHealth
}

// String says the change on one line, without Err, such as
//
//	http://10.0.0.1:8080: healthy to ejected for 10s: timeouts; 2 of 3 are healthy
func (c HealthChange) String() string {
	s := c.Target + ": " + c.From.String() + " to " + c.To.String()
	if c.EjectedFor > 0 {
		s += " for " + c.EjectedFor.Round(time.Millisecond).String()
	}
	s += ": " + c.Reason
	if c.Status != 0 {
		s += fmt.Sprintf(", last status %d", c.Status)
	}
	s += fmt.Sprintf("; %d of %d are healthy", c.Pool.Healthy, c.Pool.Targets)
	switch {
	case c.Pool.Panic:
		s += ", all get requests"
	case c.Pool.Refusing:
		s += ", requests are refused"
	}
	return s
}

// PoolHealth is what the health of its targets means for a pool.
type PoolHealth struct {
	// Targets is how many targets there are that should get requests, Healthy how many of them are.
	Targets, Healthy int
	// Share is the share of their weight that is healthy.
	Share float64
	// Panic: targets get requests whether they are healthy or not, by Health.Panic.
	Panic bool
	// Refusing: no request gets a target, by Health.MinHealthy, or because there is none.
	Refusing bool
}

// Health returns what the health of the targets means for the pool.
func (p *Pool) Health() PoolHealth {
	if p == nil || p.state.Load() == nil {
		return PoolHealth{Refusing: true}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.overall
}

// state returns what is known about the health of m. The pool is locked.
func (m *Member) state() HealthState {
	switch r := &m.record; {
	case r.failing:
		return Failing
	case r.ejected.Load():
		return Ejected
	}
	return Healthy
}

// cause is why a state changes.
type cause struct {
	reason string
	status int
	err    error
	out    time.Duration // for how long
}

// changed brings the pool up to date after a change of m, which was in the state before. p.mu is held.
func (p *Pool) changed(m *Member, before HealthState, why cause, now time.Duration) {
	p.refresh()
	p.reschedule(m)
	state := m.state()
	if state == before {
		return
	}
	m.record.was = stateOf{since: now, reason: why.reason}
	if m.leaving.Load() { // nobody counts it among the targets any more
		return
	}
	p.changes++
	if p.onChange == nil {
		return
	}
	p.pending.Add(HealthChange{
		Target: m.target, Number: p.changes, At: p.home.at(now), From: before, To: state, Reason: why.reason,
		EjectedFor: why.out, Ejections: m.record.ejections, Status: why.status, Err: why.err, Pool: p.overall,
	})
}

// follow does what a change asks for: the picker is renewed, and somebody told. It is called without the lock.
func (p *Pool) follow() {
	p.renew()
	if p.onChange != nil {
		p.pending.Tell(p.onChange)
	}
}
