package policy

import (
	"net/http"
	"time"
)

// Forward says how the request to the upstream is made from the one that came in. The zero Forward sends the canonical
// path as it is, to the target's own host.
type Forward struct {
	// StripPath removes what the route's pattern matched from the beginning of the path: /v1/users/42 becomes /42 under
	// the subtree pattern /v1/users/*rest.
	StripPath bool
	// Path is put before what is left, with exactly one slash between. It begins with a slash, or is empty.
	Path string
	// ConcatPath puts Path before what is left byte by byte instead, without a slash of its own, as Kong's path_handling v1
	// does: /service and /users become /serviceusers. Two slashes that meet where StripPath cut become one.
	ConcatPath bool
	// PreserveHost sends the client's Host instead of the target's.
	PreserveHost bool
	// Host is sent as Host, whatever the client and the target say.
	Host string
	// KongForwarded fills some X-Forwarded fields as Kong does: Host without a port, Port with that of the listener the client
	// reached, and the Prefix of a trusted proxy as it is. By default Host and Port are what the client asked for, and the
	// prefix that StripPath took off is appended. Where the request came through no listener, as in tests, the port is the default.
	KongForwarded bool
	// Rewrite changes the outgoing request last, after the hop-by-hop fields have gone and before the gateway sets the
	// header fields it owns, so that it cannot be undone by a client's Connection header nor forge an identity. in is
	// read-only. What it does to path, query and header of out counts, the path in its canonical form; method, host, target,
	// body and framing are restored. A path or query that cannot be sent is a 500. Only upstreams call it. Nil changes
	// nothing.
	Rewrite func(in, out *http.Request)
	// RequestTrailers sends on the trailers that the client announced in Trailer, in a body that is chunked then whatever
	// length was declared. By default a request has none, and announces none, when it goes to an upstream: few servers look
	// at trailers, and those that take them for header fields would take them after everything that judged the header.
	// Therefore fields about framing, routing, authentication, conditions, ranges and the content (RFC 9110 section 6.5.1),
	// those that Connection names, those the gateway owns and those the Entry deletes from headers are left out in any case,
	// announced or not. With a value that no field can carry the request is answered with 400, with more than 4 KiB of
	// trailers with 431, and the upstream's request is broken off. A plugin that replaces the request by its Clone loses
	// their values. Only upstreams look at it.
	RequestTrailers bool
	// Upgrade allows protocols that clients may switch to, such as WebSocket. Only upstreams look at it.
	Upgrade Upgrade
	// FlushInterval is how long bytes of an answer whose length was declared may wait for more. Zero: until the server's buffer
	// is full, or the answer ends. Negative: each piece is sent as it comes, as answers of unknown length, event streams and
	// gRPC are in any case. Only upstreams look at it.
	FlushInterval time.Duration
	// Timeouts that are set replace those of the upstream.
	Timeouts Timeouts
	// TimeoutHeader is the name of a field that tells the target how many milliseconds there still are for its answer, such as
	// X-Request-Timeout-Ms: what is left of Timeouts.Total, or Retry.PerTry where that is less; at least 1. Without either
	// there is no such field. What the client sent under that name, in any alias form, goes in any case. Default: none. Only upstreams look at it.
	TimeoutHeader string
	// Retry says when a request is sent again; what is set replaces what the upstream says. Only upstreams look at it.
	Retry Retry
}

// Timeouts bound an upstream request. In each field zero means the default, negative means no bound. FirstByte and Idle may be
// exceeded by a sixteenth, or by 20 ms if that is more.
type Timeouts struct {
	// Connect bounds the making of a connection, TLS included. Default 3 s. One that is made when its request was given up is left to
	// others: without a bound it has until Total, and 5 min at most.
	Connect time.Duration
	// FirstByte bounds the wait for the head of the final answer, from when the request was sent. Default 30 s.
	FirstByte time.Duration
	// Idle bounds each pause within the body of the answer. Default 60 s.
	Idle time.Duration
	// Total bounds the whole exchange with the upstream, all tries included. Default: no bound. Once a connection has
	// switched protocols, Upgrade.Idle and Upgrade.Lifetime bound it instead.
	Total time.Duration
}
