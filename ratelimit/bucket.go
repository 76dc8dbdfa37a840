package ratelimit

import (
	"math"
	"time"

	"golang.org/x/time/rate"
)

// buckets are the counters of [TokenBucket]: a rate.Limiter for each limit of each key.
type buckets struct {
	slab[rate.Limiter]

	clock  clock
	limits []bucketLimit
	tokens []float64 // what take found, one for each limit
}

type bucketLimit struct {
	burst int
	rate  rate.Limit // tokens a second
}

func newBuckets(limits []Limit, c clock) *buckets {
	b := &buckets{slab: slab[rate.Limiter]{width: len(limits)}, clock: c, tokens: make([]float64, len(limits))}
	for _, l := range limits {
		b.limits = append(b.limits, bucketLimit{burst: l.capacity(), rate: rate.Limit(float64(l.Requests) / l.Window.Seconds())})
	}
	return b
}

// grow sets up the new buckets in place. Their last use is the zero Time, as in what rate.NewLimiter returns: long
// enough ago to be full.
func (b *buckets) grow(n int) {
	known := len(b.chunks)
	b.slab.grow(n)
	for _, chunk := range b.chunks[known:] {
		for i := range chunk {
			l := b.limits[i%len(b.limits)]
			chunk[i].SetBurstAt(time.Time{}, l.burst)
			chunk[i].SetLimitAt(time.Time{}, l.rate)
		}
	}
}

func (b *buckets) take(slot int, now int64, cost int, commit bool, states []State) bool {
	// The shard's lock is held, so nobody takes tokens between the check of all limits and the taking from all. The
	// time never goes back, which rate.Limiter would forgive by counting the same stretch twice.
	cells, at, admitted := b.slot(slot), b.clock.at(now), true
	for i := range cells {
		l, s := b.limits[i], &states[i]
		b.tokens[i] = cells[i].TokensAt(at)
		missing := float64(cost) - b.tokens[i]
		if s.Wait = 0; l.duration(missing) >= 1 {
			// rate.Limiter admits what misses less than a nanosecond, and so must we.
			s.Wait = saturate(math.Ceil(l.duration(missing)))
			admitted = false
		}
	}
	if commit = commit && admitted; commit {
		for i := range cells {
			// As AllowN after the check above, but it counts even if that rounded differently.
			cells[i].ReserveN(at, cost)
			b.tokens[i] -= float64(cost)
		}
	}
	for i := range cells {
		l, s := b.limits[i], &states[i]
		s.Remaining = int(max(0, math.Floor(b.tokens[i]+rounding)))
		s.Reset = saturate(math.Ceil(l.duration(float64(l.burst) - b.tokens[i])))
	}
	return admitted
}

// rounding is what a sum of floats may miss of a whole token.
const rounding = 1e-6

func (b *buckets) expires(slot int, now int64) int64 {
	cells, at, last := b.slot(slot), b.clock.at(now), now
	for i := range cells {
		l := b.limits[i]
		if missing := float64(l.burst) - cells[i].TokensAt(at); missing > 0 {
			// One nanosecond more than it takes, so that no fraction of a token is given away.
			last = max(last, now+int64(saturate(math.Ceil(l.duration(missing))))+1)
		}
	}
	return last
}

// duration returns how many nanoseconds n tokens take, as rate.Limiter computes it.
func (l bucketLimit) duration(n float64) float64 {
	return n / float64(l.rate) * float64(time.Second)
}

func saturate(nanoseconds float64) time.Duration {
	return time.Duration(min(max(nanoseconds, 0), float64(maxElapsed)))
}
