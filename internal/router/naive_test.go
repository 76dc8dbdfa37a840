package router_test

import (
	"cmp"
	"fmt"
	"math/bits"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway/internal/router"
)

// The rules once more, read straight from their description and tried on every route in turn. Only what the generators
// below make is understood: literal hosts and *.suffix, paths of plain letters, header and query values without
// expressions.

// naive is one host and one path of a route.
type naive struct {
	route int
	r     router.Route
	host  string
	kind  int // 5 exact, 4 expression, 3 parameters, 2 subtree, 1 prefix, 0 none
	path  string
}

func naiveEntries(routes []router.Route) []naive {
	var out []naive
	for i, r := range routes {
		hosts := r.Hosts
		if len(hosts) == 0 {
			hosts = []string{""}
		}
		for _, h := range hosts {
			n := len(out)
			for _, p := range r.Paths {
				kind := 5
				switch {
				case strings.Contains(p, "*"):
					kind = 2
				case strings.Contains(p, ":"):
					kind = 3
				}
				out = append(out, naive{i, r, h, kind, p})
			}
			for _, p := range r.Prefixes {
				out = append(out, naive{i, r, h, 1, p})
			}
			if len(out) == n {
				out = append(out, naive{i, r, h, 0, ""})
			}
		}
	}
	return out
}

func (e naive) matchesPath(path string) bool {
	switch e.kind {
	case 5:
		return path == e.path
	case 1:
		return strings.HasPrefix(path, e.path)
	case 0:
		return true
	}
	want, got := strings.Split(e.path, "/")[1:], strings.Split(path, "/")[1:]
	for i, w := range want {
		if w[0] == '*' {
			return true
		}
		if i >= len(got) || w[0] == ':' && got[i] == "" || w[0] != ':' && w != got[i] {
			return false
		}
	}
	return len(want) == len(got)
}

func (e naive) matches(q *router.Request, anyMethod bool) bool {
	switch {
	case e.host == "":
	case strings.HasPrefix(e.host, "*."):
		if !strings.HasSuffix(q.Host, e.host[1:]) || len(q.Host) == len(e.host)-1 {
			return false
		}
	case e.host != q.Host:
		return false
	}
	method := anyMethod || len(e.r.Methods) == 0 || slices.Contains(e.r.Methods, q.Method) ||
		q.Method == "HEAD" && slices.Contains(e.r.Methods, "GET")
	if !method || !e.matchesPath(q.Path) {
		return false
	}
	for name, values := range e.r.Headers {
		if !slices.Contains(values, q.HTTP.Header.Get(name)) {
			return false
		}
	}
	for name, values := range e.r.Query {
		if !slices.Contains(values, q.HTTP.URL.Query().Get(name)) {
			return false
		}
	}
	return true
}

func (e naive) kinds() uint {
	var k uint
	for i, set := range []bool{len(e.r.Methods) > 0, e.kind > 0, len(e.r.Query) > 0, len(e.r.Headers) > 0, e.host != ""} {
		if set {
			k |= 1 << i
		}
	}
	return k
}

// literals returns how many literal segments the pattern has, and how long they are together.
func (e naive) literals() (segments, length int) {
	for _, s := range strings.Split(e.path, "/")[1:] {
		if s != "" && (s[0] == ':' || s[0] == '*') {
			continue
		}
		segments++
		length += len(s)
	}
	return segments, length
}

// better compares precedence, negative when a goes before b, but for the order written.
func better(a, b naive) int {
	if c := cmp.Compare(bits.OnesCount(b.kinds()), bits.OnesCount(a.kinds())); c != 0 {
		return c
	}
	if c := cmp.Compare(b.kinds(), a.kinds()); c != 0 {
		return c
	}
	wild := func(e naive) int {
		if strings.HasPrefix(e.host, "*.") {
			return 1
		}
		return 0
	}
	if c := cmp.Compare(wild(a), wild(b)); c != 0 {
		return c
	}
	if wild(a) == 1 && a.host != b.host {
		if c := cmp.Compare(len(b.host), len(a.host)); c != 0 {
			return c
		}
	}
	if c := cmp.Compare(len(b.r.Headers), len(a.r.Headers)); c != 0 {
		return c
	}
	if c := cmp.Compare(len(b.r.Query), len(a.r.Query)); c != 0 {
		return c
	}
	if c := cmp.Compare(b.kind, a.kind); c != 0 {
		return c
	}
	switch a.kind {
	case 2, 3:
		as, al := a.literals()
		bs, bl := b.literals()
		return cmp.Or(cmp.Compare(bs, as), cmp.Compare(bl, al))
	default:
		return cmp.Compare(len(b.path), len(a.path))
	}
}

// naiveLookup returns every route that may win, given that equals are told apart by rules this model leaves out.
func naiveLookup(entries []naive, q *router.Request) (winners []int, outcome router.Outcome) {
	var best *naive
	refused := false
	for i := range entries {
		e := &entries[i]
		if !e.matches(q, false) {
			refused = refused || e.matches(q, true)
			continue
		}
		switch {
		case best == nil || better(*e, *best) < 0:
			best, winners = e, []int{e.route}
		case better(*e, *best) == 0:
			winners = append(winners, e.route)
		}
	}
	switch {
	case best != nil:
		return winners, router.Found
	case refused:
		return nil, router.MethodNotAllowed
	default:
		return nil, router.NotFound
	}
}

func genRoute(i int) *rapid.Generator[router.Route] {
	segment := rapid.SampledFrom([]string{"a", "b", "cc", ":x", ":y"})
	return rapid.Custom(func(t *rapid.T) router.Route {
		r := router.Route{Name: fmt.Sprint("r", i)}
		if rapid.Bool().Draw(t, "host") {
			r.Hosts = []string{rapid.SampledFrom([]string{"h.test", "x.h.test", "*.h.test", "*.test", "other"}).Draw(t, "hosts")}
		}
		if rapid.Bool().Draw(t, "method") {
			r.Methods = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"GET", "POST", "HEAD"}), 1, 2, rapid.ID).Draw(t, "methods")
		}
		for range rapid.IntRange(0, 2).Draw(t, "paths") {
			p, used := "", map[string]bool{}
			for range rapid.IntRange(1, 4).Draw(t, "segments") {
				s := segment.Draw(t, "segment")
				if used[s] && s[0] == ':' {
					s = "a"
				}
				used[s] = true
				p += "/" + s
			}
			if rapid.Bool().Draw(t, "subtree") {
				p += "/*rest"
			}
			if !slices.Contains(r.Paths, p) {
				r.Paths = append(r.Paths, p)
			}
		}
		if rapid.IntRange(0, 3).Draw(t, "prefix") == 0 {
			r.Prefixes = []string{rapid.SampledFrom([]string{"/", "/a", "/a/b", "/cc"}).Draw(t, "prefixes")}
		}
		if rapid.IntRange(0, 3).Draw(t, "header") == 0 {
			r.Headers = map[string][]string{"X-A": {rapid.SampledFrom([]string{"1", "2"}).Draw(t, "value")}}
		}
		if rapid.IntRange(0, 3).Draw(t, "query") == 0 {
			r.Query = map[string][]string{"q": {rapid.SampledFrom([]string{"1", "2"}).Draw(t, "value")}}
		}
		return r
	})
}

func TestIndexAgreesWithNaiveMatcher(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var routes []router.Route
		for i := range rapid.IntRange(1, 12).Draw(t, "routes") {
			routes = append(routes, genRoute(i).Draw(t, "route"))
		}
		table, err := router.New(routes, router.Options{AllowIdentical: true})
		if err != nil {
			t.Skip(err) // a route with the same pattern twice under two names
		}
		entries := naiveEntries(routes)
		for range 20 {
			path := "/" + strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "cc", "zz", ""}), 0, 5).Draw(t, "path"), "/")
			r := httptest.NewRequest(http.MethodGet, "/?q="+rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "q"), nil)
			r.Header.Set("X-A", rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "header"))
			q := router.Request{
				Method: rapid.SampledFrom([]string{"GET", "HEAD", "POST", "PUT"}).Draw(t, "method"), Scheme: "http", Path: path, HTTP: r,
				Host: rapid.SampledFrom([]string{"h.test", "x.h.test", "y.h.test", "test", "none"}).Draw(t, "host"),
			}
			want, outcome := naiveLookup(entries, &q)
			var m router.Match
			got := table.Lookup(&q, &m)
			if got != outcome || got == router.Found && !slices.Contains(want, m.Route) {
				t.Fatalf("%s %s%s: got %v route %d, want %v one of %v\n%+v", q.Method, q.Host, q.Path, got, m.Route, outcome, want, routes)
			}
			if got == router.MethodNotAllowed && len(table.Allow(&q)) == 0 {
				t.Fatal("405 without methods")
			}
		}
	})
}

func TestLookupDetails(t *testing.T) {
	t.Parallel()
	table, err := router.New([]router.Route{
		{Name: "user", Paths: []string{"/users/:id/posts/:post"}},
		{Name: "files", Paths: []string{"/files/*rest"}},
		{Name: "prefix", Prefixes: []string{"/rou"}},
		{Name: "re", Regexps: []string{`/v(?P<major>\d+)/x`}, Priority: 1},
		{Name: "port", Hosts: []string{"h.test:8443", "[2001:db8::1]"}},
		{Name: "secure", Schemes: []string{"https"}, Paths: []string{"/s"}},
		{Name: "sni", SNIs: []string{"*.sni.test"}, Paths: []string{"/n"}},
		{Name: "func", Paths: []string{"/f"}, Func: func(r *http.Request) bool { return r.Header.Get("Yes") != "" }},
		{Name: "head", Paths: []string{"/h"}, Methods: []string{"HEAD"}},
		{Name: "get", Paths: []string{"/h"}, Methods: []string{"GET"}},
		{Name: "tilde", Paths: []string{"/t"}, Headers: map[string][]string{"X-Beta": {"~^on|yes$"}}},
	}, router.Options{})
	require.NoError(t, err)
	for _, c := range []struct {
		q       router.Request
		header  http.Header
		route   int
		matched int
		params  string
	}{
		{q: router.Request{Path: "/users/a%20b/posts/7"}, route: 0, matched: 20, params: "id=a b post=7 "},
		{q: router.Request{Path: "/users//posts/7"}, route: -1},
		{q: router.Request{Path: "/files"}, route: 1, matched: 6, params: "rest= "},
		{q: router.Request{Path: "/files/"}, route: 1, matched: 6, params: "rest= "},
		{q: router.Request{Path: "/files/a/b%2Fc"}, route: 1, matched: 6, params: "rest=a/b/c "},
		{q: router.Request{Path: "/filesx"}, route: -1},
		{q: router.Request{Path: "/routes"}, route: 2, matched: 4},
		{q: router.Request{Path: "/v12/xyz"}, route: 3, matched: 6, params: "1=12 major=12 "},
		{q: router.Request{Path: "/a/v12/x"}, route: -1},
		{q: router.Request{Path: "/", Host: "h.test", Port: "8443"}, route: 4},
		{q: router.Request{Path: "/", Host: "h.test", Port: "80"}, route: -1},
		{q: router.Request{Path: "/", Host: "2001:db8::1"}, route: 4},
		{q: router.Request{Path: "/s", Scheme: "https"}, route: 5, matched: 2},
		{q: router.Request{Path: "/s", Scheme: "http"}, route: -1},
		{q: router.Request{Path: "/n", SNI: "a.sni.test"}, route: 6, matched: 2},
		{q: router.Request{Path: "/n", SNI: "sni.test"}, route: -1},
		{q: router.Request{Path: "/f"}, route: -1},
		{q: router.Request{Path: "/f"}, header: http.Header{"Yes": {"1"}}, route: 7, matched: 2},
		{q: router.Request{Path: "/h", Method: "HEAD"}, route: 8, matched: 2},
		{q: router.Request{Path: "/h"}, route: 9, matched: 2},
		{q: router.Request{Path: "/t"}, header: http.Header{"X-Beta": {"no", "ONE"}}, route: 10, matched: 2},
		{q: router.Request{Path: "/t"}, header: http.Header{"X-Beta": {"no"}}, route: -1},
	} {
		q := c.q
		q.Method = cmp.Or(q.Method, "GET")
		q.HTTP = httptest.NewRequest(http.MethodGet, "/", nil)
		if c.header != nil {
			q.HTTP.Header = c.header
		}
		var m router.Match
		outcome := table.Lookup(&q, &m)
		require.Equal(t, c.route >= 0, outcome == router.Found, "%+v", c.q)
		if c.route < 0 {
			continue
		}
		require.Equal(t, c.route, m.Route, "%+v", c.q)
		require.Equal(t, c.matched, m.Matched, "%+v", c.q)
		var params strings.Builder
		for name, value := range m.Params() {
			fmt.Fprintf(&params, "%s=%s ", name, value)
		}
		require.Equal(t, c.params, params.String(), "%+v", c.q)
	}
}

func TestBuildErrors(t *testing.T) {
	t.Parallel()
	_, err := router.New([]router.Route{
		{Name: "a", Paths: []string{"users", "/x/:", "/x/*rest/y", "/:id/:id", "/a/%00"}},
		{Name: "b", Methods: []string{"get"}, Schemes: []string{"ftp"}, Hosts: []string{"*", "a b", "ex*mple.com"}},
		{Name: "c", Regexps: []string{"("}, Headers: map[string][]string{"Host": {"x"}, "a b": nil}, Query: map[string][]string{"q": {"~("}}},
		{Name: "d", Paths: []string{"/same/:x"}},
		{Name: "e", Paths: []string{"/same/:y"}},
	}, router.Options{})
	require.Error(t, err)
	for _, want := range []string{`"users"`, `"/x/:"`, `"/x/*rest/y"`, `"/:id/:id"`, `"/a/%00"`, `"get"`, `"ftp"`, `"*"`, `"a b"`, `"ex*mple.com"`, `"("`, "Hosts", `"~("`, `"d"`, `"e"`} {
		require.ErrorContains(t, err, want)
	}
	_, err = router.New([]router.Route{{Name: "d", Paths: []string{"/same/:x"}}, {Name: "e", Paths: []string{"/same/:y"}}}, router.Options{AllowIdentical: true})
	require.NoError(t, err)
}

func TestLookupAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	table, err := router.New([]router.Route{
		{Name: "static", Paths: []string{"/a/b"}}, {Name: "param", Paths: []string{"/p/:id/x/:y"}},
		{Name: "subtree", Paths: []string{"/s/*rest"}}, {Name: "prefix", Prefixes: []string{"/pre"}},
	}, router.Options{})
	require.NoError(t, err)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, path := range []string{"/a/b", "/p/1/x/2", "/s/a/b", "/prefix", "/none", strings.Repeat("/", 8<<10), strings.Repeat("/a", 4000)} {
		require.Zero(t, testing.AllocsPerRun(100, func() {
			q := router.Request{Method: "GET", Scheme: "http", Path: path, HTTP: r}
			var m router.Match
			table.Lookup(&q, &m)
		}), path[:min(len(path), 20)])
	}
}

// FuzzLookup feeds paths of any bytes to a fixed table: nothing panics, and the index says what the naive matcher says.
func FuzzLookup(f *testing.F) {
	routes := []router.Route{
		{Name: "0", Paths: []string{"/"}}, {Name: "1", Paths: []string{"/a/:x"}}, {Name: "2", Paths: []string{"/a/b"}},
		{Name: "3", Paths: []string{"/a/*rest"}}, {Name: "4", Prefixes: []string{"/a/b"}}, {Name: "5", Paths: []string{"/:x/b/:y/*rest"}},
	}
	table, err := router.New(routes, router.Options{})
	require.NoError(f, err)
	entries := naiveEntries(routes)
	for _, p := range []string{"/", "/a", "/a/", "/a/b", "/a/b/", "/x/b/c", "//b//", "/a/b/c/d/e", "", "*", "/%2F"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if path == "" || path[0] != '/' {
			// Not what the entry lets through; must not panic all the same.
			table.Lookup(&router.Request{Method: "GET", Path: path}, &router.Match{})
			return
		}
		q := router.Request{Method: "GET", Scheme: "http", Path: path, HTTP: httptest.NewRequest(http.MethodGet, "/", nil)}
		var m router.Match
		got := table.Lookup(&q, &m)
		want, outcome := naiveLookup(entries, &q)
		require.Equal(t, outcome, got)
		if got == router.Found {
			require.Contains(t, want, m.Route)
			require.LessOrEqual(t, m.Matched, len(path))
		}
	})
}
