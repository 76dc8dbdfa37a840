package regress_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
)

// oxy cut addresses at the first colon, so that all IPv6 clients were one, and others count each of the 2^64 addresses that one
// client has as a client of its own. An address with a zone is in no network that net/netip knows.
func TestIPv6Clients(t *testing.T) {
	t.Parallel()
	gw := must(gateway.New(gateway.Config{
		EntryConfig: policy.EntryConfig{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("fe80::/10")}},
		Routes:      []gateway.Route{{Name: "all", Plugins: []gateway.Plugin{once(policy.ByClientAddress())}, Handler: handlerOf("up")}},
	}))
	ask := func(peer, forwardedFor string) int {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = peer
		if forwardedFor != "" {
			r.Header.Set("X-Forwarded-For", forwardedFor)
		}
		return gatewaytest.Do(gw, r).StatusCode
	}
	require.Equal(t, 200, ask("[2001:db8::1]:9", ""))
	require.Equal(t, 200, ask("[2001:db8:0:1::1]:9", ""), "another client")
	require.Equal(t, 429, ask("[2001:db8::ffff:1]:9", ""), "the same network of 64 bits")
	require.Equal(t, 429, ask("[2001:DB8:0:0:1::]:9", ""))
	require.Equal(t, 429, ask("[fe80::1%eth0]:9", "2001:db8::2"), "a trusted proxy, whatever its zone")
	require.Equal(t, 429, ask("[fe80::1]:9", "[2001:db8::3]:1234"))
	require.Equal(t, 200, ask("[fe80::1]:9", "2001:db8:0:2::3%zone"))
	require.Equal(t, 429, ask("[fe80::1]:9", "2001:db8:0:2::3"))
}
