package breaker_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/race"
	"github.com/gatehouse-go/gateway/internal/respw"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/breaker"
)

// sink is a writer whose header can be used again.
type sink struct{ h http.Header }

func (s *sink) Header() http.Header         { return s.h }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
func (s *sink) WriteHeader(int)             {}

// chain is one request through a breaker, as a gateway has it, run as often as wanted. What the gateway itself allocates, its
// decision record apart, is made before.
func chain(tb testing.TB, b *breaker.Breaker) func() {
	tb.Helper()
	h := b.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
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
func try(tb testing.TB, b *breaker.Breaker) func() {
	tb.Helper()
	ctx := tb.Context()
	o := policy.Outcome{Status: http.StatusOK, FirstByte: time.Millisecond, Duration: time.Millisecond}
	return func() {
		t, err := b.Admit(ctx, "users")
		if err != nil {
			return
		}
		t = b.Answered(t, o)
		b.Done(t, o)
	}
}

func opened(tb testing.TB, c breaker.Config) *breaker.Breaker {
	tb.Helper()
	c.Consecutive, c.OpenFor = 1, time.Hour
	b := made(tb, c)
	trip(b)
	require.Equal(tb, breaker.Open, b.State())
	return b
}

func BenchmarkAdmission(b *testing.B) {
	rates := breaker.Config{FailureRate: 0.5, SlowRate: 0.5, SlowAfter: time.Second}
	for name, br := range map[string]*breaker.Breaker{
		"closed-rates": made(b, rates), "closed-consecutive": made(b, breaker.Config{Consecutive: 5}), "open": opened(b, breaker.Config{}),
	} {
		b.Run(name, func(b *testing.B) {
			run := try(b, br)
			b.ReportAllocs()
			for b.Loop() {
				run()
			}
		})
		b.Run(name+"-parallel", func(b *testing.B) {
			run := try(b, br)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					run()
				}
			})
		})
	}
}

func BenchmarkWrap(b *testing.B) {
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	for name, br := range map[string]*breaker.Breaker{
		"closed": made(b, breaker.Config{}), "closed-slow-rule": made(b, breaker.Config{SlowRate: 0.5, SlowAfter: time.Second}),
		"open": opened(b, breaker.Config{}), "fallback": opened(b, breaker.Config{Fallback: page}),
	} {
		b.Run(name, func(b *testing.B) {
			run := chain(b, br)
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
	slow := breaker.Config{SlowRate: 0.5, SlowAfter: time.Second, Consecutive: 5, FailureRate: 0.5}
	require.Zero(t, count(try(t, made(t, slow))), "a closed circuit costs nothing")
	require.Zero(t, count(try(t, opened(t, slow))), "nor does an open one")
	require.Zero(t, count(chain(t, made(t, slow))), "nor a plugin")
}

// TestAllocsOfHistory: whatever happens, a Breaker is as large as it was.
func TestAllocsOfHistory(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	b := made(t, breaker.Config{OpenFor: time.Millisecond, MaxOpenFor: time.Millisecond})
	start := time.Now()
	n := 0
	history := func() {
		for range 1000 {
			n++
			now := start.Add(time.Duration(n) * 100 * time.Microsecond)
			ticket, err := b.AdmitAt(now)
			if err == nil {
				b.DoneAt(now, ticket, policy.Outcome{Status: 200 + 300*(n/64%2)})
			}
		}
	}
	history()
	require.Zero(t, testing.AllocsPerRun(10, history))
	require.Greater(t, b.Status().Changes, uint64(10))
}
