package balancer

import (
	"math/rand/v2"
	"time"

	"github.com/gatehouse-go/gateway/policy"
)

// eject takes m out for a while, if there are others to carry its share.
func (p *Pool) eject(m *Member, k kind, why string, o *policy.Outcome, now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &m.record
	if p.closed || m.leaving.Load() || r.ejected.Load() || k != refused && !p.canSpare(m) {
		return
	}
	before := m.state()
	first := p.passive.EjectionTime
	if r.level > 0 && now > r.back {
		r.level = max(r.level-int(min((now-r.back)/first, 64)), 0)
	}
	d := min(first<<min(r.level, 40), p.passive.MaxEjectionTime)
	if d <= 0 { // more than there is
		d = p.passive.MaxEjectionTime
	}
	if d < p.passive.MaxEjectionTime {
		r.level++
	}
	d += rand.N(d/8 + 1) //nolint:gosec // G404: nothing depends on its being a secret
	r.ejected.Store(true)
	r.byAnswer, r.until = k == answer, now+d
	r.ejections++
	r.restart(now, false)
	if !p.checksBringBack() {
		n := r.ejections
		r.timer = time.AfterFunc(d, func() { p.over(m, n) })
	}
	if r.check != nil {
		r.check.successes = 0
	}
	p.changed(m, before, cause{why, o.Status, o.Err, d}, now)
}

// canSpare reports whether m may be ejected beside those that are. p.mu is held.
func (p *Pool) canSpare(m *Member) bool {
	all, out, n := int64(0), int64(0), 0
	for _, other := range p.state.Load().members {
		w := other.weight.Load()
		all += w
		if w > 0 {
			n++
		}
		if other.record.ejected.Load() {
			out += w
		}
	}
	const rounding = 1e-9
	return float64(out+m.weight.Load()) <= p.maxEjected*float64(all)+rounding || out == 0 && n > 1
}

// over ends the ejection of m with that number.
func (p *Pool) over(m *Member, number uint64) {
	p.mu.Lock()
	current := m.record.ejections == number
	p.mu.Unlock()
	if current {
		p.restore(m, reasonTimeOver, p.home.since(time.Now()))
		p.follow()
	}
}

// restore ends the ejection of m, if it is ejected.
func (p *Pool) restore(m *Member, why string, now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if before := m.state(); p.readmit(m, now) {
		p.changed(m, before, cause{reason: why}, now)
	}
}

// readmit puts m on probation if it was ejected. p.mu is held, and changed has to be called.
func (p *Pool) readmit(m *Member, now time.Duration) bool {
	r := &m.record
	if p.closed || !r.ejected.Load() {
		return false
	}
	r.ejected.Store(false)
	if r.timer != nil {
		r.timer.Stop()
	}
	r.back = now
	r.restart(now, true)
	return true
}

// assess says which members are out, and what that means. p.mu is held.
func (p *Pool) assess(members []*Member) ([]bool, PoolHealth) {
	type tier struct{ all, healthy float64 }
	tiers := map[int]*tier{}
	total, h := tier{}, PoolHealth{}
	for _, m := range members {
		w := float64(m.weight.Load())
		if w == 0 {
			continue
		}
		priority := m.place.Load().priority
		t := tiers[priority]
		if t == nil {
			t = &tier{}
			tiers[priority] = t
		}
		t.all += w
		total.all += w
		h.Targets++
		if m.state() == Healthy {
			t.healthy += w
			total.healthy += w
			h.Healthy++
		}
	}
	if total.all > 0 {
		h.Share = total.healthy / total.all
	}
	carried, sound := 0.0, false // share of the requests that all tiers can carry; whether one of them is as healthy as it has to be
	for _, priority := range sortedKeys(tiers) {
		share := tiers[priority].healthy / tiers[priority].all
		carried += share * overprovision
		sound = sound || share >= p.panicShare
	}
	out := make([]bool, len(members))
	for i, m := range members {
		if m.state() == Healthy {
			continue
		}
		t := tiers[m.place.Load().priority]
		if t == nil || m.weight.Load() == 0 {
			out[i] = true
			continue
		}
		share := t.healthy / t.all
		takenOver := carried >= 1 && carried > share*overprovision
		if out[i] = sound || takenOver; !out[i] {
			h.Panic = true
		}
	}
	h.Refusing = h.Targets == 0 || p.minHealthy > 0 && h.Share <= p.minHealthy || h.Healthy == 0 && !h.Panic
	return out, h
}
