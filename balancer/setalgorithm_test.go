package balancer_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/policy"
)

// Each algorithm may take the place of each other one: what is known of the targets stays.
func TestSetAlgorithm(t *testing.T) {
	t.Parallel()
	byHeader := func(i int) balancer.Query {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("K", strconv.Itoa(i))
		return balancer.Query{Request: r}
	}
	all := map[string]balancer.Algorithm{
		"round robin": balancer.RoundRobin{}, "none": nil, "random": balancer.Random{}, "least connections": balancer.LeastConnections{},
		"two choices": balancer.TwoChoices{}, "peak EWMA": balancer.PeakEWMA{}, "ring": balancer.Ring{Key: policy.ByHeader("K"), Slots: 10007},
		"maglev": balancer.Maglev{Key: policy.ByHeader("K"), Slots: 10007}, "sticky": balancer.Sticky{Cookie: balancer.Cookie{Name: "c"}, Secrets: [][]byte{make([]byte, 16)}},
	}
	for from, before := range all {
		for to, after := range all {
			p, err := balancer.NewPool(balancer.Config{Targets: named("a", "b", "c", "d"), Algorithm: before})
			require.NoError(t, err)
			out, err := p.Pick(byHeader(0))
			require.NoError(t, err)
			p.Done(out, refused)
			held, err := p.Pick(byHeader(1))
			require.NoError(t, err)
			rest := slices.DeleteFunc([]string{"http://a", "http://b", "http://c", "http://d"}, func(u string) bool { return u == out.Target() || u == held.Target() })
			require.NoError(t, p.TakeOut(rest[0]))
			was := p.Status()
			require.NoError(t, p.SetAlgorithm(after), "%s to %s", from, to)
			is := p.Status()
			for i := range was {
				require.Equal(t, was[i].Requests, is[i].Requests, "%s to %s", from, to)
				require.Equal(t, was[i].InFlight, is[i].InFlight, "%s to %s", from, to)
				require.Equal(t, was[i].Health, is[i].Health, "%s to %s", from, to)
			}
			p.Done(held, policy.Outcome{Status: 200})
			got := map[string]int{}
			for i := range 200 {
				m, err := p.Pick(byHeader(i))
				require.NoError(t, err)
				got[m.Target()]++
				p.Done(m, policy.Outcome{Status: 200, Duration: time.Millisecond})
				if to == "ring" || to == "maglev" {
					again, err := p.Pick(byHeader(i))
					require.NoError(t, err)
					require.Equal(t, m.Target(), again.Target(), "%s to %s", from, to)
					p.Done(again, policy.Outcome{Status: 200, Duration: time.Millisecond})
				}
			}
			require.Zero(t, got[out.Target()]+got[rest[0]], "%s to %s: %v", from, to, got)
			require.Greater(t, min(got[held.Target()], got[rest[1]]), 30, "%s to %s: %v", from, to, got)
			for _, s := range p.Status() {
				require.Zero(t, s.InFlight)
			}
			require.NoError(t, p.Close())
			require.ErrorContains(t, p.SetAlgorithm(after), "closed")
		}
	}
}

func TestSetAlgorithmProblems(t *testing.T) {
	t.Parallel()
	p := newPool(t, balancer.RoundRobin{}, 0, 0)
	require.ErrorContains(t, p.SetAlgorithm((*balancer.Ring)(nil)), "Algorithm: is a nil pointer")
	require.ErrorContains(t, p.SetAlgorithm(balancer.Ring{Slots: -1}), "Slots")
	loaded := balancer.Maglev{Key: policy.ByHeader("K"), LoadFactor: 1.25}
	require.ErrorContains(t, p.SetAlgorithm(loaded), "has a LoadFactor")
	require.ErrorContains(t, p.SetAlgorithm(balancer.Sticky{Cookie: balancer.Cookie{Name: "c"}, Secrets: [][]byte{make([]byte, 16)}, Algorithm: loaded}), "has a LoadFactor")
	require.ErrorContains(t, (*balancer.Pool)(nil).SetAlgorithm(nil), "closed")
	require.ErrorContains(t, new(balancer.Pool).SetAlgorithm(nil), "closed")
	p = newPool(t, loaded, 0, 0)
	require.NoError(t, p.SetAlgorithm(balancer.RoundRobin{}))
	require.NoError(t, p.SetAlgorithm(loaded))
}

// unable is an algorithm of the application's that cannot do it.
type unable struct{}

func (unable) NewPicker([]*balancer.Member) (balancer.Picker, error) {
	return nil, errors.New("cannot")
}

// What could not serve later is refused now, also while nobody is served.
func TestSetAlgorithmWhileRefusing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, err := balancer.NewPool(balancer.Config{
			Targets: named("a", "b"), Health: balancer.Health{Panic: -1, MaxEjected: 1, Passive: balancer.Passive{EjectionTime: time.Second}},
		})
		require.NoError(t, err)
		require.ErrorContains(t, p.SetAlgorithm(unable{}), "cannot")
		end(t, p, "http://a", refused)
		end(t, p, "http://b", refused)
		_, err = p.Pick(balancer.Query{})
		require.ErrorIs(t, err, balancer.ErrNoTarget)
		require.ErrorContains(t, p.SetAlgorithm(unable{}), "cannot")
		require.NoError(t, p.SetAlgorithm(balancer.LeastConnections{}))
		time.Sleep(2 * time.Second)
		m, err := p.Pick(balancer.Query{})
		require.NoError(t, err)
		p.Done(m, policy.Outcome{Status: 200})

		require.NoError(t, p.SetTargets([]balancer.Target{{URL: "http://a", Weight: balancer.NoTraffic}}))
		require.ErrorContains(t, p.SetAlgorithm(unable{}), "cannot")
		require.NoError(t, p.SetAlgorithm(balancer.PeakEWMA{}))
		require.NoError(t, p.SetTargets(named("a")))
		_, err = p.Pick(balancer.Query{})
		require.NoError(t, err)
	})
}

// Picks, outcomes, targets and algorithms may change at once.
func TestSetAlgorithmUnderLoad(t *testing.T) {
	t.Parallel()
	p := newPool(t, balancer.RoundRobin{}, 0, 0, 0, 0)
	var stop atomic.Bool
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for i := 0; !stop.Load(); i++ {
				m, err := p.Pick(balancer.Query{Request: httptest.NewRequest(http.MethodGet, "/"+strconv.Itoa(i), nil)})
				if err != nil {
					t.Error(err)
					return
				}
				o := policy.Outcome{Status: 200}
				if i%50 == 0 {
					o = refused
				}
				p.Done(m, o)
			}
		})
	}
	for i := range 60 {
		a := []balancer.Algorithm{balancer.Maglev{Key: policy.ByPath(), Slots: 1009}, balancer.LeastConnections{}, balancer.Ring{Key: policy.ByPath(), Slots: 1009}, nil}[i%4]
		require.NoError(t, p.SetAlgorithm(a))
		require.NoError(t, p.SetTargets(targets(0, 0, 0, i%3, 0)[:4+i%2]))
	}
	stop.Store(true)
	clients.Wait()
	for _, s := range p.Status() {
		require.Zero(t, s.InFlight, s.URL)
	}
}
