package concurrency

import "time"

// Status is a snapshot of a [Limiter].
type Status struct {
	// Name is the Limiter's.
	Name string
	// Limit is how many places there are, InFlight how many are taken, Waiting how many requests wait for one.
	Limit, InFlight, Waiting int
	// Adaptive: the limit is found, not given. Probing: it is lowered for a moment, in order to see what answers take at rest.
	Adaptive, Probing bool
	// AtRest is what an answer takes when nothing waits in the server, as far as the Limiter knows, and Latency what answers took in
	// the last window. 0: not known, or the limit is fixed.
	AtRest, Latency time.Duration
	// Classes are the classes, the highest first.
	Classes []ClassStatus
}

// ClassStatus is what became of the requests of a class, since the Limiter was made.
type ClassStatus struct {
	// Waiting is how many wait now.
	Waiting int
	// Admitted is how many got a place, Waited how many of them had to wait for it.
	Admitted, Waited uint64
	// Refused is how many found no room, or were displaced by others, TimedOut how many waited in vain, Left how many clients left
	// while they waited.
	Refused, TimedOut, Left uint64
}

// Status returns a snapshot for operators and metrics. It changes nothing. The zero and a nil Limiter have the zero Status.
func (l *Limiter) Status() Status {
	if !l.ready() {
		return Status{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Status{
		Name: l.cfg.Name, Limit: l.gate.Limit(), InFlight: l.gate.InFlight(), Waiting: l.gate.Waiting(), Adaptive: l.learns,
		Classes: make([]ClassStatus, l.cfg.Classes),
	}
	if l.learns {
		found := l.gate.Search()
		s.Probing, s.AtRest, s.Latency = found.Probing(), found.Rest(), found.Last()
	}
	for i := range s.Classes {
		n := l.gate.Counts(i)
		s.Classes[i] = ClassStatus{
			Waiting: l.gate.WaitingOf(i), Admitted: n.Admitted, Waited: n.Waited, Refused: n.Displaced, TimedOut: n.Expired, Left: n.Left,
		}
	}
	return s
}
