package gatewaytest

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway/ratelimit"
)

// CheckLimiter checks that a limiter never admits more than its bound in any stretch of time. It draws a timeline of
// requests of p's keys and asks take about each: with the time, which never goes back, the key and the cost, which is at
// least 1. For every two requests of one key that were admitted it adds up what was admitted from the one to the other,
// both included. The sum may not exceed most(d), where d is the time between the two, and 0 for a single request. With
// several bounds each of them has to hold; [Bound] makes them.
//
// The timeline begins at the end of 2027 and is made for the bounds: its steps are the lengths at which they grow, a nanosecond more and less, and parts
// of them; it goes to the edges of windows counted from 1970, and in long ones to those of months and years. Bursts come
// at one moment.
//
// take is called from one goroutine; the limiter has to be new, or to forget what other timelines did, in each run of a
// [rapid.Check]. One that knows no cost may refuse each that is not 1. What is refused is not looked at: a limiter that
// refuses everything passes.
func (p Properties) CheckLimiter(t *rapid.T, take func(now time.Time, key string, cost int) (allowed bool), most ...func(d time.Duration) int) {
	t.Helper()
	if len(most) == 0 {
		t.Fatalf("gatewaytest: CheckLimiter was given no bound, and would check nothing; give one, such as gatewaytest.Bound(limit, algorithm)")
	}
	line := newTimeline(most)
	admitted := map[string]*admissions{}
	keys := p.filled().Keys
	for range rapid.IntRange(1, 40).Draw(t, "steps") {
		line.step(t)
		key := sample(t, "key", keys...)
		cost := sample(t, "cost", line.costs...)
		log := admitted[key]
		if log == nil {
			log = &admissions{}
			admitted[key] = log
		}
		for range sample(t, "burst", 1, 1, 2, line.burst) {
			if !take(line.now, key, cost) {
				break
			}
			log.add(line.now, cost)
			if excess := log.check(most); excess != "" {
				t.Fatalf("gatewaytest: the limiter admitted too much for key %q: %s", key, excess)
			}
		}
	}
}

// admission is what one key was admitted at one moment.
type admission struct {
	at   time.Time
	cost int
}

// admissions is what one key was admitted, in order.
type admissions []admission

func (a *admissions) add(at time.Time, cost int) {
	if n := len(*a); n > 0 && (*a)[n-1].at.Equal(at) {
		(*a)[n-1].cost += cost
		return
	}
	*a = append(*a, admission{at, cost})
}

// check looks at the stretches that end with the last admission, and describes one in which the sum is beyond a bound.
func (a *admissions) check(most []func(time.Duration) int) string {
	log := *a
	last, sum := log[len(log)-1], 0
	for i, first := range slices.Backward(log) {
		sum += first.cost
		d := last.at.Sub(first.at)
		for n, bound := range most {
			limit := bound(d)
			if sum <= limit {
				continue
			}
			var b strings.Builder
			fmt.Fprintf(&b, "%d in %v, at most %d by bound %d; all that was admitted until then:\n", sum, d, limit, n)
			for j, e := range log {
				mark := "   "
				if j >= i {
					mark = " * "
				}
				fmt.Fprintf(&b, "%s%s cost %d\n", mark, e.at.Format(time.RFC3339Nano), e.cost)
			}
			return b.String()
		}
	}
	return ""
}

// timeline draws the times and sizes that matter to some bounds.
type timeline struct {
	now   time.Time
	edges []time.Duration // lengths at which a bound grows
	long  bool            // there are edges as long as those of the calendar
	costs []int
	burst int
}

// maxBurst is the most requests that come at one moment. What more a limiter admits at once is spent by their cost.
const maxBurst = 30

func newTimeline(most []func(time.Duration) int) *timeline {
	// The last nanosecond before a year begins, in a week, a day, an hour.
	line := &timeline{now: time.Date(2027, 12, 31, 23, 59, 59, 999999999, time.UTC), costs: []int{1, 1, 1, 2}}
	once := math.MaxInt
	for _, bound := range most {
		line.edges = append(line.edges, edgesOf(bound)...)
		once = min(once, bound(0))
	}
	if len(line.edges) == 0 {
		line.edges = []time.Duration{time.Second, time.Minute}
	}
	line.long = slices.Max(line.edges) > 20*24*time.Hour
	if once > 2 {
		line.costs = append(line.costs, once/2, once-1, once)
	}
	if once < math.MaxInt {
		line.costs = append(line.costs, max(once, 0)+1)
	}
	line.burst = max(min(once, maxBurst), 1)
	return line
}

// step moves on, or stays.
func (line *timeline) step(t *rapid.T) {
	edge := sample(t, "length", line.edges...)
	switch how := sample(t, "step", "none", "length", "length", "part", "align", "align", "nanosecond", "calendar"); how {
	case "none":
		return
	case "nanosecond":
		line.move(1)
	case "part":
		parts := rapid.IntRange(2, 7).Draw(t, "parts")
		line.move(edge / time.Duration(parts) * time.Duration(rapid.IntRange(1, parts).Draw(t, "of them")))
	case "calendar":
		if line.long {
			months := sample(t, "months", 1, 2, 12)
			y, m, _ := line.now.Date()
			line.move(time.Date(y, m+time.Month(months), 1, 0, 0, 0, 0, time.UTC).Sub(line.now) + beside(t))
			return
		}
		fallthrough
	case "align": // windows begin at multiples of their length
		into := time.Duration(line.now.UnixNano() % int64(edge))
		line.move(edge - into + beside(t))
	default:
		line.move(edge + beside(t))
	}
}

func beside(t *rapid.T) time.Duration { return sample[time.Duration](t, "beside", 0, -1, 1) }

// maxTimeline keeps times where package time can count nanoseconds since 1970.
const maxTimeline = 150 * 365 * 24 * time.Hour

func (line *timeline) move(d time.Duration) {
	if next := line.now.Add(d); d > 0 && next.Sub(time.Unix(0, 0)) < maxTimeline {
		line.now = next
	}
}

// edgesOf returns the first lengths at which a bound grows, those of its first steps and of the double and the triple of
// what it allows at once, and these less one: in windows that touch, a stretch is longer than them by one.
func edgesOf(bound func(time.Duration) int) []time.Duration {
	var edges []time.Duration
	// beyond adds the length at which more than n are allowed, and returns how many that are.
	beyond := func(n int) int {
		d, ok := firstBeyond(bound, n)
		if !ok {
			return math.MaxInt
		}
		edges = append(edges, d, max(d-1, 1))
		return bound(d)
	}
	once := max(bound(0), 1)
	at := bound(0)
	for range 3 {
		if at < math.MaxInt {
			at = beyond(at)
		}
	}
	if once < math.MaxInt/3 {
		beyond(2*once - 1)
		beyond(3*once - 1)
	}
	slices.Sort(edges)
	return slices.Compact(edges)
}

// firstBeyond returns the shortest length for which a bound is more than n. It looks no further than ten years.
func firstBeyond(bound func(time.Duration) int, n int) (time.Duration, bool) {
	const longest = 10 * 365 * 24 * time.Hour
	low, high := time.Duration(0), time.Duration(1)
	for bound(high) <= n {
		if high > longest {
			return 0, false
		}
		low, high = high, 2*high
	}
	for low+1 < high { // it is beyond low, and not beyond high
		if middle := low + (high-low)/2; bound(middle) <= n {
			low = middle
		} else {
			high = middle
		}
	}
	return high, true
}

// Bound returns the most that one key is admitted in any stretch of time of the length d, counted in cost, by a
// [ratelimit.Limiter] with this limit and algorithm, and by others that count alike:
//
//   - TokenBucket: Burst, or Requests where that is 0, and Requests * d / Window. A bucket that is kept in a floating
//     point number gives tokens a little early, so that d counts as longer by a nanosecond and by a trillionth of the time
//     in which the bucket fills.
//   - FixedWindow: Requests for each window that the stretch can touch. The months and years that a Window of 30 or of
//     365 days stands for are taken to be the shortest, of 28 and of 365 days, wherever the stretch lies.
//   - SlidingWindow: as much as comes of a full window at its last nanosecond, and then of each further one what the
//     weight of the one before leaves at that moment, where the weight is rounded up. That is less than
//     Requests + Requests * d / Window. A limiter that rounds down may admit one more in each window.
//
// It is exact but for that and for months and years: for each d there is a timeline in which a limiter admits that much. A limit that
// [ratelimit.New] refuses is taken to admit nothing, and so is any with an unknown algorithm. A Limiter with several
// limits keeps the bounds of all.
func Bound(l ratelimit.Limit, a ratelimit.Algorithm) func(d time.Duration) int {
	if l.Requests < 1 || l.Window < 1 || l.Burst < 0 {
		return func(time.Duration) int { return 0 }
	}
	n, window := uint64(l.Requests), uint64(l.Window)
	switch a {
	case ratelimit.TokenBucket:
		burst := uint64(l.Burst)
		if burst == 0 {
			burst = n
		}
		early := 1 + uint64(min(math.Ceil(float64(burst)*float64(window)/float64(n)*1e-12), 1<<62))
		return func(d time.Duration) int { return sum(burst, share(n, length(d)+early, window)) }
	case ratelimit.FixedWindow:
		if window == uint64(30*24*time.Hour) {
			window = uint64(28 * 24 * time.Hour)
		}
		return func(d time.Duration) int {
			// The stretch begins in the last nanosecond of a window, and so is one longer than those behind that.
			windows := 1 + (length(d)+window-1)/window
			return sum(share(n, windows, 1))
		}
	case ratelimit.SlidingWindow:
		return func(d time.Duration) int { return slidingBound(n, window, length(d)) }
	default:
		return func(time.Duration) int { return 0 }
	}
}

// slidingBound is derived as follows. Let a stretch of d nanoseconds begin with all of a window, n, in its last
// nanosecond, and end at into nanoseconds of the window that is k windows later: d = 1 + (k-1)*window + into.
// The window before one weighs at least 1 in it, and so each full one behind the first has n-1. The last one has what
// the weight of the one before leaves, n - ceil(before*(window-into)/window) = n - before + floor(before*into/window),
// where before is n for k = 1, and n-1 otherwise. Less in one window never makes up for more in the next, but where n-1
// is nothing: then every other window has one.
func slidingBound(n, window, d uint64) int {
	if d == 0 {
		return sum(n)
	}
	k, into := 1+(d-1)/window, (d-1)%window
	switch {
	case k == 1:
		return sum(n, share(n, into, window))
	case n == 1:
		return sum(1 + k/2)
	default:
		return sum(n, share(n-1, k-1, 1), 1, share(n-1, into, window))
	}
}

func length(d time.Duration) uint64 { return uint64(max(d, 0)) }

// share returns n*part/whole, rounded down; the largest number where that is too large.
func share(n, part, whole uint64) uint64 {
	hi, lo := bits.Mul64(n, part)
	if hi >= whole {
		return math.MaxUint64
	}
	q, _ := bits.Div64(hi, lo, whole)
	return q
}

// sum adds up, to no more than an int holds.
func sum(parts ...uint64) int {
	total := uint64(0)
	for _, n := range parts {
		total += min(n, math.MaxInt-min(total, math.MaxInt))
	}
	return int(total)
}
