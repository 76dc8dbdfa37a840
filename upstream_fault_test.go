package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
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

// scripted is an upstream on loopback that does to each connection what serve says, however rude. It returns its URL.
func scripted(t *testing.T, serve func(c *net.TCPConn, in *bufio.Reader)) string {
	t.Helper()
	l := listen(t)
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				stop := context.AfterFunc(ctx, func() { _ = c.Close() })
				defer stop()
				defer c.Close()
				serve(c.(*net.TCPConn), bufio.NewReader(c))
			})
		}
	})
	return "http://" + l.Addr().String()
}

// answering reads each request whole and answers with the same bytes.
func answering(answer string) func(*net.TCPConn, *bufio.Reader) {
	return func(c *net.TCPConn, in *bufio.Reader) {
		for readRequest(in) != nil {
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	}
}

// closing is answering once, followed by the end of the connection.
func closing(answer string) func(*net.TCPConn, *bufio.Reader) {
	return func(c *net.TCPConn, in *bufio.Reader) {
		readRequest(in)
		_, _ = io.WriteString(c, answer)
	}
}

func readRequest(in *bufio.Reader) *http.Request {
	r, err := http.ReadRequest(in)
	if err != nil {
		return nil
	}
	_, _ = io.Copy(io.Discard, r.Body)
	return r
}

// seen is what one request left behind in its Exchange.
type seen struct {
	tries     []policy.Try
	decisions []policy.Decision
}

// watched puts h behind a handler that notes what became of each request.
func watched(h http.Handler) (http.Handler, <-chan seen) {
	ch := make(chan seen, 100)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x, r := policy.Ensure(r)
		defer func() { ch <- seen{x.Tries(), x.Decisions()} }()
		h.ServeHTTP(w, r)
	}), ch
}

func upstream(t testing.TB, c gateway.UpstreamConfig, urls ...string) *gateway.Upstream {
	t.Helper()
	if c.Name == "" {
		c.Name = "up"
	}
	for _, u := range urls {
		c.Targets = append(c.Targets, balancer.Target{URL: u})
	}
	u, err := gateway.NewUpstream(c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, u.Close()) })
	return u
}

// front serves h on loopback.
func front(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.Start()
	t.Cleanup(srv.Close)
	return srv
}

// reset makes the end of the connection a reset.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

const (
	badGateway  = "An invalid response was received from the upstream server"
	unavailable = "The upstream server is currently unavailable"
	timingOut   = "The upstream server is timing out"
)

// What upstreams do wrong, and what the client gets: an authored answer when nothing was sent yet, and an aborted
// connection otherwise.
func TestUpstreamFaults(t *testing.T) {
	t.Parallel()
	const head = "HTTP/1.1 200 OK\r\n"
	tests := []struct {
		name   string
		serve  func(*net.TCPConn, *bufio.Reader)
		status int    // 0: the connection is aborted
		code   string // of the refusal and of the try
		text   string
	}{
		{"refused", nil, 502, "connect_refused", badGateway},
		{"closed before the head", closing(""), 502, "connection_reset", badGateway},
		{"reset before the head", func(c *net.TCPConn, in *bufio.Reader) { readRequest(in); reset(c) }, 502, "connection_reset", badGateway},
		{"closed in the head", closing("HTTP/1.1 200 OK\r\nA: b\r\n"), 502, "connection_reset", badGateway},
		{"garbage", closing("\x16\x03\x01 no HTTP\r\n\r\n"), 502, "invalid_response", badGateway},
		{"HTTP/0.9", closing("<html>hello</html>"), 502, "invalid_response", badGateway},
		{"HTTP/2 in words", closing("HTTP/2.0 200 OK\r\n\r\n"), 502, "invalid_response", badGateway},
		{"HTTP/3 in words", closing("HTTP/3.0 200 OK\r\n\r\n"), 502, "invalid_response", badGateway},
		{"a name that is no token", closing(head + "A(b): c\r\nContent-Length: 0\r\n\r\n"), 502, "invalid_response", badGateway},
		{"status 099", closing("HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nok"), 502, "invalid_response", badGateway},
		{"status 000", closing("HTTP/1.1 000 Odd\r\nContent-Length: 2\r\n\r\nok"), 502, "invalid_response", badGateway},
		{"status 999", closing("HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nok"), 502, "invalid_response", badGateway},
		{"status 1000", closing("HTTP/1.1 1000 Odd\r\n\r\n"), 502, "invalid_response", badGateway},
		{"status with a sign", closing("HTTP/1.1 +20 Odd\r\n\r\n"), 502, "invalid_response", badGateway},
		{"unsolicited 101", answering("HTTP/1.1 101 Switching Protocols\r\nUpgrade: evil\r\nConnection: Upgrade\r\n\r\n"), 502, "invalid_response", badGateway},
		{"endless 1xx", func(c *net.TCPConn, in *bufio.Reader) {
			readRequest(in)
			for {
				if _, err := io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"); err != nil {
					return
				}
			}
		}, 502, "invalid_response", badGateway},
		{"huge header", closing(head + "X: " + strings.Repeat("x", 200<<10) + "\r\n\r\n"), 502, "invalid_response", badGateway},
		{"conflicting lengths", closing(head + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc"), 502, "invalid_response", badGateway},
		{"negative length", closing(head + "Content-Length: -1\r\n\r\n"), 502, "invalid_response", badGateway},
		{"unknown transfer coding", closing(head + "Transfer-Encoding: gzip\r\n\r\n"), 502, "invalid_response", badGateway},
		{"space before colon", closing(head + "Content-Length : 0\r\n\r\n"), 502, "invalid_response", badGateway},
		{"NUL in a field", closing(head + "A: b\x00c\r\nContent-Length: 0\r\n\r\n"), 502, "invalid_response", badGateway},
		{"nothing of a declared body", closing(head + "Content-Length: 10\r\n\r\n"), 502, "truncated_response", badGateway},
		{"reset in front of a declared body", func(c *net.TCPConn, in *bufio.Reader) {
			readRequest(in)
			_, _ = io.WriteString(c, head+"Content-Length: 10\r\n\r\n")
			reset(c)
		}, 502, "", badGateway}, // the reset may destroy the head on its way
		{"truncated length", closing(head + "Content-Length: 10\r\n\r\nabc"), 0, "truncated_response", ""},
		{"truncated large body", closing(head + "Content-Length: 1000000\r\n\r\n" + strings.Repeat("x", 300_000)), 0, "truncated_response", ""},
		{"truncated chunk", closing(head + "Transfer-Encoding: chunked\r\n\r\n5\r\nab"), 0, "truncated_response", ""},
		{"chunks without an end", closing(head + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"), 0, "truncated_response", ""},
		{"no chunk at all", closing(head + "Transfer-Encoding: chunked\r\n\r\n"), 0, "truncated_response", ""},
		{"garbage chunk", closing(head + "Transfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n"), 0, "truncated_response", ""},
		{"truncated trailer", closing(head + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX: "), 0, "truncated_response", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := listen(t)
			target := "http://" + l.Addr().String()
			require.NoError(t, l.Close())
			if tt.serve != nil {
				target = scripted(t, tt.serve)
			}
			h, ch := watched(upstream(t, gateway.UpstreamConfig{}, target))
			srv := front(t, h)
			for _, method := range []string{http.MethodGet, http.MethodPost} { // a POST is never sent twice
				status, body, err := exchange(t, srv.Client(), method, srv.URL)
				was := <-ch
				require.Len(t, was.tries, 1)
				try := was.tries[0]
				require.Equal(t, target, try.Target)
				require.False(t, try.Canceled)
				var e *policy.Error
				require.ErrorAs(t, try.Err, &e)
				require.NotContains(t, body, strings.TrimPrefix(target, "http://"), "no address reaches a client")
				if tt.code != "" {
					require.Equal(t, tt.code, e.Code, "%v", try.Err)
				}
				if tt.status == 0 {
					require.Error(t, err, "a client must not take a part for the whole: %d %q", status, body)
					require.Equal(t, 200, try.Status)
					require.Empty(t, was.decisions)
					continue
				}
				require.NoError(t, err)
				require.Equal(t, tt.status, status)
				require.Contains(t, body, `"message":"`+tt.text+`"`)
				require.Zero(t, try.Status)
				require.Len(t, was.decisions, 1)
				require.Equal(t, policy.Refused, was.decisions[0].Verdict)
				require.Equal(t, "upstream", was.decisions[0].Policy)
				require.Equal(t, e.Code, was.decisions[0].Reason)
			}
		})
	}
}

// exchange sends a request without a body and reads the answer whole.
func exchange(t *testing.T, client *http.Client, method, url string) (status int, body string, err error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	require.NoError(t, err)
	r.Close = true
	res, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

// requireFault says that there was one try and that it was the target's fault.
func requireFault(t *testing.T, was seen, code string) {
	t.Helper()
	require.Len(t, was.tries, 1)
	require.False(t, was.tries[0].Canceled)
	var e *policy.Error
	require.ErrorAs(t, was.tries[0].Err, &e)
	require.Equal(t, code, e.Code)
}

func TestResetInTheBody(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	h, ch := watched(upstream(t, gateway.UpstreamConfig{}, scripted(t, func(c *net.TCPConn, in *bufio.Reader) {
		readRequest(in)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
		<-arrived
		reset(c)
	})))
	srv := front(t, h)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, nil)
	require.NoError(t, err)
	res, err := srv.Client().Do(r)
	require.NoError(t, err)
	defer res.Body.Close()
	_, err = io.ReadFull(res.Body, make([]byte, 2))
	close(arrived)
	require.NoError(t, err)
	_, err = io.ReadAll(res.Body)
	require.Error(t, err)
	requireFault(t, <-ch, "truncated_response")
}

// A recorder is no server, and would take a return for the end of the answer.
func TestTruncationAbortsAnyWriter(t *testing.T) {
	t.Parallel()
	u := upstream(t, gateway.UpstreamConfig{}, scripted(t, closing("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")))
	require.PanicsWithValue(t, http.ErrAbortHandler, func() { u.ServeHTTP(httptest.NewRecorder(), get("/")) })
}

// An odd answer must not leave its connection in use, or open.
func TestUnsolicitedSwitchClosesTheConnection(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{}, 1)
	u := upstream(t, gateway.UpstreamConfig{}, scripted(t, func(c *net.TCPConn, in *bufio.Reader) {
		readRequest(in)
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
		_, _ = io.Copy(io.Discard, in)
		ended <- struct{}{}
	}))
	require.Equal(t, 502, gatewaytest.Do(u, get("/")).StatusCode)
	<-ended
}

func dialError(err error) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) { return nil, err }
}

func TestDialFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		target string
		dial   func(context.Context, string, string) (net.Conn, error)
		status int
		code   string
	}{
		{"no such host", "http://a.test", dialError(&net.DNSError{Err: "no such host", Name: "a.test", IsNotFound: true}), 503, "dns_error"},
		{"refused", "http://a.test", dialError(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}), 502, "connect_refused"},
		{"unreachable", "http://a.test", dialError(&net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}), 502, "connect_failed"},
		{"system's own timeout", "http://a.test", dialError(&net.OpError{Op: "dial", Err: syscall.ETIMEDOUT}), 504, "connect_timeout"},
		{"other", "http://a.test", dialError(errors.New("dial 10.0.0.1: odd")), 502, "connect_failed"},
		{"nothing at all", "http://a.test", dialError(nil), 502, "connect_failed"},
		{"no TLS there", "https://a.test", func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go func() {
				defer server.Close()
				go func() { _, _ = io.WriteString(server, "HTTP/1.1 400 Bad Request\r\n\r\n") }()
				_, _ = io.Copy(io.Discard, server)
			}()
			return client, nil
		}, 502, "tls_error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			u := upstream(t, gateway.UpstreamConfig{Dial: tt.dial}, tt.target)
			h, ch := watched(u)
			res := gatewaytest.Do(h, get("/"))
			require.Equal(t, tt.status, res.StatusCode)
			require.NotContains(t, text(t, res), "10.0.0.1")
			requireFault(t, <-ch, tt.code)
			require.Equal(t, tt.code, u.Status().Targets[0].LastError)
			require.EqualValues(t, 1, u.Status().Targets[0].Failed)
		})
	}
}

// piped returns a Dial function whose connections are served by serve, in memory, so that it works in a bubble.
func piped(serve func(c net.Conn, in *bufio.Reader)) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			serve(server, bufio.NewReader(server))
		}()
		return client, nil
	}
}

// silent waits for the connection to end.
func silent(in *bufio.Reader) { _, _ = io.Copy(io.Discard, in) }

func TestTimeouts(t *testing.T) {
	t.Parallel()
	stallBeforeHead := func(c net.Conn, in *bufio.Reader) { readRequest(in); silent(in) }
	stallInBody := func(head string) func(net.Conn, *bufio.Reader) {
		return func(c net.Conn, in *bufio.Reader) {
			readRequest(in)
			_, _ = io.WriteString(c, head)
			silent(in)
		}
	}
	drip := func(c net.Conn, in *bufio.Reader) {
		readRequest(in)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for range 10 {
			time.Sleep(9 * time.Second)
			if _, err := io.WriteString(c, "1\r\nx\r\n"); err != nil {
				return
			}
		}
		_, _ = io.WriteString(c, "0\r\n\r\n")
	}
	late := func(c net.Conn, in *bufio.Reader) {
		readRequest(in)
		time.Sleep(29 * time.Second)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	}
	neverConnects := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	ms := time.Millisecond
	tests := []struct {
		name   string
		dial   func(context.Context, string, string) (net.Conn, error)
		config gateway.Timeouts
		route  gateway.Timeouts
		https  bool
		status int
		code   string // "" for a whole answer
		after  time.Duration
	}{
		{name: "connect, default", dial: neverConnects, status: 504, code: "connect_timeout", after: 3 * time.Second},
		{name: "connect, upstream's", dial: neverConnects, config: gateway.Timeouts{Connect: 70 * ms}, status: 504, code: "connect_timeout", after: 70 * ms},
		{name: "connect, route's", dial: neverConnects, config: gateway.Timeouts{Connect: 70 * ms}, route: gateway.Timeouts{Connect: 90 * ms}, status: 504, code: "connect_timeout", after: 90 * ms},
		{name: "handshake", dial: piped(func(_ net.Conn, in *bufio.Reader) { silent(in) }), https: true, status: 504, code: "connect_timeout", after: 3 * time.Second},
		{name: "first byte, default", dial: piped(stallBeforeHead), status: 504, code: "first_byte_timeout", after: 30 * time.Second},
		{name: "first byte, upstream's", dial: piped(stallBeforeHead), config: gateway.Timeouts{FirstByte: time.Second}, status: 504, code: "first_byte_timeout", after: time.Second},
		{name: "first byte, nobody reads the request", dial: piped(func(net.Conn, *bufio.Reader) { time.Sleep(time.Hour) }), status: 504, code: "first_byte_timeout", after: 30 * time.Second},
		{name: "first byte, half a head", dial: piped(stallInBody("HTTP/1.1 200 OK\r\nA:")), status: 504, code: "first_byte_timeout", after: 30 * time.Second},
		{name: "first byte, 1xx do not count", dial: piped(stallInBody("HTTP/1.1 103 Early Hints\r\n\r\n")), status: 504, code: "first_byte_timeout", after: 30 * time.Second},
		{name: "late but in time", dial: piped(late), status: 200, after: 29 * time.Second},
		{name: "connecting does not count", dial: func(ctx context.Context, n, a string) (net.Conn, error) {
			time.Sleep(2 * time.Second)
			return piped(late)(ctx, n, a)
		}, status: 200, after: 31 * time.Second},
		{name: "idle, default, nothing sent yet", dial: piped(stallInBody("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")), status: 504, code: "idle_timeout", after: 60 * time.Second},
		{name: "idle, default", dial: piped(stallInBody("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")), code: "idle_timeout", after: 60 * time.Second},
		{name: "idle, shorter than first byte", dial: piped(stallInBody("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")),
			config: gateway.Timeouts{Idle: 2 * time.Second}, code: "idle_timeout", after: 2 * time.Second},
		{name: "a slow stream is not idle", dial: piped(drip), config: gateway.Timeouts{Idle: 10 * time.Second, FirstByte: 5 * time.Second}, status: 200, after: 90 * time.Second},
		{name: "idle off", dial: piped(drip), config: gateway.Timeouts{Idle: -1}, status: 200, after: 90 * time.Second},
		{name: "total before the head", dial: piped(stallBeforeHead), config: gateway.Timeouts{Total: 5 * time.Second}, status: 504, code: "total_timeout", after: 5 * time.Second},
		{name: "total while connecting", dial: neverConnects, config: gateway.Timeouts{Total: time.Second}, status: 504, code: "total_timeout", after: time.Second},
		{name: "total in the body", dial: piped(drip), config: gateway.Timeouts{Total: 40 * time.Second}, code: "total_timeout", after: 40 * time.Second},
		{name: "total off for the route", dial: piped(drip), config: gateway.Timeouts{Total: 40 * time.Second}, route: gateway.Timeouts{Total: -1}, status: 200, after: 90 * time.Second},
		{name: "first byte off", dial: piped(stallBeforeHead), config: gateway.Timeouts{FirstByte: -1, Total: time.Hour}, status: 504, code: "total_timeout", after: time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				scheme := "http"
				if tt.https {
					scheme = "https"
				}
				u := upstream(t, gateway.UpstreamConfig{Dial: tt.dial, Timeouts: tt.config}, scheme+"://a.test")
				h, ch := watched(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					policy.ExchangeFrom(r.Context()).SetForward(&gateway.Forward{Timeouts: tt.route})
					u.ServeHTTP(w, r)
				}))
				start := time.Now()
				res := gatewaytest.Do(h, get("/"))
				body, err := gatewaytest.Text(res)
				require.Equal(t, tt.after, time.Since(start))
				was := <-ch
				switch {
				case tt.code == "":
					require.NoError(t, err)
					require.Equal(t, 200, res.StatusCode)
					require.Len(t, was.tries, 1)
					require.NoError(t, was.tries[0].Err)
				case tt.status == 0:
					require.ErrorIs(t, err, io.ErrUnexpectedEOF)
					requireFault(t, was, tt.code)
				default:
					require.Equal(t, tt.status, res.StatusCode)
					require.Contains(t, body, timingOut)
					requireFault(t, was, tt.code)
				}
				require.NoError(t, u.Close())
				time.Sleep(2 * time.Hour) // the upstreams of some rows sleep on
			})
		})
	}
}

// A deadline somebody outside put on the request is no departure of the client.
func TestContextDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		u := upstream(t, gateway.UpstreamConfig{Dial: piped(func(_ net.Conn, in *bufio.Reader) { silent(in) })}, "http://a.test")
		h, ch := watched(u)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		res := gatewaytest.Do(h, get("/").WithContext(ctx))
		require.Equal(t, 504, res.StatusCode)
		requireFault(t, <-ch, "total_timeout")
		require.NoError(t, u.Close())
	})
}

// No place among the connections is the wait for one.
func TestConnectionLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		u := upstream(t, gateway.UpstreamConfig{MaxConns: 1, Dial: piped(func(c net.Conn, in *bufio.Reader) {
			for readRequest(in) != nil {
				time.Sleep(2 * time.Second)
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			}
		})}, "http://a.test")
		var mu sync.Mutex
		got := map[string]int{}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				start := time.Now()
				res := gatewaytest.Do(u, get("/"))
				mu.Lock()
				defer mu.Unlock()
				got[fmt.Sprint(res.StatusCode, " ", time.Since(start))]++
			})
		}
		wg.Wait()
		require.Equal(t, map[string]int{"200 2s": 1, "200 4s": 1, "504 3s": 1}, got)
		require.NoError(t, u.Close())
	})
}

// net/http takes Idempotency-Key for a licence to send a request again when a kept connection turns out to be dead.
func TestNoReplayOnTheClientsWord(t *testing.T) {
	t.Parallel()
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		var mu sync.Mutex
		served := 0
		target := scripted(t, func(c *net.TCPConn, in *bufio.Reader) {
			for first := true; ; first = false {
				r := readRequest(in)
				if r == nil {
					return
				}
				mu.Lock()
				served++
				mu.Unlock()
				if !first {
					return // taken, and no answer
				}
				if r.Header.Get("Idempotency-Key") != "k" || r.Header.Get("X-Idempotency-Key") != "x" {
					t.Error("the keys did not arrive")
				}
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			}
		})
		u := upstream(t, gateway.UpstreamConfig{}, target)
		statuses := []int{}
		for range 2 {
			r := httptest.NewRequest(method, "/", nil)
			r.Header.Set("Idempotency-Key", "k")
			r.Header.Set("X-Idempotency-Key", "x")
			statuses = append(statuses, gatewaytest.Do(u, r).StatusCode)
		}
		mu.Lock()
		if method == http.MethodGet {
			require.Equal(t, []int{200, 200}, statuses)
			require.Equal(t, 3, served, "a GET goes out again by itself")
		} else {
			require.Equal(t, []int{200, 502}, statuses)
			require.Equal(t, 2, served)
		}
		mu.Unlock()
	}
}
