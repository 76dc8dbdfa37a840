package balancer_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/policy"
)

// told is a Source that says what it is given.
type told struct {
	say   chan said
	calls chan struct{} // one for each call of Watch
}

type said struct {
	targets []balancer.Target
	err     error
	ends    any // how Watch ends: an error, or what it panics with
}

func newTold() *told { return &told{say: make(chan said), calls: make(chan struct{}, 100)} }

func (s *told) Watch(ctx context.Context, deliver func([]balancer.Target, error)) error {
	s.calls <- struct{}{}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case said := <-s.say:
			switch how := said.ends.(type) {
			case nil:
				deliver(said.targets, said.err)
			case error:
				return how
			case string:
				if how == "nothing" {
					return nil
				}
				panic(how)
			}
		}
	}
}

func (s *told) says(what said) {
	s.say <- what
	synctest.Wait()
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newTold()
		var mu sync.Mutex
		var changes []balancer.DiscoveryChange
		last := func() balancer.DiscoveryChange {
			mu.Lock()
			defer mu.Unlock()
			require.NotEmpty(t, changes)
			return changes[len(changes)-1]
		}
		count := func() int {
			mu.Lock()
			defer mu.Unlock()
			return len(changes)
		}
		c := balancer.Config{Discovery: balancer.Discovery{Source: s, OnChange: func(c balancer.DiscoveryChange) {
			mu.Lock()
			defer mu.Unlock()
			changes = append(changes, c)
		}}}
		go func() { s.say <- said{targets: named("a", "b")} }()
		p, err := balancer.NewPool(c)
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, []string{"http://a", "http://b"}, last().Added)
		require.NotZero(t, p.Discovery().Answered)
		require.Equal(t, map[string]int{"http://a": 5, "http://b": 5}, requestsOf(t, p, 10))

		s.says(said{targets: named("b", "c")})
		require.Equal(t, []string{"http://c"}, last().Added)
		require.Equal(t, []string{"http://a"}, last().Removed)
		require.EqualValues(t, 5, p.Status()[0].Requests, "what stays keeps what it has")

		// What is wrong changes nothing, and is told once.
		for _, wrong := range []said{
			{err: errors.New("no answer")},
			{targets: nil},
			{targets: []balancer.Target{{URL: "http://d"}, {URL: "nonsense"}}},
			{targets: append(named("d"), named("d")...)},
			{targets: []balancer.Target{{URL: "http://d", Weight: -7}}},
		} {
			before := count()
			s.says(wrong)
			s.says(wrong)
			require.Equal(t, before+1, count())
			require.Error(t, last().Err)
			require.Error(t, p.Discovery().Err)
			require.Equal(t, 2, last().Targets)
			require.Equal(t, map[string]int{"http://b": 5, "http://c": 5}, requestsOf(t, p, 10))
		}
		before := count()
		s.says(said{targets: named("b", "c")})
		require.Equal(t, before+1, count(), "well again")
		require.NoError(t, last().Err)
		require.NoError(t, p.Discovery().Err)
		s.says(said{targets: named("b", "c")})
		require.Equal(t, before+1, count(), "nothing new")
		s.says(said{targets: []balancer.Target{{URL: "http://b", Weight: 300}, {URL: "http://c"}}})
		require.Empty(t, last().Added)
		require.Equal(t, map[string]int{"http://b": 9, "http://c": 3}, requestsOf(t, p, 12))

		// A source that gives up is asked again, by and by.
		<-s.calls
		for _, ends := range []any{errors.New("broken"), "panic", "nothing"} {
			s.says(said{ends: ends})
			require.Error(t, p.Discovery().Err)
			require.Empty(t, s.calls)
			time.Sleep(5 * time.Second)
			synctest.Wait()
			<-s.calls
		}
		require.Equal(t, map[string]int{"http://b": 9, "http://c": 3}, requestsOf(t, p, 12))
		s.says(said{targets: named("e")})
		require.NoError(t, p.Discovery().Err)

		require.NoError(t, p.Close())
		require.NoError(t, p.Close())
		_, err = p.Pick(balancer.Query{})
		require.ErrorIs(t, err, balancer.ErrNoTarget)
	})
}

// A source of its own mind: it does not end, and says things when nobody wants to know any more.
type stubborn struct {
	deliver chan func([]balancer.Target, error)
}

func (s stubborn) Watch(_ context.Context, deliver func([]balancer.Target, error)) error {
	s.deliver <- deliver
	select {} // for ever
}

func TestDiscoveryThatStartsBadly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, err := balancer.NewPool(balancer.Config{Discovery: balancer.Discovery{Source: newTold()}})
		require.EqualError(t, err, "balancer: Config.Discovery.Source: said nothing within 5s, and there are no Targets to begin with")
		require.Equal(t, 5*time.Second, time.Since(began))

		s := newTold()
		go func() { s.say <- said{err: errors.New("server misbehaving")} }()
		_, err = balancer.NewPool(balancer.Config{Discovery: balancer.Discovery{Source: s, FirstAnswer: time.Second}})
		require.EqualError(t, err, "balancer: Config.Discovery.Source: found no targets within 1s, and there are none to begin with: server misbehaving")

		// With targets to begin with nobody waits.
		began = time.Now()
		p, err := balancer.NewPool(balancer.Config{Targets: named("a"), Discovery: balancer.Discovery{Source: newTold()}})
		require.NoError(t, err)
		require.Equal(t, began, time.Now())
		require.Equal(t, map[string]int{"http://a": 3}, requestsOf(t, p, 3))
		require.NoError(t, p.Close())
	})
	_, err := balancer.NewPool(balancer.Config{Targets: named("a"), Discovery: balancer.Discovery{AllowEmpty: true}})
	require.EqualError(t, err, "balancer: Config.Discovery.Source: is nil, and other fields of Discovery are set; give a source, such as discovery.DNS")
	_, err = balancer.NewPool(balancer.Config{Discovery: balancer.Discovery{Source: badSource{}, FirstAnswer: -1}, SlowStart: -1})
	require.EqualError(t, err, "balancer: Config.Discovery.FirstAnswer -1ns: must be 1ms to 168h0m0s, or 0 for the default of 5s\n"+
		"balancer: Config.Discovery.Source: badSource.Name is empty\n"+
		"balancer: Config.SlowStart -1ns: is negative; 0 means none")
}

type badSource struct{ stubborn }

func (badSource) Validate() error { return errors.New("badSource.Name is empty") }

// No source keeps a pool from ending, nor changes one that has ended.
func TestDiscoveryThatDoesNotEnd(t *testing.T) { //nolint:paralleltest // it leaves a goroutine
	s := stubborn{make(chan func([]balancer.Target, error), 1)}
	p, err := balancer.NewPool(balancer.Config{Targets: named("a"), Discovery: balancer.Discovery{Source: s}})
	require.NoError(t, err)
	deliver := <-s.deliver
	deliver(named("b"), nil)
	require.Equal(t, "http://b", p.Status()[0].URL)
	require.NoError(t, p.Close())
	deliver(named("c"), nil)
	require.Equal(t, "http://b", p.Status()[0].URL)
}

// A pool may have no targets, if that is meant.
func TestDiscoveryOfNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newTold()
		go func() { s.say <- said{} }()
		p, err := balancer.NewPool(balancer.Config{Discovery: balancer.Discovery{Source: s, AllowEmpty: true}})
		require.NoError(t, err)
		_, err = p.Pick(balancer.Query{})
		require.ErrorIs(t, err, balancer.ErrNoTarget)
		require.True(t, p.Health().Refusing)
		s.says(said{targets: named("a", "b")})
		m, err := p.Pick(balancer.Query{})
		require.NoError(t, err)
		s.says(said{targets: []balancer.Target{}})
		_, err = p.Pick(balancer.Query{})
		require.ErrorIs(t, err, balancer.ErrNoTarget)
		require.True(t, p.Status()[0].Draining)
		p.Done(m, policy.Outcome{Status: 200})
		require.Empty(t, p.Status())
		require.NoError(t, p.Close())
	})
}

// Targets that are found at addresses are asked for by the name of their service.
func TestTargetHost(t *testing.T) {
	t.Parallel()
	p, err := balancer.NewPool(balancer.Config{Targets: []balancer.Target{
		{URL: "https://10.0.0.1:8443", Host: "Users.test:8443"}, {URL: "https://10.0.0.2", Host: "users.test:443"}, {URL: "http://10.0.0.3"},
	}})
	require.NoError(t, err)
	require.Equal(t, []string{"Users.test:8443", "users.test", ""}, []string{p.Status()[0].Host, p.Status()[1].Host, p.Status()[2].Host})
	require.Equal(t, []string{"users.test", "users.test", "", ""}, []string{
		p.ServerName("10.0.0.1:8443"), p.ServerName("10.0.0.2:443"), p.ServerName("10.0.0.3:80"), p.ServerName("10.0.0.4:80"),
	})
	require.NoError(t, p.SetTargets([]balancer.Target{{URL: "https://10.0.0.1:8443", Host: "other.test"}}))
	require.Equal(t, "other.test", p.Status()[0].Host)
	require.Equal(t, "other.test", p.ServerName("10.0.0.1:8443"))
	err = p.SetTargets([]balancer.Target{{URL: "http://a", Host: "b c"}, {URL: "http://b/1", Host: "x"}, {URL: "http://b/2", Host: "y"}})
	require.EqualError(t, err, "balancer: Config.Targets[0].Host \"b c\": is not a host with an optional port; an internationalised name is written in its ASCII form\n"+
		"balancer: Config.Targets[2].Host \"y\": differs from \"x\", the Host of another target at the same host and port; put them into pools of their own")
}
