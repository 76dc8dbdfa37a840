package gateway_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
)

func upstreamFor(t testing.TB, name string, timeouts gateway.Timeouts) *gateway.Upstream {
	t.Helper()
	u, err := gateway.NewUpstream(gateway.UpstreamConfig{Name: name, Targets: []balancer.Target{{URL: "http://10.0.0.1"}}, Timeouts: timeouts})
	require.NoError(t, err)
	t.Cleanup(func() { _ = u.Close() })
	return u
}

// fork is a handler that hides others, as a split does.
type fork []http.Handler

func (f fork) Handlers() []http.Handler                         { return f }
func (f fork) ServeHTTP(w http.ResponseWriter, r *http.Request) { f[0].ServeHTTP(w, r) }

// retrier is a handler that repeats requests, as upstreams will.
type retrier struct{ http.Handler }

func (retrier) RetriesUnsafe() bool { return true }

// TestValidate: each kind of finding, as an error or as a warning, with route, others and witness.
func TestValidate(t *testing.T) {
	t.Parallel()
	keys := gateway.Must(keyauth.New(keyauth.Config{Consumers: auth.Static{}}))
	authenticated := []gateway.Plugin{keys}
	users, orders := upstreamFor(t, "users", gateway.Timeouts{}), upstreamFor(t, "orders", gateway.Timeouts{})
	endless := upstreamFor(t, "endless", gateway.Timeouts{FirstByte: -1, Idle: -1})
	route := func(name string, h http.Handler, m gateway.Match, plugins ...gateway.Plugin) gateway.Route {
		return gateway.Route{Name: name, Match: m, Handler: h, Plugins: plugins}
	}
	paths := func(p ...string) gateway.Match { return gateway.Match{Paths: p} }
	public := route("open", say(""), paths("/o"))
	public.Public = true
	total := upstreamFor(t, "total", gateway.Timeouts{Idle: -1, Total: 1})
	limited := func(name string, h http.Handler, timeouts gateway.Timeouts) gateway.Route {
		return gateway.Route{Name: name, Match: paths("/" + name), Handler: h, Forward: gateway.Forward{Timeouts: timeouts}}
	}
	for name, c := range map[string]struct {
		config gateway.Config
		want   []string
	}{
		"nothing to say": {gateway.Config{Routes: []gateway.Route{route("a", users, paths("/a"))}, Owns: []io.Closer{users}}, nil},
		"duplicates": {
			gateway.Config{Routes: []gateway.Route{route("a", say(""), paths("/a")), route("b", say(""), paths("/x", "/a"))}},
			[]string{`error duplicate_route b [a]: gateway: route "b": Paths[1] "/a" is the same path as "/a" of route "a", and no request could tell the two routes apart; remove one, or give one a further condition (witness: GET http://anything.invalid/a)`},
		},
		"duplicates for Kong": {
			gateway.Config{Routes: []gateway.Route{route("a", say(""), paths("/a")), route("b", say(""), paths("/a"))}, Compat: gateway.Compat{AllowIdenticalRoutes: true}},
			[]string{`warning duplicate_route b [a]: gateway: route "b": its path "/a" cannot be told apart from route "a", which is written first and takes it; remove one (witness: GET http://anything.invalid/a)`},
		},
		"duplicates and all else": {
			gateway.Config{Routes: []gateway.Route{
				route("a", say(""), paths("/a")), route("b", say(""), paths("/a")),
				route("c", say(""), gateway.Match{Methods: []string{"PUT", "POST"}, Paths: []string{"/c"}}), route("d", say(""), gateway.Match{Methods: []string{"PUT"}, Paths: []string{"/c"}}),
			}},
			[]string{
				`error duplicate_route b [a]: gateway: route "b": Paths[0] "/a" is the same path as "/a" of route "a", and no request could tell the two routes apart; remove one, or give one a further condition (witness: GET http://anything.invalid/a)`,
				`error unreachable_route d [c]: gateway: route "d": is never reached, because route "c" takes all its requests; remove it, or change the order or the conditions (witness: PUT http://anything.invalid/c)`,
			},
		},
		"shadowed by two": {
			gateway.Config{Routes: []gateway.Route{
				route("a", say(""), gateway.Match{Methods: []string{"PUT"}, Paths: []string{"/a"}}), route("b", say(""), gateway.Match{Methods: []string{"POST"}, Paths: []string{"/a"}}),
				route("c", say(""), gateway.Match{Methods: []string{"POST", "PUT"}, Paths: []string{"/a"}}),
			}},
			[]string{`error unreachable_route c [b a]: gateway: route "c": is never reached, because route "b" and route "a" take all its requests; remove it, or change the order or the conditions (witness: POST http://anything.invalid/a)`},
		},
		"shadowed by one for each path": {
			gateway.Config{Routes: []gateway.Route{
				route("a", say(""), gateway.Match{Hosts: []string{"h.test"}, Paths: []string{"/a/*rest"}}), route("b", say(""), gateway.Match{Hosts: []string{"h.test"}, Paths: []string{"/b/*rest"}}),
				route("c", say(""), gateway.Match{Hosts: []string{"h.test"}, Prefixes: []string{"/a/", "/b/"}}),
			}},
			[]string{`error unreachable_route c [a b]: gateway: route "c": is never reached, because route "a" and route "b" take all its requests; remove it, or change the order or the conditions (witness: GET http://h.test/a/anything)`},
		},
		"shadowed by very many": {
			gateway.Config{Routes: []gateway.Route{
				route("a", say(""), gateway.Match{Methods: []string{"A"}}), route("b", say(""), gateway.Match{Methods: []string{"B"}}), route("c", say(""), gateway.Match{Methods: []string{"C"}}),
				route("d", say(""), gateway.Match{Methods: []string{"D"}}), route("e", say(""), gateway.Match{Methods: []string{"E"}}), route("f", say(""), gateway.Match{Methods: []string{"F"}}),
				route("g", say(""), gateway.Match{Methods: []string{"A", "B", "C", "D", "E", "F"}}),
			}},
			[]string{`error unreachable_route g [a b c d e f]: gateway: route "g": is never reached, because route "a", route "b", route "c", route "d" and 2 others take all its requests; remove it, or change the order or the conditions (witness: A http://anything.invalid/anything)`},
		},
		"shadowed by what another shadows": {
			gateway.Config{Compat: gateway.Compat{AllowIdenticalRoutes: true}, Routes: []gateway.Route{
				route("a", say(""), gateway.Match{Methods: []string{"PUT", "POST"}, Paths: []string{"/a"}}), route("b", say(""), gateway.Match{Methods: []string{"PUT"}, Paths: []string{"/a"}}),
				route("c", say(""), gateway.Match{Methods: []string{"PUT"}, Schemes: []string{"http"}, Paths: []string{"/a"}}),
			}},
			[]string{
				`warning unreachable_route b [a]: gateway: route "b": is never reached, because route "a" takes all its requests; remove it, or change the order or the conditions (witness: PUT http://anything.invalid/a)`,
				`warning unreachable_route c [a]: gateway: route "c": is never reached, because route "a" takes all its requests; remove it, or change the order or the conditions (witness: PUT http://anything.invalid/a)`,
			},
		},
		"duplicates at different places": {
			gateway.Config{Routes: []gateway.Route{route("a", say(""), paths("/a")), route("b", say(""), paths("/longer")), route("c", say(""), paths("/a", "/longer"))}},
			[]string{
				`error duplicate_route c [a]: gateway: route "c": Paths[0] "/a" is the same path as "/a" of route "a", and no request could tell the two routes apart; remove one, or give one a further condition (witness: GET http://anything.invalid/a)`,
				`error duplicate_route c [b]: gateway: route "c": Paths[1] "/longer" is the same path as "/longer" of route "b", and no request could tell the two routes apart; remove one, or give one a further condition (witness: GET http://anything.invalid/longer)`,
			},
		},
		"duplicates of which a third takes some": {
			gateway.Config{Routes: []gateway.Route{route("a", say(""), paths("/a")), route("b", say(""), paths("/a")), route("c", say(""), gateway.Match{Methods: []string{"GET"}, Paths: []string{"/a"}})}},
			[]string{`error duplicate_route b [a]: gateway: route "b": Paths[0] "/a" is the same path as "/a" of route "a", and no request could tell the two routes apart; remove one, or give one a further condition (witness: POST http://anything.invalid/a)`},
		},
		"duplicates of which a third takes all, for Kong": {
			gateway.Config{Compat: gateway.Compat{AllowIdenticalRoutes: true}, Routes: []gateway.Route{
				route("a", say(""), gateway.Match{Methods: []string{"PUT"}, Paths: []string{"/a"}}), route("b", say(""), gateway.Match{Methods: []string{"PUT"}, Schemes: []string{"http"}, Paths: []string{"/a"}}),
				route("c", say(""), gateway.Match{Methods: []string{"PUT"}, Schemes: []string{"http"}, Paths: []string{"/a"}}),
			}},
			[]string{
				`warning unreachable_route b [a]: gateway: route "b": is never reached, because route "a" takes all its requests; remove it, or change the order or the conditions (witness: PUT http://anything.invalid/a)`,
				`warning duplicate_route c [b]: gateway: route "c": its path "/a" cannot be told apart from route "b", which is written first and takes it; remove one`,
			},
		},
		"duplicates that ask for what never arrives": {
			gateway.Config{Compat: gateway.Compat{AllowIdenticalRoutes: true}, Routes: []gateway.Route{
				route("a", say(""), gateway.Match{Headers: map[string][]string{"X-Consumer-Id": nil}}), route("b", say(""), gateway.Match{Headers: map[string][]string{"X-Consumer-Id": nil}}),
			}},
			[]string{
				`warning deleted_header a []: gateway: route "a": Headers "X-Consumer-Id" is never there: the entry deletes it from every request; name the proxies that send it in TrustedProxies, let it pass by PassHeaders, or use another field`,
				`warning duplicate_route b [a]: gateway: route "b": its conditions cannot be told apart from route "a", which is written first and takes it; remove one`,
				`warning deleted_header b []: gateway: route "b": Headers "X-Consumer-Id" is never there: the entry deletes it from every request; name the proxies that send it in TrustedProxies, let it pass by PassHeaders, or use another field`,
			},
		},
		"one of several paths": {
			gateway.Config{Routes: []gateway.Route{
				route("a", say(""), gateway.Match{Hosts: []string{"h.test"}, Paths: []string{"/a/*rest"}}),
				route("b", say(""), gateway.Match{Hosts: []string{"h.test", "i.test"}, Prefixes: []string{"/a/"}}),
			}},
			[]string{`warning unreachable_path b [a]: gateway: route "b": its path "/a/" at host "h.test" is never reached, because route "a" takes all its requests; remove it, or change the order or the conditions (witness: GET http://h.test/a/anything)`},
		},
		"order decides": {
			gateway.Config{Routes: []gateway.Route{route("a", say(""), paths("/:x/b")), route("b", say(""), paths("/a/:y"))}},
			[]string{`warning ambiguous_routes b [a]: gateway: route "b": there are requests that match its path "/a/:y" and path "/:x/b" of route "a" alike, and go to the latter because it is written first; give one a further condition, if that is not meant (witness: GET http://anything.invalid/a/b)`},
		},
		"a condition only a proxy can satisfy": {
			gateway.Config{
				EntryConfig: policy.EntryConfig{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}},
				Routes: []gateway.Route{
					route("a", say(""), gateway.Match{Headers: map[string][]string{"X-Forwarded-Host": nil}, Paths: []string{"/a"}}),
					route("b", say(""), gateway.Match{Headers: map[string][]string{"X-Forwarded-Host": {"x"}}, Paths: []string{"/a"}}),
				},
			},
			[]string{`error unreachable_route b [a]: gateway: route "b": is never reached, because route "a" takes all its requests; remove it, or change the order or the conditions (witness: GET http://anything.invalid/a X-Forwarded-Host: x)`},
		},
		"a header that never arrives": {
			gateway.Config{Routes: []gateway.Route{
				route("a", say(""), gateway.Match{Headers: map[string][]string{"x-consumer-username": {"ann"}, "X-Beta": nil}}),
				route("b", say(""), gateway.Match{Headers: map[string][]string{"X-Forwarded-Proto": {"https"}}}),
			}, EntryConfig: policy.EntryConfig{PassHeaders: []string{"X-Real-Ip"}}},
			[]string{
				`error deleted_header a []: gateway: route "a": Headers "x-consumer-username" is never there: the entry deletes it from every request; name the proxies that send it in TrustedProxies, let it pass by PassHeaders, or use another field`,
				`error deleted_header b []: gateway: route "b": Headers "X-Forwarded-Proto" is never there: the entry deletes it from every request; name the proxies that send it in TrustedProxies, let it pass by PassHeaders, or use another field`,
			},
		},
		"no two routes meet where one matches nothing": {
			gateway.Config{Compat: gateway.Compat{AllowIdenticalRoutes: true}, Routes: []gateway.Route{
				route("a", say(""), gateway.Match{Headers: map[string][]string{"X-A": nil}, Paths: []string{"/a"}}),
				route("b", say(""), gateway.Match{Headers: map[string][]string{"X-Consumer-Id": nil}, Paths: []string{"/a"}}),
			}},
			[]string{`warning deleted_header b []: gateway: route "b": Headers "X-Consumer-Id" is never there: the entry deletes it from every request; name the proxies that send it in TrustedProxies, let it pass by PassHeaders, or use another field`},
		},
		"a header that may arrive": {
			gateway.Config{Routes: []gateway.Route{route("a", say(""), gateway.Match{Headers: map[string][]string{"X-Real-Ip": nil}})}, EntryConfig: policy.EntryConfig{PassHeaders: []string{"X-Real-Ip"}}}, nil,
		},
		"no authentication": {
			gateway.Config{Routes: []gateway.Route{
				route("a", say(""), gateway.Match{Hosts: []string{"API.test"}, Paths: []string{"/a"}}, authenticated...),
				route("b", say(""), gateway.Match{Hosts: []string{"api.test"}, Paths: []string{"/b"}}),
				route("c", say(""), gateway.Match{Hosts: []string{"api.test"}, Paths: []string{"/c"}}, policy.ReportOnly(keys)),
				route("d", say(""), gateway.Match{Hosts: []string{"api.test"}, Paths: []string{"/d"}}, gateway.PluginFunc(keys.Wrap)),
				route("e", say(""), gateway.Match{Hosts: []string{"web.test"}, Paths: []string{"/e"}}),
			}},
			[]string{
				`warning unauthenticated_route b [a]: gateway: route "b": nothing authenticates its callers, while those of route "a" at host "api.test" are; add such a plugin, or set Public if that is meant`,
				`warning unauthenticated_route c [a]: gateway: route "c": nothing authenticates its callers, while those of route "a" at host "api.test" are; add such a plugin, or set Public if that is meant`,
			},
		},
		"public":                       {gateway.Config{Routes: []gateway.Route{route("a", say(""), paths("/a"), authenticated...), public}}, nil},
		"gateway-wide authentication":  {gateway.Config{Plugins: authenticated, Routes: []gateway.Route{route("a", say(""), paths("/a"), authenticated...), route("b", say(""), paths("/b"))}}, nil},
		"unused upstream":              {gateway.Config{Routes: []gateway.Route{route("a", users, paths("/a"))}, Owns: []io.Closer{users, orders}}, []string{`warning unused_upstream  []: gateway: Config.Owns[1] is the upstream "orders", which no route reaches; add a route, or leave it out`}},
		"upstreams inside others":      {gateway.Config{Routes: []gateway.Route{route("a", fork{users, fork{orders}}, paths("/a"))}, Owns: []io.Closer{users, orders}}, nil},
		"upstream of NotFound":         {gateway.Config{NotFound: orders, Routes: []gateway.Route{route("a", users, paths("/a"))}, Owns: []io.Closer{users, orders}}, nil},
		"upstreams in any handler":     {gateway.Config{Routes: []gateway.Route{route("a", http.StripPrefix("/", users), paths("/a"))}, Owns: []io.Closer{users, orders}}, nil},
		"unsafe retries":               {gateway.Config{Routes: []gateway.Route{route("a", retrier{users}, paths("/a"))}}, []string{`warning unsafe_retry a []: gateway: route "a": its handler gateway_test.retrier repeats requests whatever their method, also those that are not idempotent; restrict Methods, or the retries`}},
		"retries of idempotent routes": {gateway.Config{Routes: []gateway.Route{route("a", retrier{users}, gateway.Match{Methods: []string{"GET", "PUT"}})}}, nil},
		"no timeout": {
			gateway.Config{Routes: []gateway.Route{route("a", endless, paths("/a")), route("b", endless, paths("/b"))}},
			[]string{`warning no_timeout  []: gateway: upstream "endless": Timeouts.FirstByte, Idle is switched off, so that a target that hangs holds requests for ever; give a bound`},
		},
		"no timeout on one route": {
			gateway.Config{Routes: []gateway.Route{limited("a", fork{users, users, orders}, gateway.Timeouts{Connect: -1})}},
			[]string{`warning no_timeout a []: gateway: route "a": Forward.Timeouts.Connect is switched off, so that a target that hangs holds requests for ever; give a bound`},
		},
		"no timeout of the upstream, but for what routes say": {
			gateway.Config{Routes: []gateway.Route{limited("a", endless, gateway.Timeouts{Idle: 1}), limited("b", endless, gateway.Timeouts{FirstByte: 1}), limited("c", endless, gateway.Timeouts{Total: 1})}},
			[]string{`warning no_timeout  []: gateway: upstream "endless": Timeouts.FirstByte, Idle is switched off, so that a target that hangs holds requests for ever; give a bound`},
		},
		"timeouts of all routes": {gateway.Config{Routes: []gateway.Route{
			limited("a", endless, gateway.Timeouts{FirstByte: 1, Idle: 1}), limited("b", endless, gateway.Timeouts{Total: 1}), limited("c", total, gateway.Timeouts{Idle: -1}),
		}}, nil},
		"no total timeout on a route that needs it": {
			gateway.Config{Routes: []gateway.Route{limited("a", total, gateway.Timeouts{Total: -1}), limited("b", total, gateway.Timeouts{}), limited("c", users, gateway.Timeouts{Total: -1})}},
			[]string{`warning no_timeout a []: gateway: route "a": Forward.Timeouts.Total is switched off, and Timeouts.Idle of upstream "total", too, so that a target that hangs holds requests for ever; give a bound`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report := c.config.Validate()
			var got []string
			for _, f := range report.Findings {
				level := "error"
				if f.Warning {
					level = "warning"
				}
				got = append(got, fmt.Sprintf("%s %s %s %v: %s", level, f.Kind, f.Route, f.Others, f))
			}
			require.Equal(t, c.want, got)
			replay(t, c.config, report)
		})
	}
}

// replay asks a gateway about every witness of a report: it goes to the first of Others. Errors are switched off for that.
func replay(t require.TestingT, c gateway.Config, report gateway.Report) {
	c.Compat.AllowIdenticalRoutes, c.Compat.AllowBrokenContracts, c.Logger = true, true, slog.New(slog.DiscardHandler)
	gw, err := gateway.New(c)
	require.NoError(t, err)
	for _, f := range report.Findings {
		if f.Witness == nil {
			require.NotContains(t, []gateway.FindingKind{gateway.UnreachableRoute, gateway.UnreachablePath, gateway.AmbiguousRoutes}, f.Kind)
			continue
		}
		e := gw.Explain(f.Witness)
		require.Equal(t, f.Others[0], e.Route, "%s", f)
		matched := false
		for _, x := range e.Candidates {
			matched = matched || x.Route == f.Route && x.Failed == ""
		}
		require.True(t, matched || f.Kind == gateway.DuplicateRoute, "%s", f) // an identical one is not in the index
		require.Equal(t, f.Others[0], served(gw, f.Witness))
	}
}

// served returns which route answers a request, as it says itself.
func served(gw *gateway.Gateway, r *http.Request) string {
	var route string
	r = r.Clone(r.Context())
	x, r := policy.Ensure(r)
	r.Body = http.NoBody
	gatewaytest.Do(gw, r)
	route = x.Route()
	return route
}

// TestWitnesses: whatever the table, each witness goes where the finding says, and no request reaches a route that is said
// to be unreachable.
func TestWitnesses(t *testing.T) {
	t.Parallel()
	kinds := map[gateway.FindingKind]int{}
	rapid.Check(t, func(t *rapid.T) {
		c := gateway.Config{Routes: drawRoutes(t), Compat: gateway.Compat{AllowIdenticalRoutes: true}, Logger: slog.New(slog.DiscardHandler)}
		report := c.Validate()
		require.NoError(t, report.Err())
		unreachable := map[string]bool{}
		for _, f := range report.Findings {
			kinds[f.Kind]++
			if f.Kind == gateway.UnreachableRoute {
				unreachable[f.Route] = true
			}
		}
		replay(t, c, report)
		gw := gateway.Must(gateway.New(c))
		for range 20 {
			e := gw.Explain(drawRequest(t))
			require.False(t, unreachable[e.Route], e.Route)
		}
	})
	require.Positive(t, kinds[gateway.UnreachableRoute]+kinds[gateway.UnreachablePath], "the tables drawn had no such route")
	require.Positive(t, kinds[gateway.AmbiguousRoutes], "the tables drawn had no such routes")
}

// TestValidateAsksPredicates: about requests as a gateway has them when it serves, and without harm from one that panics.
func TestValidateAsksPredicates(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	asked := 0
	routes := func(f func(r *http.Request) bool) []gateway.Route {
		return []gateway.Route{
			{Name: "predicate", Match: gateway.Match{Methods: []string{"GET"}, Paths: []string{"/x"}, Func: f}, Handler: say("")},
			{Name: "a", Match: gateway.Match{Methods: []string{"GET"}, Paths: []string{"/x"}}, Handler: say("")},
			{Name: "b", Match: gateway.Match{Methods: []string{"GET"}, Schemes: []string{"http"}, Paths: []string{"/x"}}, Handler: say("")},
		}
	}
	for name, c := range map[string]struct {
		answer func() bool
		want   []string
	}{
		"no":     {func() bool { return false }, []string{"b"}},
		"yes":    {func() bool { return true }, nil}, // what is true cannot be shown
		"panics": {func() bool { panic("unexpected") }, nil},
	} {
		report := gateway.Config{Logger: slog.New(slog.NewTextHandler(&log, nil)), Routes: routes(func(r *http.Request) bool {
			asked++
			require.NotNil(t, policy.ExchangeFrom(r.Context()))
			require.NotEmpty(t, r.Host)
			require.NotEmpty(t, r.RequestURI)
			require.NotEmpty(t, r.RemoteAddr)
			return c.answer()
		})}.Validate()
		var got []string
		for _, f := range report.Findings {
			require.Equal(t, gateway.UnreachableRoute, f.Kind, name)
			require.Equal(t, []string{"a"}, f.Others, name)
			got = append(got, f.Route)
		}
		require.Equal(t, c.want, got, name)
	}
	require.Positive(t, asked)
	require.Empty(t, log.String())
}

// TestValidateWithoutEntry: what is wrong with the entry is reported, and nothing that would have to pass it.
func TestValidateWithoutEntry(t *testing.T) {
	t.Parallel()
	report := gateway.Config{
		EntryConfig: policy.EntryConfig{ClientAddressHeader: "X-Real-Ip"}, // without a proxy that may send it
		Routes: []gateway.Route{
			{Name: "a", Match: gateway.Match{Paths: []string{"/:x/b"}}, Handler: say("")}, {Name: "b", Match: gateway.Match{Paths: []string{"/a/:y"}}, Handler: say("")},
		},
	}.Validate()
	require.Len(t, report.Findings, 1)
	require.ErrorContains(t, report.Err(), "ClientAddressHeader")
}

// TestWarningsAreLoggedOnce: by the first table that has them.
func TestWarningsAreLoggedOnce(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	c := gateway.Config{
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Routes: []gateway.Route{
			{Name: "a", Match: gateway.Match{Paths: []string{"/:x/b"}}, Handler: say("")}, {Name: "b", Match: gateway.Match{Paths: []string{"/a/:x"}}, Handler: say("")},
		},
	}
	gw := gateway.Must(gateway.New(c))
	require.Contains(t, log.String(), "level=WARN")
	require.Contains(t, log.String(), "go to the latter because it is written first")
	log.Reset()
	require.NoError(t, gw.Apply(c))
	require.Empty(t, log.String())
	for i := range 60 {
		p := fmt.Sprint("/", i)
		c.Routes = append(c.Routes, gateway.Route{Name: p + "a", Match: gateway.Match{Paths: []string{p + "/:x/b"}}, Handler: say("")},
			gateway.Route{Name: p + "b", Match: gateway.Match{Paths: []string{p + "/a/:x"}}, Handler: say("")})
	}
	require.NoError(t, gw.Apply(c))
	require.Equal(t, 51, bytes.Count(log.Bytes(), []byte("\n")), "a bounded number, and how many more there are")
	require.Contains(t, log.String(), "findings=10")
}

// TestReportText: errors first, each on its line.
func TestReportText(t *testing.T) {
	t.Parallel()
	report := gateway.Config{Routes: []gateway.Route{
		{Name: "a", Match: gateway.Match{Paths: []string{"/:x/b"}}, Handler: say("")}, {Name: "b", Match: gateway.Match{Paths: []string{"/a/:x"}}, Handler: say("")},
		{Name: "c", Match: gateway.Match{Paths: []string{"c"}}},
	}}.Validate()
	require.Equal(t, "error: gateway: route \"c\": Handler is nil; set an *Upstream or any http.Handler\n"+
		"error: gateway: route \"c\": Paths[0] \"c\" does not begin with a slash; write \"/c\"\n", report.String())
	require.Empty(t, report.Warnings(), "no table, nothing to say of it")
	require.ErrorContains(t, report.Err(), "Handler is nil")
	require.NoError(t, gateway.Report{}.Err())
	require.Empty(t, gateway.Report{}.String())
}
