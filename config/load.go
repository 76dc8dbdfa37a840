package config

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer/discovery"
	"github.com/gatehouse-go/gateway/policy"
)

// DefaultMaxBytes is the default of [Options.MaxBytes].
const DefaultMaxBytes = 32 << 20

// Options say how a file is read. The zero Options are ready for use.
type Options struct {
	// AllowUnsupported leaves out what Kong accepts and this module does not support, and lists it in the Snapshot.
	// Plugins that guard what is behind them, such as jwt, are never left out. By default each is an error.
	AllowUnsupported bool
	// Registry holds the plugins a file may name. Nil means Builtin().
	Registry *Registry
	// Entry configures the entry of the gateway, which Kong does by settings and not by a file: trusted proxies, limits.
	// AllowEncodedSlash and InsecureAppendForwardedFor are set in any case, because Kong's configurations rely on them.
	Entry policy.EntryConfig
	// Headers chooses among the fields Kong adds.
	Headers Headers
	// Getenv resolves {vault://env/NAME} references. Nil means os.LookupEnv.
	Getenv func(name string) (string, bool)
	// Dial makes connections to services, those of health checks among them, for tests. Nil means a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Resolver finds the addresses of targets and services that the file names, and again when they change: each is balanced over,
	// and has a health of its own, as in Kong; SRV records are asked for where there are no addresses. A *net.Resolver is one.
	// Nil leaves names to those who dial.
	Resolver discovery.Resolver
	// MaxBytes bounds the file. Default 32 MiB.
	MaxBytes int64
	// Logger is the gateway's. Nil means slog.Default().
	Logger *slog.Logger
	// DrainTimeout is the gateway's; see gateway.Config.
	DrainTimeout time.Duration
	// Previous is the snapshot that a gateway serves and that the new one is to replace: what has not changed is taken over,
	// upstreams with their connections and counters and the health of their targets, limiters with their counts. See [Reloader].
	// What is taken over goes on as it was until the gateway serves the new one, and what is not ends then: no other gateway has the
	// previous one.
	Previous *Snapshot
}

// Snapshot is what a file says, ready for [gateway.New] or [gateway.Gateway.Apply], which change with its OnApply what was taken
// over.
type Snapshot struct {
	// Gateway is the configuration. It owns the upstreams made for it, of which the targets are checked from now on: one that
	// is not given to a gateway has to be closed with Close.
	Gateway gateway.Config
	// Unsupported lists what was left out; see Options.AllowUnsupported. Each names its place in the file.
	Unsupported []string
	// Warnings lists what is doubtful: unsafe defaults of Kong's, and what gateway.Config.Validate warns of.
	Warnings []string
	// Version is the beginning of the SHA-256 of the file.
	Version string

	certificates map[string]*tls.Certificate
	state        map[string]any // what the next snapshot may take over
	made         []io.Closer    // for this one
	applied      []func() error // once a gateway serves it: what was taken over changes then
}

// Close closes what was made for a snapshot that no gateway owns. What it has taken over from another stays.
func (s *Snapshot) Close() error {
	closeAll(s.made)
	return nil
}

// Certificate returns the certificate for a server name, exact or by a wildcard of the file; nil when there is none. It
// is what tls.Config.GetCertificate can answer with.
func (s *Snapshot) Certificate(name string) *tls.Certificate {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if c := s.certificates[name]; c != nil {
		return c
	}
	if _, rest, ok := strings.Cut(name, "."); ok {
		if c := s.certificates["*."+rest]; c != nil {
			return c
		}
	}
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		if c := s.certificates[name[:i]+".*"]; c != nil {
			return c
		}
	}
	return s.certificates["*"]
}

// LoadFile is Load for a file on disk.
func LoadFile(name string, o Options) (*Snapshot, error) {
	s, _, err := loadFile(name, o)
	return s, err
}

// loadFile also returns the version of what it has read, good or bad.
func loadFile(name string, o Options) (*Snapshot, string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, "", fmt.Errorf("config: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	h := sha256.New()
	s, err := Load(name, io.TeeReader(f, h), o)
	return s, versionText(h), err
}

// Load reads a file of Kong's declarative format, YAML or JSON. The error joins all problems, each an [*Error] that says
// where it is; then nothing was started. name is what messages call the file.
func Load(name string, r io.Reader, o Options) (*Snapshot, error) {
	if o.Registry == nil {
		o.Registry = Builtin()
	}
	if o.Getenv == nil {
		o.Getenv = os.LookupEnv
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	data, err := io.ReadAll(io.LimitReader(r, o.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("config: %s: %w", name, err)
	}
	if int64(len(data)) > o.MaxBytes {
		return nil, fmt.Errorf("config: %s: the file is larger than %d bytes; see Options.MaxBytes", name, o.MaxBytes)
	}
	p := newProblems(name)
	root := parse(data, p)
	if root == nil {
		return nil, p.err()
	}
	version, err := hashOf(bytes.NewReader(data), o.MaxBytes)
	if err != nil {
		return nil, err
	}
	s := &Snapshot{Version: version, state: map[string]any{}}
	d := &decoder{problems: p, schemas: &schemas{}, resolve: resolver(p, o.Getenv)}
	d.notSupported = func(n *node, what string) {
		if o.AllowUnsupported {
			s.Unsupported = append(s.Unsupported, fmt.Sprintf("%s:%d:%d: %s: %s", name, n.line, n.column, n.path(), what))
			return
		}
		found := ""
		if n.kind < kindList {
			found = n.found()
		}
		p.add(n, found, what+" is not supported", "remove it, or have it left out with AllowUnsupported (-allow-unsupported)")
	}
	doc := &document{}
	d.decode(root, doc)
	l := linker{d: d, doc: doc}
	in := l.link()
	plugins := l.decodePlugins(o.Registry.types)
	if p.count() == 0 {
		s.remember(&l)
	}
	// What can be built of a file that is bad is built, to find all that is wrong with it.
	p.consequential = true
	b := builder{d: d, doc: doc, in: in, options: o, types: o.Registry.types, out: s, plugins: plugins}
	b.build()
	b.verify()
	if err := p.err(); err != nil {
		closeAll(s.made)
		return nil, err
	}
	s.Gateway.OnApply = s.serves(o)
	return s, nil
}

// serves returns what is done once a gateway serves the snapshot: what was taken over becomes what the file says, and the checks of
// pools end that were not.
func (s *Snapshot) serves(o Options) func() {
	var ended []*keptPool
	if o.Previous != nil {
		for key, v := range o.Previous.state {
			if k, ok := v.(*keptPool); ok && s.state[key] == nil {
				ended = append(ended, k)
			}
		}
	}
	log := o.Logger
	if log == nil {
		log = slog.Default()
	}
	return func() {
		for _, f := range s.applied {
			if err := f(); err != nil { // which was checked before
				log.LogAttrs(context.Background(), slog.LevelError, "a part of the configuration is not in force", slog.Any("error", err)) // it is no request's
			}
		}
		for _, k := range ended {
			k.end()
		}
	}
}

// hashOf returns the version of a file.
func hashOf(r io.Reader, most int64) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(r, most+1)); err != nil {
		return "", fmt.Errorf("config: %w", err)
	}
	return versionText(h), nil
}

func versionText(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)[:6]) }

var errVault = errors.New("only {vault://env/NAME} is supported")

// resolver reads references to the environment. What they stand for is never shown.
func resolver(p *problems, getenv func(string) (string, bool)) func(n *node) (string, bool) {
	return func(n *node) (string, bool) {
		inner, ok := strings.CutSuffix(strings.TrimPrefix(n.text, "{vault://"), "}")
		name, isEnv := strings.CutPrefix(inner, "env/")
		if !ok || !isEnv || name == "" || strings.ContainsAny(name, "/?") {
			p.add(n, n.found(), errVault.Error(), "")
			return "", false
		}
		name = strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		text, ok := getenv(name)
		if !ok {
			p.add(n, n.found(), "the environment has no variable "+name, "set it")
			return "", false
		}
		return text, true
	}
}
