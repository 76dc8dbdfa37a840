package policy_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/race"
	"github.com/gatehouse-go/gateway/policy"
)

// nowhere is a ResponseWriter that costs nothing.
type nowhere struct{ h http.Header }

func (w *nowhere) Header() http.Header         { return w.h }
func (w *nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (w *nowhere) WriteHeader(int)             {}

func nothing(http.ResponseWriter, *http.Request) {}

// recording is the least a policy does: find the Exchange and say that the request may pass.
func recording(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x, r := policy.Ensure(r)
		x.Record(policy.Decision{Policy: "p", Reason: "ok"})
		next.ServeHTTP(w, r)
	})
}

func chainOf(n int) http.Handler {
	var h http.Handler = http.HandlerFunc(nothing)
	for range n {
		h = recording(h)
	}
	return h
}

func TestAllocations(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	w, r := &nowhere{h: http.Header{}}, httptest.NewRequest(http.MethodGet, "/a/b?c=d", nil)
	entry := policy.Must(policy.NewEntry(policy.EntryConfig{}))
	for name, c := range map[string]struct {
		h    http.Handler
		want float64
	}{
		"entry":                 {entry.Wrap(chainOf(0)), 2},
		"entry and four others": {entry.Wrap(chainOf(4)), 3}, // what they record
		"first plugin":          {chainOf(1), 3},
		"four plugins":          {chainOf(4), 3},
	} {
		require.LessOrEqual(t, testing.AllocsPerRun(100, func() { c.h.ServeHTTP(w, r) }), c.want, name)
	}
}

// The cost of the first plugin, which makes the Exchange, and of each further one.
func BenchmarkPlugins(b *testing.B) {
	w, r := &nowhere{h: http.Header{}}, httptest.NewRequest(http.MethodGet, "/a/b?c=d", nil)
	entry := policy.Must(policy.NewEntry(policy.EntryConfig{}))
	for _, c := range []struct {
		name string
		h    http.Handler
	}{
		{"none", chainOf(0)},
		{"first", chainOf(1)},
		{"second", chainOf(2)},
		{"fourth", chainOf(4)},
		{"entry", entry.Wrap(chainOf(0))},
		{"entry/first", entry.Wrap(chainOf(1))},
		{"entry/fourth", entry.Wrap(chainOf(4))},
		{"entry/first, report-only", entry.Wrap(policy.ReportOnly(policy.PluginFunc(recording)).Wrap(http.HandlerFunc(nothing)))},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.h.ServeHTTP(w, r)
			}
		})
	}
}

func BenchmarkRefuse(b *testing.B) {
	entry := policy.Must(policy.NewEntry(policy.EntryConfig{}))
	refusal := &policy.Error{Status: 403, Code: "no", Message: "no"}
	h := entry.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { policy.Refuse(w, r, "p", refusal) }))
	w, r := &nowhere{h: http.Header{}}, httptest.NewRequest(http.MethodGet, "/", nil)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}
