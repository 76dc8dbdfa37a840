package balancer_test

import (
	"encoding/json"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/balancer"
)

// A target that is back gets requests although the next picker is not due yet, when there is no other.
func TestBackBeforeThePicker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var made atomic.Int64
		var idle atomic.Bool
		a := laborious{balancer.RoundRobin{}, &made, &idle}
		p, err := balancer.NewPool(balancer.Config{
			Targets: named("a", "b"), Algorithm: a, Health: balancer.Health{Passive: balancer.Passive{EjectionTime: 30 * time.Millisecond}},
		})
		require.NoError(t, err)
		end(t, p, "http://a", refused)
		require.EqualValues(t, 2, made.Load())
		time.Sleep(40 * time.Millisecond) // which is over before the next picker may be made
		require.Equal(t, balancer.Healthy, p.Status()[0].Health)
		require.Equal(t, map[string]int{"http://b": 10}, requestsOf(t, p, 10), "nothing is missing")
		end(t, p, "http://b", refused)
		require.EqualValues(t, 2, made.Load())
		require.Equal(t, map[string]int{"http://a": 10}, requestsOf(t, p, 10))
		_, err = p.Pick(balancer.Query{Tried: []*balancer.Member{pickFor(t, p, balancer.Query{})}})
		require.ErrorIs(t, err, balancer.ErrNoTarget)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, 2, p.Health().Healthy)
		require.Len(t, requestsOf(t, p, 10), 2)
		require.NoError(t, p.Close())
	})
}

// Changes of the targets begin no revolution anew: all of one weight get the same, however often others change.
func TestRevolutionsGoOn(t *testing.T) {
	t.Parallel()
	for name, a := range map[string]balancer.Algorithm{"round robin": balancer.RoundRobin{}, "least connections": balancer.LeastConnections{}} {
		for every := 1; every <= 3; every++ {
			p := newPool(t, a, 0, 0, 0, 0, 0, 0, 0)
			got := map[string]int{}
			for i := range 6000 {
				got[pickFor(t, p, balancer.Query{}).Target()]++
				if i%every == 0 { // the last one comes and goes, and the first changes its weight
					list := targets(0, 100, 100, 100, 100, 100, 0)
					list[0].Weight = 100 + i%2
					require.NoError(t, p.SetTargets(list[:6+i/every%2]))
				}
			}
			for i := 1; i < 6; i++ {
				require.InEpsilon(t, got[url(1)], got[url(i)], 0.02, "%s, a change behind each %d: %v", name, every, got)
			}
			require.Less(t, got[url(6)], got[url(1)], name)
		}
	}
}

// What nobody should do harms nobody.
func TestOddUse(t *testing.T) {
	t.Parallel()
	var none *balancer.Pool
	require.ErrorContains(t, none.SetTargets(named("a")), "closed")
	p := newPool(t, balancer.RoundRobin{}, 0, 0)
	p.Done(new(balancer.Member), refused)
	p.Done(nil, refused)
	old := refused
	old.Duration = time.Hour // it began before there was a pool
	require.WithinDuration(t, time.Now(), p.Status()[0].HealthSince, time.Minute, "since it is there")
	m, err := p.Pick(balancer.Query{})
	require.NoError(t, err)
	p.Done(m, old)
	require.Equal(t, 1, p.Health().Healthy)
	text, err := json.Marshal(p.Status()[0])
	require.NoError(t, err)
	require.Contains(t, string(text), `"Health":"ejected"`)
	_, err = balancer.NewPool(balancer.Config{Targets: named("a"), Health: balancer.Health{Active: balancer.Active{Checker: (*script)(nil)}}})
	require.ErrorContains(t, err, "Active.Checker: is a nil pointer")
	_, err = balancer.NewPool(balancer.Config{Targets: named("a"), Algorithm: (*balancer.Ring)(nil)})
	require.EqualError(t, err, "balancer: Config.Algorithm: is a nil pointer; leave it out for RoundRobin{}")
}
