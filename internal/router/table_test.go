package router_test

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/router"
)

// TestProblems: every mistake names route, field, value, what is wrong and what to write instead.
func TestProblems(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("/s", 65)
	for _, c := range []struct {
		route router.Route
		want  string // behind the route's name
	}{
		{router.Route{Paths: []string{""}}, `Paths[0] "" is empty; leave the list empty to match every path, or write /`},
		{router.Route{Paths: []string{"/ok", "users"}}, `Paths[1] "users" does not begin with a slash; write "/users"`},
		{router.Route{Paths: []string{"/ok", "GET /x"}}, `Paths[1] "GET /x" begins with a method; put the method into Methods and a host into Hosts, and write only the path`},
		{router.Route{Paths: []string{"GET a.test/x"}}, `Paths[0] "GET a.test/x" begins with a method`},
		{router.Route{Paths: []string{"/a/{id}"}}, `Paths[0] "/a/{id}" has braces, which are not how wildcards are written here; write "/a/:id"`},
		{router.Route{Paths: []string{"/a/{id}/b/{rest...}"}}, `; write "/a/:id/b/*rest"`},
		{router.Route{Paths: []string{"/a/{id:[0-9]+}"}}, `has braces, which are not how wildcards are written here; write /:name for one segment, /*name for the rest, %7B and %7D for the braces themselves; use Regexps for anything else`},
		{router.Route{Paths: []string{"/a/{$}"}}, `; write /:name for one segment`},
		{router.Route{Paths: []string{"/a/x{id}"}}, `; write /:name for one segment`},
		{router.Route{Paths: []string{"/a}"}}, `Paths[0] "/a}" has braces`},
		{router.Route{Paths: []string{"~/users"}}, `Paths[0] "~/users" begins with ~ and not with a slash; put regular expressions in Regexps, without the ~`},
		{router.Route{Paths: []string{"/a?b"}}, `Paths[0] "/a?b" has a query or a fragment; write only the path; use Query for conditions on the query, Prefixes or Regexps for patterns`},
		{router.Route{Paths: []string{"/a//b"}}, `Paths[0] "/a//b" has dot segments or repeated slashes, which no request has when it is matched; write "/a/b"`},
		{router.Route{Paths: []string{"/a/%2e%2e/:b"}}, `Paths[0] "/a/%2e%2e/:b" has dot segments or repeated slashes, which no request has when it is matched; write "/:b"`},
		{router.Route{Prefixes: []string{"/a/../b"}}, `Prefixes[0] "/a/../b" has dot segments or repeated slashes, which no request has when it is matched; write "/b"`},
		{router.Route{Paths: []string{"/a/."}}, `Paths[0] "/a/." has dot segments or repeated slashes, which no request has when it is matched; write "/a/"`},
		{router.Route{Paths: []string{"/a%2Fb"}}, `Paths[0] "/a%2Fb" has an encoded slash, which requests may not have; set AllowEncodedSlash, or leave the slash out`},
		{router.Route{Paths: []string{"/100%"}}, `Paths[0] "/100%" has a percent sign without two hexadecimal digits; write %25 for the sign itself`},
		{router.Route{Paths: []string{`/a\b`}}, `Paths[0] "/a\\b" is a path no request can have when it is matched (backslash); leave out what is refused at the entry`},
		{router.Route{Paths: []string{"/:"}}, `Paths[0] "/:" has the wildcard ":", whose name is empty or has other characters than letters, digits and _; name it as in /:id or /*rest, or write %3A or %2A for a literal colon or star`},
		{router.Route{Paths: []string{"/:1st"}}, `has the wildcard ":1st"`},
		{router.Route{Paths: []string{"/:a:b"}}, `has the wildcard ":a:b"`},
		{router.Route{Paths: []string{"/*"}}, `has the wildcard "*"`},
		{router.Route{Paths: []string{"/:id/x/:id"}}, `Paths[0] "/:id/x/:id" has two wildcards named "id"; give each its own name`},
		{router.Route{Paths: []string{"/*rest/x"}}, `Paths[0] "/*rest/x" has "*rest" before its end; a star takes the rest of the path and may only be the last segment; use :rest for one segment`},
		{router.Route{Paths: []string{deep + "/:x"}}, ` has 66 segments; a pattern with wildcards may have at most 64; use Prefixes or Regexps`},
		{router.Route{Paths: []string{"/" + strings.Repeat("a", 8<<10)}}, ` is longer than 8192 bytes; shorten it`},
		{router.Route{Paths: []string{"/a/:x", "/a/:y"}}, `Paths[1] "/a/:y" is the same as Paths[0]; remove one`},

		{router.Route{Prefixes: []string{"rou"}}, `Prefixes[0] "rou" does not begin with a slash; write "/rou"`},
		{router.Route{Prefixes: []string{"/a/../b"}}, `Prefixes[0] "/a/../b" has dot segments`},
		{router.Route{Prefixes: []string{"/a%4"}}, `Prefixes[0] "/a%4" has a percent sign`},
		{router.Route{Prefixes: []string{"/~", "/%7e"}}, `Prefixes[1] "/%7e" is the same as Prefixes[0]; remove one`},

		{router.Route{Regexps: []string{""}}, `Regexps[0] "" is empty and would match every path; leave Regexps empty, or write /`},
		{router.Route{Regexps: []string{"/("}}, `Regexps[0] "/(" is not a regular expression: `},
		{router.Route{Regexps: []string{"/a)(b"}}, `Regexps[0] "/a)(b" is not a regular expression: `},
		{router.Route{Regexps: []string{"users"}}, `Regexps[0] "users" can match no path; begin it with a slash, as every path does`},
		{router.Route{Regexps: []string{"^(users)"}}, `can match no path`},
		{router.Route{Regexps: []string{"/a\x01"}}, `can match no path; write control characters percent-encoded, as paths arrive`},
		{router.Route{Regexps: []string{"/a%2fb"}}, `Regexps[0] "/a%2fb" has the escape %2f in lower case, and paths have them in upper case when they are matched; write %2F`},
		{router.Route{Regexps: []string{"/a%20b"}}, `has an escape that is decoded before expressions are matched; write the character itself instead of %20 and the like`},
		{router.Route{Regexps: []string{"/caf%c3%a9"}}, `has an escape that is decoded before expressions are matched`},
		{router.Route{Regexps: []string{"/(?P<1>.)"}}, `has a capture named "1"; use letters, digits and _, not beginning with a digit`},
		{router.Route{Regexps: []string{"/a", "/a"}}, `Regexps[1] "/a" is the same as Regexps[0]; remove one`},

		{router.Route{Hosts: []string{""}}, `Hosts[0] "" has no host name; leave Hosts empty to match every host`},
		{router.Route{Hosts: []string{"*"}}, `Hosts[0] "*" is a star alone; leave Hosts empty to match every host, or name the hosts`},
		{router.Route{Hosts: []string{"*:81"}}, `Hosts[0] "*:81" is a star alone`},
		{router.Route{Hosts: []string{"*."}}, `Hosts[0] "*." has nothing but a star; name the labels before or behind it, as in *.example.com`},
		{router.Route{Hosts: []string{"*.:81"}}, `Hosts[0] "*.:81" has nothing but a star`},
		{router.Route{Hosts: []string{"*.a.*"}}, `Hosts[0] "*.a.*" has more than one star; use one, as in *.example.com or example.*`},
		{router.Route{Hosts: []string{"a*.test"}}, `Hosts[0] "a*.test" has a star inside a label; the star stands for whole labels at the start or the end`},
		{router.Route{Hosts: []string{"a.*.test"}}, `has a star inside a label`},
		{router.Route{Hosts: []string{"http://a.test"}}, `Hosts[0] "http://a.test" is a URL; write only its host; schemes go into Schemes, paths into Paths`},
		{router.Route{Hosts: []string{"a b"}}, `Hosts[0] "a b" has a character no host name has; write only the host, international names in their ASCII form (xn--...)`},
		{router.Route{Hosts: []string{"u@a.test"}}, `Hosts[0] "u@a.test" has user information; write only the host`},
		{router.Route{Hosts: []string{"a..test"}}, `Hosts[0] "a..test" has an empty label; write a name such as example.com`},
		{router.Route{Hosts: []string{"a.test:0"}}, `Hosts[0] "a.test:0" has a port that is not a number from 1 to 65535; write a name such as`},
		{router.Route{Hosts: []string{"::1"}}, `Hosts[0] "::1" has more than one colon; write IPv6 addresses in brackets, as in [2001:db8::1]`},
		{router.Route{Hosts: []string{"[::x]"}}, `Hosts[0] "[::x]" is not an IPv6 address in brackets; write it as in [2001:db8::1], without a zone`},
		{router.Route{Hosts: []string{strings.Repeat("a.", 130) + "test"}}, ` is longer than a host name can be`},
		{router.Route{Hosts: []string{"A.test", "a.test."}}, `Hosts[1] "a.test." is the same as Hosts[0]; remove one`},

		{router.Route{Methods: []string{"get"}}, `Methods[0] "get" is not the method GET: methods are case-sensitive; write GET`},
		{router.Route{Methods: []string{"GET", "A B"}}, `Methods[1] "A B" is not a method; use a token such as GET`},
		{router.Route{Methods: []string{""}}, `Methods[0] "" is not a method`},
		{router.Route{Methods: []string{"TRACE"}}, `Methods[0] "TRACE" is refused before requests are matched, whatever the routes say; leave it out`},
		{router.Route{Methods: []string{"GET", "CONNECT"}}, `Methods[1] "CONNECT" is refused before`},
		{router.Route{Methods: []string{"trace"}}, `Methods[0] "trace" is not the method TRACE`},
		{router.Route{Schemes: []string{"HTTPS"}}, `Schemes[0] "HTTPS" is not a scheme of this gateway; use "http" or "https"`},
		{router.Route{SNIs: []string{"a.test:443"}}, `SNIs[0] "a.test:443" has a port; write the server name only`},
		{router.Route{SNIs: []string{"a b"}}, `SNIs[0] "a b" has a character no host name has; write a server name such as example.com or *.example.com, international names`},
		{router.Route{SNIs: []string{"*"}}, `SNIs[0] "*" is a star alone; write a server name such as example.com or *.example.com, international names in their ASCII form (xn--...), or leave SNIs empty to match every one`},
		{router.Route{SNIs: []string{""}}, `SNIs[0] "" has no host name; write a server name`},
		{router.Route{SNIs: []string{"[::1]"}}, `SNIs[0] "[::1]" is an address, which no client sends as a server name (RFC 6066 section 3); write a name, or put the address into Hosts`},
		{router.Route{SNIs: []string{"192.0.2.1"}}, `SNIs[0] "192.0.2.1" is an address`},

		{router.Route{Headers: map[string][]string{"host": {"a.test"}}}, `Headers "host" cannot be matched as a header; use Hosts`},
		{router.Route{Headers: map[string][]string{"X A": nil}}, `Headers "X A" is not a header name; use letters, digits and hyphens, as in X-Version`},
		{router.Route{Headers: map[string][]string{"X-A": nil, "x-a": nil}}, `Headers "x-a" is the same header as "X-A"; list the values of both under one name`},
		{router.Route{Headers: map[string][]string{"X-A": {"ok", "~("}}}, `Headers["X-A"][1] "~(" is not a regular expression: `},
		{router.Route{Headers: map[string][]string{"X-A": {"~"}}}, `Headers["X-A"][0] "~" is an empty regular expression; leave the list of values empty to ask only that the name is there`},
		{router.Route{Headers: map[string][]string{"X-A": {" x"}}}, `Headers["X-A"][0] " x" begins or ends with white space, which no header value has; remove it`},
		{router.Route{Query: map[string][]string{"": nil}}, `Query "" is not a parameter's name; name the parameter of the query`},
		{router.Route{Query: map[string][]string{"q": {"~a)(b"}}}, `Query["q"][0] "~a)(b" is not a regular expression: `},
	} {
		c.route.Name = "orders"
		_, err := router.New([]router.Route{c.route}, router.Options{})
		require.Error(t, err, "%+v", c.route)
		require.True(t, strings.HasPrefix(err.Error(), `gateway: route "orders": `), err.Error())
		require.Contains(t, err.Error(), c.want)
		require.NotContains(t, err.Error(), "\n", "one mistake is one problem")
	}
}

// TestProblemsAreJoined: all are reported at once, each as an Error.
func TestProblemsAreJoined(t *testing.T) {
	t.Parallel()
	_, err := router.New([]router.Route{
		{Name: "a", Paths: []string{"x", "/:"}, Hosts: []string{"*"}, Methods: []string{"get"}},
		{Name: "good", Paths: []string{"/good/:x"}},
		{Prefixes: []string{"y"}},
		{Name: "again", Paths: []string{"/good/:y"}},
	}, router.Options{})
	joined, ok := err.(interface{ Unwrap() []error })
	require.True(t, ok)
	var fields []string
	for _, e := range joined.Unwrap() {
		var problem *router.Error
		require.ErrorAs(t, e, &problem)
		fields = append(fields, problem.Name+" "+problem.Field)
	}
	require.Equal(t, []string{"a Methods[0]", "a Hosts[0]", "a Paths[0]", "a Paths[1]", " Prefixes[0]", "again Paths[0]"}, fields)
	require.ErrorContains(t, err, `gateway: Routes[2]: Prefixes[0] "y"`)
}

func TestIdenticalRoutes(t *testing.T) {
	t.Parallel()
	conditions := map[string][]string{"X-A": {"b", "A"}}
	respelled := map[string][]string{"x-a": {"a", "B", "b"}}
	yes := func(*http.Request) bool { return true }
	for _, c := range []struct {
		name string
		a, b router.Route
		want string // empty: they can be told apart
	}{
		{"nothing", router.Route{}, router.Route{}, `gateway: route "b" has the same conditions as route "a", and no request could tell the two routes apart; remove one, or give one a further condition`},
		{"host", router.Route{Hosts: []string{"*.Test"}}, router.Route{Hosts: []string{"a", "*.test."}}, `route "b": Hosts[1] "*.test." is a host of route "a"`},
		{"path", router.Route{Paths: []string{"/a/:x"}}, router.Route{Paths: []string{"/a/:y"}}, `route "b": Paths[0] "/a/:y" is the same path as "/a/:x" of route "a", and`},
		{"host and path", router.Route{Hosts: []string{"a"}, Paths: []string{"/%7e"}}, router.Route{Hosts: []string{"a"}, Paths: []string{"/~"}}, `route "b": Paths[0] "/~" at host "a" is the same path as "/%7e" of route "a"`},
		{"colons", router.Route{Paths: []string{"/a:b"}}, router.Route{Paths: []string{"/a%3ab"}}, `is the same path`},
		{"prefix", router.Route{Prefixes: []string{"/a"}}, router.Route{Prefixes: []string{"/a"}}, `is the same path`},
		{"expression", router.Route{Regexps: []string{"/a"}, Priority: 1}, router.Route{Regexps: []string{"/a"}, Priority: 1}, `is the same path`},
		{"methods", router.Route{Methods: []string{"GET", "POST"}}, router.Route{Methods: []string{"POST", "GET", "GET"}}, `has the same conditions`},
		{"schemes", router.Route{Schemes: []string{"https", "http"}}, router.Route{}, `has the same conditions`},
		{"snis", router.Route{SNIs: []string{"a", "*.B"}}, router.Route{SNIs: []string{"*.b", "A"}}, `has the same conditions`},
		{"headers", router.Route{Headers: conditions}, router.Route{Headers: respelled}, `has the same conditions`},
		{"query", router.Route{Query: conditions}, router.Route{Query: conditions}, `has the same conditions`},

		{"other kinds of path", router.Route{Paths: []string{"/a"}}, router.Route{Prefixes: []string{"/a"}}, ""},
		{"slash", router.Route{Paths: []string{"/a"}}, router.Route{Paths: []string{"/a/"}}, ""},
		{"priority", router.Route{Regexps: []string{"/a"}, Priority: 1}, router.Route{Regexps: []string{"/a"}}, ""},
		{"other methods", router.Route{Methods: []string{"GET"}}, router.Route{Methods: []string{"GET", "HEAD"}}, ""},
		{"query has case", router.Route{Query: map[string][]string{"a": {"x"}}}, router.Route{Query: map[string][]string{"a": {"X"}}}, ""},
		{"header and query", router.Route{Headers: map[string][]string{"A": {"x"}}}, router.Route{Query: map[string][]string{"A": {"x"}}}, ""},
		{"one header or two", router.Route{Headers: map[string][]string{"A": {"b"}}}, router.Route{Headers: map[string][]string{"A": nil, "B": nil}}, ""},
		{"predicates", router.Route{Func: yes}, router.Route{Func: yes}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.a.Name, c.b.Name = "a", "b"
			_, err := router.New([]router.Route{c.a, c.b}, router.Options{})
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)

			table, err := router.New([]router.Route{c.a, c.b}, router.Options{AllowIdentical: true})
			require.NoError(t, err)
			var hidden []int
			for e := range table.All() {
				if e.Hidden >= 0 {
					hidden = append(hidden, e.Route, e.Hidden)
				}
			}
			require.Equal(t, []int{1, 0}, hidden, "the first written wins")
		})
	}
}

// TestAllowIdentical: what is written twice in one route is dropped, and an identical route is never found.
func TestAllowIdentical(t *testing.T) {
	t.Parallel()
	table, err := router.New([]router.Route{
		{Name: "a", Hosts: []string{"h", "H"}, Paths: []string{"/:x", "/:y"}},
		{Name: "b", Hosts: []string{"h"}, Paths: []string{"/:z"}},
	}, router.Options{AllowIdentical: true})
	require.NoError(t, err)
	require.Equal(t, 2, table.Len())
	a := ask(t, table, get("http://h/1"))
	require.Equal(t, 0, a.route)
	require.Equal(t, []string{"x=1"}, a.params)
}

// TestAll: entries are data in order of precedence, with their conditions in canonical form.
func TestAll(t *testing.T) {
	t.Parallel()
	table := newTable(t,
		router.Route{Name: "any"},
		router.Route{
			Name: "full", Hosts: []string{"*.B.test:81", "[::1]", "a.*"}, Paths: []string{"/x/:id"}, Regexps: []string{`/\d`}, Priority: 7,
			Methods: []string{"POST", "GET"}, Schemes: []string{"https"}, SNIs: []string{"S.test", "*.test"},
			Headers: map[string][]string{"x-b": {"~Z", "Y"}, "X-A": nil}, Query: map[string][]string{"q": {"2", "1"}},
			Func: func(*http.Request) bool { return true },
		},
		router.Route{Name: "files", Paths: []string{"/files/*rest", "/%7e"}, Prefixes: []string{"/p"}},
	)
	all := slices.Collect(table.All())
	require.Len(t, all, table.Len())
	full := router.Entry{
		Route: 1, Name: "full", Host: "[::1]", Kind: router.Regexp, Pattern: `/\d`, Priority: 7, Hidden: -1,
		Methods: []string{"GET", "POST"}, Schemes: []string{"https"}, SNIs: []string{"*.test", "s.test"},
		Headers: []router.Condition{{Name: "X-A"}, {Name: "X-B", Values: []string{"y", "~Z"}}},
		Query:   []router.Condition{{Name: "q", Values: []string{"1", "2"}}}, Predicate: true,
	}
	require.Equal(t, full, all[0])
	var lines []string
	for i, e := range all {
		require.Equal(t, e, table.Entry(i))
		lines = append(lines, strings.Join([]string{e.Name, e.Host, e.Kind.String(), e.Pattern}, " "))
	}
	require.Equal(t, []string{
		`full [::1] regexp /\d`, `full [::1] parameters /x/:id`,
		`full *.b.test:81 regexp /\d`, `full *.b.test:81 parameters /x/:id`,
		`full a.* regexp /\d`, `full a.* parameters /x/:id`,
		"files  exact /%7e", "files  subtree /files/*rest", "files  prefix /p",
		"any  no path ",
	}, lines)
	for range table.All() {
		break // a loop may end early
	}
}

// TestNewKeepsNothing: what the caller does with its routes afterwards changes nothing.
func TestNewKeepsNothing(t *testing.T) {
	t.Parallel()
	r := router.Route{Paths: []string{"/a"}, Methods: []string{"GET"}, Headers: map[string][]string{"X-A": {"1"}}}
	table := newTable(t, r)
	r.Paths[0], r.Methods[0], r.Headers["X-A"][0] = "/b", "POST", "2"
	delete(r.Headers, "X-A")
	require.Equal(t, router.Found, ask(t, table, get("/a", header("X-A", "1"))).outcome)
	require.Equal(t, []router.Condition{{Name: "X-A", Values: []string{"1"}}}, table.Entry(0).Headers)
}

func TestEmptyTable(t *testing.T) {
	t.Parallel()
	table := newTable(t)
	require.Equal(t, router.NotFound, ask(t, table, get("/")).outcome)
	require.Empty(t, table.Allow(get("/")))
}

// TestTooManyEntries: hosts times paths may grow beyond what is meant.
func TestTooManyEntries(t *testing.T) {
	t.Parallel()
	r := router.Route{Name: "wide"}
	for i := range 2100 {
		r.Hosts = append(r.Hosts, "h"+strconv.Itoa(i)+".test")
		r.Prefixes = append(r.Prefixes, "/p"+strconv.Itoa(i))
	}
	_, err := router.New([]router.Route{r}, router.Options{})
	require.EqualError(t, err, `gateway: route "wide" makes the table larger than 4194304 entries, one for each host and path; use wildcard hosts or prefixes`)
}

func TestConcurrentLookups(t *testing.T) {
	t.Parallel()
	table := newTable(t, router.Route{Paths: []string{"/a/:x/b"}}, router.Route{Regexps: []string{`/r(\d+)`}}, router.Route{Query: map[string][]string{"q": {"~x"}}})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				for i, target := range []string{"/a/1/b", "/r1", "/?q=x%20"} {
					if got := ask(t, table, get(target)).route; got != i {
						t.Errorf("%s: route %d", target, got)
					}
				}
			}
		})
	}
	wg.Wait()
}
