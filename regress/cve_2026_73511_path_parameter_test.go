package regress_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
)

// Envoy (also CVE-2026-73551) compared paths with their parameters, behind a semicolon, and servers that drop these served
// another path than was judged: /admin;x is /admin there, and /..;/ leads upwards.
func TestParametersInPaths(t *testing.T) {
	t.Parallel()
	r := rigged(t, nil)
	for _, path := range []string{"/open/..;/admin/x", "/open/..;a=b/admin/x", "/open/%2e%2e;/admin/x", "/open/..%3b/admin/x", "/open/.;/../admin/x", "/open/a/..;..;/x"} {
		r.refused(400, "GET "+path+" HTTP/1.1")
	}
	for _, path := range []string{"/admin;x/y", "/admin;/x", "/admin%3bx/y", "/;/admin/x"} {
		r.refused(404, "GET "+path+" HTTP/1.1") // which is no route's
	}
	require.Equal(t, "GET /open/a;v=1/b HTTP/1.1", r.passes("GET /open/a;v=1/b HTTP/1.1").Start)
	r.refused(401, "GET /admin/a;v=1 HTTP/1.1")

	guarded := func(c *gateway.Config, u *gateway.Upstream) {
		c.Routes[0].Match = paths("/*rest")
		c.Routes = append(c.Routes, gateway.Route{Name: "rpc", Public: true, Match: paths("/rpc;v=1/*rest"), Handler: u},
			gateway.Route{Name: "rpc, guarded", Match: paths("/rpc/*rest"), Plugins: []gateway.Plugin{keys()}, Handler: u})
	}
	r = rigged(t, guarded)
	for _, path := range []string{"/admin;x/y", "/admin;/x", "/admin%3bx/y", "/;/admin/x", "/;a/;/admin;jsessionid=1/x", "/admin;", "/%61dmin;x/y", "/rpc;v=2/x"} {
		r.refused(400, "GET "+path+" HTTP/1.1")
		r.refused(400, "GET "+path+" HTTP/1.1\nApikey: k")
	}
	for _, path := range []string{"/a;x/admin", "/a/b;c=d", "/administration;x", "/;a", "/rpc;v=1/x"} {
		require.Equal(t, "GET "+path+" HTTP/1.1", r.passes("GET "+path+" HTTP/1.1").Start)
	}
	r.passes("GET /admin/x;y HTTP/1.1\nApikey: k")

	r = rigged(t, func(c *gateway.Config, u *gateway.Upstream) {
		guarded(c, u)
		c.Compat.AllowPathParameters = true
	})
	r.passes("GET /admin;x/y HTTP/1.1")

	r = rigged(t, func(c *gateway.Config, u *gateway.Upstream) { c.NotFound = u })
	r.refused(400, "GET /admin;x/y HTTP/1.1")
	r.passes("GET /nowhere;x HTTP/1.1")
}
