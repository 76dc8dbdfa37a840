package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// CertificateFiles names the files of a certificate with its chain, and of its key, both in PEM. They may be the same.
type CertificateFiles struct{ Cert, Key string }

// CertificatesConfig configures [Certificates].
type CertificatesConfig struct {
	// Files are the certificates; at least one. The first is the default.
	Files []CertificateFiles
	// RejectUnknownNames refuses handshakes for names that no certificate has, and those without a name. By default they get
	// the default certificate.
	RejectUnknownNames bool
	// Interval is how often the files are looked at, at most, to see whether they have changed; it happens in a handshake.
	// Default 10 s, negative: never.
	Interval time.Duration
	// Logger is told what was read again, and what cannot be: then the last good certificate stays. Nil means
	// slog.Default().
	Logger *slog.Logger
}

const defaultReloadInterval = 10 * time.Second

// Certificates are certificates with their keys, by the names they are for, read from files and read again when these change.
// They are for servers, where clients ask for one by name (SNI), and for clients, where servers ask for one of an authority
// they know. It is safe for concurrent use, starts no goroutine and needs no Close.
type Certificates struct {
	files  reloader
	pairs  []CertificateFiles
	strict bool
	set    atomic.Pointer[certificateSet]
}

// certificateSet is what was read at one time.
type certificateSet struct {
	all    []*tls.Certificate
	byName map[string][]*tls.Certificate // in lower case, with a star in place of the first label or without
}

// NewCertificates reads the files. The error joins all problems, each naming the file.
func NewCertificates(c CertificatesConfig) (*Certificates, error) {
	if len(c.Files) == 0 {
		return nil, errors.New("gateway: CertificatesConfig.Files is empty; name at least one certificate and its key")
	}
	s := &Certificates{pairs: append([]CertificateFiles{}, c.Files...), strict: c.RejectUnknownNames}
	s.files.init(c.Interval, c.Logger)
	for _, f := range s.pairs {
		s.files.names = append(s.files.names, f.Cert, f.Key)
	}
	s.files.changed()
	set, err := s.read()
	if err != nil {
		return nil, err
	}
	s.set.Store(set)
	return s, nil
}

func (s *Certificates) read() (*certificateSet, error) {
	set := &certificateSet{byName: map[string][]*tls.Certificate{}}
	var errs []error
	for i, f := range s.pairs {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			errs = append(errs, fmt.Errorf("gateway: CertificatesConfig.Files[%d]: Cert %q, Key %q: %w", i, f.Cert, f.Key, err))
			continue
		}
		set.all = append(set.all, &pair)
		for _, name := range namesOf(pair.Leaf) {
			set.byName[name] = append(set.byName[name], &pair)
		}
	}
	return set, errors.Join(errs...)
}

// namesOf returns the names a certificate is for, in lower case. Its subject's common name counts where it has no others.
func namesOf(leaf *x509.Certificate) []string {
	names := make([]string, 0, len(leaf.DNSNames))
	for _, n := range leaf.DNSNames {
		names = append(names, strings.ToLower(n))
	}
	if len(names) == 0 && leaf.Subject.CommonName != "" {
		names = append(names, strings.ToLower(leaf.Subject.CommonName))
	}
	return names
}

// current returns the certificates, as they are now on disk.
func (s *Certificates) current() *certificateSet {
	s.files.look(func() error {
		set, err := s.read()
		if err == nil {
			s.set.Store(set)
		}
		return err
	})
	return s.set.Load()
}

var errUnknownName = errors.New("gateway: no certificate is for the name the client asked for")

// GetCertificate returns the certificate for the name that a client asks for: one for that very name before one whose first
// label is a star, and of several for a name the first that the client can use. It is made for tls.Config.GetCertificate.
func (s *Certificates) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	set := s.current()
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	found := set.byName[name]
	if _, rest, ok := strings.Cut(name, "."); len(found) == 0 && ok {
		found = set.byName["*."+rest]
	}
	if len(found) == 0 {
		if s.strict {
			return nil, errUnknownName
		}
		found = set.all[:1]
	}
	for _, c := range found {
		if hello.SupportsCertificate(c) == nil {
			return c, nil
		}
	}
	return found[0], nil // the handshake says what does not fit
}

// GetClientCertificate returns the first certificate that a server accepts, and none where there is none: whether it goes on
// without is the server's choice. It is made for tls.Config.GetClientCertificate, as in UpstreamConfig.TLS.
func (s *Certificates) GetClientCertificate(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	for _, c := range s.current().all {
		if asked.SupportsCertificate(c) == nil {
			return c, nil
		}
	}
	return &tls.Certificate{}, nil
}

// reloader looks at files now and then.
type reloader struct {
	names    []string
	interval time.Duration // never when it is not positive
	log      *slog.Logger
	next     atomic.Int64 // when to look next, in nanoseconds since began
	began    time.Time

	mu   sync.Mutex // held by who looks
	seen []fileState
	said string // what was logged last, which is not said again
}

// fileState is what a file that is replaced does not keep.
type fileState struct {
	size     int64
	modified time.Time
	missing  bool
}

func (r *reloader) init(interval time.Duration, log *slog.Logger) {
	if interval == 0 {
		interval = defaultReloadInterval
	}
	if log == nil {
		log = slog.Default()
	}
	r.interval, r.log, r.began = interval, log, time.Now()
	r.next.Store(int64(interval))
}

// changed reports whether a file is another than before. The caller holds the lock, or is alone.
func (r *reloader) changed() bool {
	now := make([]fileState, len(r.names))
	differs := r.seen == nil
	for i, name := range r.names {
		info, err := os.Stat(name)
		if err != nil {
			now[i].missing = true
		} else {
			now[i] = fileState{size: info.Size(), modified: info.ModTime()}
		}
		differs = differs || now[i] != r.seen[i]
	}
	r.seen = now
	return differs
}

// look calls read if it is time and something has changed, or could not be read the last time. While one looks, all others go on
// with what there is.
func (r *reloader) look(read func() error) {
	if r.interval <= 0 || int64(time.Since(r.began)) < r.next.Load() || !r.mu.TryLock() {
		return
	}
	defer r.mu.Unlock()
	r.next.Store(int64(time.Since(r.began) + r.interval))
	if !r.changed() && r.said == "" {
		return
	}
	switch err := read(); {
	case err == nil:
		r.said = ""
		r.log.LogAttrs(context.Background(), slog.LevelInfo, "certificates were read again", slog.Any("files", r.names))
	case r.said != err.Error():
		r.said = err.Error()
		r.log.LogAttrs(context.Background(), slog.LevelError, "certificates cannot be read again; the last good ones stay", slog.Any("error", err))
	}
}
