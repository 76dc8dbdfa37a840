package gateway

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// ServerTLSConfig configures TLS towards clients; see [NewServerTLS].
type ServerTLSConfig struct {
	// Certificates are those of the server. Required.
	Certificates *Certificates
	// MinVersion is the oldest version of TLS. Default, and at least, tls.VersionTLS12.
	MinVersion uint16
	// ClientCAs are files in PEM with the authorities whose certificates clients must present. They are read again when they
	// change, as [CertificatesConfig].Interval and Logger below say. Sessions that began before are not resumed then. Nil asks
	// clients for nothing.
	ClientCAs []string
	// ClientCertificateOptional lets clients in that present none. What they present is verified all the same; whether one was
	// is for who looks at http.Request.TLS. It needs ClientCAs.
	ClientCertificateOptional bool
	// TicketKeys protect the session tickets, the first those that are issued. Servers that share them resume each other's
	// sessions; who has them can read what was said. Nil means random keys for this server alone, which change every day.
	TicketKeys [][32]byte
	// Interval and Logger are for ClientCAs what they are in [CertificatesConfig].
	Interval time.Duration
	Logger   *slog.Logger
}

// NewServerTLS checks c and returns a configuration for http.Server.TLSConfig: HTTP/2 and HTTP/1.1, TLS 1.2 or newer. The error
// joins all problems, each naming the field and its value.
func NewServerTLS(c ServerTLSConfig) (*tls.Config, error) {
	var errs []error
	if c.Certificates == nil {
		errs = append(errs, errors.New("gateway: ServerTLSConfig.Certificates is nil; make them with NewCertificates"))
	}
	switch {
	case c.MinVersion == 0:
		c.MinVersion = tls.VersionTLS12
	case c.MinVersion < tls.VersionTLS12 || c.MinVersion > tls.VersionTLS13:
		errs = append(errs, fmt.Errorf("gateway: ServerTLSConfig.MinVersion 0x%04x is neither TLS 1.2 nor 1.3; older versions are broken", c.MinVersion))
	}
	if c.ClientCertificateOptional && len(c.ClientCAs) == 0 {
		errs = append(errs, errors.New("gateway: ServerTLSConfig.ClientCertificateOptional is set without ClientCAs, so that clients are not asked for one"))
	}
	pool, sum, err := readAuthorities("ServerTLSConfig.ClientCAs", c.ClientCAs)
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	base := &tls.Config{MinVersion: c.MinVersion, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: c.Certificates.GetCertificate}
	if len(c.ClientCAs) == 0 {
		if len(c.TicketKeys) > 0 {
			base.SetSessionTicketKeys(c.TicketKeys)
		}
		return base, nil
	}
	base.ClientAuth = tls.RequireAndVerifyClientCert
	if c.ClientCertificateOptional {
		base.ClientAuth = tls.VerifyClientCertIfGiven
	}
	s := &clientCAs{base: base, keys: append([][32]byte{}, c.TicketKeys...)}
	s.files.init(c.Interval, c.Logger)
	s.files.names = append([]string{}, c.ClientCAs...)
	s.files.changed()
	s.set(pool, sum)
	outer := s.config.Load().Clone()
	outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		s.files.look(s.read)
		return s.config.Load(), nil
	}
	return outer, nil
}

// clientCAs holds the configuration in force.
type clientCAs struct {
	files  reloader
	base   *tls.Config // never used itself, so that it has no ticket keys that others would share
	keys   [][32]byte
	config atomic.Pointer[tls.Config]
}

func (s *clientCAs) read() error {
	pool, sum, err := readAuthorities("ServerTLSConfig.ClientCAs", s.files.names)
	if err == nil {
		s.set(pool, sum)
	}
	return err
}

// set makes the authorities those in force. A session says that somebody was verified by those it began under, so each set
// of authorities has ticket keys of its own.
func (s *clientCAs) set(pool *x509.CertPool, sum [sha256.Size]byte) {
	next := s.base.Clone()
	next.ClientCAs = pool
	if len(s.keys) > 0 {
		keys := make([][32]byte, len(s.keys))
		for i, k := range s.keys {
			mac := hmac.New(sha256.New, k[:])
			_, _ = mac.Write(sum[:]) // a hash takes everything
			keys[i] = [32]byte(mac.Sum(nil))
		}
		next.SetSessionTicketKeys(keys)
	}
	s.config.Store(next)
}
