package split_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/race"
	"github.com/gatehouse-go/gateway/internal/respw"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/split"
)

// sink is a writer whose header can be used again.
type sink struct{ h http.Header }

func (s *sink) Header() http.Header         { return s.h }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
func (s *sink) WriteHeader(int)             {}

// rig is one request through a Split, as a gateway has it, run as often as wanted. What the gateway itself allocates, its
// decision record apart, is made before.
func rig(tb testing.TB, s *split.Split, r *http.Request) func() {
	tb.Helper()
	_, r = policy.Ensure(r)
	under := &sink{http.Header{}}
	var w respw.Writer
	return func() {
		clear(under.h)
		w.Init(under)
		s.ServeHTTP(&w, r)
		w.Commit()
	}
}

// configs are the ways in which an arm is chosen.
func configs() map[string]split.Config {
	rule := split.Rule{Arm: "canary", Against: "stable", ErrorShare: 0.05, LatencyRatio: 10, Latency: time.Second}
	return map[string]split.Config{
		"turn":     {Arms: two(95, 5)},
		"all":      {Arms: two(100, 0)},
		"sticky":   {Arms: two(95, 5), Sticky: policy.ByHeader("X-Key")},
		"override": {Arms: two(95, 5), Overrides: []split.Override{{Header: "X-Key", Value: "k", Arm: "canary"}}},
		"rule":     {Arms: two(50, 50), Rollback: rule, Header: "X-Arm"},
	}
}

func quiet(c split.Config) split.Config {
	for i := range c.Arms {
		c.Arms[i].Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	}
	return c
}

func BenchmarkSplit(b *testing.B) {
	for name, c := range configs() {
		s := made(b, quiet(c))
		b.Run(name, func(b *testing.B) {
			run := rig(b, s, keyed("k"))
			b.ReportAllocs()
			for b.Loop() {
				run()
			}
		})
		b.Run(name+"-parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				run := rig(b, s, keyed("k"))
				for pb.Next() {
					run()
				}
			})
		})
	}
}

func TestAllocs(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	for name, c := range configs() {
		run := rig(t, made(t, quiet(c)), keyed("k"))
		for range 100 { // the decision record has grown to its bound
			run()
		}
		require.Zero(t, testing.AllocsPerRun(500, run), name)
	}
}
