package config_test

import (
	"fmt"
	"math/bits"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/config"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
)

// scopes are Kong's, the most specific first. The number of each is the limit that its configuration sets, by which an
// answer tells which one ran.
var scopes = []string{
	"route: r1, service: s1, consumer: ann",
	"route: r1, service: s1, consumer_group: gold",
	"route: r1, consumer: ann",
	"service: s1, consumer: ann",
	"route: r1, consumer_group: gold",
	"service: s1, consumer_group: gold",
	"route: r1, service: s1",
	"consumer: ann",
	"consumer_group: gold",
	"route: r1",
	"service: s1",
	"",
}

// scopeFile has two services with two routes each, a route without a service, three consumers, of whom
// ann and dan are in a group, and rate-limiting at the scopes
// of the set.
func scopeFile(set uint) string {
	var b strings.Builder
	b.WriteString(`_format_version: "3.0"
services:
- {name: s1, host: s1.internal, routes: [{name: r1, paths: [/r1]}, {name: r2, paths: [/r2]}]}
- {name: s2, host: s2.internal, routes: [{name: r3, paths: [/r3]}]}
consumers:
- {username: ann, keyauth_credentials: [{key: ann}], groups: [{name: gold}]}
- {username: bob, keyauth_credentials: [{key: bob}], groups: [silver]}
- {username: dan, keyauth_credentials: [{key: dan}], groups: [gold]}
- {username: nobody}
consumer_groups: [{name: gold}, {name: silver}]
plugins:
- {name: key-auth, config: {anonymous: nobody}}
`)
	for i, s := range scopes {
		if set&(1<<i) != 0 {
			fmt.Fprintf(&b, "- {name: rate-limiting, config: {day: %d}, %s}\n", 1000+i, s)
		}
	}
	return b.String()
}

// applies tells which scopes a request is in.
func applies(scope int, route, consumer string) bool {
	s := scopes[scope]
	return (!strings.Contains(s, "route: r1") || route == "r1") &&
		(!strings.Contains(s, "service: s1") || route != "r3") &&
		(!strings.Contains(s, "consumer: ann") || consumer == "ann") &&
		(!strings.Contains(s, "consumer_group: gold") || consumer == "ann" || consumer == "dan")
}

// TestScopes: for each set of scopes at which a plugin is configured, each route and each caller, the most specific
// configuration runs, and no other.
func TestScopes(t *testing.T) {
	t.Parallel()
	up := gatewaytest.NewUpstream("backend")
	t.Cleanup(func() { _ = up.Close() })
	for set := range uint(1 << len(scopes)) {
		if bits.OnesCount(set) > 2 && set%17 != 0 { // which of two comes first is told by those alone
			continue
		}
		s, err := config.Load("kong.yml", strings.NewReader(scopeFile(set)), config.Options{Dial: up.Dial})
		require.NoError(t, err)
		gw, err := gateway.New(s.Gateway)
		require.NoError(t, err)
		for _, route := range []string{"r1", "r2", "r3"} {
			for _, consumer := range []string{"ann", "bob", "dan", ""} {
				want := ""
				for i := range scopes {
					if set&(1<<i) != 0 && applies(i, route, consumer) {
						want = fmt.Sprint(1000 + i)
						break
					}
				}
				res := ask(gw, "GET", "/"+route, "apikey", consumer)
				if consumer == "" {
					res = ask(gw, "GET", "/"+route)
				}
				require.Equal(t, 200, res.StatusCode)
				require.Equal(t, want, res.Header.Get("X-Ratelimit-Limit-Day"), "scopes %b, route %s, consumer %q", set, route, consumer)
			}
		}
		require.NoError(t, gw.Shutdown(t.Context()))
	}
}

// TestConsumerGroups: wherever the file says who is in a group, what the group has is for its members. Of several groups the
// first of the consumer counts.
func TestConsumerGroups(t *testing.T) {
	t.Parallel()
	gw, _ := serve(t, `
_format_version: "3.0"
services: [{name: s, host: s.internal, routes: [{name: r, paths: [/r]}, {name: q, paths: [/q]}]}]
consumers:
- {username: ann, keyauth_credentials: [{key: ann}], groups: [gold, silver]}
- {username: bob, keyauth_credentials: [{key: bob}]}
- {username: dan, keyauth_credentials: [{key: dan}]}
- {username: eve, keyauth_credentials: [{key: eve}], groups: [silver]}
- {username: joe, keyauth_credentials: [{key: joe}]}
consumer_groups:
- {name: silver, plugins: [{name: rate-limiting, config: {day: 3, limit_by: consumer-group}}]}
- {name: gold, consumers: [bob, {username: eve}], plugins: [{name: rate-limiting, config: {day: 2}}, {name: request-termination, route: q, config: {status_code: 418}}]}
consumer_group_consumers: [{consumer: dan, consumer_group: silver}]
plugins:
- {name: key-auth}
- {name: rate-limiting, config: {day: 9}}
`)
	remaining := func(path, key string) string {
		res := ask(gw, "GET", path, "apikey", key)
		return fmt.Sprint(res.StatusCode, " ", res.Header.Get("X-Ratelimit-Limit-Day"), " ", res.Header.Get("X-Ratelimit-Remaining-Day"))
	}
	for i, c := range []struct{ path, key, want string }{
		{"/r", "ann", "200 2 1"}, {"/r", "bob", "200 2 1"}, {"/r", "joe", "200 9 8"},
		{"/r", "dan", "200 3 2"}, {"/r", "eve", "200 3 1"}, {"/r", "dan", "200 3 0"}, {"/r", "eve", "429 3 0"}, // they share
		{"/r", "ann", "200 2 0"}, {"/q", "ann", "429 2 0"}, {"/q", "bob", "418 2 0"}, {"/q", "eve", "429 3 0"},
	} {
		require.Equal(t, c.want, remaining(c.path, c.key), "%d: %+v", i, c)
	}
}

// TestScopesNested: it does not matter whether a plugin stands in its entity or names it, nor in which order.
func TestScopesNested(t *testing.T) {
	t.Parallel()
	gw, _ := serve(t, `
_format_version: "3.0"
services:
- name: s
  host: s.internal
  plugins: [{name: rate-limiting, config: {day: 3}}, {name: rate-limiting, consumer: {username: ann}, config: {day: 5}}]
  routes:
  - {name: r, paths: [/r], plugins: [{name: rate-limiting, config: {day: 2}}]}
  - {name: q, paths: [/q]}
- name: t
  host: t.internal
  routes: [{name: u, paths: [/u]}]
consumers:
- {username: ann, keyauth_credentials: [{key: ann}], plugins: [{name: rate-limiting, config: {day: 4}}]}
- {custom_id: bob, keyauth_credentials: [{key: bob}], plugins: [{name: rate-limiting, route: {name: q}, config: {day: 6}}]}
plugins:
- {name: rate-limiting, config: {day: 1}}
- {name: key-auth}
`)
	for target, want := range map[string]string{
		"/r ann": "5", "/q ann": "5", "/u ann": "4", "/r bob": "2", "/q bob": "6", "/u bob": "1",
	} {
		path, key, _ := strings.Cut(target, " ")
		require.Equal(t, want, ask(gw, "GET", path, "apikey", key).Header.Get("X-Ratelimit-Limit-Day"), target)
	}
}

// TestScopeDisabled: a disabled configuration does not hide the next one.
func TestScopeDisabled(t *testing.T) {
	t.Parallel()
	gw, _ := serve(t, `
_format_version: "3.0"
services:
- name: s
  host: s.internal
  routes: [{name: r, paths: [/r], plugins: [{name: request-termination, enabled: false}]}]
plugins: [{name: request-termination, config: {status_code: 418}}]
`)
	require.Equal(t, 418, ask(gw, "GET", "/r").StatusCode)
}

// TestOrder: plugins run in Kong's order, however they are written.
func TestOrder(t *testing.T) {
	t.Parallel()
	names := []string{"correlation-id", "key-auth", "acl", "rate-limiting", "request-termination"}
	var types []string
	for _, p := range config.Builtin().Types() {
		if slices.Contains(names, p.Name) {
			types = append(types, p.Name)
		}
	}
	require.Equal(t, names, types)
	plugins := []string{
		"{name: request-termination}", "{name: rate-limiting, config: {second: 1}}", "{name: acl, config: {allow: [a]}}", "{name: key-auth}", "{name: correlation-id}",
	}
	rapid.Check(t, func(rt *rapid.T) {
		list := rapid.Permutation(plugins).Draw(rt, "plugins")
		s, err := config.Load("kong.yml", strings.NewReader(`
_format_version: "3.0"
services: [{name: s, host: s.internal, routes: [{name: r, paths: [/r], plugins: [`+strings.Join(list, ", ")+`]}]}]
`), config.Options{})
		if err != nil {
			rt.Fatal(err)
		}
		var got []string
		for _, p := range s.Gateway.Routes[0].Plugins {
			got = append(got, policy.NameOf(p))
		}
		if !slices.Equal(got, names) {
			rt.Fatalf("%v", got)
		}
		if err := s.Close(); err != nil {
			rt.Fatal(err)
		}
	})
}

// TestConsumerScopeAfterAuthentication: who the caller is counts, not what it claims, and a plugin that runs before
// authentication knows no consumer.
func TestConsumerScopeAfterAuthentication(t *testing.T) {
	t.Parallel()
	gw, up := serve(t, `
_format_version: "3.0"
services: [{name: s, host: s.internal, routes: [{name: r, paths: [/r]}, {name: open, paths: [/open]}]}]
consumers:
- username: ann
  id: 00000000-0000-0000-0000-000000000001
  keyauth_credentials: [{key: ann}]
  plugins:
  - {name: request-termination, config: {status_code: 418, message: not you}}
  - {name: correlation-id, config: {header_name: X-Ann}}
- {username: bob, keyauth_credentials: [{key: bob}]}
plugins:
- {name: key-auth, route: r}
`)
	require.Equal(t, 418, ask(gw, "GET", "/r", "apikey", "ann").StatusCode)
	require.Equal(t, 200, ask(gw, "GET", "/r", "apikey", "bob", "X-Consumer-Username", "ann", "X-Consumer-Id", "00000000-0000-0000-0000-000000000001").StatusCode)
	require.Equal(t, "bob", up.Last().Header.Get("X-Consumer-Username"))
	require.Equal(t, 401, ask(gw, "GET", "/r", "X-Consumer-Username", "ann").StatusCode)
	require.Equal(t, 200, ask(gw, "GET", "/open", "apikey", "ann").StatusCode, "nobody authenticates there")
	require.Empty(t, up.Last().Header.Get("X-Ann"))
}

// TestUnmatched: correlation-id runs on a 404 when it is global, once, and others do not.
func TestUnmatched(t *testing.T) {
	t.Parallel()
	gw, up := serve(t, `
_format_version: "3.0"
services: [{name: s, host: s.internal, routes: [{name: r, paths: [/r]}, {name: own, paths: [/own]}]}]
plugins:
- {name: correlation-id, config: {header_name: X-Corr, echo_downstream: true}}
- {name: correlation-id, route: own, config: {header_name: X-Own, echo_downstream: true}}
- {name: request-termination, config: {trigger: stop}}
`)
	require.NotEmpty(t, ask(gw, "GET", "/none").Header.Get("X-Corr"))
	require.Equal(t, 404, ask(gw, "GET", "/none?stop=1").StatusCode)
	res := ask(gw, "GET", "/r")
	require.Len(t, res.Header.Values("X-Corr"), 1)
	require.Equal(t, up.Last().Header.Values("X-Corr"), res.Header.Values("X-Corr"))
	res = ask(gw, "GET", "/own")
	require.NotEmpty(t, res.Header.Get("X-Own"))
	require.Empty(t, res.Header.Get("X-Corr"), "the more specific one runs instead")
	require.Equal(t, 503, ask(gw, "GET", "/r?stop=1").StatusCode)
}

// TestProtocols: a plugin for streams alone does not run for requests, and any other does.
func TestProtocols(t *testing.T) {
	t.Parallel()
	gw, _ := serve(t, `
_format_version: "3.0"
services:
- name: s
  host: s.internal
  routes:
  - {name: streams, paths: [/streams], plugins: [{name: request-termination, protocols: [tcp, tls]}]}
  - {name: secure, paths: [/secure], plugins: [{name: request-termination, protocols: [https]}]}
`)
	require.Equal(t, 200, ask(gw, "GET", "/streams").StatusCode)
	require.Equal(t, 503, ask(gw, "GET", "/secure").StatusCode)
}

// TestManyMembers: plugins of a group times its members take up no memory.
//
//nolint:paralleltest // it looks at the memory of the process
func TestManyMembers(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{_format_version: "3.0", consumer_groups: [{name: g}], consumers: [`)
	for i := range 5000 {
		fmt.Fprintf(&b, "{username: c%d, groups: [g]}, ", i)
	}
	b.WriteString("], routes: [")
	for i := range 200 {
		fmt.Fprintf(&b, "{paths: [/%d], plugins: [{name: rate-limiting, consumer_group: g, config: {hour: 9}}]}, ", i)
	}
	b.WriteString("]}")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s, err := config.Load("kong.yml", strings.NewReader(b.String()), config.Options{Logger: quiet})
	runtime.ReadMemStats(&after)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(80<<20))
}
