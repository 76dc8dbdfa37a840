package router_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/router"
)

func newTable(t testing.TB, routes ...router.Route) *router.Table {
	t.Helper()
	table, err := router.New(routes, router.Options{AllowEncodedSlash: true})
	require.NoError(t, err)
	return table
}

// An answer is all a lookup says.
type answer struct {
	outcome router.Outcome
	route   int
	pattern string
	matched int
	params  []string // name=value
	allow   []string
}

func ask(t require.TestingT, table *router.Table, q *router.Request) answer {
	var m router.Match
	a := answer{outcome: table.Lookup(q, &m), route: m.Route, pattern: m.Pattern, matched: m.Matched}
	for name, value := range m.Params() {
		a.params = append(a.params, name+"="+value)
	}
	switch a.outcome {
	case router.Found:
		require.Equal(t, m.Route, table.Entry(m.Entry).Route)
		require.Negative(t, table.Entry(m.Entry).Hidden)
	case router.MethodNotAllowed:
		a.allow = table.Allow(q)
	case router.NotFound:
	}
	return a
}

// get makes the router's view of a GET request with an absolute URL in canonical form; edit may change it.
func get(target string, edit ...func(*router.Request)) *router.Request {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	q := &router.Request{
		Method: http.MethodGet, Scheme: r.URL.Scheme, Host: r.URL.Hostname(), Port: r.URL.Port(), Path: r.URL.EscapedPath(), HTTP: r,
	}
	for _, f := range edit {
		f(q)
	}
	return q
}

func method(m string) func(*router.Request) {
	return func(q *router.Request) { q.Method = m }
}

func header(name string, values ...string) func(*router.Request) {
	return func(q *router.Request) { q.HTTP.Header[name] = values }
}

func TestPathKinds(t *testing.T) {
	t.Parallel()
	wide := "/w"
	for i := range 12 {
		wide += "/:p" + strconv.Itoa(i)
	}
	for _, c := range []struct {
		name    string
		route   router.Route
		path    string
		matched int // -1: not found
		params  []string
	}{
		{name: "exact", route: router.Route{Paths: []string{"/users"}}, path: "/users", matched: 6},
		{name: "trailing slash is another path", route: router.Route{Paths: []string{"/users"}}, path: "/users/", matched: -1},
		{name: "exact with trailing slash", route: router.Route{Paths: []string{"/users/"}}, path: "/users/", matched: 7},
		{name: "case counts", route: router.Route{Paths: []string{"/users"}}, path: "/Users", matched: -1},
		{name: "root", route: router.Route{Paths: []string{"/"}}, path: "/", matched: 1},
		{name: "literals are canonical", route: router.Route{Paths: []string{"/%7euser/%c3%a9/é"}}, path: "/~user/%C3%A9/%C3%A9", matched: 20},
		{name: "space", route: router.Route{Paths: []string{"/a b"}}, path: "/a%20b", matched: 6},

		{name: "parameter", route: router.Route{Paths: []string{"/users/:id"}}, path: "/users/42", matched: 9, params: []string{"id=42"}},
		{name: "parameter decoded", route: router.Route{Paths: []string{"/users/:id"}}, path: "/users/a%20%2Fb", matched: 15, params: []string{"id=a /b"}},
		{name: "parameter is not empty", route: router.Route{Paths: []string{"/users/:id"}}, path: "/users/", matched: -1},
		{name: "parameter is one segment", route: router.Route{Paths: []string{"/users/:id"}}, path: "/users/4/2", matched: -1},
		{name: "parameter before slash", route: router.Route{Paths: []string{"/users/:id/"}}, path: "/users/42/", matched: 10, params: []string{"id=42"}},
		{name: "slash is missing", route: router.Route{Paths: []string{"/users/:id/"}}, path: "/users/42", matched: -1},
		{name: "middle", route: router.Route{Paths: []string{"/a/:x/b/:y/c"}}, path: "/a/1/b/2/c", matched: 10, params: []string{"x=1", "y=2"}},
		{name: "middle is not empty", route: router.Route{Paths: []string{"/a/:x/b"}}, path: "/a//b", matched: -1},
		{name: "only parameters", route: router.Route{Paths: []string{"/:x/:y"}}, path: "/1/2", matched: 4, params: []string{"x=1", "y=2"}},
		{
			name: "more than the inline values", route: router.Route{Paths: []string{wide}}, path: "/w/0/1/2/3/4/5/6/7/8/9/10/11", matched: 28,
			params: []string{"p0=0", "p1=1", "p2=2", "p3=3", "p4=4", "p5=5", "p6=6", "p7=7", "p8=8", "p9=9", "p10=10", "p11=11"},
		},
		{name: "key longer than the buffer", route: router.Route{Paths: []string{"/" + strings.Repeat("l", 400) + "/:x/y"}}, path: "/" + strings.Repeat("l", 400) + "/1/y", matched: 405, params: []string{"x=1"}},
		{name: "deepest pattern", route: router.Route{Paths: []string{strings.Repeat("/s", 63) + "/:x"}}, path: strings.Repeat("/s", 63) + "/1", matched: 128, params: []string{"x=1"}},
		{name: "deeper than the deepest", route: router.Route{Paths: []string{strings.Repeat("/s", 63) + "/:x"}}, path: strings.Repeat("/s", 63) + "/1/2", matched: -1},

		{name: "subtree itself", route: router.Route{Paths: []string{"/files/*rest"}}, path: "/files", matched: 6, params: []string{"rest="}},
		{name: "subtree with slash", route: router.Route{Paths: []string{"/files/*rest"}}, path: "/files/", matched: 6, params: []string{"rest="}},
		{name: "below subtree", route: router.Route{Paths: []string{"/files/*rest"}}, path: "/files/a/b%20c/", matched: 6, params: []string{"rest=a/b c/"}},
		{name: "subtree has a boundary", route: router.Route{Paths: []string{"/files/*rest"}}, path: "/filesystem", matched: -1},
		{name: "subtree of everything", route: router.Route{Paths: []string{"/*rest"}}, path: "/", matched: 0, params: []string{"rest="}},
		{name: "all below everything", route: router.Route{Paths: []string{"/*rest"}}, path: "/a/b", matched: 0, params: []string{"rest=a/b"}},
		{name: "subtree of a parameter", route: router.Route{Paths: []string{"/users/:id/*rest"}}, path: "/users/42/a", matched: 9, params: []string{"id=42", "rest=a"}},
		{name: "subtree between literals", route: router.Route{Paths: []string{"/u/:id/f/*rest"}}, path: "/u/42/f", matched: 7, params: []string{"id=42", "rest="}},
		{name: "deepest subtree", route: router.Route{Paths: []string{strings.Repeat("/s", 64) + "/*rest"}}, path: strings.Repeat("/s", 70), matched: 128, params: []string{"rest=s/s/s/s/s/s"}},

		{name: "prefix has no boundary", route: router.Route{Prefixes: []string{"/rou"}}, path: "/roureq", matched: 4},
		{name: "prefix itself", route: router.Route{Prefixes: []string{"/rou"}}, path: "/rou", matched: 4},
		{name: "prefix is a beginning", route: router.Route{Prefixes: []string{"/rou"}}, path: "/x/rou", matched: -1},
		{name: "prefix has no wildcards", route: router.Route{Prefixes: []string{"/:id"}}, path: "/42", matched: -1},
		{name: "colon in prefix", route: router.Route{Prefixes: []string{"/:id/*"}}, path: "/:id/*x", matched: 6},
		{name: "prefix like a dot segment", route: router.Route{Prefixes: []string{"/."}}, path: "/.well-known/x", matched: 2},
		{name: "prefix respelled", route: router.Route{Prefixes: []string{"/%7e%c3%a9"}}, path: "/~%C3%A9x", matched: 8},

		{name: "regexp", route: router.Route{Regexps: []string{`/v(?P<major>\d+)\.(\d+)`}}, path: "/v1.23/x", matched: 6, params: []string{"1=1", "major=1", "2=23"}},
		{name: "regexp without captures", route: router.Route{Regexps: []string{`/v\d+`}}, path: "/v123/x", matched: 5},
		{name: "regexp is anchored at the start", route: router.Route{Regexps: []string{`/v\d+`}}, path: "/x/v1", matched: -1},
		{name: "every alternative is anchored", route: router.Route{Regexps: []string{`/a|/b`}}, path: "/x/b", matched: -1},
		{name: "regexp with its own anchors", route: router.Route{Regexps: []string{`^/a$`}}, path: "/a", matched: 2},
		{name: "regexp with end", route: router.Route{Regexps: []string{`/a$`}}, path: "/ab", matched: -1},
		{name: "regexp without literal", route: router.Route{Regexps: []string{`.*\.js`}}, path: "/x/y.js", matched: 7},
		{name: "regexp repeated", route: router.Route{Regexps: []string{`(?:/ab){2,}(/c)?`}}, path: "/ab/ab", matched: 6, params: []string{"1="}},
		{name: "regexp plus", route: router.Route{Regexps: []string{`(/ab)+x`}}, path: "/ab/abx", matched: 7, params: []string{"1=/ab"}},
		{name: "regexp with optional beginning", route: router.Route{Regexps: []string{`(/a)?/b`}}, path: "/b", matched: 2, params: []string{"1="}},
		{name: "regexp with a beginning any number of times", route: router.Route{Regexps: []string{`(?:/a){0,2}/b|/x`}}, path: "/b", matched: 2},
		{name: "regexp without case", route: router.Route{Regexps: []string{`(?i)/abc`}}, path: "/aBC", matched: 4},
		{name: "capture decoded", route: router.Route{Regexps: []string{`/(.+)`}}, path: "/a%20b", matched: 6, params: []string{"1=a b"}},
		{name: "regexp sees spaces", route: router.Route{Regexps: []string{`/[a-z ]+/p`}}, path: "/john%20doe/p/q", matched: 13},
		{name: "regexp sees letters", route: router.Route{Regexps: []string{`/(\p{Han}+)$`}}, path: "/%E4%BD%A0%E5%A5%BD", matched: 19, params: []string{"1=你好"}},
		{name: "regexp with a literal quote", route: router.Route{Regexps: []string{`/\d+"`}}, path: "/123%22x", matched: 7},
		{name: "regexp does not see what divides", route: router.Route{Regexps: []string{`/a[/?#;%]`}}, path: "/a%3Fb", matched: 3},
		{name: "regexp with a literal beyond ASCII", route: router.Route{Regexps: []string{`/é/b`}}, path: "/%C3%A9/b", matched: 9},
		{name: "empty capture", route: router.Route{Regexps: []string{`/(a)|(?P<b>/c)`}}, path: "/a", matched: 2, params: []string{"1=a", "2=", "b="}},

		{name: "no path", route: router.Route{}, path: "/anything", matched: 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			table := newTable(t, c.route)
			a := ask(t, table, &router.Request{Method: http.MethodGet, Path: c.path})
			if c.matched < 0 {
				require.Equal(t, router.NotFound, a.outcome)
				require.Equal(t, -1, a.route)
				return
			}
			patterns := append(append(append([]string{""}, c.route.Paths...), c.route.Prefixes...), c.route.Regexps...)
			require.Equal(t, answer{
				outcome: router.Found, pattern: patterns[len(patterns)-1], matched: c.matched, params: c.params,
			}, a)
		})
	}
}

// TestColonsHaveOneMeaning: in patterns and requests, a literal colon or star and its escape are the same.
func TestColonsHaveOneMeaning(t *testing.T) {
	t.Parallel()
	for _, written := range []string{"/v1/items:get/%2A", "/v1/items%3aget/%2a"} {
		table := newTable(t, router.Route{Paths: []string{written}})
		for _, path := range []string{"/v1/items:get/*", "/v1/items%3Aget/*", "/v1/items:get/%2A", "/v1/items%3Aget/%2A"} {
			require.Equal(t, router.Found, ask(t, table, &router.Request{Method: "GET", Path: path}).outcome, path)
		}
	}
	table := newTable(t, router.Route{Paths: []string{"/:kind/%3Aid/x:y/*rest"}})
	for _, path := range []string{"/a/:id/x:y/z", "/a/%3Aid/x:y", "/a/:id/x%3Ay/"} {
		require.Equal(t, router.Found, ask(t, table, &router.Request{Method: "GET", Path: path}).outcome, path)
	}
	require.Equal(t, router.NotFound, ask(t, table, &router.Request{Method: "GET", Path: "/a/b/x:y"}).outcome, "the literal is no wildcard")
}

func TestPathsThatAreNone(t *testing.T) {
	t.Parallel()
	table := newTable(t, router.Route{Paths: []string{"/*rest"}}, router.Route{Regexps: []string{".*"}}, router.Route{Methods: []string{"OPTIONS"}})
	for _, path := range []string{"", "*", "example.com:443"} {
		require.Equal(t, router.MethodNotAllowed, ask(t, table, &router.Request{Method: "GET", Path: path}).outcome)
		require.Equal(t, 2, ask(t, table, &router.Request{Method: "OPTIONS", Path: path}).route)
	}
}

func TestHosts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern string
		yes, no []string
	}{
		{"example.com", []string{"http://example.com/", "https://example.com:8443/"}, []string{"http://www.example.com/", "http://example.org/"}},
		{"Example.COM.", []string{"http://example.com/"}, nil},
		{"example.com:8443", []string{"https://example.com:8443/"}, []string{"https://example.com/", "https://example.com:443/", "http://a.example.com:8443/"}},
		{"*.example.com", []string{"http://a.example.com/", "http://a.b.example.com:1/"}, []string{"http://example.com/", "http://aexample.com/", "http://.example.com/", "http://a.example.com.org/"}},
		{"*.example.com:81", []string{"http://a.example.com:81/"}, []string{"http://a.example.com/", "http://example.com:81/"}},
		{"example.*", []string{"http://example.com/", "http://example.co.uk/"}, []string{"http://example/", "http://a.example.com/", "http://examples.com/", "http://example./"}},
		{"example.*.:81", []string{"http://example.com:81/"}, []string{"http://example.com/"}},
		{"[2001:DB8:0::1]", []string{"http://[2001:db8::1]/", "http://[2001:db8::1]:81/"}, []string{"http://[2001:db8::2]/"}},
		{"[::1]:81", []string{"http://[::1]:81/"}, []string{"http://[::1]/"}},
		{"*.0.113.7", []string{"http://203.0.113.7/"}, []string{"http://[::ffff:203.0.113.7]/"}},
	} {
		table := newTable(t, router.Route{Hosts: []string{c.pattern}})
		for _, target := range c.yes {
			require.Equal(t, router.Found, ask(t, table, get(target)).outcome, "%s %s", c.pattern, target)
		}
		for _, target := range c.no {
			require.Equal(t, router.NotFound, ask(t, table, get(target)).outcome, "%s %s", c.pattern, target)
		}
	}
}

// TestSNIsWithoutTLS: with the option they hold for every request without TLS, and are a condition of all others.
func TestSNIsWithoutTLS(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		ignore, tls bool
		sni         string
		want        router.Outcome
	}{
		{false, false, "", router.NotFound}, {true, false, "", router.Found}, {true, true, "", router.NotFound},
		{true, true, "b.test", router.NotFound}, {true, true, "a.test", router.Found}, {false, true, "a.test", router.Found},
	} {
		table, err := router.New([]router.Route{{SNIs: []string{"a.test"}}}, router.Options{IgnoreSNIsWithoutTLS: c.ignore})
		require.NoError(t, err)
		q := get("/", func(q *router.Request) { q.SNI, q.TLS = c.sni, c.tls })
		require.Equal(t, c.want, ask(t, table, q).outcome, "%+v", c)
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	sni := func(name string) func(*router.Request) { return func(q *router.Request) { q.SNI = name } }
	bare := func(q *router.Request) { q.HTTP = nil }
	for _, c := range []struct {
		name  string
		route router.Route
		q     *router.Request
		want  bool
	}{
		{"scheme", router.Route{Schemes: []string{"https"}}, get("https://h/"), true},
		{"other scheme", router.Route{Schemes: []string{"https"}}, get("http://h/"), false},
		{"both schemes", router.Route{Schemes: []string{"https", "http"}}, get("http://h/"), true},

		{"sni", router.Route{SNIs: []string{"A.test."}}, get("/", sni("a.test")), true},
		{"other sni", router.Route{SNIs: []string{"a.test"}}, get("/", sni("b.test")), false},
		{"sni wildcard", router.Route{SNIs: []string{"b.test", "*.a.test"}}, get("/", sni("x.y.a.test")), true},
		{"sni wildcard is a label", router.Route{SNIs: []string{"*.a.test"}}, get("/", sni("a.test")), false},
		{"sni wildcard at the end", router.Route{SNIs: []string{"a.*"}}, get("/", sni("a.test.org")), true},
		{"that is a label, too", router.Route{SNIs: []string{"a.*"}}, get("/", sni("a")), false},
		{"no sni", router.Route{SNIs: []string{"a.test"}}, get("/"), false},

		{"header", router.Route{Headers: map[string][]string{"x-a": {"one", "two"}}}, get("/", header("X-A", "TWO")), true},
		{"repeated header", router.Route{Headers: map[string][]string{"X-A": {"two"}}}, get("/", header("X-A", "one", "two")), true},
		{"other header value", router.Route{Headers: map[string][]string{"X-A": {"two"}}}, get("/", header("X-A", "twofold")), false},
		{"no list of values", router.Route{Headers: map[string][]string{"X-A": {"two"}}}, get("/", header("X-A", "one, two")), false},
		{"ascii case only", router.Route{Headers: map[string][]string{"X-A": {"k"}}}, get("/", header("X-A", "\u212a")), false},
		{"header regexp", router.Route{Headers: map[string][]string{"X-A": {"~w.$"}}}, get("/", header("X-A", "TWO")), true},
		{"other header regexp", router.Route{Headers: map[string][]string{"X-A": {"~^w"}}}, get("/", header("X-A", "TWO")), false},
		{"regexp with alternatives", router.Route{Headers: map[string][]string{"X-A": {"~a|b"}}}, get("/", header("X-A", "B")), true},
		{"header present", router.Route{Headers: map[string][]string{"X-A": nil}}, get("/", header("X-A", "")), true},
		{"header absent", router.Route{Headers: map[string][]string{"X-A": {}}}, get("/"), false},
		{"empty value", router.Route{Headers: map[string][]string{"X-A": {""}}}, get("/", header("X-A", "1")), false},
		{"all headers", router.Route{Headers: map[string][]string{"X-A": nil, "X-B": nil}}, get("/", header("X-A", "")), false},
		{"header without request", router.Route{Headers: map[string][]string{"X-A": nil}}, get("/", bare), false},

		{"query", router.Route{Query: map[string][]string{"a": {"1", "2"}}}, get("/?b=1&a=2"), true},
		{"query case", router.Route{Query: map[string][]string{"a": {"x"}}}, get("/?a=X"), false},
		{"repeated parameter", router.Route{Query: map[string][]string{"a": {"2"}}}, get("/?a=1&a=2"), true},
		{"query decoded", router.Route{Query: map[string][]string{"a b": {"c&d é"}}}, get("/?%61+b=c%26d+%C3%a9"), true},
		{"query present", router.Route{Query: map[string][]string{"a": nil}}, get("/?a"), true},
		{"query absent", router.Route{Query: map[string][]string{"a": nil}}, get("/?b=a"), false},
		{"empty query value", router.Route{Query: map[string][]string{"a": {""}}}, get("/?a="), true},
		{"query regexp", router.Route{Query: map[string][]string{"a": {"~^x y$"}}}, get("/?a=x%20y"), true},
		{"query regexp case", router.Route{Query: map[string][]string{"a": {"~x"}}}, get("/?a=X"), false},
		{"broken regexp subject", router.Route{Query: map[string][]string{"a": {"~x"}}}, get("/?a=x%zz"), false},
		{"semicolon", router.Route{Query: map[string][]string{"a": nil}}, get("/?a=1;b=2"), false},
		{"broken escape", router.Route{Query: map[string][]string{"a": nil}}, get("/?a=%2"), false},
		{"broken escape in value", router.Route{Query: map[string][]string{"a": {"%2"}}}, get("/?a=%2&b"), false},
		{"all parameters", router.Route{Query: map[string][]string{"a": nil, "b": nil}}, get("/?a"), false},
		{"query without request", router.Route{Query: map[string][]string{"a": nil}}, get("/?a", bare), false},
		{"query without URL", router.Route{Query: map[string][]string{"a": nil}}, get("/?a", func(q *router.Request) { q.HTTP = &http.Request{} }), false},

		{"predicate", router.Route{Func: func(r *http.Request) bool { return r.URL.Path == "/p" }}, get("/p"), true},
		{"other predicate", router.Route{Func: func(r *http.Request) bool { return r.URL.Path == "/p" }}, get("/q"), false},
		{"predicate without request", router.Route{Func: func(*http.Request) bool { return true }}, get("/q", bare), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			want := router.NotFound
			if c.want {
				want = router.Found
			}
			require.Equal(t, want, ask(t, newTable(t, c.route), c.q).outcome)
		})
	}
}

func TestMethods(t *testing.T) {
	t.Parallel()
	table := newTable(t,
		router.Route{Name: "get", Methods: []string{"GET"}, Paths: []string{"/x", "/y"}},
		router.Route{Name: "post", Methods: []string{"POST", "PURGE"}, Paths: []string{"/x"}},
		router.Route{Name: "head", Methods: []string{"HEAD"}, Paths: []string{"/y"}},
		router.Route{Name: "secure", Methods: []string{"DELETE"}, Schemes: []string{"https"}, Paths: []string{"/x"}},
		router.Route{Name: "all", Paths: []string{"/z"}},
	)
	for _, c := range []struct {
		method, target string
		outcome        router.Outcome
		route          int
		allow          []string
	}{
		{"GET", "http://h/x", router.Found, 0, nil},
		{"HEAD", "http://h/x", router.Found, 0, nil},
		{"HEAD", "http://h/y", router.Found, 2, nil},
		{"GET", "http://h/y", router.Found, 0, nil},
		{"PURGE", "http://h/x", router.Found, 1, nil},
		{"get", "http://h/x", router.MethodNotAllowed, -1, []string{"GET", "HEAD", "POST", "PURGE"}},
		{"OPTIONS", "http://h/x", router.MethodNotAllowed, -1, []string{"GET", "HEAD", "POST", "PURGE"}},
		{"OPTIONS", "https://h/x", router.MethodNotAllowed, -1, []string{"DELETE", "GET", "HEAD", "POST", "PURGE"}},
		{"POST", "http://h/y", router.MethodNotAllowed, -1, []string{"GET", "HEAD"}},
		{"ANY", "http://h/z", router.Found, 4, nil},
		{"GET", "http://h/none", router.NotFound, -1, nil},
	} {
		a := ask(t, table, get(c.target, method(c.method)))
		require.Equal(t, c.outcome, a.outcome, "%s %s", c.method, c.target)
		require.Equal(t, c.route, a.route, "%s %s", c.method, c.target)
		require.Equal(t, c.allow, a.allow, "%s %s", c.method, c.target)
	}
}

// TestPredicateIsAskedLast: a predicate may be costly, so nothing else may decide after it, and a request that finds
// its route asks each at most once.
func TestPredicateIsAskedLast(t *testing.T) {
	t.Parallel()
	calls := 0
	predicate := func(*http.Request) bool { calls++; return true }
	table := newTable(t,
		router.Route{Methods: []string{"POST"}, Headers: map[string][]string{"X-A": nil}, Func: predicate},
		router.Route{Methods: []string{"GET"}, Headers: map[string][]string{"X-A": nil}, Func: predicate},
		router.Route{Methods: []string{"GET"}},
	)
	require.Equal(t, 2, ask(t, table, get("/")).route)
	require.Zero(t, calls)
	require.Equal(t, 1, ask(t, table, get("/", header("X-A", "1"))).route)
	require.Equal(t, 1, calls)
}

// TestMatchIsReusable: nothing of an earlier lookup is left in a Match.
func TestMatchIsReusable(t *testing.T) {
	t.Parallel()
	table := newTable(t,
		router.Route{Paths: []string{"/a/:b/:c/:d/:e/:f/:g/:h/:i/:j/:k"}},
		router.Route{Paths: []string{"/x/:id"}},
		router.Route{Paths: []string{"/static"}},
	)
	var m router.Match
	for range 2 {
		require.Equal(t, router.Found, table.Lookup(get("/a/1/2/3/4/5/6/7/8/9/10"), &m))
		require.Equal(t, 10, m.Len())
		name, value := m.Param(9)
		require.Equal(t, "k=10", name+"="+value)
		require.Equal(t, router.Found, table.Lookup(get("/x/y"), &m))
		require.Equal(t, 1, m.Len())
		require.Equal(t, router.Found, table.Lookup(get("/static"), &m))
		require.Zero(t, m.Len())
		require.Equal(t, router.NotFound, table.Lookup(get("/nowhere"), &m))
		require.Equal(t, -1, m.Route)
		require.Equal(t, -1, m.Entry)
		require.Empty(t, m.Pattern)
		require.Zero(t, m.Matched)
	}
	require.Equal(t, router.Found, table.Lookup(get("/a/1/2/3/4/5/6/7/8/9/10"), &m))
	for range m.Params() {
		break // a loop may end early
	}
}
