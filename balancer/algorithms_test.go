package balancer_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/internal/race"
	"github.com/gatehouse-go/gateway/policy"
)

// algorithms are all there are, hashing by the header field Key.
func algorithms() map[string]balancer.Algorithm {
	key := policy.ByHeader("Key")
	return map[string]balancer.Algorithm{
		"RoundRobin":       balancer.RoundRobin{},
		"Random":           balancer.Random{Seed: 1},
		"LeastConnections": balancer.LeastConnections{},
		"TwoChoices":       balancer.TwoChoices{Seed: 1},
		"PeakEWMA":         balancer.PeakEWMA{Seed: 1},
		"Ring":             balancer.Ring{Key: key},
		"Maglev":           balancer.Maglev{Key: key},
		"RingBounded":      balancer.Ring{Key: key, LoadFactor: 1.25},
		"MaglevBounded":    balancer.Maglev{Key: key, LoadFactor: 1.25},
		"Sticky": balancer.Sticky{
			Cookie: balancer.Cookie{Name: "target"}, Secrets: [][]byte{make([]byte, 16)}, Algorithm: balancer.Random{Seed: 1},
		},
	}
}

// skipWithRace skips tests on one goroutine that take long.
func skipWithRace(t *testing.T) {
	t.Helper()
	if race.Enabled {
		t.Skip("it counts, on one goroutine: the race detector finds nothing, and takes a minute")
	}
}

// small makes the tables of those that have one quick to fill.
func small(a balancer.Algorithm) balancer.Algorithm {
	switch a := a.(type) {
	case balancer.Ring:
		a.Slots = 5000
		return a
	case balancer.Maglev:
		a.Slots = 5000
		return a
	}
	return a
}

func newPool(tb testing.TB, a balancer.Algorithm, weights ...int) *balancer.Pool {
	tb.Helper()
	p, err := balancer.NewPool(balancer.Config{Targets: targets(weights...), Algorithm: a})
	require.NoError(tb, err)
	return p
}

// asking returns a request with a key.
func asking(key string) *http.Request {
	return &http.Request{Header: http.Header{"Key": {key}}}
}

// keys are requests with different keys.
func keys(n int) []*http.Request {
	out := make([]*http.Request, n)
	for i := range out {
		out[i] = asking(fmt.Sprintf("user-%d", i))
	}
	return out
}

// pickFor is a pick that is done at once.
func pickFor(tb testing.TB, p *balancer.Pool, q balancer.Query) *balancer.Member {
	tb.Helper()
	m, err := p.Pick(q)
	if err != nil {
		tb.Fatal(err)
	}
	p.Done(m, policy.Outcome{Status: 200, FirstByte: time.Millisecond})
	return m
}

// shares counts picks by target.
func shares(tb testing.TB, p *balancer.Pool, picks int, query func(i int) balancer.Query) map[string]float64 {
	tb.Helper()
	out := map[string]float64{}
	for i := range picks {
		out[pickFor(tb, p, query(i)).Target()] += 1 / float64(picks)
	}
	return out
}

// The share of each target in a million picks is within 2 % of what its weight says, for Ring within 15 %.
func TestShares(t *testing.T) {
	t.Parallel()
	skipWithRace(t)
	const picks = 1_000_000
	r := rand.New(rand.NewPCG(7, 7))
	unequal := make([]int, 10)
	for i := range unequal {
		unequal[i] = 50 + r.IntN(100)
	}
	byKey := keys(picks)
	for name, within := range map[string]float64{"RoundRobin": 0.02, "Random": 0.02, "Maglev": 0.02, "Ring": 0.15} {
		for _, weights := range [][]int{{0, 0}, {3, 2, 1}, {300, 100, 100, 0}, unequal, make([]int, 20)} {
			t.Run(fmt.Sprintf("%s/%d", name, len(weights)), func(t *testing.T) {
				t.Parallel()
				p := newPool(t, algorithms()[name], weights...)
				got := shares(t, p, picks, func(i int) balancer.Query { return balancer.Query{Request: byKey[i]} })
				requireShares(t, p, got, within)
			})
		}
	}
}

func requireShares(tb testing.TB, p *balancer.Pool, got map[string]float64, within float64) {
	tb.Helper()
	sum := 0.0
	for _, s := range p.Status() {
		sum += float64(s.Weight)
	}
	for _, s := range p.Status() {
		due := float64(s.Weight) / sum
		require.InDelta(tb, 1, got[s.URL]/due, within, "%s has %.4f of %.4f", s.URL, got[s.URL], due)
	}
}

// A choice sequence can be had again from the same seed, and there is another without.
func TestSeeds(t *testing.T) {
	t.Parallel()
	sequence := func(a balancer.Algorithm) string {
		p := newPool(t, a, 0, 0, 0, 0, 0, 0)
		out := make([]byte, 0, 200)
		held := make([]*balancer.Member, 0, 200)
		for i := range 200 {
			m, err := p.Pick(balancer.Query{Now: time.Unix(int64(i), 0)})
			require.NoError(t, err)
			for j, s := range p.Status() {
				if s.URL == m.Target() {
					out = append(out, byte('a'+j))
				}
			}
			if held = append(held, m); len(held) > 10 { // none of them is done before, so that EWMA knows no latency
				p.Done(held[i%5], policy.Outcome{Canceled: true})
				held[i%5] = held[len(held)-1]
				held = held[:len(held)-1]
			}
		}
		return string(out)
	}
	for name, with := range map[string]func(seed uint64) balancer.Algorithm{
		"Random":     func(seed uint64) balancer.Algorithm { return balancer.Random{Seed: seed} },
		"TwoChoices": func(seed uint64) balancer.Algorithm { return balancer.TwoChoices{Seed: seed} },
		"PeakEWMA":   func(seed uint64) balancer.Algorithm { return balancer.PeakEWMA{Seed: seed} },
	} {
		one, again := sequence(with(1)), sequence(with(1))
		require.Equal(t, one, again, name)
		require.NotEqual(t, one, sequence(with(2)), name)
		one, again = sequence(with(0)), sequence(with(0))
		require.NotEqual(t, one, again, name)
	}
	owners := func(seed uint64) string {
		p := newPool(t, balancer.Ring{Key: policy.ByHeader("Key"), Seed: seed}, 0, 0, 0)
		out := ""
		for _, r := range keys(50) {
			out += pickFor(t, p, balancer.Query{Request: r}).Target()
		}
		return out
	}
	one, again := owners(0), owners(0)
	require.Equal(t, one, again, "a hash is the same everywhere")
	require.NotEqual(t, one, owners(1))
}

// Whatever the algorithm, each target gets its tries before there is none left, and none twice.
func TestTriedAreAvoided(t *testing.T) {
	t.Parallel()
	for name, a := range algorithms() {
		for _, weights := range [][]int{{1}, {1, 1, 1}, {65535, 1, 1}, {65535, 65534, 3, 1, 1, 1}} {
			p := newPool(t, small(a), weights...)
			for range 50 {
				var tried []*balancer.Member
				for range weights {
					m := pickFor(t, p, balancer.Query{Request: asking("k"), Tried: tried})
					require.NotContains(t, tried, m, name)
					tried = append(tried, m)
				}
				_, err := p.Pick(balancer.Query{Request: asking("k"), Tried: tried})
				require.ErrorIs(t, err, balancer.ErrNoTarget, name)
			}
		}
	}
}

// What a tried target would have got goes to all others, not to its neighbour.
func TestTriedSharesAreSpread(t *testing.T) {
	t.Parallel()
	byKey := keys(60_000)
	for name, a := range algorithms() {
		if name == "LeastConnections" || name == "PeakEWMA" {
			continue // no shares to speak of
		}
		p := newPool(t, a, 0, 0, 0, 0, 0)
		tried := []*balancer.Member{pickFor(t, p, balancer.Query{Request: asking("k")})}
		got := shares(t, p, len(byKey), func(i int) balancer.Query { return balancer.Query{Request: byKey[i], Tried: tried} })
		require.Len(t, got, 4, name)
		for target, share := range got {
			require.InDelta(t, 0.25, share, 0.02, "%s: %s", name, target)
		}
	}
}

// All algorithms hold while targets come and go, under the race detector.
func TestAlgorithmsConcurrently(t *testing.T) {
	t.Parallel()
	for name, a := range algorithms() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := balancer.NewPool(balancer.Config{Targets: targets(1, 2, 3), Algorithm: small(a), SlowStart: time.Millisecond})
			require.NoError(t, err)
			byKey := keys(100)
			var wg sync.WaitGroup
			for g := range 4 {
				wg.Go(func() {
					for i := range 1000 {
						q := balancer.Query{Request: byKey[i%len(byKey)]}
						m, err := p.Pick(q)
						if err != nil {
							t.Error(err)
							return
						}
						if i%50 == 0 {
							if err := p.SetTargets(targets(1+g, 2, 3+i)[:1+i%3]); err != nil {
								t.Error(err)
							}
							p.Status()
							p.Cookie(q, m)
						}
						p.Done(m, policy.Outcome{Status: 200, FirstByte: time.Millisecond})
					}
				})
			}
			wg.Wait()
			for _, s := range p.Status() {
				require.Zero(t, s.InFlight)
			}
			require.NoError(t, p.Drained(t.Context()))
		})
	}
}

func TestAlgorithmParameters(t *testing.T) {
	t.Parallel()
	key := policy.ByHeader("Key")
	for _, tt := range []struct {
		algorithm balancer.Algorithm
		want      string
	}{
		{balancer.PeakEWMA{Decay: -1}, `PeakEWMA.Decay -1ns: is negative; 0 means 10s`},
		{balancer.Ring{}, `Ring.Key is missing; say by what requests are told apart, as with policy.ByConsumer()`},
		{balancer.Ring{Key: policy.ByHeader("a b")}, `Ring.Key: policy: ByHeader: "a b" is not a header name (RFC 9110 section 5.1); use letters, digits and hyphens, as in X-Tenant`},
		{balancer.Ring{Key: key, LoadFactor: 0.5}, `Ring.LoadFactor 0.5: must be at least 1, or 0 for no bound; 1.25 is usual`},
		{balancer.Ring{Key: key, LoadFactor: math.NaN()}, `Ring.LoadFactor NaN: must be at least 1, or 0 for no bound; 1.25 is usual`},
		{balancer.Ring{Key: key, Slots: 9}, `Ring.Slots 9: must be 10 to 4194304, or 0 for the default of 131101`},
		{balancer.Ring{Cookie: &balancer.Cookie{Name: "__Host-x", Domain: "a.test"}}, `Ring.Cookie.Name "__Host-x": begins with __Host-, with which there can be no Domain, no Path but / and no InsecureHTTP`},
		{balancer.Ring{Cookie: &balancer.Cookie{Name: "__secure-x", InsecureHTTP: true}}, `Ring.Cookie.Name "__secure-x": begins with __Secure-, with which there can be no InsecureHTTP`},
		{balancer.Maglev{Key: key, Slots: 1 << 23}, `Maglev.Slots 8388608: must be 10 to 4194304, or 0 for the default of 131101`},
		{balancer.Ring{Cookie: &balancer.Cookie{}}, `Ring.Cookie.Name "": is not a cookie's name (RFC 6265 section 4.1.1); use letters, digits and hyphens, as in target`},
	} {
		_, err := balancer.NewPool(balancer.Config{Targets: targets(1), Algorithm: tt.algorithm})
		require.EqualError(t, err, "balancer: Config.Algorithm: "+tt.want)
		_, err = tt.algorithm.NewPicker(nil)
		require.EqualError(t, err, tt.want)
	}
	_, err := balancer.NewPool(balancer.Config{
		Targets: []balancer.Target{{URL: "ftp://a", Priority: -1}}, Algorithm: balancer.Maglev{LoadFactor: -1, Slots: 1}, SlowStart: -time.Second,
	})
	for _, want := range []string{
		`Config.Targets[0].URL "ftp://a"`, `Config.Targets[0].Priority -1: is negative; 0 is the first tier`, `Config.Algorithm: Maglev.Key is missing`,
		`Config.Algorithm: Maglev.LoadFactor -1`, `Config.Algorithm: Maglev.Slots 1`, `Config.SlowStart -1s: is negative; 0 means none`,
	} {
		require.ErrorContains(t, err, want)
	}
}

func TestPicksAllocateNothing(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	r := asking("k")
	r.Header["Cookie"] = []string{"target=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}
	for name, a := range algorithms() {
		for _, weights := range [][]int{{0, 0}, {5, 1, 1}, make([]int, 100)} {
			p := newPool(t, a, weights...)
			tried := []*balancer.Member{pickFor(t, p, balancer.Query{})}
			for about, q := range map[string]balancer.Query{"first": {Request: r}, "second": {Request: r, Tried: tried}, "no request": {}} {
				require.Zero(t, testing.AllocsPerRun(1000, func() { pickFor(t, p, q) }), "%s of %d, %s", name, len(weights), about)
			}
		}
	}
	p, err := balancer.NewPool(balancer.Config{Targets: targets(1, 1), Algorithm: balancer.LeastConnections{}, Zone: "a", SlowStart: time.Hour})
	require.NoError(t, err)
	list := targets(1, 1, 1, 1)
	list[3].Zone, list[2].Priority = "a", 1
	require.NoError(t, p.SetTargets(list))
	require.Zero(t, testing.AllocsPerRun(1000, func() { pickFor(t, p, balancer.Query{}) }), "tiers and slow start")
}

// A pick takes about as long with 1,000 targets as with 2.
func BenchmarkAlgorithms(b *testing.B) {
	r := asking("user-4711")
	for name, a := range algorithms() {
		for _, n := range []int{2, 10, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				p := newPool(b, a, make([]int, n)...)
				now := time.Now()
				b.ReportAllocs()
				for b.Loop() {
					m, err := p.Pick(balancer.Query{Request: r, Now: now})
					if err != nil {
						b.Fatal(err)
					}
					p.Done(m, policy.Outcome{Status: 200, FirstByte: time.Millisecond})
				}
			})
		}
	}
}

// BenchmarkRebuild is what a change of the targets costs.
func BenchmarkRebuild(b *testing.B) {
	for name, a := range algorithms() {
		for _, n := range []int{10, 1000} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				p := newPool(b, a, make([]int, n)...)
				list := targets(make([]int, n)...)
				for i := 0; b.Loop(); i++ { // always others, as tables are kept
					if err := p.SetTargets(slices.Delete(slices.Clone(list), i%n, i%n+1)); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
