// Package keyauth lets callers in who show an API key.
//
// A key stands in a request header field, by default Apikey; query parameters, cookies and body fields are searched
// only when [Config].In says so. It is looked up in a store of consumers: a literal ([auth.Static]), a store in memory
// that can be changed while traffic flows ([auth.MemoryKeys]), or one of the application's ([auth.KeyStore]). What the
// policy found out is the identity in the request's [policy.Exchange], for access lists, limits and logs inside:
//
//	keys := policy.Must(keyauth.New(keyauth.Config{
//		Consumers:       auth.Static{"k1": {ID: "1", Username: "ann", Groups: []string{"staff"}}},
//		HideCredentials: true,
//	}))
//	staff := policy.Must(acl.New(acl.Config{Allow: []string{"staff"}}))
//	mux.Handle("/v1/", keys.Wrap(staff.Wrap(api)))
//
// Exactly one key is accepted. A request without one, with several, or with one that is unknown, expired or disabled is
// answered with 401 and a challenge of the scheme Key; the last three of these cannot be told apart. A request that two
// readers could read differently is answered with 400, a body too large to be searched with 413, and a store that
// cannot answer is a 503: nobody passes because of a fault.
//
// The reason codes are those of [auth.Wrap] and [auth.Source].
//
// It does not make keys, does not limit guesses (put a rate limit by client address in front), and has no groups of its
// own (see auth/acl).
package keyauth
