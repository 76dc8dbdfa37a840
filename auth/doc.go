// Package auth is what the authentication policies share: the interface of a method, the two sentinels that tell an
// absent credential from a wrong one, the handler that makes a method a plugin, places to look for a credential, and
// stores of API keys.
//
// A [Method] decides from a request alone who the caller is. [Wrap] adapts it to a chain: it records the identity in
// the request's [policy.Exchange], hides the credential from those inside, and refuses with 401 and a challenge. What
// a policy adds is only how its credential is read and verified; auth/keyauth is the model.
//
// Methods combine in two ways. Written one after the other, each must pass: the last identity counts. [AnyOf] accepts
// the first that finds a credential, and with [Anonymous] as its last method lets callers without any pass as guests:
//
//	keys := policy.Must(keyauth.New(keyauth.Config{Consumers: auth.Static{"k1": {ID: "1", Username: "ann"}}}))
//	partners := policy.Must(keyauth.New(keyauth.Config{Consumers: store, Names: []string{"X-Partner-Key"}}))
//	login := policy.Must(auth.AnyOf(keys, partners, auth.Anonymous(&policy.Consumer{ID: "guest"})))
//	mux.Handle("/v1/", login.Wrap(api))
//
// Everything fails closed. A wrong credential is refused even where guests may pass, because a client that shows one
// means to be somebody; a store that cannot answer is a 503, never a guest; a request that shows two credentials, or
// spells one so that an upstream could read another, is refused.
//
// API keys are kept as digests. [Static] is for a literal in a program, [MemoryKeys] for keys that come and go while
// traffic flows, [KeyCache] stands before a store that answers over a network, and any [KeyStore] of the application's
// serves as well.
//
// The package does not issue keys, does not limit guesses (put a rate limit by client address in front), and does not
// tell upstreams who the caller is: the proxy does, from the Exchange.
package auth
