package regress_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// CGI programs took the client's field Proxy for the environment's HTTP_PROXY and sent what they fetched themselves to whoever
// the client named.
func TestProxyFieldDoesNotArrive(t *testing.T) {
	t.Parallel()
	r := rigged(t, nil)
	for _, field := range []string{"Proxy: http://evil.test", "proxy: http://evil.test", "PROXY: http://evil.test"} {
		m := r.passes("GET /open/a HTTP/1.1\n" + field + "\nProxied: yes")
		require.Empty(t, m.Values("Proxy"))
		require.Equal(t, []string{"yes"}, m.Values("Proxied"))
	}
}
