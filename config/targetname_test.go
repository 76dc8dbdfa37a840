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
)

// TestServerNames: host_header is also the name under which a target is asked for, and its certificate looked at.
func TestServerNames(t *testing.T) {
	t.Parallel()
	names := make(chan string, 1)
	target := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { names <- r.TLS.ServerName + " for " + r.Host }))
	target.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	target.StartTLS()
	t.Cleanup(target.Close)
	address := target.Listener.Addr().String()
	tests := []struct{ header, want string }{
		{"", " for " + address}, // no name is sent for an address
		{"host_header: inner.test", "inner.test for inner.test"},
		{"host_header: inner.test:8443", "inner.test for inner.test:8443"},
		{"host_header: 192.0.2.1", " for 192.0.2.1"},
	}
	for _, tt := range tests {
		for _, verify := range []bool{false, true} {
			s, err := config.Load("kong.yml", strings.NewReader(fmt.Sprintf(`
_format_version: "3.0"
services: [{name: s, protocol: https, host: u, tls_verify: %t, routes: [{name: r, paths: [/]}]}]
upstreams: [{name: u, targets: [{target: "%s"}], %s}]
`, verify, address, tt.header)), config.Options{})
			require.NoError(t, err)
			gw, err := gateway.New(s.Gateway)
			require.NoError(t, err)
			status := ask(gw, "GET", "/").StatusCode
			require.NoError(t, gw.Shutdown(t.Context()))
			if verify { // nobody has signed it
				require.Equal(t, 502, status)
				continue
			}
			require.Equal(t, 200, status)
			require.Equal(t, tt.want, <-names, tt.header)
		}
	}
}
