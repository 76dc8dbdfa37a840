package regress_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
)

// Traefik's middleware that strips or replaces a part of the path (also CVE-2026-48020, CVE-2026-65600) left Path and RawPath in
// two versions, so that what was sent was not what had been looked at, or made dot segments of what had been data.
func TestRewrittenPathsAreOnePath(t *testing.T) {
	t.Parallel()
	r := rigged(t, func(c *gateway.Config, u *gateway.Upstream) {
		route := func(name string, f gateway.Forward) gateway.Route {
			return gateway.Route{Name: name, Public: true, Match: paths("/" + name + "/*rest"), Handler: u, Forward: f}
		}
		c.AllowEncodedSlash = true
		c.Routes = []gateway.Route{
			route("strip", gateway.Forward{StripPath: true}),
			route("under", gateway.Forward{StripPath: true, Path: "/base"}),
			route("concat", gateway.Forward{StripPath: true, Path: "/base", ConcatPath: true}),
			route("rewrite", gateway.Forward{Rewrite: func(_, out *http.Request) { out.URL.Path = "/safe/" + out.URL.Query().Get("p") }}),
			route("raw", gateway.Forward{Rewrite: func(_, out *http.Request) { out.URL.Path, out.URL.RawPath = "/a/b", "/a%2F..%2F..%2Fb" }}),
		}
	})
	for path, want := range map[string]string{
		"/strip/a%2Fb": "/a%2Fb", "/strip/%61": "/a", "/strip/%252e%252e/x": "/%252e%252e/x", "/strip//evil.test/x": "/evil.test/x", "/strip/": "/", "/strip": "/",
		"/under/a%2fb": "/base/a%2Fb", "/under//x": "/base/x", "/under/x/../y": "/base/y",
		"/concat/x": "/base/x", "/rewrite/x?p=a": "/safe/a?p=a", "/rewrite/x?p=a%3Fb": "/safe/a%3Fb?p=a%3Fb",
		"/raw/x": "/a/b",
	} {
		require.Equal(t, "GET "+want+" HTTP/1.1", r.passes("GET "+path+" HTTP/1.1").Start, path)
	}
	// What a Rewrite makes of a client's data is resolved before it is sent, not by whoever gets it.
	require.Equal(t, "GET /b?p=a%2F..%2F..%2Fb HTTP/1.1", r.passes("GET /rewrite/x?p=a%2F..%2F..%2Fb HTTP/1.1").Start)
	for _, p := range []string{"..%5Cadmin", "%00"} {
		before := len(r.target.Requests())
		require.Equal(t, 500, r.ask("GET /rewrite/x?p="+p+" HTTP/1.1").Status(), p)
		require.Len(t, r.target.Requests(), before)
	}
}
