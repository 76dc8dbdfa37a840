package config_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/config"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
)

// splitFile is a file in which services v1 and v2 are behind a split.
func splitFile(stable, canary int, more string) string {
	return fmt.Sprintf(`
_format_version: "3.0"
services:
- {name: v2, url: "http://s.internal/api"}
- name: v1
  url: http://s.internal/api
  routes: [{name: a, paths: [/a]}, {name: b, paths: [/b], request_buffering: false}]
  plugins:
  - name: split
    config:
      name: app
      arms: [{name: stable, weight: %d}, {name: canary, weight: %d, service: v2}]
      overrides: [{header: x-arm, arm: canary}, {cookie: arm, value: "2", arm: canary}, {group: beta, arm: canary}]
      header: x-served-by
      watch: canary
      against: stable
%s`, stable, canary, more)
}

// TestSplit: requests of all routes of a service go to two, whose paths and plugins are those of the route, and a rollback
// outlives the file that is read again, until its weights change.
func TestSplit(t *testing.T) {
	t.Parallel()
	var logged lockedBuffer
	r, name, up := reloader(t, splitFile(50, 50, ""), config.Options{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	t.Cleanup(func() {
		require.NoError(t, r.Gateway().Shutdown(context.WithoutCancel(t.Context())))
		require.NoError(t, up.Close())
	})
	gw := r.Gateway()
	ask := func(path string, header ...string) *http.Response {
		req := httptest.NewRequest(http.MethodGet, path, nil)
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		return gatewaytest.Do(gw, req)
	}
	up.Script(gatewaytest.Respond(200, "x"))
	arms := map[string]int{}
	for range 50 {
		for _, path := range []string{"/a/x", "/b/x"} {
			res := ask(path)
			require.Equal(t, 200, res.StatusCode)
			arms[res.Header.Get("X-Served-By")]++
		}
	}
	require.InDelta(t, 50, arms["canary"], 2)
	require.Equal(t, "canary", ask("/a", "X-Arm", "canary").Header.Get("X-Served-By"))
	require.Equal(t, "canary", ask("/a", "Cookie", "arm=2").Header.Get("X-Served-By"))
	for _, got := range up.Requests() {
		require.Contains(t, []string{"/api/x", "/api"}, got.URI)
	}
	require.Len(t, gw.Status().Upstreams, 2)
	e := gw.Explain(httptest.NewRequest(http.MethodGet, "/a", nil))
	require.Contains(t, e.String(), "app, a *split.Split: allowed weight (stable 50, canary 50)")
	require.Equal(t, "handled by app", e.Outcome)
	require.Equal(t, "app", gw.Routes()[0].Handler)
	for _, p := range gw.Routes()[0].Plugins {
		require.NotEqual(t, "split", p, "it is no plugin in the chain")
	}

	up.Script(gatewaytest.Respond(500, "x"))
	for range 30 {
		ask("/a", "X-Arm", "canary")
	}
	line := logged.take()
	require.Contains(t, line, `level=ERROR msg="rolled back" split=app arm=canary reason=errors rollback="app: canary rolled back to stable, from 50 of 100: errors, `)
	up.Script(gatewaytest.Respond(200, "x"))
	rolledBack := func(want string) {
		t.Helper()
		require.Contains(t, gw.Explain(httptest.NewRequest(http.MethodGet, "/a", nil)).String(), "app, a *split.Split: allowed weight ("+want+")")
	}
	rolledBack("stable")
	reload := func(text string) {
		t.Helper()
		replace(t, name, text)
		changed, err := r.Reload()
		require.NoError(t, err)
		require.True(t, changed)
	}
	reload(splitFile(50, 50, "consumers: [{username: ann}]\n"))
	rolledBack("stable")
	reload(splitFile(90, 10, ""))
	rolledBack("stable 90, canary 10")
	reload(splitFile(90, 10, "consumers: [{username: ann}]\n"))
	rolledBack("stable 90, canary 10")
	reload(strings.ReplaceAll(splitFile(90, 10, ""), "name: app", "name: other"))
	require.Contains(t, gw.Explain(httptest.NewRequest(http.MethodGet, "/a", nil)).String(), "other, a *split.Split")
}

// TestSplitSticky: the ways in which requests are told apart.
func TestSplitSticky(t *testing.T) {
	t.Parallel()
	for sticky, reason := range map[string]string{
		"sticky: ip": "sticky", "sticky_header: x-s": "sticky", "sticky_cookie: s": "sticky", "sticky: consumer": "weight", "sticky: consumer, sticky_header: x-none, sticky_cookie: s": "sticky",
		"sticky: credential": "weight", "sticky: none": "weight", "set_cookie: arm, seed: 7": "weight",
	} {
		s, err := config.Load("kong.yml", strings.NewReader(`
_format_version: "3.0"
services:
- name: s
  url: http://s.internal
  routes: [{name: r, paths: [/]}]
  plugins: [{name: split, config: {arms: [{name: a, weight: 1}, {name: b, weight: 1}], `+sticky+`}}]
`), config.Options{})
		require.NoError(t, err, sticky)
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("X-S", "1")
		r.Header.Set("Cookie", "s=1")
		h, ok := s.Gateway.Routes[0].Handler.(interface{ Handlers() []http.Handler })
		require.True(t, ok)
		require.Contains(t, fmt.Sprint(preview(t, h.Handlers()[0], r)), "allowed "+reason, sticky)
		require.NoError(t, s.Close())
	}
}

// TestSplitProblems: what is wrong is reported at what it is about.
func TestSplitProblems(t *testing.T) {
	t.Parallel()
	const at = "services[0].plugins[0].config"
	two := "arms: [{name: a, weight: 1}, {name: b, weight: 1}]"
	for c, want := range map[string]string{
		"":                                    "required field \"arms\" is missing",
		"arms: []":                            ".arms: the list is empty",
		"arms: [{name: a}]":                   ".arms: all weights are 0; give one arm at least some of the traffic",
		"arms: [{name: a b, weight: 1}]":      `.arms: [0].Name "a b" is no token`,
		"arms: [{weight: 1}]":                 `.arms[0]: required field "name" is missing`,
		"arms: [{name: a, weight: -1}]":       ".arms[0].weight: ",
		"arms: [{name: a, weight: 1, to: b}]": `.arms[0].to: unknown field "to"`,
		"arms: [{name: a, weight: 1}, {name: a}]":                                 `.arms: arms[1]: another arm is named "a", too; names are unique`,
		"arms: [{name: a, weight: 1, service: none}]":                             `: arms[0]: there is no service "none"`,
		"arms: [{name: a, weight: 1, service: path}]":                             `: arms[0]: the service "path" has the path "/p", and that of the route ""; arms have the same`,
		"arms: [{name: a, weight: 1, service: off}]":                              `: arms[0]: the service "off" is not enabled`,
		"arms: [{name: a, weight: 1, service: grpc}]":                             `: arms[0]: the service "grpc" has the protocol grpc, and that of the route http; either all arms speak gRPC, or none`,
		"arms: [{name: a, weight: 1, service: headed}]":                           `: arms[0]: the upstream of the service "headed" has another host_header than that of the route`,
		two + ", sticky_header: a b":                                              ".sticky_header: is no name; use letters, digits and hyphens, as in X-Session",
		two + ", set_cookie: a b":                                                 ".set_cookie: ",
		two + ", header: content-type":                                            ".header: ",
		two + ", overrides: [{header: x, arm: c}]":                                `.overrides: overrides[0]: there is no arm "c"`,
		two + ", overrides: [{arm: a}]":                                           ".overrides: has 0 of Header, Cookie and Group; set exactly one",
		two + ", watch: a":                                                        ": watch and against need each other; set both, or none",
		two + ", watch: c, against: a":                                            `.watch: there is no arm "c"`,
		two + ", watch: a, against: a":                                            ".against: an arm is compared with another",
		two + ", error_share: 0.1":                                                ": there is a rule, and no arm that is watched; set watch and against",
		two + ", watch: a, against: b, error_ratio: 1":                            ".error_ratio: error_ratio is how many times as much; use more than 1, or 0 for no such rule",
		two + ", watch: a, against: b, latency: 1e9":                              ": split: Rollback.Latency is",
		two + ", watch: a, against: b, error_ratio: 3, latency: 0.1, window: 600": "",
		"arms: [{name: a, weight: 1, service: twin}, {name: b, service: twin}]":   "",
	} {
		_, err := config.Load("kong.yml", strings.NewReader(`
_format_version: "3.0"
services:
- {name: s, url: "http://s.internal", routes: [{name: r, paths: [/]}], plugins: [{name: split, config: {`+c+`}}]}
- {name: twin, url: "http://s.internal"}
- {name: path, url: "http://s.internal/p"}
- {name: off, url: "http://s.internal", enabled: false}
- {name: grpc, url: "grpc://s.internal:80"}
- {name: headed, host: up}
upstreams: [{name: up, host_header: h.internal, targets: [{target: "s.internal:80"}]}]
`), config.Options{})
		if want == "" {
			require.NoError(t, err, c)
			continue
		}
		require.ErrorContains(t, err, at, c)
		require.ErrorContains(t, err, want, c)
	}
	for text, want := range map[string]string{
		"plugins: [{name: split, config: {" + two + "}}]":                                  "plugins[0].config: a split stands in the place of a service; configure it at one, or at a route",
		"routes: [{name: r, paths: [/], plugins: [{name: split, config: {" + two + "}}]}]": "config: a split stands in the place of a service, and the route has none; name one",
		"consumers: [{username: a, plugins: [{name: split, config: {" + two + "}}]}]":      "cannot be configured for a consumer",
		"plugins: [{name: split, enabled: false, config: {" + two + "}}]":                  "",
	} {
		_, err := config.Load("kong.yml", strings.NewReader("_format_version: \"3.0\"\n"+text), config.Options{})
		if want == "" {
			require.NoError(t, err, text)
			continue
		}
		require.ErrorContains(t, err, want, text)
	}
}

// TestSplitWithoutTheService: the service of the route need not be an arm, and is not made then.
func TestSplitWithoutTheService(t *testing.T) {
	t.Parallel()
	s, err := config.Load("kong.yml", strings.NewReader(`
_format_version: "3.0"
services:
- {name: v1, url: "http://a.internal"}
- {name: v2, url: "http://b.internal"}
- {name: app, url: "http://c.internal", routes: [{name: r, paths: [/], plugins: [{name: split, config: {arms: [{name: v1, weight: 1, service: v1}, {name: v2, service: v2}]}}]}]}
`), config.Options{})
	require.NoError(t, err)
	require.Empty(t, s.Warnings)
	require.Len(t, s.Gateway.Owns, 2)
	require.Len(t, s.Gateway.Routes, 1)
	require.NoError(t, s.Close())
}

func preview(t *testing.T, h http.Handler, r *http.Request) policy.Decision {
	t.Helper()
	p, ok := h.(interface {
		Preview(r *http.Request) policy.Decision
	})
	require.True(t, ok)
	return p.Preview(r)
}

// TestSplitsOfTwoRoutes: two of the same kind stay two when the file is read again.
func TestSplitsOfTwoRoutes(t *testing.T) {
	t.Parallel()
	file := func(more string) string {
		const plugin = `plugins: [{name: split, config: {name: app, arms: [{name: stable, weight: %d}, {name: canary, weight: %d, service: v2}], watch: canary, against: stable}}]`
		return `
_format_version: "3.0"
services:
- {name: v2, url: "http://s.internal"}
- name: v1
  url: http://s.internal
  routes:
  - {name: a, paths: [/a], ` + fmt.Sprintf(plugin, 90, 10) + `}
  - {name: b, paths: [/b], ` + fmt.Sprintf(plugin, 50, 50) + `}
` + more
	}
	r, name, up := reloader(t, file(""), config.Options{Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() {
		require.NoError(t, r.Gateway().Shutdown(context.WithoutCancel(t.Context())))
		require.NoError(t, up.Close())
	})
	shares := func(a, b string) {
		t.Helper()
		for path, want := range map[string]string{"/a": a, "/b": b} {
			require.Contains(t, r.Gateway().Explain(httptest.NewRequest(http.MethodGet, path, nil)).String(), "allowed weight ("+want+")", path)
		}
	}
	shares("stable 90, canary 10", "stable 50, canary 50")
	for _, more := range []string{"consumers: [{username: ann}]\n", ""} {
		replace(t, name, file(more))
		changed, err := r.Reload()
		require.NoError(t, err)
		require.True(t, changed)
		shares("stable 90, canary 10", "stable 50, canary 50")
	}
}

// The split of a file that is applied again is that of the file; what somebody changed since stays where the file says the same.
func TestAppliedSplits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		up := gatewaytest.NewUpstream("s.internal:80")
		load := func(before *config.Snapshot, text string) *config.Snapshot {
			s, err := config.Load("kong.yml", strings.NewReader(text), config.Options{Previous: before, Dial: gatewaytest.Dial(up), Logger: slog.New(slog.DiscardHandler)})
			require.NoError(t, err)
			return s
		}
		first := load(nil, splitFile(100, 0, ""))
		gw, err := gateway.New(first.Gateway)
		require.NoError(t, err)
		arm := func() string {
			w := httptest.NewRecorder()
			gw.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/a", nil))
			return w.Header().Get("X-Served-By")
		}
		second := load(first, splitFile(0, 100, ""))
		require.Equal(t, "stable", arm())
		require.NoError(t, gw.Apply(second.Gateway))
		require.Equal(t, "canary", arm())
		require.NoError(t, gw.Apply(first.Gateway))
		require.Equal(t, "stable", arm())
		require.NoError(t, gw.Apply(second.Gateway))
		require.Equal(t, "canary", arm())
		require.NoError(t, gw.Shutdown(t.Context()))
		require.NoError(t, up.Close())
	})
}
