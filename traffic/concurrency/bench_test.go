package concurrency_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/race"
	"github.com/gatehouse-go/gateway/internal/respw"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/concurrency"
)

// sink is a writer whose header can be used again.
type sink struct{ h http.Header }

func (s *sink) Header() http.Header         { return s.h }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
func (s *sink) WriteHeader(int)             {}

// chain is one request through a limiter, as a gateway has it, run as often as wanted. What the gateway itself allocates, its
// decision record apart, is made before.
func chain(tb testing.TB, l *concurrency.Limiter) func() {
	tb.Helper()
	h := l.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	_, r := policy.Ensure(httptest.NewRequest(http.MethodGet, "/", nil))
	under := &sink{http.Header{}}
	var w respw.Writer
	return func() {
		clear(under.h)
		w.Init(under)
		h.ServeHTTP(&w, r)
	}
}

// try is one admission and its end.
func try(tb testing.TB, l *concurrency.Limiter) func() {
	tb.Helper()
	ctx := tb.Context()
	o := policy.Outcome{Status: http.StatusOK, FirstByte: time.Millisecond, Duration: time.Millisecond}
	return func() {
		t, err := l.Admit(ctx, "users")
		if err != nil {
			return
		}
		t = l.Answered(t, o)
		l.Done(t, o)
	}
}

// full returns a limiter without a free place.
func full(tb testing.TB, c concurrency.Config) *concurrency.Limiter {
	tb.Helper()
	c.Limit = 1
	l := made(tb, c)
	_, err := l.Admit(tb.Context(), "")
	require.NoError(tb, err)
	return l
}

func limiters(tb testing.TB) map[string]*concurrency.Limiter {
	tb.Helper()
	return map[string]*concurrency.Limiter{
		"fixed": made(tb, concurrency.Config{Limit: 100}), "found": made(tb, concurrency.Config{}),
		"classes": made(tb, concurrency.Config{Classes: 3, Class: classOf}), "full": full(tb, concurrency.Config{Queue: -1}),
	}
}

func BenchmarkAdmission(b *testing.B) {
	for name, l := range limiters(b) {
		b.Run(name, func(b *testing.B) {
			run := try(b, l)
			b.ReportAllocs()
			for b.Loop() {
				run()
			}
		})
		b.Run(name+"-parallel", func(b *testing.B) {
			run := try(b, l)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					run()
				}
			})
		})
	}
	// Each request waits for the place that another one has.
	b.Run("waiting", func(b *testing.B) {
		run := try(b, made(b, concurrency.Config{Limit: 1, Queue: 1000, MaxWait: time.Minute}))
		b.SetParallelism(8)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				run()
			}
		})
	})
}

func BenchmarkWrap(b *testing.B) {
	for name, l := range limiters(b) {
		b.Run(name, func(b *testing.B) {
			run := chain(b, l)
			b.ReportAllocs()
			for b.Loop() {
				run()
			}
		})
	}
}

func TestAllocs(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	count := func(run func()) float64 {
		for range 100 { // the decision record has grown to its bound
			run()
		}
		return testing.AllocsPerRun(500, run)
	}
	for name, l := range limiters(t) {
		require.Zero(t, count(try(t, l)), "%s, as an admission", name)
		if name != "full" { // a refusal has a body
			require.Zero(t, count(chain(t, l)), "%s, as a plugin", name)
		}
	}
	l := full(t, concurrency.Config{MaxWait: time.Hour})
	over, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	require.Zero(t, count(func() { _, _ = l.Admit(over, "") }), "one that cannot wait")
}

// TestAllocsOfHistory: whatever happens, a Limiter is as large as it was.
func TestAllocsOfHistory(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	l := made(t, concurrency.Config{Adaptive: concurrency.Adaptive{Probe: time.Second}})
	now := time.Now()
	var tickets [100]policy.Ticket
	history := func() {
		for i := range 1000 {
			held := tickets[:0]
			for len(held) < len(tickets) {
				ticket, err := l.AdmitAt(now, 0)
				if err != nil {
					break
				}
				held = append(held, ticket)
			}
			now = now.Add(time.Duration(5+i/100) * time.Millisecond)
			for _, ticket := range held {
				l.DoneAt(now, ticket, policy.Outcome{Status: 200 + 303*(i/90%2)})
			}
		}
	}
	history()
	require.Zero(t, testing.AllocsPerRun(5, history))
}
