package config_test

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/config"
	"github.com/gatehouse-go/gateway/gatewaytest"
)

// call makes a request over HTTP/2, as gRPC does unless the type is another.
func call(target, kind string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, target, strings.NewReader("\x00\x00\x00\x00\x00"))
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
	r.Header.Set("Content-Type", kind)
	return r
}

const grpcRoutes = `
_format_version: "3.0"
services:
- name: s
  url: http://s.internal
  routes:
  - {name: both, hosts: [both.test], protocols: [grpc, grpcs]}
  - {name: secure, hosts: [secure.test], protocols: [grpcs]}
  - {name: other, hosts: [other.test], protocols: [http], request_buffering: false}
`

// TestGRPCRoutes: what is no gRPC call is kept out of a route for gRPC, with Kong's answers.
func TestGRPCRoutes(t *testing.T) {
	t.Parallel()
	gw, up := serve(t, grpcRoutes)
	const kind = "application/grpc"
	tests := []struct {
		about, target, kind string
		http1               bool
		status              int
		grpc, message       string
	}{
		{"a call", "http://both.test/p.S/M", kind, false, 200, "", ""},
		{"with a subtype", "http://both.test/p.S/M", "application/grpc+proto", false, 200, "", ""},
		{"with a parameter, in capitals", "http://both.test/p.S/M", "Application/gRPC; a=b", false, 200, "", ""},
		{"gRPC-Web, as Kong looks at the beginning", "http://both.test/p.S/M", "application/grpc-web", false, 200, "", ""},
		{"over TLS", "https://secure.test/p.S/M", kind, false, 200, "", ""},
		{"without TLS", "http://secure.test/p.S/M", kind, false, 200, "1", "gRPC request matched gRPCs route"},
		{"HTTP/1.1", "http://both.test/p.S/M", kind, true, 426, "", "Please use HTTP2 protocol"},
		{"HTTP/1.1 and no TLS", "http://secure.test/p.S/M", kind, true, 426, "", "Please use HTTP2 protocol"},
		{"another type", "http://both.test/p.S/M", "application/json", false, 415, "", "Non-gRPC request matched gRPC route"},
		{"one that begins likewise", "http://both.test/p.S/M", "application/grp", false, 415, "", "Non-gRPC request matched gRPC route"},
		{"no type, and HTTP/1.1", "http://both.test/p.S/M", "", true, 415, "", "Non-gRPC request matched gRPC route"},
	}
	for _, tt := range tests {
		r := call(tt.target, tt.kind)
		if tt.http1 {
			r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
		}
		before := len(up.Requests())
		res := gatewaytest.Do(gw, r)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Equal(t, tt.status, res.StatusCode, tt.about)
		require.Equal(t, tt.message == "", len(up.Requests()) > before, tt.about)
		require.Equal(t, tt.grpc, res.Header.Get("Grpc-Status"), tt.about)
		switch {
		case tt.message == "":
			require.Equal(t, "/p.S/M", up.Last().URI, "nothing is stripped")
			require.Empty(t, res.Header.Get("Cache-Control"), tt.about)
		case tt.grpc != "":
			require.Equal(t, tt.message, res.Header.Get("Grpc-Message"), tt.about)
			require.Equal(t, kind, res.Header.Get("Content-Type"), tt.about)
			require.Equal(t, "no-store", res.Header.Get("Cache-Control"), tt.about)
		default:
			require.Contains(t, string(body), `"message":"`+tt.message+`"`, tt.about)
			require.Equal(t, tt.status == 426, res.Header.Get("Upgrade") == "HTTP/2", tt.about)
		}
	}

	// Explain says the same, and has no effect.
	for _, tt := range tests {
		r := call(tt.target, tt.kind)
		if tt.http1 {
			r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
		}
		text := gw.Explain(r).String()
		switch {
		case tt.message == "":
			require.NotContains(t, text, "refused", tt.about)
		case tt.grpc != "":
			require.Contains(t, text, "grpc-only: refused grpcs_required 426", tt.about)
		case tt.status == 426:
			require.Contains(t, text, "grpc-only: refused http2_required 426", tt.about)
		default:
			require.Contains(t, text, "grpc-only: refused grpc_required 415", tt.about)
		}
	}
}

// TestGRPCRefusalOnTheWire: a client of HTTP/1.1 is told what to upgrade to.
func TestGRPCRefusalOnTheWire(t *testing.T) {
	t.Parallel()
	gw, _ := serve(t, grpcRoutes)
	server := httptest.NewServer(gw)
	t.Cleanup(server.Close)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/p.S/M", nil)
	require.NoError(t, err)
	r.Host = "both.test"
	r.Header.Set("Content-Type", "application/grpc")
	res, err := server.Client().Do(r)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusUpgradeRequired, res.StatusCode)
	require.Equal(t, "Upgrade", res.Header.Get("Connection"))
	require.Equal(t, "HTTP/2", res.Header.Get("Upgrade"))
}

// target serves HTTP/2, over TLS or without it, and nothing else unless it has to.
func target(t *testing.T, secure bool, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(srv.Close)
	if secure {
		srv.EnableHTTP2 = true
		srv.StartTLS()
	} else {
		srv.Config.Protocols = new(http.Protocols)
		srv.Config.Protocols.SetUnencryptedHTTP2(true)
		srv.Start()
	}
	return srv.Listener.Addr().String()
}

// TestGRPCServices: they are spoken to in HTTP/2, whatever the client speaks, and nothing of a stream is kept back.
func TestGRPCServices(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		address := target(t, secure, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Grpc-Status", "0")
			_, _ = io.WriteString(w, r.Proto+" "+r.Host+" ")
			message := make([]byte, 3)
			for {
				_ = http.NewResponseController(w).Flush()
				if _, err := io.ReadFull(r.Body, message); err != nil {
					return
				}
				_, _ = w.Write(message)
			}
		})
		protocol, verify := "grpc", ""
		if secure {
			protocol, verify = "grpcs", "tls_verify: false,"
		}
		s, err := config.Load("kong.yml", strings.NewReader(strings.NewReplacer("PROTOCOL", protocol, "ADDRESS", address, "VERIFY", verify).Replace(`
_format_version: "3.0"
services:
- {name: url, url: "PROTOCOL://ADDRESS", VERIFY routes: [{name: url, hosts: [url.test], protocols: [grpc, grpcs]}]}
- {name: plain, url: "PROTOCOL://ADDRESS", VERIFY routes: [{name: plain, hosts: [plain.test]}]}
- {name: pool, protocol: PROTOCOL, host: u, VERIFY routes: [{name: pool, hosts: [pool.test], protocols: [grpc, grpcs], preserve_host: true}]}
upstreams: [{name: u, targets: [{target: "ADDRESS"}]}]
`)), config.Options{})
		require.NoError(t, err)
		gw, err := gateway.New(s.Gateway)
		require.NoError(t, err)
		t.Cleanup(func() { _ = gw.Shutdown(t.Context()) })

		res := gatewaytest.Do(gw, httptest.NewRequest(http.MethodGet, "http://plain.test/x", nil))
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Equal(t, "HTTP/2.0 "+address+" ", string(body), protocol)

		front := httptest.NewUnstartedServer(gw)
		front.EnableHTTP2 = true
		front.StartTLS()
		t.Cleanup(front.Close)
		for host, seen := range map[string]string{"url.test": address, "pool.test": "pool.test"} {
			reader, writer := io.Pipe()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, front.URL+"/p.S/M", reader)
			require.NoError(t, err)
			r.Host = host
			r.Header.Set("Content-Type", "application/grpc")
			res, err := front.Client().Do(r)
			require.NoError(t, err)
			want := "HTTP/2.0 " + seen + " "
			got := make([]byte, len(want))
			_, err = io.ReadFull(res.Body, got)
			require.NoError(t, err)
			require.Equal(t, want, string(got), "the answer begins before the request has said anything")
			for _, message := range []string{"one", "two"} {
				_, err = io.WriteString(writer, message)
				require.NoError(t, err)
				got = make([]byte, len(message))
				_, err = io.ReadFull(res.Body, got)
				require.NoError(t, err)
				require.Equal(t, message, string(got), "each message passes by itself")
			}
			require.NoError(t, writer.Close())
			_, err = io.ReadAll(res.Body)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
		}
	}
}

// TestGRPCNeedsHTTP2: a target of HTTP/1.1 is not made a service of gRPC by being called one.
func TestGRPCNeedsHTTP2(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 1)
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Method != "PRI" { // net/http shows the preface of HTTP/2
			asked <- r.Proto
		}
	})
	plain, secure := httptest.NewServer(h), httptest.NewUnstartedServer(h)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer plain.Close()
	defer secure.Close()
	silent := httptest.NewUnstartedServer(h)
	silent.Config.ErrorLog = log.New(io.Discard, "", 0)
	silent.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: secure.TLS.Certificates}, nil // it knows nothing of ALPN
	}}
	silent.StartTLS()
	defer silent.Close()
	for _, url := range []string{
		"grpc://" + plain.Listener.Addr().String(), "grpcs://" + secure.Listener.Addr().String() + "', tls_verify: false, name: 's",
		"grpcs://" + silent.Listener.Addr().String() + "', tls_verify: false, name: 's",
	} {
		s, err := config.Load("kong.yml", strings.NewReader(
			"{_format_version: '3.0', services: [{url: '"+url+"', routes: [{name: r, paths: [/]}]}]}"), config.Options{})
		require.NoError(t, err)
		gw, err := gateway.New(s.Gateway)
		require.NoError(t, err)
		require.Equal(t, http.StatusBadGateway, ask(gw, http.MethodGet, "/").StatusCode, url)
		require.NoError(t, gw.Shutdown(t.Context()))
	}
	require.Empty(t, asked)
}

// TestGRPCIsChecked: what cannot be is refused where it stands.
func TestGRPCIsChecked(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"routes: [{name: r, paths: [/], protocols: [http, grpc]}]":                  `routes[0].protocols[0]: found "http": does not go together with grpc and grpcs`,
		"routes: [{name: r, paths: [/], protocols: [grpcs, tcp]}]":                  `routes[0].protocols[1]: found "tcp": does not go together`,
		"routes: [{name: r, paths: [/], protocols: [grpc], methods: [POST]}]":       "routes[0].methods: methods cannot be set",
		"routes: [{name: r, paths: [/], protocols: [grpc], strip_path: true}]":      "routes[0].strip_path: found true: cannot be true",
		"routes: [{name: r, protocols: [grpc]}]":                                    "a route needs at least one of",
		"services: [{name: s, url: 'grpc://h.test/p'}]":                             `services[0].url: found "grpc://h.test/p": there can be no path`,
		"services: [{name: s, protocol: grpcs, host: h.test, path: /p}]":            `services[0].path: found "/p": there can be no path`,
		"services: [{name: s, protocol: ws, host: h.test, routes: [{paths: [/]}]}]": "protocol ws is not supported",
		"routes: [{name: r, paths: [/], protocols: [ws]}]":                          "protocol ws is not supported",
	} {
		_, err := config.Load("kong.yml", strings.NewReader("_format_version: '3.0'\n"+text+"\n"), config.Options{})
		require.ErrorContains(t, err, want, text)
	}
	for _, text := range []string{
		"routes: [{name: r, paths: [/], protocols: [grpc], strip_path: false}]",
		"routes: [{name: r, paths: [/], protocols: [grpc, grpcs], strip_path: null, methods: []}]",
		"services: [{name: s, protocol: grpc, host: h.test, path: null}]",
		"routes: [{name: r, snis: [a.test], protocols: [grpcs]}]",
	} {
		s, err := config.Load("kong.yml", strings.NewReader("_format_version: '3.0'\n"+text+"\n"), config.Options{})
		require.NoError(t, err, text)
		require.NoError(t, s.Close())
	}
}

// pausing is a request body of a few bytes with pauses between them, on a stream that has a deadline.
type pausing struct {
	http.ResponseWriter

	left     int
	deadline time.Time
}

// SetReadDeadline is what an [http.ResponseController] looks for.
func (p *pausing) SetReadDeadline(t time.Time) error {
	p.deadline = t
	return nil
}

// Read implements [io.Reader].
func (p *pausing) Read(b []byte) (int, error) {
	const pause = 20 * time.Second
	if p.left--; p.left < 0 {
		return 0, io.EOF
	}
	if !p.deadline.IsZero() && time.Until(p.deadline) < pause {
		time.Sleep(time.Until(p.deadline))
		return 0, os.ErrDeadlineExceeded
	}
	time.Sleep(pause)
	return copy(b, "x"), nil
}

// TestGRPCPauses: a call may say little for as long as it likes, which other requests may not.
func TestGRPCPauses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gw, up := serve(t, grpcRoutes)
		for host, want := range map[string]int{"both.test": 200, "other.test": 408} {
			r := call("http://"+host+"/p.S/M", "application/grpc")
			w := httptest.NewRecorder()
			body := &pausing{ResponseWriter: w, left: 9}
			r.Body, r.ContentLength = io.NopCloser(body), -1
			gw.ServeHTTP(body, r)
			if want != 200 { // as gRPC has it: DEADLINE_EXCEEDED
				require.Equal(t, "4", w.Header().Get("Grpc-Status"), host)
				continue
			}
			require.Equal(t, want, w.Code, host)
			require.Equal(t, "xxxxxxxxx", string(up.Last().Body), host)
		}
		require.NoError(t, gw.Shutdown(t.Context()))
		require.NoError(t, up.Close())
	})
}
