package mirror_test

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/race"
	"github.com/gatehouse-go/gateway/internal/respw"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/mirror"
)

// discard is a writer whose header can be used again.
type discard struct{ h http.Header }

func (s *discard) Header() http.Header         { return s.h }
func (s *discard) Write(p []byte) (int, error) { return len(p), nil }
func (s *discard) WriteHeader(int)             {}

// chain is one request through h, as a gateway has it, run as often as wanted.
func chain(h http.Handler) func() {
	_, r := policy.Ensure(httptest.NewRequest(http.MethodGet, "/", nil))
	r.Header = http.Header{"Accept": {"*/*"}, "User-Agent": {"test"}, "X-User": {"ann"}}
	under := &discard{http.Header{}}
	var w respw.Writer
	return func() {
		clear(under.h)
		w.Init(under)
		h.ServeHTTP(&w, r)
	}
}

// settle waits for the copies under way.
func settle(m *mirror.Mirror) {
	for m.Status().Running > 0 {
		runtime.Gosched()
	}
}

func page(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }

func BenchmarkWrap(b *testing.B) {
	const seldom = 1e-9
	nobody := http.HandlerFunc(page)
	for name, c := range map[string]mirror.Config{
		"not-chosen": {Share: seldom}, "off": {Share: -1}, "not-chosen-by-key": {Share: seldom, Key: policy.ByHeader("X-User")},
		"chosen": {Share: 1}, "compared": {Share: 1, Compare: &mirror.Compare{}},
	} {
		b.Run(name, func(b *testing.B) {
			c.Shadow = nobody
			m := made(b, c)
			defer m.Close()
			run := chain(m.Wrap(nobody))
			b.ReportAllocs()
			for b.Loop() {
				run()
				if c.Share == 1 { // the copies included
					settle(m)
				}
			}
		})
	}
	b.Run("full", func(b *testing.B) {
		release := make(chan struct{})
		m := made(b, mirror.Config{Shadow: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }), Workers: 1, Queue: -1})
		run := chain(m.Wrap(nobody))
		b.ReportAllocs()
		for b.Loop() {
			run()
		}
		close(release)
		settle(m)
	})
	b.Run("without", func(b *testing.B) {
		run := chain(nobody)
		b.ReportAllocs()
		for b.Loop() {
			run()
		}
	})
}

func BenchmarkCompareJSON(b *testing.B) {
	m := made(b, mirror.Config{Shadow: jsonOf(`{"items":[{"id":1,"t":1},{"id":2,"t":1}]}`), Share: 1, Workers: 1, Compare: &mirror.Compare{Ignore: []string{"items[*].t"}}})
	defer m.Close()
	run := chain(m.Wrap(jsonOf(`{"items":[{"id":1,"t":2},{"id":2,"t":3}]}`)))
	b.ReportAllocs()
	for b.Loop() {
		run()
		settle(m)
	}
}

// TestAllocs: who is not chosen pays nothing.
func TestAllocs(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	for _, c := range []mirror.Config{
		{Share: 1e-9}, {Share: -1}, {Share: 1e-9, Key: policy.ByHeader("X-User")}, {Share: 1e-9, Compare: &mirror.Compare{}}, {Share: 1, Methods: []string{"POST"}},
	} {
		c.Shadow = http.HandlerFunc(page)
		m := made(t, c)
		run := chain(m.Wrap(http.HandlerFunc(page)))
		run()
		require.Zero(t, testing.AllocsPerRun(500, run))
		require.Zero(t, m.Status().Sampled)
		require.NoError(t, m.Close())
	}
}
