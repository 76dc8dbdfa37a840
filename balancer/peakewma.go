package balancer

import (
	"fmt"
	"math"
	"time"
)

// PeakEWMA draws a few targets by chance, by weight, and takes the one that is expected to answer soonest: the time to the
// first byte that it showed lately, times the requests it has in flight for its weight and one more; slowness counts a little
// more than in proportion, or a slow target would serve as a reserve and be the 99th percentile. A slower answer counts at once, faster ones by and by, as an exponentially weighted moving average. A request that failed, or was answered with
// 500 or more, counts as one that took ten times as long as expected, and a second at least, so that failing fast attracts
// nothing. An expectation fades: a target that was slow is tried again, by one request at first, when it has faded to what
// the others show; nothing about a target keeps it from traffic for good. A new target gets one request until it has
// answered that.
//
// Targets whose expectations differ by less than a fifth are taken as drawn, so that weights decide between equals.
type PeakEWMA struct {
	// Decay is the time in which an observation loses 63 % of its weight. Default 10 s, as in Kong.
	Decay time.Duration
	// Seed makes the same draws, for a replay. 0 means others for each pool.
	Seed uint64
}

const defaultDecay = 10 * time.Second

const (
	// ewmaChoices is how many targets are looked at: with one slow target among many two would do, four have the choice of a
	// good one nearly always also when half of them are slow.
	ewmaChoices = 4
	// ewmaMargin is how much better one has to be than the one drawn before it.
	ewmaMargin = 0.8
)

// NewPicker implements [Algorithm]. The error says what is wrong with Decay.
func (p PeakEWMA) NewPicker(members []*Member) (Picker, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	decay := p.Decay
	if decay == 0 {
		decay = defaultDecay
	}
	e := &peakEWMA{sampler: newSampler(members, p.Seed)}
	e.mean = float64(e.height) / float64(len(members))
	for _, m := range members {
		m.latency.want(decay)
	}
	return e, nil
}

func (p PeakEWMA) check() error {
	if p.Decay < 0 {
		return fmt.Errorf("PeakEWMA.Decay %v: is negative; 0 means %v", p.Decay, defaultDecay)
	}
	return nil
}

type peakEWMA struct {
	*sampler

	mean float64 // weight
}

// Pick implements [Picker].
func (p *peakEWMA) Pick(q Query) *Member {
	first := p.one(q)
	if first == nil || len(p.members) == 1 {
		return first
	}
	best := p.candidate(first, first.home.since(q.now()))
	if n := len(p.members); n <= ewmaChoices {
		start := below(p.next(), n)
		for i := range n {
			p.compare(&q, &best, p.members[(start+i)%n])
		}
		return best.m
	}
	for range ewmaChoices - 1 {
		p.compare(&q, &best, p.members[p.index(p.next())])
	}
	return best.m
}

// candidate is a member at a time.
type candidate struct {
	m        *Member
	at       time.Duration
	expected float64 // nanoseconds
	cost     float64
}

// compare makes m the best if it is clearly better: by what it costs, or by its latency and what it costs.
func (p *peakEWMA) compare(q *Query, best *candidate, m *Member) {
	if m == best.m || q.Avoids(m) {
		return
	}
	c := p.candidate(m, best.at)
	if c.cost < best.cost*ewmaMargin || c.cost < best.cost && c.expected < best.expected*ewmaMargin {
		*best = c
	}
}

// candidate returns what a request to m would cost. A member that is not known costs nothing, as long as nobody waits for it,
// and more than any that is known then.
func (p *peakEWMA) candidate(m *Member, at time.Duration) candidate {
	c := candidate{m: m, at: at}
	n := float64(m.inFlight.Load())
	expected, known := m.latency.expect(at, n > 0)
	switch {
	case known:
		c.expected = float64(expected)
		c.cost = c.expected * math.Sqrt(math.Sqrt(c.expected)) * (1 + n*p.mean/float64(max(m.weight.Load(), 1)))
	case n > 0:
		c.expected = math.MaxInt64
		c.cost = math.MaxFloat64 / math.MaxInt64 * (1 + n)
	}
	return c
}

// resume implements resumer.
func (p *peakEWMA) resume(old Picker) {
	if before, ok := old.(*peakEWMA); ok {
		p.follow(before.sampler)
	}
}
