package balancer

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrUnknownTarget is wrapped by the error of a method that names a target the pool does not have.
var ErrUnknownTarget = errors.New("balancer: the pool has no such target")

// TakeOut keeps requests from the target with that URL, for maintenance, whatever its health: it has no weight until
// [Pool.PutBack]. Requests in flight end where they are; [Pool.Drained] waits for them. It stays out when SetTargets or a
// Discovery says that it is there, and is forgotten when these have removed it. All targets may be taken out. Checks go on. The
// error is [ErrUnknownTarget], or that of a closed pool; taking out what is out changes nothing.
func (p *Pool) TakeOut(url string) error { return p.setOut(url, true) }

// PutBack ends what TakeOut has begun. The target begins with a slow start, if there is one. What it was found to be by its
// health meanwhile counts.
func (p *Pool) PutBack(url string) error { return p.setOut(url, false) }

func (p *Pool) setOut(url string, out bool) error {
	_, key, problem := parseURL(url)
	if problem != "" {
		return fmt.Errorf("%w: %q %s", ErrUnknownTarget, url, problem)
	}
	if p == nil {
		return fmt.Errorf("%w: %q", ErrUnknownTarget, url)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.algorithm == nil {
		return fmt.Errorf("%w: %q", ErrUnknownTarget, url)
	}
	if p.closed {
		return errClosed
	}
	s := p.state.Load()
	i := slices.IndexFunc(s.members, func(m *Member) bool { return m.key == key })
	if i < 0 {
		return fmt.Errorf("%w: %q", ErrUnknownTarget, url)
	}
	m := s.members[i]
	if m.takenOut == out {
		return nil
	}
	before := m.placed()
	m.takenOut = out
	m.set(before)
	var fresh []*Member
	if m.weight.Load() > 0 {
		fresh = []*Member{m}
	}
	if err := p.install(&state{members: s.members, reach: s.reach}, fresh, p.home.since(time.Now())); err != nil {
		m.takenOut = !out
		m.set(before)
		return err
	}
	return nil
}
