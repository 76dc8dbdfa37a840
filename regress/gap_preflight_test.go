package regress_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
)

// httprouter answers OPTIONS before any middleware, and gateways that let preflights pass without a key let every OPTIONS pass, or
// anything with the fields of a preflight.
func TestPreflightsAreNoWayIn(t *testing.T) {
	t.Parallel()
	const fields = " /admin/a HTTP/1.1\nOrigin: https://a.test\nAccess-Control-Request-Method: PUT"
	r := rigged(t, nil)
	r.refused(401, "OPTIONS"+fields)
	r.refused(401, "OPTIONS /admin/a HTTP/1.1")
	r.refused(404, "OPTIONS /nowhere HTTP/1.1")
	r.passes("OPTIONS" + fields + "\nApikey: k")

	r = rigged(t, func(c *gateway.Config, _ *gateway.Upstream) {
		c.Routes[1].Plugins = []gateway.Plugin{must(keyauth.New(keyauth.Config{Consumers: auth.Static{"k": {ID: "1"}}, SkipPreflight: true}))}
	})
	require.Empty(t, r.passes("OPTIONS"+fields+"\nX-Consumer-Id: 1").Values("X-Consumer-Id"))
	for _, head := range []string{
		"OPTIONS /admin/a HTTP/1.1", "OPTIONS /admin/a HTTP/1.1\nOrigin: https://a.test", "OPTIONS /admin/a HTTP/1.1\nAccess-Control-Request-Method: PUT",
		"GET" + fields, "POST" + fields + "\nContent-Length: 0", "options" + fields, "HEAD" + fields, "DELETE" + fields + "\nX-Http-Method-Override: OPTIONS",
	} {
		r.refused(401, head)
	}
}
