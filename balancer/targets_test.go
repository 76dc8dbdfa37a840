package balancer_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/policy"
)

// The next tier serves when the one before takes no traffic, and when all of its targets were tried.
func TestTiers(t *testing.T) {
	t.Parallel()
	list := []balancer.Target{
		{URL: "http://backup", Priority: 1}, {URL: "http://a"}, {URL: "http://b"}, {URL: "http://last", Priority: 7},
	}
	for name, a := range algorithms() {
		p, err := balancer.NewPool(balancer.Config{Targets: list, Algorithm: small(a)})
		require.NoError(t, err)
		byKey := keys(200)
		got := shares(t, p, len(byKey), func(i int) balancer.Query { return balancer.Query{Request: byKey[i]} })
		require.Len(t, got, 2, name)
		require.Positive(t, got["http://a"], name)
		require.Positive(t, got["http://b"], name)

		var tried []*balancer.Member
		order := ""
		for range 4 {
			m := pickFor(t, p, balancer.Query{Request: asking("k"), Tried: tried})
			order += " " + m.Target()
			tried = append(tried, m)
		}
		require.Regexp(t, `^ http://(a http://b|b http://a) http://backup http://last$`, order, name)

		pause := []balancer.Target{list[0], {URL: "http://a", Weight: balancer.NoTraffic}, {URL: "http://b", Weight: balancer.NoTraffic}, list[3]}
		require.NoError(t, p.SetTargets(pause))
		require.Equal(t, "http://backup", pickFor(t, p, balancer.Query{}).Target(), name)
		s := p.Status()
		require.Equal(t, []int{1, 0, 0, 7}, []int{s[0].Priority, s[1].Priority, s[2].Priority, s[3].Priority})
	}
}

// Targets in the zone of the pool come first, those elsewhere stand in.
func TestZones(t *testing.T) {
	t.Parallel()
	list := []balancer.Target{
		{URL: "http://far", Zone: "b"}, {URL: "http://near", Zone: "a"}, {URL: "http://near2", Zone: "a"}, {URL: "http://nowhere"},
		{URL: "http://backup", Zone: "a", Priority: 1},
	}
	for name, a := range algorithms() {
		byKey := keys(200)
		use := func(zone string) map[string]float64 {
			p, err := balancer.NewPool(balancer.Config{Targets: list, Algorithm: small(a), Zone: zone})
			require.NoError(t, err)
			require.Equal(t, "b", p.Status()[0].Zone)
			return shares(t, p, len(byKey), func(i int) balancer.Query { return balancer.Query{Request: byKey[i]} })
		}
		require.Len(t, use("a"), 2, name)
		require.Contains(t, use("a"), "http://near", name)
		require.Equal(t, map[string]float64{"http://far": 1}, roundShares(use("b")), name)
		require.Len(t, use(""), 4, name)
		require.Len(t, use("elsewhere"), 4, name)

		p, err := balancer.NewPool(balancer.Config{Targets: list, Algorithm: small(a), Zone: "a"})
		require.NoError(t, err)
		var tried []*balancer.Member
		for i := range 5 {
			m := pickFor(t, p, balancer.Query{Request: asking("k"), Tried: tried})
			require.Equal(t, i < 2, m.Target() == "http://near" || m.Target() == "http://near2", name)
			require.Equal(t, i == 4, m.Target() == "http://backup", name)
			tried = append(tried, m)
		}
	}
}

func roundShares(shares map[string]float64) map[string]float64 {
	for k, v := range shares {
		shares[k] = float64(int(v*1000+0.5)) / 1000
	}
	return shares
}

// slowStart is how long the slow starts of these tests are.
const slowStart = 100 * time.Second

// A target that is new gets a tenth of its share, then more, then all of it; the targets a pool begins with are not new.
func TestSlowStart(t *testing.T) {
	t.Parallel()
	byKey := keys(20_000)
	for name, a := range algorithms() {
		if name == "PeakEWMA" {
			continue // it has no shares to measure by; see below
		}
		synctest.Test(t, func(t *testing.T) {
			p, err := balancer.NewPool(balancer.Config{Targets: targets(make([]int, 9)...), Algorithm: a, SlowStart: slowStart})
			require.NoError(t, err)
			share := func() float64 { // in relation to its weight
				got := shares(t, p, len(byKey), func(i int) balancer.Query { return balancer.Query{Request: byKey[i]} })
				return got[url(9)] * 10
			}
			require.NoError(t, p.SetTargets(targets(make([]int, 10)...)))
			s := p.Status()
			require.Equal(t, []bool{false, true}, []bool{s[0].Warming, s[9].Warming}, name)
			require.InDelta(t, 0.1, share(), 0.06, name)
			time.Sleep(slowStart / 2)
			if name == "LeastConnections" {
				require.LessOrEqual(t, share(), 1.05, name)
			} else {
				require.InDelta(t, 0.5, share(), 0.12, name)
			}
			time.Sleep(slowStart / 2)
			require.InDelta(t, 1, share(), 0.15, name)
			require.False(t, p.Status()[9].Warming, name)

			// Where all are new there is nobody else.
			require.NoError(t, p.SetTargets([]balancer.Target{{URL: "http://a"}, {URL: "http://b"}}))
			require.False(t, p.Status()[0].Warming, name)
			// And it does not matter that only one of many is warm: they share what there is by weight.
			require.NoError(t, p.SetTargets(append(targets(make([]int, 19)...), balancer.Target{URL: "http://a"})))
			got := shares(t, p, len(byKey), func(i int) balancer.Query { return balancer.Query{Request: byKey[i]} })
			require.Less(t, got["http://a"], 0.6, name)
		})
	}
}

// One that comes back to traffic is new, also if it was paused only; one that stays is not, whatever its weight becomes.
func TestSlowStartOfWhom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, err := balancer.NewPool(balancer.Config{Targets: targets(0, balancer.NoTraffic, 0), SlowStart: slowStart})
		require.NoError(t, err)
		warming := func() (out []bool) {
			for _, s := range p.Status() {
				out = append(out, s.Warming)
			}
			return out
		}
		require.Equal(t, []bool{false, false, false}, warming())
		require.NoError(t, p.SetTargets(targets(0, 0, 500)))
		require.Equal(t, []bool{false, true, false}, warming())
		// It is given what it has already been tried with elsewhere.
		tried := []*balancer.Member{}
		for range 3 {
			tried = append(tried, pickFor(t, p, balancer.Query{Tried: tried}))
		}
		require.Equal(t, url(1), tried[2].Target())
		time.Sleep(slowStart)
		require.Equal(t, []bool{false, false, false}, warming())
		require.NoError(t, p.SetTargets(targets(0, balancer.NoTraffic, 0)))
		require.NoError(t, p.SetTargets(targets(0, 0, 0)))
		require.Equal(t, []bool{false, true, false}, warming())
	})
}

// During a slow start keys move to the new target one by one, each once.
func TestSlowStartMovesKeysOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		byKey := keys(5000)
		p, err := balancer.NewPool(balancer.Config{
			Targets: targets(0, 0, 0), Algorithm: balancer.Ring{Key: policy.ByHeader("Key")}, SlowStart: slowStart,
		})
		require.NoError(t, err)
		before := owners(t, p, byKey)
		require.NoError(t, p.SetTargets(targets(0, 0, 0, 0)))
		for range 11 {
			after := owners(t, p, byKey)
			for i := range before {
				if before[i] != after[i] {
					require.Equal(t, url(3), after[i])
				}
			}
			before = after
			time.Sleep(slowStart / 10)
		}
	})
}

// A removed target is listed until its last request has ended, and Drained waits for that.
func TestDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, balancer.LeastConnections{}, 0, 0)
		require.NoError(t, p.Drained(t.Context()))
		a, err := p.Pick(balancer.Query{})
		require.NoError(t, err)
		b, err := p.Pick(balancer.Query{})
		require.NoError(t, err)
		require.NoError(t, p.SetTargets([]balancer.Target{{URL: "http://c"}}))
		s := p.Status()
		require.Len(t, s, 3)
		for _, m := range s[1:] {
			require.True(t, m.Draining)
			require.EqualValues(t, 1, m.InFlight)
			require.Zero(t, m.Weight)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, p.Drained(ctx), context.DeadlineExceeded)

		// What comes back is the same as before.
		require.NoError(t, p.SetTargets([]balancer.Target{{URL: "http://c"}, {URL: b.Target()}}))
		require.EqualValues(t, 1, p.Status()[1].Requests)
		require.False(t, p.Status()[1].Draining)
		require.NoError(t, p.SetTargets([]balancer.Target{{URL: "http://c"}}))

		drained := make(chan error)
		go func() { drained <- p.Drained(t.Context()) }()
		synctest.Wait()
		p.Done(a, policy.Outcome{Status: 200})
		synctest.Wait()
		require.Len(t, p.Status(), 2)
		require.Empty(t, drained)
		p.Done(b, policy.Outcome{Status: 200})
		require.NoError(t, <-drained)
		require.Len(t, p.Status(), 1)
	})
	require.NoError(t, (*balancer.Pool)(nil).Drained(t.Context()))
	require.NoError(t, new(balancer.Pool).Drained(t.Context()))
}

// When Drained returns nothing is begun at the targets that were removed, however many picks there are at that moment.
func TestNoPickAfterDrained(t *testing.T) {
	t.Parallel()
	for name, a := range algorithms() {
		p := newPool(t, small(a), 0, 0)
		stop := make(chan struct{})
		var mu sync.RWMutex
		gone := map[string]bool{}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					m, err := p.Pick(balancer.Query{})
					if err != nil {
						t.Error(err)
						return
					}
					mu.RLock()
					if gone[m.Target()] {
						t.Errorf("%s: picked %s after it was drained", name, m.Target())
					}
					mu.RUnlock()
					p.Done(m, policy.Outcome{Status: 200})
				}
			})
		}
		for i := range 30 {
			require.NoError(t, p.SetTargets([]balancer.Target{{URL: fmt.Sprintf("http://%d.test", i)}}))
			require.NoError(t, p.Drained(t.Context()))
			if i > 0 {
				mu.Lock()
				gone[fmt.Sprintf("http://%d.test", i-1)] = true
				mu.Unlock()
			}
		}
		close(stop)
		wg.Wait()
	}
}

// Whether a request can go elsewhere is known without a pick.
func TestHasOther(t *testing.T) {
	t.Parallel()
	p, err := balancer.NewPool(balancer.Config{Targets: []balancer.Target{{URL: "http://a.test"}, {URL: "http://b.test"}, {URL: "http://c.test", Weight: balancer.NoTraffic}}})
	require.NoError(t, err)
	var tried []*balancer.Member
	for _, want := range []bool{true, true, false} {
		require.Equal(t, want, p.HasOther(tried))
		if m, err := p.Pick(balancer.Query{Tried: tried}); want {
			require.NoError(t, err)
			tried = append(tried, m)
		} else {
			require.ErrorIs(t, err, balancer.ErrNoTarget)
		}
	}
	require.NoError(t, p.Close())
	require.False(t, p.HasOther(nil))
	require.False(t, (*balancer.Pool)(nil).HasOther(nil))
}
