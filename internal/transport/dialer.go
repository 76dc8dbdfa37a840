package transport

import (
	"net"
	"time"
)

const (
	// keepAlive is the time between probes of idle connections.
	keepAlive = 15 * time.Second
	// unacknowledged is how long what was sent may wait for the target's system to say that it has come, where the platform can
	// be told so: a connection that leads nowhere any more would otherwise have requests for a quarter of an hour.
	unacknowledged = 30 * time.Second
)

// NewDialer returns what makes connections to targets, unless the application does.
func NewDialer() *net.Dialer {
	return &net.Dialer{KeepAlive: keepAlive, Control: limitUnacknowledged}
}
