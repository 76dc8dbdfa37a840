package regress_test

import (
	"testing"

	"github.com/gatehouse-go/gateway"
)

// Kong matched the path as it was sent, and the service behind it the one it resolved that to: the route with the JWT plugin
// was passed by.
func TestGuardedRouteInEverySpelling(t *testing.T) {
	t.Parallel()
	r := rigged(t, func(c *gateway.Config, u *gateway.Upstream) {
		c.Routes = []gateway.Route{
			{Name: "rest", Public: true, Match: gateway.Match{Prefixes: []string{"/"}}, Handler: u},
			{Name: "admin", Match: paths("/admin", "/admin/*rest"), Plugins: []gateway.Plugin{keys()}, Handler: u},
		}
	})
	for _, path := range []string{
		"/admin", "/admin/", "//admin", "///admin/x", "/./admin", "/a/../admin", "/%61dmin", "/a%64min/x", "/%2e/admin", "/a/%2E%2e/admin", "/a//..//admin",
		"/admin?a", "/admin//x", "/admin/./x", "/../admin", "/a/b/../../admin/x", "http://h/admin", "http://h//admin",
	} {
		r.refused(401, "GET "+path+" HTTP/1.1")
	}
	r.passes("GET /administration HTTP/1.1")
	r.passes("GET /admin/../open HTTP/1.1")
	r.passes("GET //admin HTTP/1.1\nApikey: k")
}
