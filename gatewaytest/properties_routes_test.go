package gatewaytest_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// TestRandomTablesAgree holds gateways to the rules, for any table, with identical routes too, and any switch that routing
// has.
func TestRandomTablesAgree(t *testing.T) {
	t.Parallel()
	var p gatewaytest.Properties
	t.Run("valid", rapid.MakeCheck(func(t *rapid.T) {
		p.CheckRoutes(t, gateway.Config{Routes: p.Routes(nowhere).Draw(t, "routes")})
	}))
	// Over few values the routes often compete.
	dense := gatewaytest.Properties{Hosts: []string{"a.test", "*.test"}, Segments: []string{"a", "b"}, Methods: []string{"GET", "HEAD", "POST"}}
	t.Run("any", rapid.MakeCheck(func(t *rapid.T) {
		c := gateway.Config{
			Compat: gateway.Compat{AllowIdenticalRoutes: true, NotFoundForMethod: rapid.Bool().Draw(t, "404 for 405")},
			EntryConfig: policy.EntryConfig{
				AllowEncodedSlash: rapid.Bool().Draw(t, "encoded slash"),
				TrustedProxies:    []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24")},
				PassHeaders:       []string{"X-HTTP-Method-Override"},
			},
		}
		for i := range rapid.IntRange(1, 12).Draw(t, "routes") {
			r := gateway.Route{Name: fmt.Sprint("r", i), Match: dense.Match().Draw(t, "match"), Handler: nowhere("")}
			if i > 0 && rapid.IntRange(0, 3).Draw(t, "again") == 0 {
				r.Match = c.Routes[i-1].Match
			}
			c.Routes = append(c.Routes, r)
		}
		dense.CheckRoutes(t, c)
	}))
}

// TestOddTableAgrees: what people write in other ways than the gateway compares it.
func TestOddTableAgrees(t *testing.T) {
	t.Parallel()
	never := func(*http.Request) bool { return false }
	c := gateway.Config{EntryConfig: policy.EntryConfig{AllowEncodedSlash: true}, Compat: gateway.Compat{AllowIdenticalRoutes: true}}
	for i, m := range []gateway.Match{
		{Hosts: []string{"[2001:DB8:0::1]", "[::1]:81", "127.0.0.1"}, Paths: []string{"/a/:x"}},
		{Hosts: []string{"H.Test.", "h.test:443", "*.h.test", "*.x.h.test:80", "h.*", "x.h.*:80"}, Prefixes: []string{"/"}},
		{Hosts: []string{"*.h.test", "*.test:80"}, Paths: []string{"/*rest"}},
		{Paths: []string{"/%7euser/%c3%a9/é", "/a b", "/%3Ax/:y/z", "/v1/items:get", "/v1/%69tems%3aput", "/a%2Fb/:x", "/%2A/*star", "/a;b", "/a%3Bb", "/sum/1+1", "/50%25"}},
		{Prefixes: []string{"/.", "/..", "/a%2F", "/caf%C3%A9", "/é", "/:x", "/*", "/a%2b"}},
		{Regexps: []string{`/v(\d+)/(?P<what>[^/]*)`, "/a b", "/é+", "(?i)/CAF", "/a%2Fb", `/[^\x00-\x7f]`, "/.*;", "^/x|/y", "/a/b/c$"}},
		{Regexps: []string{"/v1", "/a.b", "/"}},
		{Regexps: []string{`/\bv1\b`, "/v1|/v2"}, Methods: []string{"GET", "HEAD"}},
		{Methods: []string{"GET"}, Paths: []string{"/v1/:a/:b", "/:a/:b/c"}},
		{Methods: []string{"HEAD", "PURGE"}, Paths: []string{"/v1/:b/:c", "/:x/:y/*z"}},
		{Headers: map[string][]string{"x-version": {"V2", "~^v3", "~beta$"}, "X-Any": nil}},
		{Headers: map[string][]string{"X-Version": {"v2"}}, Query: map[string][]string{"q": {"a b", "~^\\d+$"}, "r[]": nil}},
		{Query: map[string][]string{"q": {"é", ""}}, Schemes: []string{"https"}},
		{SNIs: []string{"H.test", "*.h.test"}, Schemes: []string{"https"}},
		{SNIs: []string{"*.test"}, Func: never},
		{Func: func(r *http.Request) bool { return policy.ExchangeFrom(r.Context()).Scheme() == "https" }, Paths: []string{"/a/*rest"}},
	} {
		r := gateway.Route{Name: fmt.Sprint("r", i), Match: m, Handler: nowhere("")}
		if len(m.Regexps) > 0 {
			r.Priority = 1 - i%3
		}
		c.Routes = append(c.Routes, r)
	}
	p := gatewaytest.Properties{Segments: []string{"a", "v1", "x", "b", "items%3Aget", "caf%C3%A9", "%2B", "a;b", "50%25"}}
	rapid.Check(t, func(t *rapid.T) { p.CheckRoutes(t, c) })
}

// TestCheckRoutesFindsFaults: a table whose predicates do not answer the same for the same request does not follow the rules.
func TestCheckRoutesFindsFaults(t *testing.T) {
	t.Parallel()
	fickle := func() func(*http.Request) bool {
		calls := 0
		return func(*http.Request) bool {
			calls++
			return calls%2 == 0
		}
	}
	table := func(m gateway.Match) gateway.Config {
		return gateway.Config{Routes: []gateway.Route{
			{Name: "fickle", Match: m, Handler: nowhere("")},
			{Name: "rest", Match: gateway.Match{Methods: []string{"GET"}}, Handler: nowhere("")},
		}}
	}
	text := gatewaytest.FailureOf(func(t *rapid.T) {
		gatewaytest.Properties{}.CheckRoutes(t, table(gateway.Match{Paths: []string{"/*rest"}, Func: fickle()}))
	})
	require.Regexp(t, `gatewaytest: (the request went to|Explain says|no route takes the method)`, text)
	require.Regexp(t, `\nrequest: [A-Z]+ https?://.* from `, text)
	require.Contains(t, text, "\nthe gateway's own account:\n")
	require.Contains(t, text, "\ttable:\n\tfickle {Paths: [\"/*rest\"], Func}\n\trest {Methods: [\"GET\"]}\n"[1:])
	require.Empty(t, gatewaytest.FailureOf(func(t *rapid.T) {
		gatewaytest.Properties{}.CheckRoutes(t, table(gateway.Match{Paths: []string{"/*rest"}, Func: func(r *http.Request) bool { return r.URL.Path == "/a" }}))
	}))

	text = gatewaytest.FailureOf(func(t *rapid.T) {
		gatewaytest.Properties{}.CheckRoutes(t, table(gateway.Match{Func: firstTime()}))
	})
	require.Contains(t, text, "and by the rules it is one for route \"fickle\"")
	require.Contains(t, gatewaytest.FailureOf(func(t *rapid.T) {
		gatewaytest.Properties{}.CheckRoutes(t, table(gateway.Match{Paths: []string{"users"}}))
	}),
		"gatewaytest: CheckRoutes was given a Config that no gateway takes: gateway: route \"fickle\"")
}

// firstTime is a predicate that lets every request pass once.
func firstTime() func(*http.Request) bool {
	seen := map[string]bool{}
	return func(r *http.Request) bool {
		key := r.Method + r.Host + r.RequestURI
		defer func() { seen[key] = true }()
		return !seen[key]
	}
}

// closer is owned by a Config and tells when it is closed.
type closer func() error

func (c *closer) Close() error { return (*c)() }

// TestCheckRoutesTouchesNothing: no handler, plugin, ErrorHandler or owned value of the Config takes part, and the Config
// stays as it is.
func TestCheckRoutesTouchesNothing(t *testing.T) {
	t.Parallel()
	touched := 0
	touch := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { touched++ })
	owned := closer(func() error { touched++; return nil })
	plugin := policy.PluginFunc(func(http.Handler) http.Handler { touched++; return touch })
	c := gateway.Config{
		NotFound: touch, Plugins: []gateway.Plugin{plugin}, Owns: []io.Closer{&owned},
		Routes: []gateway.Route{{
			Name: "r", Match: gateway.Match{Paths: []string{"/a"}}, Handler: touch, Plugins: []gateway.Plugin{plugin}, MaxBody: 1, Forward: gateway.Forward{Path: "/x"},
		}},
	}
	c.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { touched++ }
	rapid.Check(t, func(t *rapid.T) { gatewaytest.Properties{}.CheckRoutes(t, c) })
	require.Zero(t, touched)
	require.NotNil(t, c.ErrorHandler)
	require.Equal(t, "/x", c.Routes[0].Forward.Path)
}

// TestCheckRoutesListsLargeTables: a failure lists the routes that it is about, and not thousands beside.
func TestCheckRoutesListsLargeTables(t *testing.T) {
	t.Parallel()
	var c gateway.Config
	for i := range 200 {
		m := gateway.Match{Paths: []string{fmt.Sprintf("/p%d", i)}}
		if i == 150 {
			m = gateway.Match{Prefixes: []string{"/"}, Func: firstTime()}
		}
		c.Routes = append(c.Routes, gateway.Route{Name: fmt.Sprint("r", i), Match: m, Handler: nowhere("")})
	}
	text := gatewaytest.FailureOf(func(t *rapid.T) { gatewaytest.Properties{}.CheckRoutes(t, c) })
	require.Contains(t, text, "\tr150 {Prefixes: [\"/\"], Func}\n")
	require.Regexp(t, `\n\tand 1\d\d more\n$`, text)
}
