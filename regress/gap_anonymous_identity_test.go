package regress_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/policy"
)

// A gateway that lets callers without a key pass as somebody has to say so in place of whatever they say about themselves; Kong
// once left the fields of earlier plugins and of clients standing.
func TestAnonymousCallersAreWhoTheGatewaySays(t *testing.T) {
	t.Parallel()
	r := rigged(t, func(c *gateway.Config, _ *gateway.Upstream) {
		c.Routes[1].Plugins = []gateway.Plugin{must(keyauth.New(keyauth.Config{
			Consumers: auth.Static{"k": {ID: "1", Username: "ann"}}, Anonymous: &policy.Consumer{ID: "guest"},
		}))}
	})
	m := r.passes("GET /admin/a HTTP/1.1\nX-Consumer-Id: 1\nX-Consumer-Username: ann\nX-Anonymous-Consumer: false\nX-Credential-Identifier: k")
	require.Equal(t, []string{"guest"}, m.Values("X-Consumer-Id"))
	require.Equal(t, []string{"true"}, m.Values("X-Anonymous-Consumer"))
	require.Empty(t, m.Values("X-Consumer-Username"))
	require.Empty(t, m.Values("X-Credential-Identifier"))
	m = r.passes("GET /admin/a HTTP/1.1\nApikey: k\nX-Anonymous-Consumer: true")
	require.Equal(t, []string{"1"}, m.Values("X-Consumer-Id"))
	require.Empty(t, m.Values("X-Anonymous-Consumer"))
	r.refused(401, "GET /admin/a HTTP/1.1\nApikey: wrong")
	r.refused(401, "GET /admin/a HTTP/1.1\nApikey: k\nApikey: wrong")
}
