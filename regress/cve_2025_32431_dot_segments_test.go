package regress_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Traefik and Envoy (GHSA-xcx5-93pw-jw2w) chose a route by a path with /../ in it and sent that on, so that the target served
// what another route guards.
func TestDotSegmentsAreResolvedBeforeRouting(t *testing.T) {
	t.Parallel()
	r := rigged(t, nil)
	for _, path := range []string{"/open/../admin/x", "/open/a/../../admin/x", "/open/%2e%2e/admin/x", "/open/.%2E/admin/x", "/open/./../admin/x", "/open//..//../admin/x"} {
		r.refused(401, "GET "+path+" HTTP/1.1")
		require.Equal(t, "GET /admin/x HTTP/1.1", r.passes("GET "+path+" HTTP/1.1\nApikey: k").Start)
	}
	require.Equal(t, "GET /open/x HTTP/1.1", r.passes("GET /admin/../open/x HTTP/1.1").Start)
	require.Equal(t, "GET /open/..x/...y HTTP/1.1", r.passes("GET /open/..x/...y HTTP/1.1").Start)
}
