package balancer

import "time"

// renewal is when the picker of a pool is made again because of what is out.
type renewal struct {
	due   bool        // other members are out than the picker was made without
	after time.Time   // when it may be
	timer *time.Timer // which will; nil where none is needed
}

const (
	// quick is how long a picker may take that is made again at once, whenever something changes.
	quick = time.Millisecond
	// pause is how many times as long as it took to make a slower one the pool waits before it makes another. When hundreds of
	// targets fail at a time, that takes in most of them. Until then pickers avoid what is out.
	pause = 4
)

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
	began := time.Now()
	if wait := n.after.Sub(began); wait > 0 {
		n.timer = time.AfterFunc(wait, func() {
			p.mu.Lock()
			n.timer = nil
			p.mu.Unlock()
			p.renew()
		})
		return
	}
	n.due = false
	s := p.state.Load()
	// An algorithm of the application's may not take these members. Then it goes on with the picker it has.
	_ = p.install(&state{members: s.members, reach: s.reach}, nil, p.home.since(began))
	if took := time.Since(began); took > quick {
		n.after = began.Add(took + pause*took)
	}
}
