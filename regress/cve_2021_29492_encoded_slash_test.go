package regress_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
)

// Envoy took %2F and %5C in paths for data, servers behind it for separators: what was one segment to its rules was a way into
// another directory there.
func TestEncodedSeparators(t *testing.T) {
	t.Parallel()
	r := rigged(t, nil)
	for _, path := range []string{"/open/..%2fadmin/x", "/open%2F..%2fadmin", "/open/%2e%2e%2fadmin", "/open/..%5cadmin", "/open%5c..%5cadmin/x", "/%2fadmin/x", "/open/a%2fb"} {
		r.refused(400, "GET "+path+" HTTP/1.1")
	}
	require.Equal(t, "GET /open/a-b HTTP/1.1", r.passes("GET /open/a%2Db HTTP/1.1").Start)

	allowing := rigged(t, func(c *gateway.Config, _ *gateway.Upstream) { c.AllowEncodedSlash = true })
	require.Equal(t, "GET /open/a%2Fb HTTP/1.1", allowing.passes("GET /open/a%2fb HTTP/1.1").Start)
	for _, path := range []string{"/open/..%2fadmin/x", "/open/%2e%2e%2fadmin/x", "/open/x%2f..%2f..%2fadmin/x"} {
		allowing.refused(400, "GET "+path+" HTTP/1.1")
	}
}
