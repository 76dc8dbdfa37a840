package policy

import (
	"context"
	"net/http"
)

// DuplicateExchange is [NewExchange] for a copy of a request that goes somewhere of its own, as a mirror sends one: the new
// Exchange knows of the request what that in the context of r knows, which is who asks, for what, by which route, under
// which id, and how the route wants its upstream request made. What was done with the request stays with the old one:
// decisions, tries, hooks, the cache status, challenges, the progress of the body and the ErrorHandler. Neither hears of the
// other any more. Without an Exchange in the context it is NewExchange. It returns a shallow copy of r.
func DuplicateExchange(r *http.Request) (*Exchange, *http.Request) {
	x := ExchangeFrom(r.Context())
	if x == nil {
		return NewExchange(r)
	}
	if ctx := r.Context(); reportScopeFrom(ctx) != nil {
		r = r.WithContext(context.WithValue(ctx, scopeKey{}, (*reportScope)(nil)))
	}
	d := newExchange(r)
	id := x.RequestID() // made now, if need be, so that both have the same
	x.mu.Lock()
	defer x.mu.Unlock()
	d.peer, d.client, d.trusted = x.peer, x.client, x.trusted
	d.scheme, d.host, d.port, d.path = x.scheme, x.host, x.port, x.path
	d.entry, d.inner = x.entry, x.inner
	d.route, d.pattern, d.matched, d.stripped = x.route, x.pattern, x.matched, x.stripped
	d.forward, d.version, d.requestID, d.ending = x.forward, x.version, id, x.ending
	d.identity, d.groupsHidden = x.identity, x.groupsHidden
	return d, d.attach(r)
}
