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
	v := conf.Values{Listen: "127.0.0.1:1", Upstream: "127.0.0.1:2", Dir: "/d", LuaModules: "/m", Procs: 3, Routes: 4, Keys: 5}
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
	routes, err := conf.Render("nginx-routes.conf", v)
	require.NoError(t, err)
	require.Equal(t, 4, strings.Count(routes, "location ~ ^/svc"))

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
