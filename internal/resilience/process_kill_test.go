package resilience_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/balancer/healthcheck"
	"github.com/gatehouse-go/gateway/internal/rawtest"
)

// processes starts targets.
func processes(t *testing.T, n int, log string) ([]*process, []balancer.Target) {
	t.Helper()
	all, targets := make([]*process, n), make([]balancer.Target, n)
	for i := range n {
		all[i] = startProcess(t, log)
		targets[i].URL = all[i].url()
	}
	return all, targets
}

// One of three targets is killed under 1,000 requests a second that may be repeated, and started again: none fails.
func TestKilledTarget(t *testing.T) {
	t.Parallel()
	all, targets := processes(t, 3, "")
	up := upstream(t, gateway.UpstreamConfig{Targets: targets})
	l := begin(up, 1000, func(n int) *http.Request {
		return httptest.NewRequest([]string{http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodHead}[n%4], "/", nil)
	})
	l.during(t, 500)
	all[1].kill(t)
	l.during(t, 1000)
	s := up.Status().Targets[1]
	require.Equal(t, balancer.Ejected, s.Health)
	l.during(t, 1000)
	require.Equal(t, s.Requests, up.Status().Targets[1].Requests, "it gets none")
	all[1].start(t)
	require.Eventually(t, func() bool { return up.Status().Targets[1].Health == balancer.Healthy }, 3*rawtest.Patience, time.Millisecond)
	l.during(t, 500)
	results := l.end()
	t.Logf("%d requests, %d failed; the killed target had %d tries, of which %d failed", len(results), len(failures(results)), s.Requests, s.Failed)
	require.Empty(t, failures(results))
	require.Greater(t, up.Status().Targets[1].Requests, s.Requests, "it is back")
}

// A target that is stopped takes connections and answers nothing. Checks notice it. What fails is what it had then, unless that may
// be repeated, and once it goes on it gets requests again.
func TestStoppedTarget(t *testing.T) {
	t.Parallel()
	for _, repeated := range []bool{false, true} {
		all, targets := processes(t, 3, "")
		var outAt, backAt atomic.Pointer[time.Time]
		c := gateway.UpstreamConfig{
			Targets: targets, Timeouts: gateway.Timeouts{FirstByte: 500 * time.Millisecond},
			Health: balancer.Health{
				Passive: balancer.Passive{Off: true},
				Active: balancer.Active{
					Checker: healthcheck.HTTP{Statuses: []int{204}}, Interval: 100 * time.Millisecond, Timeout: 250 * time.Millisecond,
					Failures: balancer.Failures{Timeouts: 2}, Successes: 1,
				},
				OnChange: func(c balancer.HealthChange) {
					if c.Target == targets[1].URL {
						at := outAt.Load()
						if c.To == balancer.Failing && at == nil {
							outAt.Store(&c.At)
						} else if c.To == balancer.Healthy {
							backAt.CompareAndSwap(nil, &c.At)
						}
					}
				},
			},
		}
		if repeated {
			c.Retry.PerTry = 300 * time.Millisecond
		}
		up := upstream(t, c)
		l := begin(up, 300, get)
		l.during(t, 300)
		stopped := time.Now()
		all[1].signal(t, syscall.SIGSTOP)
		require.Eventually(t, func() bool { return outAt.Load() != nil }, 3*rawtest.Patience, time.Millisecond)
		had := up.Status().Targets[1]
		l.during(t, 600)
		require.LessOrEqual(t, up.Status().Targets[1].Requests, had.Requests+3, "but for what was picked that very moment")
		all[1].signal(t, syscall.SIGCONT)
		goesOn := time.Now()
		require.Eventually(t, func() bool { return backAt.Load() != nil }, 3*rawtest.Patience, time.Millisecond)
		l.during(t, 300)
		require.Greater(t, up.Status().Targets[1].Requests, had.Requests+3, "it is back")
		results := l.end()
		bad := failures(results)
		t.Logf("repeated %v: %d requests, %d failed; noticed after %v, when the target had %d; back %v after it went on",
			repeated, len(results), len(bad), outAt.Load().Sub(stopped).Round(time.Millisecond), had.InFlight, backAt.Load().Sub(goesOn).Round(time.Millisecond))
		if repeated {
			require.Empty(t, bad)
			continue
		}
		for _, r := range bad {
			require.Equal(t, http.StatusGatewayTimeout, r.status)
			require.False(t, r.at.After(outAt.Load().Add(50*time.Millisecond)), "begun before it was noticed")
		}
	}
}

// POSTs to targets that are killed and started again fail, but none arrives twice.
func TestPostsToKilledTargets(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "posts")
	all, targets := processes(t, 2, log)
	up := upstream(t, gateway.UpstreamConfig{Targets: targets})
	l := begin(up, 1000, func(n int) *http.Request {
		return httptest.NewRequest(http.MethodPost, fmt.Sprintf("/%d", n), strings.NewReader(strings.Repeat("b", n%5000)))
	})
	for i := range 6 {
		l.during(t, 300)
		all[i%2].kill(t)
		l.during(t, 200)
		all[i%2].start(t)
	}
	results := l.end()
	text, err := os.ReadFile(log)
	require.NoError(t, err)
	seen := map[string]int{}
	for line := range strings.FieldsSeq(string(text)) {
		seen[line]++
		require.Equal(t, 1, seen[line], line)
	}
	good := len(results) - len(failures(results))
	t.Logf("%d POSTs, of which %d failed and %d arrived, none twice", len(results), len(failures(results)), len(seen))
	require.GreaterOrEqual(t, len(seen), good)
	require.Greater(t, good, len(results)/2)
}
