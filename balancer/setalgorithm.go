package balancer

import (
	"time"
)

// SetAlgorithm replaces the algorithm while traffic flows, nil by RoundRobin{}: picks that follow go by the new one. Targets keep
// their counters, their health and what else was learnt about them. A LoadFactor can be set only where the pool had one from the
// beginning, because requests in flight are counted for it. On error nothing has changed.
func (p *Pool) SetAlgorithm(a Algorithm) error {
	a, err := checkAlgorithm(a)
	if err != nil {
		return err
	}
	if p == nil {
		return errClosed
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.algorithm == nil {
		return errClosed
	}
	if boundsLoads(a) && !p.home.counting.Load() {
		return &ConfigError{Field: "Algorithm", Problem: "has a LoadFactor, which the algorithm that the pool was made with had not; make a pool for it"}
	}
	before, s := p.algorithm, p.state.Load()
	if s.picker == nil { // none is made now, and it has to be possible later
		if err := p.try(a, s.members); err != nil {
			return err
		}
	}
	p.algorithm = a
	if err := p.install(&state{members: s.members, reach: s.reach}, nil, p.home.since(time.Now())); err != nil {
		p.algorithm = before
		return err
	}
	return nil
}

// try makes a picker for all members, and throws it away. p.mu is held.
func (p *Pool) try(a Algorithm, members []*Member) error {
	out := make([]bool, len(members))
	for i, m := range members {
		out[i], m.out = m.out, false
	}
	_, err := newPicker(a, members, p.zone)
	for i, m := range members {
		m.out = out[i]
		m.forget()
	}
	return err
}

// checkAlgorithm returns a, or the default, if nothing is wrong with it as far as can be seen without members.
func checkAlgorithm(a Algorithm) (Algorithm, error) {
	if a == nil {
		return RoundRobin{}, nil
	}
	if isNil(a) {
		return nil, &ConfigError{Field: "Algorithm", Problem: "is a nil pointer; leave it out for RoundRobin{}"}
	}
	if c, ok := a.(checker); ok {
		if err := c.check(); err != nil {
			return nil, algorithmProblem(err)
		}
	}
	return a, nil
}

// boundsLoads reports whether a counts the requests in flight at all targets together.
func boundsLoads(a Algorithm) bool {
	if s, ok := a.(interface{ sticky() Sticky }); ok {
		a = s.sticky().inner()
	}
	c, ok := a.(interface{ common() *consistent })
	return ok && c.common().loadFactor != 0
}
