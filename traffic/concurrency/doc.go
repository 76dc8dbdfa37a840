// Package concurrency sheds load: it bounds how many requests are under way at once in an upstream or any handler, lets a few
// more wait, and refuses the rest at once, so that what is accepted is answered in time.
//
// A server that is asked for more than it can do answers ever later, until nobody waits for its answers any more: it works at full
// speed for nothing. A [Limiter] in front of it has places, as many as the server can work on. Who finds none waits in a queue,
// for a moment; who finds no room there, or waits for too long, gets 503 with Retry-After.
//
// Given to an upstream it is asked before each try:
//
//	limit := policy.Must(concurrency.New(concurrency.Config{Name: "users"}))
//	users, err := gateway.NewUpstream(gateway.UpstreamConfig{Name: "users", Targets: targets, Admission: []policy.Admission{limit}})
//
// As a plugin it stands around any handler:
//
//	limit := policy.Must(concurrency.New(concurrency.Config{Name: "reports", Limit: 4}))
//	mux.Handle("/reports", limit.Wrap(reports))
//
// One Limiter is one limit. Use one value for several routes or upstreams to have them share its places, but not twice in the way of
// one request, which could then wait for itself. An application may also ask it about anything else, by [Limiter.Admit] and
// [Limiter.Done].
//
// # The limit
//
// Config.Limit is a fixed one. Without it the Limiter finds out what the server can do, and goes on finding out: it compares what
// answers take with what they take when nothing waits in the server, and keeps the limit where the server has always something to
// do and little that waits in it. Now and then it lowers the limit for a few answers, in order to see whether they become quicker;
// so it notices what was deployed and is slower by itself, and does not shed because of that. [Adaptive] has its settings.
//
// It learns from answers that begin, and from refusals and failures of the server: statuses of Adaptive.Overloaded, timeouts, and
// connections that were refused or broke lower the limit. Clients that leave do not; nor do refusals by plugins inside, hedged
// requests that were overtaken, and what is answered with other statuses. It takes some dozens of answers to move: where there are
// a few in a second, or each takes for as long as a hundred others, set Limit.
//
// # Who waits, and who has to go
//
// Config.Class puts each request into a class, of which 0 is the highest. A place that becomes free goes to the highest class that
// waits, and within it to who came first, or last with LIFO. When one too many waits, the one that would have been served last
// goes: so a higher class displaces a lower one. No class has a share of its own: a higher one that fills all places leaves the
// lower ones none, and those that wait are refused after Config.MaxWait. What has a place keeps it. For a share, give part of a
// class's requests a higher one, or use two Limiters.
//
// A client that leaves while it waits gives up its place in the queue as soon as that is known: at once, but in HTTP/1 not before its
// body has been read, so that with one it is waited for until it is served, or Config.MaxWait has passed.
//
// # How long a place is held
//
// Until the exchange ends: an upstream's try with the last byte of its answer, a handler's when it returns. A stream of events or
// a WebSocket holds its place all the time, and where there are many of them no limit can be found: give them a route of their
// own, or set Config.UntilAnswered, by which a place is free again when the answer begins. A handler that hands a hijacked
// connection to another goroutine and returns has given its place back. A client that sends its body slowly holds a place
// meanwhile.
//
// The decision record says "free" or "waited" for what passes, and "limit_reached" (where nothing may wait), "queue_full",
// "displaced" or "wait_timeout" for what is refused; "client_left" when nobody is there to be answered.
//
// It does not bound how many requests come in a second, as package ratelimit does, and knows no clients.
package concurrency
