package gateway

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/gatehouse-go/gateway/internal/http1"
)

// What [NewServer] sets, and [CheckServer] compares with.
const (
	readHeaderTimeout    = 5 * time.Second
	idleTimeout          = 60 * time.Second
	maxHeaderBytes       = 64 << 10
	maxConcurrentStreams = 100
	writeByteTimeout     = 10 * time.Second
)

// NewServer returns a server for h with defaults a gateway can stand on: 5 s for a request head, 60 s for an idle
// connection, 64 KiB of header, HTTP/1.1 and HTTP/2 over TLS (1.2 at least), 100 streams per HTTP/2 connection with
// small windows and pings against dead peers, and "OPTIONS *" left to h. It has no ReadTimeout and no WriteTimeout,
// which would cut uploads and streams: a gateway bounds the progress of both by itself (see [policy.EntryConfig]).
// The server's own errors go to slog.Default() at the time of the call, as warnings. All fields may be changed before
// the server is used.
func NewServer(addr string, h http.Handler) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	return &http.Server{
		Addr:                         addr,
		Handler:                      h,
		ReadHeaderTimeout:            readHeaderTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
		DisableGeneralOptionsHandler: true,
		// With NextProtos HTTP/2 is also served on listeners that the caller wraps in TLS and that offer it.
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}},
		Protocols: &protocols,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          maxConcurrentStreams,
			MaxDecoderHeaderTableSize:     4 << 10,
			MaxEncoderHeaderTableSize:     4 << 10,
			MaxReadFrameSize:              16 << 10,
			MaxReceiveBufferPerConnection: 1 << 20,
			MaxReceiveBufferPerStream:     256 << 10,
			SendPingTimeout:               15 * time.Second,
			PingTimeout:                   15 * time.Second,
			WriteByteTimeout:              writeByteTimeout,
		},
		ErrorLog: slog.NewLogLogger(slog.Default().Handler(), slog.LevelWarn),
	}
}

// CheckServer says what is risky about a server that [NewServer] did not make, one sentence each; none means that
// nothing was found. A nil server is one finding.
func CheckServer(srv *http.Server) []string {
	if srv == nil {
		return []string{"the server is nil"}
	}
	var found []string
	say := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	if srv.Handler == nil {
		say("Handler is nil: the server answers with http.DefaultServeMux, to which any imported package may have added")
	}
	if srv.ReadHeaderTimeout <= 0 && srv.ReadTimeout <= 0 {
		say("ReadHeaderTimeout is not set: a client may take for ever over a request head or a TLS handshake; set %v", readHeaderTimeout)
	}
	if srv.IdleTimeout <= 0 && srv.ReadTimeout <= 0 {
		say("IdleTimeout is not set: idle connections stay open for ever; set %v", idleTimeout)
	}
	if srv.MaxHeaderBytes <= 0 || srv.MaxHeaderBytes > 1<<20 {
		say("MaxHeaderBytes %d allows 1 MiB of header or more per request; set %d", srv.MaxHeaderBytes, maxHeaderBytes)
	}
	if srv.ReadTimeout > 0 {
		say("ReadTimeout %v cuts every upload that takes longer; leave it 0, the gateway bounds pauses instead", srv.ReadTimeout)
	}
	if srv.WriteTimeout > 0 {
		say("WriteTimeout %v cuts every download, event stream and gRPC call that takes longer; leave it 0, the gateway bounds pauses instead", srv.WriteTimeout)
	}
	if !srv.DisableGeneralOptionsHandler {
		say("DisableGeneralOptionsHandler is false: net/http answers \"OPTIONS *\" by itself, past every plugin")
	}
	if p := srv.Protocols; p != nil && p.UnencryptedHTTP2() {
		say("Protocols allows HTTP/2 without TLS: clients may upgrade past a proxy in front that only looks at HTTP/1")
	}
	if c := srv.TLSConfig; c != nil && c.MinVersion != 0 && c.MinVersion < tls.VersionTLS12 {
		say("TLSConfig.MinVersion allows TLS older than 1.2")
	}
	if p := srv.Protocols; p != nil && !p.HTTP2() && !p.UnencryptedHTTP2() {
		return found
	}
	switch {
	case srv.HTTP2 == nil || srv.HTTP2.MaxConcurrentStreams <= 0:
		say("HTTP2.MaxConcurrentStreams is not set: one connection may run 250 requests at a time; set %d", maxConcurrentStreams)
	case srv.HTTP2.MaxConcurrentStreams > 250:
		say("HTTP2.MaxConcurrentStreams %d lets one connection run that many requests at a time; set %d", srv.HTTP2.MaxConcurrentStreams, maxConcurrentStreams)
	}
	if srv.HTTP2 == nil || srv.HTTP2.WriteByteTimeout <= 0 {
		say("HTTP2.WriteByteTimeout is not set: a client that stops reading an HTTP/2 connection holds it for ever; set %v", writeByteTimeout)
	}
	return found
}

// Run serves with srv until ctx ends, then drains: the server stops accepting and waits for its connections, then the
// gateway is shut down. Both together take at most [Config.DrainTimeout], after which connections are cut, and what the
// gateway owns has another second to close. It returns nil after a clean drain. When a listener fails, Run ends the rest
// likewise and returns that error. A gateway that was run is shut down when Run returns.
//
// The listeners are served as they are: make them with [NewListener], and wrap them in TLS yourself. Without any, srv.Addr is
// listened on through NewListener with its defaults, with TLS when srv.TLSConfig has certificates. Connections of such a
// listener are not [*net.TCPConn] themselves, so that deadlines cost less, but return one by a NetConn method, as TLS
// connections do. A srv without Handler gets the gateway.
//
// # The server
//
// HTTP/1, with TLS or without, is served by a server of ours, which follows the fields of srv and gives handlers what net/http
// gives them; HTTP/2 by srv itself. Ours takes two thirds of the time for a small request, and differs in this:
//
//   - Requests whose framing has two readings are refused with 400, as [NewListener] explains, on every listener but those with
//     InsecureFraming, which are left to srv.
//   - An answer does not wait for a request body that nobody reads; reading and writing may go on beside each other.
//   - That a client has left ends its request's context within 20 ms, not at once.
//   - During a drain, requests that have come on idle connections, and first requests of new ones, are still served, with
//     "Connection: close".
//   - An answer that breaks off and would end with its connection, as to HTTP/1.0, ends with a reset.
//   - srv.Shutdown and srv.Close make Run drain and return, but do not wait for connections of HTTP/1: wait for Run.
//     srv.SetKeepAlivesEnabled has no effect on them. srv.BaseContext is called twice for each listener, and srv.ConnState of a
//     connection with TLS is told nothing before the handshake.
//   - Behind CONNECT a connection is closed, unless a handler has taken it over.
//
// srv.Serve serves the gateway with net/http's server alone.
func (g *Gateway) Run(ctx context.Context, srv *http.Server, ls ...net.Listener) error {
	if g.table.Load() == nil {
		return ErrShutdown
	}
	if srv == nil {
		return errors.New("gateway: Run needs a server; use NewServer")
	}
	if srv.Handler == nil {
		srv.Handler = g
	}
	own := http1.New(srv)
	if len(ls) == 0 {
		addr := srv.Addr
		useTLS := hasCertificates(srv.TLSConfig)
		if addr == "" && useTLS {
			addr = ":https"
		} else if addr == "" {
			addr = ":http"
		}
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
		if err != nil {
			return errors.Join(fmt.Errorf("gateway: %w", err), g.shutdownNow())
		}
		if l, err = NewListener(l, ListenerConfig{}); err != nil {
			return errors.Join(err, g.shutdownNow())
		}
		if useTLS {
			srv.TLSConfig = withProtocols(srv)
			l = tls.NewListener(l, srv.TLSConfig)
		}
		ls = []net.Listener{l}
	}
	failed := make(chan error, len(ls))
	for _, l := range ls {
		go func() { failed <- own.Serve(l) }()
	}
	running := len(ls)
	var serveErr error
	select {
	case <-ctx.Done():
	case err := <-failed:
		running--
		if !errors.Is(err, http.ErrServerClosed) { // else somebody shut the server down: drain with it
			serveErr = fmt.Errorf("gateway: serving failed: %w", err)
		}
	}

	bound := DefaultDrainTimeout
	if t := g.table.Load(); t != nil { // the one in force by now
		bound = t.drain
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), bound)
	defer cancel()
	g.announceEnd()
	others := make(chan error, 1)
	go func() { others <- srv.Shutdown(drain) }()
	err := own.Shutdown(drain)
	if err = cmp.Or(err, <-others); err != nil {
		err = fmt.Errorf("gateway: connections were cut: %w", errors.Join(err, own.Close(), srv.Close()))
	}
	for range running {
		if e := <-failed; !errors.Is(e, http.ErrServerClosed) { // every Serve has returned or is about to
			serveErr = errors.Join(serveErr, fmt.Errorf("gateway: serving failed: %w", e))
		}
	}
	return errors.Join(serveErr, err, g.Shutdown(drain))
}

// shutdownNow ends a gateway that never served.
func (g *Gateway) shutdownNow() error {
	ctx, cancel := context.WithTimeout(context.Background(), DefaultDrainTimeout)
	defer cancel()
	return g.Shutdown(ctx)
}

// withProtocols returns the TLS configuration of srv, which offers clients what srv speaks.
func withProtocols(srv *http.Server) *tls.Config {
	c := srv.TLSConfig.Clone()
	c.NextProtos = slices.Clone(c.NextProtos) // Clone shares it
	offer := func(name string, spoken bool) {
		c.NextProtos = slices.DeleteFunc(c.NextProtos, func(p string) bool { return p == name && !spoken })
		if spoken && !slices.Contains(c.NextProtos, name) {
			c.NextProtos = append(c.NextProtos, name)
		}
	}
	p := srv.Protocols
	offer("h2", p == nil || p.HTTP2())
	offer("http/1.1", p == nil || p.HTTP1())
	return c
}

func hasCertificates(c *tls.Config) bool {
	return c != nil && (len(c.Certificates) > 0 || c.GetCertificate != nil || c.GetConfigForClient != nil)
}
