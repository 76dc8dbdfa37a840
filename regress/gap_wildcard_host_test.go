package regress_test

import (
	"testing"

	"github.com/gatehouse-go/gateway"
)

// Hosts with a wildcard were compared as the ends of strings in several proxies: evilexample.com was *.example.com, and what is
// for everybody's subdomain took the domain itself.
func TestWildcardHosts(t *testing.T) {
	t.Parallel()
	r := rigged(t, func(c *gateway.Config, u *gateway.Upstream) {
		c.Routes = []gateway.Route{
			{Name: "wild", Public: true, Match: gateway.Match{Hosts: []string{"*.example.com", "shop.*"}}, Handler: u},
			{Name: "narrow", Match: gateway.Match{Hosts: []string{"admin.example.com"}}, Plugins: []gateway.Plugin{keys()}, Handler: u},
		}
	})
	for _, host := range []string{"a.example.com", "a.b.example.com", "A.EXAMPLE.com.:80", "shop.test", "shop.example.org"} {
		r.passes("GET /a HTTP/1.1\nHost: " + host)
	}
	for _, host := range []string{"example.com", "evilexample.com", "a.example.com.evil.test", "evil.test", "xshop.test", "shop"} {
		r.refused(404, "GET /a HTTP/1.1\nHost: "+host)
	}
	for _, host := range []string{".example.com", "*.example.com", "a..example.com", "evil.test/.example.com", "evil.test#.example.com", "u:p@a.example.com"} {
		r.refused(400, "GET /a HTTP/1.1\nHost: "+host)
	}
	for _, host := range []string{"admin.example.com", "ADMIN.example.com."} {
		r.refused(401, "GET /a HTTP/1.1\nHost: "+host)
	}
}
