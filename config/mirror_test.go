package config_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/config"
	"github.com/gatehouse-go/gateway/gatewaytest"
)

// TestMirror: another service gets copies of what the service gets, and differences are logged; also after a reload.
func TestMirror(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		file := func(share string) string {
			return `
_format_version: "3.0"
services:
- name: s
  url: http://s.internal/base
  routes: [{name: a, paths: [/a]}]
  plugins: [{name: mirror, config: {service: next, share: ` + share + `, compare: true, ignore_paths: [t]}}]
- {name: next, url: http://next.internal/base/}
`
		}
		var logged lockedBuffer
		r, name, up := reloader(t, file("1"), config.Options{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		kind := []string{"Content-Type", "application/json"}
		answers := func() {
			up.Script(gatewaytest.Respond(200, `{"a":1,"t":1}`, kind...), gatewaytest.Respond(200, `{"a":2,"t":2}`, kind...))
		}
		answers()
		require.Equal(t, 200, ask(r.Gateway(), "GET", "/a/b?c=d").StatusCode)
		synctest.Wait()
		require.Equal(t, "GET /base/b?c=d", up.Requests()[0].Method+" "+up.Requests()[0].URI)
		require.Equal(t, "GET /base/b?c=d", up.Requests()[1].Method+" "+up.Requests()[1].URI)
		require.Contains(t, logged.take(), `msg=mirror mirror=mirror difference="a: GET /a/b: body a value" request_id=`)
		status := r.Gateway().Status()
		require.Len(t, status.Upstreams, 2)
		require.Equal(t, "next", status.Upstreams[1].Name)

		replace(t, name, file("0"))
		_, err := r.Reload()
		require.NoError(t, err)
		answers()
		require.Equal(t, 200, ask(r.Gateway(), "GET", "/a").StatusCode)
		synctest.Wait()
		require.Len(t, up.Requests(), 3)
		require.NoError(t, r.Gateway().Shutdown(context.WithoutCancel(t.Context())))
		require.NoError(t, up.Close())
	})
}

// TestMirrorProblems: what the mirror says is reported at the field it is about.
func TestMirrorProblems(t *testing.T) {
	t.Parallel()
	for c, want := range map[string]string{
		"{service: nobody}":                  `plugins[0].config.service: found "nobody": is no service of the file; write its name or id`,
		"{}":                                 `plugins[0].config: required field "service" is missing`,
		"{service: 'off'}":                   `plugins[0].config.service: found "off": is not enabled`,
		"{service: other}":                   `plugins[0].config.service: found "other": its path is "/x", and that of the service of route "r" is ""`,
		"{service: next, methods: [post]}":   "plugins[0].config.methods[0]: ",
		"{service: next, ignore_paths: [a]}": "plugins[0].config.ignore_paths: ignore_paths says how to compare; set compare, too",
		"{service: next, timeout: 1e9}":      "plugins[0].config.timeout: ",
		"{service: next, compare: true, ignore_paths: [a..b]}": `has an empty name`,
		"{service: next, max_body: 0, queue: 0}":               "",
	} {
		_, err := config.Load("kong.yml", strings.NewReader(fmt.Sprintf(`
_format_version: "3.0"
services: [{name: s, url: "http://s.x", routes: [{name: r, paths: [/]}]}, {name: next, url: "http://n.x"}, {name: other, url: "http://n.x/x"}, {name: "off", url: "http://n.x", enabled: false}]
plugins: [{name: mirror, config: %s}]
`, c)), config.Options{})
		if want == "" {
			require.NoError(t, err, c)
			continue
		}
		require.ErrorContains(t, err, want, c)
	}
}
