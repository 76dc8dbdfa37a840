// Package balancer chooses which target of an upstream gets the next request.
//
// A [Pool] holds the targets and what is known about each: requests in flight, totals, the last failure. An [Algorithm]
// is a configuration value, such as [RoundRobin], that builds a [Picker] for the targets that take traffic; the pool
// builds a new one whenever the targets change, while requests go on with the old. Who sends requests calls Pick, and
// Done when the request has ended, on every path:
//
//	pool, err := balancer.NewPool(balancer.Config{Targets: []balancer.Target{
//		{URL: "http://10.0.0.1:8080", Weight: 200},
//		{URL: "http://10.0.0.2:8080"},
//	}})
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
// The package sends nothing, resolves no names, never sees a response writer, and imports only the standard library and
// the vocabulary in package policy.
package balancer
