package ratelimit_test

import (
	"context"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway/internal/race"
	"github.com/gatehouse-go/gateway/ratelimit"
)

func take(t tester, l *ratelimit.Limiter, now time.Time, key string) ratelimit.Result {
	t.Helper()
	res, err := l.TakeAt(context.Background(), now, []byte(key), 1)
	require.Equal(t, res.Allowed, err == nil)
	return res
}

// TestAllocBound floods a table with a million keys: its memory stays within what the documentation says, a key that
// was there is still limited, and new ones are limited together.
func TestAllocBound(t *testing.T) {
	const keys, limit = 20_000, 5
	for _, tt := range []struct {
		algorithm ratelimit.Algorithm
		flood     int
		perKey    uint64
	}{{ratelimit.TokenBucket, 1_000_000, 200}, {ratelimit.FixedWindow, 200_000, 130}, {ratelimit.SlidingWindow, 200_000, 140}} {
		if race.Enabled {
			tt.flood = 50_000 // enough to fill it
		}
		before := heap()
		l := limiter(t, ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerMonth(limit)}, Algorithm: tt.algorithm, MaxKeys: keys})
		now := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
		for range limit {
			require.True(t, take(t, l, now, "legitimate").Allowed)
		}
		require.False(t, take(t, l, now, "legitimate").Allowed)

		var key [16]byte
		for i := range tt.flood {
			now = now.Add(time.Millisecond)
			binary.LittleEndian.PutUint64(key[:], uint64(i)*0x9e3779b97f4a7c15)
			_, _ = l.TakeAt(t.Context(), now, key[:], 1)
		}
		if grown := heap() - before; !race.Enabled {
			require.Less(t, grown, keys*tt.perKey, tt.algorithm)
		}
		stats := l.Stats()
		require.LessOrEqual(t, stats.Keys, keys+32)
		require.EqualValues(t, tt.flood+1, uint64(stats.Keys)+stats.Overflowed)

		require.Equal(t, "limit_exceeded", take(t, l, now, "legitimate").Reason, "a key that is in use is not forgotten")
		res := take(t, l, now, "a new one")
		require.Equal(t, "overflow", res.Reason)
		require.False(t, res.Allowed, "those without a place are limited together")
		require.Equal(t, "month", res.Exceeded)
		runtime.KeepAlive(l)
	}
}

// TestForgetting: a key is forgotten once it counts like a new one, when its place is needed, and never before.
func TestForgetting(t *testing.T) {
	t.Parallel()
	start := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		algorithm ratelimit.Algorithm
		after     time.Duration // one request has left no trace
	}{
		{ratelimit.TokenBucket, 6*time.Minute + 2}, // a tenth of the hour, rounded up twice
		{ratelimit.FixedWindow, time.Hour},
		{ratelimit.SlidingWindow, 2 * time.Hour},
	} {
		t.Run(tt.algorithm.String(), func(t *testing.T) {
			t.Parallel()
			l := limiter(t, ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerHour(10)}, Algorithm: tt.algorithm, MaxKeys: 2})
			require.Equal(t, "within_limit", take(t, l, start, "a").Reason)
			require.Equal(t, "within_limit", take(t, l, start, "b").Reason)
			require.Equal(t, "overflow", take(t, l, start, "c").Reason)
			require.Equal(t, ratelimit.Stats{Keys: 2, Overflowed: 1}, l.Stats())

			end := start.Add(tt.after)
			require.Equal(t, "overflow", take(t, l, end.Add(-10), "d").Reason, "a and b are in use")
			take(t, l, end, "b")
			require.Equal(t, "within_limit", take(t, l, end, "d").Reason, "a has gone")
			require.Equal(t, "overflow", take(t, l, end, "a").Reason)
			require.Equal(t, ratelimit.Stats{Keys: 2, Overflowed: 3}, l.Stats())
		})
	}
}

// TestForgettingOrder: in a full table exactly those keys make room that are no longer in use, in whatever order they came.
func TestForgettingOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		const keys = 500
		l := limiter(rt, ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerHour(100)}, MaxKeys: keys})
		start := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		spent := make([]int, keys) // a token takes 36 s to come back
		spend := func(i int) {
			cost := 1 + rnd.IntN(50)
			spent[i] += cost
			_, err := l.TakeAt(context.Background(), start, binary.AppendUvarint(nil, uint64(i)), cost)
			require.NoError(rt, err)
		}
		for i := range keys {
			spend(i)
		}
		again := rapid.SampledFrom([]int{0, 100}).Draw(rt, "again")
		for i := range again {
			spend(i)
		}
		back := rapid.IntRange(0, 101).Draw(rt, "back")
		room := 0
		for _, n := range spent {
			if n <= back {
				room++
			}
		}
		now := start.Add(time.Duration(back)*36*time.Second + time.Millisecond)
		// Where keys were used again the table has to look at them first, a few for each new key.
		for range again / 32 {
			take(rt, l, now, "one that makes it look")
		}
		before := l.Stats().Overflowed
		for i := range room - 1 {
			require.Equal(rt, "within_limit", take(rt, l, now, string(binary.AppendUvarint(nil, uint64(keys+i)))).Reason)
		}
		require.Equal(rt, before, l.Stats().Overflowed)
		take(rt, l, now, "one more")
		take(rt, l, now, "and another")
		require.Greater(rt, l.Stats().Overflowed, before)
	})
}

// TestOverflowIsLimited: what has no place in the table passes no more often than one key does, overflow counters apart.
func TestOverflowIsLimited(t *testing.T) {
	t.Parallel()
	const limit = 10
	for _, a := range algorithms {
		l := limiter(t, ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerDay(limit)}, Algorithm: a, MaxKeys: 1})
		now := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
		require.True(t, take(t, l, now, "first").Allowed)
		passed := 0
		for i := range 1000 {
			if take(t, l, now, string(binary.AppendUvarint(nil, uint64(i)))).Allowed {
				passed++
			}
		}
		require.Equal(t, limit, passed, a)
		peek, err := l.TakeAt(t.Context(), now, []byte("other"), 0)
		require.NoError(t, err, "to look costs nothing")
		require.Equal(t, "overflow", peek.Reason)
		require.Equal(t, 0, peek.Limits[0].Remaining)
	}
}

// TestTableModel: with random traffic of more keys than fit, what one key got between two moments never exceeds the bound of
// its bucket, however often it was forgotten and came back, and what had no place got no more than one key.
func TestTableModel(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms {
		t.Run(a.String(), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				limits := []ratelimit.Limit{ratelimit.PerSecond(2), ratelimit.PerMinute(12)}
				if a == ratelimit.TokenBucket {
					limits[0].Burst, limits[1].Burst = 2, 12
				}
				l := limiter(rt, ratelimit.Config{Limits: limits, Algorithm: a, MaxKeys: rapid.IntRange(1, 5).Draw(rt, "keys")})
				logs := map[byte][]event{}
				var overflow []event
				now := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
				for range rapid.IntRange(1, 200).Draw(rt, "requests") {
					now = now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(rt, "ms")) * time.Millisecond)
					key := rapid.ByteRange('a', 'h').Draw(rt, "key")
					res := take(rt, l, now, string(key))
					if !res.Allowed {
						continue
					}
					if res.Reason == "overflow" {
						overflow = append(overflow, event{now, 1})
						continue
					}
					// Forgetting gives nothing away, so the model, which forgets nothing, agrees.
					if !models[a](limits, logs[key], now, 1) {
						rt.Fatalf("%c passed at %s: %v", key, now, logs[key])
					}
					logs[key] = append(logs[key], event{now, 1})
				}
				for _, log := range logs {
					checkBounds(rt, a, limits, log)
				}
				checkBounds(rt, a, limits, overflow)
				require.LessOrEqual(rt, l.Stats().Keys, 5)
			})
		})
	}
}

// TestTableRace uses a small table from many goroutines, for the race detector and for the bounds.
func TestTableRace(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms {
		l := limiter(t, ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerSecond(3)}, Algorithm: a, MaxKeys: 3000})
		var wg sync.WaitGroup
		start := time.Now()
		for g := range 8 {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(1, uint64(g)))
				for i := range 3000 {
					key := binary.AppendUvarint(nil, rnd.Uint64N(10_000))
					now := start.Add(time.Duration(i) * time.Millisecond)
					res, _ := l.TakeAt(t.Context(), now, key, rnd.IntN(3))
					if res.Limits[0].Remaining > 3 || res.Limits[0].Remaining < 0 {
						t.Errorf("%+v", res)
					}
					if i%500 == 0 {
						l.Stats()
					}
				}
			})
		}
		wg.Wait()
		require.LessOrEqual(t, l.Stats().Keys, 3000+1)
	}
}

// TestTimeStandsStill: a time before the latest one counts as the latest, and a wild one does no harm to arithmetic.
func TestTimeStandsStill(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms {
		l := limiter(t, ratelimit.Config{Limits: minute(1), Algorithm: a})
		now := time.Now()
		require.True(t, take(t, l, now, "k").Allowed)
		require.False(t, take(t, l, now.Add(-time.Hour), "k").Allowed)
		require.False(t, take(t, l, time.Time{}, "k").Allowed)
		require.True(t, take(t, l, time.Unix(math.MaxInt32, 0), "k").Allowed)
		require.False(t, take(t, l, now.Add(time.Hour), "k").Allowed)
	}
}
