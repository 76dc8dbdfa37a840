package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
)

// backend serves h on loopback and returns its URL.
func backend(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	return front(t, h).URL
}

// dialFront opens a connection to a server, to speak to it in bytes.
func dialFront(t *testing.T, srv *httptest.Server) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", srv.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	return c, bufio.NewReader(c)
}

func TestBodiesBothWays(t *testing.T) {
	t.Parallel()
	echo := backend(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		if n := r.Header.Get("X-Declare"); n != "" {
			w.Header().Set("Content-Length", n)
		}
		_, _ = io.Copy(w, r.Body)
	})
	srv := front(t, upstream(t, gateway.UpstreamConfig{}, echo))
	random := make([]byte, 1<<20)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(random)
	for _, size := range []int{0, 1, 4095, 4096, 4097, 32 << 10, 32<<10 + 1, 1 << 20} {
		for _, chunked := range []bool{false, true} {
			body := io.Reader(bytes.NewReader(random[:size]))
			if chunked {
				body = io.MultiReader(body) // hides the length
			}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, body)
			require.NoError(t, err)
			if !chunked {
				r.Header.Set("X-Declare", strconv.Itoa(size))
			}
			res, err := srv.Client().Do(r)
			require.NoError(t, err)
			got, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			require.Equal(t, 200, res.StatusCode)
			require.True(t, bytes.Equal(random[:size], got), "%d bytes, chunked %v", size, chunked)
			if !chunked {
				require.EqualValues(t, size, res.ContentLength)
			}
		}
	}
}

// The upstream sees the first bytes of an upload before the client has sent the last.
func TestUploadStreams(t *testing.T) {
	t.Parallel()
	for name, framing := range map[string]struct{ head, first, last string }{
		"declared": {"Content-Length: 6", "one", "two"},
		"chunked":  {"Transfer-Encoding: chunked", "3\r\none\r\n", "3\r\ntwo\r\n0\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := make(chan string, 1)
			srv := front(t, upstream(t, gateway.UpstreamConfig{}, backend(t, func(w http.ResponseWriter, r *http.Request) {
				b := make([]byte, 3)
				_, _ = io.ReadFull(r.Body, b)
				first <- string(b)
				rest, _ := io.ReadAll(r.Body)
				_, _ = io.WriteString(w, string(b)+string(rest))
			})))
			c, in := dialFront(t, srv)
			_, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: h\r\n%s\r\n\r\n%s", framing.head, framing.first)
			require.NoError(t, err)
			require.Equal(t, "one", <-first)
			_, err = io.WriteString(c, framing.last)
			require.NoError(t, err)
			res, err := http.ReadResponse(in, nil)
			require.NoError(t, err)
			require.Equal(t, "onetwo", text(t, res))
			require.False(t, res.Close, "an upload that was read whole keeps the connection")
		})
	}
}

// An answer that comes before the upload has ended goes to the client at once, although the client holds the rest back;
// the connection is not used again, and nothing is left behind.
func TestEarlyAnswer(t *testing.T) {
	t.Parallel()
	for _, framing := range []string{"Content-Length: 1000000", "Content-Length: 100", "Transfer-Encoding: chunked", "Content-Length: 100\r\nExpect: 100-continue"} {
		t.Run(framing, func(t *testing.T) {
			t.Parallel()
			h, ch := watched(upstream(t, gateway.UpstreamConfig{}, scripted(t, func(c *net.TCPConn, in *bufio.Reader) {
				_, _ = http.ReadRequest(in)
				_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
				_, _ = io.Copy(io.Discard, in)
			})))
			c, in := dialFront(t, front(t, h))
			_, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: h\r\n%s\r\n\r\n", framing)
			require.NoError(t, err)
			if strings.Contains(framing, "chunked") {
				_, err = io.WriteString(c, "3\r\nabc\r\n")
			} else if !strings.Contains(framing, "Expect") {
				_, err = io.WriteString(c, "abc")
			}
			require.NoError(t, err)
			res, err := http.ReadResponse(in, nil)
			require.NoError(t, err)
			require.Equal(t, 413, res.StatusCode)
			require.Equal(t, "big", text(t, res))
			require.True(t, res.Close)
			was := <-ch
			require.NoError(t, was.tries[0].Err)
			require.Equal(t, 413, was.tries[0].Status)
		})
	}
}

// The rest of an unread body is never taken for the next request.
func TestEarlyAnswerIsNoSmuggling(t *testing.T) {
	t.Parallel()
	paths := make(chan string, 10)
	h := upstream(t, gateway.UpstreamConfig{}, scripted(t, func(c *net.TCPConn, in *bufio.Reader) {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		paths <- r.URL.Path
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		_, _ = io.Copy(io.Discard, in)
	}))
	c, in := dialFront(t, front(t, h))
	_, err := io.WriteString(c, "POST /first HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\n")
	require.NoError(t, err)
	res, err := http.ReadResponse(in, nil)
	require.NoError(t, err)
	require.True(t, res.Close)
	_, _ = io.WriteString(c, "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
	_, _ = io.Copy(io.Discard, in)
	require.Equal(t, "/first", <-paths)
	require.Empty(t, paths)
}

// An upstream that dies while the client holds its upload back is reported without waiting for the client.
func TestUpstreamDiesDuringStalledUpload(t *testing.T) {
	t.Parallel()
	for _, framing := range []string{"Content-Length: 1000000\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"} {
		h, ch := watched(upstream(t, gateway.UpstreamConfig{}, scripted(t, func(c *net.TCPConn, in *bufio.Reader) {
			r, err := http.ReadRequest(in)
			if err == nil {
				_, _ = io.ReadFull(r.Body, make([]byte, 3))
			}
			reset(c)
		})))
		c, in := dialFront(t, front(t, h))
		_, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\n"+framing)
		require.NoError(t, err)
		res, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		require.Equal(t, 502, res.StatusCode)
		require.True(t, res.Close)
		requireFault(t, <-ch, "connection_reset")
	}
}

// The client's own body fails: that is answered as the client's fault, and not counted against the target.
func TestClientBodyFaults(t *testing.T) {
	t.Parallel()
	u := upstream(t, gateway.UpstreamConfig{}, backend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	limited := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Limit") != "" {
			r.Body = http.MaxBytesReader(w, r.Body, 5)
		}
		u.ServeHTTP(w, r)
	})
	impatient := policy.Must(policy.NewEntry(policy.EntryConfig{ReadProgress: 50 * time.Millisecond})).Wrap(limited)
	tests := []struct {
		name, request string
		status        int
		code          string
	}{
		{"too large", "Limit: 1\r\nContent-Length: 10\r\n\r\n0123456789", 413, "body_too_large"},
		{"too large, chunked", "Limit: 1\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n", 413, "body_too_large"},
		{"malformed chunk", "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "body_invalid"},
		{"too slow", "Content-Length: 10\r\n\r\nabc", 408, "body_timeout"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h, ch := watched(impatient)
			c, in := dialFront(t, front(t, h))
			_, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\n"+tt.request)
			require.NoError(t, err)
			res, err := http.ReadResponse(in, nil)
			require.NoError(t, err)
			require.Equal(t, tt.status, res.StatusCode)
			require.NotContains(t, text(t, res), "http:", "no text of Go's")
			require.True(t, res.Close, "what follows may be anything")
			was := <-ch
			require.Len(t, was.tries, 1)
			require.True(t, was.tries[0].Canceled)
			var e *policy.Error
			require.ErrorAs(t, was.tries[0].Err, &e)
			require.Equal(t, tt.code, e.Code)
		})
	}
	require.Zero(t, u.Status().Targets[0].Failed)
}

// A plugin that replaces the body and forgets the length.
func TestShortenedRequestBody(t *testing.T) {
	t.Parallel()
	u := upstream(t, gateway.UpstreamConfig{}, backend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	h, ch := watched(u)
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("abc"))
	r.ContentLength = 10
	require.Equal(t, 500, gatewaytest.Do(h, r).StatusCode)
	was := <-ch
	require.True(t, was.tries[0].Canceled)
	require.Equal(t, "invalid_request", was.decisions[0].Reason)
}

type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("plugin") }
func (panicking) Close() error             { return nil }

// net/http reads the request body on a goroutine of its own, where a panic of a plugin would end the process.
func TestPanicInTheRequestBody(t *testing.T) {
	t.Parallel()
	u := upstream(t, gateway.UpstreamConfig{}, backend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	r := httptest.NewRequest(http.MethodPost, "/", panicking{})
	require.PanicsWithValue(t, "plugin", func() { u.ServeHTTP(httptest.NewRecorder(), r) })
	require.Zero(t, u.Status().InFlight)
	require.EqualValues(t, 1, u.Status().Targets[0].Canceled)
}

func TestEventStream(t *testing.T) {
	t.Parallel()
	for _, contentType := range []string{"text/event-stream", "text/event-stream; charset=utf-8", "application/grpc+proto", "text/plain"} {
		next := make(chan struct{})
		srv := front(t, upstream(t, gateway.UpstreamConfig{}, backend(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", contentType)
			control := http.NewResponseController(w)
			_ = control.Flush() // the head alone
			for range next {
				_, _ = io.WriteString(w, "data: x\n\n")
				_ = control.Flush()
			}
		})))
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, nil)
		require.NoError(t, err)
		res, err := srv.Client().Do(r)
		require.NoError(t, err, "the head comes before the first event")
		for range 3 {
			next <- struct{}{}
			b := make([]byte, 9)
			_, err := io.ReadFull(res.Body, b)
			require.NoError(t, err)
			require.Equal(t, "data: x\n\n", string(b))
		}
		close(next)
		_, err = io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
	}
}

// A client that leaves ends the request upstream, is written nothing, and is no fault of the target.
func TestClientLeaves(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		body   func(release <-chan struct{}) io.Reader
		answer func(w http.ResponseWriter)
		status int
	}{
		{"before the head", nil, func(http.ResponseWriter) {}, 0},
		{"in the body", nil, func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, "part")
			_ = http.NewResponseController(w).Flush()
		}, 200},
		{"during the upload", func(release <-chan struct{}) io.Reader {
			pr, pw := io.Pipe()
			go func() {
				_, _ = io.WriteString(pw, "part")
				<-release
				_ = pw.CloseWithError(errors.New("gone"))
			}()
			return pr
		}, func(http.ResponseWriter) {}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			arrived, ended := make(chan struct{}), make(chan struct{})
			u := upstream(t, gateway.UpstreamConfig{}, backend(t, func(w http.ResponseWriter, r *http.Request) {
				tt.answer(w)
				close(arrived)
				_, _ = io.Copy(io.Discard, r.Body)
				<-r.Context().Done()
				close(ended)
			}))
			var wrote []byte
			h, ch := watched(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				u.ServeHTTP(&noting{ResponseWriter: w, wrote: &wrote}, r)
			}))
			srv := front(t, h)
			ctx, cancel := context.WithCancel(t.Context())
			var body io.Reader
			if tt.body != nil {
				body = tt.body(ctx.Done())
			}
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, srv.URL, body)
			require.NoError(t, err)
			done, part := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				if res, err := srv.Client().Do(r); err == nil {
					_, _ = io.ReadFull(res.Body, make([]byte, 4))
					close(part)
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
				}
			}()
			<-arrived
			if tt.status != 0 {
				<-part
			}
			left := time.Now()
			cancel()
			<-ended
			require.Less(t, time.Since(left), 10*time.Second)
			<-done
			was := <-ch
			require.Len(t, was.tries, 1)
			require.True(t, was.tries[0].Canceled)
			require.Equal(t, tt.status, was.tries[0].Status)
			require.Error(t, was.tries[0].Err)
			if tt.status == 0 && tt.body == nil {
				require.Empty(t, wrote)
				require.Empty(t, was.decisions)
			}
			s := u.Status().Targets[0]
			require.Zero(t, s.Failed)
			require.EqualValues(t, 1, s.Canceled)
			require.Zero(t, s.InFlight)
		})
	}
}

// noting keeps what is written, in front of a writer of a server.
type noting struct {
	http.ResponseWriter

	wrote *[]byte
}

func (n *noting) Write(p []byte) (int, error) {
	*n.wrote = append(*n.wrote, p...)
	return n.ResponseWriter.Write(p)
}

func (n *noting) Unwrap() http.ResponseWriter { return n.ResponseWriter }

// A client that does not take the answer is gone for the target, too.
func TestClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	u := upstream(t, gateway.UpstreamConfig{}, backend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(make([]byte, 1<<20))
	}))
	h, ch := watched(u)
	failing := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(&full{ResponseWriter: w}, r) })
	require.PanicsWithValue(t, http.ErrAbortHandler, func() { failing.ServeHTTP(httptest.NewRecorder(), get("/")) })
	was := <-ch
	require.True(t, was.tries[0].Canceled)
	require.Equal(t, 200, was.tries[0].Status)
}

// full takes some bytes and then no more.
type full struct {
	http.ResponseWriter

	n int
}

func (f *full) Write(p []byte) (int, error) {
	if f.n += len(p); f.n > 100_000 {
		return 0, errors.New("client does not read")
	}
	return f.ResponseWriter.Write(p)
}

func TestTrailers(t *testing.T) {
	t.Parallel()
	const hostile = "Content-Length: 1\r\nSet-Cookie: a=b\r\nAuthorization: x\r\nCache-Control: public\r\nX-Consumer-Id: 1\r\nx_consumer_id: 1\r\n" +
		"X-Forwarded-For: 1\r\nTransfer-Encoding: gzip\r\nHost: h\r\nVia: 1.1 x\r\n"
	tests := []struct {
		name, answer string
		announced    []string
		want         http.Header
	}{
		{"announced", "Trailer: X-Sum, X-Also\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\nX-Also: 2\r\n\r\n", []string{"X-Also", "X-Sum"}, http.Header{"X-Sum": {"1"}, "X-Also": {"2"}}},
		{"unannounced", "\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n", nil, http.Header{"X-Sum": {"1"}}},
		{"announced, others come", "Trailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Other: 1\r\n\r\n", []string{"X-Sum"}, http.Header{"X-Other": {"1"}}},
		{"empty body", "\r\n0\r\nX-Sum: 1\r\n\r\n", nil, http.Header{"X-Sum": {"1"}}},
		{"hostile", "\r\n3\r\nabc\r\n0\r\n" + hostile + "X-Sum: 1\r\n\r\n", nil, http.Header{"X-Sum": {"1"}}},
		{"hostile, announced", "Trailer: Set-Cookie, X-Consumer-Id, Cache-Control\r\n\r\n3\r\nabc\r\n0\r\n" + hostile + "\r\n", nil, nil},
		{"also in the head", "Trailer: X-Sum\r\nX-Sum: head\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: tail\r\n\r\n", nil, http.Header{"X-Sum": {"tail"}}},
		{"none", "Trailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\n\r\n", []string{"X-Sum"}, nil},
	}
	for transport, c := range bothTransports() {
		for _, tt := range tests {
			t.Run(transport+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				srv := front(t, upstream(t, c, scripted(t, answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"+tt.answer))))
				conn, in := dialFront(t, srv)
				_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\n\r\n")
				require.NoError(t, err)
				res, err := http.ReadResponse(in, nil)
				require.NoError(t, err)
				var announced []string
				for name := range res.Trailer {
					announced = append(announced, name)
				}
				require.ElementsMatch(t, tt.announced, announced)
				_, err = io.ReadAll(res.Body)
				require.NoError(t, err)
				got := http.Header{}
				for name, values := range res.Trailer {
					if values != nil {
						got[name] = values
					}
				}
				require.Len(t, got, len(tt.want))
				for name, values := range tt.want {
					require.Equal(t, values, got[name])
				}
				require.Empty(t, res.Header["Set-Cookie"])
			})
		}
	}
}

func TestAnswersWithoutABody(t *testing.T) {
	t.Parallel()
	tests := []struct {
		method, answer string
		status         int
		length         string
	}{
		{http.MethodHead, "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", 200, "1234"},
		{http.MethodHead, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, ""},
		{http.MethodHead, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404, "0"},
		{http.MethodGet, "HTTP/1.1 204 No Content\r\n\r\n", 204, ""},
		{http.MethodGet, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 204, ""},
		{http.MethodGet, "HTTP/1.1 304 Not Modified\r\nEtag: \"a\"\r\nContent-Length: 5\r\n\r\n", 304, ""},
		{http.MethodGet, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "0"},
		{http.MethodGet, "HTTP/1.1 302 Found\r\nLocation: http://other.test/\r\nContent-Length: 0\r\n\r\n", 302, "0"},
		{http.MethodOptions, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "0"},
	}
	for _, tt := range tests {
		srv := front(t, upstream(t, gateway.UpstreamConfig{}, scripted(t, answering(tt.answer))))
		c, in := dialFront(t, srv)
		for range 2 { // the connections stay in step on both sides
			_, err := io.WriteString(c, tt.method+" / HTTP/1.1\r\nHost: h\r\n\r\n")
			require.NoError(t, err)
			res, err := http.ReadResponse(in, &http.Request{Method: tt.method})
			require.NoError(t, err, tt.answer)
			require.Equal(t, tt.status, res.StatusCode)
			require.Equal(t, tt.length, res.Header.Get("Content-Length"), tt.answer)
			require.Empty(t, text(t, res))
			if tt.status == 302 {
				require.Equal(t, "http://other.test/", res.Header.Get("Location"), "redirects are the client's to follow")
			}
		}
	}
}

func TestAnswerHeader(t *testing.T) {
	t.Parallel()
	u := upstream(t, gateway.UpstreamConfig{}, scripted(t, answering("HTTP/1.0 200 OK\r\n"+
		"Connection: close, X-Hop, Set-Cookie, cache-control\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\nX-End: 2\r\n"+
		"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nCache-Control: no-store\r\nVary: Accept\r\nX-One: upstream\r\nVia: 1.0 inner\r\nServer: nginx\r\n"+
		"Date: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Encoding: gzip\r\nETag: \"x\"\r\nContent-Length: 3\r\n\r\nabc")))
	res := gatewaytest.Do(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-One", "plugin")
		w.Header().Add("Vary", "Origin")
		w.Header().Add("Set-Cookie", "c=3")
		w.Header().Set("X-Plugin", "kept")
		w.Header().Set("Content-Length", "99")
		u.ServeHTTP(w, r)
	}), get("/"))
	require.Equal(t, "abc", text(t, res))
	require.Equal(t, http.Header{
		"X-End": {"2"}, "X-One": {"upstream"}, "X-Plugin": {"kept"}, "Vary": {"Origin", "Accept"}, "Set-Cookie": {"c=3", "a=1", "b=2"},
		"Cache-Control": {"no-store"}, "Via": {"1.0 inner, 1.0 gatehouse"}, "Server": {"nginx"}, "Date": {"Mon, 01 Jan 2024 00:00:00 GMT"},
		"Content-Encoding": {"gzip"}, "Etag": {`"x"`}, "Content-Length": {"3"},
		"Content-Type": nil, // which keeps net/http from guessing one
	}, res.Header)
}

// An Upstream on any mux, with nothing in front, is no way around the entry.
func TestUpstreamWithoutAnEntry(t *testing.T) {
	t.Parallel()
	var got http.Header
	u := upstream(t, gateway.UpstreamConfig{}, backend(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Clone() }))
	r := get("/")
	for _, name := range []string{"X-Consumer-Id", "X_consumer_id", "X-Forwarded-For", "X-Real-Ip", "Forwarded", "X-Forwarded-Host", "X-Original-Url", "X-Http-Method-Override"} {
		r.Header[name] = []string{"forged"}
	}
	require.Equal(t, 200, gatewaytest.Do(u, r).StatusCode)
	for name, values := range got {
		require.NotContains(t, strings.Join(values, ","), "forged", name)
	}
	require.Equal(t, "192.0.2.1", got.Get("X-Forwarded-For"))
	require.NotContains(t, got, "User-Agent")
	require.NotContains(t, got, "Accept-Encoding")
	// A plugin made the Exchange, which is no entry either.
	_, r = policy.Ensure(get("/"))
	r.Header.Set("X-Forwarded-For", "forged")
	require.Equal(t, 200, gatewaytest.Do(u, r).StatusCode)
	require.Equal(t, "192.0.2.1", got.Get("X-Forwarded-For"))
	for _, bad := range []string{"/a/..%2fb", "/a\\b"} {
		r := get("/")
		r.URL.Path, r.URL.RawPath = bad, ""
		if bad[3] == '.' {
			r.URL.Path, r.URL.RawPath = "/a/../b", bad
		}
		require.Equal(t, 400, gatewaytest.Do(u, r).StatusCode, bad)
	}
}

func tlsBackend(t *testing.T, h http.HandlerFunc) (url string, trust *tls.Config) {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv.URL, srv.Client().Transport.(*http.Transport).TLSClientConfig
}

func TestHTTPSUpstream(t *testing.T) {
	t.Parallel()
	protos := make(chan string, 10)
	target, trust := tlsBackend(t, func(w http.ResponseWriter, r *http.Request) {
		protos <- r.Proto
		w.Header().Set("Trailer", "X-Sum")
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body)
		w.Header().Set("X-Sum", "1")
	})
	own := trust.Clone()
	own.NextProtos = []string{"http/1.1"}
	for config, proto := range map[*tls.Config]string{trust: "HTTP/2.0", own: "HTTP/1.1"} {
		if proto == "HTTP/2.0" {
			config = config.Clone()
			config.NextProtos = nil
		}
		u := upstream(t, gateway.UpstreamConfig{TLS: config}, target)
		big := strings.Repeat("0123456789abcdef", 1<<16)
		for range 2 {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, front(t, u).URL, strings.NewReader(big))
			require.NoError(t, err)
			res, err := http.DefaultClient.Do(r)
			require.NoError(t, err)
			require.Equal(t, big, text(t, res))
			require.Equal(t, "1", res.Trailer.Get("X-Sum"))
			require.Equal(t, proto, <-protos)
		}
		require.NoError(t, u.Close())
	}
	// A certificate nobody trusts.
	h, ch := watched(upstream(t, gateway.UpstreamConfig{}, target))
	require.Equal(t, 502, gatewaytest.Do(h, get("/")).StatusCode)
	requireFault(t, <-ch, "tls_error")
}

// gRPC needs HTTP/2 on both sides, trailers, and both directions at once.
func TestGRPCShape(t *testing.T) {
	t.Parallel()
	target, trust := tlsBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Te") != "trailers" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		_ = http.NewResponseController(w).Flush()
		b := make([]byte, 4)
		for {
			n, err := r.Body.Read(b)
			if n > 0 {
				_, _ = w.Write(b[:n])
				_ = http.NewResponseController(w).Flush()
			}
			if err != nil {
				break
			}
		}
		w.Header().Set("Grpc-Status", "0")
		w.Header().Set(http.TrailerPrefix+"Grpc-Message", "fine")
	})
	trust = trust.Clone()
	trust.NextProtos = nil
	u := upstream(t, gateway.UpstreamConfig{TLS: trust}, target)
	srv := httptest.NewUnstartedServer(u)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	pr, pw := io.Pipe()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+"/pkg.Service/Method", pr)
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("Te", "trailers")
	res, err := srv.Client().Do(r)
	require.NoError(t, err)
	require.Equal(t, 2, res.ProtoMajor)
	require.Equal(t, 200, res.StatusCode)
	for _, message := range []string{"ping", "pong"} {
		_, err = io.WriteString(pw, message)
		require.NoError(t, err)
		b := make([]byte, 4)
		_, err = io.ReadFull(res.Body, b)
		require.NoError(t, err)
		require.Equal(t, message, string(b))
	}
	require.NoError(t, pw.Close())
	_, err = io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.Header{"Grpc-Status": {"0"}, "Grpc-Message": {"fine"}}, res.Trailer)
}
