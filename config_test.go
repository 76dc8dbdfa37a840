package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
)

// TestConfigErrors: every mistake is one problem that names field, value and remedy.
func TestConfigErrors(t *testing.T) {
	t.Parallel()
	owned := &closer{}
	route := func(r gateway.Route) gateway.Config {
		if r.Name == "" {
			r.Name = "x"
		}
		r.Handler = say("")
		return gateway.Config{Routes: []gateway.Route{r}}
	}
	match := func(m gateway.Match) gateway.Config { return route(gateway.Route{Match: m}) }
	forward := func(f gateway.Forward) gateway.Config { return route(gateway.Route{Forward: f}) }
	noHandler := policy.Describe("none", policy.Contract{}, func(http.Handler) http.Handler { return nil })
	for _, c := range []struct {
		config gateway.Config
		want   string
	}{
		{match(gateway.Match{Paths: []string{"/a/{id}"}}), `gateway: route "x": Paths[0] "/a/{id}" has braces, which are not how wildcards are written here; write "/a/:id"`},
		{match(gateway.Match{Paths: []string{"GET /x"}}), `gateway: route "x": Paths[0] "GET /x" begins with a method; put the method into Methods`},
		{match(gateway.Match{Methods: []string{"TRACE"}}), `gateway: route "x": Methods[0] "TRACE" is refused before requests are matched, whatever the routes say; leave it out`},
		{match(gateway.Match{SNIs: []string{"*"}}), `gateway: route "x": SNIs[0] "*" is a star alone; write a server name`},
		{forward(gateway.Forward{Host: "a.test", PreserveHost: true}), `gateway: route "x": Forward.Host "a.test" and PreserveHost are both set; the target can be sent one host only, leave one out`},
		{forward(gateway.Forward{ConcatPath: true}), `gateway: route "x": Forward.ConcatPath is set, but there is no Path to put before another; set Path, or leave ConcatPath out`},
		{forward(gateway.Forward{StripPath: true}), `gateway: route "x": Forward.StripPath is set, but Match has no Paths, Prefixes or Regexps to strip; set one of them, or leave StripPath out`},
		{route(gateway.Route{Priority: 3}), `gateway: route "x": Priority 3 is set, but orders only Regexps, and Match has none; leave it 0`},
		{route(gateway.Route{Name: "a\nb"}), `gateway: route "a\nb": Name has control characters, or is not UTF-8; logs and metrics show it`},
		{route(gateway.Route{Name: "a\xff"}), `gateway: route "a\xff": Name has control characters`},
		{route(gateway.Route{Name: "100%d", MaxBody: -1}), `gateway: route "100%d": MaxBody -1 is negative`},
		{gateway.Config{Routes: []gateway.Route{{Handler: say("")}}}, `gateway: Routes[0]: Name is empty; every route needs one`},
		{route(gateway.Route{Plugins: []gateway.Plugin{tag("a"), noHandler}}), `gateway: route "x": Plugins[1]: plugin "none" returned a nil handler from Wrap; return next, or a handler that calls it`},
		{gateway.Config{Plugins: []gateway.Plugin{noHandler}, Routes: []gateway.Route{{Name: "x", Handler: say("")}}}, `gateway: Config.Plugins[0]: plugin "none" returned a nil handler from Wrap`},
		{gateway.Config{Owns: []io.Closer{owned, &closer{}, owned}}, `gateway: Config.Owns[2] is Owns[0] again, a *gateway_test.closer; list it once`},
		{gateway.Config{Plugins: []gateway.Plugin{(*keyauth.KeyAuth)(nil)}}, `gateway: Config.Plugins[0] is nil; check the error of its constructor`},
		{gateway.Config{Plugins: []gateway.Plugin{policy.ReportOnly((*keyauth.KeyAuth)(nil))}}, `gateway: Config.Plugins[0] is nil; check the error of its constructor`},
		{gateway.Config{Plugins: []gateway.Plugin{policy.ReportOnly(gateway.PluginFunc(func(http.Handler) http.Handler { return http.HandlerFunc(nil) }))}},
			`gateway: Config.Plugins[0]: plugin "policy.PluginFunc" returned a nil handler from Wrap`},
		{gateway.Config{Owns: []io.Closer{nil}}, `gateway: Config.Owns[0] is nil; check the error of its constructor`},
		{gateway.Config{DrainTimeout: -1}, `gateway: Config.DrainTimeout -1ns is negative; use 0 for 30s, or more`},
	} {
		_, err := gateway.New(c.config)
		require.ErrorContains(t, err, c.want)
		require.True(t, strings.HasPrefix(err.Error(), c.want), err.Error())
		require.NotContains(t, err.Error(), "\n", "one mistake is one problem")
	}
}

// TestProblemsOfUnnamedRoutes: they are called by their index, also in what the router has to say.
func TestProblemsOfUnnamedRoutes(t *testing.T) {
	t.Parallel()
	_, err := gateway.New(gateway.Config{Routes: []gateway.Route{
		{Match: gateway.Match{Paths: []string{"x"}}, Plugins: []gateway.Plugin{nil}},
		{Match: gateway.Match{Paths: []string{"/same"}}},
		{Match: gateway.Match{Paths: []string{"/same"}}},
	}})
	for _, want := range []string{
		`gateway: Routes[0]: Name is empty`, `gateway: Routes[0]: Handler is nil`, `gateway: Routes[0]: Plugins[0] is nil`,
		`gateway: Routes[0]: Paths[0] "x" does not begin with a slash`,
		`gateway: Routes[2]: Paths[0] "/same" is the same path as "/same" of Routes[1]`,
	} {
		require.ErrorContains(t, err, want)
	}
	for line := range strings.Lines(err.Error()) {
		require.True(t, strings.HasPrefix(line, "gateway: Routes["), line)
	}
}

// TestColonsAndBraces: what stands for itself in a path.
func TestColonsAndBraces(t *testing.T) {
	t.Parallel()
	var routes []gateway.Route
	paths := []string{"/v1/users:batch", "/v1/:id/pre:x", "/a/%7Bid%7D", "/v1/users"}
	for i, p := range paths {
		routes = append(routes, gateway.Route{Name: fmt.Sprint(i), Match: gateway.Match{Paths: []string{p}}, Handler: say(p)})
	}
	gw := gateway.Must(gateway.New(gateway.Config{Routes: routes}))
	for target, want := range map[string]string{
		"/v1/users:batch": paths[0], "/v1/users%3abatch": paths[0], "/v1/7/pre:x": paths[1], "/a/%7bid%7d": paths[2], "/v1/users": paths[3],
	} {
		require.Equal(t, want, text(t, gatewaytest.Do(gw, get(target))), target)
	}
	for _, target := range []string{"/v1/users:other", "/v1/7/pre:y", "/a/b"} {
		require.Equal(t, 404, gatewaytest.Do(gw, get(target)).StatusCode, target)
	}
}
