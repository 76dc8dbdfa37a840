package balancer_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/policy"
)

func TestTakeOut(t *testing.T) {
	t.Parallel()
	for _, a := range []balancer.Algorithm{balancer.RoundRobin{}, balancer.LeastConnections{}, balancer.PeakEWMA{}, balancer.Maglev{Key: policy.ByHeader("Key")}} {
		synctest.Test(t, func(t *testing.T) {
			s := newScript()
			p := func() *balancer.Pool {
				p, err := balancer.NewPool(balancer.Config{
					Targets: named("a", "b", "c"), Algorithm: a, SlowStart: 20 * time.Second,
					Health: balancer.Health{Active: balancer.Active{Checker: s, Interval: time.Second}},
				})
				require.NoError(t, err)
				return p
			}()
			var b *balancer.Member // with a request in flight
			for b == nil {
				m, err := p.Pick(balancer.Query{})
				require.NoError(t, err)
				if m.Target() == "http://b" {
					b = m
				} else {
					p.Done(m, well)
				}
			}
			require.NoError(t, p.TakeOut("http://b:80/"), "as a URL is written does not matter")
			require.NoError(t, p.TakeOut("http://b"))
			st := p.Status()[1]
			require.True(t, st.TakenOut)
			require.Zero(t, st.Weight)
			require.EqualValues(t, 1, st.InFlight)
			require.Equal(t, 2, p.Health().Targets)
			require.Zero(t, requestsOf(t, p, 100)["http://b"])
			drained := make(chan error, 1)
			go func() { drained <- p.Drained(t.Context()) }()
			synctest.Wait()
			require.Empty(t, drained)
			p.Done(b, well)
			require.NoError(t, <-drained)

			require.NoError(t, p.SetTargets([]balancer.Target{{URL: "http://a"}, {URL: "http://b", Weight: 50}, {URL: "http://c"}}))
			require.Zero(t, requestsOf(t, p, 100)["http://b"], "it stays out")
			mark := time.Now()
			time.Sleep(10 * time.Second)
			require.Greater(t, s.asked("b", mark), 5, "checks go on")

			require.NoError(t, p.PutBack("http://b"))
			require.False(t, p.Status()[1].TakenOut)
			require.Equal(t, 50, p.Status()[1].Weight)
			require.True(t, p.Status()[1].Warming)
			time.Sleep(time.Minute)
			if _, hashes := a.(balancer.Maglev); !hashes {
				require.Positive(t, requestsOf(t, p, 300)["http://b"])
			}

			// All may be out, and one that was removed is forgotten.
			for _, name := range []string{"a", "b", "c"} {
				require.NoError(t, p.TakeOut("http://"+name))
			}
			_, err := p.Pick(balancer.Query{})
			require.ErrorIs(t, err, balancer.ErrNoTarget)
			require.True(t, p.Health().Refusing)
			require.NoError(t, p.SetTargets(named("a", "c")))
			require.NoError(t, p.SetTargets(named("a", "b", "c")))
			require.Equal(t, map[string]int{"http://b": 30}, requestsOf(t, p, 30))
			require.NoError(t, p.Close())
		})
	}
}

// A target that is taken out while requests are picked gets none that Drained does not wait for.
func TestTakeOutUnderLoad(t *testing.T) {
	t.Parallel()
	p, err := balancer.NewPool(balancer.Config{Targets: named("a", "b")})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				m, err := p.Pick(balancer.Query{})
				if err != nil {
					t.Error(err)
					return
				}
				p.Done(m, well)
			}
		})
	}
	for range 200 {
		require.NoError(t, p.TakeOut("http://a"))
		require.NoError(t, p.Drained(t.Context()))
		before := p.Status()[0]
		require.Zero(t, before.InFlight)
		require.Equal(t, before.Requests, p.Status()[0].Requests)
		require.NoError(t, p.PutBack("http://a"))
	}
	cancel()
	all.Wait()
}

func TestTakeOutUnknown(t *testing.T) {
	t.Parallel()
	p, err := balancer.NewPool(balancer.Config{Targets: named("a")})
	require.NoError(t, err)
	for _, f := range []func(string) error{p.TakeOut, p.PutBack, (*balancer.Pool)(nil).TakeOut, new(balancer.Pool).PutBack} {
		require.ErrorIs(t, f("http://b"), balancer.ErrUnknownTarget)
		require.ErrorIs(t, f("nonsense"), balancer.ErrUnknownTarget)
		require.ErrorIs(t, f(""), balancer.ErrUnknownTarget)
	}
	require.NoError(t, p.Close())
	require.EqualError(t, p.TakeOut("http://a"), "balancer: pool is closed")
}
