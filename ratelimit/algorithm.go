package ratelimit

import "time"

// Algorithm is how a [Limiter] counts. All limits of a Limiter use the same one.
type Algorithm int

const (
	// TokenBucket fills a bucket of Burst tokens evenly, Requests per Window, and takes one for each request. It is
	// smooth: who spent the burst gets on at the rate. In any stretch of time d, and for each limit, one key gets at
	// most Burst + Requests*d/Window requests. It is golang.org/x/time/rate, whose arithmetic is that of floating-point
	// numbers: a token may come some nanoseconds early.
	TokenBucket Algorithm = iota
	// FixedWindow counts in windows of the calendar in UTC, as Kong does: each second, minute, hour and day, the
	// calendar month for a Window of 30 days and the calendar year for one of 365; other lengths are counted from
	// 1970-01-01T00:00:00Z. One key gets at most Requests in each window, and so up to twice Requests in a stretch of
	// time as long as Window that lies across the edge of two.
	FixedWindow
	// SlidingWindow weighs the count of the window before by the part of it that the last Window still reaches into, as if
	// its requests had come evenly. One key gets at most Requests in each window aligned as in FixedWindow (months
	// and years are 30 and 365 days), and less than twice Requests in any stretch as long as Window. The weight is
	// rounded up, so that at an even pace a key gets a little less than Requests in a window, and with Requests of 1 one in two.
	SlidingWindow
)

// String returns "TokenBucket", "FixedWindow" or "SlidingWindow".
func (a Algorithm) String() string {
	switch a {
	case TokenBucket:
		return "TokenBucket"
	case FixedWindow:
		return "FixedWindow"
	case SlidingWindow:
		return "SlidingWindow"
	default:
		return "unknown"
	}
}

// counters keeps the counts of the keys of one shard, a slot for each, under the shard's lock. Times are nanoseconds
// since the clock's zero and never go back, see [clock].
type counters interface {
	// grow makes room for slots 0 to n-1. A new slot is that of a key never seen.
	grow(n int)
	// take fills states, one for each limit, and reports whether all limits admit cost. Only when they do, and commit is
	// set, it counts cost against all of them; the states then tell what is left afterwards. cost is at most the
	// capacity of every limit.
	take(slot int, now int64, cost int, commit bool, states []State) bool
	// expires returns from when on the slot counts the same as a new one. Counting only moves it later.
	expires(slot int, now int64) int64
}

// newCounters returns empty counters for limits, which it does not change.
func (a Algorithm) newCounters(limits []Limit, c clock) counters {
	switch a {
	case FixedWindow:
		return newWindows(limits, c)
	case SlidingWindow:
		return newSliding(limits, c)
	default:
		return newBuckets(limits, c)
	}
}

// clock turns times into nanoseconds since its zero. Between times that have a monotonic reading it uses that, so that
// steps of the wall clock change nothing; the calendar is that of the wall clock at zero, moved on by what has passed.
type clock struct {
	zero time.Time
	wall int64 // zero in nanoseconds since 1970
}

// maxElapsed keeps sums of a reading, a window and a calendar date within an int64.
const maxElapsed = 100 * year

func newClock(zero time.Time) clock { return clock{zero: zero, wall: zero.UnixNano()} }

func (c clock) since(now time.Time) int64 {
	return int64(min(max(now.Sub(c.zero), -maxElapsed), maxElapsed))
}

func (c clock) at(now int64) time.Time { return c.zero.Add(time.Duration(now)) }
