// Package policy is the vocabulary every plugin of a gateway shares: what a plugin is, what is known about the
// request in flight, how a refusal is written, and what an upstream tells the plugins about its tries.
//
// A plugin is anything that can wrap an [http.Handler]. What plugins learn about a request (the client's address, the
// caller's identity, what each of them decided and why) is kept in one [Exchange] per request, found through the
// request's context. Plugins need no gateway: each calls [Ensure], which makes an Exchange when there is none, so that
// two policies compose in front of an ordinary handler:
//
//	entry := policy.Must(policy.NewEntry(policy.EntryConfig{}))
//	keys := policy.Must(keyauth.New(keyauth.Config{Consumers: consumers}))
//	limit := policy.Must(ratelimit.New(ratelimit.Config{
//		Limits: []ratelimit.Limit{ratelimit.PerMinute(60)},
//		Key:    policy.ByConsumer(),
//	}))
//	mux.Handle("/v1/", entry.Wrap(keys.Wrap(limit.Wrap(api))))
//
// An [Entry] is the guard a gateway puts before everything else. It refuses what must not enter, fixes the one
// spelling of the path, resolves the client's address from trusted proxies and deletes forged headers. A service
// without a gateway uses it as its outermost middleware; without it the client's address is the TCP peer.
//
// Every refusal goes through [Refuse], so that it is recorded, answered in one format and marked as made by the
// gateway. Only the text of an [Error] reaches a client; its cause is for logs.
//
// The package does not route, proxy or log, starts no goroutine and imports only the standard library.
package policy
