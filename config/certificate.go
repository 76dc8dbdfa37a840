package config

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

// GetCertificate returns the certificate of the file that is served at the time for the name a client asks for, and the
// default one for all other names: that of ReloaderConfig.CertFile as it is now on disk, or, without one, a self-signed one
// that is made at the first handshake that needs it, as Kong does. It is made for tls.Config.GetCertificate.
func (r *Reloader) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c := r.Snapshot().Certificate(hello.ServerName); c != nil {
		return c, nil
	}
	if c := r.fallback.pair.Load(); c != nil {
		return c, nil
	}
	return r.fallback.selfSigned()
}

// fallback is the certificate for names that the file has none for.
type fallback struct {
	cert, key  string // names of files; "" for none
	pair       atomic.Pointer[tls.Certificate]
	seen       [sha256.Size]byte // of what was read last, good or bad
	bad        error             // why that is no pair
	missing    bool              // at the last look
	said       string            // what was logged last, which is not said again
	selfSigned func() (*tls.Certificate, error)
}

// open reads the files for the first time.
func (f *fallback) open(cert, key string) error {
	f.cert, f.key, f.selfSigned = cert, key, sync.OnceValues(selfSigned)
	_, err := f.read()
	return err
}

// read takes over what the files hold, if it is something new; what is no pair changes nothing.
func (f *fallback) read() (changed bool, err error) {
	if f.cert == "" && f.key == "" {
		return false, nil
	}
	cert, err := os.ReadFile(f.cert)
	if err != nil {
		return false, fmt.Errorf("config: CertFile: %w", err)
	}
	key, err := os.ReadFile(f.key)
	if err != nil {
		return false, fmt.Errorf("config: KeyFile: %w", err)
	}
	h := sha256.New()
	_, _ = h.Write(cert) // a hash takes everything
	_, _ = h.Write(key)
	sum := [sha256.Size]byte(h.Sum(nil))
	if sum == f.seen {
		return false, f.bad
	}
	f.seen, f.bad = sum, nil
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		f.bad = fmt.Errorf("config: CertFile %q and KeyFile %q: %w", f.cert, f.key, err)
		return false, f.bad
	}
	f.pair.Store(&pair)
	return true, nil
}

// look reads the files again, and says so where there is something new, or somebody asks. A file that is not there may be about
// to be replaced, so this is said the second time.
func (f *fallback) look(ctx context.Context, log *slog.Logger, asked bool) {
	changed, err := f.read()
	missed := f.missing
	f.missing = errors.Is(err, os.ErrNotExist)
	switch {
	case err == nil:
		f.said = ""
	case asked || f.said != err.Error() && (missed || !f.missing):
		f.said = err.Error()
		log.LogAttrs(ctx, slog.LevelError, "the default certificate is bad; the last good one stays", slog.Any("error", err))
	}
	if changed {
		log.LogAttrs(ctx, slog.LevelInfo, "the default certificate was read again")
	}
}

// isServerName tells whether a name, or its star, may stand for one that a client asks for: no address, and without a port.
func isServerName(name string) bool {
	if name == "*" {
		return true
	}
	rest, ok := strings.CutPrefix(name, "*.")
	if !ok {
		rest = strings.TrimSuffix(name, ".*")
	}
	host, port, err := canonical.Host(rest)
	if err != nil || port != "" {
		return false
	}
	_, err = netip.ParseAddr(host)
	return err != nil // it is no address
}

// selfSigned makes a certificate nobody trusts.
func selfSigned() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
