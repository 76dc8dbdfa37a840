package healthcheck

import (
	"context"
	"crypto/tls"

	"github.com/gatehouse-go/gateway/balancer"
)

// TCP checks by a connection, which is closed again. The zero TCP is ready. A target that is stopped, or hangs, may go on taking
// connections: its system does.
type TCP struct {
	// TLS has a handshake made, which verifies the certificate. Default: it is not.
	TLS bool
}

// Check implements [balancer.Checker].
func (t TCP) Check(ctx context.Context, c balancer.Check) error {
	conn, err := c.Dial(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if t.TLS {
		return tls.Client(conn, tlsOf(c, c.URL)).HandshakeContext(ctx) //nolint:wrapcheck // it says what happened
	}
	return nil
}
