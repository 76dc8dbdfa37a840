package balancer

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-go/gateway/policy"
)

// What a failure counts as: many times the latency expected, so that failing fast does not attract requests.
const (
	failureFactor = 10
	// overtakenFactor is how many times as long an overtaken try is taken to have lasted.
	overtakenFactor = 4
	minFailure      = time.Second
	maxFailure      = time.Minute
)

// busyDecay is how many times slower an expectation fades while requests are in flight: a target that has stopped answering
// must not look better and better, and one that holds a stream must not be written off for as long as that lasts.
const busyDecay = 4

// latency is what one member is expected to take to answer. Its zero value expects nothing, and wants no observations.
type latency struct {
	decay atomic.Int64  // in which an old observation loses 1-1/e of its weight
	value atomic.Uint64 // the bits of a float64, nanoseconds
	at    atomic.Int64  // of the last observation, on the clock of home; 0 for none

	mu sync.Mutex // serialises observations
}

// want asks for observations from now on.
func (l *latency) want(decay time.Duration) { l.decay.Store(int64(decay)) }

func (l *latency) wanted() bool { return l.decay.Load() > 0 }

// observe takes in how a request ended. Time to the first byte counts, or what it took to fail. A slower answer counts at
// once, a faster one or a failure by and by.
func (l *latency) observe(at time.Duration, o policy.Outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	took := o.FirstByte
	if took <= 0 {
		took = o.Duration
	}
	old := math.Float64frombits(l.value.Load())
	keep := 0.0
	if last := l.at.Load(); last != 0 {
		keep = fade(at-time.Duration(last), time.Duration(l.decay.Load()))
	}
	value := max(float64(took), 1)
	switch {
	case o.Fault == policy.FaultOvertaken: // it would have taken longer, nobody knows how long
		if value *= overtakenFactor; value < old*keep {
			return
		}
	case o.Err != nil || o.Status >= 500:
		penalty := min(max(failureFactor*old, float64(minFailure)), float64(maxFailure))
		value = max(value, old*keep+penalty*(1-keep))
	case value < old:
		value = old*keep + value*(1-keep)
	}
	l.value.Store(math.Float64bits(value))
	l.at.Store(int64(at))
}

// expect returns what is expected at a time, and whether anything is. Without new observations that becomes less and less,
// so that a target that was slow is tried again.
func (l *latency) expect(at time.Duration, busy bool) (time.Duration, bool) {
	last := time.Duration(l.at.Load())
	if last == 0 {
		return 0, false
	}
	decay := time.Duration(l.decay.Load())
	if busy {
		decay *= busyDecay
	}
	return time.Duration(math.Float64frombits(l.value.Load()) * fade(at-last, decay)), true
}

// fade returns how much weight is left after a time.
func fade(elapsed, decay time.Duration) float64 {
	if elapsed <= 0 {
		return 1
	}
	return math.Exp(-float64(elapsed) / float64(decay))
}
