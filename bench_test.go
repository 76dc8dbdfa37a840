package gateway_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/internal/race"
	"github.com/gatehouse-go/gateway/policy"
)

// nowhere is a ResponseWriter that costs nothing.
type nowhere struct{ h http.Header }

func (w *nowhere) Header() http.Header         { return w.h }
func (w *nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (w *nowhere) WriteHeader(int)             {}

func nothing(http.ResponseWriter, *http.Request) {}

// browser is a request with the header a browser sends.
func browser(target string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Header = http.Header{
		"Accept": {"text/html"}, "Accept-Encoding": {"gzip, br"}, "Accept-Language": {"en"}, "Cookie": {"a=b"},
		"User-Agent": {"Mozilla/5.0"}, "Referer": {"https://example.com/"}, "Content-Type": {"text/plain"}, "X-Custom": {"1"},
	}
	return r
}

func manyRoutes(n int, plugins ...gateway.Plugin) *gateway.Gateway {
	routes := make([]gateway.Route, 0, n)
	for i := range n {
		path := fmt.Sprintf("/svc%d/items", i)
		switch i % 3 {
		case 1:
			path += "/:id"
		case 2:
			path += "/*rest"
		}
		routes = append(routes, gateway.Route{Name: fmt.Sprint(i), Match: gateway.Match{Paths: []string{path}}, Plugins: plugins, Handler: http.HandlerFunc(nothing)})
	}
	return gateway.Must(gateway.New(gateway.Config{Routes: routes}))
}

// What the gateway itself allocates: the Exchange and the request copy; net/http's map of path values where there are
// parameters.
func TestAllocations(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	gw := manyRoutes(9)
	for target, want := range map[string]float64{"/svc0/items": 2, "/svc2/items/a/b": 3, "/svc1/items/42": 3, "/nowhere": -1} {
		w, r := &nowhere{h: http.Header{}}, browser(target)
		got := testing.AllocsPerRun(100, func() { gw.ServeHTTP(w, r) })
		if want < 0 {
			t.Logf("%s: %v allocations", target, got)
			continue
		}
		require.LessOrEqual(t, got, want, target)
	}
}

func BenchmarkGateway(b *testing.B) {
	pass := policy.Describe("pass", policy.Contract{}, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			x, r := policy.Ensure(r)
			x.Record(policy.Decision{Policy: "pass", Reason: "ok"})
			next.ServeHTTP(w, r)
		})
	})
	for _, n := range []int{1, 1_000, 100_000} {
		for _, kind := range []struct {
			name, target string
		}{{"static", "/svc0/items"}, {"param", "/svc1/items/42"}, {"subtree", "/svc2/items/a/b"}} {
			b.Run(fmt.Sprintf("%s/%d", kind.name, n), func(b *testing.B) {
				gw := manyRoutes(max(n, 3))
				w, r := &nowhere{h: http.Header{}}, browser(kind.target)
				b.ReportAllocs()
				for b.Loop() {
					gw.ServeHTTP(w, r)
				}
			})
		}
	}
	for _, n := range []int{0, 1, 2, 4, 8} {
		b.Run(fmt.Sprintf("plugins/%d", n), func(b *testing.B) {
			plugins := make([]gateway.Plugin, n)
			for i := range plugins {
				plugins[i] = pass
			}
			gw := manyRoutes(3, plugins...)
			w, r := &nowhere{h: http.Header{}}, browser("/svc0/items")
			b.ReportAllocs()
			for b.Loop() {
				gw.ServeHTTP(w, r)
			}
		})
	}
}

// BenchmarkExplain explains a request to one of many routes.
func BenchmarkExplain(b *testing.B) {
	for _, n := range []int{10, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			gw := manyRoutes(n)
			r := browser("/svc1/items/42")
			b.ReportAllocs()
			for b.Loop() {
				if e := gw.Explain(r); e.Route != "1" {
					b.Fatal(e)
				}
			}
		})
	}
}

// BenchmarkValidate verifies a table of 100,000 routes, from the routes to the report.
func BenchmarkValidate(b *testing.B) {
	routes := make([]gateway.Route, 100_000)
	for i := range routes {
		suffix := [...]string{"", "/:id", "/*rest"}[i%3]
		routes[i] = gateway.Route{
			Name: fmt.Sprint(i), Match: gateway.Match{Methods: []string{"GET", "POST"}, Paths: []string{fmt.Sprintf("/svc%d/items%s", i, suffix)}},
			Handler: http.HandlerFunc(nothing),
		}
	}
	c := gateway.Config{Routes: routes}
	b.ReportAllocs()
	for b.Loop() {
		if r := c.Validate(); len(r.Findings) > 0 {
			b.Fatal(r)
		}
	}
}
