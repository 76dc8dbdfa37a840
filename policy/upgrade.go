package policy

import (
	"context"
	"time"
)

// Upgrade says to which protocols a client may switch its connection (RFC 9110 section 7.8), and how such connections end.
// The zero Upgrade allows none. Over HTTP/2 there are no such switches, and its way to WebSockets (RFC 8441) net/http's server
// offers only under a GODEBUG setting; such a request is a CONNECT, which every Entry refuses. Clients then use HTTP/1.1.
type Upgrade struct {
	// Protocols are those that a client may switch to, such as "websocket", in any case. What an Upgrade field names beside
	// them is not passed on; a request that asks for none of them, and one over HTTP/2 or HTTP/1.0, is served as if it asked
	// for nothing. A request that asks for one must not have a body, and a handshake for WebSocket must be one (RFC 6455 section
	// 4.2.1). Nothing the client sends reaches the target before that has switched. HTTP itself ("h2c") is an error.
	Protocols []string
	// Origins are the values that Origin may have in a request that switches, such as "https://app.example.com": a page of any
	// site may open a WebSocket with the cookies of its visitors. A request without the field passes, it comes from no page.
	// Nil allows all.
	Origins []string
	// Idle ends a connection over which nothing came from either side for so long. Default 5 min, negative: never. Lifetime
	// ends one after that time. Default, and negative: never; until it ends it keeps the configuration it began with. A
	// WebSocket is closed with status 1001 and has five seconds to answer.
	Idle, Lifetime time.Duration
}

// Tunnel is what went over a connection that switched protocols.
type Tunnel struct {
	// Protocol is what it switched to.
	Protocol string
	// FromClient and ToClient are what the gateway passed on each way.
	FromClient, ToClient Traffic
}

// Traffic is what went one way.
type Traffic struct {
	// Bytes counts everything behind the handshake, Messages those of WebSocket; with another protocol it is 0.
	Bytes, Messages int64
}

// SetEnding says when the gateway that serves the request begins to shut down: when ctx ends. Gateways call it.
func (x *Exchange) SetEnding(ctx context.Context) {
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ending = ctx
}

// Ending returns a context that ends when the gateway begins to shut down. A handler whose answer has no end, such as an
// event stream, may end it then in its own words, instead of being cut off. Without a gateway it never ends. It is not the
// context of the request.
func (x *Exchange) Ending() context.Context {
	if x == nil {
		return context.Background()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ending == nil {
		return context.Background()
	}
	return x.ending
}
