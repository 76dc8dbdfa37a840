package router_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway/internal/router"
)

// few draws up to n distinct values, none half of the time.
func few(t *rapid.T, label string, n int, values ...string) []string {
	if rapid.Bool().Draw(t, "no "+label) {
		return nil
	}
	return rapid.SliceOfNDistinct(rapid.SampledFrom(values), 1, n, rapid.ID).Draw(t, label)
}

// drawPattern draws an element of Route.Paths.
func drawPattern(t *rapid.T) string {
	segments := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "cc", ":", ":", "a:b", "%3Ax", "d%2Ae"}), 0, 4).Draw(t, "segments")
	p := ""
	for i, s := range segments {
		if s == ":" {
			s = fmt.Sprintf(":p%d", i)
		}
		p += "/" + s
	}
	end := rapid.SampledFrom([]string{"", "", "/", "/*rest"}).Draw(t, "end")
	if p == "" && end == "" {
		return "/"
	}
	return p + end
}

func drawRoute(t *rapid.T, i int) router.Route {
	r := router.Route{
		Name:     fmt.Sprint("r", i),
		Hosts:    few(t, "hosts", 2, "h.test", "x.h.test", "H.test:81", "*.h.test", "*.test", "*.test:81", "h.*", "x.*", "x.h.*:81", "other"),
		Methods:  few(t, "methods", 2, "GET", "HEAD", "POST", "PURGE"),
		Schemes:  few(t, "schemes", 2, "http", "https"),
		SNIs:     few(t, "snis", 2, "s.test", "*.test", "*.s.test", "a.*"),
		Prefixes: few(t, "prefixes", 2, "/", "/a", "/a/", "/a/b", "/cc", "/c"),
		Regexps:  few(t, "regexps", 2, "/", "/a", "/a/b", `/(a|b)/(?P<n>\w+)`, `/\w+`, "/a.*c$", "(?i)/A/", ".*b"),
		Headers:  drawConditions(t, "header", "X-A", "X-B"),
		Query:    drawConditions(t, "query", "p", "q q"),
		Priority: rapid.IntRange(-1, 1).Draw(t, "priority"),
	}
	for range rapid.IntRange(0, 3).Draw(t, "paths") {
		r.Paths = append(r.Paths, drawPattern(t))
	}
	if rapid.IntRange(0, 4).Draw(t, "predicate") == 0 {
		r.Func = func(r *http.Request) bool { return r.Header.Get("X-Yes") != "" }
	}
	return r
}

func drawConditions(t *rapid.T, label string, names ...string) map[string][]string {
	if rapid.IntRange(0, 3).Draw(t, label) != 0 {
		return nil
	}
	m := map[string][]string{}
	for _, name := range names {
		if rapid.Bool().Draw(t, name) {
			m[name] = few(t, "values", 2, "1", "one", "o n+e", "~^o", "~2")
		}
	}
	return m
}

func drawRequest(t *rapid.T) *router.Request {
	values := rapid.SliceOfN(rapid.SampledFrom([]string{"", "1", "2", "one", "ONE", "o n+e"}), 0, 2)
	head := http.Header{}
	for _, name := range []string{"X-A", "X-B", "X-Yes"} {
		if list := values.Draw(t, name); len(list) > 0 {
			head[name] = list
		}
	}
	query := url.Values{"p": values.Draw(t, "p"), "q q": values.Draw(t, "q q")}.Encode()
	segment := rapid.SampledFrom([]string{"a", "b", "cc", "zz", "", "a:b", "a%3Ab", ":x", "%3Ax", "d*e", "d%2Ae", "%20"})
	return &router.Request{
		Method: rapid.SampledFrom([]string{"GET", "HEAD", "POST", "PUT", "PURGE"}).Draw(t, "method"),
		Scheme: rapid.SampledFrom([]string{"http", "https"}).Draw(t, "scheme"),
		Host:   rapid.SampledFrom([]string{"h.test", "x.h.test", "y.x.h.test", "test", "h", "none.org", ""}).Draw(t, "host"),
		Port:   rapid.SampledFrom([]string{"", "80", "81"}).Draw(t, "port"),
		SNI:    rapid.SampledFrom([]string{"", "s.test", "a.s.test", "test"}).Draw(t, "sni"),
		TLS:    rapid.Bool().Draw(t, "tls"),
		Path:   "/" + strings.Join(rapid.SliceOfN(segment, 0, 5).Draw(t, "path"), "/"),
		HTTP:   &http.Request{Header: head, URL: &url.URL{RawQuery: query}},
	}
}

func drawOptions(t *rapid.T) router.Options {
	return router.Options{AllowIdentical: true, IgnoreSNIsWithoutTLS: rapid.Bool().Draw(t, "ignore SNIs without TLS")}
}

// checkModel draws routes and requests and compares the index with the model.
func checkModel(t *rapid.T) {
	routes := make([]router.Route, rapid.IntRange(1, 12).Draw(t, "routes"))
	for i := range routes {
		routes[i] = drawRoute(t, i)
	}
	options := drawOptions(t)
	table, err := router.New(routes, options)
	require.NoError(t, err)
	entries := modelTable(routes, options)
	for range rapid.IntRange(1, 20).Draw(t, "requests") {
		q := drawRequest(t)
		require.Equal(t, modelLookup(entries, q), ask(t, table, q), "%+v", q)
	}
}

// TestIndexAgreesWithModel: the same route, pattern, values, bytes matched and Allow for any routes and requests.
func TestIndexAgreesWithModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, checkModel)
}

// FuzzModel lets the fuzzer choose routes and requests.
func FuzzModel(f *testing.F) {
	f.Fuzz(rapid.MakeFuzz(checkModel))
}

// FuzzRequest feeds any method, host, path, query and header to a fixed table with every kind of route: nothing panics,
// and the index says what the model says.
func FuzzRequest(f *testing.F) {
	routes := []router.Route{
		{Name: "root", Paths: []string{"/"}},
		{Name: "param", Paths: []string{"/a/:x", "/a/:x/c", "/:x/b/:y/*rest"}},
		{Name: "static", Paths: []string{"/a/b", "/a/b/", "/v1/items:get"}},
		{Name: "subtree", Paths: []string{"/a/*rest", "/s/*rest"}},
		{Name: "prefix", Prefixes: []string{"/a/b", "/rou", "/."}},
		{Name: "regexp", Regexps: []string{`/v(\d+)/`, `/x.*z`}},
		{Name: "host", Hosts: []string{"h.test", "*.h.test", "h.*"}, Paths: []string{"/h/*rest"}},
		{Name: "method", Methods: []string{"GET", "PURGE"}, Prefixes: []string{"/m"}},
		{Name: "query", Query: map[string][]string{"q": {"1", "~^x"}, "r": nil}},
		{Name: "header", Headers: map[string][]string{"X-A": {"one", "~two"}}},
	}
	table, err := router.New(routes, router.Options{})
	require.NoError(f, err)
	entries := modelTable(routes, router.Options{})
	for _, p := range []string{"/", "/a", "/a/", "/a/b", "/a/b/", "/x/b/c", "//b//", "/a/b/c/d/e", "", "*", "/%2F", "/v1/items%3Aget", "/v12/"} {
		f.Add("GET", "h.test", p, "q=1&r", "one")
	}
	f.Add("HEAD", "..h.test..", "/h/", "q=%zz&q=x;y&q=%78&r=%2", "TWO")
	f.Fuzz(func(t *testing.T, method, host, path, query, value string) {
		if slices.Contains(strings.Split(host, "."), "") || strings.Contains(host, ":") || strings.Contains(path, "%") && unescaped(path) == path {
			// Not what an entry lets through, and no rule says what it means: it must only not panic.
			table.Lookup(&router.Request{Method: method, Host: host, Path: path}, &router.Match{})
			return
		}
		q := &router.Request{
			Method: method, Scheme: "http", Host: host, Path: path,
			HTTP: &http.Request{Header: http.Header{"X-A": {value}}, URL: &url.URL{RawQuery: query}},
		}
		require.Equal(t, modelLookup(entries, q), ask(t, table, q))
	})
}

// FuzzNew builds tables from any text: nothing panics, what is refused is explained, and what is accepted can be
// looked up and listed.
func FuzzNew(f *testing.F) {
	for _, s := range []string{"/a/:b", "*.", "*.:80", "[::1]:80", "/%3A/*x", "~(", "/:x/:x", "/a/%2e%2e/b", "GET", "a.*", "/.", "(?P<1>a)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		conditions := map[string][]string{s: {s, "~" + s}, "X-A": {s}}
		for _, r := range []router.Route{
			{Hosts: []string{s}}, {Methods: []string{s}}, {Schemes: []string{s}}, {SNIs: []string{s}}, {Paths: []string{s}},
			{Prefixes: []string{s}}, {Regexps: []string{s}}, {Headers: conditions}, {Query: conditions},
		} {
			table, err := router.New([]router.Route{r}, router.Options{AllowEncodedSlash: true})
			if err != nil {
				var problem *router.Error
				require.ErrorAs(t, err, &problem)
				require.NotEmpty(t, problem.Reason)
				require.NotEmpty(t, problem.Remedy)
				continue
			}
			for e := range table.All() {
				require.Equal(t, -1, e.Hidden)
			}
			q := &router.Request{Method: s, Host: s, SNI: s, Path: s, HTTP: &http.Request{Header: http.Header{s: {s}}, URL: &url.URL{RawQuery: s}}}
			table.Lookup(q, &router.Match{})
			table.Allow(q)
		}
	})
}
