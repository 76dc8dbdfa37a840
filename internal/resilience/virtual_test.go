package resilience_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/balancer/healthcheck"
	"github.com/gatehouse-go/gateway/gatewaytest"
)

// inMemory makes targets in memory. What begins them answers 204 at once.
func inMemory(t *testing.T, n int) ([]*gatewaytest.Upstream, []balancer.Target, func(context.Context, string, string) (net.Conn, error)) {
	t.Helper()
	all, targets := make([]*gatewaytest.Upstream, n), make([]balancer.Target, n)
	for i := range n {
		all[i] = gatewaytest.NewUpstream(fmt.Sprintf("t%d.test", i), gatewaytest.Respond(http.StatusNoContent, ""))
		targets[i].URL = all[i].URL()
		t.Cleanup(func() { require.NoError(t, all[i].Close()) })
	}
	return all, targets, gatewaytest.Dial(all...)
}

// When all targets were down, the first request after one is up again succeeds within one interval of checks; at once where too few
// healthy targets mean that all are asked.
func TestAllDownThenUp(t *testing.T) {
	t.Parallel()
	const interval = 2 * time.Second
	for _, panics := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			all, targets, dial := inMemory(t, 3)
			h := balancer.Health{Active: balancer.Active{Checker: healthcheck.HTTP{}, Interval: interval, UnhealthyInterval: interval, Successes: 1}}
			if !panics {
				h.Panic = -1
			}
			up := upstream(t, gateway.UpstreamConfig{Targets: targets, Dial: dial, Health: h, MaxIdleConns: -1})
			for _, u := range all {
				u.SetDown(true)
			}
			l := begin(up, 100, get)
			time.Sleep(10 * interval)
			require.Equal(t, panics, up.Status().Health.Panic)
			require.Zero(t, up.Status().Health.Healthy)
			for _, u := range all {
				u.SetDown(false)
			}
			upAt := time.Now()
			time.Sleep(10 * interval)
			results := l.end()
			first := time.Time{}
			for _, r := range results {
				switch {
				case r.status != http.StatusNoContent:
					require.Contains(t, []int{http.StatusBadGateway, http.StatusServiceUnavailable}, r.status)
				case first.IsZero():
					first = r.at
				}
			}
			t.Logf("panic %v: %d requests, the first success %v after the targets were up", panics, len(results), first.Sub(upAt))
			if panics {
				require.LessOrEqual(t, first.Sub(upAt), 20*time.Millisecond)
			} else {
				require.LessOrEqual(t, first.Sub(upAt), interval+interval/10+20*time.Millisecond)
			}
			require.Equal(t, 3, up.Status().Health.Healthy)
		})
	}
}

// A target that answers 500 to everything gets three requests, and one each time it is back.
func TestTargetThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		all, targets, dial := inMemory(t, 3)
		all[1].Script(gatewaytest.Respond(http.StatusInternalServerError, ""))
		up := upstream(t, gateway.UpstreamConfig{
			Targets: targets, Dial: dial, Health: balancer.Health{Passive: balancer.Passive{Statuses: []int{500, 502, 503, 504}}},
		})
		const rate, seconds = 300, 60
		l := begin(up, rate, get)
		began := time.Now()
		time.Sleep(time.Second + time.Millisecond)
		early := len(all[1].Requests())
		time.Sleep(seconds*time.Second - time.Since(began))
		results := l.end()
		bad := failures(results)
		share := float64(len(bad)-early) / float64(rate*(seconds-1))
		t.Logf("%d requests in a minute, %d failed, of which %d in the first second; %.3f %% of those after it", len(results), len(bad), early, 100*share)
		require.LessOrEqual(t, early, 3)
		require.Len(t, all[1].Requests(), len(bad))
		require.Less(t, share, 0.02)
		require.LessOrEqual(t, len(bad), 3+5)
	})
}

// What a target that is ten times slower than its neighbours gets, and what that makes of the latency of all.
func TestSlowTarget(t *testing.T) {
	t.Parallel()
	const fast, slow = 10 * time.Millisecond, 100 * time.Millisecond
	for _, a := range []balancer.Algorithm{
		balancer.RoundRobin{}, balancer.Random{Seed: 1}, balancer.LeastConnections{}, balancer.TwoChoices{Seed: 1}, balancer.PeakEWMA{Seed: 1},
	} {
		for _, hedge := range []time.Duration{0, 2 * fast} {
			synctest.Test(t, func(t *testing.T) {
				all, targets, dial := inMemory(t, 3)
				for i, u := range all {
					d := fast
					if i == 1 {
						d = slow
					}
					u.Script(gatewaytest.After(d, gatewaytest.Respond(http.StatusNoContent, "")))
				}
				c := gateway.UpstreamConfig{Targets: targets, Dial: dial, Algorithm: a, MaxConns: -1, MaxIdleConns: 1000}
				c.Retry.Hedge = hedge
				up := upstream(t, c)
				l := begin(up, 500, get)
				time.Sleep(8 * time.Second)
				results := l.end()
				require.Empty(t, failures(results))
				tries := 0
				for _, u := range all {
					tries += len(u.Requests())
				}
				share := float64(len(all[1].Requests())) / float64(tries)
				var took []time.Duration
				for _, r := range results {
					took = append(took, r.took)
				}
				slices.Sort(took)
				p50, p99 := took[len(took)/2], took[len(took)*99/100]
				t.Logf("%-27T hedge %4v: %5.2f %% of %d tries for the slow target, p50 %v, p99 %v", a, hedge, 100*share, tries, p50, p99)
				if _, ok := a.(balancer.PeakEWMA); ok {
					require.Less(t, share, 0.01)
					require.Less(t, p99, 2*fast)
				}
				require.LessOrEqual(t, float64(tries), 1.1*float64(len(results))+10, "hedging has a budget")
			})
		}
	}
}
