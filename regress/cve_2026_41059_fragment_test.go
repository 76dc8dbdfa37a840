package regress_test

import "testing"

// oauth2-proxy matched what stands in front of a # in the target of a request, which is not allowed there, and the server behind
// it the whole, or the other way round: rules for paths that need no login let others in.
func TestFragmentsAreRefused(t *testing.T) {
	t.Parallel()
	r := rigged(t, nil)
	for _, target := range []string{"/admin/x#/open/a", "/open/a#/../admin/x", "/open/a?b#c", "/open/#", "/#/open/a", "http://h/open/a#b"} {
		r.refused(400, "GET "+target+" HTTP/1.1")
	}
	r.refused(404, "GET /%23/open/a HTTP/1.1")
	r.refused(401, "GET /admin/x%23/open/a HTTP/1.1")
	r.passes("GET /open/a%23b HTTP/1.1")
}
