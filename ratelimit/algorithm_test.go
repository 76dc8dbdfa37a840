package ratelimit_test

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway/ratelimit"
)

var algorithms = []ratelimit.Algorithm{ratelimit.TokenBucket, ratelimit.FixedWindow, ratelimit.SlidingWindow}

// event is what was admitted.
type event struct {
	at   time.Time
	cost int
}

// model decides from the log of all that was admitted, by the definition of an algorithm and without any cleverness.
type model func(limits []ratelimit.Limit, log []event, now time.Time, cost int) bool

// bucketModel replays the log into a bucket whose level is kept in the nanoseconds that it took to fill.
func bucketModel(limits []ratelimit.Limit, log []event, now time.Time, cost int) bool {
	for _, l := range limits {
		token := int64(l.Window) / int64(l.Requests) // the generator sees to it that this is exact
		full := token * int64(l.Burst)
		level, last := full, now
		if len(log) > 0 {
			last = log[0].at
		}
		for _, e := range append(slices.Clip(log), event{now, cost}) {
			level = min(full, level+int64(e.at.Sub(last))) - token*int64(e.cost)
			last = e.at
		}
		if level < 0 {
			return false
		}
	}
	return true
}

// calendarModel adds up what has the same date, as far as it is written out.
func calendarModel(limits []ratelimit.Limit, log []event, now time.Time, cost int) bool {
	for _, l := range limits {
		layout := map[string]string{
			"second": "2006-01-02T15:04:05", "minute": "2006-01-02T15:04", "hour": "2006-01-02T15", "day": "2006-01-02", "month": "2006-01", "year": "2006",
		}[l.Name]
		used := cost
		for _, e := range log {
			if e.at.UTC().Format(layout) == now.UTC().Format(layout) {
				used += e.cost
			}
		}
		if used > l.Requests {
			return false
		}
	}
	return true
}

// slidingModel weighs the window before with a fraction.
func slidingModel(limits []ratelimit.Limit, log []event, now time.Time, cost int) bool {
	for _, l := range limits {
		into := now.UnixNano() % int64(l.Window)
		start := now.Add(-time.Duration(into))
		before, used := 0, cost
		for _, e := range log {
			switch {
			case !e.at.Before(start):
				used += e.cost
			case !e.at.Before(start.Add(-l.Window)):
				before += e.cost
			}
		}
		sum := big.NewRat(int64(l.Window)-into, int64(l.Window))
		sum.Mul(sum, big.NewRat(int64(before), 1)).Add(sum, big.NewRat(int64(used), 1))
		if sum.Cmp(big.NewRat(int64(l.Requests), 1)) > 0 {
			return false
		}
	}
	return true
}

var models = map[ratelimit.Algorithm]model{
	ratelimit.TokenBucket: bucketModel, ratelimit.FixedWindow: calendarModel, ratelimit.SlidingWindow: slidingModel,
}

// drawLimits returns one to three limits whose tokens take whole milliseconds, so that no decision hangs on a rounding.
func drawLimits(t *rapid.T, a ratelimit.Algorithm) []ratelimit.Limit {
	all := [][]ratelimit.Limit{
		{ratelimit.PerSecond(rapid.SampledFrom([]int{1, 2, 5, 10}).Draw(t, "second"))},
		{ratelimit.PerMinute(rapid.SampledFrom([]int{10, 12, 20, 30}).Draw(t, "minute"))},
		{ratelimit.PerHour(rapid.SampledFrom([]int{30, 40, 60}).Draw(t, "hour"))},
		{ratelimit.PerMonth(rapid.SampledFrom([]int{60, 100}).Draw(t, "month"))},
	}
	n := rapid.IntRange(1, 3).Draw(t, "limits")
	from := rapid.IntRange(0, len(all)-n).Draw(t, "first")
	var limits []ratelimit.Limit
	for _, l := range all[from : from+n] {
		if a == ratelimit.TokenBucket {
			l[0].Burst = rapid.IntRange(1, 2*l[0].Requests).Draw(t, "burst")
		}
		limits = append(limits, l[0])
	}
	return limits
}

func drawStep(t *rapid.T) time.Duration {
	unit := rapid.SampledFrom([]time.Duration{0, time.Millisecond, 100 * time.Millisecond, time.Second, time.Minute, time.Hour, 24 * time.Hour}).Draw(t, "unit")
	return time.Duration(rapid.IntRange(0, 40).Draw(t, "steps")) * unit
}

func capacity(limits []ratelimit.Limit) int {
	least := math.MaxInt
	for _, l := range limits {
		if l.Burst == 0 {
			l.Burst = l.Requests
		}
		least = min(least, l.Burst)
	}
	return least
}

// TestModel drives a Limiter and the model of its algorithm with the same requests of a few keys.
func TestModel(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms {
		t.Run(a.String(), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				limits := drawLimits(rt, a)
				l := limiter(rt, ratelimit.Config{Limits: limits, Algorithm: a})
				logs := map[string][]event{}
				now := time.Date(2027, 1, 31, 23, 59, 0, 0, time.UTC)
				for range rapid.IntRange(1, 60).Draw(rt, "requests") {
					now = now.Add(drawStep(rt))
					key := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "key")
					cost := rapid.IntRange(1, min(3, capacity(limits))).Draw(rt, "cost")
					want := models[a](limits, logs[key], now, cost)
					res, err := l.TakeAt(rt.Context(), now, []byte(key), cost)
					if res.Allowed != want || (err == nil) != want {
						rt.Fatalf("%s: cost %d allowed %v, the model says %v: %+v\nlog %v", now, cost, res.Allowed, want, res, logs[key])
					}
					if want {
						logs[key] = append(logs[key], event{now, cost})
					} else {
						checkRetry(rt, a, limits, logs[key], now, cost, res)
					}
				}
				for _, log := range logs {
					checkBounds(rt, a, limits, log)
				}
			})
		})
	}
}

// checkRetry holds RetryAfter to its word: then, and not before, the same request passes.
func checkRetry(t *rapid.T, a ratelimit.Algorithm, limits []ratelimit.Limit, log []event, now time.Time, cost int, res ratelimit.Result) {
	const slack = time.Microsecond // of the floats of a bucket
	if res.RetryAfter <= 0 || res.Exceeded == "" {
		t.Fatalf("a refusal without RetryAfter or limit: %+v", res)
	}
	if m := models[a]; !m(limits, log, now.Add(res.RetryAfter+slack), cost) {
		t.Fatalf("%s: refused again after %s", now, res.RetryAfter)
	} else if m(limits, log, now.Add(res.RetryAfter-slack), cost) {
		t.Fatalf("%s: would have passed before %s", now, res.RetryAfter)
	}
}

// checkBounds counts what was admitted in every stretch of time between two requests, and compares it with what the
// documentation of the algorithm promises.
func checkBounds(t *rapid.T, a ratelimit.Algorithm, limits []ratelimit.Limit, log []event) {
	for _, l := range limits {
		for i := range log {
			sum := 0
			for _, e := range log[i:] {
				sum += e.cost
				d := e.at.Sub(log[i].at)
				switch {
				case a == ratelimit.TokenBucket:
					if bound := float64(l.Burst) + float64(l.Requests)*d.Seconds()/l.Window.Seconds(); float64(sum) > bound+1e-6 {
						t.Fatalf("%s: %d in %s, at most %f", l.Name, sum, d, bound)
					}
				case d >= l.Window:
				case a == ratelimit.FixedWindow && sum > 2*l.Requests:
					t.Fatalf("%s: %d in %s", l.Name, sum, d)
				case a == ratelimit.SlidingWindow && sum >= 2*l.Requests && l.Requests > 1:
					t.Fatalf("%s: %d in %s", l.Name, sum, d)
				}
			}
		}
	}
}

// TestRefusedConsumesNothing: refusals by one limit leave the others as they were.
func TestRefusedConsumesNothing(t *testing.T) {
	t.Parallel()
	now := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, a := range algorithms {
		l := limiter(t, ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerMinute(3), ratelimit.PerHour(5)}, Algorithm: a})
		for range 3 {
			_, err := l.TakeAt(t.Context(), now, []byte("k"), 1)
			require.NoError(t, err)
		}
		before, err := l.TakeAt(t.Context(), now, []byte("k"), 0)
		require.NoError(t, err)
		require.Equal(t, 0, before.Limits[0].Remaining)
		require.Equal(t, 2, before.Limits[1].Remaining)
		for range 100 {
			res, err := l.TakeAt(t.Context(), now, []byte("k"), 1)
			require.ErrorIs(t, err, ratelimit.ErrExceeded)
			require.Equal(t, "minute", res.Exceeded)
		}
		after, err := l.TakeAt(t.Context(), now, []byte("k"), 0)
		require.NoError(t, err)
		require.Equal(t, before, after, a)
	}
}

// TestExactlyN: of many parallel calls, whose times are out of order, as many pass as the limits say.
func TestExactlyN(t *testing.T) {
	t.Parallel()
	const n, calls = 100, 1000
	for _, a := range algorithms {
		t.Run(a.String(), func(t *testing.T) {
			t.Parallel()
			l := limiter(t, ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerHour(n), ratelimit.PerDay(2 * n)}, Algorithm: a})
			// The calls straddle the end of an hour: a count must not go back to a window that has ended.
			now := time.Date(2027, 3, 1, 13, 0, 0, 0, time.UTC)
			_, err := l.TakeAt(t.Context(), now, []byte("k"), 1)
			require.NoError(t, err)
			var passed atomic.Int64
			var wg sync.WaitGroup
			for i := range calls {
				wg.Go(func() {
					if _, err := l.TakeAt(t.Context(), now.Add(-time.Duration(i%7)*time.Second), []byte("k"), 1); err == nil {
						passed.Add(1)
					}
				})
			}
			wg.Wait()
			require.EqualValues(t, n-1, passed.Load())
		})
	}
}

// TestWallClockSteps: a step of the system's clock by an hour neither grants nor takes anything.
func TestWallClockSteps(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms {
		for _, step := range []time.Duration{time.Hour, -time.Hour} {
			l := limiter(t, ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerDay(3)}, Algorithm: a})
			now := time.Now()
			for range 3 {
				_, err := l.TakeAt(t.Context(), now, nil, 1)
				require.NoError(t, err)
			}
			want, err := l.TakeAt(t.Context(), now, nil, 1)
			require.ErrorIs(t, err, ratelimit.ErrExceeded)
			stepped := stepWall(t, now, step)
			res, err := l.TakeAt(t.Context(), stepped, nil, 1)
			require.ErrorIs(t, err, ratelimit.ErrExceeded)
			require.Equal(t, want, res, "%s %s", a, step)
			// And the step back.
			res, err = l.TakeAt(t.Context(), now, nil, 1)
			require.ErrorIs(t, err, ratelimit.ErrExceeded)
			require.Equal(t, want, res)
		}
	}
}

// stepWall returns now as time.Now would return it had the wall clock been set meanwhile. Package time offers no way.
func stepWall(tb testing.TB, now time.Time, step time.Duration) time.Time {
	tb.Helper()
	stepped := now
	const nanosecondBits = 30 // below the seconds, in the first word of a Time with a monotonic reading
	*(*uint64)(unsafe.Pointer(&stepped)) += uint64(int64(step/time.Second)) << nanosecondBits
	require.EqualValues(tb, step/time.Second, stepped.Unix()-now.Unix())
	require.Zero(tb, stepped.Sub(now), "the monotonic reading stays")
	return stepped
}

// TestCalendar: the edges of months, years and leap days.
func TestCalendar(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		limit ratelimit.Limit
		at    string
		reset string
	}{
		{ratelimit.PerMonth(1), "2027-01-31T23:59:59Z", "2027-02-01T00:00:00Z"},
		{ratelimit.PerMonth(1), "2027-02-01T00:00:00Z", "2027-03-01T00:00:00Z"},
		{ratelimit.PerMonth(1), "2028-02-29T12:00:00Z", "2028-03-01T00:00:00Z"},
		{ratelimit.PerMonth(1), "2027-12-15T12:00:00+14:00", "2028-01-01T00:00:00Z"},
		{ratelimit.PerYear(1), "2028-12-31T23:59:59Z", "2029-01-01T00:00:00Z"},
		{ratelimit.PerYear(1), "2028-01-01T00:00:00Z", "2029-01-01T00:00:00Z"},
		{ratelimit.PerDay(1), "2027-03-01T00:30:00+01:00", "2027-03-01T00:00:00Z"},
		{ratelimit.PerHour(1), "1969-12-31T23:30:00Z", "1970-01-01T00:00:00Z"},
		{ratelimit.Limit{Name: "week", Requests: 1, Window: 7 * 24 * time.Hour}, "1970-01-07T00:00:00Z", "1970-01-08T00:00:00Z"},
	} {
		l := limiter(t, ratelimit.Config{Limits: []ratelimit.Limit{tt.limit}, Algorithm: ratelimit.FixedWindow})
		at, err := time.Parse(time.RFC3339, tt.at)
		require.NoError(t, err)
		reset, err := time.Parse(time.RFC3339, tt.reset)
		require.NoError(t, err)
		res, err := l.TakeAt(t.Context(), at, nil, 1)
		require.NoError(t, err)
		require.Equal(t, reset.Sub(at), res.Limits[0].Reset, tt.at)
		_, err = l.TakeAt(t.Context(), reset.Add(-1), nil, 1)
		require.ErrorIs(t, err, ratelimit.ErrExceeded)
		_, err = l.TakeAt(t.Context(), reset, nil, 1)
		require.NoError(t, err)
	}
}

// TestExtremes: the largest limits, the slowest refill, and times far away, neither overflow nor turn negative.
func TestExtremes(t *testing.T) {
	t.Parallel()
	const most = min(1<<40, math.MaxInt)
	longest := 10 * 365 * 24 * time.Hour
	limits := []ratelimit.Limit{
		{Name: "fast", Requests: most, Window: time.Millisecond},
		{Name: "slow", Requests: 1, Window: longest, Burst: most},
		{Name: "big", Requests: most, Window: longest},
		{Name: "small", Requests: 1, Window: time.Millisecond},
	}
	for _, a := range algorithms {
		for _, limit := range limits {
			if a != ratelimit.TokenBucket {
				limit.Burst = 0
			}
			l := limiter(t, ratelimit.Config{Limits: []ratelimit.Limit{limit}, Algorithm: a})
			most := max(limit.Burst, limit.Requests)
			if limit.Burst > 0 {
				most = limit.Burst
			}
			now := time.Now()
			for _, at := range []time.Time{{}, time.Unix(0, 0), now, now.Add(longest), now.AddDate(90, 0, 0), time.Unix(1<<55, 0), now} {
				for _, cost := range []int{1, most - 1, most, most + 1, math.MaxInt, math.MinInt, 0} {
					res, _ := l.TakeAt(t.Context(), at, []byte("k"), cost)
					what := fmt.Sprintf("%s %s at %s cost %d: %+v", a, limit.Name, at, cost, res)
					require.Len(t, res.Limits, 1, what)
					require.GreaterOrEqual(t, res.Limits[0].Remaining, 0, what)
					require.LessOrEqual(t, res.Limits[0].Remaining, most, what)
					require.GreaterOrEqual(t, res.Limits[0].Reset, time.Duration(0), what)
					require.GreaterOrEqual(t, res.RetryAfter, time.Duration(0), what)
					require.Equal(t, res.Exceeded == "", res.Allowed, what)
					if cost > most {
						require.Equal(t, "cost_too_high", res.Reason, what)
					}
				}
			}
		}
	}
}

// FuzzTake feeds what a client may choose into a limiter.
func FuzzTake(f *testing.F) {
	f.Add([]byte("k"), 1, int64(0), uint8(0))
	f.Add([]byte(nil), -1, int64(math.MinInt64), uint8(1))
	f.Add([]byte("\x00\x01consumer"), math.MaxInt, int64(math.MaxInt64), uint8(2))
	f.Fuzz(func(t *testing.T, key []byte, cost int, at int64, algorithm uint8) {
		const n = 5
		a := algorithms[int(algorithm)%len(algorithms)]
		l := limiter(t, ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerMinute(n), ratelimit.PerDay(2 * n)}, Algorithm: a, MaxKeys: 2})
		passed := 0
		for range 4 {
			res, err := l.TakeAt(t.Context(), time.Unix(0, at), key, cost)
			require.Equal(t, err == nil, res.Allowed)
			if err == nil {
				passed += max(cost, 0)
			}
			for _, s := range res.Limits {
				require.True(t, s.Remaining >= 0 && s.Remaining <= s.Requests && s.Reset >= 0 && s.Wait >= 0, "%+v", s)
			}
		}
		require.LessOrEqual(t, passed, n)
	})
}
