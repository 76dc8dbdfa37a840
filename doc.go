// Package gateway is an embeddable API gateway: a route table over ordinary http.Handlers, chains of plugins around
// them, and reverse proxies to pools of upstream targets.
//
// A [Gateway] is an [http.Handler] made from a [Config] of plain values. Nothing is registered globally and nothing
// listens by itself: the application keeps its main, its server and its logger.
//
//	users := gateway.Must(gateway.NewUpstream(gateway.UpstreamConfig{
//		Name:    "users",
//		Targets: []balancer.Target{{URL: "http://10.0.0.1:8080"}, {URL: "http://10.0.0.2:8080"}},
//	}))
//	keys := gateway.Must(keyauth.New(keyauth.Config{Consumers: consumers}))
//	gw, err := gateway.New(gateway.Config{
//		Routes: []gateway.Route{{
//			Name:    "users",
//			Match:   gateway.Match{Paths: []string{"/v1/users/*rest"}},
//			Plugins: []gateway.Plugin{keys},
//			Handler: users,
//		}},
//		Owns: []io.Closer{users},
//	})
//	if err != nil {
//		log.Fatal(err) // every mistake of the configuration, at once
//	}
//	err = gw.Run(ctx, gateway.NewServer(":8080", gw))
//
// A request passes the entry (package policy), is routed once by its canonical path, runs through the plugins in the
// order written, and ends in the route's handler. A table is immutable; [Gateway.Apply] swaps it for another between
// two requests.
//
// What a table does can be asked before it serves: [Config.Validate] reports routes that are never reached, chains in which
// a plugin lacks what it requires, and more, with requests that prove it; [Gateway.Explain] says which route would take a
// request and why, what each plugin would decide, and which targets there are.
//
// The package does not authenticate, limit, cache or log: those are plugins, each in a package of its own that works
// without this one.
package gateway
