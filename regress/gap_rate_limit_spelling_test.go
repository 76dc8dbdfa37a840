package regress_test

import (
	"testing"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/policy"
)

// Limits that count by path, by host or by a field were got round by spelling the same thing in another way.
func TestLimitsCountWhatIsMeant(t *testing.T) {
	t.Parallel()
	by := func(key policy.Key) func(c *gateway.Config, _ *gateway.Upstream) {
		return func(c *gateway.Config, _ *gateway.Upstream) { c.Routes[0].Plugins = []gateway.Plugin{once(key)} }
	}
	r := rigged(t, by(policy.ByPath()))
	r.passes("GET /open/login HTTP/1.1")
	for _, path := range []string{"/open/login?x=1", "/open//login", "/open/./login", "/open/x/../login", "/open/%6cogin", "/open/l%6Fgin?", "http://h/open/login"} {
		r.refused(429, "GET "+path+" HTTP/1.1")
		r.refused(429, "HEAD "+path+" HTTP/1.1")
	}
	r.refused(429, "POST /open/login HTTP/1.1\nContent-Length: 0")
	r.passes("GET /open/Login HTTP/1.1") // another resource

	r = rigged(t, by(policy.ByRoute()))
	r.passes("GET /open/a HTTP/1.1")
	r.refused(429, "GET /open/b HTTP/1.1\nHost: other.test")
	r.refused(429, "OPTIONS /open/b HTTP/1.1")

	r = rigged(t, by(policy.ByHeader("x-tenant")))
	r.passes("GET /open/a HTTP/1.1\nX-Tenant: a")
	r.refused(429, "GET /open/a HTTP/1.1\nx-TENANT: a")
	r.refused(429, "GET /open/a HTTP/1.1\nX-Tenant:  a\t")
	r.passes("GET /open/a HTTP/1.1") // all who have none share one
	r.refused(429, "GET /open/a HTTP/1.1\nX_Tenant: b")
}
