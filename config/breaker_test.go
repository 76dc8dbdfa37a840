package config_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/config"
	"github.com/gatehouse-go/gateway/gatewaytest"
)

// TestBreaker: the circuit of a service opens for all its routes and for no other, says so in the log, and stays as it is when
// the file is read again.
func TestBreaker(t *testing.T) {
	t.Parallel()
	file := func(path string) string {
		return `
_format_version: "3.0"
services:
- name: s
  url: http://s.internal
  routes: [{name: a, paths: [/a]}, {name: b, paths: [` + path + `]}]
  plugins: [{name: breaker, config: {name: users, consecutive_failures: 2, open_for: 60, message: Later}}]
- {name: other, url: http://s.internal, routes: [{name: c, paths: [/c]}]}
`
	}
	var logged lockedBuffer
	r, name, up := reloader(t, file("/b"), config.Options{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	t.Cleanup(func() {
		require.NoError(t, r.Gateway().Shutdown(context.WithoutCancel(t.Context())))
		require.NoError(t, up.Close())
	})
	up.Script(gatewaytest.Respond(500, "x"))
	for range 2 {
		require.Equal(t, 500, ask(r.Gateway(), "GET", "/a").StatusCode)
	}
	for range 2 {
		for _, path := range []string{"/a", "/b"} {
			res := ask(r.Gateway(), "GET", path)
			require.Equal(t, 503, res.StatusCode)
			require.Equal(t, "60", res.Header.Get("Retry-After"))
			require.Contains(t, text(t, res), `"message":"Later"`)
		}
		require.Equal(t, 500, ask(r.Gateway(), "GET", "/c").StatusCode)
		require.Contains(t, r.Gateway().Explain(httptest.NewRequest("GET", "/a", nil)).Outcome, "users: refused circuit_open 503")
		for _, path := range []string{"/b/", "/b"} {
			replace(t, name, file(path))
			changed, err := r.Reload()
			require.NoError(t, err)
			require.True(t, changed)
		}
	}
	require.Contains(t, logged.take(), `level=WARN msg="circuit breaker" breaker=users state=open reason=consecutive_failures change="users: closed to open for 1m0s: consecutive_failures, 2 of 2 failed and 0 were slow, last status 500"`)
}

// TestBreakerProblems: what the breaker says is reported at the field it is about.
func TestBreakerProblems(t *testing.T) {
	t.Parallel()
	for c, want := range map[string]string{
		"{slow_rate: 0.5}":                  "plugins[0].config.slow_rate: slow_rate and slow_after need each other; set both, or none",
		"{failure_rate: 1.5}":               "plugins[0].config.failure_rate: ",
		"{failure_statuses: [200]}":         "plugins[0].config.failure_statuses: is 200; use error statuses, 400 to 599",
		"{open_for: 1e300}":                 "plugins[0].config.open_for: ",
		"{open_for: 9, max_open_for: 1}":    "plugins[0].config.max_open_for: max_open_for cannot be shorter than open_for",
		"{probes: 0}":                       "plugins[0].config.probes: ",
		"{window: 0.001}":                   "plugins[0].config.window: ",
		"{probe_timeout: 0.5, window: .5}":  "",
		"{successes: 5, slow_after: 0.001}": "plugins[0].config.slow_after: ",
	} {
		_, err := config.Load("kong.yml", strings.NewReader(fmt.Sprintf("_format_version: \"3.0\"\nplugins: [{name: breaker, config: %s}]\n", c)), config.Options{})
		if want == "" {
			require.NoError(t, err, c)
			continue
		}
		require.ErrorContains(t, err, want, c)
	}
}
