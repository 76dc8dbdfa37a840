package router_test

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/gatehouse-go/gateway/internal/router"
)

// BenchmarkBuild builds a table of 100,000 routes and reports the memory it keeps.
func BenchmarkBuild(b *testing.B) {
	routes := manyRoutes(100_000)
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		table, err := router.New(routes, router.Options{})
		b.StopTimer()
		if err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(table)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
		b.StartTimer()
	}
}

func manyRoutes(n int) []router.Route {
	routes := make([]router.Route, n)
	for i := range routes {
		suffix := [...]string{"", "/:id", "/*rest"}[i%3]
		routes[i] = router.Route{Name: fmt.Sprint(i), Paths: []string{fmt.Sprintf("/svc%d/items%s", i, suffix)}, Methods: []string{"GET", "POST"}}
	}
	return routes
}

// BenchmarkVerify verifies a table of 100,000 ordinary routes, and large ones in which much is alike. Where there is too much
// of that for all pairs to be compared, the time is what the bounds on the work amount to.
func BenchmarkVerify(b *testing.B) {
	condition := func(value string) map[string][]string { return map[string][]string{"X-Tenant": {value}} }
	for _, c := range []struct {
		name     string
		n        int
		route    func(i int) router.Route // nil for ordinary ones
		complete bool
	}{
		{"ordinary", 100_000, nil, true},
		{"twins", 100_000, func(i int) router.Route { return router.Route{Paths: []string{fmt.Sprintf("/svc%d", i/2)}} }, true},
		{"expressions", 10_000, func(i int) router.Route { return router.Route{Regexps: []string{fmt.Sprintf(`/svc%d/\d+$`, i)}} }, true},
		{"expressions-without-text", 10_000, func(i int) router.Route { return router.Route{Regexps: []string{fmt.Sprintf(`/[a-z]+/svc%d/\d+$`, i)}} }, false},
		{"wildcard-hosts", 100_000, func(i int) router.Route { return router.Route{Hosts: []string{fmt.Sprintf("*.t%06d.example.com", i)}} }, true},
		{"values", 5_000, func(i int) router.Route {
			return router.Route{Paths: []string{"/x"}, Headers: condition(fmt.Sprint(i))}
		}, true},
		{"expressions-of-values", 3_000, func(i int) router.Route {
			return router.Route{Paths: []string{"/x"}, Headers: condition(fmt.Sprintf(`~^[a-z]+%d$`, i))}
		}, false},
		{"shapes", 20_000, manyShapes, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			routes := manyRoutes(c.n)
			for i := range routes {
				if c.route != nil {
					routes[i] = c.route(i)
				}
			}
			table, err := router.New(routes, router.Options{AllowIdentical: true})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				findings, complete := table.Verify()
				if complete != c.complete || len(findings) > 0 && c.name != "twins" {
					b.Fatal(len(findings), complete)
				}
			}
		})
	}
}

// manyShapes has four wildcards anywhere among twelve segments.
func manyShapes(i int) router.Route {
	var wild []int // the i-th choice of four, more or less
	for n := i % 495; len(wild) < 4; n = n/2 + 7*len(wild) {
		at := n % 12
		for slices.Contains(wild, at) {
			at = (at + 1) % 12
		}
		wild = append(wild, at)
	}
	path := ""
	for k := range 12 {
		if slices.Contains(wild, k) {
			path += fmt.Sprint("/:p", k)
		} else {
			path += fmt.Sprint("/s", i)
		}
	}
	return router.Route{Paths: []string{path}}
}
