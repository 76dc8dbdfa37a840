package regress_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
)

// httprouter sent clients that asked for //evil.test to //evil.test/, which is another host, and told with its redirects which
// routes there are in other spellings.
func TestRouterRedirectsNobody(t *testing.T) {
	t.Parallel()
	r := rigged(t, func(c *gateway.Config, u *gateway.Upstream) {
		c.Routes = append(c.Routes, gateway.Route{Name: "two", Public: true, Match: paths("/two/:a/"), Handler: u})
	})
	for _, path := range []string{"//evil.test", "//evil.test/", "/%2fevil.test", "/two//evil.test", "/two/a", "/TWO/a/", "/OPEN/a", "/admin", "/open", "///evil.test/..", "/./evil.test", "http://evil.test//evil.test"} {
		m := r.ask("GET " + path + " HTTP/1.1")
		require.False(t, m.Status() >= 300 && m.Status() < 400, "%s: %d", path, m.Status())
		require.Empty(t, m.Values("Location"), path)
	}
	r.passes("GET /two/a/ HTTP/1.1")
}
