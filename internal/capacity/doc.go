// Package capacity is the state machine of a limit on concurrency, without a
// lock, a clock or a word about HTTP.
//
// A [Gate] has places, as many as its limit says, and a bounded queue in front
// of them, ordered by class. Whoever wants to call takes a place, or waits for
// one, and says how it went in the end:
//
//	g := capacity.New(capacity.Settings{Limit: 10, Classes: 1, Queue: 5, MaxWait: time.Second})
//	ticket, ok := g.Take(now, 0)
//	if !ok {
//		loser := g.Join(now, 0, &waiter) // if it is not nil, it waits no longer
//	}
//	g.End(now, ticket, capacity.Result{Kind: capacity.Answered, Took: took})
//	for w := g.Next(now); w != nil; w = g.Next(now) {
//		// w has got a place, or has waited for too long
//	}
//
// The limit is fixed, or found by a [Search], which looks at how long answers
// take: see its comment for how.
//
// Times are durations since a moment of the owner's choice. They never go
// back: an earlier one counts as the latest that was seen. Memory is fixed but
// for the waiters, which belong to the owner. The package imports the standard
// library only.
package capacity
