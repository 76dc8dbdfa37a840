package router_test

import (
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/router"
)

// TestPrecedence takes the rules one by one: both routes match the request, and the first one wins whichever is written
// first.
func TestPrecedence(t *testing.T) {
	t.Parallel()
	yes := func(*http.Request) bool { return true }
	any1 := map[string][]string{"A": nil}
	any2 := map[string][]string{"A": nil, "B": nil}
	q := get("https://www.example.com:8443/a/b/c?A=1&B=2", func(q *router.Request) {
		q.HTTP.Header = http.Header{"A": {"1"}, "B": {"2"}}
		q.SNI = "www.example.com"
	})
	for _, c := range []struct {
		rule          string
		winner, loser router.Route
	}{
		// Kong's classic rules (traditional.lua), in its order.
		{"more kinds of criteria", router.Route{Methods: []string{"GET"}, Prefixes: []string{"/a"}}, router.Route{Hosts: []string{"www.example.com"}}},
		{"three kinds over two", router.Route{Prefixes: []string{"/"}, Methods: []string{"GET"}, SNIs: []string{"*.com"}}, router.Route{Hosts: []string{"www.example.com"}, Headers: any2}},
		{"host over headers", router.Route{Hosts: []string{"www.*"}}, router.Route{Headers: any2}},
		{"headers over path", router.Route{Headers: any1}, router.Route{Paths: []string{"/a/b/c"}}},
		{"path over method", router.Route{Prefixes: []string{"/"}}, router.Route{Methods: []string{"GET"}}},
		{"method over SNI", router.Route{Methods: []string{"GET"}}, router.Route{SNIs: []string{"www.example.com"}}},
		{"kinds before what they hold", router.Route{Hosts: []string{"www.*"}, Methods: []string{"GET"}}, router.Route{Headers: any2, Paths: []string{"/a/b/c"}}},
		{"plain host over wildcard", router.Route{Hosts: []string{"www.example.com"}, Prefixes: []string{"/"}}, router.Route{Hosts: []string{"*.example.com"}, Paths: []string{"/a/b/c"}}},
		{"more header conditions", router.Route{Headers: any2, Prefixes: []string{"/"}}, router.Route{Headers: any1, Paths: []string{"/a/b/c"}}},
		{"priority among expressions", router.Route{Regexps: []string{"/"}, Priority: 2}, router.Route{Regexps: []string{"/a/b/c"}, Priority: 1}},
		{"negative priority", router.Route{Regexps: []string{"/"}}, router.Route{Regexps: []string{"/a/b/c"}, Priority: -1}},
		{"expression over prefix", router.Route{Regexps: []string{"/a"}, Priority: -5}, router.Route{Prefixes: []string{"/a/b/c"}}},
		{"longer prefix", router.Route{Prefixes: []string{"/a/b"}}, router.Route{Prefixes: []string{"/a/"}}},

		// What Kong's classic flavour does not have.
		{"headers over query", router.Route{Headers: any1}, router.Route{Query: any2}},
		{"query over path", router.Route{Query: any1}, router.Route{Paths: []string{"/a/b/c"}}},
		{"SNI over predicate", router.Route{SNIs: []string{"*.com"}}, router.Route{Func: yes}},
		{"a predicate counts", router.Route{Func: yes}, router.Route{}},
		{"more query conditions", router.Route{Query: any2, Prefixes: []string{"/"}}, router.Route{Query: any1, Paths: []string{"/a/b/c"}}},
		{"host with port", router.Route{Hosts: []string{"www.example.com:8443"}}, router.Route{Hosts: []string{"www.example.com"}}},
		{"plain host over wildcard with port", router.Route{Hosts: []string{"www.example.com"}}, router.Route{Hosts: []string{"*.example.com:8443"}}},
		{"longer wildcard", router.Route{Hosts: []string{"*.example.com"}}, router.Route{Hosts: []string{"*.com"}}},
		{"longer wildcard at the other end", router.Route{Hosts: []string{"www.example.*"}}, router.Route{Hosts: []string{"www.*"}}},
		{"longer wildcard over one with port", router.Route{Hosts: []string{"*.example.com"}}, router.Route{Hosts: []string{"*.com:8443"}}},
		{"wildcard with port", router.Route{Hosts: []string{"*.com:8443"}}, router.Route{Hosts: []string{"*.com"}}},
		{"exact over expression", router.Route{Paths: []string{"/a/b/c"}}, router.Route{Regexps: []string{"/a/b/c"}, Priority: 9}},
		{"expression over parameters", router.Route{Regexps: []string{"/"}, Priority: -9}, router.Route{Paths: []string{"/a/b/:c"}}},
		{"parameters over subtree", router.Route{Paths: []string{"/:a/:b/:c"}}, router.Route{Paths: []string{"/a/b/c/*rest"}}},
		{"subtree over prefix", router.Route{Paths: []string{"/*rest"}}, router.Route{Prefixes: []string{"/a/b/c"}}},
		{"prefix over no path, by kinds", router.Route{Prefixes: []string{"/"}}, router.Route{}},
		{"more literal segments", router.Route{Paths: []string{"/a/b/:c"}}, router.Route{Paths: []string{"/:a/:b/c"}}},
		{"more literal segments of subtrees", router.Route{Paths: []string{"/a/:b/*rest"}}, router.Route{Paths: []string{"/:a/:b/*rest"}}},
		{"deeper subtree", router.Route{Paths: []string{"/a/b/*rest"}}, router.Route{Paths: []string{"/a/*rest"}}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, 0, ask(t, newTable(t, c.winner, c.loser), q).route)
			require.Equal(t, 1, ask(t, newTable(t, c.loser, c.winner), q).route)
		})
	}
}

func TestLiteralSegmentsBeforeLiteralText(t *testing.T) {
	t.Parallel()
	table := newTable(t, router.Route{Paths: []string{"/:a/:b/long"}}, router.Route{Paths: []string{"/a/b/:c"}})
	require.Equal(t, 1, ask(t, table, get("/a/b/long")).route)
}

func TestLongerLiteralTextWins(t *testing.T) {
	t.Parallel()
	table := newTable(t, router.Route{Paths: []string{"/:a/b"}}, router.Route{Paths: []string{"/aaa/:b"}})
	require.Equal(t, 1, ask(t, table, get("/aaa/b")).route)
}

func TestListedHeadOverImpliedHead(t *testing.T) {
	t.Parallel()
	for _, listed := range [][]string{{"HEAD"}, {"GET", "HEAD"}} {
		table := newTable(t, router.Route{Methods: []string{"GET"}}, router.Route{Methods: listed})
		require.Equal(t, 1, ask(t, table, get("/", method("HEAD"))).route)
	}
	table := newTable(t, router.Route{Methods: []string{"GET"}}, router.Route{Methods: []string{"HEAD"}})
	require.Equal(t, 0, ask(t, table, get("/")).route)
}

// TestOrderWrittenDecidesLast covers what no rule tells apart but some request does.
func TestOrderWrittenDecidesLast(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ a, b router.Route }{
		{router.Route{Regexps: []string{"/a"}}, router.Route{Regexps: []string{"/a/b/c"}}},
		{router.Route{Hosts: []string{"*.test"}}, router.Route{Hosts: []string{"host.*"}}},
		{router.Route{Paths: []string{"/a/:b"}}, router.Route{Paths: []string{"/:a/b"}}},
		{router.Route{Headers: map[string][]string{"A": nil}}, router.Route{Headers: map[string][]string{"A": {"~."}}}},
		{router.Route{Methods: []string{"GET"}}, router.Route{Methods: []string{"GET", "POST"}}},
		{router.Route{Schemes: []string{"http"}}, router.Route{}},
	} {
		q := get("http://host.test/a/b", header("A", "1"))
		if len(c.a.Regexps) > 0 {
			q.Path = "/a/b/c"
		}
		require.Equal(t, 0, ask(t, newTable(t, c.a, c.b), q).route, "%+v", c.a)
		require.Equal(t, 0, ask(t, newTable(t, c.b, c.a), q).route, "%+v", c.b)
	}
}

// TestEveryPathCompetesAlone: a route's weak path does not win because its strong one would.
func TestEveryPathCompetesAlone(t *testing.T) {
	t.Parallel()
	table := newTable(t,
		router.Route{Name: "both", Paths: []string{"/a/b/c"}, Prefixes: []string{"/"}, Hosts: []string{"a.test", "*.test"}},
		router.Route{Name: "mine", Paths: []string{"/a/*rest"}, Hosts: []string{"*.test"}},
	)
	require.Equal(t, 0, ask(t, table, get("http://b.test/a/b/c")).route)
	require.Equal(t, 1, ask(t, table, get("http://b.test/a/x")).route)
	require.Equal(t, 0, ask(t, table, get("http://a.test/a/x")).route, "the plain host wins")
}

// TestConditionsFallThrough: an entry that goes before and does not match leaves the request to the next one, also in
// another part of the index.
func TestConditionsFallThrough(t *testing.T) {
	t.Parallel()
	tenant := func(name string) map[string][]string { return map[string][]string{"X-Tenant": {name}} }
	routes := []router.Route{
		{Name: "host", Hosts: []string{"a.test"}, Methods: []string{"POST"}, Prefixes: []string{"/"}},
		{Name: "exact", Paths: []string{"/v1/x"}, Methods: []string{"POST"}},
		{Name: "param", Paths: []string{"/v1/:id"}, Methods: []string{"GET"}},
		{Name: "rest", Prefixes: []string{"/v1"}},
	}
	for i := range 1000 {
		routes = append(routes, router.Route{Paths: []string{"/tenants"}, Headers: tenant(strconv.Itoa(i))})
	}
	table := newTable(t, routes...)
	require.Equal(t, 2, ask(t, table, get("http://a.test/v1/x")).route)
	require.Equal(t, 0, ask(t, table, get("http://a.test/v1/x", method("POST"))).route)
	require.Equal(t, 3, ask(t, table, get("http://b.test/v1/x", method("PUT"))).route)
	for _, i := range []int{0, 500, 999} {
		require.Equal(t, 4+i, ask(t, table, get("/tenants", header("X-Tenant", strconv.Itoa(i)))).route)
	}
	require.Equal(t, router.NotFound, ask(t, table, get("/tenants", header("X-Tenant", "1000"))).outcome)
}
