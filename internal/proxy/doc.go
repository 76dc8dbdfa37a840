// Package proxy makes the request that goes to an upstream from the one that came in, and the answer to the client from
// the upstream's.
//
// The two sides are kept apart: the client's request is never changed, and everything about header fields that differ
// between the sides stands here, for both directions. A [Proxy] holds what all requests share, a [Call] is one client
// request, for which [Call.Outgoing] makes one request per try, and [Call.Deliver] sends the answer:
//
//	c, err := p.Accept(w, r)
//	if err != nil {
//		return refuse(err) // a loop, or an identity that cannot be sent
//	}
//	defer c.Release()
//	out, err := c.Outgoing(target)
//	if err != nil {
//		return refuse(err)
//	}
//	res, err := transport.Send(out, limits)
//	if err != nil {
//		return refuse(c.Failure(err))
//	}
//	defer res.Body.Close()
//	d := c.Deliver(w, res)
//
// Fields the gateway owns are set after those a client may nominate for removal in Connection have gone, so that no
// client can remove or forge them. What frames a message (Content-Length, Transfer-Encoding, Host, Trailer) never comes
// from a header map. Bodies stream both ways through pooled buffers; trailers are filtered, those of
// requests forwarded only where a route says so, and upgrades are not forwarded.
//
// The package does not choose targets, retry, hold connections, or decide how long anything may take.
package proxy
