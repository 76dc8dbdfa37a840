package gateway

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// AuthoritiesConfig configures [Authorities].
type AuthoritiesConfig struct {
	// Files are files in PEM with the certificates of authorities, and nothing else; at least one.
	Files []string
	// Interval is how often the files are looked at, at most, to see whether they have changed; it happens in a request, or in
	// a handshake. Default 10 s, negative: never.
	Interval time.Duration
	// Logger is told what was read again, and what cannot be: then the last good authorities stay. Nil means slog.Default().
	Logger *slog.Logger
}

// Authorities are those whose word is taken for the certificates of targets, read from files and read again when these change.
// Several upstreams may share them, in UpstreamConfig.Authorities. They are safe for concurrent use, start no goroutine and
// need no Close. They come from [NewAuthorities].
type Authorities struct {
	files reloader
	set   atomic.Pointer[authoritySet]
}

// authoritySet is what was read at one time.
type authoritySet struct {
	pool    *x509.CertPool
	sum     [sha256.Size]byte
	version uint64 // greater than that of each set before
}

// NewAuthorities reads the files. The error joins all problems, each naming the file.
func NewAuthorities(c AuthoritiesConfig) (*Authorities, error) {
	if len(c.Files) == 0 {
		return nil, errors.New("gateway: AuthoritiesConfig.Files is empty; name at least one, or leave out UpstreamConfig.Authorities to trust those of the system")
	}
	a := &Authorities{}
	a.files.init(c.Interval, c.Logger)
	a.files.names = append([]string{}, c.Files...)
	a.files.changed()
	pool, sum, err := readAuthorities("AuthoritiesConfig.Files", a.files.names)
	if err != nil {
		return nil, err
	}
	a.set.Store(&authoritySet{pool: pool, sum: sum, version: 1})
	return a, nil
}

// current returns the authorities as they are now on disk, and a number that grows with each change of them.
func (a *Authorities) current() (*x509.CertPool, uint64) {
	a.files.look(a.read)
	set := a.set.Load()
	return set.pool, set.version
}

// check reports what of an upstream's TLS does not go together with them; a may be nil.
func (a *Authorities) check(c *tls.Config) []error {
	var errs []error
	bad := func(what string) {
		errs = append(errs, errors.New("gateway: UpstreamConfig.Authorities "+what))
	}
	switch {
	case a == nil:
		return nil
	case a.set.Load() == nil:
		bad("is the zero Authorities, which trusts nobody; make it with NewAuthorities")
	case c == nil:
	default:
		if c.RootCAs != nil {
			bad("and TLS.RootCAs are both set; leave out the one whose authorities are not to be trusted")
		}
		if c.InsecureSkipVerify {
			bad("is without effect where TLS.InsecureSkipVerify is true; leave one of them out")
		}
		if c.ClientSessionCache != nil {
			bad("and TLS.ClientSessionCache are both set; a session would outlive the authorities it was verified by")
		}
	}
	return errs
}

// read is called by one goroutine at a time. The same authorities in other words are no change.
func (a *Authorities) read() error {
	pool, sum, err := readAuthorities("AuthoritiesConfig.Files", a.files.names)
	if before := a.set.Load(); err == nil && sum != before.sum {
		a.set.Store(&authoritySet{pool: pool, sum: sum, version: before.version + 1})
	}
	return err
}

// readAuthorities reads certificates of authorities, and returns a sum of them. field is what errors call the list. A file of
// which a part cannot be read is an error, as somebody may be writing it.
func readAuthorities(field string, files []string) (*x509.CertPool, [sha256.Size]byte, error) {
	pool := x509.NewCertPool()
	all := sha256.New()
	var errs []error
	for i, name := range files {
		bad := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("gateway: %s[%d] %q "+format, append([]any{field, i, name}, args...)...))
		}
		rest, err := os.ReadFile(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("gateway: %s[%d]: %w", field, i, err))
			continue
		}
		found := 0
		for {
			var block *pem.Block
			before := rest
			if block, rest = pem.Decode(rest); block == nil {
				if found == 0 {
					bad("has no certificate in PEM")
				} else if bytes.Contains(before, []byte("-----BEGIN ")) {
					bad("ends in the middle of a certificate")
				}
				break
			}
			found++
			if block.Type != "CERTIFICATE" {
				bad("has a block of the type %q; only certificates belong there", block.Type)
				continue
			}
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				bad("has as number %d what is no certificate: %w", found, err)
				continue
			}
			pool.AddCert(cert)
			_, _ = all.Write(cert.Raw) // a hash takes everything
		}
	}
	return pool, [sha256.Size]byte(all.Sum(nil)), errors.Join(errs...)
}
