package ratelimit_test

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/ratelimit"
)

// plenty is a limit that no benchmark reaches.
func plenty() ratelimit.Limit { return ratelimit.PerSecond(1 << 30) }

// headWriter is a ResponseWriter that keeps its header map, as a server's does for one request.
type headWriter struct{ h http.Header }

func (w *headWriter) Header() http.Header         { return w.h }
func (w *headWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w *headWriter) WriteHeader(int)             {}

// inExchange returns a writer and a request as a chain inside a gateway has them.
func inExchange(tb testing.TB) (w http.ResponseWriter, r *http.Request) {
	tb.Helper()
	entry, err := policy.NewEntry(policy.EntryConfig{})
	require.NoError(tb, err)
	entry.Wrap(http.HandlerFunc(func(inner http.ResponseWriter, in *http.Request) {
		policy.ExchangeFrom(in.Context()).SetIdentity(policy.Identity{
			Kind: "key-auth", Consumer: &policy.Consumer{ID: "6f9619ff-8b86-d011-b42d-00c04fc964ff"},
		})
		w, r = inner, in
	})).ServeHTTP(&headWriter{http.Header{}}, httptest.NewRequest(http.MethodGet, "/v1/users", nil))
	return w, r
}

// nothing is an empty handler, head one that sends a head.
var (
	nothing = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	head    = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
)

// three are three limits that no benchmark reaches.
func three() []ratelimit.Limit {
	return []ratelimit.Limit{plenty(), ratelimit.PerMinute(1 << 30), ratelimit.PerHour(1 << 30)}
}

// tester is what testing.TB and *rapid.T have in common.
type tester interface {
	require.TestingT
	Helper()
}

func limiter(tb tester, c ratelimit.Config) *ratelimit.Limiter {
	tb.Helper()
	l, err := ratelimit.New(c)
	require.NoError(tb, err)
	return l
}

// BenchmarkWrap is what a limiter costs in a chain, over an empty handler, for one hot key.
func BenchmarkWrap(b *testing.B) {
	for _, bb := range []struct {
		name string
		c    ratelimit.Config
	}{
		{"TokenBucket", ratelimit.Config{Limits: []ratelimit.Limit{plenty()}}},
		{"FixedWindow", ratelimit.Config{Limits: []ratelimit.Limit{plenty()}, Algorithm: ratelimit.FixedWindow}},
		{"SlidingWindow", ratelimit.Config{Limits: []ratelimit.Limit{plenty()}, Algorithm: ratelimit.SlidingWindow}},
		{"TokenBucket-3-limits", ratelimit.Config{Limits: three()}},
		{"FixedWindow-3-limits", ratelimit.Config{Limits: three(), Algorithm: ratelimit.FixedWindow}},
	} {
		bb.c.Key, bb.c.HideHeaders = policy.ByConsumer(), true
		b.Run(bb.name, func(b *testing.B) {
			h := limiter(b, bb.c).Wrap(nothing)
			w, r := inExchange(b)
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(w, r)
			}
		})
	}
}

// BenchmarkHeaders is the limiter with its header fields set on the answer.
func BenchmarkHeaders(b *testing.B) {
	for _, bb := range []struct {
		name    string
		headers ratelimit.Headers
		limits  []ratelimit.Limit
	}{
		{"default", 0, []ratelimit.Limit{plenty()}},
		{"draft", ratelimit.HeadersDraft, []ratelimit.Limit{plenty()}},
		{"Kong", ratelimit.HeadersPeriod | ratelimit.HeadersReset, []ratelimit.Limit{plenty()}},
		{"default-3-limits", 0, three()},
	} {
		b.Run(bb.name, func(b *testing.B) {
			l := limiter(b, ratelimit.Config{Limits: bb.limits, Key: policy.ByConsumer(), Headers: bb.headers})
			h := l.Wrap(head)
			_, r := inExchange(b)
			under := &headWriter{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(policy.OnHeader(under, nil), r)
			}
		})
	}
}

// BenchmarkRefused is a request refused, its answer written.
func BenchmarkRefused(b *testing.B) {
	l := limiter(b, ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerYear(1)}, Key: policy.ByConsumer()})
	h := l.Wrap(nothing)
	_, r := inExchange(b)
	h.ServeHTTP(&headWriter{http.Header{}}, r)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(&headWriter{http.Header{}}, r)
	}
}

// BenchmarkKeys is TakeAt with keys drawn evenly from so many.
func BenchmarkKeys(b *testing.B) {
	for _, n := range []int{1, 1000, 100_000} {
		for _, a := range []ratelimit.Algorithm{ratelimit.TokenBucket, ratelimit.FixedWindow, ratelimit.SlidingWindow} {
			b.Run(a.String()+"-"+strconv.Itoa(n), func(b *testing.B) {
				l := limiter(b, ratelimit.Config{Limits: []ratelimit.Limit{plenty()}, Algorithm: a, MaxKeys: 2 * n})
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					var key [8]byte
					for pb.Next() {
						binary.LittleEndian.PutUint64(key[:], uint64(rand.IntN(n)))
						if _, err := l.TakeAt(b.Context(), time.Now(), key[:], 1); err != nil {
							b.Fatal(err)
						}
					}
				})
			})
		}
	}
}

// BenchmarkMadeUpKeys is what each request of somebody costs who never uses a key twice, before and after the table is full.
func BenchmarkMadeUpKeys(b *testing.B) {
	for _, n := range []int{1 << 10, ratelimit.DefaultMaxKeys} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			l := limiter(b, ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerDay(1 << 30)}, MaxKeys: n})
			var key [8]byte
			now := time.Now()
			b.ReportAllocs()
			for i := uint64(0); b.Loop(); i++ {
				binary.LittleEndian.PutUint64(key[:], i)
				if _, err := l.TakeAt(b.Context(), now, key[:], 1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// gcra is the generic cell rate algorithm on one atomic word, to compare with. It knows one limit, cannot decide about
// several at once, and its state is the time at which the next request would be due.
type gcra struct {
	due             atomic.Int64
	interval, burst int64
}

func (g *gcra) allow(now int64) bool {
	for {
		due := g.due.Load()
		next := max(due, now) + g.interval
		if next-now > g.burst {
			return false
		}
		if g.due.CompareAndSwap(due, next) {
			return true
		}
	}
}

// BenchmarkHotKey compares the bare algorithms on one key that everybody uses.
func BenchmarkHotKey(b *testing.B) {
	start := time.Now()
	b.Run("x-time-rate", func(b *testing.B) {
		lim := rate.NewLimiter(1<<30, 1<<30)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				lim.AllowN(time.Now(), 1)
			}
		})
	})
	b.Run("gcra-atomic", func(b *testing.B) {
		g := &gcra{interval: 1, burst: 1 << 30}
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				g.allow(int64(time.Since(start)))
			}
		})
	})
}

// BenchmarkMemory reports what a key occupies in a full table, all included.
func BenchmarkMemory(b *testing.B) {
	for _, a := range []ratelimit.Algorithm{ratelimit.TokenBucket, ratelimit.FixedWindow, ratelimit.SlidingWindow} {
		for _, limits := range [][]ratelimit.Limit{{ratelimit.PerDay(10)}, {ratelimit.PerDay(10), ratelimit.PerMonth(10)}} {
			b.Run(a.String()+"-"+strconv.Itoa(len(limits)), func(b *testing.B) {
				for b.Loop() {
					before := heap()
					l := limiter(b, ratelimit.Config{Limits: limits, Algorithm: a})
					fill(b, l, 2*ratelimit.DefaultMaxKeys)
					b.ReportMetric(float64(heap()-before)/ratelimit.DefaultMaxKeys, "B/key")
					runtime.KeepAlive(l)
				}
			})
		}
	}
}

// heap returns the bytes in use once all garbage is collected.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// fill counts n keys once each.
func fill(tb testing.TB, l *ratelimit.Limiter, n int) {
	tb.Helper()
	var key [8]byte
	now := time.Now()
	for i := range n {
		binary.LittleEndian.PutUint64(key[:], uint64(i))
		_, _ = l.TakeAt(context.Background(), now, key[:], 1)
	}
}
