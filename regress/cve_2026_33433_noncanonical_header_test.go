package regress_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/gatewaytest"
)

// Traefik set the name of a user under a key of the header map that was not in canonical form, as it was configured, and left
// the client's under the canonical one.
func TestHeaderMapKeysInOtherForms(t *testing.T) {
	t.Parallel()
	for _, configured := range []string{"X-Auth-User", "x-auth-user", "X-AUTH-user", "x_auth_user"} {
		var seen http.Header
		c := gateway.Config{Routes: []gateway.Route{{Name: "all", Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r.Header })}}}
		require.Equal(t, 200, gatewaytest.Do(must(gateway.New(c)), keyed("X-Auth-User")).StatusCode)
		require.Len(t, seen, 2, "nobody owns the field yet")
		c.OwnedHeaders = []string{configured}
		gw := must(gateway.New(c))
		for _, sent := range []string{"X-Auth-User", "x-auth-user", "X-AUTH-USER", "x_Auth.User"} {
			require.Equal(t, 200, gatewaytest.Do(gw, keyed(sent)).StatusCode)
			require.Equal(t, http.Header{"X-Mine": {"1"}}, seen, "%s, configured as %s", sent, configured)
		}
		for _, sent := range []string{"x-consumer-id", "X-CONSUMER-ID", "x-forwarded-for", "X-REAL-IP", "proxy"} {
			require.Equal(t, 200, gatewaytest.Do(gw, keyed(sent)).StatusCode)
			require.Equal(t, http.Header{"X-Mine": {"1"}}, seen, sent)
		}
	}
}

// keyed is a request whose header map has a key as it is.
func keyed(key string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header = http.Header{key: {"root"}, "X-Mine": {"1"}}
	return r
}
