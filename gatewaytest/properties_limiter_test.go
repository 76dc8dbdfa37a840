package gatewaytest_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/ratelimit"
)

var algorithms = []ratelimit.Algorithm{ratelimit.TokenBucket, ratelimit.FixedWindow, ratelimit.SlidingWindow}

// TestLimitersKeepTheirBounds holds the limiters of package ratelimit to theirs.
func TestLimitersKeepTheirBounds(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms {
		t.Run(a.String(), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				limits := drawLimits(t, a)
				l, err := ratelimit.New(ratelimit.Config{Limits: limits, Algorithm: a})
				require.NoError(t, err)
				var bounds []func(time.Duration) int
				for _, limit := range limits {
					bounds = append(bounds, gatewaytest.Bound(limit, a))
				}
				gatewaytest.Properties{}.CheckLimiter(t, func(now time.Time, key string, cost int) bool {
					_, err := l.TakeAt(t.Context(), now, []byte(key), cost)
					return err == nil
				}, bounds...)
			})
		})
	}
}

// drawLimits draws one or two limits, of which the longer one allows more.
func drawLimits(t *rapid.T, a ratelimit.Algorithm) []ratelimit.Limit {
	windows := []time.Duration{
		time.Millisecond, time.Second, 7 * time.Second, time.Minute, time.Hour, 24 * time.Hour, 30 * 24 * time.Hour, 365 * 24 * time.Hour, 700 * 24 * time.Hour,
	}
	n, from := rapid.IntRange(1, 2).Draw(t, "limits"), rapid.IntRange(0, len(windows)-2).Draw(t, "window")
	var limits []ratelimit.Limit
	requests := 0
	for i, window := range windows[from : from+n] {
		requests += rapid.SampledFrom([]int{1, 2, 3, 7, 60, 1000, 999_983}).Draw(t, "requests")
		l := ratelimit.Limit{Name: fmt.Sprint("l", i), Requests: requests, Window: window}
		if a == ratelimit.TokenBucket {
			l.Burst = rapid.SampledFrom([]int{0, 1, 2, 10, 12345}).Draw(t, "burst")
		}
		limits = append(limits, l)
	}
	return limits
}

// bucket is a limiter of the kind that users write: it counts in requests times nanoseconds, so that all is exact.
type bucket struct {
	burst, requests, window int64
	// What may be wrong with it.
	more      int64 // in the bucket at first
	overflows bool  // the bucket has no rim
	costless  bool  // a request counts as one, whatever it costs
	seconds   bool  // it looks at the clock's seconds only
	keyless   bool  // a key empties the bucket of others, which is no fault in what it admits

	level map[string]int64
	last  map[string]time.Time
}

func (b *bucket) take(now time.Time, key string, cost int) bool {
	if b.level == nil {
		b.level, b.last = map[string]int64{}, map[string]time.Time{}
	}
	if b.keyless {
		key = ""
	}
	if b.seconds {
		now = now.Add(time.Second - 1).Truncate(time.Second)
	}
	level, known := b.level[key]
	switch {
	case !known:
		level = (b.burst + b.more) * b.window
	case b.overflows:
		level += int64(now.Sub(b.last[key])) * b.requests
	default:
		level = min(level+int64(now.Sub(b.last[key]))*b.requests, b.burst*b.window)
	}
	b.level[key], b.last[key] = level, now
	price := int64(cost) * b.window
	if level < price {
		return false
	}
	if b.costless {
		price = b.window
	}
	b.level[key] = level - price
	return true
}

func TestCheckLimiterFindsFaults(t *testing.T) {
	t.Parallel()
	limit := ratelimit.Limit{Requests: 5, Window: 2 * time.Second, Burst: 3}
	bound := gatewaytest.Bound(limit, ratelimit.TokenBucket)
	good := bucket{burst: 3, requests: 5, window: int64(2 * time.Second)}
	for name, c := range map[string]struct {
		change func(*bucket)
		fails  bool
	}{
		"nothing":                 {func(*bucket) {}, false},
		"too strict":              {func(b *bucket) { b.burst-- }, false},
		"keys together":           {func(b *bucket) { b.keyless = true }, false},
		"one too many at first":   {func(b *bucket) { b.more = 1 }, true},
		"one too many at once":    {func(b *bucket) { b.burst++ }, true},
		"a little too fast":       {func(b *bucket) { b.window -= b.window / 100 }, true},
		"a bucket without a rim":  {func(b *bucket) { b.overflows = true }, true},
		"cost is not counted":     {func(b *bucket) { b.costless = true }, true},
		"times are rounded up":    {func(b *bucket) { b.seconds = true }, true},
		"more in the same window": {func(b *bucket) { b.requests++ }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := gatewaytest.FailureOf(func(t *rapid.T) {
				b := good
				c.change(&b)
				gatewaytest.Properties{}.CheckLimiter(t, b.take, bound)
			})
			if !c.fails {
				require.Empty(t, text)
				return
			}
			require.Contains(t, text, "gatewaytest: the limiter admitted too much for key")
			require.Regexp(t, `\d+ in \S+, at most \d+ by bound 0`, text)
			require.Contains(t, text, "\n * 20", "the admissions that are too many are marked")
		})
	}
}

// TestCheckLimiterNeedsTheRightBound: each algorithm does something that the bound of another forbids, so that none of the
// bounds is a mere upper limit of all.
func TestCheckLimiterNeedsTheRightBound(t *testing.T) {
	t.Parallel()
	limit := ratelimit.PerMinute(10)
	for _, c := range []struct {
		limiter, bound ratelimit.Algorithm
		fails          bool
	}{
		{ratelimit.FixedWindow, ratelimit.TokenBucket, true},
		{ratelimit.FixedWindow, ratelimit.SlidingWindow, true},
		{ratelimit.TokenBucket, ratelimit.SlidingWindow, true},
		{ratelimit.TokenBucket, ratelimit.FixedWindow, false},
		{ratelimit.SlidingWindow, ratelimit.TokenBucket, false},
		{ratelimit.SlidingWindow, ratelimit.FixedWindow, false},
	} {
		text := gatewaytest.FailureOf(func(t *rapid.T) {
			l, err := ratelimit.New(ratelimit.Config{Limits: []ratelimit.Limit{limit}, Algorithm: c.limiter})
			require.NoError(t, err)
			gatewaytest.Properties{Keys: []string{"k"}}.CheckLimiter(t, func(now time.Time, key string, cost int) bool {
				res, _ := l.TakeAt(t.Context(), now, []byte(key), cost)
				return res.Allowed
			}, gatewaytest.Bound(limit, c.bound))
		})
		require.Equal(t, c.fails, text != "", "%s by the bound of %s: %s", c.limiter, c.bound, text)
	}
}

// TestBoundIsReached admits as much as there is in the most favourable timeline of each algorithm: the bound allows all of
// it, and not one more.
func TestBoundIsReached(t *testing.T) {
	t.Parallel()
	for _, limit := range []ratelimit.Limit{
		{Name: "l", Requests: 1, Window: time.Second}, {Name: "l", Requests: 2, Window: time.Second},
		{Name: "l", Requests: 10, Window: time.Minute}, {Name: "l", Requests: 999, Window: 7 * time.Second},
	} {
		for _, a := range algorithms {
			bound, w := gatewaytest.Bound(limit, a), limit.Window
			for _, d := range []time.Duration{0, 1, 2, w / 3, w / 2, w - 1, w, w + 1, w + w/3, 2 * w, 2*w + 1, 3*w + w/7, 5 * w, 5*w + 1} {
				got := mostAdmitted(t, limit, a, d)
				require.LessOrEqual(t, got, bound(d), "%s %v %s", a, limit, d)
				if a == ratelimit.TokenBucket {
					d -= 8 // as early as a bucket of this size may be in the bound, and need not be
				}
				require.GreaterOrEqual(t, got, bound(d), "%s %v %s", a, limit, d)
			}
		}
	}
}

// mostAdmitted fills a limiter from the last nanosecond of a window on, for a stretch d, as soon as it admits something or,
// where that takes from what is to come, as late as can be.
func mostAdmitted(t *testing.T, limit ratelimit.Limit, a ratelimit.Algorithm, d time.Duration) int {
	t.Helper()
	l, err := ratelimit.New(ratelimit.Config{Limits: []ratelimit.Limit{limit}, Algorithm: a})
	require.NoError(t, err)
	start := time.Unix(2_000_000_000, 0)
	start = start.Add(limit.Window - 1 - time.Duration(start.UnixNano()%int64(limit.Window)))
	total := 0
	take := func(at time.Time) {
		for {
			res, _ := l.TakeAt(t.Context(), at, nil, 1)
			if !res.Allowed {
				return
			}
			total++
		}
	}
	take(start)
	if a == ratelimit.SlidingWindow && limit.Requests > 1 {
		for at := start.Add(limit.Window); at.Before(start.Add(d)); at = at.Add(limit.Window) {
			take(at)
		}
		take(start.Add(d))
		return total
	}
	for at := start; ; {
		res, _ := l.TakeAt(t.Context(), at, nil, 1)
		if res.Allowed {
			total++
			continue
		}
		if at = at.Add(res.RetryAfter); at.After(start.Add(d)) {
			return total
		}
	}
}

func TestBoundOfNothing(t *testing.T) {
	t.Parallel()
	for _, l := range []ratelimit.Limit{{}, {Requests: 1}, {Window: 1}, {Requests: 1, Window: 1, Burst: -1}} {
		require.Zero(t, gatewaytest.Bound(l, ratelimit.TokenBucket)(time.Hour), l)
	}
	require.Zero(t, gatewaytest.Bound(ratelimit.PerHour(1), 99)(time.Hour))
	huge := ratelimit.Limit{Requests: math.MaxInt, Window: 1, Burst: math.MaxInt}
	for _, a := range algorithms {
		require.Equal(t, math.MaxInt, gatewaytest.Bound(huge, a)(math.MaxInt64), a)
		require.Positive(t, gatewaytest.Bound(ratelimit.PerHour(1), a)(-1), a)
	}
}

// TestBoundOfCalendar: the shortest months, wherever they are.
func TestBoundOfCalendar(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	month := gatewaytest.Bound(ratelimit.PerMonth(10), ratelimit.FixedWindow)
	require.Equal(t, []int{10, 20, 20, 30, 30}, []int{month(0), month(1), month(28 * day), month(28*day + 1), month(31 * day)})
	year := gatewaytest.Bound(ratelimit.PerYear(10), ratelimit.FixedWindow)
	require.Equal(t, []int{10, 20, 20, 30}, []int{year(0), year(1), year(365 * day), year(365*day + 1)})
}

func TestCheckLimiterWithoutBound(t *testing.T) {
	t.Parallel()
	admit := func(time.Time, string, int) bool { return true }
	require.Contains(t, gatewaytest.FailureOf(func(t *rapid.T) { gatewaytest.Properties{}.CheckLimiter(t, admit) }), "was given no bound")
	none := func(time.Duration) int { return 0 }
	require.Contains(t, gatewaytest.FailureOf(func(t *rapid.T) { gatewaytest.Properties{}.CheckLimiter(t, admit, none) }), "at most 0")
	all := func(time.Duration) int { return math.MaxInt }
	require.Empty(t, gatewaytest.FailureOf(func(t *rapid.T) { gatewaytest.Properties{}.CheckLimiter(t, admit, all) }))
	require.Contains(t, gatewaytest.FailureOf(func(t *rapid.T) { gatewaytest.Properties{}.CheckLimiter(t, admit, all, none) }), "by bound 1")
}
