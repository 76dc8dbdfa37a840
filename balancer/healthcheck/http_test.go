package healthcheck_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/balancer/healthcheck"
)

func quiet() *log.Logger { return slog.NewLogLogger(slog.DiscardHandler, slog.LevelWarn) }

func answers(status int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
	}
}

// What a status says.
func TestHTTPStatus(t *testing.T) {
	t.Parallel()
	type outcome int
	const (
		well outcome = iota
		unwell
		nothing
	)
	for _, tt := range []struct {
		h    healthcheck.HTTP
		want map[int]outcome
	}{
		{healthcheck.HTTP{}, map[int]outcome{200: well, 204: well, 299: well, 301: unwell, 401: unwell, 404: unwell, 500: unwell, 503: unwell}},
		{healthcheck.HTTP{Statuses: []int{}, FailureStatuses: []int{}}, map[int]outcome{200: well, 301: unwell}},
		{healthcheck.HTTP{Statuses: []int{200, 401}}, map[int]outcome{200: well, 401: well, 204: unwell, 500: unwell}},
		{healthcheck.HTTP{FailureStatuses: []int{503, 204}}, map[int]outcome{200: well, 204: unwell, 503: unwell, 404: nothing, 500: nothing, 302: nothing}},
		{healthcheck.HTTP{Statuses: []int{200}, FailureStatuses: []int{503}}, map[int]outcome{200: well, 201: nothing, 503: unwell, 429: nothing}},
	} {
		for status, want := range tt.want {
			t.Run(fmt.Sprint(tt.h.Statuses, tt.h.FailureStatuses, status), func(t *testing.T) {
				t.Parallel()
				target, _ := server(t, false, true, false, answers(status, "Location", "/elsewhere"))
				err := check(t, tt.h, target, nil)
				switch want {
				case well:
					require.NoError(t, err)
				case unwell:
					var answered *balancer.AnswerError
					require.ErrorAs(t, err, &answered)
					require.Equal(t, status, answered.Status)
					require.EqualError(t, err, fmt.Sprintf("balancer: check: status %d: it says that the target is not well", status))
				case nothing:
					require.ErrorIs(t, err, balancer.ErrInconclusive)
				}
			})
		}
	}
}

// What is sent.
func TestHTTPRequest(t *testing.T) {
	t.Parallel()
	const agent = "gatehouse-healthcheck"
	for _, tt := range []struct {
		about, base string
		h           healthcheck.HTTP
		line, host  string // host "" for the target's
		header      http.Header
	}{
		{"nothing set", "", healthcheck.HTTP{}, "GET / HTTP/1.1", "", http.Header{"User-Agent": {agent}, "Connection": {"close"}}},
		{"a path", "", healthcheck.HTTP{Path: "/healthz"}, "GET /healthz HTTP/1.1", "", nil},
		{"below the target's", "/base", healthcheck.HTTP{Path: "/healthz"}, "GET /base/healthz HTTP/1.1", "", nil},
		{"below the target's, which ends so", "/base/", healthcheck.HTTP{Path: "/healthz/"}, "GET /base/healthz/ HTTP/1.1", "", nil},
		{"the default below the target's", "/base", healthcheck.HTTP{}, "GET /base/ HTTP/1.1", "", nil},
		{"a query", "/base", healthcheck.HTTP{Path: "/healthz?full=1&a=%20/../b"}, "GET /base/healthz?full=1&a=%20/../b HTTP/1.1", "", nil},
		{"an empty query", "", healthcheck.HTTP{Path: "/?"}, "GET /? HTTP/1.1", "", nil},
		{"escapes", "/b%2Fc", healthcheck.HTTP{Path: "/a%2Fb%20c%25;x=1:2"}, "GET /b%2Fc/a%2Fb%20c%25;x=1:2 HTTP/1.1", "", nil},
		{"a method", "", healthcheck.HTTP{Method: "HEAD"}, "HEAD / HTTP/1.1", "", nil},
		{"a method of one's own", "", healthcheck.HTTP{Method: "PING"}, "PING / HTTP/1.1", "", nil},
		{"a method with a body, which is empty", "", healthcheck.HTTP{Method: "POST"}, "POST / HTTP/1.1", "", http.Header{"User-Agent": {agent}, "Connection": {"close"}, "Content-Length": {"0"}}},
		{"a host", "", healthcheck.HTTP{Host: "users.test:8080"}, "GET / HTTP/1.1", "users.test:8080", nil},
		{
			"fields", "",
			healthcheck.HTTP{Header: http.Header{"Authorization": {"Bearer x"}, "X-A": {"1", "2"}}},
			"GET / HTTP/1.1", "", http.Header{"Authorization": {"Bearer x"}, "X-A": {"1", "2"}, "User-Agent": {agent}, "Connection": {"close"}},
		},
		{"a User-Agent", "", healthcheck.HTTP{Header: http.Header{"User-Agent": {"mine"}}}, "GET / HTTP/1.1", "", http.Header{"User-Agent": {"mine"}, "Connection": {"close"}}},
		{"a User-Agent spelled so", "", healthcheck.HTTP{Header: http.Header{"user-agent": {"mine"}}}, "GET / HTTP/1.1", "", http.Header{"User-Agent": {"mine"}, "Connection": {"close"}}},
		{"no User-Agent", "", healthcheck.HTTP{Header: http.Header{"User-Agent": nil}}, "GET / HTTP/1.1", "", http.Header{"Connection": {"close"}}},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			got := make(chan *http.Request, 1)
			target, _ := server(t, false, true, false, func(_ http.ResponseWriter, r *http.Request) { got <- r })
			h := tt.h
			before := h.Header.Clone()
			require.NoError(t, check(t, h, target+tt.base, nil))
			require.Equal(t, before, h.Header)
			r := <-got
			require.Equal(t, tt.line, r.Method+" "+r.RequestURI+" "+r.Proto)
			if tt.host == "" {
				tt.host = strings.TrimPrefix(target, "http://")
			}
			require.Equal(t, tt.host, r.Host)
			if tt.header != nil {
				require.Equal(t, tt.header, r.Header)
			}
		})
	}
}

// What a body says, and how much of it is read.
func TestHTTPBody(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		about, body string
		h           healthcheck.HTTP
		well        bool
	}{
		{"it matches", `{"status": "up"}`, healthcheck.HTTP{Body: regexp.MustCompile(`"status": *"up"`)}, true},
		{"it does not", `{"status": "down"}`, healthcheck.HTTP{Body: regexp.MustCompile(`"status": *"up"`)}, false},
		{"none", "", healthcheck.HTTP{Body: regexp.MustCompile("up")}, false},
		{"within MaxBody", "0123up", healthcheck.HTTP{Body: regexp.MustCompile("up"), MaxBody: 6}, true},
		{"beyond MaxBody", "0123up", healthcheck.HTTP{Body: regexp.MustCompile("up"), MaxBody: 5}, false},
		{"the end is that of what is read", "0123up", healthcheck.HTTP{Body: regexp.MustCompile("^0123$"), MaxBody: 4}, true},
		{"within the default", strings.Repeat(" ", healthcheck.DefaultMaxBody-2) + "up", healthcheck.HTTP{Body: regexp.MustCompile("up")}, true},
		{"beyond the default", strings.Repeat(" ", healthcheck.DefaultMaxBody-1) + "up", healthcheck.HTTP{Body: regexp.MustCompile("up")}, false},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			for _, http2 := range []bool{false, true} {
				target, _ := server(t, false, true, true, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(tt.body)) })
				tt.h.HTTP2 = http2
				err := check(t, tt.h, target, nil)
				if tt.well {
					require.NoError(t, err)
				} else {
					require.EqualError(t, err, "balancer: check: status 200: the body does not match")
				}
			}
		})
	}
}

// An answer without end is not read to it.
func TestHTTPEndlessBody(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		var sent atomic.Int64
		ended := make(chan struct{}, 9)
		target, _ := server(t, false, true, true, func(w http.ResponseWriter, r *http.Request) {
			b := make([]byte, 1<<10)
			for r.Context().Err() == nil {
				n, err := w.Write(b)
				if sent.Add(int64(n)); err != nil {
					break
				}
			}
			ended <- struct{}{}
		})
		require.NoError(t, check(t, healthcheck.HTTP{HTTP2: http2}, target, nil))
		<-ended
		require.Error(t, check(t, healthcheck.HTTP{HTTP2: http2, Body: regexp.MustCompile("up")}, target, nil))
		<-ended
		if http2 { // with HTTP/1.1 it is the system that takes it
			require.Less(t, sent.Load(), int64(1<<20))
		}
	}
}

// What is no answer, and what comes in pieces.
func TestHTTPRaw(t *testing.T) {
	t.Parallel()
	up := healthcheck.HTTP{Body: regexp.MustCompile("up")}
	for _, tt := range []struct {
		about string
		serve func(net.Conn)
		h     healthcheck.HTTP
		want  string // "" for well
	}{
		{"an answer", says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup"), up, ""},
		{"an answer that ends with the connection", says("HTTP/1.0 200 OK\r\n\r\nup"), up, ""},
		{"hints before it", says("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup"), up, ""},
		{"more than an answer", says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nupHTTP/1.1 500 Oh\r\n\r\n"), up, ""},
		{"a switch of protocols", says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"), healthcheck.HTTP{}, "status 101"},
		{"a body cut short", says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nup"), up, "unexpected EOF"},
		{"a body cut short that nobody reads", says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nup"), healthcheck.HTTP{}, ""},
		{"a bad chunk", says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), up, "chunk"},
		{"a head cut short", says("HTTP/1.1 200 OK\r\nContent-"), up, "malformed"},
		{"no HTTP", says("SSH-2.0-OpenSSH_9.9\r\n"), up, "malformed"},
		{"no HTTP, and before anything was asked", func(conn net.Conn) { _, _ = conn.Write([]byte("220 mail ready\r\n")); untilClosed(conn) }, up, "malformed"},
		{"an answer to nothing", func(conn net.Conn) {
			_, _ = conn.Write([]byte("HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n"))
			untilClosed(conn)
		}, up, "status 503"},
		{"no status", says("HTTP/1.1 ok\r\n\r\n"), up, "malformed"},
		{"nothing", says(""), up, "EOF"},
		{"closed at once", func(net.Conn) {}, up, "EOF|reset|broken pipe"},
		{"a reset", func(conn net.Conn) {
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
		}, up, "reset|EOF|broken pipe"},
		{"a long field", says("HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", 70<<10) + "\r\n\r\n"), up, "the head of the answer is longer than 65536 bytes"},
		{"hints without end", func(conn net.Conn) {
			for {
				if _, err := conn.Write([]byte("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")); err != nil {
					return
				}
			}
		}, up, "the head of the answer is longer than 65536 bytes"},
		{"a head without end", func(conn net.Conn) {
			_, err := conn.Write([]byte("HTTP/1.1 200 OK\r\n"))
			for err == nil {
				_, err = conn.Write([]byte("A: aaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"))
			}
		}, up, "the head of the answer is longer than 65536 bytes"},
		{"HTTP/1.1 where HTTP/2 is asked for", says("HTTP/1.1 200 OK\r\n\r\n"), healthcheck.HTTP{HTTP2: true}, "EOF|reset|malformed|http2"},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			err := check(t, tt.h, raw(t, tt.serve), nil)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			require.Regexp(t, tt.want, err.Error())
			require.NotErrorIs(t, err, context.DeadlineExceeded)
			if !strings.HasPrefix(tt.want, "status") {
				require.NotErrorAs(t, err, new(*balancer.AnswerError))
			}
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []balancer.Checker{healthcheck.HTTP{}, healthcheck.HTTP{HTTP2: true}, healthcheck.GRPC{}, healthcheck.TCP{}, healthcheck.TCP{TLS: true}} {
		require.ErrorIs(t, check(t, c, without(t), nil), syscall.ECONNREFUSED)
	}
}

// What hangs is given up when the context ends, at whatever point it hangs.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	slowly := func(conn net.Conn) {
		says("HTTP/1.1 200 OK\r\n\r\n")(conn)
		for _, err := conn.Write([]byte("a")); err == nil; _, err = conn.Write([]byte("a")) {
			time.Sleep(time.Millisecond)
		}
	}
	for _, tt := range []struct {
		about string
		c     balancer.Checker
		serve func(net.Conn)
		tls   bool
	}{
		{"no answer", healthcheck.HTTP{}, untilClosed, false},
		{"half a head", healthcheck.HTTP{}, func(conn net.Conn) { _, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\n")); untilClosed(conn) }, false},
		{"a slow body", healthcheck.HTTP{Body: regexp.MustCompile("up")}, slowly, false},
		{"no handshake", healthcheck.HTTP{}, untilClosed, true},
		{"no handshake for HTTP/2", healthcheck.HTTP{HTTP2: true}, untilClosed, true},
		{"no settings", healthcheck.HTTP{HTTP2: true}, untilClosed, false},
		{"no gRPC", healthcheck.GRPC{}, untilClosed, false},
		{"no handshake alone", healthcheck.TCP{TLS: true}, untilClosed, true},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			target := raw(t, tt.serve)
			if tt.tls {
				target = strings.Replace(target, "http:", "https:", 1)
			}
			err := checkFor(t, 50*time.Millisecond, tt.c, target, nil)
			var timeout interface{ Timeout() bool }
			require.True(t, errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout(), "%v", err)
		})
	}
}

// A connection that comes when nobody waits any more is closed, and a check that was given up leaves nothing.
func TestSlowDial(t *testing.T) {
	t.Parallel()
	for _, c := range []balancer.Checker{healthcheck.HTTP{}, healthcheck.GRPC{}, healthcheck.TCP{}} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		returned := false
		err := c.Check(ctx, balancer.Check{URL: &url.URL{Scheme: "http", Host: "a.test"}, Dial: func(ctx context.Context) (net.Conn, error) {
			<-ctx.Done()
			returned = true
			return nil, ctx.Err()
		}})
		require.ErrorIs(t, err, context.Canceled)
		require.True(t, returned, "Check waits for what it has called")
	}
}

// With TLS, whichever checker it is.
func TestTLS(t *testing.T) {
	t.Parallel()
	ok := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/grpc.health.v1.Health/Check" {
			grpcAnswer(w, "0", "\x00\x00\x00\x00\x02\x08\x01")
		}
	}
	for name, c := range map[string]balancer.Checker{
		"HTTP": healthcheck.HTTP{}, "HTTP/2": healthcheck.HTTP{HTTP2: true}, "GRPC": healthcheck.GRPC{}, "TCP": healthcheck.TCP{TLS: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target, config := server(t, true, true, true, ok)
			require.NoError(t, check(t, c, target, config))
			require.Empty(t, config.ServerName, "it is shared")

			unknown := new(tls.CertificateVerificationError)
			require.ErrorAs(t, check(t, c, target, nil), &unknown)
			require.ErrorAs(t, check(t, c, target, &tls.Config{MinVersion: tls.VersionTLS12}), &unknown)
			named := config.Clone()
			named.ServerName = "example.com" // which the certificate has
			require.NoError(t, check(t, c, target, named))
			named.ServerName = "other.test"
			require.ErrorAs(t, check(t, c, target, named), &unknown)
			odd := config.Clone()
			odd.NextProtos = []string{"spdy/3"} // the caller's, and not for checks
			if name != "TCP" {
				require.NoError(t, check(t, c, target, odd))
			}
			plain, _ := server(t, false, true, true, ok)
			err := check(t, c, strings.Replace(plain, "http:", "https:", 1), config)
			require.Error(t, err)
			require.NotErrorAs(t, err, new(*balancer.AnswerError))
		})
	}
}

// Scheme goes before that of the target.
func TestHTTPScheme(t *testing.T) {
	t.Parallel()
	secure, config := server(t, true, true, false, answers(204))
	plain, _ := server(t, false, true, false, answers(204))
	require.NoError(t, check(t, healthcheck.HTTP{Scheme: "https"}, strings.Replace(secure, "https:", "http:", 1), config))
	require.NoError(t, check(t, healthcheck.HTTP{Scheme: "http"}, strings.Replace(plain, "http:", "https:", 1), config))
	require.Error(t, check(t, healthcheck.HTTP{Scheme: "http"}, secure, config))
}

// The version is the one asked for.
func TestHTTPVersion(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		for _, http2 := range []bool{false, true} {
			got := make(chan string, 1)
			target, config := server(t, secure, true, true, func(_ http.ResponseWriter, r *http.Request) { got <- r.Proto })
			require.NoError(t, check(t, healthcheck.HTTP{HTTP2: http2}, target, config))
			want := "HTTP/1.1"
			if http2 {
				want = "HTTP/2.0"
			}
			require.Equal(t, want, <-got)
		}
		target, config := server(t, secure, true, false, answers(200))
		require.Error(t, check(t, healthcheck.HTTP{HTTP2: true}, target, config), "it has HTTP/1.1 only")
		require.Error(t, check(t, healthcheck.GRPC{}, target, config))
		target, config = server(t, secure, false, true, answers(200))
		require.Error(t, check(t, healthcheck.HTTP{}, target, config), "it has HTTP/2 only")
	}
}

// A server without ALPN goes on with HTTP/1.1, which is not what was asked for.
func TestHTTPWithoutALPN(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(nil)
	srv.StartTLS()
	defer srv.Close()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	client, own := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: srv.TLS.Certificates}
	target := raw(t, func(conn net.Conn) { says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")(tls.Server(conn, own)) })
	target = strings.Replace(target, "http:", "https:", 1)
	require.NoError(t, check(t, healthcheck.HTTP{}, target, client))
	err := check(t, healthcheck.HTTP{HTTP2: true}, target, client)
	require.EqualError(t, err, "balancer: check: it does not speak HTTP/2")
}

func TestHTTPValidate(t *testing.T) {
	t.Parallel()
	require.NoError(t, healthcheck.HTTP{}.Validate())
	require.EqualError(t, healthcheck.HTTP{
		Path: "healthz", Method: "GET /", Scheme: "ftp", Host: "a b", MaxBody: -1,
		Header:   http.Header{"A:": nil, "B": {"x\r\nC: y"}, "Host": {"x"}, "content-length": {"3"}, "Accept": nil, "accept": nil},
		Statuses: []int{200, 99}, FailureStatuses: []int{600, 200},
	}.Validate(), `HTTP.Path "healthz" is no path, or not in canonical form; write it as /healthz, without dot segments, repeated slashes or needless escapes
HTTP.Method "GET /" is no method
HTTP.Scheme "ftp" must be http or https
HTTP.Host "a b" is no host, or host and port
HTTP.Header "A:" is no name of a field
HTTP.Header B has a value that no field can have
HTTP.Header "Host" is not sent; set HTTP.Host
HTTP.Header "accept" is there as "Accept", too
HTTP.Header "content-length" is for the connection, and cannot be set
HTTP.Statuses[1] 99 is no status; list statuses from 100 to 599
HTTP.FailureStatuses[0] 600 is no status; list statuses from 100 to 599
HTTP.Statuses has 200, and so has FailureStatuses
HTTP.MaxBody -1 is negative; 0 means 65536`)
	for _, path := range []string{
		"//a", "/a#b", "/a b", "/a\r\nB: c", "/a%zz", "/ä", "/a/../../b", "/./a", "/%2e%2e/a", "/a//b", "/a%00", "/a%2F..%2Fb", `/a\b`, "/%61", "a?b", "?a", "http://a.test/", "*",
	} {
		require.ErrorContains(t, healthcheck.HTTP{Path: path}.Validate(), "HTTP.Path", path)
	}
	for _, path := range []string{"/", "/a", "/a/", "/a%2Fb", "/a%20b", "/a;b=c", "/a?b", "/a?b=/../c", "/a:b", "/?"} {
		require.NoError(t, healthcheck.HTTP{Path: path}.Validate(), path)
	}
	require.EqualError(t, healthcheck.HTTP{Method: "CONNECT"}.Validate(), `HTTP.Method "CONNECT" asks for a tunnel; use another, such as GET`)
	require.EqualError(t, healthcheck.HTTP{Method: "HEAD", Body: regexp.MustCompile("a")}.Validate(), "HTTP.Body is set, and answers to HEAD have none")
	require.NoError(t, healthcheck.GRPC{Service: "a.B", Authority: "a.test:80"}.Validate())
	require.EqualError(t, healthcheck.GRPC{Service: "\xff", Authority: "a b"}.Validate(), `GRPC.Service "\xff" is not UTF-8, or longer than 4096 bytes
GRPC.Authority "a b" is no host, or host and port`)
}
