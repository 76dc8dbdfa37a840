// Package discovery finds the targets of a [balancer.Pool] where they are written down: in DNS, in a file, or in several places.
//
//	users, err := gateway.NewUpstream(gateway.UpstreamConfig{
//		Name:      "users",
//		Discovery: balancer.Discovery{Source: discovery.DNS{URL: "http://users.internal:8080"}},
//	})
//
// What a source says replaces the targets of before, while traffic flows: see [balancer.Pool.SetTargets]. What it cannot find out, or
// says wrongly, changes nothing.
//
// net.Resolver does not tell how long an answer holds, so that DNS is asked at an interval here; contrib/dns minds the TTL. What
// else is needed is one method: see [balancer.Source].
package discovery
