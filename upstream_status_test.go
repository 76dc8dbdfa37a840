package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
)

// statusItem is one member of a Proxy-Status list as we write it: a token with a parameter that is a token (RFC 8941
// sections 3.1, 3.1.2 and 3.3.4).
var statusItem = regexp.MustCompile("^([A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*); *error=([A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*)$")

// statusTypes are the types of errors of RFC 9209 section 2.3.
var statusTypes = strings.Fields(`dns_timeout dns_error destination_not_found destination_unavailable destination_ip_prohibited
	destination_ip_unroutable connection_refused connection_terminated connection_timeout connection_read_timeout
	connection_write_timeout connection_limit_reached tls_protocol_error tls_certificate_error tls_alert_received
	http_request_error http_request_denied http_response_incomplete http_response_header_section_size
	http_response_header_size http_response_body_size http_response_trailer_section_size http_response_trailer_size
	http_response_transfer_coding http_response_content_coding http_response_timeout http_upgrade_failed http_protocol_error
	proxy_internal_response proxy_internal_error proxy_configuration_error proxy_loop_detected`)

// requireStatus says that h has one Proxy-Status, in which we name a registered type.
func requireStatus(t *testing.T, want string, h http.Header) {
	t.Helper()
	require.Len(t, h["Proxy-Status"], 1)
	m := statusItem.FindStringSubmatch(h.Get("Proxy-Status"))
	require.NotNil(t, m, "%q is no item with one parameter", h.Get("Proxy-Status"))
	require.Equal(t, "gatehouse", m[1])
	require.Contains(t, statusTypes, m[2])
	require.Equal(t, want, m[2])
}

// Whatever a target does wrong, the answer that is made in its place says what it was.
func TestProxyStatus(t *testing.T) {
	t.Parallel()
	const head = "HTTP/1.1 200 OK\r\n"
	same := []func(http.RoundTripper) http.RoundTripper{func(next http.RoundTripper) http.RoundTripper { return next }}
	served := func(answer string) func(*testing.T) gateway.UpstreamConfig {
		return func(t *testing.T) gateway.UpstreamConfig {
			t.Helper()
			return gateway.UpstreamConfig{Targets: targets(scripted(t, closing(answer)))}
		}
	}
	dialled := func(err error) func(*testing.T) gateway.UpstreamConfig {
		return func(*testing.T) gateway.UpstreamConfig {
			return gateway.UpstreamConfig{Targets: targets("http://a.test"), Dial: dialError(err)}
		}
	}
	tests := []struct {
		name     string
		upstream func(*testing.T) gateway.UpstreamConfig
		status   int
		want     string
	}{
		{"refused", dialled(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}), 502, "connection_refused"},
		{"unroutable", dialled(&net.OpError{Op: "dial", Err: syscall.ENETUNREACH}), 502, "destination_ip_unroutable"},
		{"no connection", dialled(errors.New("dial 10.0.0.1: odd")), 502, "destination_unavailable"},
		{"no name", dialled(&net.DNSError{Err: "no such host", Name: "a.test", IsNotFound: true}), 503, "dns_error"},
		{"no answer about the name", dialled(&net.DNSError{Err: "i/o timeout", Name: "a.test", IsTimeout: true}), 503, "dns_timeout"},
		{"dialling times out", dialled(&net.OpError{Op: "dial", Err: syscall.ETIMEDOUT}), 504, "connection_timeout"},
		{"closed before the head", served(""), 502, "connection_terminated"},
		{"closed in the head", served(head + "A: b\r\n"), 502, "connection_terminated"},
		{"nothing of a declared body", served(head + "Content-Length: 10\r\n\r\n"), 502, "http_response_incomplete"},
		{"no HTTP", served("\x16\x03\x01 no HTTP\r\n\r\n"), 502, "http_protocol_error"},
		{"switches protocols", served("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"), 502, "http_protocol_error"},
		{"huge head", served(head + "X: " + strings.Repeat("x", 200<<10) + "\r\n\r\n"), 502, "http_response_header_section_size"},
		{"unknown coding", served(head + "Transfer-Encoding: gzip\r\n\r\n"), 502, "http_response_transfer_coding"},
		{"a certificate nobody trusts", func(t *testing.T) gateway.UpstreamConfig {
			t.Helper()
			target, _ := tlsBackend(t, func(http.ResponseWriter, *http.Request) {})
			return gateway.UpstreamConfig{Targets: targets(target)}
		}, 502, "tls_certificate_error"},
		{"no TLS", func(t *testing.T) gateway.UpstreamConfig {
			t.Helper()
			plain := scripted(t, closing("HTTP/1.1 400 Bad Request\r\n\r\n"))
			return gateway.UpstreamConfig{Targets: targets("https" + strings.TrimPrefix(plain, "http"))}
		}, 502, "tls_protocol_error"},
		{"an alert", func(t *testing.T) gateway.UpstreamConfig {
			t.Helper()
			srv := httptest.NewUnstartedServer(http.NotFoundHandler())
			srv.Config.ErrorLog = log.New(io.Discard, "", 0)
			srv.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool(), MaxVersion: tls.VersionTLS12}
			srv.StartTLS()
			t.Cleanup(srv.Close)
			return gateway.UpstreamConfig{Targets: targets(srv.URL), TLS: srv.Client().Transport.(*http.Transport).TLSClientConfig}
		}, 502, "tls_alert_received"},
		{"an admission says no", func(*testing.T) gateway.UpstreamConfig {
			return gateway.UpstreamConfig{Targets: targets("http://a.test"), Admission: []policy.Admission{refusing{&policy.Error{Status: 503, Code: "open"}}}}
		}, 503, "destination_unavailable"},
		{"an admission has no place", func(*testing.T) gateway.UpstreamConfig {
			return gateway.UpstreamConfig{Targets: targets("http://a.test"), Admission: []policy.Admission{refusing{&policy.Error{Status: 429, Code: "busy"}}}}
		}, 429, "proxy_internal_response"},
		{"an admission knows better", func(*testing.T) gateway.UpstreamConfig {
			return gateway.UpstreamConfig{Targets: targets("http://a.test"), Admission: []policy.Admission{refusing{&policy.Error{
				Status: 503, Header: http.Header{"Proxy-Status": {"gatehouse; error=connection_limit_reached"}},
			}}}}
		}, 503, "connection_limit_reached"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, outbound := range [][]func(http.RoundTripper) http.RoundTripper{nil, same} {
				c := tt.upstream(t)
				c.Outbound = outbound
				r := get("/")
				res := gatewaytest.Do(upstream(t, c), r)
				require.Equal(t, tt.status, res.StatusCode, "%d outbound round trippers", len(outbound))
				requireStatus(t, tt.want, res.Header)

				c = tt.upstream(t)
				c.Outbound, c.HideProxyStatus = outbound, true
				if tt.name != "an admission knows better" {
					require.NotContains(t, gatewaytest.Do(upstream(t, c), get("/")).Header, "Proxy-Status")
				}
			}
		})
	}
}

// refusing is an admission that admits nobody.
type refusing struct{ err error }

func (a refusing) Admit(context.Context, string) (policy.Ticket, error) { return 0, a.err }
func (refusing) Done(policy.Ticket, policy.Outcome)                     {}

func targets(url string) []balancer.Target { return []balancer.Target{{URL: url}} }

// What is waited for in vain is told apart, too.
func TestProxyStatusOfTimeouts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		want string
		c    gateway.UpstreamConfig
	}{
		{"connection_timeout", gateway.UpstreamConfig{Timeouts: gateway.Timeouts{Connect: time.Second}, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}},
		{"connection_read_timeout", gateway.UpstreamConfig{Timeouts: gateway.Timeouts{FirstByte: time.Second}, Dial: piped(func(_ net.Conn, in *bufio.Reader) { silent(in) })}},
		{"connection_read_timeout", gateway.UpstreamConfig{Timeouts: gateway.Timeouts{Idle: time.Second}, Dial: piped(func(c net.Conn, in *bufio.Reader) {
			_, _ = http.ReadRequest(in)
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"))
			silent(in)
		})}},
		{"http_response_timeout", gateway.UpstreamConfig{Timeouts: gateway.Timeouts{Total: time.Second}, Dial: piped(func(_ net.Conn, in *bufio.Reader) { silent(in) })}},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			res := gatewaytest.Do(upstream(t, tt.c, "http://a.test"), get("/"))
			require.Equal(t, http.StatusGatewayTimeout, res.StatusCode)
			requireStatus(t, tt.want, res.Header)
		})
	}
}

// A request that finds no free connection was not refused by the target.
func TestProxyStatusOfTheConnectionLimit(t *testing.T) {
	t.Parallel()
	asked, answer := make(chan struct{}), make(chan struct{})
	u := upstream(t, gateway.UpstreamConfig{MaxConns: 1, Timeouts: gateway.Timeouts{Connect: time.Minute}}, backend(t, func(http.ResponseWriter, *http.Request) {
		close(asked)
		<-answer
	}))
	first := make(chan int, 1)
	go func() { first <- gatewaytest.Do(u, get("/")).StatusCode }()
	<-asked
	x, second := policy.Ensure(get("/"))
	x.SetForward(&policy.Forward{Timeouts: policy.Timeouts{Connect: 20 * time.Millisecond}})
	res := gatewaytest.Do(u, second)
	close(answer)
	require.Equal(t, http.StatusGatewayTimeout, res.StatusCode)
	requireStatus(t, "connection_limit_reached", res.Header)
	require.Equal(t, 200, <-first)
}

// Who asks is told as well, and what was not the target's doing.
func TestProxyStatusOfRequests(t *testing.T) {
	t.Parallel()
	target := backend(t, func(http.ResponseWriter, *http.Request) {})
	u := upstream(t, gateway.UpstreamConfig{}, target)

	r := get("/")
	r.Header["Via"] = []string{strings.Repeat("1.1 gatehouse, ", 8) + "1.1 gatehouse"}
	res := gatewaytest.Do(u, r)
	require.Equal(t, http.StatusLoopDetected, res.StatusCode)
	requireStatus(t, "proxy_loop_detected", res.Header)

	limited := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 3)
		u.ServeHTTP(w, r)
	})
	res = gatewaytest.Do(limited, httptest.NewRequest(http.MethodPost, "/", bytes.NewReader([]byte("12345"))))
	require.Equal(t, http.StatusRequestEntityTooLarge, res.StatusCode)
	requireStatus(t, "http_request_error", res.Header)

	forward := gateway.Forward{Rewrite: func(_, out *http.Request) { out.URL.RawQuery = "a b" }}
	gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{{Name: "r", Forward: forward, Handler: u}}}))
	res = gatewaytest.Do(gw, get("/"))
	require.Equal(t, http.StatusInternalServerError, res.StatusCode)
	requireStatus(t, "proxy_internal_error", res.Header)

	// gRPC has its status in the header, too, and a client that asks for problem details gets both.
	r = httptest.NewRequest(http.MethodPost, "/pkg.Service/Method", nil)
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
	r.Header.Set("Content-Type", "application/grpc")
	down := upstream(t, gateway.UpstreamConfig{Dial: dialError(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})}, "http://a.test")
	res = gatewaytest.Do(down, r)
	require.Equal(t, "14", res.Header.Get("Grpc-Status"))
	requireStatus(t, "connection_refused", res.Header)

	require.NoError(t, u.Close())
	res = gatewaytest.Do(u, get("/"))
	require.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
	requireStatus(t, "destination_unavailable", res.Header)
	requireStatus(t, "destination_unavailable", gatewaytest.Do((*gateway.Upstream)(nil), get("/")).Header)
}

// An answer of the target says what it says, and we add nothing to it; nor do answers that have nothing to do with a target.
func TestProxyStatusOfTheTarget(t *testing.T) {
	t.Parallel()
	for _, hide := range []bool{false, true} {
		u := upstream(t, gateway.UpstreamConfig{HideProxyStatus: hide}, scripted(t, answering(
			"HTTP/1.1 502 Bad Gateway\r\nProxy-Status: inner; error=dns_error; details=\"a, b\"\r\nProxy-Status: outer\r\nContent-Length: 0\r\n\r\n")))
		res := gatewaytest.Do(u, get("/"))
		require.Equal(t, []string{`inner; error=dns_error; details="a, b"`, "outer"}, res.Header["Proxy-Status"])
	}
	u := upstream(t, gateway.UpstreamConfig{}, scripted(t, answering("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")))
	require.NotContains(t, gatewaytest.Do(u, get("/")).Header, "Proxy-Status")
	gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{{Name: "r", Match: gateway.Match{Paths: []string{"/a"}}, Handler: u}}}))
	require.NotContains(t, gatewaytest.Do(gw, get("/b")).Header, "Proxy-Status")
}
