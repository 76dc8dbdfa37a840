package balancer

import "time"

// renewal is when the picker of a pool is made again because of what is out.
type renewal struct {
	due     bool          // other members are out than the picker was made without
	took    time.Duration // to make the last one
	longest time.Duration // that one took
	after   time.Time     // when the next may be made
	timer   *time.Timer   // which will; nil where none is needed
}

const (
	// quick is how long a picker may take that is made at once, whenever something changes, by the request that has changed it.
	quick = time.Millisecond
	// pause is how many times as long as it took to make a slower one the pool waits before it makes another. When hundreds of
	// targets fail at a time, that takes in most of them. Until then pickers avoid what is out, and what is back stands in.
	pause = 4
)

func (n *renewal) lasted(d time.Duration) { n.took, n.longest = d, max(n.longest, d) }

// refresh takes in which members are out. p.mu is held.
func (p *Pool) refresh() {
	s := p.state.Load()
	out, overall := p.assess(s.members)
	p.overall = overall
	p.renewal.due = overall.Refusing != (s.picker == nil)
	for i, m := range s.members {
		m.barred.Store(out[i])
		p.renewal.due = p.renewal.due || m.out != out[i]
	}
}

// renew makes a picker without the members that are out, now or later. It is called without the lock.
func (p *Pool) renew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.renewLocked()
}

func (p *Pool) renewLocked() {
	n := &p.renewal
	if !n.due || p.closed {
		return
	}
	now := time.Now()
	wait := n.after.Sub(now)
	_, tabular := p.tabular()
	switch {
	case p.overall.Refusing != (p.state.Load().picker == nil): // which nothing else makes up for
		p.remake()
	case n.timer != nil:
	case wait <= 0 && (!tabular || n.longest <= quick):
		p.remake()
	default:
		n.timer = time.AfterFunc(wait, p.remakeLater)
	}
}

// remake makes a picker without the members that are out. p.mu is held.
func (p *Pool) remake() {
	n := &p.renewal
	n.due = false
	began := time.Now()
	s := p.state.Load()
	// An algorithm of the application's may not take these members. Then it goes on with the picker it has.
	_ = p.install(&state{members: s.members, reach: s.reach}, nil, p.home.since(began))
	n.rest(n.took)
}

// rest puts off the next picker behind one that took long to make.
func (n *renewal) rest(took time.Duration) {
	if took > quick {
		n.after = time.Now().Add(pause * took)
	}
}

// remakeLater is remake in a goroutine of its own, which makes tables before it takes the lock.
func (p *Pool) remakeLater() {
	p.mu.Lock()
	a, ok := p.tabular()
	if !ok {
		defer p.mu.Unlock()
		if p.renewal.timer = nil; p.renewal.due && !p.closed {
			p.remake()
		}
		return
	}
	p.mu.Unlock()
	began := time.Now()
	s, out, overall := p.prepare(a)
	took := time.Since(began)
	p.mu.Lock()
	defer p.mu.Unlock()
	n := &p.renewal
	n.timer = nil
	if !n.due || p.closed {
		return
	}
	if p.state.Load() == s && !overall.Refusing { // what has changed since is for the next one
		_ = p.installAs(&state{members: s.members, reach: s.reach}, nil, p.home.since(time.Now()), out, overall)
		p.refresh()
	}
	n.rest(took)
	p.renewLocked()
}

// tabular is an algorithm whose pickers are tables, of which it keeps some.
type tabular interface {
	// prepare makes the table for a picker of these members, if there is none.
	prepare(members []*Member)
}

// tabular returns the algorithm of the pool, or the one inside, if its pickers are tables. p.mu is held.
func (p *Pool) tabular() (tabular, bool) {
	a := p.algorithm
	if s, ok := a.(interface{ sticky() Sticky }); ok {
		a = s.sticky().inner()
	}
	t, ok := a.(tabular)
	return t, ok
}

// prepare makes the tables for a picker without the members that are out now, and returns what it has gone by.
func (p *Pool) prepare(a tabular) (s *state, out []bool, overall PoolHealth) {
	p.mu.Lock()
	s = p.state.Load()
	var active []*Member
	out, overall = p.assess(s.members)
	was := make([]bool, len(s.members))
	for i, m := range s.members {
		was[i], m.out = m.out, out[i]
		if m.weight.Load() > 0 {
			active = append(active, m)
		}
	}
	groups := groupsOf(active, p.zone)
	for i, m := range s.members {
		m.out = was[i]
	}
	p.mu.Unlock()
	p.home.tables.room(len(groups))
	for _, g := range groups {
		p.mu.Lock()
		closed := p.closed
		p.mu.Unlock()
		if closed {
			break
		}
		a.prepare(g.members)
	}
	return s, out, overall
}
