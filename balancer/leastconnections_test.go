package balancer_test

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/policy"
)

// Of all targets that may be picked, one with the least of (in flight + 1) / weight is, whatever happened before; among idle
// ones any.
func TestLeastConnectionsIsExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.SampledFrom([]int{1, 3, balancer.MaxWeight}).Draw(t, "limit")
		weights := rapid.SliceOfN(rapid.IntRange(1, limit), 1, 20).Draw(t, "weights")
		p, err := balancer.NewPool(balancer.Config{Targets: targets(weights...), Algorithm: balancer.LeastConnections{}})
		if err != nil {
			t.Fatal(err)
		}
		var held []*balancer.Member
		for range 60 {
			switch action := rapid.IntRange(0, 9).Draw(t, "action"); {
			case action < 3 && len(held) > 0:
				at := rapid.IntRange(0, len(held)-1).Draw(t, "which")
				p.Done(held[at], policy.Outcome{Status: 200})
				held = slices.Delete(held, at, at+1)
				continue
			case action == 3: // the loads are known to the next picker, too
				i := rapid.IntRange(0, len(weights)-1).Draw(t, "target")
				weights[i] = rapid.IntRange(1, limit).Draw(t, "weight")
				if err := p.SetTargets(targets(weights...)); err != nil {
					t.Fatal(err)
				}
				continue
			}
			var tried []*balancer.Member
			if len(held) > 0 && rapid.Bool().Draw(t, "again") {
				tried = held[len(held)-1:]
			}
			load := func(s balancer.MemberStatus) float64 { return float64(s.InFlight+1) / float64(s.Weight) }
			status := p.Status()
			m, err := p.Pick(balancer.Query{Tried: tried})
			if err != nil {
				if len(tried) == len(weights) {
					continue
				}
				t.Fatal(err)
			}
			held = append(held, m)
			least, mine := math.Inf(1), balancer.MemberStatus{}
			idle := false // one of the best is
			for _, s := range status {
				if s.URL == m.Target() {
					mine = s
				}
				if len(tried) > 0 && s.URL == tried[0].Target() {
					continue
				}
				switch l := load(s); {
				case l < least:
					least, idle = l, s.InFlight == 0
				case l == least:
					idle = idle || s.InFlight == 0
				}
			}
			if load(mine) > least && (!idle || mine.InFlight > 0) {
				t.Fatalf("picked %+v of %+v", mine, status)
			}
		}
	})
}

// While there is little to do the weights decide, as in round robin.
func TestLeastConnectionsIdle(t *testing.T) {
	t.Parallel()
	for _, weights := range [][]int{{100, 100, 100}, {300, 200, 100}, {100, 1}} {
		p := newPool(t, balancer.LeastConnections{}, weights...)
		got := shares(t, p, 6060, func(int) balancer.Query { return balancer.Query{} })
		requireShares(t, p, got, 0.02)
	}
	// A light target does not get half of what two requests at a time make.
	p := newPool(t, balancer.LeastConnections{}, 100, 1)
	got := map[string]int{}
	last, err := p.Pick(balancer.Query{})
	require.NoError(t, err)
	for range 1000 {
		m, err := p.Pick(balancer.Query{})
		require.NoError(t, err)
		got[m.Target()]++
		p.Done(last, policy.Outcome{Status: 200})
		last = m
	}
	require.Less(t, got[url(1)], 30)
}

// The better of two by chance is nearly as good as the best of all.
func TestTwoChoicesKeepsQueuesShort(t *testing.T) {
	t.Parallel()
	longest := func(a balancer.Algorithm) (most int64) {
		p := newPool(t, a, make([]int, 100)...)
		for range 1000 { // 10 for each
			_, err := p.Pick(balancer.Query{})
			require.NoError(t, err)
		}
		for _, s := range p.Status() {
			most = max(most, s.InFlight)
		}
		return most
	}
	require.EqualValues(t, 10, longest(balancer.LeastConnections{}))
	require.LessOrEqual(t, longest(balancer.TwoChoices{Seed: 1}), int64(12))
	require.GreaterOrEqual(t, longest(balancer.Random{Seed: 1}), int64(16))

	// With nothing in flight the weights decide.
	p := newPool(t, balancer.TwoChoices{Seed: 1}, 300, 200, 100)
	requireShares(t, p, shares(t, p, 100_000, func(int) balancer.Query { return balancer.Query{} }), 0.03)
	p = newPool(t, balancer.TwoChoices{Seed: 1}, 65535, 1)
	busy, err := p.Pick(balancer.Query{})
	require.NoError(t, err)
	require.Equal(t, url(0), busy.Target())
	seen := false
	for range 100 {
		seen = seen || pickFor(t, p, balancer.Query{}).Target() == url(1)
	}
	require.True(t, seen)
}
