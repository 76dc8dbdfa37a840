// Package healthcheck asks targets of a [balancer.Pool] whether they can take requests: by a request of HTTP, by a call of
// gRPC's health service, or by a connection alone.
//
//	users, err := gateway.NewUpstream(gateway.UpstreamConfig{
//		Name:    "users",
//		Targets: []balancer.Target{{URL: "http://10.0.0.1:8080"}, {URL: "http://10.0.0.2:8080"}},
//		Health:  balancer.Health{Active: balancer.Active{Checker: healthcheck.HTTP{Path: "/healthz"}}},
//	})
//
// Checks follow no redirects, read bounded answers, keep no connections, and verify certificates like requests do. Each
// checker is a configuration value that holds no state, and may be used for any number of pools. What else is needed is one
// method: see [balancer.Checker].
package healthcheck
