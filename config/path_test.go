package config_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/config"
	"github.com/gatehouse-go/gateway/gatewaytest"
)

// TestSNIsOverHTTP: they are a condition on requests over TLS alone, as in Kong.
func TestSNIsOverHTTP(t *testing.T) {
	t.Parallel()
	s, err := config.Load("kong.yml", strings.NewReader(`
_format_version: "3.0"
routes:
- {name: a, snis: [a.test], paths: [/]}
`), config.Options{})
	require.NoError(t, err)
	gw, err := gateway.New(s.Gateway)
	require.NoError(t, err)
	t.Cleanup(func() { _ = gw.Shutdown(t.Context()) })
	for sni, want := range map[string]int{"": 503, "a.test": 503, "b.test": 404} { // 503: the route has no service
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		if sni != "" {
			r.TLS = &tls.ConnectionState{ServerName: sni}
		}
		require.Equal(t, want, gatewaytest.Do(gw, r).StatusCode, sni)
	}
}

// TestPathHandling: where a service's path, what a route matched and the rest meet, as Kong puts them together.
func TestPathHandling(t *testing.T) {
	t.Parallel()
	// What the service gets for: v0 kept, v0 stripped, v1 kept, v1 stripped.
	tests := []struct {
		service, route, request string
		want                    [4]string
	}{
		{"/", "/", "/", [4]string{"/", "/", "/", "/"}},
		{"/", "/", "/route/req", [4]string{"/route/req", "/route/req", "/route/req", "/route/req"}},
		{"/", "/route", "/route", [4]string{"/route", "/", "/route", "/"}},
		{"/", "/route", "/route/", [4]string{"/route/", "/", "/route/", "/"}},
		{"/", "/route", "/routereq", [4]string{"/routereq", "/req", "/routereq", "/req"}},
		{"/", "/route/", "/route/req", [4]string{"/route/req", "/req", "/route/req", "/req"}},
		{"/srv", "/rou", "/roureq", [4]string{"/srv/roureq", "/srv/req", "/srvroureq", "/srvreq"}},
		{"/srv/", "/rou", "/rou", [4]string{"/srv/rou", "/srv", "/srv/rou", "/srv/"}},
		{"/service", "/", "/", [4]string{"/service", "/service", "/service", "/service"}},
		{"/service", "/", "/route/", [4]string{"/service/route/", "/service/route/", "/serviceroute/", "/serviceroute/"}},
		{"/service", "/route", "/route", [4]string{"/service/route", "/service", "/serviceroute", "/service"}},
		{"/service", "/route", "/route/", [4]string{"/service/route/", "/service/", "/serviceroute/", "/service/"}},
		{"/service", "/route", "/routereq", [4]string{"/service/routereq", "/service/req", "/serviceroutereq", "/servicereq"}},
		{"/service", "/route/", "/route/", [4]string{"/service/route/", "/service/", "/serviceroute/", "/service"}},
		{"/service", "/route/", "/route/req", [4]string{"/service/route/req", "/service/req", "/serviceroute/req", "/servicereq"}},
		{"/service/", "/", "/", [4]string{"/service/", "/service/", "/service/", "/service/"}},
		{"/service/", "/", "/route", [4]string{"/service/route", "/service/route", "/service/route", "/service/route"}},
		{"/service/", "/route", "/route", [4]string{"/service/route", "/service", "/service/route", "/service/"}},
		{"/service/", "/route", "/route/", [4]string{"/service/route/", "/service/", "/service/route/", "/service/"}},
		{"/service/", "/route", "/routereq", [4]string{"/service/routereq", "/service/req", "/service/routereq", "/service/req"}},
		{"/service/", "/route/", "/route/req", [4]string{"/service/route/req", "/service/req", "/service/route/req", "/service/req"}},
		{"/service", "", "/", [4]string{"/service", "/service", "/service", "/service"}},
		{"/service", "", "/route/", [4]string{"/service/route/", "/service/route/", "/serviceroute/", "/serviceroute/"}},
		{"/service/", "", "/route", [4]string{"/service/route", "/service/route", "/service/route", "/service/route"}},
		// What is left after stripping climbs nowhere.
		{"/service", "/route", "/route./req", [4]string{"/service/route./req", "/service/req", "/serviceroute./req", "/servicereq"}},
		{"/service/", "/route", "/route%2e%2E/req", [4]string{"/service/route../req", "/service/req", "/service/route../req", "/service/req"}},
		{"/tenants/a", "/api", "/api..", [4]string{"/tenants/a/api..", "/tenants/a/", "/tenants/aapi..", "/tenants/a"}},
		{"/s", "/v1", "/v1/a%20b%2Fc", [4]string{"/s/v1/a%20b%2Fc", "/s/a%20b%2Fc", "/sv1/a%20b%2Fc", "/s/a%20b%2Fc"}},
	}
	up := gatewaytest.NewUpstream("backend")
	t.Cleanup(func() { _ = up.Close() })
	for _, tt := range tests {
		for i, want := range tt.want {
			paths := ""
			if tt.route != "" {
				paths = fmt.Sprintf("paths: [%q], ", tt.route)
			}
			s, err := config.Load("kong.yml", strings.NewReader(fmt.Sprintf(`
_format_version: "3.0"
services: [{name: s, host: s.internal, path: %q, routes: [{%shosts: [example.com], strip_path: %t, path_handling: v%d}]}]
`, tt.service, paths, i%2 == 1, i/2)), config.Options{Dial: up.Dial})
			require.NoError(t, err)
			gw, err := gateway.New(s.Gateway)
			require.NoError(t, err)
			require.Equal(t, 200, ask(gw, "GET", tt.request).StatusCode, "%+v", tt)
			require.Equal(t, want, up.Last().URI, "%+v: strip %t, v%d", tt, i%2 == 1, i/2)
			require.NoError(t, gw.Shutdown(t.Context()))
		}
	}
}

// TestHostConditions: IPv6 addresses need no brackets where there is no port.
func TestHostConditions(t *testing.T) {
	t.Parallel()
	gw, _ := serve(t, `
_format_version: "3.0"
services:
- name: s
  url: http://s.internal
  routes:
  - {name: plain, hosts: ["::11", "[::12]"]}
  - {name: both, hosts: ["::21"]}
  - {name: port, hosts: ["[::21]:321", "[::31]:321"]}
`)
	for host, want := range map[string]string{
		"[::11]": "plain", "[::12]": "plain", "[::11]:654": "plain", "[0:0::11]": "plain", "[::21]:321": "port", "[::21]:654": "both", "[::31]:321": "port", "[::31]:654": "",
	} {
		r := httptest.NewRequest(http.MethodGet, "http://x/", nil)
		r.Host = host
		require.Equal(t, want, gw.Explain(r).Route, host)
	}
}

// TestHeaderConditions: a name with underscores is one of its own, which is worth a warning.
func TestHeaderConditions(t *testing.T) {
	t.Parallel()
	s, err := config.Load("kong.yml", strings.NewReader(`
_format_version: "3.0"
routes: [{name: r, headers: {api_version: [v1], X-Tenant: [a]}}]
`), config.Options{})
	require.NoError(t, err)
	require.Equal(t, []string{
		`kong.yml:3:29: the condition on "api_version" does not look at the field "api-version", as Kong does; write it as clients do`,
	}, s.Warnings)
	gw, err := gateway.New(s.Gateway)
	require.NoError(t, err)
	t.Cleanup(func() { _ = gw.Shutdown(t.Context()) })
	require.Equal(t, 503, ask(gw, "GET", "/", "api_version", "v1", "X-Tenant", "A").StatusCode) // the route has no service
	require.Equal(t, 404, ask(gw, "GET", "/", "api-version", "v1", "X-Tenant", "a").StatusCode)
}
