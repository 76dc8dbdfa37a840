package router_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/gatehouse-go/gateway/internal/router"
)

// BenchmarkBuild builds a table of 100,000 routes and reports the memory it keeps.
func BenchmarkBuild(b *testing.B) {
	const n = 100_000
	routes := make([]router.Route, n)
	for i := range routes {
		suffix := [...]string{"", "/:id", "/*rest"}[i%3]
		routes[i] = router.Route{Name: fmt.Sprint(i), Paths: []string{fmt.Sprintf("/svc%d/items%s", i, suffix)}, Methods: []string{"GET", "POST"}}
	}
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
