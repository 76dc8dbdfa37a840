package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
)

// A connection that is given up after an answer without a body must not take along a request that had just been given it.
func TestEndedConnectionsSpoilNoOther(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]string{
		"HEAD": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
		"GET":  "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			begun := make(chan struct{})
			target := scripted(t, func(c *net.TCPConn, in *bufio.Reader) {
				for r := readRequest(in); r != nil; r = readRequest(in) {
					answer := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
					if r.Method != http.MethodPost {
						close(begun)
						time.Sleep(200 * time.Millisecond) // until the POST waits for the only connection
						answer = head
					}
					_, _ = io.WriteString(c, answer)
				}
			})
			srv := front(t, upstream(t, gateway.UpstreamConfig{MaxConns: 1}, target))
			var wg sync.WaitGroup
			defer wg.Wait()
			wg.Go(func() { _, _, _ = exchange(t, srv.Client(), name, srv.URL) })
			<-begun
			res, err := srv.Client().Post(srv.URL, "text/plain", strings.NewReader("hello"))
			require.NoError(t, err)
			require.Equal(t, 200, res.StatusCode, text(t, res))
		})
	}
}

// 1, as it shows in traffic: no bound on connections, 8+8 clients.

// An answer that comes before the request was taken whole reaches the client, though the target then closes.
func TestEarlyAnswerThenClose(t *testing.T) {
	t.Parallel()
	target := scripted(t, func(c *net.TCPConn, in *bufio.Reader) {
		for line := "x"; line != "\r\n"; line, _ = in.ReadString('\n') {
		}
		_, _ = io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx")
	}) // and closes
	srv := front(t, upstream(t, gateway.UpstreamConfig{}, target))
	got := map[int]int{}
	for range 100 {
		c, in := dialFront(t, srv)
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n")
			for buf := make([]byte, 64<<10); ; {
				if _, err := c.Write(buf); err != nil {
					return
				}
			}
		})
		if res, err := http.ReadResponse(in, nil); err == nil {
			got[res.StatusCode]++
		}
		_ = c.Close()
		wg.Wait()
	}
	require.Equal(t, map[int]int{413: 100}, got)
}

// 3. An Outbound that panics after it got an answer, or does not pass it on, makes Close wait for ever.

// A round tripper of the application that loses an answer does not keep Close waiting.
func TestCloseAfterOutboundLostAnAnswer(t *testing.T) {
	t.Parallel()
	for _, panics := range []bool{true, false} {
		t.Run(fmt.Sprint(panics), func(t *testing.T) {
			u, err := gateway.NewUpstream(gateway.UpstreamConfig{
				Name: "x", Targets: []balancer.Target{{URL: backend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })}},
				Outbound: []func(http.RoundTripper) http.RoundTripper{func(next http.RoundTripper) http.RoundTripper {
					return tripper(func(r *http.Request) (*http.Response, error) {
						if _, err := next.RoundTrip(r); err != nil {
							return nil, err
						}
						if panics {
							panic("bug")
						}
						return &http.Response{StatusCode: 204, ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody}, nil
					})
				}},
			})
			require.NoError(t, err)
			srv := front(t, gateway.Must(gateway.New(gateway.Config{Logger: quiet(), Routes: []gateway.Route{{Name: "r", Handler: u}}})))
			_, _, err = exchange(t, srv.Client(), http.MethodGet, srv.URL)
			require.NoError(t, err)
			require.Zero(t, u.Status().InFlight)
			closed := make(chan struct{})
			go func() { defer close(closed); _ = u.Close() }()
			select {
			case <-closed:
			case <-time.After(5 * time.Second):
				t.Fatal("Close does not return, with no request in flight")
			}
		})
	}
}

// 4. A limit on the whole exchange that passes while a slow client is waited for is counted against the target.

// A total timeout that passes while the client is waited for says nothing about the target.
func TestTotalIsNotTheTargetsFault(t *testing.T) {
	t.Parallel()
	h, ch := watched(upstream(t, gateway.UpstreamConfig{Timeouts: gateway.Timeouts{Total: 200 * time.Millisecond}},
		backend(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })))
	c, in := dialFront(t, front(t, h))
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc") // and no more
	res, err := http.ReadResponse(in, nil)
	require.NoError(t, err)
	try := (<-ch).tries[0]
	require.True(t, try.Canceled, "%v, client got %d", try.Err, res.StatusCode)
}

// 5. MaxConns bounds nothing over HTTP/2, and POSTs meet connections whose limit on streams is not known yet.

// A client whose 100-continue was answered with a refusal keeps no connection open.
func TestRefusedExpectCloses(t *testing.T) {
	t.Parallel()
	up := upstream(t, gateway.UpstreamConfig{}, scripted(t, func(c *net.TCPConn, in *bufio.Reader) {
		_, _ = http.ReadRequest(in)
		_, _ = io.WriteString(c, "HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")
		_, _ = io.Copy(io.Discard, in)
	}))
	srv := front(t, gateway.Must(gateway.New(gateway.Config{EntryConfig: policy.EntryConfig{ReadProgress: 5 * time.Second}, Routes: []gateway.Route{{Name: "r", Handler: up}}})))
	c, in := dialFront(t, srv)
	start := time.Now()
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	_, _ = io.ReadAll(in)
	require.Less(t, time.Since(start), 2*time.Second)
}

// 8. Close does not break off a request whose client does not read.

// Close does not wait for a client that takes no more of its answer.
func TestCloseWithAStalledClient(t *testing.T) {
	t.Parallel()
	u := upstream(t, gateway.UpstreamConfig{}, backend(t, func(w http.ResponseWriter, _ *http.Request) {
		for buf := make([]byte, 64<<10); ; {
			if _, err := w.Write(buf); err != nil {
				return
			}
		}
	}))
	gw := gateway.Must(gateway.New(gateway.Config{EntryConfig: policy.EntryConfig{WriteProgress: 5 * time.Second}, Routes: []gateway.Route{{Name: "r", Handler: u}}}))
	c, _ := dialFront(t, front(t, gw))
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	time.Sleep(300 * time.Millisecond)
	start := time.Now()
	_ = u.Close()
	require.Less(t, time.Since(start), 2*time.Second)
}

// 9. A panic of the ErrorHandler leaves the client without an answer.

// An ErrorHandler that panics while it is to answer for a panic is passed by.
func TestErrorHandlerPanics(t *testing.T) {
	t.Parallel()
	gw := gateway.Must(gateway.New(gateway.Config{Logger: quiet(), EntryConfig: policy.EntryConfig{
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic("bug") },
	}}))
	status, _, err := fetch(front(t, gw).URL)
	require.NoError(t, err)
	require.Equal(t, 500, status)
}

// 10. Shutdown of a gateway with nothing in flight, under a context that has ended.

// With nothing in flight there is nothing to wait for, whatever the context says.
func TestShutdownIdle(t *testing.T) {
	t.Parallel()
	gw := gateway.Must(gateway.New(gateway.Config{}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, gw.Shutdown(ctx)) // "requests were still in flight"
}

// 11. Run takes longer than DrainTimeout.

// A client that leaves as its answer arrives does not take along the request that is given its connection.
func TestLeaverTakesNobodyAlong(t *testing.T) {
	t.Parallel()
	leave := make(chan context.CancelFunc, 1)
	target := scripted(t, func(c *net.TCPConn, in *bufio.Reader) {
		for r := readRequest(in); r != nil; r = readRequest(in) {
			if r.URL.Path == "/leaver" {
				time.Sleep(3 * time.Millisecond)
				cancel := <-leave
				_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
				go cancel()
				continue
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	u := upstream(t, gateway.UpstreamConfig{MaxConns: 1}, target)
	got := map[int]int{}
	for range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		leave <- cancel
		var wg sync.WaitGroup
		wg.Go(func() { gatewaytest.Do(u, get("/leaver").WithContext(ctx)) })
		time.Sleep(time.Millisecond)
		got[gatewaytest.Do(u, get("/stayer")).StatusCode]++
		wg.Wait()
	}
	require.Equal(t, map[int]int{200: 200}, got)
}

// A target that closes connections it keeps, at any moment and without announcing it, costs no request that may be sent
// again: what was closed is noticed before it is used, or the request goes over another connection.
func TestTargetClosesIdleConnections(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for n := 0; ; n++ {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(r.URL.Path), r.URL.Path)
					if len(r.URL.Path)%3 == n%3 {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	u := upstream(t, gateway.UpstreamConfig{MaxIdleConns: 8}, "http://"+l.Addr().String())
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for j := range 200 {
				path := "/" + strings.Repeat("x", i) + strconv.Itoa(j)
				w := httptest.NewRecorder()
				u.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
				if w.Code != http.StatusOK || w.Body.String() != path {
					t.Errorf("%s: %d %q", path, w.Code, w.Body)
					return
				}
			}
		})
	}
	clients.Wait()
}
