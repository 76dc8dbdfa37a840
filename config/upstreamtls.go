package config

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// buildAuthorities reads the certificates of authorities, and reports what Kong does not take for one either.
func (b *builder) buildAuthorities() {
	seen := map[[sha256.Size]byte]*caCertificate{}
	now := time.Now()
	for _, c := range b.in.cas {
		n := c.node.get("cert")
		if n == nil || c.Cert == "" {
			continue // reported
		}
		cert, problem, remedy := readAuthority(c.Cert, now)
		if problem != "" {
			found := n.found()
			if strings.Contains(c.Cert, "PRIVATE KEY") {
				found = ""
			}
			b.d.problems.add(n, found, problem, remedy)
			continue
		}
		sum := sha256.Sum256(cert.Raw)
		if first := seen[sum]; first != nil {
			b.d.problems.add(n, n.found(), fmt.Sprintf("another CA certificate, on line %d, is the same", first.node.line), "write one of them")
			continue
		}
		seen[sum] = c
		c.authority = cert
		if !c.trusted {
			b.warnf(c.node, "no service has the CA certificate among its ca_certificates, and so it is never used")
		}
	}
}

// readAuthority reads the certificate of an authority from PEM, or says what is wrong with it.
func readAuthority(text string, now time.Time) (cert *x509.Certificate, problem, remedy string) {
	block, _ := pem.Decode([]byte(text))
	switch {
	case block == nil:
		return nil, "has no certificate in PEM", "write it with its lines BEGIN CERTIFICATE and END CERTIFICATE"
	case strings.Count(text, "-----BEGIN ") > 1:
		return nil, "has more than one certificate, or a key", "write each certificate as an entity of its own, and no key"
	case block.Type != "CERTIFICATE":
		return nil, fmt.Sprintf("has a block of PEM of the type %q, which is no certificate", block.Type), ""
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	switch {
	case err != nil:
		return nil, "is no certificate: " + strings.TrimPrefix(err.Error(), "x509: "), ""
	case now.After(cert.NotAfter):
		return nil, "the certificate has expired, at " + cert.NotAfter.UTC().Format(time.RFC3339), "replace it"
	case !cert.BasicConstraintsValid || !cert.IsCA:
		return nil, "the certificate is not that of an authority: it lacks the basic constraint CA", "write that of who has signed it"
	}
	return cert, "", ""
}

// written returns the node of a field that is neither absent nor null.
func (s *service) written(name string) *node {
	if n := s.node.get(name); n != nil && n.kind != kindNull {
		return n
	}
	return nil
}

// checkTLS reports what a service that speaks no TLS says about it.
func (b *builder) checkTLS(s *service) {
	if s.scheme() == schemeHTTPS {
		return
	}
	for _, name := range [...]string{"client_certificate", "tls_verify", "tls_verify_depth", "ca_certificates"} {
		n := s.written(name)
		if n == nil {
			continue
		}
		found := ""
		if n.kind < kindList {
			found = n.found()
		}
		b.d.problems.add(n, found, name+" cannot be set where the protocol is "+s.Protocol, "use the protocol https or grpcs, or leave it out")
	}
}

// verifies reports whether the certificates of a service's targets are verified: as in Kong, only if it says so.
func (s *service) verifies() bool { return s.TLSVerify != nil && *s.TLSVerify }

// warnAboutTLS says where a service is not as safe as it looks.
func (b *builder) warnAboutTLS(s *service) {
	switch {
	case s.verifies():
		return
	case s.TLSVerify == nil:
		b.warnf(s.node, "the certificates of service %q are not verified, as is Kong's default, so that anybody can pass for it; set tls_verify to true", s.key)
	default:
		b.warnf(s.node.get("tls_verify"), "the certificates of service %q are not verified, so that anybody can pass for it; set tls_verify to true", s.key)
	}
	for _, name := range [...]string{"tls_verify_depth", "ca_certificates"} {
		if n := s.written(name); n != nil {
			b.warnf(n, "%s is without effect, as tls_verify is not true", name)
		}
	}
}

// tlsOf is how TLS is spoken to the targets of a service; nil where it is not. up is the upstream it names, or nil.
func (b *builder) tlsOf(s *service, up *upstream) *tls.Config {
	if s.scheme() != schemeHTTPS {
		return nil
	}
	b.warnAboutTLS(s)
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: !s.verifies()} //nolint:gosec // as Kong does, and with a warning
	client := s.client
	if up != nil {
		c.ServerName, _ = splitPort(up.HostHead) // what is asked for is what is verified
		client = cmp.Or(client, up.client)
	}
	if len(s.authorities) > 0 {
		c.RootCAs = x509.NewCertPool()
		for _, a := range s.authorities {
			if a.authority != nil { // else it is reported
				c.RootCAs.AddCert(a.authority)
			}
		}
	}
	if client != nil && client.pair != nil {
		pair := client.pair
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { // whatever authorities are asked for, as in Kong
			return pair, nil
		}
	}
	needsHTTP2 := isGRPC(s.Protocol)
	if needsHTTP2 {
		c.NextProtos = []string{"h2"}
	}
	depth := s.TLSVerifyDepth
	c.VerifyConnection = func(state tls.ConnectionState) error {
		if needsHTTP2 && state.NegotiatedProtocol != "h2" { // it would be spoken to in HTTP/1.1
			return errNoHTTP2
		}
		if depth != nil && len(state.VerifiedChains) > 0 && between(state.VerifiedChains) > *depth {
			return fmt.Errorf("config: there are more than %d certificates between the target's and that of an authority; see tls_verify_depth", *depth)
		}
		return nil
	}
	return c
}

var errNoHTTP2 = errors.New("config: the target does not agree to HTTP/2, which gRPC needs")

// between returns how many certificates there are between a target's and an authority's, on the shortest way.
func between(chains [][]*x509.Certificate) int {
	shortest := slices.MinFunc(chains, func(x, y []*x509.Certificate) int { return cmp.Compare(len(x), len(y)) })
	return len(shortest) - 2
}

// tlsKey tells apart what tlsOf has made of a service, from one file to the next.
func (s *service) tlsKey(c *tls.Config) string {
	trusted := make([]string, 0, len(s.authorities))
	for _, a := range s.authorities {
		if a.authority != nil {
			trusted = append(trusted, fmt.Sprintf("%x", sha256.Sum256(a.authority.Raw)))
		}
	}
	slices.Sort(trusted)
	depth := -1
	if s.TLSVerifyDepth != nil {
		depth = *s.TLSVerifyDepth
	}
	presented := ""
	if c.GetClientCertificate != nil {
		if pair, err := c.GetClientCertificate(nil); err == nil {
			presented = fmt.Sprintf("%x", sha256.Sum256(slices.Concat(pair.Certificate...)))
		}
	}
	return fmt.Sprintf(" %t %q %q %d %q %q", c.InsecureSkipVerify, c.ServerName, c.NextProtos, depth, trusted, presented)
}
