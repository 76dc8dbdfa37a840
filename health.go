package gateway

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/internal/transport"
)

// health returns the configuration of the pool's health, whose checks connect like requests do.
func (c *UpstreamConfig) health() balancer.Health {
	h := c.Health
	if h.Active.Checker == nil {
		return h
	}
	if h.Active.Dial == nil {
		h.Active.Dial = c.checkDialer()
	}
	if h.Active.TLS == nil && (c.TLS != nil || c.Authorities != nil) {
		config, authorities := c.TLS.Clone(), c.Authorities
		h.Active.TLS = func() *tls.Config { return withAuthorities(config, authorities) }
	}
	return h
}

// checkDialer returns how checks connect, to a Unix socket as well. They tell the target that they come from no client.
func (c *UpstreamConfig) checkDialer() func(ctx context.Context, network, address string) (net.Conn, error) {
	plain := transport.NewDialer()
	own, preface := c.Dial, c.ProxyHeader.preface()
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		dial := plain.DialContext
		if own != nil && network != "unix" {
			dial = own
		}
		conn, err := dial(ctx, network, address)
		if err != nil || preface == nil {
			return conn, err
		}
		if deadline, ok := ctx.Deadline(); ok {
			_ = conn.SetWriteDeadline(deadline)
		}
		if _, err := conn.Write(preface(ctx)); err != nil {
			_ = conn.Close()
			return nil, err //nolint:wrapcheck // it says what happened
		}
		return conn, nil
	}
}

// withAuthorities returns config with those that are in force now.
func withAuthorities(config *tls.Config, authorities *Authorities) *tls.Config {
	if authorities == nil {
		return config
	}
	if config = config.Clone(); config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	config.RootCAs, _ = authorities.current()
	return config
}
