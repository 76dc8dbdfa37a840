package regress_test

import (
	"fmt"
	"testing"

	"github.com/gatehouse-go/gateway"
)

// Caddy compared hosts and paths without regard to case, except in long lists, for which it had another way of comparing: there
// a route was missed by a client that wrote a capital.
func TestCaseInLongLists(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 10, 500} {
		r := rigged(t, func(c *gateway.Config, u *gateway.Upstream) {
			var hosts, list []string
			for i := range n {
				hosts = append(hosts, fmt.Sprintf("h%d.test", i))
				list = append(list, fmt.Sprintf("/p%d/*rest", i))
			}
			c.Routes = []gateway.Route{
				{Name: "rest", Public: true, Match: paths("/*rest"), Handler: u},
				{Name: "hosts", Match: gateway.Match{Hosts: hosts}, Plugins: []gateway.Plugin{keys()}, Handler: u},
				{Name: "paths", Match: paths(list...), Plugins: []gateway.Plugin{keys()}, Handler: u},
			}
		})
		for _, host := range []string{fmt.Sprintf("h%d.test", n-1), fmt.Sprintf("H%d.TEST", n-1), fmt.Sprintf("h%d.Test.", n-1)} {
			r.refused(401, "GET /a HTTP/1.1\nHost: "+host)
		}
		r.refused(401, fmt.Sprintf("GET /%%70%d/x HTTP/1.1", n-1))
		r.passes(fmt.Sprintf("GET /P%d/x HTTP/1.1", n-1)) // paths have a case, in every list
		r.passes(fmt.Sprintf("GET /a HTTP/1.1\nHost: h%d.test", n))
	}
}
