// Package terminate answers requests itself, with a fixed answer, instead of passing them on: for an API that is closed,
// a page during maintenance, a redirect, a health check, or a look at what a request is made of when it arrives.
//
// A [Terminator] is a plugin, so that a route can be closed without touching anything else about it:
//
//	closed := policy.Must(terminate.New(terminate.Config{
//		Message: "Back at noon",
//		Header:  http.Header{"Retry-After": {"3600"}},
//	}))
//	gateway.Route{Name: "users", Plugins: []gateway.Plugin{closed, keys}, Handler: users}
//
// and it is an [http.Handler], so that a route can consist of it:
//
//	alive := policy.Must(terminate.New(terminate.Config{Status: 200, Body: "ok\n"}))
//	gateway.Route{Name: "alive", Match: gateway.Match{Paths: []string{"/alive"}}, Handler: alive}
//
// One with Config.Standby waits until it is needed:
//
//	maintenance := policy.Must(terminate.New(terminate.Config{Standby: true, Message: "Back at noon"}))
//	gateway.Route{Name: "users", Plugins: []gateway.Plugin{maintenance, keys}, Handler: users}
//	maintenance.SetActive(true) // and later false
//
// An error status with a message is a refusal like any other: the shape of the body, the gateway's ErrorHandler, problem
// details and gRPC are the business of [policy.Refuse]. All other answers are written as they are configured. Every
// answer is marked as made by the gateway, is not to be stored by caches unless Config.Header says otherwise, and goes
// out without waiting for the body of the request; over HTTP/1 that may cost the connection.
//
// The decision record says "terminated", with the verdict Refused for error statuses. An answer below 400 gives the
// client what the operator wants it to have; it is recorded as Answered, so that it does not count among the refusals.
// A request that does not carry the [Config] Trigger passes on, recorded as Skipped, "not_triggered", or "standby".
//
// The package computes no answers: for those write a handler. It does not read request bodies.
package terminate
