package split

import (
	"fmt"
	"slices"
	"time"
)

// Reasons of a [Rollback].
const (
	reasonErrors  = "errors"
	reasonLatency = "latency"
)

// Rollback is what a [Rule] did, and why.
type Rollback struct {
	// Name is the Split's, Arm the arm that was worse than Against.
	Name, Arm, Against string
	// At is when it was, Weight what the arm had, of Total.
	At            time.Time
	Weight, Total int
	// Reason is "errors" or "latency".
	Reason string
	// Window is how far back it looked; Requests and Errors are of the arm within it, AgainstRequests and AgainstErrors of the
	// other one.
	Window                         time.Duration
	Requests, Errors               int
	AgainstRequests, AgainstErrors int
	// Latency and AgainstLatency are the 95th percentiles, the first at least and the second at most, of answers that were no errors.
	// 0 where there was none.
	Latency, AgainstLatency time.Duration
	// Status and Err are those of the last request before: no status and no error where it had none. Err may quote addresses
	// and what a target sent; it is for logs.
	Status int
	Err    error
}

// String says it on one line, without Err, such as
//
//	app: canary rolled back to stable, from 5 of 100: errors, 12 of 20 (60.0 %) against 3 of 380 (0.8 %) within 1m0s, last status 500
func (r Rollback) String() string {
	s := fmt.Sprintf("%s: %s rolled back to %s, from %d of %d: %s, ", r.Name, r.Arm, r.Against, r.Weight, r.Total, r.Reason)
	if r.Reason == reasonLatency {
		s += fmt.Sprintf("95 %% within %s of %d requests against %s of %d", r.Latency, r.Requests, r.AgainstLatency, r.AgainstRequests)
	} else {
		c, d := counts{uint64(max(r.Requests, 0)), uint64(max(r.Errors, 0))}, counts{uint64(max(r.AgainstRequests, 0)), uint64(max(r.AgainstErrors, 0))}
		s += fmt.Sprintf("%d of %d (%.1f %%) against %d of %d (%.1f %%)", r.Errors, r.Requests, c.share()*100, r.AgainstErrors, r.AgainstRequests, d.share()*100)
	}
	s += fmt.Sprintf(" within %s", r.Window)
	if r.Status != 0 {
		s += fmt.Sprintf(", last status %d", r.Status)
	}
	return s
}

// Status is a snapshot of a [Split].
type Status struct {
	// Name is the Split's, Arms are its arms in their order.
	Name string
	Arms []ArmStatus
	// Since is when the weights came to be what they are, and Reason why: "" since New, or "weights", "switch", "revert" or "rollback".
	Since  time.Time
	Reason string
	// Changes counts the changes of the weights since New.
	Changes uint64
	// Rollback is the one that is in force; nil for none, also after somebody has set weights.
	Rollback *Rollback
}

// ArmStatus is what an arm does.
type ArmStatus struct {
	// Name is the arm's, Weight its part of the traffic.
	Name   string
	Weight int
	// Requests is how many the arm got since New, Errors how many of them failed, InFlight how many it has now, with tunnels such
	// as WebSockets, but for connections that a handler has taken over and left to somebody else.
	Requests, Errors uint64
	InFlight         int
	// WindowRequests and WindowErrors are those of which it was known within [Rule.Window] how they went.
	WindowRequests, WindowErrors int
	// P50 and P95 are what half, and 95 %, of the latencies within the window do not exceed, within an eighth. 0 where there is none.
	P50, P95 time.Duration
}

// Status returns a snapshot for operators and metrics. It changes nothing. The zero and a nil Split have the zero Status.
func (s *Split) Status() Status {
	if s.ready() == nil {
		return Status{}
	}
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.state.Load()
	out := Status{Name: s.cfg.Name, Since: s.zero.Add(s.since), Reason: s.reason, Changes: s.changes}
	if s.last != nil {
		last := *s.last
		out.Rollback = &last
	}
	for i, a := range s.arms {
		a.advance(now)
		n := a.held()
		_, p50 := a.sum.quantile(0.5)
		_, p95 := a.sum.quantile(percentile)
		out.Arms = append(out.Arms, ArmStatus{
			Name: a.name, Weight: st.weights[i], Requests: a.requests.Load(), Errors: a.errors, InFlight: int(a.inFlight.Load()),
			WindowRequests: int(n.requests), WindowErrors: int(n.errors), P50: p50, P95: p95,
		})
	}
	return out
}

// outcome is how a request went.
type outcome struct {
	failed bool
	again  bool // it was counted as one that did not
	took   time.Duration
	status int
	err    error
}

func (s *Split) now() time.Duration { return time.Since(s.zero) }

// count is told about a request of an epoch.
func (s *Split) count(a *arm, epoch uint32, now time.Duration, o outcome) {
	if s.counted(a, epoch, now, o) && s.cfg.Rollback.OnRollback != nil {
		s.pending.Tell(s.cfg.Rollback.OnRollback)
	}
}

// counted reports whether that rolled back.
func (s *Split) counted(a *arm, epoch uint32, now time.Duration, o outcome) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if epoch != s.epochs.Load() { // what came before a new beginning says nothing about it
		if o.failed {
			a.errors++
		}
		return false
	}
	a.add(now, o)
	return s.canary >= 0 && a == s.arms[s.canary] && s.last == nil && s.compare(now, o)
}

// compare rolls back if the rule says so, and reports whether it does. The caller holds the lock.
func (s *Split) compare(now time.Duration, o outcome) bool {
	r := &s.cfg.Rollback
	a, b := s.arms[s.canary], s.arms[s.baseline]
	b.advance(now)
	c, d := a.held(), b.held()
	least := uint64(max(r.Minimum, 1))
	if c.requests < least || d.requests < least {
		return false
	}
	var reason string
	switch {
	case o.failed && r.badErrors(c, d):
		reason = reasonErrors
	case !o.failed && r.badLatency(&a.sum, &b.sum):
		reason = reasonLatency
	default:
		return false
	}
	st := s.state.Load()
	low, _ := a.sum.quantile(percentile)
	_, high := b.sum.quantile(percentile)
	s.last = &Rollback{
		Name: s.cfg.Name, Arm: a.name, Against: b.name, At: s.zero.Add(now), Weight: st.weights[s.canary], Total: int(st.total),
		Reason: reason, Window: r.Window,
		Requests: int(c.requests), Errors: int(c.errors), AgainstRequests: int(d.requests), AgainstErrors: int(d.errors),
		Latency: low, AgainstLatency: high, Status: o.status, Err: o.err,
	}
	next := slices.Clone(st.weights)
	next[s.baseline] += next[s.canary]
	next[s.canary] = 0
	barred := s.canary
	if r.KeepOverrides {
		barred = -1
	}
	s.before = nil
	s.put(next, barred, reasonRollback, now)
	if r.OnRollback != nil {
		s.pending.Add(*s.last)
	}
	return true
}

// badErrors reports whether c fails that much more than d.
func (r *Rule) badErrors(c, d counts) bool {
	if r.ErrorShare == 0 && r.ErrorRatio == 0 {
		return false
	}
	p, q := c.share(), d.share()
	return p-q >= r.ErrorShare && p >= q*r.ErrorRatio && worse(c, d)
}

// badLatency reports whether a is that much slower than b, in favour of a where that is not known exactly.
func (r *Rule) badLatency(a, b *histogram) bool {
	if r.Latency == 0 && r.LatencyRatio == 0 {
		return false
	}
	least := uint64(max(r.Minimum, 1))
	if a.n < least || b.n < least {
		return false
	}
	low, _ := a.quantile(percentile - off(a.n))
	_, high := b.quantile(percentile + off(b.n))
	return low > high && low-high >= r.Latency && float64(low) >= float64(high)*r.LatencyRatio
}
