package regress_test

import (
	"testing"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/policy"
)

// Traefik put name and password together for the key of a table, and so did many rate limits with what they count by: ab and c
// were a and bc, and one client had another's entry.
func TestKeysAreNotConcatenated(t *testing.T) {
	t.Parallel()
	by := func(key policy.Key) func(c *gateway.Config, _ *gateway.Upstream) {
		return func(c *gateway.Config, _ *gateway.Upstream) { c.Routes[0].Plugins = []gateway.Plugin{once(key)} }
	}
	r := rigged(t, by(policy.ByHeader("X-Tenant").Or(policy.ByClientAddress())))
	for _, tenant := range []string{"127.0.0.1", "client_address\t127.0.0.1", "a", "ab", "b"} {
		r.passes("GET /open/a HTTP/1.1\nX-Tenant: " + tenant)
	}
	r.passes("GET /open/a HTTP/1.1") // who has no tenant is not one of those
	r.refused(429, "GET /open/a HTTP/1.1")
	r.refused(429, "GET /open/a HTTP/1.1\nX-Tenant: ab")

	r = rigged(t, by(policy.ByHeader("X-Tenant")))
	r.passes("GET /open/a HTTP/1.1\nX-Tenant: a\nX-Tenant: bc")
	r.passes("GET /open/a HTTP/1.1\nX-Tenant: ab\nX-Tenant: c")
	r.passes("GET /open/a HTTP/1.1\nX-Tenant: abc")
	r.refused(429, "GET /open/a HTTP/1.1\nx-tenant: a\nX-TENANT: bc")
}
