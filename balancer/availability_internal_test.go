package balancer

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/policy"
)

func count(tb testing.TB, p *Pool, picks int, key bool) map[string]int {
	tb.Helper()
	got := map[string]int{}
	for i := range picks {
		q := Query{}
		if key {
			q.Request = &http.Request{Header: http.Header{"Key": {fmt.Sprint(i)}}}
		}
		m, err := p.Pick(q)
		require.NoError(tb, err)
		p.Done(m, policy.Outcome{Status: 200})
		got[m.Target()]++
	}
	return got
}

// setAvailable does what checks do. It reports whether that changed anything.
func (p *Pool) setAvailable(m *Member, available bool) bool {
	defer p.follow()
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.record.failing != available {
		return false
	}
	before := m.state()
	m.record.failing = !available
	p.changed(m, before, cause{reason: "test"}, p.home.since(time.Now()))
	return true
}

// What health checks do: a member that is out gets nothing, keeps what it has, and comes back slowly.
func TestAvailability(t *testing.T) {
	t.Parallel()
	for _, a := range []Algorithm{RoundRobin{}, LeastConnections{}, Ring{Key: policy.ByHeader("Key")}} {
		synctest.Test(t, func(t *testing.T) {
			p, err := NewPool(Config{
				Targets: []Target{{URL: "http://a"}, {URL: "http://b"}, {URL: "http://c"}}, Algorithm: a, SlowStart: 10 * time.Second,
			})
			require.NoError(t, err)
			b := p.state.Load().members[1]
			before := count(t, p, 300, true)
			held := b.total.Load()
			require.True(t, p.setAvailable(b, false))
			require.False(t, p.setAvailable(b, false))
			require.NotContains(t, count(t, p, 300, true), "http://b")
			require.Equal(t, held, b.total.Load())
			require.NoError(t, p.SetTargets([]Target{{URL: "http://a"}, {URL: "http://b", Weight: 50}, {URL: "http://c"}}))
			require.NotContains(t, count(t, p, 300, true), "http://b", "new weights do not bring it back")
			require.NoError(t, p.SetTargets([]Target{{URL: "http://a"}, {URL: "http://b"}, {URL: "http://c"}}))

			require.True(t, p.setAvailable(b, true))
			require.True(t, p.Status()[1].Warming)
			require.Less(t, count(t, p, 300, true)["http://b"], 30)
			time.Sleep(10 * time.Second)
			require.Equal(t, before["http://b"] > 0, count(t, p, 300, true)["http://b"] > 60)
		})
	}
}

// A tier, and a zone, hands over what the rest of it cannot carry, not all at once.
func TestSpill(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		out  []int
		want []float64 // of the first tier near, far, and of the second
	}{
		{nil, []float64{1, 0, 0}},
		{[]int{0}, []float64{1, 0, 0}},                              // 3 of 4 near: 105 %
		{[]int{0, 1}, []float64{0.7, 0.3, 0}},                       // 2 of 4 near
		{[]int{0, 1, 2, 3}, []float64{0, 0.7, 0.3}},                 // 4 of 8 in the tier: 70 %
		{[]int{0, 1, 2, 3, 4, 5}, []float64{0, 0.35, 0.65}},         // 2 of 8
		{[]int{0, 1, 2, 3, 4, 5, 6, 7}, []float64{0, 0, 1}},         // none
		{[]int{0, 1, 2, 3, 4, 5, 8, 9, 10}, []float64{0, 0.5, 0.5}}, // 35 % and 35 % have to carry it
	} {
		for _, key := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) { // where no picker takes so long that the next is put off
				p, err := NewPool(Config{Targets: spillTargets(), Zone: "near", Algorithm: Ring{Key: policy.ByHeader("Key"), Slots: 1000}, Health: Health{Panic: -1}})
				require.NoError(t, err)
				members := p.state.Load().members
				for _, i := range tt.out {
					require.True(t, p.setAvailable(members[i], false))
				}
				const picks = 20_000
				var got [3]float64
				for target, n := range count(t, p, picks, key) {
					for i, m := range members {
						if m.Target() == target {
							got[i/4] += float64(n) / picks
						}
					}
				}
				for i, want := range tt.want {
					require.InDelta(t, want, got[i], 0.02, "%v out, group %d", tt.out, i)
				}
			})
		}
	}
	synctest.Test(t, func(t *testing.T) {
		p, err := NewPool(Config{Targets: spillTargets(), Algorithm: Ring{Key: policy.ByHeader("Key"), Slots: 100}, Health: Health{Panic: -1}})
		require.NoError(t, err)
		for _, m := range p.state.Load().members {
			require.True(t, p.setAvailable(m, false))
		}
		_, err = p.Pick(Query{})
		require.ErrorIs(t, err, ErrNoTarget)
	})
}

// spillTargets are four near and four far ones in the first tier, and four in the second.
func spillTargets() []Target {
	var list []Target
	for i := range 12 {
		target := Target{URL: fmt.Sprintf("http://%d.test", i)}
		switch i / 4 {
		case 0:
			target.Zone = "near"
		case 2:
			target.Priority = 1
		}
		list = append(list, target)
	}
	return list
}

// What makes requests possible again does not wait for a picker that is due later, and who asks for another is told what Pick does.
func TestNobodyIsRefusedMeanwhile(t *testing.T) {
	t.Parallel()
	p, err := NewPool(Config{Targets: []Target{{URL: "http://a.test"}, {URL: "http://b.test"}}})
	require.NoError(t, err)
	a := p.state.Load().members[0]
	p.eject(a, refused, reasonRefused, &policy.Outcome{}, p.home.since(time.Now()))
	p.follow()
	p.mu.Lock()
	p.renewal.timer = time.AfterFunc(time.Hour, func() {})
	p.mu.Unlock()
	require.NoError(t, p.TakeOut("http://b.test"))
	require.True(t, p.Health().Panic || p.Health().Refusing)
	p.restore(a, reasonTimeOver, p.home.since(time.Now()))
	p.follow()
	m, err := p.Pick(Query{})
	require.NoError(t, err)
	require.Same(t, a, m)
	p.Done(m, policy.Outcome{Status: 200})

	require.NoError(t, p.PutBack("http://b.test"))
	b := p.state.Load().members[1]
	p.eject(b, refused, reasonRefused, &policy.Outcome{}, p.home.since(time.Now()))
	p.renewal.due = false // nobody has made a picker without it
	p.restore(b, reasonTimeOver, p.home.since(time.Now()))
	require.True(t, p.HasOther([]*Member{a}))
	require.False(t, p.HasOther([]*Member{a, b}))
	require.NoError(t, p.Close())
}
