package concurrency_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/internal/race"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/concurrency"
)

// server works on so many requests at once, in the order in which they come. It does not notice that a client has left.
type server struct {
	mu     sync.Mutex
	random *rand.Rand
	free   int
	queue  []chan struct{}
	mean   time.Duration
}

func newServer(workers int, mean time.Duration) *server {
	return &server{free: workers, mean: mean, random: rand.New(rand.NewPCG(1, 1))}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	done := make(chan struct{})
	s.mu.Lock()
	s.queue = append(s.queue, done)
	s.start()
	s.mu.Unlock()
	select {
	case <-done:
		w.WriteHeader(http.StatusNoContent)
	case <-r.Context().Done():
		panic(http.ErrAbortHandler)
	}
}

// start has free workers take what waits. The caller holds the lock.
func (s *server) start() {
	for s.free > 0 && len(s.queue) > 0 {
		done := s.queue[0]
		s.queue = s.queue[1:]
		s.free--
		time.AfterFunc(time.Duration(s.random.ExpFloat64()*float64(s.mean)), func() {
			close(done)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.free++
			s.start()
		})
	}
}

// shares of the classes in what is asked for.
var shares = []float64{0.2, 0.3, 0.5}

// figures are what became of the requests of each class.
type figures struct {
	asked, answered [3]int
	took            [3][]time.Duration
}

// quantile is over all classes, or one of them.
func (f *figures) quantile(q float64, classes ...int) time.Duration {
	var all []time.Duration
	for _, c := range classes {
		all = append(all, f.took[c]...)
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(int(q*float64(len(all))), len(all)-1)]
}

func (f *figures) share(class int) float64 {
	return float64(f.answered[class]) / float64(max(f.asked[class], 1))
}

func (f *figures) all() int { return f.answered[0] + f.answered[1] + f.answered[2] }

// load has clients ask h at that rate, each of whom waits for its answer for patience. What begins before from is not counted.
func load(ctx context.Context, h http.Handler, rate float64, from, length, patience time.Duration) *figures {
	var f figures
	var mu sync.Mutex
	var all sync.WaitGroup
	random := rand.New(rand.NewPCG(2, 2))
	start := time.Now()
	next := start
	for {
		next = next.Add(time.Duration(random.ExpFloat64() / rate * float64(time.Second)))
		time.Sleep(time.Until(next))
		now := time.Now()
		if now.Sub(start) >= length {
			break
		}
		class, x := 0, random.Float64()
		for ; class < len(shares)-1 && x >= shares[class]; class++ {
			x -= shares[class]
		}
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			left, leave := context.WithCancel(context.WithoutCancel(ctx)) // a client that leaves is no deadline
			defer context.AfterFunc(ctx, leave)()
			w := httptest.NewRecorder()
			panicked := serve(h, w, of(string(rune('0'+class))).WithContext(withExchange(left, class)))
			took := time.Since(now)
			leave()
			mu.Lock()
			defer mu.Unlock()
			if now.Sub(start) < from {
				return
			}
			f.asked[class]++
			if panicked == nil && w.Code == http.StatusNoContent && took < patience {
				f.answered[class]++
				f.took[class] = append(f.took[class], took)
			}
		})
	}
	all.Wait()
	return &f
}

// withExchange returns a context whose Exchange has a consumer of that class.
func withExchange(ctx context.Context, class int) context.Context {
	x, r := policy.Ensure(get().WithContext(ctx))
	x.SetIdentity(policy.Identity{Consumer: &policy.Consumer{ID: string(rune('0' + class))}})
	return r.Context()
}

// TestOverload: a server with 20 workers is asked for twice what it can do, by clients that wait for a second.
func TestOverload(t *testing.T) {
	t.Parallel()
	const (
		workers  = 20
		mean     = 20 * time.Millisecond
		patience = time.Second
		capacity = float64(workers) * float64(time.Second/mean)
	)
	length, from := 20*time.Second, 5*time.Second
	classes := func(c concurrency.Config) *concurrency.Config {
		c.Classes, c.Class = 3, classOf
		return &c
	}
	var table strings.Builder
	fmt.Fprintf(&table, "%-22s %8s %8s %8s %8s %9s %9s %6s\n", "", "goodput", "class 0", "class 1", "class 2", "p99 of 0", "p99", "limit")
	cases := []struct {
		name   string
		config *concurrency.Config
		sheds  bool
	}{
		{"no limit", nil, false},
		{"far too high, 2000", classes(concurrency.Config{Limit: 2000}), false},
		{"as many as workers", classes(concurrency.Config{Limit: workers}), true},
		{"found, FIFO", classes(concurrency.Config{}), true},
		{"found, LIFO", classes(concurrency.Config{Order: concurrency.LIFO}), true},
		{"found, no queue", &concurrency.Config{Queue: -1}, true},
		{"found, until answered", classes(concurrency.Config{UntilAnswered: true}), true},
	}
	if race.Enabled || testing.Short() {
		length, cases = 10*time.Second, cases[3:5]
	}
	rows := make([]string, len(cases))
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var h http.Handler = newServer(workers, mean)
				limit := 0
				var l *concurrency.Limiter
				if c.config != nil {
					l = made(t, *c.config)
					h = l.Wrap(h)
				}
				f := load(t.Context(), h, 2*capacity, from, length, patience)
				goodput := float64(f.all()) / (capacity * (length - from).Seconds())
				if l != nil {
					s := l.Status()
					require.Zero(t, s.InFlight)
					require.Zero(t, s.Waiting)
					limit = s.Limit
				}
				time.Sleep(time.Hour) // the server ends what it has
				rows[i] = fmt.Sprintf("%-22s %7.1f%% %7.1f%% %7.1f%% %7.1f%% %9s %9s %6d\n", c.name, 100*goodput, 100*f.share(0), 100*f.share(1), 100*f.share(2),
					f.quantile(0.99, 0).Round(time.Millisecond), f.quantile(0.99, 0, 1, 2).Round(time.Millisecond), limit)
				if !c.sheds {
					require.Less(t, goodput, 0.1, "it works for clients that have left")
					return
				}
				require.Greater(t, goodput, 0.9)
				require.Less(t, f.quantile(0.99, 0, 1, 2), concurrency.DefaultMaxWait+200*time.Millisecond)
				if c.config.Classes > 0 {
					require.Greater(t, f.share(0), 0.999)
					require.Less(t, f.quantile(0.99, 0), 200*time.Millisecond, "as long as it works, and the next place is free")
				}
			})
		})
	}
	t.Cleanup(func() { t.Logf("\n%s%s", table.String(), strings.Join(rows, "")) })
}

// TestOverloadedListener: the same over loopback, through an upstream that asks the Limiter. Only ratios are looked at.
func TestOverloadedListener(t *testing.T) {
	t.Parallel()
	if race.Enabled {
		t.Skip("time is real, and the race detector uses it up")
	}
	const (
		workers  = 8
		mean     = 40 * time.Millisecond
		patience = 400 * time.Millisecond
		capacity = float64(workers) * float64(time.Second/mean)
	)
	length, from := 5*time.Second, 2*time.Second
	run := func(l *concurrency.Limiter) *figures {
		target := httptest.NewServer(newServer(workers, mean))
		defer target.Close()
		c := gateway.UpstreamConfig{Name: "users", Targets: []balancer.Target{{URL: target.URL}}, MaxConns: -1, Health: balancer.Health{Panic: -1}}
		if l != nil {
			c.Admission = []policy.Admission{l}
		}
		u := gateway.Must(gateway.NewUpstream(c))
		defer func() { require.NoError(t, u.Close()) }()
		return load(t.Context(), u, 2*capacity, from, length, patience)
	}
	limited := concurrency.Config{
		Classes: 3, Class: classOf, Queue: 10, MaxWait: 100 * time.Millisecond, Adaptive: concurrency.Adaptive{Initial: 10, Window: 100 * time.Millisecond},
	}
	l := made(t, limited)
	var with, without *figures
	var both sync.WaitGroup
	both.Go(func() { with = run(l) })
	both.Go(func() { without = run(nil) })
	both.Wait()
	all := capacity * (length - from).Seconds()
	t.Logf("with a limit, %d in the end: %.0f%% of capacity, %.1f%% of class 0, p99 %v; without: %.0f%%", l.Status().Limit, 100*float64(with.all())/all,
		100*with.share(0), with.quantile(0.99, 0, 1, 2).Round(time.Millisecond), 100*float64(without.all())/all)
	require.Greater(t, with.all(), 2*without.all())
	require.Greater(t, with.share(0), with.share(2))
	require.Zero(t, l.Status().InFlight)
}
