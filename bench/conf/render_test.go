package conf_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/bench/conf"
)

func TestRender(t *testing.T) {
	t.Parallel()
	v := conf.Values{Listen: "127.0.0.1:1", Upstream: "127.0.0.1:2", Dir: "/d", LuaModules: "/m", Procs: 3, Routes: 4, Keys: 5, Limit: 6}
	secure := v
	secure.Certificate = "/c.pem"
	names, err := filepath.Glob("*.tmpl")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	unfilled := regexp.MustCompile(`\{\{|<no value>`)
	for _, name := range names {
		text, err := conf.Render(strings.TrimSuffix(name, ".tmpl"), v)
		require.NoError(t, err, name)
		require.NotRegexp(t, unfilled, text, name)
		if strings.HasSuffix(name, ".conf.tmpl") || strings.HasSuffix(name, ".cfg.tmpl") {
			require.Contains(t, text, v.Listen, name)
			require.Contains(t, text, v.Upstream, name)
			require.Regexp(t, `(worker_processes|nbthread) 3\b`, text, name)
		}
	}

	keys, err := conf.Render("keys.map", v)
	require.NoError(t, err)
	require.Equal(t, 5, strings.Count(keys, "\n"))
	require.Contains(t, keys, "key-4 consumer-4\n")
	for _, name := range []string{"nginx-lua.conf", "haproxy-policy.cfg"} {
		text, err := conf.Render(name, v)
		require.NoError(t, err)
		require.Regexp(t, `X-RateLimit-Limit-Second"?\]?( =)? "?6\b`, text, name)
	}
	routes, err := conf.Render("nginx-routes.conf", v)
	require.NoError(t, err)
	require.Equal(t, 4, strings.Count(routes, "location ~ ^/svc"))

	for _, name := range []string{"nginx.conf", "haproxy.cfg"} {
		text, err := conf.Render(name, v)
		require.NoError(t, err)
		require.NotContains(t, text, "TLSv1", name)
		text, err = conf.Render(name, secure)
		require.NoError(t, err)
		require.Contains(t, text, "/c.pem", name)
		require.Contains(t, text, "TLSv1.3", name)
		require.NotContains(t, text, "\n\n", name)
	}

	_, err = conf.Render("gone.conf", v)
	require.ErrorContains(t, err, "gone.conf.tmpl")
}

func TestExpand(t *testing.T) {
	t.Parallel()
	text, err := conf.Expand("-listen={{.Listen}} {{range $i := .Routes}}{{$i}},{{end}}", conf.Values{Listen: "a:1", Routes: 3})
	require.NoError(t, err)
	require.Equal(t, "-listen=a:1 0,1,2,", text)
	for _, bad := range []string{"{{.Gone}}", "{{range .Routes}}", "{{"} {
		_, err := conf.Expand(bad, conf.Values{})
		require.Error(t, err, bad)
	}
}
