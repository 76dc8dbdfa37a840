package config

import (
	"crypto/tls"
	"errors"
)

// tlsOf is how TLS is spoken to the targets of a service; nil where it is not. up is the upstream it names, or nil.
func (b *builder) tlsOf(s *service, up *upstream) *tls.Config {
	if s.scheme() != schemeHTTPS {
		return nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if up != nil { // what is asked for is what is verified
		c.ServerName, _ = splitPort(up.HostHead)
	}
	if s.TLSVerify == nil || !*s.TLSVerify {
		c.InsecureSkipVerify = true // Kong's default
		b.warnf(s.node, "the certificates of service %q are not verified, as is Kong's default; set tls_verify to true", s.key)
	}
	if isGRPC(s.Protocol) {
		c.NextProtos, c.VerifyConnection = []string{"h2"}, requireHTTP2
	}
	return c
}

var errNoHTTP2 = errors.New("config: the target does not agree to HTTP/2, which gRPC needs")

// requireHTTP2 ends the handshake with a target that would be spoken to in HTTP/1.1.
func requireHTTP2(s tls.ConnectionState) error {
	if s.NegotiatedProtocol != "h2" {
		return errNoHTTP2
	}
	return nil
}
