// Package dns finds the targets of a [balancer.Pool] in DNS, and asks again when an answer has ended: it minds the TTL of the
// records, which net.Resolver, and so package discovery, does not know.
//
//	source, err := dns.New(dns.Config{URL: "http://users.internal.example:8080"})
//	...
//	users, err := gateway.NewUpstream(gateway.UpstreamConfig{
//		Name:      "users",
//		Discovery: balancer.Discovery{Source: source},
//	})
//
// Names with A and AAAA records become a target for each address; with Config.SRV the records say names, ports, weights and
// priorities. Targets are made as by discovery.DNS and discovery.SRV.
//
// What is asked goes to the servers in their order, over UDP, and again over TCP when an answer did not fit; those that do not
// answer, or say that they cannot, are passed over. An answer is believed when it has the id and the question of what was asked and is
// whole; records of names that lead nowhere from the question are not used. Whoever can answer for a name, or sits on the way, chooses
// its targets: certificates (https) tell them from others, DNSSEC is for the servers to check.
//
// What cannot be found out changes nothing, as [balancer.Discovery] has it. Neither is asked more often than Config.MinTTL says.
//
// Names are asked as they are written: there is no search list, no hosts file, no mDNS. In Kubernetes write
// users.default.svc.cluster.local. Use package discovery where that is needed.
package dns
