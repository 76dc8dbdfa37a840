package regress_test

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/policy"
)

// chi's RealIP wrote what a client's field said over RemoteAddr, where everything behind it looked for the peer of the connection.
func TestRemoteAddrIsThePeer(t *testing.T) {
	t.Parallel()
	type addresses struct{ remote, client string }
	seen := make(chan addresses, 1)
	looks := gateway.PluginFunc(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			seen <- addresses{r.RemoteAddr, policy.ExchangeFrom(r.Context()).ClientAddr().String()}
			next.ServeHTTP(w, r)
		})
	})
	const fields = "GET /open/a HTTP/1.1\nX-Forwarded-For: 192.0.2.1\nX-Real-Ip: 192.0.2.1\nTrue-Client-Ip: 192.0.2.1"
	r := rigged(t, func(c *gateway.Config, _ *gateway.Upstream) { c.Plugins = append(c.Plugins, looks) })
	r.passes(fields)
	got := <-seen
	require.Contains(t, got.remote, "127.0.0.1:")
	require.Equal(t, "127.0.0.1", got.client)

	r = rigged(t, func(c *gateway.Config, _ *gateway.Upstream) {
		c.Plugins = append(c.Plugins, looks)
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	r.passes(fields)
	got = <-seen
	require.Contains(t, got.remote, "127.0.0.1:")
	require.Equal(t, "192.0.2.1", got.client)
}
