package balancer_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/policy"
)

// backend is how a target answers in virtual time.
type backend struct {
	latency time.Duration
	outcome policy.Outcome
}

// drive sends requests from some clients, each as soon as it has an answer, for a while of virtual time. It returns how many
// each target got, and how long they took.
func drive(tb testing.TB, p *balancer.Pool, clients int, during time.Duration, backends map[string]backend) (map[string]int, []time.Duration) {
	tb.Helper()
	var mu sync.Mutex
	got, took := map[string]int{}, []time.Duration{}
	end := time.Now().Add(during)
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			time.Sleep(time.Duration(c) * 37 * time.Microsecond)
			for time.Now().Before(end) {
				start := time.Now()
				m, err := p.Pick(balancer.Query{Now: start})
				if err != nil {
					tb.Error(err)
					return
				}
				b := backends[m.Target()]
				time.Sleep(b.latency)
				o := b.outcome
				o.Duration = time.Since(start)
				if o.Err == nil {
					o.FirstByte = o.Duration
				}
				p.Done(m, o)
				mu.Lock()
				got[m.Target()]++
				took = append(took, time.Since(start))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(took)
	return got, took
}

func sum(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// A target ten times slower gets less than 1 % of the requests, and the 99th percentile is that of the others, whatever the
// load; with least connections it is not.
func TestPeakEWMAAvoidsSlowTargets(t *testing.T) {
	t.Parallel()
	skipWithRace(t)
	for _, n := range []int{2, 3, 10} {
		for _, clients := range []int{2, 16, 64} {
			synctest.Test(t, func(t *testing.T) {
				backends := map[string]backend{}
				for i := range n {
					backends[url(i)] = backend{latency: 10 * time.Millisecond, outcome: policy.Outcome{Status: 200}}
				}
				backends[url(n-1)] = backend{latency: 100 * time.Millisecond, outcome: policy.Outcome{Status: 200}}
				p := newPool(t, balancer.PeakEWMA{Seed: 1}, make([]int, n)...)
				drive(t, p, clients, time.Second, backends) // to learn
				got, took := drive(t, p, clients, 30*time.Second, backends)
				require.Less(t, float64(got[url(n-1)]), 0.01*float64(sum(got)), "%d targets, %d clients", n, clients)
				require.Less(t, took[len(took)*99/100], 20*time.Millisecond)
				require.Positive(t, got[url(n-1)], "it is tried again, and would be noticed when it gets faster")

				p = newPool(t, balancer.LeastConnections{}, make([]int, n)...)
				_, took = drive(t, p, clients, 10*time.Second, backends)
				if clients >= n {
					require.Equal(t, 100*time.Millisecond, took[len(took)*995/1000])
				}
			})
		}
	}
}

// A target that gets fast again gets its share again, within a few times Decay.
func TestPeakEWMARecovers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fast := backend{latency: 10 * time.Millisecond, outcome: policy.Outcome{Status: 200}}
		slow := backend{latency: time.Second, outcome: policy.Outcome{Status: 200}}
		p := newPool(t, balancer.PeakEWMA{Decay: time.Second, Seed: 1}, 0, 0, 0)
		drive(t, p, 16, 5*time.Second, map[string]backend{url(0): fast, url(1): fast, url(2): slow})
		require.Greater(t, latest(p, url(2)), 10*time.Millisecond)
		drive(t, p, 16, 10*time.Second, map[string]backend{url(0): fast, url(1): fast, url(2): fast})
		got, _ := drive(t, p, 16, 5*time.Second, map[string]backend{url(0): fast, url(1): fast, url(2): fast})
		require.InDelta(t, 1.0/3, float64(got[url(2)])/float64(sum(got)), 0.05)
	})
}

func latest(p *balancer.Pool, target string) time.Duration {
	for _, s := range p.Status() {
		if s.URL == target {
			return s.Latency
		}
	}
	return 0
}

// A target that fails at once does not attract requests by being fast.
func TestPeakEWMAAvoidsFastFailures(t *testing.T) {
	t.Parallel()
	for about, o := range map[string]policy.Outcome{
		"answers 500":  {Status: 500},
		"refuses":      {Err: &policy.Error{Code: "connect_refused"}},
		"breaks off":   {Status: 200, Err: errors.New("reset")},
		"takes longer": {Err: errors.New("timeout")},
	} {
		for _, typical := range []time.Duration{5 * time.Millisecond, 3 * time.Second} {
			synctest.Test(t, func(t *testing.T) {
				good := backend{latency: typical, outcome: policy.Outcome{Status: 200}}
				p := newPool(t, balancer.PeakEWMA{Seed: 1}, 0, 0, 0)
				bad := backend{latency: typical / 5, outcome: o}
				if about == "takes longer" {
					bad.latency = 10 * typical
				}
				drive(t, p, 10, 20*typical, map[string]backend{url(0): good, url(1): good, url(2): good})
				drive(t, p, 10, max(time.Second, 20*typical), map[string]backend{url(0): good, url(1): good, url(2): bad})
				got, _ := drive(t, p, 10, 200*typical, map[string]backend{url(0): good, url(1): good, url(2): bad})
				within := 0.02
				if typical > time.Second { // there are few requests, and some of them look whether it is better
					within = 0.05
				}
				require.Less(t, float64(got[url(2)]), within*float64(sum(got)), "%s, others take %v", about, typical)
			})
		}
	}
}

// A target that does not answer at all gets a few requests, not ever more.
func TestPeakEWMAAvoidsStalledTargets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		good := backend{latency: 10 * time.Millisecond, outcome: policy.Outcome{Status: 200}}
		stalled := backend{latency: 30 * time.Second, outcome: policy.Outcome{Err: errors.New("timeout")}}
		p := newPool(t, balancer.PeakEWMA{Seed: 1}, 0, 0, 0)
		drive(t, p, 50, time.Second, map[string]backend{url(0): good, url(1): good, url(2): good})
		got, _ := drive(t, p, 50, 25*time.Second, map[string]backend{url(0): good, url(1): good, url(2): stalled})
		require.LessOrEqual(t, got[url(2)], 40)
	})
}

// Nothing is known of a new target: it gets one request, and more when that was answered.
func TestPeakEWMANewTarget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, balancer.PeakEWMA{Seed: 1}, 0, 0)
		for range 10 {
			m := pickFor(t, p, balancer.Query{})
			require.NotNil(t, m)
			time.Sleep(time.Millisecond)
		}
		require.NoError(t, p.SetTargets(targets(0, 0, 0)))
		first, err := p.Pick(balancer.Query{})
		require.NoError(t, err)
		require.Equal(t, url(2), first.Target())
		for range 20 {
			require.NotEqual(t, url(2), pickFor(t, p, balancer.Query{}).Target())
		}
		time.Sleep(time.Millisecond)
		p.Done(first, policy.Outcome{Status: 200, FirstByte: time.Millisecond})
		got := shares(t, p, 300, func(int) balancer.Query { return balancer.Query{} })
		require.InDelta(t, 1.0/3, got[url(2)], 0.1)
		require.Equal(t, time.Millisecond, p.Status()[2].Latency)

		// Clients that left say nothing about a target.
		m, err := p.Pick(balancer.Query{})
		require.NoError(t, err)
		p.Done(m, policy.Outcome{Canceled: true, Err: errors.New("left"), Duration: time.Hour})
		for _, s := range p.Status() {
			require.Equal(t, time.Millisecond, s.Latency)
		}
	})
}
