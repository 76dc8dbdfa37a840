// Package consul finds the targets of a [balancer.Pool] in the health endpoint of Consul, which says when something changes.
//
//	source, err := consul.New(consul.Config{Service: "users"}) // of the agent at http://127.0.0.1:8500
//	...
//	users, err := gateway.NewUpstream(gateway.UpstreamConfig{
//		Name:      "users",
//		Discovery: balancer.Discovery{Source: source},
//	})
//
// A Source has one question under way, which Consul answers when an instance has come, gone, or changed its health, or after
// Config.Wait (a blocking query). Instances become targets with the address and port, the weight and the zone that they are
// registered with; those whose checks fail are none.
//
// What cannot be found out changes nothing, as [balancer.Discovery] has it: the pool goes on with the targets of before. A Source asks
// again after a second then, and less and less often, up to every 30 s.
//
// Whoever can register instances of a service chooses its targets: let Consul's ACLs say who may. Answers are bounded and checked, for
// an agent is a server like others; redirects are not followed, and the token goes nowhere else. There is no dependency on
// Consul's own client.
package consul
