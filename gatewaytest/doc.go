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
// Everything here works inside a testing/synctest bubble, where a minute passes in no time; make the upstream inside
// the bubble, and close it and the gateway's upstream before the bubble ends.
//
// It is for tests: an Upstream keeps everything it gets in memory.
package gatewaytest
