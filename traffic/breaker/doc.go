// Package breaker stops asking what fails: a circuit breaker around an upstream or any handler.
//
// A [Breaker] is closed at first: everything passes, and its outcome is counted. When too much of it fails, or is slow, the
// Breaker opens and refuses requests at once, with 503 and Retry-After, so that they neither wait for what does not answer
// nor keep it from recovering. After a while it lets a few requests through as probes, and closes again when they succeed.
//
// Given to an upstream it is asked before each try, and each try is counted:
//
//	trip := policy.Must(breaker.New(breaker.Config{Name: "users", OnChange: func(c breaker.Change) { log.Print(c) }}))
//	users, err := gateway.NewUpstream(gateway.UpstreamConfig{Name: "users", Targets: targets, Admission: []policy.Admission{trip}})
//
// As a plugin it stands around any handler, and may have a fallback that answers while it is open:
//
//	trip := policy.Must(breaker.New(breaker.Config{Name: "search", Fallback: page}))
//	mux.Handle("/search", trip.Wrap(search))
//
// One Breaker is one circuit. Use one value in several places to have them open together, and one for each to keep them
// apart. An application may also ask it about anything else, by [Breaker.Admit] and [Breaker.Done].
//
// # What counts
//
// A failure is an answer with a status of Config.Failures, which are those from 500 unless told otherwise; no answer, because
// of a connection, a timeout or nonsense; one that breaks off; and a handler that panics. What clients do is none: their
// leaving, a body they do not send or send too slowly, and what is answered with a 4xx. Neither are refusals by plugins inside, or
// by an upstream that asked no target. All of these say nothing, and count as nothing at all.
//
// An answer counts when it begins, and once more if it breaks off: a stream is a success from its first byte, and a probe
// that is a WebSocket keeps nobody waiting. How slow it is, is the time to its first byte, without the time that the client took for its
// own body.
//
// The decision record says "closed" or "probe" for what passes, and "circuit_open" or "circuit_half_open" for what is refused.
//
// It does not try again, choose among targets or bound how long anything takes; and it looks at statuses, not at the trailers
// of gRPC.
package breaker
