package limiters_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/race"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/concurrency"
)

// limiter is either one. enter returns nil when it refuses; what it returns is told whether there was an answer.
type limiter struct {
	enter func(ctx context.Context) (end func(answered bool))
	limit func() int
}

func ours(t testing.TB, c concurrency.Config) limiter {
	t.Helper()
	l, err := concurrency.New(c)
	require.NoError(t, err)
	return limiter{
		enter: func(ctx context.Context) func(bool) {
			ticket, err := l.Admit(ctx, "")
			if err != nil {
				return nil
			}
			return func(answered bool) { l.Done(ticket, policy.Outcome{Canceled: !answered}) }
		},
		limit: func() int { return l.Status().Limit },
	}
}

func failsafes(b adaptivelimiter.Builder[any], wait bool) limiter {
	l := b.Build()
	return limiter{
		enter: func(ctx context.Context) func(bool) {
			var p adaptivelimiter.Permit
			if wait {
				var err error
				if p, err = l.AcquirePermitWithMaxWait(ctx, concurrency.DefaultMaxWait); err != nil {
					return nil
				}
			} else {
				var ok bool
				if p, ok = l.TryAcquirePermit(); !ok {
					return nil
				}
			}
			return func(answered bool) {
				if answered {
					p.Record()
				} else {
					p.Drop()
				}
			}
		},
		limit: l.Limit,
	}
}

// server works on so many calls at once, in the order in which they come, and does not notice that a client has left.
type server struct {
	mu      sync.Mutex
	random  *rand.Rand
	workers int
	busy    int
	queue   []chan struct{}
	mean    time.Duration
}

func (s *server) call(ctx context.Context) bool {
	done := make(chan struct{})
	s.mu.Lock()
	s.queue = append(s.queue, done)
	s.start()
	s.mu.Unlock()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *server) start() {
	for s.busy < s.workers && len(s.queue) > 0 {
		done := s.queue[0]
		s.queue = s.queue[1:]
		s.busy++
		time.AfterFunc(time.Duration(s.random.ExpFloat64()*float64(s.mean)), func() {
			close(done)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.busy--
			s.start()
		})
	}
}

// story is what a server does while clients ask for twice what it can do at first.
type story struct {
	name    string
	from    time.Duration // is not counted before
	length  time.Duration
	at      time.Duration
	workers int // from then on
	mean    time.Duration
}

// row is what a limiter makes of it.
func row(t *testing.T, s story, l limiter) (goodput float64, p50, p99 time.Duration, limit int) {
	t.Helper()
	const patience = time.Second
	srv := &server{workers: 20, mean: 20 * time.Millisecond, random: rand.New(rand.NewPCG(1, 1))}
	random := rand.New(rand.NewPCG(2, 2))
	if s.at > 0 {
		time.AfterFunc(s.at, func() {
			srv.mu.Lock()
			defer srv.mu.Unlock()
			srv.workers, srv.mean = s.workers, s.mean
		})
	}
	var took []time.Duration
	var mu sync.Mutex
	var all sync.WaitGroup
	start := time.Now()
	next := start
	for {
		next = next.Add(time.Duration(random.ExpFloat64() / 2000 * float64(time.Second)))
		time.Sleep(time.Until(next))
		now := time.Now()
		if now.Sub(start) >= s.length {
			break
		}
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			end := l.enter(ctx)
			if end == nil {
				return
			}
			answered := srv.call(ctx)
			end(answered)
			mu.Lock()
			defer mu.Unlock()
			if answered && now.Sub(start) >= s.from {
				took = append(took, time.Since(now))
			}
		})
	}
	all.Wait()
	limit = l.limit()
	time.Sleep(time.Hour) // the server ends what it has
	slices.Sort(took)
	rate := float64(srv.workers) / srv.mean.Seconds()
	if len(took) > 0 {
		p50, p99 = took[len(took)/2], took[len(took)*99/100]
	}
	return float64(len(took)) / (rate * (s.length - s.from).Seconds()), p50, p99, limit
}

// TestOverload prints what the two make of the same overload, in virtual time. Only what docs/overload.md says of ours is
// asserted.
func TestOverload(t *testing.T) {
	t.Parallel()
	stories := []story{
		{name: "20 workers of 20 ms", from: 10 * time.Second, length: 40 * time.Second},
		{name: "the same, after five minutes", from: 5 * time.Minute, length: 330 * time.Second},
		{name: "four times as slow from 20 s on", from: 30 * time.Second, length: 60 * time.Second, at: 20 * time.Second, workers: 20, mean: 80 * time.Millisecond},
		{name: "4 of 20 workers from 20 s on", from: 30 * time.Second, length: 60 * time.Second, at: 20 * time.Second, workers: 4, mean: 20 * time.Millisecond},
	}
	var table strings.Builder
	fmt.Fprintf(&table, "%-34s %-24s %8s %8s %8s %6s\n", "", "", "goodput", "p50", "p99", "limit")
	rows := make([]string, 0, 4*len(stories))
	for _, s := range stories {
		if (race.Enabled || testing.Short()) && s.length > time.Minute { // which would take minutes
			continue
		}
		for _, name := range []string{"gatehouse, no queue", "failsafe-go, no queue", "gatehouse, queue", "failsafe-go, queue"} {
			if race.Enabled && !strings.HasPrefix(name, "gatehouse") {
				continue // nothing is asked of the other
			}
			synctest.Test(t, func(t *testing.T) {
				var l limiter
				switch name {
				case "gatehouse, no queue":
					l = ours(t, concurrency.Config{Queue: -1})
				case "gatehouse, queue":
					l = ours(t, concurrency.Config{})
				case "failsafe-go, no queue":
					l = failsafes(adaptivelimiter.NewBuilder[any](), false)
				default:
					l = failsafes(adaptivelimiter.NewBuilder[any]().WithQueueing(2, 3), true)
				}
				goodput, p50, p99, limit := row(t, s, l)
				rows = append(rows, fmt.Sprintf("%-34s %-24s %7.1f%% %8s %8s %6d\n", s.name, name, 100*goodput, p50.Round(time.Millisecond), p99.Round(time.Millisecond), limit))
				if strings.HasPrefix(name, "gatehouse") {
					require.Greater(t, goodput, 0.9, "%s, %s", s.name, name)
				}
			})
		}
	}
	t.Logf("\n%s%s", table.String(), strings.Join(rows, ""))
}

func BenchmarkLimiters(b *testing.B) {
	ctx := context.Background()
	for name, l := range map[string]limiter{
		"free/gatehouse": ours(b, concurrency.Config{}), "free/failsafe-go": failsafes(adaptivelimiter.NewBuilder[any](), false),
		"full/gatehouse":   ours(b, concurrency.Config{Adaptive: concurrency.Adaptive{Max: 1}, Queue: -1}),
		"full/failsafe-go": failsafes(adaptivelimiter.NewBuilder[any]().WithLimits(1, 1, 1), false),
	} {
		if strings.HasPrefix(name, "full") {
			l.enter(ctx)
		}
		run := func() {
			if end := l.enter(ctx); end != nil {
				end(true)
			}
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				run()
			}
		})
		b.Run(name+"-parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					run()
				}
			})
		})
	}
}
