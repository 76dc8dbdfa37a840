package balancer_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/policy"
)

var errFailed = errors.New("failed")

// How requests end.
var (
	well     = policy.Outcome{Status: 200}
	refused  = policy.Outcome{Err: errFailed, Fault: policy.FaultRefused}
	reset    = policy.Outcome{Err: errFailed, Fault: policy.FaultConnection}
	cut      = policy.Outcome{Status: 200, Err: errFailed, Fault: policy.FaultConnection}
	unknown  = policy.Outcome{Err: errFailed}
	timeout  = policy.Outcome{Err: errFailed, Fault: policy.FaultTimeout}
	stale    = policy.Outcome{Err: errFailed, Fault: policy.FaultNone}
	canceled = policy.Outcome{Err: errFailed, Canceled: true}
)

func answer(status int) policy.Outcome { return policy.Outcome{Status: status} }

// named makes targets of names.
func named(names ...string) []balancer.Target {
	targets := make([]balancer.Target, len(names))
	for i, name := range names {
		targets[i].URL = "http://" + name
	}
	return targets
}

// end has the next request that goes to the target end so. Others end well.
func end(t *testing.T, p *balancer.Pool, target string, o policy.Outcome) {
	t.Helper()
	for range 100 {
		m, err := p.Pick(balancer.Query{})
		require.NoError(t, err)
		if m.Target() == target {
			p.Done(m, o)
			return
		}
		p.Done(m, answer(600)) // which says nothing
	}
	require.Failf(t, "it gets no requests", "%s of %v", target, p.Status())
}

// requestsOf counts who gets the next requests.
func requestsOf(t *testing.T, p *balancer.Pool, n int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		m, err := p.Pick(balancer.Query{})
		require.NoError(t, err)
		p.Done(m, answer(600))
		got[m.Target()]++
	}
	return got
}

// What is not counted takes nothing out that is on probation, either.
func TestProbationCounts(t *testing.T) {
	t.Parallel()
	for rate, out := range map[float64]bool{0: false, 0.9: true} {
		synctest.Test(t, func(t *testing.T) {
			p, err := balancer.NewPool(balancer.Config{Targets: named("a", "b"), Health: balancer.Health{Passive: balancer.Passive{
				Failures: balancer.Failures{Refused: -1, TCP: -1, Timeouts: 1, HTTP: -1}, FailureRate: rate,
			}}})
			require.NoError(t, err)
			end(t, p, "http://a", timeout)
			require.Equal(t, balancer.Ejected, p.Status()[0].Health)
			time.Sleep(2 * balancer.DefaultEjectionTime)
			end(t, p, "http://a", answer(503))
			require.Equal(t, out, p.Status()[0].Health == balancer.Ejected, "with a rate failures of all kinds count")
			if !out {
				end(t, p, "http://a", timeout)
				require.Equal(t, balancer.Ejected, p.Status()[0].Health)
			}
			require.NoError(t, p.Close())
			time.Sleep(time.Hour) // its timers end
		})
	}
}

// What requests say about a target.
func TestPassive(t *testing.T) {
	t.Parallel()
	times := func(n int, o policy.Outcome) []policy.Outcome { return slices.Repeat([]policy.Outcome{o}, n) }
	for _, tt := range []struct {
		about  string
		c      balancer.Passive
		ends   []policy.Outcome
		reason string // "" for still there
	}{
		{"refused once", balancer.Passive{}, times(1, refused), "connect_refused"},
		{"refused, which counts as any failure", balancer.Passive{Failures: balancer.Failures{Refused: -1}}, times(2, refused), ""},
		{"refused, likewise, often", balancer.Passive{Failures: balancer.Failures{Refused: -1}}, times(3, refused), "tcp_failures"},
		{"refused and reset, which is one kind then", balancer.Passive{Failures: balancer.Failures{Refused: -1}}, []policy.Outcome{refused, reset, refused}, "tcp_failures"},
		{"reset twice", balancer.Passive{}, times(2, reset), ""},
		{"reset", balancer.Passive{}, times(3, reset), "tcp_failures"},
		{"answers cut short", balancer.Passive{}, times(3, cut), "tcp_failures"},
		{"whatever it was", balancer.Passive{}, times(3, unknown), "tcp_failures"},
		{"reset, with a success between", balancer.Passive{}, []policy.Outcome{reset, reset, well, reset, reset}, ""},
		{"slow", balancer.Passive{}, times(3, timeout), "timeouts"},
		{"two kinds, each counted by itself", balancer.Passive{}, []policy.Outcome{reset, timeout, reset, timeout}, ""},
		{"not counted", balancer.Passive{Failures: balancer.Failures{TCP: -1, Timeouts: -1, HTTP: -1}}, append(append(times(9, reset), times(9, timeout)...), times(9, answer(503))...), ""},
		{"closed kept connections", balancer.Passive{}, times(99, stale), ""},
		{"closed kept connections, which end no row, either", balancer.Passive{}, []policy.Outcome{reset, reset, stale, reset}, "tcp_failures"},
		{"clients that leave", balancer.Passive{}, times(99, canceled), ""},
		{"503", balancer.Passive{}, times(3, answer(503)), "http_failures"},
		{"500, which may be the request's fault", balancer.Passive{}, times(99, answer(500)), ""},
		{"500, which is one", balancer.Passive{Statuses: []int{500}}, times(3, answer(500)), "http_failures"},
		{"503, which is none then", balancer.Passive{Statuses: []int{500}}, times(99, answer(503)), ""},
		{"404", balancer.Passive{}, times(99, answer(404)), ""},
		{"a status that is a success", balancer.Passive{SuccessStatuses: []int{200}}, []policy.Outcome{reset, reset, well, reset}, ""},
		{"a status that says nothing", balancer.Passive{SuccessStatuses: []int{200}}, []policy.Outcome{reset, reset, answer(404), reset}, "tcp_failures"},
		{"a status that would be a failure", balancer.Passive{SuccessStatuses: []int{502}}, append(times(9, answer(502)), times(3, answer(503))...), "http_failures"},
		{"off", balancer.Passive{Off: true}, times(99, refused), ""},
		{"half of twenty", balancer.Passive{FailureRate: 0.5}, times(9, well), ""},
		{
			"half of twenty, in turn", balancer.Passive{FailureRate: 0.5, Statuses: []int{500}},
			slices.Repeat([]policy.Outcome{well, answer(500)}, 10),
			"failure_rate",
		},
		{"few of twenty", balancer.Passive{FailureRate: 0.5}, []policy.Outcome{reset, well, reset, well, reset, well}, ""},
		{"the twentieth request is well, and half were not", balancer.Passive{FailureRate: 0.5, MinRequests: 4}, []policy.Outcome{reset, reset, well, well}, "failure_rate"},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			var told []balancer.HealthChange
			p, err := balancer.NewPool(balancer.Config{
				Targets: named("a", "b", "c"), Health: balancer.Health{Passive: tt.c, OnChange: func(c balancer.HealthChange) { told = append(told, c) }},
			})
			require.NoError(t, err)
			for _, o := range tt.ends {
				end(t, p, "http://b", o)
			}
			s := p.Status()[1]
			require.Equal(t, tt.reason, s.HealthReason)
			got := requestsOf(t, p, 300)
			if tt.reason == "" {
				require.Equal(t, balancer.Healthy, s.Health)
				require.Equal(t, 100, got["http://b"])
				require.Empty(t, told)
				return
			}
			require.Equal(t, balancer.Ejected, s.Health)
			require.Equal(t, map[string]int{"http://a": 150, "http://c": 150}, got)
			require.EqualValues(t, 1, s.Ejections)
			require.Len(t, told, 1)
			c := told[0]
			require.Equal(t, balancer.PoolHealth{Targets: 3, Healthy: 2, Share: 2.0 / 3}, c.Pool)
			require.Equal(t, c.Pool, p.Health())
			require.Contains(t, c.String(), "http://b: healthy to ejected for 1")
			require.Contains(t, c.String(), tt.reason)
			require.Contains(t, c.String(), "; 2 of 3 are healthy")
		})
	}
}

// Requests that were sent before a target was ejected say nothing about it afterwards.
func TestLateOutcomes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, err := balancer.NewPool(balancer.Config{Targets: named("a", "b"), Health: balancer.Health{Panic: 1}})
		require.NoError(t, err)
		time.Sleep(time.Second)
		end(t, p, "http://a", refused)
		require.Equal(t, balancer.Ejected, p.Status()[0].Health)
		time.Sleep(time.Second)
		end(t, p, "http://a", policy.Outcome{Status: 200, Duration: 1500 * time.Millisecond})
		require.Equal(t, balancer.Ejected, p.Status()[0].Health, "sent before")
		end(t, p, "http://a", policy.Outcome{Status: 200, Duration: 500 * time.Millisecond})
		require.Equal(t, balancer.Healthy, p.Status()[0].Health, "sent after, as all get requests")
		require.Equal(t, "request_succeeded", p.Status()[0].HealthReason)
		end(t, p, "http://a", policy.Outcome{Err: errFailed, Duration: 1500 * time.Millisecond})
		require.Equal(t, balancer.Healthy, p.Status()[0].Health)
	})
}

// An ejection ends by itself, and the next is longer, unless the target was well for long.
func TestEjectionTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const first, most = 10 * time.Second, 60 * time.Second
		var told []balancer.HealthChange
		p, err := balancer.NewPool(balancer.Config{Targets: named("a", "b"), Health: balancer.Health{
			Passive:  balancer.Passive{EjectionTime: first, MaxEjectionTime: most},
			OnChange: func(c balancer.HealthChange) { told = append(told, c) },
		}})
		require.NoError(t, err)
		out := func() time.Duration {
			told = nil
			began := time.Now()
			end(t, p, "http://a", reset)
			require.Len(t, told, 1)
			require.WithinDuration(t, began.Add(told[0].EjectedFor), p.Status()[0].EjectedUntil, time.Microsecond)
			time.Sleep(told[0].EjectedFor - time.Nanosecond)
			require.Zero(t, requestsOf(t, p, 10)["http://a"])
			time.Sleep(2 * time.Nanosecond)
			synctest.Wait()
			require.Equal(t, 5, requestsOf(t, p, 10)["http://a"], "without any traffic")
			require.Len(t, told, 2)
			require.Equal(t, "ejection_over", told[1].Reason)
			require.Zero(t, p.Status()[0].EjectedUntil)
			return told[0].EjectedFor
		}
		about := func(want, got time.Duration) {
			t.Helper()
			require.GreaterOrEqual(t, got, want)
			require.LessOrEqual(t, got, want+want/8)
		}
		end(t, p, "http://a", reset)
		end(t, p, "http://a", reset)
		about(first, out())
		// It is on probation, so that one failure is enough.
		require.Equal(t, balancer.Healthy, p.Status()[0].Health)
		about(2*first, out())
		require.Equal(t, "failed_on_probation", told[0].Reason)
		about(4*first, out())
		about(most, out())
		about(most, out())
		end(t, p, "http://a", well) // ends the probation
		end(t, p, "http://a", reset)
		require.Equal(t, balancer.Healthy, p.Status()[0].Health)
		end(t, p, "http://a", reset)
		about(most, out())
		end(t, p, "http://a", well)
		time.Sleep(2 * first) // of the three doublings one is left
		end(t, p, "http://a", reset)
		end(t, p, "http://a", reset)
		about(2*first, out())
		end(t, p, "http://a", well)
		time.Sleep(time.Hour)
		end(t, p, "http://a", reset)
		end(t, p, "http://a", reset)
		about(first, out())
		require.EqualValues(t, 8, p.Status()[0].Ejections)
		require.NoError(t, p.Close())
	})
}

// How much is taken out at a time, and what happens when too much is.
func TestTooManyOut(t *testing.T) {
	t.Parallel()
	type want struct {
		ejected int
		health  balancer.PoolHealth
		gets    map[string]int // of 1200 requests; nil for refused
	}
	heavy := named("a", "b", "c")
	heavy[0].Weight = 300
	spare := append(named("a", "b"), balancer.Target{URL: "http://c", Priority: 1}, balancer.Target{URL: "http://d", Priority: 1})
	for _, tt := range []struct {
		about   string
		targets []balancer.Target
		health  balancer.Health
		o       policy.Outcome
		fail    []string
		want    want
	}{
		{"half of four", named("a", "b", "c", "d"), balancer.Health{}, reset, []string{"a", "b", "c"}, want{2, balancer.PoolHealth{Targets: 4, Healthy: 2, Share: 0.5}, map[string]int{"c": 600, "d": 600}}},
		{"one of two", named("a", "b"), balancer.Health{}, reset, []string{"a", "b"}, want{1, balancer.PoolHealth{Targets: 2, Healthy: 1, Share: 0.5}, map[string]int{"b": 1200}}},
		{"one of two, though that is more than may be", named("a", "b"), balancer.Health{MaxEjected: 0.1}, reset, []string{"a", "b"}, want{1, balancer.PoolHealth{Targets: 2, Healthy: 1, Share: 0.5}, map[string]int{"b": 1200}}},
		{"the only one stays", named("a"), balancer.Health{}, reset, []string{"a"}, want{0, balancer.PoolHealth{Targets: 1, Healthy: 1, Share: 1}, map[string]int{"a": 1200}}},
		{"the only one may go", named("a"), balancer.Health{MaxEjected: 1, Panic: -1}, reset, []string{"a"}, want{1, balancer.PoolHealth{Targets: 1, Refusing: true}, nil}},
		{"by weight", heavy, balancer.Health{MaxEjected: 0.4}, reset, []string{"b", "c", "a"}, want{2, balancer.PoolHealth{Targets: 3, Healthy: 1, Share: 0.6}, map[string]int{"a": 1200}}},
		{"what refuses goes all the same, until all get requests", named("a", "b", "c", "d"), balancer.Health{}, refused, []string{"a", "b", "c"}, want{3, balancer.PoolHealth{Targets: 4, Healthy: 1, Share: 0.25, Panic: true}, map[string]int{"a": 300, "b": 300, "c": 300, "d": 300}}},
		{"all refuse", named("a", "b", "c", "d"), balancer.Health{}, refused, []string{"a", "b", "c", "d"}, want{4, balancer.PoolHealth{Targets: 4, Panic: true}, map[string]int{"a": 300, "b": 300, "c": 300, "d": 300}}},
		{"the only one refuses", named("a"), balancer.Health{}, refused, []string{"a"}, want{1, balancer.PoolHealth{Targets: 1, Panic: true}, map[string]int{"a": 1200}}},
		{"no panic", named("a", "b", "c", "d"), balancer.Health{Panic: -1}, refused, []string{"a", "b", "c"}, want{3, balancer.PoolHealth{Targets: 4, Healthy: 1, Share: 0.25}, map[string]int{"d": 1200}}},
		{"no panic, and none left", named("a", "b"), balancer.Health{Panic: -1}, refused, []string{"a", "b"}, want{2, balancer.PoolHealth{Targets: 2, Refusing: true}, nil}},
		{"panic below all", named("a", "b", "c", "d"), balancer.Health{Panic: 1}, refused, []string{"a"}, want{1, balancer.PoolHealth{Targets: 4, Healthy: 3, Share: 0.75, Panic: true}, map[string]int{"a": 300, "b": 300, "c": 300, "d": 300}}},
		{"enough", named("a", "b", "c", "d"), balancer.Health{MinHealthy: 0.5}, refused, []string{"a"}, want{1, balancer.PoolHealth{Targets: 4, Healthy: 3, Share: 0.75}, map[string]int{"b": 400, "c": 400, "d": 400}}},
		{"not enough", named("a", "b", "c", "d"), balancer.Health{MinHealthy: 0.5}, refused, []string{"a", "b"}, want{2, balancer.PoolHealth{Targets: 4, Healthy: 2, Share: 0.5, Refusing: true}, nil}},
		{"another tier takes over", spare, balancer.Health{}, refused, []string{"a", "b"}, want{2, balancer.PoolHealth{Targets: 4, Healthy: 2, Share: 0.5}, map[string]int{"c": 600, "d": 600}}},
		{"a tier in part", spare, balancer.Health{}, refused, []string{"a"}, want{1, balancer.PoolHealth{Targets: 4, Healthy: 3, Share: 0.75}, map[string]int{"b": 840, "c": 180, "d": 180}}},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { // where no picker takes so long that the next is put off
				p, err := balancer.NewPool(balancer.Config{Targets: tt.targets, Health: tt.health})
				require.NoError(t, err)
				for _, name := range tt.fail {
					for range 3 {
						if s := p.Status(); s[0].Priority == s[len(s)-1].Priority || name != "c" {
							endIfAsked(p, "http://"+name, tt.o)
						}
					}
				}
				ejected := 0
				for _, s := range p.Status() {
					if s.Health == balancer.Ejected {
						ejected++
					}
				}
				require.Equal(t, tt.want.ejected, ejected)
				require.Equal(t, tt.want.health, p.Health())
				if tt.want.gets == nil {
					_, err := p.Pick(balancer.Query{})
					require.ErrorIs(t, err, balancer.ErrNoTarget)
					require.False(t, p.HasOther(nil))
					return
				}
				got := requestsOf(t, p, 1200)
				for name, n := range tt.want.gets {
					require.InDelta(t, n, got["http://"+name], 2, "%s of %v", name, got)
				}
				require.Len(t, got, len(tt.want.gets))
			})
		})
	}
}

// endIfAsked is end for a target that may get none.
func endIfAsked(p *balancer.Pool, target string, o policy.Outcome) {
	for range 100 {
		m, err := p.Pick(balancer.Query{})
		if err != nil {
			return
		}
		if m.Target() == target {
			p.Done(m, o)
			return
		}
		p.Done(m, answer(600))
	}
}

// What comes back begins slowly, and what is changed meanwhile stays so.
func TestEjectedTargets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, err := balancer.NewPool(balancer.Config{Targets: named("a", "b", "c"), SlowStart: 20 * time.Second})
		require.NoError(t, err)
		end(t, p, "http://a", refused)
		require.NoError(t, p.SetTargets(named("a", "b", "c", "d")), "one comes")
		require.Zero(t, requestsOf(t, p, 300)["http://a"])
		require.Equal(t, balancer.Ejected, p.Status()[0].Health)
		require.NoError(t, p.SetTargets(named("b", "c", "d")), "it goes")
		require.Equal(t, balancer.PoolHealth{Targets: 3, Healthy: 3, Share: 1}, p.Health())
		require.NoError(t, p.SetTargets(named("a", "b", "c", "d")), "it comes back, as another")
		require.Equal(t, balancer.Healthy, p.Status()[0].Health)

		time.Sleep(time.Minute)
		end(t, p, "http://a", refused)
		time.Sleep(12 * time.Second)
		synctest.Wait()
		require.True(t, p.Status()[0].Warming)
		require.Less(t, requestsOf(t, p, 400)["http://a"], 40)
		time.Sleep(20 * time.Second)
		require.Equal(t, 100, requestsOf(t, p, 400)["http://a"])

		m, err := p.Pick(balancer.Query{})
		require.NoError(t, err)
		rest := []string{}
		for _, name := range []string{"a", "b", "c", "d"} {
			if "http://"+name != m.Target() {
				rest = append(rest, name)
			}
		}
		require.NoError(t, p.SetTargets(named(rest...)))
		p.Done(m, refused) // of one that has left
		require.Equal(t, 3, p.Health().Healthy)
		require.NoError(t, p.Close())
		m, err = p.Pick(balancer.Query{})
		require.ErrorIs(t, err, balancer.ErrNoTarget)
		require.Nil(t, m)
	})
}

func TestHealthConfig(t *testing.T) {
	t.Parallel()
	_, err := balancer.NewPool(balancer.Config{Targets: named("a"), Health: balancer.Health{
		MaxEjected: 1.5, Panic: 0.3, MinHealthy: 1,
		Passive: balancer.Passive{
			Failures: balancer.Failures{TCP: 1 << 30}, Statuses: []int{500, 99}, SuccessStatuses: []int{600, 500}, FailureRate: math.NaN(),
			Window: time.Millisecond, MinRequests: -1, EjectionTime: time.Minute, MaxEjectionTime: time.Second,
		},
		Active: balancer.Active{Interval: time.Second},
	}})
	require.EqualError(t, err, `balancer: Config.Health.MaxEjected 1.5: must be a share, above 0 up to 1; 0 means the default
balancer: Config.Health.MinHealthy 1: and Panic are both set; with too few healthy targets requests are refused, or go to all
balancer: Config.Health.MinHealthy 1: must be a share, 0 or more and below 1; more than that has to be healthy
balancer: Config.Health.Passive.Failures.TCP 1073741824: must be 1 to 1048576, 0 for the default of 3, or negative: not counted
balancer: Config.Health.Passive.Statuses[1] 99: is no status; list statuses from 100 to 599, such as 503
balancer: Config.Health.Passive.SuccessStatuses[0] 600: is no status; list statuses from 100 to 599, such as 503
balancer: Config.Health.Passive.SuccessStatuses 500: is in Passive.Statuses, too; an answer is a failure, or a success
balancer: Config.Health.Passive.FailureRate NaN: must be a share, above 0 up to 1; 0 means no such rule
balancer: Config.Health.Passive.Window 1ms: must be 10ms to 168h0m0s, or 0 for the default of 10s
balancer: Config.Health.Passive.MinRequests -1: must be 1 to 1048576, or 0 for the default of 20
balancer: Config.Health.Passive.MaxEjectionTime 1s: is less than EjectionTime, 1m0s
balancer: Config.Health.Active.Checker: is nil, and other fields of Active are set; give a checker, such as healthcheck.HTTP{}`)
	for _, h := range []balancer.Health{{Panic: math.NaN()}, {MinHealthy: math.NaN()}, {MaxEjected: -0.1}, {MaxEjected: math.NaN()}, {Panic: 1.1}, {MinHealthy: -0.1}} {
		_, err := balancer.NewPool(balancer.Config{Targets: named("a"), Health: h})
		var problem *balancer.ConfigError
		require.ErrorAs(t, err, &problem)
	}
}

// How long answers take is known whatever the algorithm is.
func TestFirstByte(t *testing.T) {
	t.Parallel()
	p, err := balancer.NewPool(balancer.Config{Targets: named("a")})
	require.NoError(t, err)
	require.Zero(t, p.Status()[0].FirstByte)
	took := func(d time.Duration, o policy.Outcome) time.Duration {
		o.FirstByte = d
		end(t, p, "http://a", o)
		return p.Status()[0].FirstByte
	}
	require.Equal(t, 80*time.Millisecond, took(80*time.Millisecond, well))
	require.Equal(t, 71*time.Millisecond, took(8*time.Millisecond, answer(500)))
	require.Equal(t, 71*time.Millisecond, took(time.Hour, canceled))
	require.Equal(t, 71*time.Millisecond, took(0, reset))
	for range 200 {
		took(time.Millisecond, well)
	}
	require.InDelta(t, time.Millisecond, p.Status()[0].FirstByte, float64(10*time.Nanosecond))
}

// What is asked of all requests costs little.
func TestHealthAllocs(t *testing.T) { // not parallel: it counts allocations
	for _, c := range []balancer.Passive{{}, {FailureRate: 0.5}} {
		p, err := balancer.NewPool(balancer.Config{Targets: named("a", "b"), Health: balancer.Health{Passive: c}})
		require.NoError(t, err)
		for _, o := range []policy.Outcome{well, answer(503), reset, stale} {
			m, err := p.Pick(balancer.Query{})
			require.NoError(t, err)
			p.Done(m, o)
			i := 0
			require.Zero(t, testing.AllocsPerRun(100, func() {
				m, _ := p.Pick(balancer.Query{})
				if i++; i%2 == 0 && o.Err == nil {
					p.Done(m, o)
				} else {
					p.Done(m, well)
				}
			}))
		}
	}
}

func BenchmarkDone(b *testing.B) {
	for _, bb := range []struct {
		name string
		c    balancer.Passive
	}{{"off", balancer.Passive{Off: true}}, {"rows", balancer.Passive{}}, {"rate", balancer.Passive{FailureRate: 0.5}}} {
		for _, n := range []int{2, 1000} {
			b.Run(fmt.Sprintf("%s/%d", bb.name, n), func(b *testing.B) {
				var names []string
				for i := range n {
					names = append(names, fmt.Sprint("t", i))
				}
				p, err := balancer.NewPool(balancer.Config{Targets: named(names...), Health: balancer.Health{Passive: bb.c}})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				for b.Loop() {
					m, _ := p.Pick(balancer.Query{})
					p.Done(m, well)
				}
			})
		}
	}
}
