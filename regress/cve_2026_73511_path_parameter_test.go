package regress_test

import (
	"testing"

	"github.com/stretchr/testify/require"
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
}
