// Package gatewaytest tests gateways and policies in-process: no ports, no sleeping, no server.
//
// [Do] serves one request with any handler and returns the whole answer. An [Upstream] is a backend that lives in
// memory: it answers by a script of ordinary handlers, or fails on purpose, and records what reached it. A gateway
// talks to it through the Dial field of its upstream:
//
//	users := gatewaytest.NewUpstream("users.test", gatewaytest.Respond(200, "hello"))
//	defer users.Close()
//	up, err := gateway.NewUpstream(gateway.UpstreamConfig{
//		Name:    "users",
//		Targets: []balancer.Target{{URL: users.URL()}},
//		Dial:    users.Dial,
//	})
//
// The client of a request is whoever its RemoteAddr names: httptest.NewRequest sets 192.0.2.1:1234, a test that needs
// another sets r.RemoteAddr = "203.0.113.7:1", or the address of a trusted proxy and a forwarding header.
//
// The answer does not say what the policies decided, on purpose. A test reads that from the decision record, by giving
// the request its Exchange before it goes in, and after RemoteAddr was set; a gateway, an Entry and every policy use the
// one that is there:
//
//	x, r := policy.Ensure(httptest.NewRequest("GET", "/users/42", nil))
//	res := gatewaytest.Do(gw, r)
//	x.Decisions() // such as [key-auth allowed authenticated acl refused no_group_allowed 403]
//	x.Refusal()   // the one that refused, if one did
//	x.Tries()     // which targets were asked
//
// Everything here works inside a testing/synctest bubble, where a minute passes in no time; make the upstream inside
// the bubble, and close it and the gateway's upstream before the bubble ends.
//
// # Properties
//
// [Properties] is for property tests with pgregory.net/rapid. It draws requests, route tables and upstream scripts, and has
// oracles for what must hold whatever is drawn: [Properties.CheckLimiter] for limiters, [Properties.CheckRoutes] for tables,
// [Properties.CheckExchange] for a whole gateway, or any handler with policies before an upstream:
//
//	func TestNobodyGetsPast(t *testing.T) {
//		p := gatewaytest.Properties{Headers: map[string][]string{"Apikey": {"k", "wrong"}}}
//		rapid.Check(t, func(t *rapid.T) {
//			users.Script(p.Script().Draw(t, "script")...)
//			p.CheckExchange(t, gw, users)
//		})
//	}
//
// An oracle fails the test with all that is needed to see why: the request, the table, what was expected. That something
// passed is no proof of the opposite: a limiter that refuses everything keeps every bound, and a table that no request
// reaches follows every rule.
//
// Importing this package adds rapid's flags, which begin with -rapid, to a test binary.
//
// It is for tests: an Upstream keeps everything it gets in memory.
package gatewaytest
