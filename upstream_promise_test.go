package gateway_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/policy"
)

// rawHead sends a request and returns the head of the answer to it as it is.
func rawHead(t *testing.T, c net.Conn, in *bufio.Reader, request string) string {
	t.Helper()
	_, err := io.WriteString(c, request)
	require.NoError(t, err)
	var head strings.Builder
	for {
		line, err := in.ReadString('\n')
		require.NoError(t, err)
		head.WriteString(line)
		if line == "\r\n" {
			return head.String()
		}
	}
}

// An answer has one Date: the target's, or that of the server where the target sends none (RFC 9110 section 6.6.1).
func TestDate(t *testing.T) {
	t.Parallel()
	const date = "Mon, 01 Jan 2024 00:00:00 GMT"
	for transport, c := range bothTransports() {
		for _, own := range []string{"", "Date: " + date + "\r\n"} {
			for _, body := range []string{"Content-Length: 2\r\n\r\nok", "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "Connection: Date\r\nContent-Length: 2\r\n\r\nok"} {
				conn, in := dialFront(t, front(t, upstream(t, c, scripted(t, answering("HTTP/1.1 200 OK\r\n"+own+body)))))
				head := rawHead(t, conn, in, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
				require.Equal(t, 1, strings.Count(head, "\r\nDate: "), "%s: %s", transport, head)
				require.Equal(t, own != "", strings.Contains(head, date), head)
			}
		}
		conn, in := dialFront(t, front(t, upstream(t, c, scripted(t, closing("")))))
		head := rawHead(t, conn, in, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		require.Contains(t, head, "502")
		require.Equal(t, 1, strings.Count(head, "\r\nDate: "), head)
	}
}

// The Connection field of a target takes away what speaks of that connection, and nothing else: not what plugins have
// prepared, and nothing that the gateway sets.
func TestConnectionOfAnAnswer(t *testing.T) {
	t.Parallel()
	for transport, c := range bothTransports() {
		u := upstream(t, c, scripted(t, answering("HTTP/1.1 200 OK\r\nConnection: x-hop, X-Plugin, via, content-length, set-cookie, date\r\nConnection: keep-alive,Trailer\r\n"+
			"X-Hop: 1\r\nX-End: 1\r\nVia: 1.1 inner\r\nSet-Cookie: a=b\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Length: 2\r\n\r\nok")))
		srv := front(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Plugin", "1")
			u.ServeHTTP(w, r)
		}))
		conn, in := dialFront(t, srv)
		for range 2 {
			_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			require.NoError(t, err)
			res, err := http.ReadResponse(in, nil)
			require.NoError(t, err)
			require.Equal(t, "ok", text(t, res))
			require.Equal(t, http.Header{
				"X-End": {"1"}, "X-Plugin": {"1"}, "Via": {"1.1 inner, 1.1 gatehouse"}, "Set-Cookie": {"a=b"}, "Date": {"Mon, 01 Jan 2024 00:00:00 GMT"}, "Content-Length": {"2"},
			}, res.Header, transport)
		}
	}
}

// What a target sends beyond the end of its answer is nobody's: neither this client's, nor that of the next request.
func TestAnswersWithTooMuch(t *testing.T) {
	t.Parallel()
	const surplus = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
	tests := []struct {
		method, answer string
		status         int
		length, body   string
	}{
		{http.MethodGet, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "2", "ok"},
		{http.MethodGet, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "0", ""},
		{http.MethodGet, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, "", "ok"},
		{http.MethodHead, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", 200, "6", ""},
		{http.MethodHead, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, "", ""},
		{http.MethodGet, "HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\n", 204, "", ""},
		{http.MethodGet, "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", 204, "", ""},
		{http.MethodGet, "HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\n", 304, "", ""},
	}
	for transport, c := range bothTransports() {
		for _, tt := range tests {
			if transport == "standard" && tt.method != http.MethodHead {
				continue // net/http takes note of the rest in the process's log
			}
			srv := front(t, upstream(t, c, scripted(t, answering(tt.answer+surplus))))
			conn, in := dialFront(t, srv)
			for range 3 {
				_, err := io.WriteString(conn, tt.method+" / HTTP/1.1\r\nHost: h\r\n\r\n")
				require.NoError(t, err)
				res, err := http.ReadResponse(in, &http.Request{Method: tt.method})
				require.NoError(t, err, "%s: %s", transport, tt.answer)
				require.Equal(t, tt.status, res.StatusCode)
				require.Equal(t, tt.length, res.Header.Get("Content-Length"), tt.answer)
				require.Equal(t, tt.body, text(t, res), tt.answer)
			}
		}
	}
}

// The head of an answer that may be a stream, and each piece of it, reach the client at once, whatever was declared.
func TestStreamsAreFlushedAtOnce(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, head string }{
		{"chunked", "Transfer-Encoding: chunked\r\n\r\n"},
		{"until the end of the connection", "Connection: close\r\n\r\n"},
		{"events of declared length", "Content-Type: text/event-stream\r\nContent-Length: 6\r\n\r\n"},
		{"gRPC of declared length", "Content-Type: application/grpc\r\nContent-Length: 6\r\n\r\n"},
	}
	for transport, c := range bothTransports() {
		for _, tt := range tests {
			t.Run(transport+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				seen := make(chan struct{})
				target := scripted(t, func(c *net.TCPConn, in *bufio.Reader) {
					readRequest(in)
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n"+tt.head)
					for _, piece := range []string{"ab", "cd", "ef"} {
						if <-seen; tt.name == "chunked" {
							piece = "2\r\n" + piece + "\r\n"
						}
						_, _ = io.WriteString(c, piece)
					}
					if tt.name == "chunked" {
						_, _ = io.WriteString(c, "0\r\n\r\n")
					}
				})
				conn, in := dialFront(t, front(t, upstream(t, c, target)))
				_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
				require.NoError(t, err)
				res, err := http.ReadResponse(in, nil)
				require.NoError(t, err, "the head alone")
				for _, piece := range []string{"ab", "cd", "ef"} {
					seen <- struct{}{}
					b := make([]byte, 2)
					_, err := io.ReadFull(res.Body, b)
					require.NoError(t, err)
					require.Equal(t, piece, string(b))
				}
				require.Empty(t, text(t, res))
			})
		}
	}
}

// A client of HTTP/2 can tell a part of an answer from the whole, too, and gets trailers.
func TestAnswersOverHTTP2(t *testing.T) {
	t.Parallel()
	const head = "HTTP/1.1 200 OK\r\n"
	for name, c := range bothTransports() {
		for answer, whole := range map[string]bool{
			head + "Content-Length: 10\r\n\r\nabc":                                                          false,
			head + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n":                                         false,
			head + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: ":                             false,
			head + "Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n":  true,
			head + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\n\r\n": true,
		} {
			srv := frontHTTP2(t, upstream(t, c, scripted(t, closing(answer))))
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, nil)
			require.NoError(t, err)
			res, err := srv.Client().Do(r)
			if err != nil {
				require.False(t, whole, "%s: %s: %v", name, answer, err)
				continue // the stream was reset before the head was sent
			}
			require.Equal(t, 2, res.ProtoMajor)
			body, err := io.ReadAll(res.Body)
			require.NoError(t, res.Body.Close())
			if !whole {
				require.Error(t, err, "%s: %s", name, answer)
				continue
			}
			require.NoError(t, err)
			require.Equal(t, "abc", string(body))
			require.Equal(t, http.Header{"X-Sum": {"1"}}, res.Trailer, answer)
		}
	}
}

// What the gateway answers by itself does not wait for a request body that the client keeps to itself, and the connection
// is not used for another request.
func TestOwnAnswersDoNotWaitForTheBody(t *testing.T) {
	t.Parallel()
	closed := upstream(t, gateway.UpstreamConfig{}, "http://a.test")
	require.NoError(t, closed.Close())
	tests := []struct {
		name   string
		u      *gateway.Upstream
		header string
		status int
	}{
		{"no connection", upstream(t, gateway.UpstreamConfig{Dial: dialError(errors.New("odd"))}, "http://a.test"), "", 502},
		{"a target that leaves", upstream(t, gateway.UpstreamConfig{}, scripted(t, func(c *net.TCPConn, in *bufio.Reader) { _, _ = http.ReadRequest(in) })), "", 502},
		{"a target that says nothing", upstream(t, gateway.UpstreamConfig{Timeouts: gateway.Timeouts{Total: 20 * time.Millisecond}},
			scripted(t, func(c *net.TCPConn, in *bufio.Reader) { _, _ = io.Copy(io.Discard, in) })), "", 408},
		{"an admission", upstream(t, gateway.UpstreamConfig{Admission: []policy.Admission{refusing{errors.New("full")}}}, "http://a.test"), "", 503},
		{"closed", closed, "", 503},
		{"a loop", upstream(t, gateway.UpstreamConfig{}, "http://a.test"), "Via: " + strings.Repeat("1.1 gatehouse,", 9) + "\r\n", 508},
		{"no route", nil, "", 404},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			route := gateway.Route{Name: "r", Handler: tt.u}
			if tt.u == nil {
				route = gateway.Route{Name: "r", Match: gateway.Match{Paths: []string{"/other"}}, Handler: closed}
			}
			srv := front(t, gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{route}})))
			for _, framing := range []string{"Content-Length: 1000000\r\n\r\nabc", "Content-Length: 100\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"} {
				conn, in := dialFront(t, srv)
				head := rawHead(t, conn, in, "POST / HTTP/1.1\r\nHost: h\r\n"+tt.header+framing)
				status := tt.status
				if status == 408 && strings.Contains(framing, "Expect") {
					status = 504 // it is the target that is waited for
				}
				require.Contains(t, head, fmt.Sprintf("HTTP/1.1 %d ", status), framing)
				require.Contains(t, head, "\r\nConnection: close\r\n", framing)
			}
		})
	}
}

// A request body beyond Route.MaxBody is answered with 413, and its target does not get it whole.
func TestMaxBodyThroughAnUpstream(t *testing.T) {
	t.Parallel()
	for transport, c := range bothTransports() {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			target, requests := taking(t)
			gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{{Name: "r", MaxBody: 4, Handler: upstream(t, c, target)}}}))
			srv := front(t, gw)
			for _, tt := range []struct {
				framing string
				status  int
				asked   bool // the target
			}{
				{"Content-Length: 4\r\n\r\nabcd", 200, true},
				{"Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n", 200, true},
				{"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n", 200, true},
				{"Content-Length: 5\r\n\r\nabcde", 413, false},
				{"Content-Length: 5\r\n\r\n", 413, false}, // without waiting for it
				{"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n", 413, false},
				{"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n", 413, true},
				{"Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n1\r\ne\r\n", 413, true}, // no end in sight
			} {
				conn, in := dialFront(t, srv)
				head := rawHead(t, conn, in, "POST / HTTP/1.1\r\nHost: h\r\n"+tt.framing)
				require.Contains(t, head, fmt.Sprintf("HTTP/1.1 %d ", tt.status), tt.framing)
				if tt.status == 413 && !strings.HasSuffix(tt.framing, "abcde") { // a short one that is there is read away
					require.Contains(t, head, "\r\nConnection: close\r\n", tt.framing)
				}
				if tt.asked {
					got := <-requests
					require.Equal(t, tt.status == 200, got.whole, tt.framing)
					require.NotContains(t, got.body, "e")
				}
				require.Empty(t, requests, tt.framing)
			}
			h2 := frontHTTP2(t, gw)
			for _, body := range []io.Reader{strings.NewReader("abcde"), io.MultiReader(strings.NewReader("abcde"))} {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h2.URL, body)
				require.NoError(t, err)
				res, err := h2.Client().Do(r)
				require.NoError(t, err)
				require.NoError(t, res.Body.Close())
				require.Equal(t, 413, res.StatusCode)
				if r.ContentLength <= 0 {
					require.False(t, (<-requests).whole)
				}
			}
			require.Empty(t, requests)
		})
	}
}
