package balancer_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/policy"
)

// A tier that is dead is no reason to give up on one that is well enough.
func TestDeadTiers(t *testing.T) {
	t.Parallel()
	var targets []balancer.Target
	for i := range 10 {
		targets = append(targets, balancer.Target{URL: fmt.Sprint("http://t", i), Priority: i / 5})
	}
	for _, tt := range []struct {
		about string
		out   []int
		want  balancer.PoolHealth
		gets  []int // shares of the targets that get some, in percent
	}{
		{"the first is dead, and some of the second", []int{0, 1, 2, 3, 4, 8, 9}, balancer.PoolHealth{Targets: 10, Healthy: 3, Share: 0.3}, []int{0, 0, 0, 0, 0, 33, 33, 33, 0, 0}},
		{"some of the first, and the second is dead", []int{3, 4, 5, 6, 7, 8, 9}, balancer.PoolHealth{Targets: 10, Healthy: 3, Share: 0.3}, []int{33, 33, 33, 0, 0, 0, 0, 0, 0, 0}},
		{"both are in doubt", []int{0, 1, 2, 5, 6, 7}, balancer.PoolHealth{Targets: 10, Healthy: 4, Share: 0.4}, []int{0, 0, 0, 28, 28, 0, 0, 0, 22, 22}},
		{"both are in more doubt", []int{0, 1, 2, 5, 6, 7, 8}, balancer.PoolHealth{Targets: 10, Healthy: 3, Share: 0.3, Panic: true}, []int{20, 20, 20, 20, 20, 0, 0, 0, 0, 0}},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newScript()
				p, err := balancer.NewPool(balancer.Config{Targets: targets, Health: balancer.Health{Active: balancer.Active{Checker: s}}})
				require.NoError(t, err)
				for _, i := range tt.out {
					s.set(fmt.Sprint("t", i), fails(syscall.ECONNREFUSED))
				}
				time.Sleep(time.Minute)
				require.Equal(t, tt.want, p.Health())
				got := requestsOf(t, p, 10_000)
				for i, want := range tt.gets {
					require.InDelta(t, want*100, got[targets[i].URL], 100, "%v", got)
				}
				require.NoError(t, p.Close())
			})
		})
	}
}

// On probation only what counts at all takes a target out.
func TestProbation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, err := balancer.NewPool(balancer.Config{Targets: named("a", "b"), Health: balancer.Health{Passive: balancer.Passive{Failures: balancer.Failures{HTTP: -1}}}})
		require.NoError(t, err)
		end(t, p, "http://a", refused)
		time.Sleep(12 * time.Second)
		synctest.Wait()
		end(t, p, "http://a", answer(503))
		require.Equal(t, balancer.Healthy, p.Status()[0].Health)
		end(t, p, "http://a", timeout)
		require.Equal(t, "failed_on_probation", p.Status()[0].HealthReason)
		require.NoError(t, p.Close())
	})
}

// What was sent before a target came back says nothing about it.
func TestOutcomesFromBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		p := checked(t, balancer.Health{Active: balancer.Active{Checker: s}})
		s.set("a", fails(syscall.ECONNREFUSED))
		time.Sleep(10 * time.Second)
		s.set("a", nil)
		time.Sleep(10 * time.Second)
		require.Equal(t, balancer.Healthy, p.Status()[0].Health)
		hung := timeout
		hung.Duration = 18 * time.Second
		end(t, p, "http://a", hung)
		require.Equal(t, balancer.Healthy, p.Status()[0].Health)
		hung.Duration = time.Second
		end(t, p, "http://a", hung)
		require.Equal(t, "failed_on_probation", p.Status()[0].HealthReason)
	})
}

// The rate is told without the status of the success that completed it.
func TestRateIsTold(t *testing.T) {
	t.Parallel()
	var told []balancer.HealthChange
	p, err := balancer.NewPool(balancer.Config{Targets: named("a", "b", "c"), Health: balancer.Health{
		Passive:  balancer.Passive{FailureRate: 0.5, MinRequests: 4},
		OnChange: func(c balancer.HealthChange) { told = append(told, c) },
	}})
	require.NoError(t, err)
	for _, o := range []policy.Outcome{reset, reset, well, well} {
		end(t, p, "http://b", o)
	}
	require.Len(t, told, 1)
	require.Zero(t, told[0].Status)
	require.Equal(t, "failure_rate", told[0].Reason)
}

// Nobody is told about a target that was removed meanwhile, and it comes back as it is.
func TestRemovedTargets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told []balancer.HealthChange
		p, err := balancer.NewPool(balancer.Config{Targets: named("a", "b", "c"), Health: balancer.Health{
			OnChange: func(c balancer.HealthChange) { told = append(told, c) },
		}})
		require.NoError(t, err)
		var held []*balancer.Member
		for range 3 {
			m, err := p.Pick(balancer.Query{})
			require.NoError(t, err)
			held = append(held, m)
		}
		a := slices.IndexFunc(held, func(m *balancer.Member) bool { return m.Target() == "http://a" })
		end(t, p, "http://a", refused)
		require.Len(t, told, 1)
		require.NoError(t, p.SetTargets(named("b", "c")))
		time.Sleep(5 * time.Second)
		require.NoError(t, p.SetTargets(named("a", "b", "c")))
		require.Equal(t, balancer.Ejected, p.Status()[0].Health, "it has not drained, and is the same")
		require.NoError(t, p.SetTargets(named("b", "c")))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Len(t, told, 1)
		require.Equal(t, balancer.Healthy, p.Status()[2].Health)
		require.NoError(t, p.SetTargets(named("a", "b", "c")))
		require.NotZero(t, requestsOf(t, p, 30)["http://a"])
		before := refused
		before.Duration = 10 * time.Second
		p.Done(held[a], before)
		require.Equal(t, balancer.Healthy, p.Status()[0].Health, "it was sent before")
		end(t, p, "http://a", refused)
		require.Len(t, told, 2)
		require.EqualValues(t, 2, told[1].Number)
		require.NoError(t, p.Close())
		require.True(t, p.Health().Refusing)
	})
}

// laborious is an algorithm that takes long to make a picker.
type laborious struct {
	balancer.Algorithm

	made *atomic.Int64
	idle *atomic.Bool // no more
}

func (l laborious) NewPicker(members []*balancer.Member) (balancer.Picker, error) {
	l.made.Add(1)
	if !l.idle.Load() {
		time.Sleep(20 * time.Millisecond)
	}
	return l.Algorithm.NewPicker(members)
}

// When many targets go at a time, few pickers are made, and none of the targets gets requests meanwhile.
func TestMassEjection(t *testing.T) {
	t.Parallel()
	for _, a := range []balancer.Algorithm{
		balancer.RoundRobin{}, balancer.LeastConnections{}, balancer.PeakEWMA{}, balancer.Random{}, balancer.Ring{Key: policy.ByHeader("Key"), Slots: 500},
		balancer.Sticky{Cookie: balancer.Cookie{Name: "c"}, Secrets: [][]byte{make([]byte, 16)}},
	} {
		synctest.Test(t, func(t *testing.T) {
			var made atomic.Int64
			var idle atomic.Bool
			var names []string
			for i := range 100 {
				names = append(names, fmt.Sprint("t", i))
			}
			p, err := balancer.NewPool(balancer.Config{Targets: named(names...), Algorithm: laborious{a, &made, &idle}, Health: balancer.Health{Panic: -1}})
			require.NoError(t, err)
			out := map[string]bool{}
			for range 50 {
				m, err := p.Pick(balancer.Query{})
				require.NoError(t, err)
				require.False(t, out[m.Target()])
				out[m.Target()] = true
				p.Done(m, refused)
				require.Equal(t, 100-len(out), p.Health().Healthy)
			}
			require.EqualValues(t, 2, made.Load(), "at first, and at the first ejection")
			for range 3 {
				for name := range requestsOf(t, p, 500) {
					require.False(t, out[name], name)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				require.EqualValues(t, 3, made.Load())
			}
			idle.Store(true) // in a bubble nobody may wait for a lock of one that sleeps
			time.Sleep(12 * time.Second)
			synctest.Wait()
			require.Equal(t, 100, p.Health().Healthy)
			require.Greater(t, len(requestsOf(t, p, 5000)), 50)
			m, err := p.Pick(balancer.Query{})
			require.NoError(t, err)
			p.Done(m, refused)
			require.NoError(t, p.Close())
			n := made.Load()
			time.Sleep(time.Minute)
			require.Equal(t, n, made.Load())
		})
	}
}

// Everything at a time, for the race detector, and for what waits for another.
func TestHealthAtOnce(t *testing.T) {
	t.Parallel()
	s := newScript()
	var p *balancer.Pool
	ready := make(chan struct{})
	p, err := balancer.NewPool(balancer.Config{Targets: named("a", "b", "c", "d"), Algorithm: balancer.LeastConnections{}, SlowStart: time.Millisecond, Health: balancer.Health{
		Active:  balancer.Active{Checker: s, Interval: time.Millisecond, Successes: 1},
		Passive: balancer.Passive{FailureRate: 0.5, MinRequests: 3, Window: 10 * time.Millisecond, EjectionTime: time.Millisecond},
		OnChange: func(balancer.HealthChange) {
			<-ready
			_ = p.Status()
			_ = p.Health()
			if m, err := p.Pick(balancer.Query{}); err == nil {
				p.Done(m, refused)
			}
		},
	}})
	require.NoError(t, err)
	close(ready)
	var wg sync.WaitGroup
	for seed := range uint64(4) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 1))
			for range 1000 {
				switch rng.IntN(20) {
				case 0:
					_ = p.SetTargets(named([]string{"a", "b", "c", "d"}[rng.IntN(3):]...))
				case 1:
					_ = p.Status()
				case 2:
					s.set([]string{"a", "b", "c", "d"}[rng.IntN(4)], fails([]error{nil, errFailed}[rng.IntN(2)]))
				default:
					if m, err := p.Pick(balancer.Query{}); err == nil {
						p.Done(m, []policy.Outcome{well, refused, reset, answer(503)}[rng.IntN(4)])
					}
				}
			}
			if seed == 0 {
				_ = p.Close()
			}
		})
	}
	wg.Wait()
	require.NoError(t, p.Close())
	_, err = p.Pick(balancer.Query{})
	require.ErrorIs(t, err, balancer.ErrNoTarget)
}

// What it costs, and how long it takes, when half of 1000 targets refuse connections at a time.
func BenchmarkMassEjection(b *testing.B) {
	for _, a := range []balancer.Algorithm{balancer.RoundRobin{}, balancer.Ring{Key: policy.ByHeader("Key")}, balancer.Maglev{Key: policy.ByHeader("Key")}} {
		b.Run(fmt.Sprintf("%T", a), func(b *testing.B) {
			var names []string
			for i := range 1000 {
				names = append(names, fmt.Sprint("t", i))
			}
			for b.Loop() {
				b.StopTimer()
				p, err := balancer.NewPool(balancer.Config{Targets: named(names...), Algorithm: a, Health: balancer.Health{Panic: -1}})
				if err != nil {
					b.Fatal(err)
				}
				var held []*balancer.Member
				for range 500 { // without a key they come in turn
					m, _ := p.Pick(balancer.Query{})
					held = append(held, m)
				}
				b.StartTimer()
				var wg sync.WaitGroup
				for _, m := range held {
					wg.Go(func() { p.Done(m, refused) })
				}
				wg.Wait()
				b.StopTimer()
				if n := p.Health().Healthy; n != 500 {
					b.Fatal(n)
				}
				_ = p.Close()
				b.StartTimer()
			}
		})
	}
}
