package regress_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/ratelimit"
)

// A limit by address took the left-most hop of X-Forwarded-For, which each client writes itself: with another one in each
// request nobody was ever limited.
func TestLimitByAddressIsNotTheClientsChoice(t *testing.T) {
	t.Parallel()
	open := func(proxies ...string) func(c *gateway.Config, u *gateway.Upstream) {
		return func(c *gateway.Config, _ *gateway.Upstream) {
			for _, p := range proxies {
				c.TrustedProxies = append(c.TrustedProxies, netip.MustParsePrefix(p))
			}
			c.Routes[0].Plugins = []gateway.Plugin{once(policy.ByClientAddress())}
		}
	}
	r := rigged(t, open())
	r.passes("GET /open/a HTTP/1.1")
	for i := range 5 {
		r.refused(429, fmt.Sprintf("GET /open/a HTTP/1.1\nX-Forwarded-For: 192.0.2.%d\nX-Real-Ip: 192.0.2.%d\nForwarded: for=192.0.2.%d\nTrue-Client-Ip: 192.0.2.%d", i, i, i, i))
	}
	r = rigged(t, open("127.0.0.0/8", "10.0.0.0/8"))
	r.passes("GET /open/a HTTP/1.1\nX-Forwarded-For: 198.51.100.7, 10.1.1.1")
	for i, hops := range []string{"192.0.2.%d, 198.51.100.7", "192.0.2.%d,198.51.100.7, 10.9.9.9", "192.0.2.%d\nX-Forwarded-For: 198.51.100.7", "10.0.0.%d, 198.51.100.7:99"} {
		r.refused(429, "GET /open/a HTTP/1.1\nX-Forwarded-For: "+fmt.Sprintf(hops, i))
	}
	r.passes("GET /open/a HTTP/1.1\nX-Forwarded-For: 198.51.100.7, 198.51.100.8") // another client
	// What is no address ends the walk at the proxy that passed it on, whatever stands before it.
	r.passes("GET /open/a HTTP/1.1\nX-Forwarded-For: 192.0.2.1, unknown")
	r.refused(429, "GET /open/a HTTP/1.1\nX-Forwarded-For: 192.0.2.2, unknown")
}

// once lets each key pass once an hour.
func once(key policy.Key) *ratelimit.Limiter {
	return must(ratelimit.New(ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerHour(1)}, Key: key}))
}
