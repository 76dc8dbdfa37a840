package config_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/config"
)

// TestConcurrency: a service's places are those of all its routes and of no other service, groups say who waits first, and what is
// inside stays counted when the file is read again.
func TestConcurrency(t *testing.T) {
	t.Parallel()
	file := func(path string) string {
		return strings.ReplaceAll(`
_format_version: "3.0"
services:
- name: s
  url: http://s.internal
  routes: [{name: a, paths: [/a]}, {name: b, paths: [PATH]}]
  plugins: [{name: concurrency, config: {name: users, limit: 1, queue: 1, max_wait: 3600, class_groups: [gold], retry_after: 7, message: Later}}]
- {name: other, url: http://s.internal, routes: [{name: c, paths: [/c]}]}
plugins: [{name: key-auth}]
consumers:
- {username: ann, keyauth_credentials: [{key: ann-key}], acls: [{group: gold}]}
- {username: bob, keyauth_credentials: [{key: bob-key}]}
`, "PATH", path)
	}
	r, name, up := reloader(t, file("/b"), config.Options{})
	t.Cleanup(func() {
		require.NoError(t, r.Gateway().Shutdown(context.WithoutCancel(t.Context())))
		require.NoError(t, up.Close())
	})
	inside, release := make(chan struct{}, 8), make(chan struct{})
	let := sync.OnceFunc(func() { close(release) })
	t.Cleanup(let) // before the gateway waits for what is inside
	up.Script(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inside <- struct{}{}
		<-release
		w.WriteHeader(200)
	}))
	ask := func(key, path string) int {
		w := httptest.NewRecorder()
		req := httptest.NewRequest("GET", path, nil)
		req.Header.Set("apikey", key)
		r.Gateway().ServeHTTP(w, req)
		if w.Code == 503 {
			require.Equal(t, "7", w.Header().Get("Retry-After"))
			require.Contains(t, w.Body.String(), `"message":"Later"`)
		}
		return w.Code
	}
	explained := func(key string) string {
		req := httptest.NewRequest("GET", "/a", nil)
		req.Header.Set("apikey", key)
		return r.Gateway().Explain(req).String()
	}
	var all sync.WaitGroup
	codes := make([]int, 2)
	all.Go(func() { codes[0] = ask("bob-key", "/a") })
	<-inside
	require.Contains(t, explained("bob-key"), "1 of 1 places are taken, 0 wait, class 1")
	all.Go(func() { codes[1] = ask("ann-key", "/b") })
	for i := 0; !strings.Contains(explained("bob-key"), "1 wait"); i++ {
		require.Less(t, i, 1000, explained("bob-key"))
	}
	for _, path := range []string{"/b/", "/b"} {
		require.Equal(t, 503, ask("bob-key", "/a"))
		require.Contains(t, explained("bob-key"), "users: refused queue_full 503")
		require.Contains(t, explained("ann-key"), "1 wait, class 0")
		replace(t, name, file(path))
		changed, err := r.Reload()
		require.NoError(t, err)
		require.True(t, changed)
	}
	all.Go(func() { _ = ask("bob-key", "/c") })
	<-inside // another service
	let()
	all.Wait()
	require.Equal(t, []int{200, 200}, codes)
}

// TestConcurrencyProblems: what the plugin says is reported at the field it is about.
func TestConcurrencyProblems(t *testing.T) {
	t.Parallel()
	for c, want := range map[string]string{
		"{limit: 5, window: 1}":                    "plugins[0].config.window: window says how a limit is found, and limit gives one; set one of them",
		"{limit: -1}":                              "plugins[0].config.limit: ",
		"{min_limit: 5, max_limit: 3}":             "plugins[0].config.max_limit: max_limit cannot be lower than min_limit",
		"{min_limit: 50}":                          "",
		"{initial_limit: 5000}":                    "plugins[0].config.initial_limit: ",
		"{tolerance: 0.5}":                         "plugins[0].config.tolerance: ",
		"{overload_statuses: [200]}":               "plugins[0].config.overload_statuses: is 200; use error statuses, 400 to 599",
		"{max_wait: 1e300}":                        "plugins[0].config.max_wait: ",
		"{queue: 0}":                               "",
		"{queue: 0, class_groups: [a]}":            "plugins[0].config.class_groups: ",
		"{class_groups: [a, b, c, d, e, f, g, h]}": "plugins[0].config.class_groups: has 8 groups; use up to 7",
		"{order: last}":                            "plugins[0].config.order: ",
	} {
		_, err := config.Load("kong.yml", strings.NewReader(fmt.Sprintf("_format_version: \"3.0\"\nplugins: [{name: concurrency, config: %s}]\n", c)), config.Options{})
		if want == "" {
			require.NoError(t, err, c)
			continue
		}
		require.ErrorContains(t, err, want, c)
	}
}
