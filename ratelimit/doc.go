// Package ratelimit limits how many requests each caller may make.
//
// A [Limiter] holds one or several limits, such as 60 a minute and 1,000 an hour, and counts requests by a
// [policy.Key]: the consumer, the credential, the client's address, a header field, the path, the route, or a function of
// the application's, each with a fallback where it has no value. A request has to fit all limits; one that does not is
// counted by none of them. What does not fit is refused with 429 and Retry-After.
//
//	entry := policy.Must(policy.NewEntry(policy.EntryConfig{TrustedProxies: proxies}))
//	limit := policy.Must(ratelimit.New(ratelimit.Config{
//		Limits: []ratelimit.Limit{ratelimit.PerMinute(60), ratelimit.PerHour(1000)},
//		Key:    policy.ByConsumer().Or(policy.ByClientAddress()),
//	}))
//	mux.Handle("/v1/", entry.Wrap(keys.Wrap(limit.Wrap(api))))
//
// The counters belong to the Limiter: wrap several handlers with one value to have them share, and make one for each to
// keep them apart. Requests for which the key has no value are counted together, never let through uncounted.
//
// Three algorithms are offered, see [Algorithm]. They decide and count in one step, so that of any number of parallel
// requests exactly as many pass as the limit says. Time is the monotonic clock: setting the system's clock grants and
// takes nothing. Under testing/synctest it is the bubble's clock.
//
// Counters live in memory, which is bounded whatever clients send, see [Limiter]; or in a [Store] that other processes
// share. While a store fails, the Limiter's own counters take over, or requests are refused: see [OnError].
//
// The reason codes of the decision record are those of [Result].
//
// The package does not queue or delay requests, does not limit how many run at the same time, and does not adjust what
// was counted once the answer is known.
package ratelimit
