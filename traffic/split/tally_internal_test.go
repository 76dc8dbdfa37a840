package split

import (
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/race"
)

// TestHistogram: a quantile lies between the bounds, which are an eighth apart at most.
func TestHistogram(t *testing.T) {
	t.Parallel()
	for i := range slots - 1 {
		low, high := bounds(i)
		require.Equal(t, i, slot(low))
		require.Equal(t, i, slot(high-1))
		next, _ := bounds(i + 1)
		require.Equal(t, high, next)
		if low >= octave*time.Microsecond {
			require.LessOrEqual(t, float64(high-low), float64(low)/octave)
		}
	}
	low, _ := bounds(slots - 1)
	require.Greater(t, low, 15*time.Minute)
	require.Equal(t, slots-1, slot(math.MaxInt64))
	require.Zero(t, slot(-time.Second))

	rng := rand.New(rand.NewPCG(1, 2))
	var h histogram
	var all []time.Duration
	for range 1000 {
		d := time.Duration(rng.ExpFloat64() * float64(50*time.Millisecond))
		all = append(all, d)
		h.add(slot(d))
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.001, 0.5, 0.95, 0.999, 1, 2} {
		exact := all[max(int(math.Ceil(min(q, 1)*1000))-1, 0)]
		low, high := h.quantile(q)
		require.LessOrEqual(t, low, exact)
		require.Greater(t, high, exact)
	}
	low, high := new(histogram).quantile(0.5)
	require.Zero(t, low+high)
}

// TestTally: what is too old is forgotten, as in a list of all that was.
func TestTally(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 4))
	y := newTally(time.Second)
	type event struct {
		at     time.Duration
		failed bool
	}
	var all []event
	now := time.Duration(0)
	for range 5000 {
		now += time.Duration(rng.ExpFloat64() * float64(20*time.Millisecond))
		if rng.IntN(500) == 0 {
			now += 3 * time.Second
		}
		e := event{now, rng.IntN(3) == 0}
		all = append(all, e)
		y.add(now, outcome{failed: e.failed, took: time.Duration(rng.IntN(1000)) * time.Millisecond})
		var want counts
		for _, e := range slices.Backward(all) {
			if e.at/(100*time.Millisecond) <= now/(100*time.Millisecond)-10 {
				break
			}
			want.requests++
			if e.failed {
				want.errors++
			}
		}
		require.Equal(t, want, y.held())
		require.Equal(t, want.requests-want.errors, y.sum.n)
		var n uint64
		for _, c := range y.sum.slot {
			n += uint64(c)
		}
		require.Equal(t, y.sum.n, n)
	}
	y.reset()
	require.Zero(t, y.held())
}

// TestWorse: how many errors of how many are no chance, where the other side has none of 380.
func TestWorse(t *testing.T) {
	t.Parallel()
	for requests, errors := range map[uint64]uint64{20: 9, 50: 12, 100: 14, 1000: 24} {
		require.False(t, worse(counts{requests, errors - 1}, counts{380, 0}), requests)
		require.True(t, worse(counts{requests, errors}, counts{380, 0}), requests)
	}
	require.False(t, worse(counts{20, 20}, counts{380, 380}))
	require.False(t, worse(counts{380, 0}, counts{20, 20}))
	require.False(t, worse(counts{}, counts{}))
}

// TestChance: how often a canary that is no worse is rolled back by chance, in hours of traffic of which 5 % are the canary's.
func TestChance(t *testing.T) {
	t.Parallel()
	const rate, hours = 100, 10
	nobody := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for _, share := range []float64{0.001, 0.01, 0.05, 0.2} {
		rng := rand.New(rand.NewPCG(5, 6))
		s, err := New(Config{
			Arms:     []Arm{{Name: "stable", Weight: 95, Handler: nobody}, {Name: "canary", Weight: 5, Handler: nobody}},
			Rollback: Rule{Arm: "canary", Against: "stable", LatencyRatio: 1.5, ErrorShare: DefaultErrorShare},
		})
		require.NoError(t, err)
		st := newState([]int{95, 5}, -1)
		fired, n := 0, rate*3600*hours
		if race.Enabled {
			n /= hours
		}
		for i := range n {
			now := time.Duration(i) * time.Second / rate
			a := s.arms[s.inTurn(st)]
			if s.counted(a, s.epochs.Load(), now, outcome{failed: rng.Float64() < share, took: time.Duration(rng.ExpFloat64() * float64(50*time.Millisecond))}) {
				fired++
				require.NoError(t, s.SetWeights(map[string]int{"stable": 95, "canary": 5}))
			}
		}
		t.Logf("both fail %.1f %%: %d rollbacks in %d hours", share*100, fired, n/rate/3600)
		require.Zero(t, fired)
	}
}
