package balancer_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/policy"
)

// fickle is an algorithm that fails now and then, in the middle of it.
type fickle struct {
	balancer.Algorithm

	rng *rand.Rand
}

func (f fickle) NewPicker(members []*balancer.Member) (balancer.Picker, error) {
	p, err := f.Algorithm.NewPicker(members)
	if f.rng.IntN(3) == 0 {
		return nil, errFailed
	}
	return p, err
}

// model drives a pool at random, and holds what has to be true whatever happens.
type model struct {
	t    *testing.T
	rng  *rand.Rand
	p    *balancer.Pool
	s    *script
	h    balancer.Health
	wild bool // the algorithm fails

	held    []*balancer.Member
	last    policy.Outcome // the one that the pool was told last
	changes uint64
	states  map[string]balancer.HealthState
}

func newModel(t *testing.T, seed uint64) *model {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 7))
	m := &model{t: t, rng: rng, s: newScript(), states: map[string]balancer.HealthState{}}
	m.h = balancer.Health{
		MaxEjected: []float64{0, 0.2, 1}[rng.IntN(3)],
		Passive: balancer.Passive{
			FailureRate: []float64{0, 0.4}[rng.IntN(2)], MinRequests: 5, EjectionTime: time.Second,
			Failures: balancer.Failures{HTTP: []int{0, -1}[rng.IntN(2)]},
		},
		OnChange: m.change,
	}
	switch rng.IntN(4) {
	case 0:
		m.h.Panic = -1
	case 1:
		m.h.MinHealthy = 0.4
	}
	if rng.IntN(2) == 0 {
		m.h.Active = balancer.Active{
			Checker: m.s, Interval: time.Second, UnhealthyInterval: []time.Duration{0, -1}[rng.IntN(2)],
			Successes: []int{0, 1, -1}[rng.IntN(3)], Concurrency: 3,
		}
	}
	byKey := policy.ByHeader("Key")
	algorithms := []balancer.Algorithm{
		balancer.RoundRobin{}, balancer.LeastConnections{}, balancer.PeakEWMA{}, balancer.Random{},
		balancer.Ring{Key: byKey, Slots: 50}, balancer.Maglev{Key: byKey, Slots: 50, LoadFactor: 1.25},
		balancer.Sticky{Cookie: balancer.Cookie{Name: "c"}, Secrets: [][]byte{make([]byte, 16)}},
	}
	c := balancer.Config{Algorithm: algorithms[rng.IntN(len(algorithms))], Zone: "near", Health: m.h, SlowStart: time.Duration(rng.IntN(2)) * 3 * time.Second}
	for c.Targets = m.targets(); c.Targets[0].Weight == balancer.NoTraffic; c.Targets = m.targets() {
	}
	if m.wild = rng.IntN(5) == 0; m.wild {
		c.Algorithm = fickle{c.Algorithm, rand.New(rand.NewPCG(seed, 8))} // of its own: it is called by whoever changes something
	}
	var err error
	for m.p == nil {
		m.p, err = balancer.NewPool(c)
		require.True(t, err == nil || m.wild, "%v", err)
	}
	return m
}

// targets returns some of eight, as they are now.
func (m *model) targets() []balancer.Target {
	var list []balancer.Target
	for i := range 8 {
		if m.rng.IntN(4) > 0 {
			list = append(list, balancer.Target{
				URL: fmt.Sprint("http://t", i), Weight: []int{0, 100, 300, 1, balancer.NoTraffic}[m.rng.IntN(5)],
				Priority: max(m.rng.IntN(5)-2, 0), Zone: []string{"", "near", "far"}[m.rng.IntN(3)],
			})
		}
	}
	if len(list) == 0 {
		return named("t0")
	}
	return list
}

// change is told about changes.
func (m *model) change(c balancer.HealthChange) {
	m.changes++
	require.Equal(m.t, m.changes, c.Number)
	require.NotEqual(m.t, c.From, c.To)
	if was, known := m.states[c.Target]; known {
		require.Equal(m.t, was, c.From, "%v", c)
	}
	m.states[c.Target] = c.To
	if c.To != balancer.Ejected || c.From != balancer.Healthy || m.last.Fault == policy.FaultRefused {
		return
	}
	all, out, own := 0.0, 0.0, 0.0
	for _, s := range m.p.Status() {
		if s.Draining {
			continue
		}
		all += float64(s.Weight)
		if !s.EjectedUntil.IsZero() {
			out += float64(s.Weight)
		}
		if s.URL == c.Target {
			own = float64(s.Weight)
		}
	}
	most := m.h.MaxEjected
	if most == 0 {
		most = balancer.DefaultMaxEjected
	}
	require.True(m.t, out <= most*all+1e-6 || out == own, "%v of %v: %v", out, all, c)
}

func (m *model) step() {
	switch m.rng.IntN(10) {
	default: // a request begins
		r, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://a.test", http.NoBody)
		r.Header.Set("Key", fmt.Sprint(m.rng.IntN(20)))
		health := m.p.Health()
		picked, err := m.p.Pick(balancer.Query{Request: r})
		if err != nil {
			require.True(m.t, health.Refusing || m.wild, "%+v", m.p.Status())
			return
		}
		require.False(m.t, health.Refusing && !m.wild)
		for _, s := range m.p.Status() {
			if s.URL == picked.Target() && !s.Draining {
				require.True(m.t, s.Health == balancer.Healthy || health.Panic, "%+v of %+v", s, m.p.Status())
			}
		}
		if m.held = append(m.held, picked); len(m.held) > 20 {
			m.end(0)
		}
	case 3, 4, 5:
		if len(m.held) > 0 {
			m.end(m.rng.IntN(len(m.held)))
		}
	case 6:
		m.s.set(fmt.Sprint("t", m.rng.IntN(8)), []func(context.Context) error{
			nil, nil, fails(syscall.ECONNREFUSED), fails(errFailed), hangs, fails(&balancer.AnswerError{}), fails(balancer.ErrInconclusive),
		}[m.rng.IntN(7)])
	case 7:
		if m.rng.IntN(4) > 0 {
			return
		}
		err := m.p.SetTargets(m.targets())
		require.True(m.t, err == nil || m.wild, "%v", err)
		clear(m.states)
		for _, s := range m.p.Status() {
			m.states[s.URL] = s.Health
		}
	case 8, 9:
		time.Sleep(time.Duration(m.rng.IntN(1500)) * time.Millisecond)
	}
}

// end ends a request somehow.
func (m *model) end(i int) {
	o := []policy.Outcome{well, well, well, refused, reset, timeout, answer(503), answer(503), canceled, stale, cut}[m.rng.IntN(11)]
	o.Duration = time.Duration(m.rng.IntN(2)) * time.Second
	m.last = o
	m.p.Done(m.held[i], o)
	m.held = append(m.held[:i], m.held[i+1:]...)
}

// hold checks what is always true.
func (m *model) hold() {
	synctest.Wait()
	var want balancer.PoolHealth
	weight, well := 0, 0
	for _, s := range m.p.Status() {
		require.Equal(m.t, s.Health == balancer.Ejected, s.Health == balancer.Ejected && !s.EjectedUntil.IsZero())
		if !m.h.Passive.Off && m.h.Active.Checker == nil && !s.EjectedUntil.IsZero() {
			require.False(m.t, time.Now().After(s.EjectedUntil), "its time is over")
		}
		if s.Weight == 0 || s.Draining {
			continue
		}
		want.Targets++
		weight += s.Weight
		if s.Health == balancer.Healthy {
			want.Healthy++
			well += s.Weight
		}
	}
	if weight > 0 {
		want.Share = float64(well) / float64(weight)
	}
	got := m.p.Health()
	require.Equal(m.t, want, balancer.PoolHealth{Targets: got.Targets, Healthy: got.Healthy, Share: got.Share})
	require.False(m.t, got.Panic && (m.h.Panic < 0 || m.h.MinHealthy > 0))
	if m.h.MinHealthy > 0 {
		require.Equal(m.t, want.Share <= m.h.MinHealthy || want.Targets == 0, got.Refusing)
	} else {
		require.Equal(m.t, want.Targets == 0 || want.Healthy == 0 && m.h.Panic < 0, got.Refusing)
	}
}

// close ends it, after which nothing changes.
func (m *model) close() {
	require.NoError(m.t, m.p.Close())
	changes, before, overall := m.changes, m.p.Status(), m.p.Health()
	for len(m.held) > 0 {
		m.end(0)
	}
	time.Sleep(time.Hour)
	synctest.Wait()
	_, err := m.p.Pick(balancer.Query{})
	require.ErrorIs(m.t, err, balancer.ErrNoTarget)
	require.Error(m.t, m.p.SetTargets(m.targets()))
	require.Equal(m.t, changes, m.changes)
	require.Equal(m.t, overall, m.p.Health())
	require.True(m.t, overall.Refusing)
	for i, s := range m.p.Status() {
		require.Equal(m.t, before[i].Health, s.Health)
		require.Equal(m.t, before[i].EjectedUntil, s.EjectedUntil)
		require.Equal(m.t, before[i].CheckedAt, s.CheckedAt)
	}
}

// Whatever happens to a pool, in whatever order.
func TestHealthModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := newModel(t, seed)
				for range 400 {
					m.step()
					m.hold()
				}
				m.close()
			})
		})
	}
}
