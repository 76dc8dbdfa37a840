package router_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"

	"github.com/julienschmidt/httprouter"

	"github.com/gatehouse-go/gateway/internal/router"
)

// A workload is a set of routes that this package, http.ServeMux and httprouter can all express, and for each route a
// path it matches.
type workload struct {
	routes   []router.Route
	servemux []string
	bare     []string // httprouter's
	paths    []string
}

// newWorkload makes n routes of one kind, or of three by turns.
func newWorkload(kind string, n int) workload {
	var w workload
	for i := range n {
		k := kind
		if kind == "mixed" {
			k = []string{"static", "param", "prefix"}[i%3]
		}
		base := fmt.Sprintf("/svc%d/v1", i)
		switch k {
		case "static":
			w.add(router.Route{Paths: []string{base + "/items"}}, base+"/items", base+"/items", base+"/items")
		case "param":
			w.add(router.Route{Paths: []string{base + "/items/:id/detail"}},
				base+"/items/{id}/detail", base+"/items/:id/detail", base+"/items/4711/detail")
		case "prefix":
			w.add(router.Route{Prefixes: []string{base + "/files/"}},
				base+"/files/", base+"/files/*rest", base+"/files/2026/report.pdf")
		}
	}
	return w
}

func (w *workload) add(r router.Route, servemux, bare, path string) {
	w.routes = append(w.routes, r)
	w.servemux = append(w.servemux, servemux)
	w.bare = append(w.bare, bare)
	w.paths = append(w.paths, path)
}

// requests returns the paths to ask for, one after the other: the same again and again, or all at random. Each has
// bytes of its own, in the order of the requests, because the path of a real request has just been read and is in the
// cache; what is measured is the table.
func (w *workload) requests(order string) []string {
	const size = 1 << 17
	random := rand.New(rand.NewPCG(1, 2))
	ends := make([]int, size)
	var text strings.Builder
	for i := range ends {
		at := len(w.paths) / 2
		if order == "random" {
			at = random.IntN(len(w.paths))
		}
		text.WriteString(w.paths[at])
		ends[i] = text.Len()
	}
	list := make([]string, size)
	start := 0
	for i, end := range ends {
		list[i] = text.String()[start:end]
		start = end
	}
	return list
}

// BenchmarkLookup measures one lookup in tables of growing size, hot (the same path each time) and at random (all
// paths uniformly), beside the routers of the standard library and httprouter with the same routes.
func BenchmarkLookup(b *testing.B) {
	for _, kind := range []string{"static", "param", "prefix", "mixed"} {
		for _, order := range []string{"hot", "random"} {
			for _, n := range []int{10, 1_000, 100_000} {
				w := newWorkload(kind, n)
				paths := w.requests(order)
				name := fmt.Sprintf("%s/%s/%d", kind, order, n)
				b.Run(name+"/gatehouse", func(b *testing.B) { benchmarkTable(b, w, paths) })
				b.Run(name+"/servemux", func(b *testing.B) {
					if n > 10_000 && (kind == "prefix" || kind == "mixed") {
						b.Skip("takes minutes to register this many subtrees: the time is quadratic in their number")
					}
					benchmarkServeMux(b, w, paths)
				})
				b.Run(name+"/httprouter", func(b *testing.B) { benchmarkHTTPRouter(b, w, paths) })
			}
		}
	}
}

func benchmarkTable(b *testing.B, w workload, paths []string) {
	table, err := router.New(w.routes, router.Options{})
	if err != nil {
		b.Fatal(err)
	}
	q := router.Request{Method: http.MethodGet, Scheme: "http", Host: "example.com"}
	var m router.Match
	runtime.GC()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		q.Path = paths[i&(len(paths)-1)]
		i++
		if table.Lookup(&q, &m) != router.Found {
			b.Fatal(q.Path)
		}
	}
}

func benchmarkServeMux(b *testing.B, w workload, paths []string) {
	mux := http.NewServeMux()
	for _, p := range w.servemux {
		mux.HandleFunc(p, func(http.ResponseWriter, *http.Request) {})
	}
	r := &http.Request{Method: http.MethodGet, Host: "example.com", URL: &url.URL{}}
	runtime.GC()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		r.URL.Path = paths[i&(len(paths)-1)]
		i++
		if _, pattern := mux.Handler(r); pattern == "" {
			b.Fatal(r.URL.Path)
		}
	}
}

func benchmarkHTTPRouter(b *testing.B, w workload, paths []string) {
	tree := httprouter.New()
	for _, p := range w.bare {
		tree.Handle(http.MethodGet, p, func(http.ResponseWriter, *http.Request, httprouter.Params) {})
	}
	runtime.GC()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		p := paths[i&(len(paths)-1)]
		i++
		if h, _, _ := tree.Lookup(http.MethodGet, p); h == nil {
			b.Fatal(p)
		}
	}
}
