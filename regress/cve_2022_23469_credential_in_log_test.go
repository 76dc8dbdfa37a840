package regress_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
)

// Traefik wrote the Authorization of requests into its log. Keys in URLs had the same way out in many others.
func TestLogHoldsNoCredential(t *testing.T) {
	t.Parallel()
	r := rigged(t, func(c *gateway.Config, _ *gateway.Upstream) {
		c.Routes[1].Plugins = []gateway.Plugin{must(keyauth.New(keyauth.Config{
			Consumers: auth.Static{"s3cret": {ID: "1"}}, In: keyauth.Header | keyauth.Query | keyauth.Cookie,
		}))}
	})
	r.passes("GET /admin/a?apikey=s3cret HTTP/1.1\nUser-Agent: in-query")
	r.passes("GET /admin/a HTTP/1.1\nApikey: s3cret")
	r.passes("GET /admin/a HTTP/1.1\nCookie: apikey=s3cret")
	r.refused(401, "GET /admin/a?apikey=s3cretx HTTP/1.1")
	r.refused(401, "GET /admin/a HTTP/1.1\nAuthorization: Bearer s3cret\nReferer: http://h/?apikey=s3cret")
	r.refused(400, "GET http://u:s3cret@h/admin/a HTTP/1.1")
	require.Contains(t, r.log.String(), "in-query", "there is a log")
	require.NotContains(t, r.log.String(), "s3cret")
}
