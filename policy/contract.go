package policy

import "slices"

// Fact names something a plugin establishes about a request for those inside it. The set is open: a plugin may declare
// facts of its own.
type Fact string

// The facts the plugins of this module speak of.
const (
	// Authenticated: the Exchange holds an identity, or the request was refused. An anonymous identity counts.
	Authenticated Fact = "authenticated"
	// Authorized: the caller may do what the request asks for, or the request was refused. Access lists provide it.
	Authorized Fact = "authorized"
	// ClientAddress: the Exchange holds the client's address as the trusted proxies tell it. An [Entry] provides it, and
	// so every gateway does.
	ClientAddress Fact = "client_address"
)

// Contract is what a plugin asks of the chain it stands in. The zero Contract asks and promises nothing. A gateway
// refuses a chain that breaks one.
type Contract struct {
	// Requires lists what must have been established by the plugins around it.
	Requires []Fact
	// Provides lists what holds for everything inside it.
	Provides []Fact
	// Precludes lists what no plugin inside it may provide: a cache in front of authentication would answer callers
	// whom nobody has looked at.
	Precludes []Fact
	// BuffersRequest: the plugin holds the whole request body before it goes on.
	BuffersRequest bool
	// BuffersResponse: the plugin holds the whole response body before it reaches the client.
	BuffersResponse bool
}

func (c Contract) clone() Contract {
	c.Requires, c.Provides, c.Precludes = slices.Clone(c.Requires), slices.Clone(c.Provides), slices.Clone(c.Precludes)
	return c
}
