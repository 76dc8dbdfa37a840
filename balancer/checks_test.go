package balancer_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
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

// script is a Checker that does what is set for a target, and well where nothing is.
type script struct {
	mu   sync.Mutex
	does map[string]func(ctx context.Context) error
	at   map[string][]time.Time
}

func newScript() *script {
	return &script{does: map[string]func(context.Context) error{}, at: map[string][]time.Time{}}
}

func (s *script) Check(ctx context.Context, c balancer.Check) error {
	s.mu.Lock()
	s.at[c.Target.URL] = append(s.at[c.Target.URL], time.Now())
	do := s.does[c.Target.URL]
	s.mu.Unlock()
	if do == nil {
		return nil
	}
	return do(ctx)
}

func (s *script) set(name string, do func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.does["http://"+name] = do
}

// asked returns how often a target was checked since.
func (s *script) asked(name string, since time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, at := range s.at["http://"+name] {
		if !at.Before(since) {
			n++
		}
	}
	return n
}

func fails(err error) func(context.Context) error { return func(context.Context) error { return err } }

func late(err error) func(context.Context) error {
	return func(ctx context.Context) error {
		<-ctx.Done()
		return err
	}
}

func hangs(ctx context.Context) error {
	<-ctx.Done()
	return errors.New("gave up") // what it says does not matter then
}

// checked makes a pool of a, b and c, which is closed at the end.
func checked(t *testing.T, h balancer.Health, names ...string) *balancer.Pool {
	t.Helper()
	if len(names) == 0 {
		names = []string{"a", "b", "c"}
	}
	p, err := balancer.NewPool(balancer.Config{Targets: named(names...), Health: h})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// What the checks of a target say.
func TestChecks(t *testing.T) {
	t.Parallel()
	wrapped := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for _, tt := range []struct {
		about  string
		c      balancer.Active
		do     func(context.Context) error
		reason string
		after  int // checks
	}{
		{"refused", balancer.Active{}, fails(wrapped), "connect_refused", 1},
		{"refused, which counts as any failure", balancer.Active{Failures: balancer.Failures{Refused: -1, TCP: 4}}, fails(wrapped), "tcp_failures", 4},
		{"reset", balancer.Active{}, fails(syscall.ECONNRESET), "tcp_failures", 3},
		{"an answer", balancer.Active{Failures: balancer.Failures{HTTP: 2}}, fails(&balancer.AnswerError{Status: 500}), "http_failures", 2},
		{"no answer in time", balancer.Active{Failures: balancer.Failures{Timeouts: 5}}, hangs, "timeouts", 5},
		{"an answer that says it was too late", balancer.Active{}, fails(context.DeadlineExceeded), "timeouts", 3},
		{"an answer that comes too late", balancer.Active{}, late(&balancer.AnswerError{Status: 500}), "timeouts", 3},
		{"what says nothing, and comes too late", balancer.Active{}, late(balancer.ErrInconclusive), "timeouts", 3},
		{"a checker that panics", balancer.Active{}, func(context.Context) error { panic("oh") }, "tcp_failures", 3},
		{"what says nothing", balancer.Active{}, fails(fmt.Errorf("%w: a redirect", balancer.ErrInconclusive)), "", 0},
		{"not counted", balancer.Active{Failures: balancer.Failures{Refused: -1, TCP: -1, Timeouts: -1, HTTP: -1}}, fails(syscall.ECONNRESET), "", 0},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newScript()
				var told []balancer.HealthChange
				tt.c.Checker, tt.c.Interval = s, 10*time.Second
				p := checked(t, balancer.Health{Active: tt.c, OnChange: func(c balancer.HealthChange) { told = append(told, c) }})
				s.set("b", tt.do)
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				b := p.Status()[1]
				require.Equal(t, tt.reason, b.HealthReason)
				require.InDelta(t, 12, s.asked("a", time.Time{}), 2)
				require.NotZero(t, b.CheckedAt)
				require.Error(t, b.CheckError)
				require.NoError(t, p.Status()[0].CheckError)
				if tt.reason == "" {
					require.Equal(t, balancer.Healthy, b.Health)
					require.Empty(t, told)
					return
				}
				require.Equal(t, balancer.Failing, b.Health)
				require.Equal(t, tt.after, s.asked("b", time.Time{})-s.asked("b", b.HealthSince.Add(time.Nanosecond)))
				require.Greater(t, s.asked("b", b.HealthSince), 20, "more often, now that it is out")
				require.Zero(t, requestsOf(t, p, 100)["http://b"])
				require.Len(t, told, 1)
				require.Error(t, told[0].Err)
				require.Equal(t, [2]balancer.HealthState{balancer.Healthy, balancer.Failing}, [2]balancer.HealthState{told[0].From, told[0].To})
				require.Zero(t, told[0].EjectedFor)

				s.set("b", nil)
				back := time.Now()
				time.Sleep(5 * time.Second)
				synctest.Wait()
				b = p.Status()[1]
				require.Equal(t, balancer.Healthy, b.Health)
				require.Equal(t, "checks_succeeded", b.HealthReason)
				require.Equal(t, 2, s.asked("b", back)-s.asked("b", b.HealthSince.Add(time.Nanosecond)))
				require.NotZero(t, requestsOf(t, p, 100)["http://b"])
				require.Len(t, told, 2)
				require.EqualValues(t, 2, told[1].Number)
			})
		})
	}
}

// What requests have found, checks bring back: at once where they see the same, and else not before the time is over.
func TestChecksOfEjected(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		about    string
		ends     []policy.Outcome
		do       func(context.Context) error
		c        balancer.Active
		from, to time.Duration // when it is back; 0 for never
		reason   string
	}{
		{"refused", []policy.Outcome{refused}, nil, balancer.Active{Interval: -1, UnhealthyInterval: time.Second}, 1800 * time.Millisecond, 2200 * time.Millisecond, "checks_succeeded"},
		{"503", slices.Repeat([]policy.Outcome{answer(503)}, 3), nil, balancer.Active{Interval: -1, UnhealthyInterval: time.Second}, 10 * time.Second, 13 * time.Second, "checks_succeeded"},
		{"refused, and still", []policy.Outcome{refused}, fails(syscall.ECONNREFUSED), balancer.Active{UnhealthyInterval: time.Second}, 0, 0, "connect_refused"},
		{"refused, and checks bring nothing back", []policy.Outcome{refused}, nil, balancer.Active{Successes: -1}, 10 * time.Second, 12 * time.Second, "ejection_over"},
		{"refused, and only what is well is checked", []policy.Outcome{refused}, nil, balancer.Active{UnhealthyInterval: -1}, 10 * time.Second, 12 * time.Second, "ejection_over"},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newScript()
				tt.c.Checker = s
				p := checked(t, balancer.Health{Active: tt.c})
				time.Sleep(time.Second)
				if tt.c.Interval < 0 {
					require.Zero(t, s.asked("b", time.Time{}), "it is well")
				}
				s.set("b", tt.do)
				began := time.Now()
				for _, o := range tt.ends {
					end(t, p, "http://b", o)
				}
				require.Equal(t, balancer.Ejected, p.Status()[1].Health)
				time.Sleep(time.Minute)
				synctest.Wait()
				b := p.Status()[1]
				require.Equal(t, tt.reason, b.HealthReason)
				if tt.to == 0 {
					require.Equal(t, balancer.Failing, b.Health)
					return
				}
				require.Equal(t, balancer.Healthy, b.Health)
				require.GreaterOrEqual(t, b.HealthSince.Sub(began), tt.from)
				require.LessOrEqual(t, b.HealthSince.Sub(began), tt.to)
			})
		})
	}
}

// Targets that come and go, are paused, and hang.
func TestChecksOfTargets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		p := checked(t, balancer.Health{Active: balancer.Active{Checker: s, Interval: time.Second, Concurrency: 3}})
		s.set("b", hangs)
		s.set("c", hangs)
		time.Sleep(30 * time.Second)
		require.InDelta(t, 30, s.asked("a", time.Time{}), 3, "two that hang do not hold up the third")
		require.Less(t, s.asked("b", time.Time{}), 20, "one check at a time")

		mark := time.Now()
		require.NoError(t, p.SetTargets([]balancer.Target{{URL: "http://a"}, {URL: "http://b", Weight: balancer.NoTraffic}, {URL: "http://d"}}))
		time.Sleep(30 * time.Second)
		require.InDelta(t, 30, s.asked("a", mark), 3)
		require.InDelta(t, 30, s.asked("d", mark), 3)
		require.LessOrEqual(t, s.asked("b", mark)+s.asked("c", mark), 2, "those under way at most")
		require.NoError(t, p.SetTargets(named("a", "b", "d")))
		require.Equal(t, balancer.Failing, p.Status()[1].Health, "nobody has said otherwise")
		s.set("b", nil)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.Equal(t, balancer.Healthy, p.Status()[1].Health)

		s.set("a", hangs)
		time.Sleep(1500 * time.Millisecond)
		mark = time.Now()
		require.NoError(t, p.Close())
		require.WithinDuration(t, mark, time.Now(), 0, "checks under way are broken off")
		time.Sleep(time.Minute)
		require.Zero(t, s.asked("a", mark.Add(1))+s.asked("b", mark.Add(1)))
	})
}

// A check that began before an ejection does not end it.
func TestCheckFromBeforeAnEjection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		p := checked(t, balancer.Health{Active: balancer.Active{Checker: s, Interval: 10 * time.Second, UnhealthyInterval: 10 * time.Second, Timeout: 5 * time.Second, Successes: 1}})
		slow := func(context.Context) error {
			time.Sleep(3 * time.Second)
			return nil
		}
		s.set("a", slow)
		for began := time.Now(); s.asked("a", began) == 0; {
			time.Sleep(100 * time.Millisecond)
		}
		end(t, p, "http://a", refused)
		time.Sleep(4 * time.Second)
		require.Equal(t, balancer.Ejected, p.Status()[0].Health)
		require.False(t, p.Status()[0].CheckedAt.IsZero())
		time.Sleep(15 * time.Second)
		require.Equal(t, balancer.Healthy, p.Status()[0].Health, "the next one does")
		require.NoError(t, p.Close())
	})
}

// Checks that have ended say nothing more, and do not begin again.
func TestEndChecks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		p := checked(t, balancer.Health{Active: balancer.Active{Checker: s, Interval: time.Second, UnhealthyInterval: time.Second}, Passive: balancer.Passive{EjectionTime: time.Second}})
		time.Sleep(10 * time.Second)
		s.set("b", hangs)
		time.Sleep(1500 * time.Millisecond)
		mark := time.Now()
		p.EndChecks()
		p.EndChecks()
		require.NoError(t, p.SetTargets(named("a", "b", "c", "d")))
		end(t, p, "http://a", refused)
		require.Equal(t, balancer.Ejected, p.Status()[0].Health)
		time.Sleep(time.Minute)
		require.Zero(t, s.asked("a", mark.Add(1))+s.asked("b", mark.Add(1))+s.asked("d", mark.Add(1)))
		require.Equal(t, balancer.Healthy, p.Status()[0].Health, "by time alone")
		require.Equal(t, balancer.Healthy, p.Status()[1].Health, "what is broken off says nothing")
		require.NoError(t, p.Close())
		p.EndChecks()
		(*balancer.Pool)(nil).EndChecks()
		new(balancer.Pool).EndChecks()
	})
}

// Checks of many gateways must not keep step.
func TestChecksAreSpread(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		var names []string
		for i := range 100 {
			names = append(names, fmt.Sprint("t", i))
		}
		checked(t, balancer.Health{Active: balancer.Active{Checker: s, Interval: 10 * time.Second}}, names...)
		time.Sleep(time.Minute)
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		seen := map[time.Time]int{}
		for _, name := range names {
			at := s.at["http://"+name]
			for i := range at[1:] {
				require.InDelta(t, 10, at[i+1].Sub(at[i]).Seconds(), 1.0001)
				seen[at[i+1].Truncate(100*time.Millisecond)]++
			}
		}
		require.Greater(t, len(seen), 100)
	})
}

// OnChange may do as it likes, closing the pool included.
func TestOnChangeCloses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		s.set("a", fails(syscall.ECONNREFUSED))
		var p *balancer.Pool
		var closed atomic.Bool
		ready := make(chan struct{})
		p, err := balancer.NewPool(balancer.Config{Targets: named("a", "b"), Health: balancer.Health{
			Active: balancer.Active{Checker: s},
			OnChange: func(balancer.HealthChange) {
				<-ready
				closed.Store(p.Close() == nil && p.Status()[0].Health == balancer.Failing)
			},
		}})
		require.NoError(t, err)
		close(ready)
		time.Sleep(time.Minute)
		require.True(t, closed.Load())
	})
}

// How a check connects.
func TestCheckConnects(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		type dialed struct{ network, address, name string }
		got := make(chan dialed, 9)
		c := checkerFunc(func(ctx context.Context, c balancer.Check) error {
			_, err := c.Dial(ctx)
			got <- dialed{err.Error(), c.URL.Host, c.TLS.ServerName}
			return err
		})
		p, err := balancer.NewPool(balancer.Config{
			Targets: []balancer.Target{{URL: "https://a.test/base"}, {URL: "http://b.test", Socket: "/run/b"}},
			Health: balancer.Health{Active: balancer.Active{
				Checker: c,
				Dial: func(_ context.Context, network, address string) (net.Conn, error) {
					return nil, errors.New(network + " " + address)
				},
				TLS: func() *tls.Config { return &tls.Config{ServerName: "of.test"} },
			}},
		})
		require.NoError(t, err)
		all := map[dialed]bool{<-got: true, <-got: true}
		require.Equal(t, map[dialed]bool{{"tcp a.test:443", "a.test", "of.test"}: true, {"unix /run/b", "b.test", "of.test"}: true}, all)
		require.NoError(t, p.Close())
	})
}

type checkerFunc func(ctx context.Context, c balancer.Check) error

func (f checkerFunc) Check(ctx context.Context, c balancer.Check) error { return f(ctx, c) }

// invalid is a Checker that is wrong by itself.
type invalid struct{ checkerFunc }

func (invalid) Validate() error {
	return errors.Join(errors.New("invalid.Path is none"), errors.New("invalid.Host is none"))
}

func TestCheckConfig(t *testing.T) {
	t.Parallel()
	_, err := balancer.NewPool(balancer.Config{Health: balancer.Health{Active: balancer.Active{
		Checker: invalid{}, Interval: -1, UnhealthyInterval: -1, Timeout: -time.Second, Concurrency: -1, Successes: 1 << 30, Failures: balancer.Failures{HTTP: 1 << 30},
	}}})
	require.EqualError(t, err, `balancer: Config.Targets: is empty; list at least one target
balancer: Config.Health.Active.Checker: invalid.Path is none
balancer: Config.Health.Active.Checker: invalid.Host is none
balancer: Config.Health.Active.Interval: and UnhealthyInterval are both negative, so that nothing is checked; leave Checker nil then
balancer: Config.Health.Active.Timeout -1s: must be 1ms to 168h0m0s, or 0 for the default of 1s
balancer: Config.Health.Active.Concurrency -1: must be 1 to 1048576, or 0 for the default of 128
balancer: Config.Health.Active.Successes 1073741824: must be 1 to 1048576, 0 for the default of 2, or negative: no check brings a target back
balancer: Config.Health.Active.Failures.HTTP 1073741824: must be 1 to 1048576, 0 for the default of 3, or negative: not counted`)
	_, err = balancer.NewPool(balancer.Config{Targets: named("a"), Health: balancer.Health{Active: balancer.Active{Checker: invalid{}, Interval: time.Microsecond, UnhealthyInterval: time.Microsecond}}})
	require.ErrorContains(t, err, "Health.Active.Interval 1µs: must be 1ms")
	require.ErrorContains(t, err, "Health.Active.UnhealthyInterval 1µs: must be 1ms")
}
