package config_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// get asks a real server, without following redirects, and returns the answer with its body.
func get(t *testing.T, server *httptest.Server, host, target string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+target, nil)
	require.NoError(t, err)
	r.Host = host
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	res, err := server.Client().Transport.RoundTrip(r)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res, string(body)
}

// TestForwardedPort: it is the listener's, whatever else a route says about forwarding.
func TestForwardedPort(t *testing.T) {
	t.Parallel()
	gw, up := serve(t, `
_format_version: "3.0"
services:
- name: s
  url: http://s.internal
  routes:
  - {name: plain, hosts: [plain.test]}
  - {name: preserve, hosts: [preserve.test], preserve_host: true}
  - {name: strip, hosts: [strip.test], paths: [/strip]}
`)
	server := httptest.NewServer(gw)
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)
	for _, host := range []string{"plain.test", "preserve.test", "strip.test"} {
		res, _ := get(t, server, host+":99", "/strip")
		require.Equal(t, 200, res.StatusCode)
		require.Equal(t, port, up.Last().Header.Get("X-Forwarded-Port"), host)
		require.Equal(t, host, up.Last().Header.Get("X-Forwarded-Host"))
	}
}
