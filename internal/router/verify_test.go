package router_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway/internal/router"
)

// found words findings as "Entry's route < Winner's route: witness".
func found(t require.TestingT, table *router.Table, kind router.FindingKind) []string {
	findings, complete := table.Verify()
	require.True(t, complete)
	var out []string
	for _, f := range findings {
		if f.Kind != kind {
			continue
		}
		w := f.Witness
		host := w.Host
		if w.Port != "" {
			host += ":" + w.Port
		}
		s := fmt.Sprintf("%s < %s: %s %s://%s%s", table.Entry(f.Entry).Name, table.Entry(f.Winner).Name, w.Method, w.Scheme, host, w.Path)
		if w.Query != "" {
			s += "?" + w.Query
		}
		for _, name := range slices.Sorted(maps.Keys(w.Header)) {
			s += " " + name + "=" + w.Header.Get(name)
		}
		if w.SNI != "" {
			s += " sni=" + w.SNI
		}
		out = append(out, s)
	}
	return out
}

type routes = []router.Route

// TestShadowed: an entry is shadowed by one or by several together, in each dimension, and the witness shows it. A and B
// are the routes in the order written.
func TestShadowed(t *testing.T) {
	t.Parallel()
	get, post := []string{"GET"}, []string{"POST"}
	header := func(values ...string) map[string][]string { return map[string][]string{"X-A": values} }
	for name, c := range map[string]struct {
		routes routes
		want   []string
	}{
		"methods": {routes{{Methods: []string{"GET", "POST"}, Paths: []string{"/x"}}, {Methods: post, Paths: []string{"/x"}}},
			[]string{"B < A: POST http://anything.invalid/x"}},
		"methods by two routes": {routes{{Methods: get, Paths: []string{"/x"}}, {Methods: post, Paths: []string{"/x"}}, {Methods: []string{"GET", "POST", "HEAD"}, Paths: []string{"/x"}, Schemes: []string{"http"}}},
			nil}, // HEAD of C is listed, which wins over the implied one
		"own methods by two routes": {routes{{Methods: get, Prefixes: []string{"/x"}}, {Methods: []string{"PURGE"}, Prefixes: []string{"/x"}}, {Methods: []string{"GET", "PURGE"}, Prefixes: []string{"/x"}}},
			[]string{"C < A: GET http://anything.invalid/xanything"}},
		"every method is more than can be listed": {routes{{Methods: []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}, Paths: []string{"/x"}}, {Paths: []string{"/x"}}}, nil},
		"schemes": {routes{{Paths: []string{"/x"}}, {Schemes: []string{"https"}, Paths: []string{"/x"}}},
			[]string{"B < A: GET https://anything.invalid/x"}},
		"schemes by two routes": {routes{{Schemes: []string{"https"}, Paths: []string{"/x"}}, {Schemes: []string{"http"}, Paths: []string{"/x"}}, {Paths: []string{"/x"}}},
			[]string{"C < B: GET http://anything.invalid/x"}},
		"a prefix below another of more kinds": {routes{{Prefixes: []string{"/a"}, Headers: header()}, {Paths: []string{"/a/b"}}}, nil},
		"header values": {routes{{Headers: header("1", "2"), Paths: []string{"/x"}}, {Headers: header("2"), Paths: []string{"/x"}}},
			[]string{"B < A: GET http://anything.invalid/x X-A=2"}},
		"any header value": {routes{{Headers: header(), Paths: []string{"/x"}}, {Headers: header("~^a+$"), Paths: []string{"/x"}}},
			[]string{"B < A: GET http://anything.invalid/x X-A=a"}},
		"other header values": {routes{{Headers: header("1"), Paths: []string{"/x"}}, {Headers: header("2"), Paths: []string{"/x"}}}, nil},
		"query": {routes{{Query: map[string][]string{"p q": nil}, Paths: []string{"/x"}}, {Query: map[string][]string{"p q": {"a&b"}}, Paths: []string{"/x"}}},
			[]string{"B < A: GET http://anything.invalid/x?p+q=a%26b"}},
		"names of servers": {routes{{SNIs: []string{"*.test"}, Paths: []string{"/x"}}, {SNIs: []string{"a.test", "*.b.test"}, Paths: []string{"/x"}}},
			[]string{"B < A: GET https://anything.invalid/x sni=a.test"}},
		"names of servers, behind a proxy that may say http": {routes{{SNIs: []string{"a.test"}, Schemes: []string{"https"}, Paths: []string{"/x"}}, {SNIs: []string{"a.test"}, Paths: []string{"/x"}}}, nil},
		"names of other servers":                             {routes{{SNIs: []string{"*.b.test"}, Paths: []string{"/x"}}, {SNIs: []string{"*.test"}, Paths: []string{"/x"}}}, nil},
		"the same expression": {routes{{Regexps: []string{`/u/\d+$`}, Methods: get}, {Regexps: []string{`/u/\d+$`}, Methods: get, Schemes: []string{"https"}}},
			[]string{"B < A: GET https://anything.invalid/u/0"}},
		"priority": {routes{{Regexps: []string{"/a/b[0-9]"}}, {Regexps: []string{"/a"}, Priority: 1}},
			[]string{"A < B: GET http://anything.invalid/a/b0"}},
		"an expression that says nothing of its end": {routes{{Regexps: []string{"/a/b$"}, Priority: 1}, {Regexps: []string{"/a/b"}}}, nil},
		"an expression that is a prefix":             {routes{{Regexps: []string{"^/a"}, Priority: 1}, {Regexps: []string{"/a.*b"}}}, []string{"B < A: GET http://anything.invalid/ab"}},
		"an expression that takes everything":        {routes{{Regexps: []string{".*"}}, {Prefixes: []string{"/"}}}, []string{"B < A: GET http://anything.invalid/anything"}},
		"an expression with an optional end":         {routes{{Regexps: []string{"^/a(/.*)?"}}, {Prefixes: []string{"/ab"}}}, []string{"B < A: GET http://anything.invalid/abanything"}},
		"an expression with an end":                  {routes{{Regexps: []string{"/a(/.*)?$"}}, {Prefixes: []string{"/a"}}}, nil},
		"a predicate":                                {routes{{Func: never, Paths: []string{"/x"}}, {Paths: []string{"/x"}}}, nil},
		"hosts of more conditions":                   {routes{{Hosts: []string{"*.test"}, Prefixes: []string{"/"}}, {Hosts: []string{"a.test"}}}, []string{"B < A: GET http://a.test/anything"}},
		"hosts with ports":                           {routes{{Hosts: []string{"*.test:81"}, Prefixes: []string{"/"}}, {Hosts: []string{"a.test"}}}, nil},
		"a wildcard host":                            {routes{{Hosts: []string{"b.*"}, Paths: []string{"/*rest"}}, {Hosts: []string{"b.test", "b.c.*"}}}, []string{"B < A: GET http://b.test/anything", "B < A: GET http://b.c.anything/anything"}},
		"an address":                                 {routes{{Hosts: []string{"*.1"}, Paths: []string{"/*rest"}}, {Hosts: []string{"[::ffff:1.1.1.1]"}}}, nil},
		"a subtree, and any path":                    {routes{{Hosts: []string{"a.test"}, Paths: []string{"/*rest"}}, {Hosts: []string{"a.test"}}}, []string{"B < A: GET http://a.test/anything"}},
		"one of several paths":                       {routes{{Methods: get, Paths: []string{"/x"}}, {Methods: get, Schemes: []string{"http"}, Paths: []string{"/y", "/x"}}}, []string{"B < A: GET http://anything.invalid/x"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for i := range c.routes {
				c.routes[i].Name = string(rune('A' + i))
			}
			require.Equal(t, c.want, found(t, newTable(t, c.routes...), router.Shadowed))
		})
	}
}

// TestAmbiguous: pairs that only the order written tells apart, with a request that both match.
func TestAmbiguous(t *testing.T) {
	t.Parallel()
	header := func(name string, values ...string) map[string][]string { return map[string][]string{name: values} }
	for name, c := range map[string]struct {
		routes routes
		want   []string
	}{
		"methods":            {routes{{Methods: []string{"GET", "PUT"}, Paths: []string{"/x"}}, {Methods: []string{"POST", "PUT"}, Paths: []string{"/x"}}}, []string{"B < A: PUT http://anything.invalid/x"}},
		"other methods":      {routes{{Methods: []string{"PUT"}, Paths: []string{"/x"}}, {Methods: []string{"POST"}, Paths: []string{"/x"}}}, nil},
		"headers":            {routes{{Headers: header("X-A"), Paths: []string{"/x"}}, {Headers: header("X-B", "1"), Paths: []string{"/x"}}}, []string{"B < A: GET http://anything.invalid/x X-A=anything X-B=1"}},
		"values":             {routes{{Headers: header("X-A", "1", "2"), Paths: []string{"/x"}}, {Headers: header("X-A", "2", "3"), Paths: []string{"/x"}}}, []string{"B < A: GET http://anything.invalid/x X-A=2"}},
		"other values":       {routes{{Headers: header("X-A", "1"), Paths: []string{"/x"}}, {Headers: header("X-A", "2"), Paths: []string{"/x"}}}, nil},
		"patterns of values": {routes{{Query: header("q", "~^a"), Paths: []string{"/x"}}, {Query: header("q", "~b$", "abb"), Paths: []string{"/x"}}}, []string{"B < A: GET http://anything.invalid/x?q=abb"}},
		"patterns":           {routes{{Paths: []string{"/a/:x/b"}}, {Paths: []string{"/a/b/:y"}}}, []string{"B < A: GET http://anything.invalid/a/b/b"}},
		"other patterns":     {routes{{Paths: []string{"/a/:x/b"}}, {Paths: []string{"/c/b/:y"}}}, nil},
		"subtrees":           {routes{{Paths: []string{"/a/:x/b/*r"}}, {Paths: []string{"/:x/a/b/*rest"}}}, []string{"B < A: GET http://anything.invalid/a/a/b"}},
		"expressions":        {routes{{Regexps: []string{`/u/\d+`}}, {Regexps: []string{`/u/[0-9]{1,5}`}}}, []string{"B < A: GET http://anything.invalid/u/0"}},
		"other expressions":  {routes{{Regexps: []string{`/u/\d+`}}, {Regexps: []string{`/v/[0-9]{1,5}`}}}, nil},
		"priorities":         {routes{{Regexps: []string{`/u/\d+`}}, {Regexps: []string{`/u/[0-9]{1,5}`}, Priority: 1}}, nil},
		"wildcard hosts":     {routes{{Hosts: []string{"*.b.cc"}, Paths: []string{"/x"}}, {Hosts: []string{"aa.bb.*", "x.a.*"}, Paths: []string{"/x"}}}, nil},
		"equal wild hosts":   {routes{{Hosts: []string{"*.bb.cc"}, Paths: []string{"/x"}}, {Hosts: []string{"aa.bb.*"}, Paths: []string{"/x"}}}, []string{"B < A: GET http://aa.bb.bb.cc/x"}},
		"hosts":              {routes{{Hosts: []string{"a.test"}, Methods: []string{"PUT"}}, {Hosts: []string{"b.test"}, Methods: []string{"PUT", "POST"}}}, nil},
		"ports":              {routes{{Hosts: []string{"a.test:81"}, Methods: []string{"PUT"}}, {Hosts: []string{"a.test:82"}, Methods: []string{"PUT", "POST"}}}, nil},
		"server names":       {routes{{SNIs: []string{"*.a.test", "b.test"}, Paths: []string{"/x"}}, {SNIs: []string{"x.a.test", "c.test"}, Paths: []string{"/x"}}}, []string{"B < A: GET https://anything.invalid/x sni=x.a.test"}},
		"schemes":            {routes{{Schemes: []string{"http"}, Paths: []string{"/x"}}, {Schemes: []string{"https"}, Paths: []string{"/x"}}}, nil},
		"predicates":         {routes{{Func: never, Methods: []string{"GET", "PUT"}, Paths: []string{"/x"}}, {Func: never, Methods: []string{"POST", "PUT"}, Paths: []string{"/x"}}}, nil},
		"a third takes it":   {routes{{Methods: []string{"GET", "PUT"}, Paths: []string{"/:x"}}, {Methods: []string{"PUT", "POST"}, Paths: []string{"/:y"}}, {Methods: []string{"PUT"}, Paths: []string{"/anything"}}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for i := range c.routes {
				c.routes[i].Name = string(rune('A' + i))
			}
			require.Equal(t, c.want, found(t, newTable(t, c.routes...), router.Ambiguous))
		})
	}
}

// TestVerifyGivesUp: a large table in which everything meets everything else is not looked at for ever, and says so.
func TestVerifyGivesUp(t *testing.T) {
	t.Parallel()
	list := make([]router.Route, 1200)
	for i := range list {
		list[i] = router.Route{Paths: []string{"/x"}, Headers: map[string][]string{"X-Tenant": {fmt.Sprintf("~^%d$", i)}}}
	}
	findings, complete := newTable(t, list...).Verify()
	require.Empty(t, findings)
	require.False(t, complete)
	findings, complete = newTable(t, list[:300]...).Verify()
	require.Empty(t, findings)
	require.True(t, complete)
	for i := range list {
		list[i].Headers = map[string][]string{"X-Tenant": {fmt.Sprint(i)}}
	}
	findings, complete = newTable(t, list...).Verify()
	require.Empty(t, findings)
	require.True(t, complete)
}

// TestHidden: an entry in whose place an equal one stands, with a request that nobody else takes, if there is one.
func TestHidden(t *testing.T) {
	t.Parallel()
	table, err := router.New([]router.Route{
		{Name: "A", Paths: []string{"/x"}}, {Name: "B", Paths: []string{"/x"}},
		{Name: "C", Paths: []string{"/y"}}, {Name: "D", Paths: []string{"/y"}}, {Name: "E", Methods: []string{"GET"}, Paths: []string{"/y"}},
		{Name: "F", Methods: []string{"PUT"}, Paths: []string{"/z"}}, {Name: "G", Methods: []string{"PUT"}, Paths: []string{"/z"}},
		{Name: "H", Methods: []string{"PUT"}, Schemes: []string{"http"}, Hosts: []string{"a.test"}, Paths: []string{"/z"}},
		{Name: "I", Headers: map[string][]string{"X-A": {`~^\bxyz[^a-z]$`}}}, {Name: "J", Headers: map[string][]string{"X-A": {`~^\bxyz[^a-z]$`}}},
		{Name: "K", Headers: map[string][]string{"X-A": {`~a^`}}}, {Name: "L", Headers: map[string][]string{"X-A": {`~a^`}}},
	}, router.Options{AllowIdentical: true})
	require.NoError(t, err)
	var got []string
	findings, complete := table.Verify()
	require.True(t, complete)
	for _, f := range findings {
		e := table.Entry(f.Entry)
		require.Equal(t, []int{e.Hidden}, f.By)
		if f.Winner < 0 {
			got = append(got, e.Name)
			continue
		}
		require.Equal(t, e.Hidden, table.Entry(f.Winner).Route)
		got = append(got, e.Name+" < "+table.Entry(f.Winner).Name+": "+f.Witness.Method)
	}
	require.ElementsMatch(t, []string{"B < A: GET", "D < C: POST", "G < F: PUT", "J < I: GET", "L"}, got)
}

func never(*http.Request) bool { return false }

// TestPredicatesAreNotAsked: not even where one stands before what takes a witness.
func TestPredicatesAreNotAsked(t *testing.T) {
	t.Parallel()
	asked := func(*http.Request) bool { panic("asked") }
	get := []string{"GET"}
	table := newTable(t,
		router.Route{Name: "predicate", Func: asked, Methods: get, Paths: []string{"/x"}},
		router.Route{Name: "A", Methods: get, Paths: []string{"/x"}},
		router.Route{Name: "B", Methods: get, Schemes: []string{"https"}, Paths: []string{"/x"}},
		router.Route{Name: "other predicate", Func: asked, Paths: []string{"/a/b"}},
		router.Route{Name: "C", Paths: []string{"/:x/b"}}, router.Route{Name: "D", Paths: []string{"/a/:y"}},
	)
	require.Equal(t, []string{"B < A: GET https://anything.invalid/x"}, found(t, table, router.Shadowed))
	require.Equal(t, []string{"D < C: GET http://anything.invalid/a/b"}, found(t, table, router.Ambiguous))
}

// TestMatches: an entry alone, whatever stands before it, and without its predicate.
func TestMatches(t *testing.T) {
	t.Parallel()
	table := newTable(t,
		router.Route{Hosts: []string{"a.test"}, Methods: []string{"GET"}, Func: never, Paths: []string{"/a/:x"}, Headers: map[string][]string{"X-A": nil}},
	)
	header := http.Header{"X-A": {""}}
	for name, c := range map[string]struct {
		q    router.Request
		want bool
	}{
		"all":           {router.Request{Method: "HEAD", Host: "a.test", Path: "/a/b", HTTP: &http.Request{Header: header}}, true},
		"another host":  {router.Request{Method: "GET", Host: "b.test", Path: "/a/b", HTTP: &http.Request{Header: header}}, false},
		"another path":  {router.Request{Method: "GET", Host: "a.test", Path: "/a", HTTP: &http.Request{Header: header}}, false},
		"other methods": {router.Request{Method: "PUT", Host: "a.test", Path: "/a/b", HTTP: &http.Request{Header: header}}, false},
		"no header":     {router.Request{Method: "GET", Host: "a.test", Path: "/a/b", HTTP: &http.Request{}}, false},
	} {
		require.Equal(t, c.want, table.Matches(0, &c.q), name)
	}
}

// TestFindingsAreTrue: no request reaches a shadowed entry, and both entries of an ambiguous pair match the witness.
func TestFindingsAreTrue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		list := make([]router.Route, rapid.IntRange(1, 10).Draw(t, "routes"))
		for i := range list {
			list[i] = drawRoute(t, i)
		}
		table, err := router.New(list, drawOptions(t))
		require.NoError(t, err)
		findings, _ := table.Verify()
		dead := map[int]bool{}
		var m router.Match
		for _, f := range findings {
			if f.Winner >= 0 {
				require.Equal(t, router.Found, table.Lookup(f.Witness.Request(), &m))
				require.Equal(t, f.Winner, m.Entry)
				require.NotEqual(t, f.Winner, f.Entry)
			} else {
				require.GreaterOrEqual(t, table.Entry(f.Entry).Hidden, 0)
			}
			if f.Kind == router.Shadowed {
				dead[f.Entry] = true
				require.NotEmpty(t, f.By)
			}
		}
		for range 50 {
			q := drawRequest(t)
			if table.Lookup(q, &m) == router.Found {
				require.False(t, dead[m.Entry], "entry %d", m.Entry)
			}
		}
	})
}
