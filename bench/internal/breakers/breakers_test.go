package breakers_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sony/gobreaker/v2"
	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/breaker"
)

var errDown = errors.New("down")

// limits are what both can be told.
type limits struct {
	consecutive, probes int
	open                time.Duration
	told                func(to string)
}

// circuit is either breaker: begin returns nil when it refuses.
type circuit struct {
	begin func() (end func(err error))
	state func() string
}

func ours(t testing.TB, l limits) circuit {
	t.Helper()
	c := breaker.Config{Consecutive: l.consecutive, Probes: l.probes, OpenFor: l.open, MaxOpenFor: l.open}
	if l.told != nil {
		c.OnChange = func(c breaker.Change) { l.told(c.To.String()) }
	}
	b, err := breaker.New(c)
	require.NoError(t, err)
	return circuit{
		begin: func() func(error) {
			ticket, err := b.Admit(context.Background(), "")
			if err != nil {
				return nil
			}
			return func(err error) { b.Done(ticket, policy.Outcome{Err: err, Canceled: errors.Is(err, context.Canceled)}) }
		},
		state: func() string { return b.State().String() },
	}
}

func gobreakers(l limits) circuit {
	s := gobreaker.Settings{
		MaxRequests: uint32(l.probes), Timeout: l.open,
		ReadyToTrip: func(c gobreaker.Counts) bool { return int(c.ConsecutiveFailures) >= l.consecutive },
		IsExcluded:  func(err error) bool { return errors.Is(err, context.Canceled) },
	}
	if l.told != nil {
		s.OnStateChange = func(_ string, _, to gobreaker.State) { l.told(to.String()) }
	}
	b := gobreaker.NewTwoStepCircuitBreaker[struct{}](s)
	return circuit{
		begin: func() func(error) {
			done, err := b.Allow()
			if err != nil {
				return nil
			}
			return done
		},
		state: func() string { return b.State().String() },
	}
}

// TestSameDecisions: told the same, with one probe at a time, both admit and refuse the same calls, in random histories of
// calls that overlap, fail, succeed and are given up.
func TestSameDecisions(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 7))
			l := limits{consecutive: 1 + random.IntN(4), probes: 1, open: 10 * time.Second}
			a, b := ours(t, l), gobreakers(l)
			type call struct{ a, b func(error) }
			var calls []call
			for range 300 {
				switch n := random.IntN(8); {
				case n < 3:
					c := call{a.begin(), b.begin()}
					require.Equal(t, c.b == nil, c.a == nil, "seed %d", seed)
					if c.a != nil {
						calls = append(calls, c)
					}
				case n < 7 && len(calls) > 0:
					i := random.IntN(len(calls))
					err := []error{nil, errDown, errDown, context.Canceled}[random.IntN(4)]
					calls[i].a(err)
					calls[i].b(err)
					calls = append(calls[:i], calls[i+1:]...)
				default:
					// gobreaker is still open at the very end of its open time.
					time.Sleep(time.Duration(1+random.IntN(6)) * 1001 * time.Millisecond)
				}
			}
		})
	}
}

// TestDifferences: what they do otherwise, as docs/resilience.md says.
func TestDifferences(t *testing.T) {
	t.Parallel()
	open := func(c circuit, times int) {
		for range times {
			c.begin()(errDown)
		}
	}
	t.Run("a probe that never ends", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			l := limits{consecutive: 1, probes: 1, open: time.Second}
			for name, c := range map[string]circuit{"ours": ours(t, l), "gobreaker": gobreakers(l)} {
				open(c, 1)
				time.Sleep(1100 * time.Millisecond)
				require.NotNil(t, c.begin(), name)
				time.Sleep(time.Hour)
				require.Nil(t, c.begin(), name)
				time.Sleep(time.Hour)
				require.Equal(t, name == "ours", c.begin() != nil, "gobreaker is half-open for ever")
			}
		})
	})
	t.Run("places of probes that succeeded", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			l := limits{consecutive: 1, probes: 2, open: time.Second}
			for name, c := range map[string]circuit{"ours": ours(t, l), "gobreaker": gobreakers(l)} {
				open(c, 1)
				time.Sleep(1100 * time.Millisecond)
				one, two := c.begin(), c.begin()
				require.NotNil(t, two, name)
				one(nil)
				require.Equal(t, name == "ours", c.begin() != nil, "gobreaker lets two pass altogether")
			}
		})
	})
	t.Run("a callback that asks", func(t *testing.T) {
		t.Parallel()
		for _, name := range []string{"ours", "gobreaker"} {
			var c circuit
			l := limits{consecutive: 1, probes: 1, open: time.Second}
			var locked bool
			var mu sync.Mutex
			l.told = func(string) {
				got := make(chan struct{})
				go func() {
					c.state()
					close(got)
				}()
				select {
				case <-got:
				case <-time.After(50 * time.Millisecond):
					mu.Lock()
					locked = true
					mu.Unlock()
				}
			}
			if name == "ours" {
				c = ours(t, l)
			} else {
				c = gobreakers(l)
			}
			open(c, 1)
			mu.Lock()
			require.Equal(t, name == "gobreaker", locked, "it calls under its lock")
			mu.Unlock()
		}
	})
}

func BenchmarkBreakers(b *testing.B) {
	l := limits{consecutive: 5, probes: 1, open: time.Hour}
	ourBreaker := func(l limits) *breaker.Breaker {
		br, err := breaker.New(breaker.Config{Consecutive: l.consecutive, OpenFor: l.open})
		require.NoError(b, err)
		return br
	}
	ratio := func(c gobreaker.Counts) bool { return c.Requests >= 20 && 2*c.TotalFailures >= c.Requests }
	rates, err := breaker.New(breaker.Config{})
	require.NoError(b, err)
	two := func(s gobreaker.Settings) *gobreaker.TwoStepCircuitBreaker[struct{}] {
		return gobreaker.NewTwoStepCircuitBreaker[struct{}](s)
	}
	ctx, good := context.Background(), policy.Outcome{Status: 200, FirstByte: time.Millisecond}
	admit := func(br *breaker.Breaker, o policy.Outcome) func() {
		return func() {
			if t, err := br.Admit(ctx, ""); err == nil {
				br.Done(t, o)
			}
		}
	}
	allow := func(br *gobreaker.TwoStepCircuitBreaker[struct{}], err error) func() {
		return func() {
			if done, refused := br.Allow(); refused == nil {
				done(err)
			}
		}
	}
	opened, theirs := ourBreaker(l), two(gobreaker.Settings{Timeout: time.Hour})
	for range 10 {
		admit(opened, policy.Outcome{Err: errDown})()
		allow(theirs, errDown)()
	}
	for _, bb := range []struct {
		name string
		run  func()
	}{
		{"closed-consecutive/gatehouse", admit(ourBreaker(l), good)},
		{"closed-consecutive/gobreaker", allow(two(gobreaker.Settings{}), nil)},
		{"closed-rates/gatehouse", admit(rates, good)},
		{"closed-rates/gobreaker", allow(two(gobreaker.Settings{Interval: 10 * time.Second, BucketPeriod: time.Second, ReadyToTrip: ratio}), nil)},
		{"open/gatehouse", admit(opened, good)},
		{"open/gobreaker", allow(theirs, nil)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				bb.run()
			}
		})
		b.Run(bb.name+"-parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					bb.run()
				}
			})
		})
	}
}
