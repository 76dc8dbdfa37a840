package router_test

import (
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/race"
	"github.com/gatehouse-go/gateway/internal/router"
)

// TestAllocations holds the budget of a lookup. It may not run beside other tests.
func TestAllocations(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	table := newTable(t,
		router.Route{Paths: []string{"/static", "/p/:id", "/m/:id/x/:y", "/sub/*rest"}},
		router.Route{Prefixes: []string{"/pre"}},
		router.Route{Regexps: []string{`/plain\d+`, `/re(\d+)`}},
		router.Route{Hosts: []string{"h.test:81", "*.wild.test", "wild.*"}, Paths: []string{"/host/:id"}},
		router.Route{Headers: map[string][]string{"X-A": {"1", "~^two"}}, Prefixes: []string{"/cond"}},
		router.Route{Query: map[string][]string{"q q": {"1 2"}}, Prefixes: []string{"/cond"}},
		router.Route{Methods: []string{"POST"}, Paths: []string{"/method/:id"}},
	)
	r := &http.Request{Header: http.Header{"X-A": {"TWO"}}, URL: &url.URL{RawQuery: "a=b&q+q=1%202"}}
	for _, c := range []struct {
		name   string
		q      router.Request
		allocs float64
	}{
		{"static", router.Request{Path: "/static"}, 0},
		{"parameter", router.Request{Path: "/p/42"}, 0},
		{"parameter with an escape", router.Request{Path: "/p/4%202"}, 2}, // the value, and the text for the expressions
		{"parameters between literals", router.Request{Path: "/m/42/x/43"}, 0},
		{"subtree", router.Request{Path: "/sub/a/b"}, 0},
		{"prefix", router.Request{Path: "/prefix"}, 0},
		{"expression", router.Request{Path: "/plain123"}, 0},
		{"expression with captures", router.Request{Path: "/re123"}, 1},
		{"host with port", router.Request{Path: "/host/1", Host: "h.test", Port: "81"}, 0},
		{"host suffix", router.Request{Path: "/host/1", Host: "a.b.wild.test"}, 0},
		{"host prefix", router.Request{Path: "/host/1", Host: "wild.org"}, 0},
		{"header", router.Request{Path: "/cond", HTTP: r}, 0},
		{"query", router.Request{Path: "/cond", HTTP: &http.Request{URL: r.URL}}, 0},
		{"method not allowed", router.Request{Path: "/method/1"}, 0},
		{"not found", router.Request{Path: "/nowhere/at/all"}, 0},
		{"8 KiB of slashes", router.Request{Path: strings.Repeat("/", 8<<10)}, 0},
		{"4,000 segments", router.Request{Path: strings.Repeat("/s", 4000)}, 0},
		{"4,000 segments of a subtree", router.Request{Path: "/sub" + strings.Repeat("/s", 4000)}, 0},
		{"a host of dots", router.Request{Path: "/host/1", Host: strings.Repeat(".", 8<<10)}, 0},
		{"a long query", router.Request{Path: "/cond", HTTP: &http.Request{URL: &url.URL{RawQuery: strings.Repeat("q+q=%31&", 1<<10)}}}, 0},
	} {
		c.q.Method = http.MethodGet
		require.InDelta(t, c.allocs, testing.AllocsPerRun(100, func() {
			q := c.q // as a caller does: both on its stack
			var m router.Match
			table.Lookup(&q, &m)
		}), 0, c.name)
	}
}

// TestMemory bounds what a table of 100,000 routes keeps, and what building it needs beside.
//
//nolint:paralleltest // it reads the heap of the whole process
func TestMemory(t *testing.T) {
	if testing.Short() || race.Enabled {
		t.Skip("measures the heap")
	}
	const mib = 1 << 20
	routes := make([]router.Route, 100_000)
	for i := range routes {
		switch base := fmt.Sprintf("/svc%d", i); i % 4 {
		case 0:
			routes[i].Paths = []string{base + "/items"}
		case 1:
			routes[i].Paths = []string{base + "/items/:id/detail"}
		case 2:
			routes[i].Prefixes = []string{base + "/files/"}
		default:
			routes[i].Hosts = []string{fmt.Sprintf("t%d.example.com", i)}
			routes[i].Paths = []string{"/*rest"}
		}
		routes[i].Methods = []string{http.MethodGet, http.MethodPost}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	table := newTable(t, routes...)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(200*mib), "allocated while building")
	runtime.GC()
	runtime.ReadMemStats(&after)
	kept := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	require.Less(t, kept, int64(100*mib), "kept")
	t.Logf("kept: %d MiB for %d entries", kept/mib, table.Len())
	runtime.KeepAlive(routes)
}

// Every one of many routes is found, and nothing beside them.
func TestManyRoutes(t *testing.T) {
	t.Parallel()
	const n = 5000
	routes := make([]router.Route, 0, 4*n)
	for i := range n {
		base := fmt.Sprintf("/s%d%s", i, strings.Repeat("x", i%40))
		routes = append(routes,
			router.Route{Paths: []string{base}}, router.Route{Paths: []string{base + "/:id/detail"}},
			router.Route{Prefixes: []string{base + "-"}}, router.Route{Hosts: []string{fmt.Sprintf("h%d.test", i)}, Paths: []string{base}},
		)
	}
	table := newTable(t, routes...)
	find := func(host, path string) int {
		q := router.Request{Method: http.MethodGet, Host: host, Path: path}
		var m router.Match
		if table.Lookup(&q, &m) != router.Found {
			return -1
		}
		return m.Route
	}
	for i := range n {
		base := fmt.Sprintf("/s%d%s", i, strings.Repeat("x", i%40))
		require.Equal(t, 4*i, find("", base))
		require.Equal(t, 4*i+1, find("", base+"/7/detail"))
		require.Equal(t, 4*i+2, find("", base+"-y"))
		require.Equal(t, 4*i+3, find(fmt.Sprintf("h%d.test", i), base))
		for _, path := range []string{base + "/", base + "x", base + "/7/details", base[:len(base)-1] + "y"} {
			require.Equal(t, -1, find("", path), path)
		}
	}
}
