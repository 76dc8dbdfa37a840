package gateway_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/breaker"
)

// Who is to blame for what: of the target's faults one is enough here to eject it and to open a circuit, and nothing else is.
func TestBlame(t *testing.T) {
	t.Parallel()
	const head = "HTTP/1.1 200 OK\r\n"
	const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	stall := func(c *net.TCPConn, in *bufio.Reader) { readRequest(in); _, _ = io.Copy(io.Discard, c) }
	saying := func(what string) func(*net.TCPConn, *bufio.Reader) {
		return func(c *net.TCPConn, in *bufio.Reader) {
			readRequest(in)
			_, _ = io.WriteString(c, what)
			_, _ = io.Copy(io.Discard, c)
		}
	}
	soon := gateway.Timeouts{FirstByte: 100 * time.Millisecond, Idle: 100 * time.Millisecond, Connect: 100 * time.Millisecond}
	total := gateway.Timeouts{Total: 200 * time.Millisecond}
	for _, tt := range []struct {
		about   string
		serve   func(*net.TCPConn, *bufio.Reader)
		with    func(*gateway.UpstreamConfig, string)
		r       string
		leaves  bool // the client
		twice   bool // there is a request before
		fault   policy.Fault
		code    string // of the try; "" for none
		ejected string // the reason
	}{
		{about: "it answers", serve: saying(head + "Content-Length: 0\r\n\r\n"), r: get},
		{about: "503", serve: saying("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"), r: get, ejected: "http_failures"},
		{about: "reset", serve: closing(""), r: get, fault: policy.FaultConnection, code: "connection_reset", ejected: "tcp_failures"},
		{about: "no HTTP", serve: closing("garbage\r\n\r\n"), r: get, fault: policy.FaultConnection, code: "invalid_response", ejected: "tcp_failures"},
		{about: "cut short", serve: closing(head + "Content-Length: 9\r\n\r\nabc"), r: get, fault: policy.FaultConnection, code: "truncated_response", ejected: "tcp_failures"},
		{about: "no head", serve: stall, with: func(c *gateway.UpstreamConfig, _ string) { c.Timeouts = soon }, r: get, fault: policy.FaultTimeout, code: "first_byte_timeout", ejected: "timeouts"},
		{about: "no body", serve: saying(head + "Content-Length: 9\r\n\r\nabc"), with: func(c *gateway.UpstreamConfig, _ string) { c.Timeouts = soon }, r: get, fault: policy.FaultTimeout, code: "idle_timeout", ejected: "timeouts"},
		{about: "no head in all", serve: stall, with: func(c *gateway.UpstreamConfig, _ string) { c.Timeouts = total }, r: get, fault: policy.FaultTimeout, code: "total_timeout", ejected: "timeouts"},
		{about: "no name", with: func(c *gateway.UpstreamConfig, _ string) {
			c.Dial = dialError(&net.DNSError{Err: "no such host", Name: "a.test", IsNotFound: true})
		}, r: get, fault: policy.FaultConnection, code: "dns_error", ejected: "tcp_failures"},
		{about: "no TLS", serve: closing(head + "\r\n"), with: func(c *gateway.UpstreamConfig, _ string) {
			c.Targets[0].URL = strings.Replace(c.Targets[0].URL, "http:", "https:", 1)
		}, r: get, fault: policy.FaultConnection, code: "tls_error", ejected: "tcp_failures"},
		{about: "TLS without end", serve: stall, with: func(c *gateway.UpstreamConfig, _ string) {
			c.Timeouts, c.Targets[0].URL = soon, strings.Replace(c.Targets[0].URL, "http:", "https:", 1)
		}, r: get, fault: policy.FaultTimeout, code: "connect_timeout", ejected: "timeouts"},
		{about: "nothing listens", with: func(c *gateway.UpstreamConfig, refusing string) { c.Targets[0].URL = refusing }, r: get, fault: policy.FaultRefused, code: "connect_refused", ejected: "connect_refused"},

		{about: "a stream for as long as it may", serve: func(c *net.TCPConn, in *bufio.Reader) {
			readRequest(in)
			_, _ = io.WriteString(c, head+"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
			for {
				if _, err := io.WriteString(c, "8\r\ndata: 1\n\r\n"); err != nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		}, with: func(c *gateway.UpstreamConfig, _ string) { c.Timeouts = total }, r: get, fault: policy.FaultNone, code: "total_timeout"},
		{about: "it closes a kept connection", serve: func(c *net.TCPConn, in *bufio.Reader) {
			readRequest(in)
			_, _ = io.WriteString(c, head+"Content-Length: 0\r\n\r\n")
			readRequest(in)
		}, r: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", twice: true, fault: policy.FaultNone, code: "stale_connection"},
		{about: "no connection is free", serve: stall, with: func(c *gateway.UpstreamConfig, _ string) {
			c.MaxConns, c.Timeouts.Connect = 1, 100*time.Millisecond
		}, r: get, twice: true, fault: policy.FaultNone, code: "connect_timeout"},
		{about: "the client leaves", serve: stall, r: get, leaves: true, fault: policy.FaultNone, code: "-"},
		{about: "the client leaves its body", serve: stall, r: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", leaves: true, fault: policy.FaultNone, code: "-"},
		{about: "a slow body", serve: stall, r: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", fault: policy.FaultNone, code: "body_timeout"},
		{about: "a large body", serve: stall, r: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nFFF\r\n" + strings.Repeat("b", 0xfff) + "\r\n0\r\n\r\n", fault: policy.FaultNone, code: "body_too_large"},
		{about: "a malformed body", serve: stall, r: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", fault: policy.FaultNone, code: "body_invalid"},
		{about: "a slow body and all in all", serve: stall, with: func(c *gateway.UpstreamConfig, _ string) { c.Timeouts = total }, r: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", fault: policy.FaultNone, code: "client_too_slow"},
		{about: "a round tripper refuses", serve: stall, with: func(c *gateway.UpstreamConfig, _ string) {
			c.Outbound = []func(http.RoundTripper) http.RoundTripper{func(http.RoundTripper) http.RoundTripper {
				return roundTripper(func(*http.Request) (*http.Response, error) {
					return nil, &policy.Error{Status: 429, Code: "too_many", Message: "Too many"}
				})
			}}
		}, r: get, fault: policy.FaultNone, code: "too_many"},
		{about: "a round tripper says how the target failed", serve: closing(""), with: func(c *gateway.UpstreamConfig, _ string) {
			c.Outbound = []func(http.RoundTripper) http.RoundTripper{func(next http.RoundTripper) http.RoundTripper {
				return roundTripper(func(r *http.Request) (*http.Response, error) {
					res, err := next.RoundTrip(r)
					if err != nil {
						err = &policy.Error{Status: 599, Code: "worded", Err: err}
					}
					return res, err
				})
			}}
		}, r: get, fault: policy.FaultConnection, code: "worded", ejected: "tcp_failures"},
	} {
		for _, standard := range []bool{false, true} {
			name := tt.about
			if standard {
				name += ", net/http's transport"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				all, targets := mishaps(t, "refused", "")
				targets[1].Priority = 1 // it gets nothing while the other is healthy
				if tt.serve != nil {
					targets[0].URL = scripted(t, tt.serve)
				}
				trip, around := gateway.Must(breaker.New(breaker.Config{Consecutive: 1})), gateway.Must(breaker.New(breaker.Config{Consecutive: 1}))
				c := gateway.UpstreamConfig{Targets: targets, Retry: policy.Retry{Tries: 1}, Admission: []policy.Admission{trip}}
				c.Health.Passive.Failures = balancer.Failures{TCP: 1, Timeouts: 1, HTTP: 1}
				if tt.with != nil {
					tt.with(&c, all[0].url)
				}
				if standard && c.Outbound == nil {
					c.Outbound = []func(http.RoundTripper) http.RoundTripper{func(next http.RoundTripper) http.RoundTripper { return next }}
				}
				up := retrying(t, c)
				tries := make(chan []policy.Try, 2)
				entry := gateway.Must(policy.NewEntry(policy.EntryConfig{ReadProgress: 500 * time.Millisecond}))
				srv := front(t, entry.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					x := policy.ExchangeFrom(r.Context())
					defer func() { tries <- x.Tries() }()
					r.Body = http.MaxBytesReader(w, r.Body, 1000)
					around.Wrap(up).ServeHTTP(w, r)
				})))
				if tt.twice {
					first, in := dialFront(t, srv)
					_, err := io.WriteString(first, get)
					require.NoError(t, err)
					if tt.code == "stale_connection" {
						res, err := http.ReadResponse(in, nil)
						require.NoError(t, err)
						require.Equal(t, 200, res.StatusCode)
						<-tries
					} else {
						require.Eventually(t, func() bool { return up.Status().Targets[0].InFlight == 1 }, 10*time.Second, time.Millisecond)
						time.Sleep(50 * time.Millisecond)
					}
				}
				conn, in := dialFront(t, srv)
				_, err := io.WriteString(conn, tt.r)
				require.NoError(t, err)
				if tt.leaves {
					require.Eventually(t, func() bool { return up.Status().Targets[0].InFlight == 1 }, 10*time.Second, time.Millisecond)
					time.Sleep(20 * time.Millisecond)
					require.NoError(t, conn.Close())
				} else {
					_, _ = in.ReadByte()
				}
				got := <-tries
				require.Len(t, got, 1)
				require.Equal(t, tt.fault, got[0].Fault, "%+v", got[0])
				switch {
				case tt.code == "":
					require.NoError(t, got[0].Err)
				case tt.code == "-":
					require.True(t, got[0].Canceled)
				default:
					var e *policy.Error
					require.ErrorAs(t, got[0].Err, &e)
					require.Equal(t, tt.code, e.Code, "%v", e)
				}
				s := up.Status().Targets[0]
				require.Equal(t, tt.ejected != "", s.Health == balancer.Ejected, "%+v", s)
				require.Equal(t, tt.ejected, s.HealthReason)
				for _, b := range []*breaker.Breaker{trip, around} {
					require.Equal(t, tt.ejected != "", b.Status().State == breaker.Open, "%+v", b.Status())
				}
			})
		}
	}
}
