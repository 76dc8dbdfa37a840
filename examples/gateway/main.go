// Command gateway is a whole gateway that serves Kong's declarative configuration, and the model for a binary of your own:
// add your plugins to the registry, and import what you need beside it.
//
//	go run ./examples/gateway -config examples/gateway/kong.yml -listen 127.0.0.1:8000
//	go run ./examples/gateway -config kong.yml -check
//	go run ./examples/gateway -config kong.yml -explain 'GET http://host/users/42'
//
// Each address has at most gateway.DefaultMaxConns connections, and requests whose framing is ambiguous are refused; see
// gateway.NewListener. With -real-ip-header proxy_protocol the trusted proxies send headers of the PROXY protocol.
//
// The file, and the certificate of -tls-cert, are read again when they change, and on SIGHUP. SIGTERM and SIGINT drain: no
// connection is accepted any more, requests in flight have eight seconds, and then it ends.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/config"
	"github.com/gatehouse-go/gateway/policy"
)

// drainTimeout is how long requests in flight have after SIGTERM.
const drainTimeout = 8 * time.Second

type settings struct {
	file, listen, tlsListen, tlsCert, tlsKey string
	trusted, realIPHeader                    string
	realIPRecursive                          bool
	allowUnsupported, check, listenHTTP2     bool
	explain                                  string
}

func main() {
	s, err := parse(os.Args[1:], os.Getenv)
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
		hangup := make(chan os.Signal, 1)
		signal.Notify(hangup, syscall.SIGHUP)
		err = run(ctx, s, os.Stdout, os.Stderr, hangup)
		stop()
	}
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// parse reads the command line. What Kong reads from its environment is taken from there where a flag is not given.
func parse(args []string, getenv func(string) string) (settings, error) {
	var s settings
	f := flag.NewFlagSet("gateway", flag.ContinueOnError)
	recursive, _ := strconv.ParseBool(strings.NewReplacer("on", "true", "off", "false").Replace(getenv("KONG_REAL_IP_RECURSIVE")))
	header := getenv("KONG_REAL_IP_HEADER")
	if header == "" {
		header = "X-Real-IP"
	}
	f.StringVar(&s.file, "config", "kong.yml", "the declarative configuration")
	f.StringVar(&s.listen, "listen", "127.0.0.1:8000", "address for HTTP; empty for none")
	f.BoolVar(&s.listenHTTP2, "listen-http2", false, "HTTP/2 without TLS there, too, as gRPC clients speak it")
	f.StringVar(&s.tlsListen, "tls-listen", "", "address for HTTPS; empty for none")
	f.StringVar(&s.tlsCert, "tls-cert", "", "certificate for names the configuration has none for; default: a self-signed one")
	f.StringVar(&s.tlsKey, "tls-key", "", "its private key")
	f.StringVar(&s.trusted, "trusted", getenv("KONG_TRUSTED_IPS"), "networks of trusted proxies, separated by commas")
	f.StringVar(&s.realIPHeader, "real-ip-header", header, "field in which they name the client, or "+proxyProtocol)
	f.BoolVar(&s.realIPRecursive, "real-ip-recursive", recursive, "skip the addresses of trusted proxies in that field")
	f.BoolVar(&s.allowUnsupported, "allow-unsupported", false, "leave out what Kong accepts and this gateway does not")
	f.BoolVar(&s.check, "check", false, "check the configuration, print the route table, and exit")
	f.StringVar(&s.explain, "explain", "", "say what would become of a request, such as 'GET http://host/path', and exit")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	if f.NArg() > 0 {
		return s, fmt.Errorf("%q is no flag; see -help", f.Arg(0))
	}
	return s, nil
}

// proxyProtocol is the value of -real-ip-header with which proxies name clients in the PROXY protocol.
const proxyProtocol = "proxy_protocol"

// trust configures whom to trust, above HTTP or below it.
func (s *settings) trust() (policy.EntryConfig, gateway.ListenerConfig, error) {
	var e policy.EntryConfig
	var l gateway.ListenerConfig
	var networks []netip.Prefix
	everybody := false
	for text := range strings.SplitSeq(s.trusted, ",") {
		if text = strings.TrimSpace(text); text == "" || text == "unix:" { // it listens on no Unix socket
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a, addrErr := netip.ParseAddr(text)
			if addrErr != nil {
				return e, l, fmt.Errorf("-trusted: %q is neither an address nor a network", text)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		networks = append(networks, p)
		everybody = everybody || p.Bits() == 0
	}
	switch {
	case s.realIPHeader == proxyProtocol:
		if len(networks) == 0 {
			return e, l, fmt.Errorf("-real-ip-header %s needs the networks of the proxies in -trusted", proxyProtocol)
		}
		l.ProxyProtocol = gateway.ProxyProtocol{TrustedProxies: networks, InsecureTrustAll: everybody}
	case len(networks) > 0:
		e.TrustedProxies, e.InsecureTrustAll, e.ClientAddressHeader = networks, everybody, s.realIPHeader
		if !s.realIPRecursive {
			e.MaxHops = 1
		}
	}
	return e, l, nil
}

func run(ctx context.Context, s settings, out, logs io.Writer, hangup <-chan os.Signal) error {
	entry, accept, err := s.trust()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(logs, nil))
	options := config.Options{AllowUnsupported: s.allowUnsupported, Entry: entry, Logger: log, DrainTimeout: drainTimeout, Resolver: net.DefaultResolver}
	if s.check || s.explain != "" { // nobody is to be connected to, not even for health checks, or asked for addresses
		options.Resolver = nil
		options.Logger = slog.New(slog.DiscardHandler)
		options.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.ErrUnsupported }
	}
	r, err := config.NewReloader(config.ReloaderConfig{File: s.file, CertFile: s.tlsCert, KeyFile: s.tlsKey, Options: options})
	if err != nil {
		return err
	}
	switch {
	case s.check:
		report(out, r)
		return r.Gateway().Shutdown(ctx)
	case s.explain != "":
		return errors.Join(explain(out, r.Gateway(), s.explain), r.Gateway().Shutdown(ctx))
	}
	return serve(ctx, s, accept, r, log, out, hangup)
}

// report prints what a check found.
func report(out io.Writer, r *config.Reloader) {
	fmt.Fprint(out, r.Gateway().Routes())
	for _, w := range r.Snapshot().Warnings {
		fmt.Fprintln(out, "warning:", w)
	}
	for _, u := range r.Snapshot().Unsupported {
		fmt.Fprintln(out, "left out:", u)
	}
}

// explain explains a request written as "GET http://host/path", with header fields behind it as "Name: value", separated by
// semicolons.
func explain(out io.Writer, gw *gateway.Gateway, text string) error {
	line, fields, _ := strings.Cut(text, ";")
	method, target, ok := strings.Cut(strings.TrimSpace(line), " ")
	if !ok {
		method, target = http.MethodGet, method
	}
	req, err := http.NewRequestWithContext(context.Background(), method, strings.TrimSpace(target), nil)
	if err == nil && (req.URL.Scheme != "http" && req.URL.Scheme != "https" || req.URL.Host == "") {
		err = fmt.Errorf("%q is not the URL of a request; write GET http://host/path", strings.TrimSpace(target))
	}
	if err != nil {
		return fmt.Errorf("-explain: %w", err)
	}
	for f := range strings.SplitSeq(fields, ";") {
		name, value, ok := strings.Cut(f, ":")
		if !ok && strings.TrimSpace(f) != "" {
			return fmt.Errorf("-explain: %q is not a header field; write Name: value", f)
		}
		if ok && strings.EqualFold(strings.TrimSpace(name), "Host") {
			req.Host = strings.TrimSpace(value)
		} else if ok {
			req.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
		}
	}
	if strings.HasPrefix(req.Header.Get("Content-Type"), "application/grpc") {
		req.Proto, req.ProtoMajor, req.ProtoMinor = "HTTP/2.0", 2, 0 // there is no gRPC over HTTP/1
	}
	if req.URL.Scheme == "https" {
		req.TLS = &tls.ConnectionState{ServerName: req.URL.Hostname()}
	}
	req.RemoteAddr, req.RequestURI = "127.0.0.1:1", req.URL.RequestURI()
	_, err = fmt.Fprint(out, gw.Explain(req))
	return err
}

// serve listens, says so, and serves until ctx ends.
func serve(
	ctx context.Context, s settings, accept gateway.ListenerConfig, r *config.Reloader, log *slog.Logger, out io.Writer, hangup <-chan os.Signal,
) error {
	for _, u := range r.Snapshot().Unsupported {
		log.LogAttrs(ctx, slog.LevelWarn, "left out of the configuration", slog.String("what", u))
	}
	srv := gateway.NewServer("", r.Gateway())
	srv.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	srv.Protocols.SetUnencryptedHTTP2(s.listenHTTP2)
	var listeners []net.Listener
	var where []string
	listen := func(addr, scheme string, wrap func(net.Listener) net.Listener) error {
		if addr == "" {
			return nil
		}
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		where = append(where, scheme+"://"+l.Addr().String())
		if l, err = gateway.NewListener(l, accept); err != nil {
			return err
		}
		listeners = append(listeners, wrap(l))
		return nil
	}
	err := listen(s.listen, "http", func(l net.Listener) net.Listener { return l })
	if err == nil && s.tlsListen != "" {
		srv.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: r.GetCertificate}
		err = listen(s.tlsListen, "https", func(l net.Listener) net.Listener { return tls.NewListener(l, srv.TLSConfig) })
	}
	if err != nil || len(listeners) == 0 {
		for _, l := range listeners {
			_ = l.Close()
		}
		if err == nil {
			err = errors.New("neither -listen nor -tls-listen has an address")
		}
		return errors.Join(err, r.Gateway().Shutdown(ctx))
	}
	fmt.Fprintln(out, "listening on", strings.Join(where, " and "))
	var watching sync.WaitGroup
	watched, stop := context.WithCancel(ctx)
	watching.Go(func() {
		debug.FreeOSMemory() // reading the file took more than serving it does
		r.Watch(watched, hangup)
	})
	err = r.Gateway().Run(ctx, srv, listeners...)
	stop()
	watching.Wait()
	return err
}
