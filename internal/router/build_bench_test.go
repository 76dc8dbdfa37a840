package router_test

import (
	"fmt"
	"runtime"
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

// BenchmarkVerify verifies a table of 100,000 routes.
func BenchmarkVerify(b *testing.B) {
	table, err := router.New(manyRoutes(100_000), router.Options{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if findings, complete := table.Verify(); len(findings) > 0 || !complete {
			b.Fatal(findings, complete)
		}
	}
}
