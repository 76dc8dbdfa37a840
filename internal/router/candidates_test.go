package router_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway/internal/router"
)

// TestCandidates: the entries with the request's path, in order, each with the first condition that fails.
func TestCandidates(t *testing.T) {
	t.Parallel()
	table := newTable(t,
		router.Route{Name: "host", Hosts: []string{"other.test"}, Paths: []string{"/users/:id"}},
		router.Route{Name: "sni", SNIs: []string{"s.test"}, Paths: []string{"/users/:id"}},
		router.Route{Name: "header", Headers: map[string][]string{"X-A": {"1", "2"}}, Paths: []string{"/users/:id"}},
		router.Route{Name: "query", Query: map[string][]string{"q": nil}, Paths: []string{"/users/:id"}},
		router.Route{Name: "predicate", Func: never, Paths: []string{"/users/:id"}},
		router.Route{Name: "method", Methods: []string{"POST"}, Paths: []string{"/users/:id"}},
		router.Route{Name: "scheme", Schemes: []string{"https"}, Paths: []string{"/users/:id"}},
		router.Route{Name: "expression", Regexps: []string{`/users/\d+$`}},
		router.Route{Name: "winner", Paths: []string{"/users/*rest"}},
		router.Route{Name: "later", Prefixes: []string{"/users"}},
		router.Route{Name: "other", Paths: []string{"/user"}},
		router.Route{Name: "any"},
	)
	q := &router.Request{Method: "GET", Scheme: "http", Host: "a.test", Path: "/users/x", HTTP: &http.Request{Header: http.Header{}}}
	var got []string
	list, total := table.Candidates(q, 100)
	for _, c := range list {
		got = append(got, fmt.Sprint(table.Entry(c.Entry).Name, ": ", c.Failed, c.Condition))
	}
	require.Equal(t, []string{
		"host: host { []}", "header: header {X-A [1 2]}", "query: query {q []}", "method: method { []}", "sni: SNI { []}",
		"predicate: predicate { []}", "scheme: scheme { []}", "winner: nothing { []}", "later: nothing { []}", "any: nothing { []}",
	}, got)
	require.Equal(t, len(list), total)

	list, total = table.Candidates(q, 2)
	require.Equal(t, 10, total)
	require.Len(t, list, 3)
	require.Equal(t, router.Nothing, list[2].Failed, "the winner is there in any case")

	nearest := func(path string) (names []string) {
		for _, c := range table.Nearest(&router.Request{Host: "a.test", Path: path}, 3) {
			require.Equal(t, router.ByPath, c.Failed)
			names = append(names, table.Entry(c.Entry).Name+" "+table.Entry(c.Entry).Pattern)
		}
		return names
	}
	require.Equal(t, []string{"header /users/:id", "query /users/:id", "method /users/:id"}, nearest("/users/7/"))
	require.Equal(t, []string{"other /user"}, nearest("/user/")[:1])
	require.Empty(t, nearest("/"))
}

// TestCandidatesAgree: the first candidate without a failed condition is what a lookup finds.
func TestCandidatesAgree(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		list := make([]router.Route, rapid.IntRange(1, 12).Draw(t, "routes"))
		for i := range list {
			list[i] = drawRoute(t, i)
		}
		table, err := router.New(list, router.Options{AllowIdentical: true})
		require.NoError(t, err)
		limit := rapid.IntRange(1, 20).Draw(t, "limit")
		for range 20 {
			q := drawRequest(t)
			var m router.Match
			table.Lookup(q, &m)
			winner := -1
			candidates, total := table.Candidates(q, limit)
			require.LessOrEqual(t, len(candidates), limit+1)
			require.GreaterOrEqual(t, total, len(candidates))
			for _, c := range candidates {
				if c.Failed == router.Nothing && winner < 0 {
					winner = c.Entry
				}
			}
			require.Equal(t, m.Entry, winner)
			table.Nearest(q, 3)
		}
	})
}
