package gateway_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/gatewaytest"
)

// atSocket serves h at a Unix socket.
func atSocket(t *testing.T, secure *tls.Config, h http.HandlerFunc) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	require.NoError(t, err)
	srv := httptest.NewUnstartedServer(h)
	_ = srv.Listener.Close()
	srv.Listener, srv.TLS = l, secure
	if secure != nil {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	return path
}

func TestTargetsAtUnixSockets(t *testing.T) {
	t.Parallel()
	name := func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host+r.URL.Path) }
	ca := newAuthority(t)
	secure, err := gateway.NewServerTLS(gateway.ServerTLSConfig{Certificates: certificates(t, gateway.CertificatesConfig{
		Files: []gateway.CertificateFiles{ca.issue("c", "c.test")},
	})})
	require.NoError(t, err)
	tcp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "tcp") }))
	defer tcp.Close()
	targets := []balancer.Target{
		{URL: "http://a.test", Socket: atSocket(t, nil, name)},
		{URL: "http://B.test:8080/base", Socket: atSocket(t, nil, name)},
		{URL: "https://c.test", Socket: atSocket(t, secure, name)},
		{URL: tcp.URL},
	}
	pool, err := balancer.NewPool(balancer.Config{Targets: targets})
	require.NoError(t, err)
	for about, c := range map[string]gateway.UpstreamConfig{
		"targets": {Targets: targets}, "a pool": {Pool: pool},
		"a dialer of the application": {Targets: targets, Dial: new(net.Dialer).DialContext},
	} {
		c.TLS = &tls.Config{RootCAs: ca.pool()}
		up := upstream(t, c)
		for range 3 { // over connections that are kept
			var got []string
			for range targets {
				res := gatewaytest.Do(up, httptest.NewRequest(http.MethodGet, "/x", nil))
				body, err := io.ReadAll(res.Body)
				require.NoError(t, err)
				got = append(got, string(body))
			}
			require.ElementsMatch(t, []string{"a.test/x", "B.test:8080/base/x", "c.test/x", "tcp"}, got, about)
		}
	}
	nowhere := upstream(t, gateway.UpstreamConfig{Targets: []balancer.Target{{URL: "http://a.test", Socket: filepath.Join(t.TempDir(), "none")}}})
	require.Equal(t, 502, gatewaytest.Do(nowhere, httptest.NewRequest(http.MethodGet, "/", nil)).StatusCode)
}
