package balancer

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/race"
	"github.com/gatehouse-go/gateway/policy"
)

// competitors returns claimants of these weights.
func competitors(weights []float64) []claimant {
	out := make([]claimant, len(weights))
	for i, w := range weights {
		out[i] = claimant{id: hash(7, fmt.Append(nil, i)), weight: w}
	}
	return out
}

// leaving counts the slots that change hands when one claimant leaves.
func leaving(list []claimant, before []uint16, slots, who int) (moved int) {
	after, _ := takeTurns(slices.Delete(slices.Clone(list), who, who+1), slots)
	for s, now := range after {
		if int(now) >= who {
			now++
		}
		if now != before[s] {
			moved++
		}
	}
	return moved
}

// With any number of targets at most 1.5/n of the table changes hands when one leaves, and shares are as exact as the comment on
// Maglev says.
func TestMaglevTable(t *testing.T) {
	t.Parallel()
	if race.Enabled {
		t.Skip("it counts, on one goroutine: the race detector finds nothing, and takes a minute")
	}
	for _, tt := range []struct {
		n, slots int
		off      float64
	}{
		{2, defaultSlots, 0.001},
		{3, defaultSlots, 0.001},
		{10, defaultSlots, 0.001},
		{25, defaultSlots, 0.0015},
		{50, defaultSlots, 0.009},
		{100, defaultSlots, 0.04},
		{150, defaultSlots, 0.07},
		{180, defaultSlots, 0.08},
		{200, defaultSlots, 0.08},
		{250, defaultSlots, 0.1},
		{300, defaultSlots, 0.11},
		{400, defaultSlots, 0.14},
		{600, defaultSlots, 0.18},
		{1000, defaultSlots, 0.3},
		{3000, defaultSlots, 0.45},
		{3, 1000, 0.01},
		{10, 10_000, 0.005},
		{50, 10_000, 0.17},
		{1000, 1 << 20, 0.09},
	} {
		t.Run(fmt.Sprintf("%d of %d", tt.n, tt.slots), func(t *testing.T) {
			t.Parallel()
			list := competitors(slices.Repeat([]float64{100}, tt.n))
			table, next := takeTurns(list, tt.slots)
			require.Nil(t, next)
			share := make([]float64, tt.n)
			for _, owner := range table {
				share[owner] += float64(tt.n) / float64(len(table))
			}
			worst := 0.0
			for _, s := range share {
				worst = max(worst, math.Abs(s-1))
			}
			require.LessOrEqual(t, worst, tt.off, "off")
			sum, most := 0.0, 0.0
			tries := min(tt.n, 8)
			for i := range tries {
				who := i * tt.n / tries
				m := float64(leaving(list, table, tt.slots, who)) * float64(tt.n) / float64(len(table))
				sum += m / float64(tries)
				if most = max(most, m/max(share[who], 1)); tt.n <= 400 {
					require.LessOrEqual(t, m, 1.5, "of all keys, its own among them")
				}
			}
			t.Logf("%d of %d: off by %.2f %%, moved %.2f/n, at most %.2f/n or of its own", tt.n, tt.slots, 100*worst, sum, most)
			require.LessOrEqual(t, most, 1.5, "moved")
		})
	}
}

// Weights that differ much: each gets its share, to within some slots, and the table is full.
func TestMaglevWeights(t *testing.T) {
	t.Parallel()
	for name, weights := range map[string][]float64{
		"one to three":    {1, 2, 3},
		"one big":         slices.Concat([]float64{1000}, slices.Repeat([]float64{1}, 999)),
		"ten big":         slices.Concat(slices.Repeat([]float64{1000}, 10), slices.Repeat([]float64{1}, 100)),
		"as big as can":   {MaxWeight, 1},
		"all different":   {1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987},
		"a heavy quarter": slices.Concat(slices.Repeat([]float64{300}, 10), slices.Repeat([]float64{100}, 30)),
	} {
		for _, slots := range []int{minSlots, 1000, defaultSlots} {
			list, sum := competitors(weights), 0.0
			for _, w := range weights {
				sum += w
			}
			table, _ := takeTurns(list, slots)
			count := make([]float64, len(weights))
			for _, owner := range table {
				count[owner]++
			}
			for i, w := range weights {
				want := w / sum * float64(len(table))
				require.InDelta(t, want, count[i], 3+max(0.005*want, 2.5*math.Sqrt(want)), "%s, %d slots: %d", name, slots, i)
				if slots == defaultSlots && want > 1000 {
					require.InEpsilon(t, want, count[i], 0.02, "%s: %d", name, i)
				}
			}
			turned := slices.Clone(list)
			slices.Reverse(turned)
			other, _ := takeTurns(turned, slots)
			for s := range other {
				require.Equal(t, int(table[s]), len(list)-1-int(other[s]), "the order of targets counts")
			}
		}
	}
}

// A target that comes and goes has no table made for it each time, and few are kept.
func TestTablesAreKept(t *testing.T) {
	t.Parallel()
	for _, a := range []Algorithm{Ring{Key: policy.ByHeader("Key"), Slots: 1000}, Maglev{Key: policy.ByHeader("Key"), Slots: 1000}, Sticky{
		Cookie: Cookie{Name: "c"}, Secrets: [][]byte{make([]byte, 16)}, Algorithm: Ring{Key: policy.ByHeader("Key"), Slots: 1000},
	}} {
		var list []Target
		for i := range 10 {
			list = append(list, Target{URL: fmt.Sprintf("http://t%d.test", i)})
		}
		p, err := NewPool(Config{Targets: list, Algorithm: a})
		require.NoError(t, err)
		first := &p.home.tables.last[0].owner[0]
		require.NoError(t, p.SetTargets(list[1:]))
		require.NotSame(t, first, &p.home.tables.last[0].owner[0])
		require.NoError(t, p.SetTargets(list))
		require.Same(t, first, &p.home.tables.last[0].owner[0])
		require.Len(t, p.home.tables.last, 2)
		for i := range list {
			require.NoError(t, p.SetTargets(slices.Delete(slices.Clone(list), i, i+1)))
		}
		require.Len(t, p.home.tables.last, keptTables)
		list[3].Weight = 7 // is another table
		require.NoError(t, p.SetTargets(list))
		require.InDelta(t, 7, p.home.tables.last[0].claimants[3].weight, 0)

		// While one goes, the table without it is made before anybody waits for it.
		p.mu.Lock()
		p.state.Load().members[0].record.ejected.Store(true)
		p.mu.Unlock()
		tabular, ok := p.tabular()
		require.True(t, ok)
		p.prepare(tabular)
		prepared := p.home.tables.last[0]
		require.Len(t, prepared.claimants, 9)
		p.mu.Lock()
		p.refresh()
		p.mu.Unlock()
		p.remakeLater()
		require.Same(t, prepared, p.home.tables.last[0])
		require.True(t, p.state.Load().members[0].out)
		require.False(t, p.renewal.due)
		require.NoError(t, p.Close())
		p.remakeLater()
	}
}
