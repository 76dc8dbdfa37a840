package breaker

import (
	"fmt"
	"time"

	"github.com/gatehouse-go/gateway/internal/circuit"
)

// State is what a [Breaker] does with requests.
type State uint8

// The states. The zero State is Closed.
const (
	Closed   State = iota // requests pass and are counted
	Open                  // requests are refused
	HalfOpen              // a few requests pass as probes, the others are refused
)

// String returns "closed", "open" or "half_open".
func (s State) String() string {
	switch s {
	case Closed:
		return "closed"
	case Open:
		return "open"
	case HalfOpen:
		return "half_open"
	default:
		return "unknown"
	}
}

func stateOf(s circuit.State) State {
	switch s {
	case circuit.Open:
		return Open
	case circuit.HalfOpen:
		return HalfOpen
	case circuit.Closed:
	}
	return Closed
}

// reasonOf names why a circuit changed its state.
func reasonOf(r circuit.Reason) string {
	switch r {
	case circuit.Consecutive:
		return "consecutive_failures"
	case circuit.FailureRate:
		return "failure_rate"
	case circuit.SlowRate:
		return "slow_rate"
	case circuit.OpenTimeOver:
		return "open_time_over"
	case circuit.ProbeFailed:
		return "probe_failed"
	case circuit.ProbeSlow:
		return "probe_slow"
	case circuit.ProbesSilent:
		return "probes_silent"
	case circuit.ProbesSucceeded:
		return "probes_succeeded"
	case circuit.None:
	}
	return ""
}

// Change is a change of state.
type Change struct {
	// Name is the Breaker's. Number counts its changes from 1.
	Name   string
	Number uint64
	// At is when it changed, From and To what it was and is.
	At       time.Time
	From, To State
	// Reason is one of
	//   - "consecutive_failures", "failure_rate", "slow_rate": it opened by the rule of that name in [Config],
	//   - "open_time_over": it is half-open, since a request came after the open time,
	//   - "probe_failed", "probe_slow", "probes_silent": it opened again; see Config.SlowRate and ProbeTimeout,
	//   - "probes_succeeded": it closed.
	Reason string
	// Requests, Failures and Slow are what Window held when it opened from Closed, Consecutive the failures in a row then.
	Requests, Failures, Slow, Consecutive int
	// OpenFor is how long it refuses all requests, when it opened.
	OpenFor time.Duration
	// Status and Err are those of the outcome that brought the change about: no status and no error where it was none. Err
	// may quote addresses and what a target sent; it is for logs.
	Status int
	Err    error
}

// String says the change on one line, without Err, such as
//
//	users: closed to open for 5s: failure_rate, 12 of 20 failed and 0 were slow, last status 503
func (c Change) String() string {
	s := c.Name + ": " + c.From.String() + " to " + c.To.String()
	if c.OpenFor > 0 {
		s += " for " + c.OpenFor.String()
	}
	s += ": " + c.Reason
	switch {
	case c.From != Closed:
	case c.Requests == 0: // Consecutive alone
		s += fmt.Sprintf(", %d in a row", c.Consecutive)
	default:
		s += fmt.Sprintf(", %d of %d failed and %d were slow", c.Failures, c.Requests, c.Slow)
	}
	if c.Status != 0 {
		s += fmt.Sprintf(", last status %d", c.Status)
	}
	return s
}

// Status is a snapshot of a [Breaker].
type Status struct {
	// Name is the Breaker's, State what it is. It stays Open until a request comes after the open time.
	Name  string
	State State
	// Since is when it came to be so: when it was made, or when it changed, and why, as in Change.Reason; "" before.
	Since  time.Time
	Reason string
	// Requests, Failures and Slow are what Window holds, Consecutive the failures in a row up to now. They are of the state
	// Closed, and 0 in others.
	Requests, Failures, Slow, Consecutive int
	// Probes is how many probes have not answered yet, Succeeded how many did well. They are of the state HalfOpen.
	Probes, Succeeded int
	// RetryAfter is how long it still refuses all requests; 0 unless it is open, or when the next request is a probe.
	RetryAfter time.Duration
	// Changes counts the changes of state, Refused the requests and tries that were refused, both since it was made.
	Changes, Refused uint64
}

// take remembers a change of the circuit for OnChange. The caller holds the lock, and has seen from before.
func (b *Breaker) take(from circuit.State, o outcome) {
	number := b.changes + 1
	b.changes = number
	state := b.c.State()
	b.word.Store(wordOf(state, b.c.Period()))
	if b.cfg.OnChange == nil {
		return
	}
	since, why := b.c.Since()
	c := Change{
		Name: b.cfg.Name, Number: number, At: b.zero.Add(since), From: stateOf(from), To: stateOf(state), Reason: reasonOf(why),
		Status: o.status, Err: o.err,
	}
	if state == circuit.Open {
		c.OpenFor = b.c.Wait(since)
	}
	if from == circuit.Closed {
		n, row := b.c.Left()
		c.Requests, c.Failures, c.Slow, c.Consecutive = int(n.Calls), int(n.Failed), int(n.Slow), int(row)
	}
	b.pending.Add(c)
}

// tell calls OnChange for the changes that wait. It is called without the lock.
func (b *Breaker) tell() {
	if b.cfg.OnChange != nil {
		b.pending.Tell(b.cfg.OnChange)
	}
}
