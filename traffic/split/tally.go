package split

import (
	"math"
	"math/bits"
	"time"

	"github.com/gatehouse-go/gateway/internal/circuit"
)

// tally is what an arm did lately. It is not safe for concurrent use.
type tally struct {
	window circuit.Window
	errors uint64 // ever

	part   time.Duration
	newest int64 // number of the newest part of what follows
	sum    histogram
	parts  [circuit.Buckets]histogram // that of part n at n modulo Buckets
}

func newTally(window time.Duration) tally {
	return tally{window: circuit.NewWindow(window), part: max(window/circuit.Buckets, 1)}
}

// reset forgets what the window holds.
func (t *tally) reset() {
	t.window.Clear()
	t.sum, t.parts = histogram{}, [circuit.Buckets]histogram{}
}

// advance forgets what is too old.
func (t *tally) advance(now time.Duration) {
	t.window.Advance(now)
	n := int64(now / max(t.part, 1))
	if n-t.newest >= circuit.Buckets {
		t.sum, t.parts, t.newest = histogram{}, [circuit.Buckets]histogram{}, n
		return
	}
	for t.newest < n {
		t.newest++
		old := &t.parts[t.newest%circuit.Buckets]
		if old.n > 0 {
			t.sum.sub(old)
			*old = histogram{}
		}
	}
}

// add counts one request.
func (t *tally) add(now time.Duration, o outcome) {
	t.advance(now)
	d := circuit.Counts{Calls: 1}
	if o.again {
		d.Calls = 0 // it was counted
	}
	if o.failed {
		d.Failed = 1
		t.errors++
	} else {
		i := slot(o.took)
		t.sum.add(i)
		t.parts[t.newest%circuit.Buckets].add(i)
	}
	t.window.Add(now, d)
}

// counts are numbers of requests, and how many of them failed.
type counts struct{ requests, errors uint64 }

func (c counts) share() float64 {
	if c.requests == 0 {
		return 0
	}
	return float64(c.errors) / float64(c.requests)
}

// held returns what the window holds.
func (t *tally) held() counts {
	n := t.window.Sum()
	return counts{n.Calls, min(n.Failed, n.Calls)} // of one whose answer broke off, the request may be forgotten
}

// sure is how many standard deviations make a difference one that is no chance: it is looked at after each request.
const sure = 4

// worse reports whether the share of errors of c is above that of d by more than chance explains. It is the interval of
// Agresti and Caffo, which is right for small numbers, too: it adds one error and one success to each side.
func worse(c, d counts) bool {
	n, m := float64(c.requests)+2, float64(d.requests)+2
	p, q := (float64(c.errors)+1)/n, (float64(d.errors)+1)/m
	return p-q > sure*math.Sqrt(p*(1-p)/n+q*(1-q)/m)
}

// The percentile that is looked at.
const percentile = 0.95

// off is by how much a percentile of n may be off by chance.
func off(n uint64) float64 {
	return sure * math.Sqrt(percentile*(1-percentile)/float64(max(n, 1)))
}

// A histogram counts durations. Each octave has so many slots; the shortest that are told apart are a microsecond, the longest about
// eighteen minutes.
const (
	octaveBits = 3
	octave     = 1 << octaveBits
	octaves    = 28
	slots      = octaves * octave
)

type histogram struct {
	n    uint64
	slot [slots]uint32
}

// slot returns where a duration is counted.
func slot(d time.Duration) int {
	v := uint64(max(d, 0) / time.Microsecond)
	e := bits.Len64(v) - octaveBits - 1 // how many low bits are left out
	if e <= 0 {
		return int(v)
	}
	return min(e*octave+int(v>>e), slots-1)
}

// bounds returns the shortest duration of a slot, and the shortest that is longer than all of it.
func bounds(i int) (low, high time.Duration) {
	e := max(i/octave-1, 0)
	v := i - e*octave
	return time.Duration(v<<e) * time.Microsecond, time.Duration((v+1)<<e) * time.Microsecond
}

func (h *histogram) add(i int) {
	h.n++
	h.slot[i]++
}

func (h *histogram) sub(o *histogram) {
	h.n -= o.n
	for i, n := range &o.slot {
		h.slot[i] -= n
	}
}

// quantile returns between what the duration lies that a share q of all does not exceed.
func (h *histogram) quantile(q float64) (low, high time.Duration) {
	if h.n == 0 {
		return 0, 0
	}
	rank := uint64(math.Ceil(min(max(q, 0), 1) * float64(h.n)))
	seen := uint64(0)
	for i, n := range &h.slot {
		if seen += uint64(n); seen >= max(rank, 1) {
			return bounds(i)
		}
	}
	return bounds(slots - 1) // not reached
}
