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

// Go's net/netip said of an IPv4 address written as IPv6 (::ffff:10.0.0.1) that it is not private, and rules of Traefik for IPv4
// networks (GHSA-7jmw-8259-q9jx) did not hold for it.
func TestMappedAddressIsTheAddress(t *testing.T) {
	t.Parallel()
	var seen netip.Addr
	gw := must(gateway.New(gateway.Config{
		EntryConfig: policy.EntryConfig{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
		Routes: []gateway.Route{{Name: "all", Plugins: []gateway.Plugin{once(policy.ByClientAddress())}, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			seen = policy.ExchangeFrom(r.Context()).ClientAddr()
		})}},
	}))
	ask := func(peer, forwardedFor string) int {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = peer
		if forwardedFor != "" {
			r.Header.Set("X-Forwarded-For", forwardedFor)
		}
		return gatewaytest.Do(gw, r).StatusCode
	}
	require.Equal(t, 200, ask("192.0.2.1:9", ""))
	require.Equal(t, 429, ask("[::ffff:192.0.2.1]:9", ""), "the same client")
	require.Equal(t, 429, ask("[::ffff:c000:201]:9", ""))
	require.Equal(t, 429, ask("[::ffff:192.0.2.1%eth0]:9", ""))
	require.Equal(t, 429, ask("[::ffff:10.0.0.1]:9", "192.0.2.1"), "a trusted proxy in the other form")
	require.Equal(t, 429, ask("10.0.0.1:9", "::ffff:192.0.2.1"))
	require.Equal(t, 200, ask("10.0.0.1:9", "::ffff:192.0.2.2"), "another client")
	require.Equal(t, netip.MustParseAddr("192.0.2.2"), seen)
}
