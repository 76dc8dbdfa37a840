package config

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-go/gateway"
)

// DefaultInterval is the default of [ReloaderConfig.Interval].
const DefaultInterval = 2 * time.Second

// ReloaderConfig configures a [Reloader].
type ReloaderConfig struct {
	// File is the file to serve from. It may be a symbolic link, as Kubernetes makes them: what it leads to is read anew
	// each time.
	File string
	// Options say how the file is read. Previous is set by the Reloader.
	Options Options
	// Interval is how often the file is looked at. Default 2 s, negative: never; then only Reload reads it.
	Interval time.Duration
	// CertFile and KeyFile are PEM files of the certificate for names that File has none for, read again when they change.
	// Without them a self-signed one is made. Only GetCertificate uses them; one is not given without the other.
	CertFile, KeyFile string
}

// Reloader serves a gateway from a file and keeps the two together: when the file changes it is read and checked whole, and
// swapped in; when it is bad the last good one stays, and the problems are logged. It is safe for concurrent use.
type Reloader struct {
	cfg     ReloaderConfig
	gw      *gateway.Gateway
	current atomic.Pointer[Snapshot]

	fallback fallback

	mu     sync.Mutex
	failed string // version of a file that was bad, so that it is not read again and again
}

// NewReloader loads the file and makes the gateway. The error is that of [LoadFile] or of [gateway.New]; then nothing was
// started. It starts no goroutine.
func NewReloader(c ReloaderConfig) (*Reloader, error) {
	if c.File == "" {
		return nil, errors.New("config: ReloaderConfig.File is empty; name the file")
	}
	if c.Interval == 0 {
		c.Interval = DefaultInterval
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		return nil, fmt.Errorf("config: of ReloaderConfig.CertFile %q and KeyFile %q one is empty; give both, or none", c.CertFile, c.KeyFile)
	}
	r := &Reloader{cfg: c}
	if err := r.fallback.open(c.CertFile, c.KeyFile); err != nil {
		return nil, err
	}
	c.Options.Previous = nil
	s, err := LoadFile(c.File, c.Options)
	if err != nil {
		return nil, err
	}
	gw, err := gateway.New(s.Gateway)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	r.gw = gw
	r.current.Store(s)
	return r, nil
}

// Gateway returns the gateway, which stays the same.
func (r *Reloader) Gateway() *gateway.Gateway { return r.gw }

// Snapshot returns what the gateway serves.
func (r *Reloader) Snapshot() *Snapshot { return r.current.Load() }

// Reload reads the file and swaps it in if it has changed, and reports whether it did; the default certificate is read again,
// too. On an error the gateway goes on with what it has.
func (r *Reloader) Reload() (changed bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, certErr := r.fallback.read()
	version, err := versionOf(r.cfg.File, r.cfg.Options.MaxBytes)
	if err != nil || version == r.current.Load().Version {
		r.failed = ""
		return false, errors.Join(err, certErr)
	}
	changed, err = r.load()
	return changed, errors.Join(err, certErr)
}

func (r *Reloader) load() (bool, error) {
	o := r.cfg.Options
	o.Previous = r.current.Load()
	s, read, err := loadFile(r.cfg.File, o)
	if err != nil {
		r.failed = read // not what the file was a moment before, which may be good and come back
		return false, err
	}
	if err := r.gw.Apply(s.Gateway); err != nil {
		r.failed = read
		return false, errors.Join(err, s.Close())
	}
	r.failed = ""
	r.current.Store(s)
	return true, nil
}

// Watch looks at the file until ctx ends, and on each value of trigger at once (a SIGHUP, say; nil for none). What it does is
// logged.
func (r *Reloader) Watch(ctx context.Context, trigger <-chan os.Signal) {
	var tick <-chan time.Time
	if r.cfg.Interval > 0 {
		t := time.NewTicker(r.cfg.Interval)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
			r.look(ctx, false)
		case <-trigger:
			r.look(ctx, true)
		}
	}
}

// look reloads where the file is another one. A bad one that was reported is not reported again, unless somebody asks.
func (r *Reloader) look(ctx context.Context, asked bool) {
	log := r.cfg.Options.Logger
	if log == nil {
		log = slog.Default()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fallback.look(ctx, log, asked)
	version, err := versionOf(r.cfg.File, r.cfg.Options.MaxBytes)
	if err != nil {
		if asked || r.failed != err.Error() {
			log.LogAttrs(ctx, slog.LevelError, "the configuration cannot be read; the last good one stays", slog.Any("error", err))
		}
		r.failed = err.Error()
		return
	}
	if version == r.current.Load().Version {
		r.failed = ""
		return
	}
	if version == r.failed && !asked {
		return
	}
	if _, err := r.load(); err != nil {
		log.LogAttrs(ctx, slog.LevelError, "the configuration is bad; the last good one stays", slog.String("file_version", version), slog.Any("error", err))
		return
	}
	log.LogAttrs(ctx, slog.LevelInfo, "the configuration was reloaded", slog.String("file_version", version))
}

// versionOf is the version a file would have as a snapshot.
func versionOf(name string, most int64) (string, error) {
	if most == 0 {
		most = DefaultMaxBytes
	}
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("config: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	return hashOf(f, most)
}
