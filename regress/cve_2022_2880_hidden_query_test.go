package regress_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
)

// ReverseProxy passed parameters on that net/url does not parse, so that whoever judged the query had not seen what the target
// saw: behind a semicolon, say, or an escape that is none.
func TestParametersThatOnlyTheTargetSees(t *testing.T) {
	t.Parallel()
	r := rigged(t, func(c *gateway.Config, _ *gateway.Upstream) {
		c.Routes[1].Plugins = []gateway.Plugin{must(keyauth.New(keyauth.Config{
			Consumers: auth.Static{"secret": {ID: "1"}}, In: keyauth.Header | keyauth.Query, HideCredentials: true,
		}))}
	})
	for _, query := range []string{"a=1;apikey=secret", "apikey=secret;apikey=other", "apikey=%zzsecret", "apikey=secret&a;apikey=other"} {
		r.refused(400, "GET /admin/a?"+query+" HTTP/1.1")
		r.refused(400, "GET /admin/a?"+query+" HTTP/1.1\nApikey: secret")
	}
	for _, query := range []string{"a=1&apikey=secret&b=2;3", "%61pikey=secret&a=1&b=2;3", "a=1&apik%65y=%73ecret&b=2;3"} {
		m := r.passes("GET /admin/a?" + query + " HTTP/1.1")
		require.Equal(t, "GET /admin/a?a=1&b=2;3 HTTP/1.1", m.Start)
		require.NotContains(t, m.Head, "secret")
	}
}
