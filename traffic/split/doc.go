// Package split sends each request to one of several handlers: canaries, blue/green, experiments.
//
// A [Split] is an http.Handler with arms, each a handler with a name and a weight. It goes where an upstream goes:
//
//	canary := gateway.Must(split.New(split.Config{
//		Arms: []split.Arm{{Name: "stable", Weight: 95, Handler: v1}, {Name: "canary", Weight: 5, Handler: v2}},
//		Sticky:   policy.ByConsumer().Or(policy.ByCookie("session")),
//		Rollback: split.Rule{Arm: "canary", Against: "stable", OnRollback: func(r split.Rollback) { log.Print(r) }},
//	}))
//	gw, err := gateway.New(gateway.Config{Routes: []gateway.Route{{Name: "app", Handler: canary}}, Owns: []io.Closer{v1, v2}})
//	err = canary.SetWeights(map[string]int{"stable": 50, "canary": 50}) // live
//
// Blue/green is the same with weights of 100 and 0, [Split.Switch] and [Split.Revert].
//
// # Which arm
//
// The first of these that applies, which is the reason in the decision record; its detail is the arm's name:
//
//   - "override_header", "override_cookie", "override_group": one of Config.Overrides, in the order written. It reaches arms without
//     weight, too. What clients send that no override names chooses nothing.
//   - "sticky": the weights, by the hash of Config.Sticky, or of the cookie of Config.Cookie where that key has no value.
//   - "weight": the weights, in turn. Any number of requests in a row is spread as the weights say, but for a few.
//
// While the weights stay, so does a key in its arm, also in other processes and after a restart: that depends on Name, Seed and
// the arms' names and weights alone. When they change, a key moves only to an arm whose weight has grown by a larger factor than
// that of its own: from 95 and 5 to 90 and 10 nobody leaves the canary, and 5.3 % of the others join it. (It is weighted rendezvous
// hashing.) Neither Vary nor Cache-Control is set: a shared cache outside a Split serves what any arm answered.
//
// # Rollback
//
// [Rule] compares what two arms did within the same window, and takes an arm's weight away once it is worse, with numbers that say
// why. Both have to have had enough requests, and the difference has to be more than chance explains, so that neither a
// single failure nor an outage behind both arms is a reason. It does not undo itself.
//
// An error is an answer with a status from 500, one that breaks off, and a panic, which goes on to whoever recovers. A refusal inside
// an arm, by a plugin or by an upstream that has no target or whose breaker is open, is one when its status is from 500: clients
// of the other arm do not get it. With a lower status it counts as nothing at all, and so does what clients do: their leaving, or
// a body they do not send. An answer counts when it begins, and once more if it breaks off. Its latency is the time to its first
// byte, without the time that the client took for its own body, and is looked at where there was no error.
//
// It does not try again in another arm, send a request to two of them, or look at the trailers of gRPC.
package split
