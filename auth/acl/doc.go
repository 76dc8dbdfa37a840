// Package acl lets callers in by the groups of their consumer.
//
// Who the caller is, a policy before it has found out (auth/keyauth, say); which groups that consumer is in, its store
// says. The groups of the identity in the request's [policy.Exchange] are compared with a list of those that may pass
// and a list of those that may not:
//
//	keys := policy.Must(keyauth.New(keyauth.Config{Consumers: consumers}))
//	staff := policy.Must(acl.New(acl.Config{Allow: []string{"staff"}, Deny: []string{"suspended"}}))
//	mux.Handle("/v1/orders/", keys.Wrap(staff.Wrap(orders)))
//
// Groups are compared exactly: case counts, and no name is a part of another. Deny wins over Allow. Without an
// authenticated caller the answer is 401, for one who may not pass it is 403.
//
// An anonymous consumer is judged by its groups like any other. When it has none it is nobody, and where it may not pass
// the answer is 401 with the challenges of the methods that let it through.
//
// The decision record has these reasons: group_allowed and no_group_denied for those who pass, unauthenticated (401),
// group_denied and no_group_allowed (403) for those who do not.
//
// The package reads no header, no claim and no store; it does not authenticate, and requires a policy that does to
// stand outside.
package acl
