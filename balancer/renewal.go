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
	n := &p.renewal
	if !n.due || p.closed || n.timer != nil {
		return
	}
	now := time.Now()
	wait := n.after.Sub(now)
	_, tabular := p.tabular()
	switch {
	case p.overall.Refusing != (p.state.Load().picker == nil): // which nothing else makes up for
		p.remake()
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
	if n.took > quick {
		n.after = time.Now().Add(pause * n.took)
	}
}

// remakeLater is remake in a goroutine of its own, which makes tables before it takes the lock.
func (p *Pool) remakeLater() {
	if a, ok := p.tabular(); ok {
		for range 3 { // unless others go meanwhile
			if !p.prepare(a) {
				break
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.renewal.timer = nil; p.renewal.due && !p.closed {
		p.remake()
	}
}

// tabular is an algorithm whose pickers are tables, of which it keeps some.
type tabular interface {
	// prepare makes the table for a picker of these members. It reports false if there is one.
	prepare(members []*Member) bool
}

// tabular returns the algorithm of the pool, or the one inside, if its pickers are tables.
func (p *Pool) tabular() (tabular, bool) {
	a := p.algorithm
	if s, ok := a.(interface{ sticky() Sticky }); ok {
		a = s.sticky().inner()
	}
	t, ok := a.(tabular)
	return t, ok
}

// prepare makes the tables that the next picker will have. It reports false if there were all.
func (p *Pool) prepare(a tabular) bool {
	p.mu.Lock()
	var active []*Member
	members := p.state.Load().members
	out, _ := p.assess(members)
	for i, m := range members {
		if m.out, out[i] = out[i], m.out; m.weight.Load() > 0 {
			active = append(active, m)
		}
	}
	groups := groupsOf(active, p.zone)
	for i, m := range members {
		m.out = out[i]
	}
	p.mu.Unlock()
	made := false
	for _, g := range groups {
		made = a.prepare(g.members) || made
	}
	return made
}
