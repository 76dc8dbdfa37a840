package regress_test

import (
	"testing"

	"github.com/gatehouse-go/gateway"
)

// Traefik took a host with a dot at its end for another one, which had no rules of its own, and its own settings for TLS were not
// those of the host.
func TestHostInEverySpelling(t *testing.T) {
	t.Parallel()
	r := rigged(t, func(c *gateway.Config, u *gateway.Upstream) {
		c.Routes = []gateway.Route{
			{Name: "rest", Public: true, Handler: u},
			{Name: "secret", Match: gateway.Match{Hosts: []string{"secret.test"}}, Plugins: []gateway.Plugin{keys()}, Handler: u},
		}
	})
	for _, host := range []string{"secret.test", "secret.test.", "SECRET.test", "Secret.Test.:80", "secret.test:8443"} {
		r.refused(401, "GET /a HTTP/1.1\nHost: "+host)
		r.refused(401, "GET http://"+host+"/a HTTP/1.1\nHost: other.test")
		r.passes("GET /a HTTP/1.1\nApikey: k\nHost: " + host)
	}
	for _, host := range []string{"secret.test..", ".secret.test", "secret..test", "secret%2etest", "secret.test,other.test", "u@secret.test"} {
		r.refused(400, "GET /a HTTP/1.1\nHost: "+host)
	}
	r.passes("GET /a HTTP/1.1\nHost: xsecret.test")
}
