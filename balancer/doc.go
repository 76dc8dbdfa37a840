// Package balancer chooses which target of an upstream gets the next request.
//
// A [Pool] holds the targets and what is known about each: requests in flight, totals, the last failure, its health. An [Algorithm]
// is a configuration value, such as [RoundRobin], that builds a [Picker] for the targets that take traffic; the pool
// builds a new one whenever the targets change, while requests go on with the old. Who sends requests calls Pick, and
// Done when the request has ended, on every path:
//
//	pool, err := balancer.NewPool(balancer.Config{
//		Targets:   []balancer.Target{{URL: "http://10.0.0.1:8080", Weight: 200}, {URL: "http://10.0.0.2:8080"}},
//		Algorithm: balancer.LeastConnections{},
//		SlowStart: 30 * time.Second,
//	})
//	if err != nil {
//		return err
//	}
//	defer pool.Close()
//	m, err := pool.Pick(balancer.Query{Request: r})
//	if err != nil {
//		return err // ErrNoTarget
//	}
//	outcome := send(r, m.URL())
//	pool.Done(m, outcome)
//
// A gateway makes pools by itself, from the targets in an upstream's configuration; a pool made by hand can be shared by
// several upstreams, which then see one state.
//
// # Which algorithm
//
//	RoundRobin        exact shares; requests that cost about the same, targets that are alike
//	Random            the same shares by chance; many gateways in front of the same targets
//	LeastConnections  requests that last differently; finds the least busy of all targets
//	TwoChoices        as that, without its lock and without a rush to the least busy one
//	PeakEWMA          targets that are not equally fast, or become slow, or fail
//	Ring, Maglev      requests with one key to one target: caches, sessions in memory
//	Sticky            clients stay where they were, by a signed cookie
//
// A pick takes about as long with 1,000 targets as with 2, and allocates nothing. Hashing takes its key from a [policy.Key]:
// the consumer, the client's address, a header field, a cookie, the path, a query parameter, a parameter of the path, or what
// a function makes of the request, each with another to fall back to. A request that has none goes to the next target in
// turn, never always to the same one.
//
// # Tiers, zones, and targets that come and go
//
// Target.Priority puts targets into tiers, of which the next one serves when the one before cannot; of one tier those in the
// zone of the pool come first. [Pool.SetTargets] replaces the targets while traffic flows: those that stay keep their counters,
// latencies and requests, new ones start slowly, removed ones drain.
//
// What is chosen by chance can be chosen again: algorithms that draw have a Seed.
//
// # Health
//
// [Health] says which targets can take requests: requests that fail eject their target for a while, checks take out what fails
// them and bring back what passes. Package healthcheck has checks. Too few healthy targets are not left alone with all requests.
//
// The package sends no requests, resolves no names, never sees a response writer, and imports only the standard library and
// the vocabulary in package policy.
package balancer
