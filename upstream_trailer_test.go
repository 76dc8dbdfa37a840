package gateway_test

import (
	"bufio"
	"bytes"
	"context"

	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/textproto"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/policy"
)

// taken is a request as it reached a target, byte by byte; whole says that its body came to its end.
type taken struct {
	head  string
	body  string
	whole bool
	http.Header
}

// taking is a target that tells what it gets.
func taking(t *testing.T) (target string, requests <-chan taken) {
	t.Helper()
	ch := make(chan taken, 10)
	return scripted(t, func(c *net.TCPConn, in *bufio.Reader) {
		for {
			var raw bytes.Buffer
			r, err := http.ReadRequest(bufio.NewReader(io.TeeReader(oneByOne{in}, &raw)))
			if err != nil {
				return
			}
			_, err = io.Copy(io.Discard, r.Body)
			head, body, _ := strings.Cut(raw.String(), "\r\n\r\n")
			ch <- taken{head, body, err == nil, r.Trailer}
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	}), ch
}

// oneByOne reads no further than it must.
type oneByOne struct{ io.Reader }

func (o oneByOne) Read(p []byte) (int, error) { return o.Reader.Read(p[:min(len(p), 1)]) }

// bothTransports are the settings of an upstream over each of its transports.
func bothTransports() map[string]gateway.UpstreamConfig {
	same := func(next http.RoundTripper) http.RoundTripper { return next }
	return map[string]gateway.UpstreamConfig{"direct": {}, "standard": {Outbound: []func(http.RoundTripper) http.RoundTripper{same}}}
}

func trailing(u *gateway.Upstream, entry policy.EntryConfig, on bool) *gateway.Gateway {
	return gateway.Must(gateway.New(gateway.Config{EntryConfig: entry, Routes: []gateway.Route{{
		Name: "r", Match: gateway.Match{Prefixes: []string{"/"}}, Handler: u, Forward: gateway.Forward{RequestTrailers: on},
	}}}))
}

func TestRequestTrailers(t *testing.T) {
	t.Parallel()
	const forbidden = "Content-Length, Host, Authorization, Cookie, Content-Type, Content_Type, Range, If-Match, Cache-Control, Te, Connection, " +
		"Proxy-Authorization, Expect, Via, Forwarded, X-Forwarded-For, X_Forwarded_Server, X-Real-Ip, X-Consumer-Id, x_consumer_id, X-Original-Url, " +
		"X-Http-Method-Override, X-Owned, x.owned, Upgrade, X-Request-Id, Accept, bad name, Set-Cookie"
	var evil strings.Builder
	for name := range strings.SplitSeq(forbidden, ", ") {
		if name != "bad name" {
			evil.WriteString(name + ": evil\r\n")
		}
	}
	tests := []struct {
		name, method string
		announce     string // further header fields
		body         string
		on           bool
		want         http.Header
	}{
		{"announced", "POST", "Trailer: X-Sum, x-also\r\n", "3\r\nabc\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\nx-also:  b \r\n\r\n", true, http.Header{"X-Sum": {"1", "2"}, "X-Also": {"b"}}},
		{"on two lines", "POST", "Trailer: X-Sum\r\nTrailer: X-Also\r\n", "0\r\nX-Sum: 1\r\nX-Also: 2\r\n\r\n", true, http.Header{"X-Sum": {"1"}, "X-Also": {"2"}}},
		{"announced, none comes", "POST", "Trailer: X-Sum\r\n", "3\r\nabc\r\n0\r\n\r\n", true, http.Header{"X-Sum": nil}},
		{"announced, and others come", "POST", "Trailer: X-Sum\r\n", "3\r\nabc\r\n0\r\nX-Other: 1\r\nX-Sum: 1\r\n\r\n", true, http.Header{"X-Sum": {"1"}}},
		{"unannounced", "POST", "", "3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n", true, nil},
		{"a method that mostly has no body", "DELETE", "Trailer: X-Sum\r\n", "0\r\nX-Sum: 1\r\n\r\n", true, http.Header{"X-Sum": {"1"}}},
		{"also in the head", "POST", "X-Sum: head\r\nTrailer: X-Sum\r\n", "0\r\nX-Sum: 1\r\n\r\n", true, http.Header{"X-Sum": {"1"}}},
		{"forbidden", "POST", "Trailer: " + strings.ReplaceAll(forbidden, "Content-Length, ", "") + ", X-Sum\r\n", "0\r\n" + evil.String() + "X-Sum: 1\r\n\r\n", true, http.Header{"X-Sum": {"1"}}},
		{"forbidden alone", "POST", "Trailer: X-Consumer-Id\r\n", "0\r\nX-Consumer-Id: evil\r\n\r\n", true, nil},
		{"hop by hop", "POST", "Connection: X-Hop, x-sum\r\nTrailer: X-Hop, X-Also\r\n", "0\r\nX-Hop: 1\r\nX-Also: 1\r\n\r\n", true, http.Header{"X-Also": {"1"}}},
		{"off", "POST", "Trailer: X-Sum\r\n", "3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n", false, nil},
	}
	for transport, c := range bothTransports() {
		for _, tt := range tests {
			t.Run(transport+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				target, requests := taking(t)
				// A trusted proxy may set more header fields than others, and no more trailers.
				srv := front(t, trailing(upstream(t, c, target), policy.EntryConfig{
					TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, OwnedHeaders: []string{"X-Owned"}, PassHeaders: []string{"X-Http-Method-Override"},
				}, tt.on))
				conn, in := dialFront(t, srv)
				for range 2 { // the connections stay in step on both sides
					_, err := io.WriteString(conn, tt.method+" / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n"+tt.announce+"\r\n"+tt.body)
					require.NoError(t, err)
					got := <-requests
					require.True(t, got.whole)
					require.NotContains(t, got.head, "evil")
					require.NotContains(t, got.body, "evil")
					require.NotContains(t, got.head, "\r\nTe:", "this hop's, and no gRPC")
					require.Equal(t, tt.want, got.Header)
					if tt.want == nil {
						require.NotContains(t, got.head, "\r\nTrailer:")
						require.True(t, got.body == "" || strings.HasSuffix(got.body, "0\r\n\r\n"), "%q", got.body)
					}
					res, err := http.ReadResponse(in, nil)
					require.NoError(t, err)
					require.Equal(t, 200, res.StatusCode)
				}
			})
		}
	}
}

// A body of which a length was declared has trailers in HTTP/2 only, and goes on in chunks; HTTP/2 targets get them, too.
func TestRequestTrailersOverHTTP2(t *testing.T) {
	t.Parallel()
	requests := make(chan taken, 1)
	target, trust := tlsBackend(t, func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		requests <- taken{r.Proto, string(body), err == nil, r.Trailer}
	})
	trust = trust.Clone()
	trust.NextProtos = nil
	plain, raw := taking(t)
	for _, on := range []bool{true, false} {
		for _, tt := range []struct {
			u    *gateway.Upstream
			from <-chan taken
		}{{upstream(t, gateway.UpstreamConfig{TLS: trust}, target), requests}, {upstream(t, gateway.UpstreamConfig{}, plain), raw}} {
			srv := frontHTTP2(t, trailing(tt.u, policy.EntryConfig{}, on))
			for _, length := range []int64{-1, 5} {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, srv.URL, nil)
				require.NoError(t, err)
				r.Trailer = http.Header{"X-Sum": nil, "X-Consumer-Id": {"evil"}}
				r.Body = io.NopCloser(&lastly{strings.NewReader("hello"), func() { r.Trailer.Set("X-Sum", "1") }})
				r.ContentLength = length
				res, err := srv.Client().Do(r)
				require.NoError(t, err)
				require.NoError(t, res.Body.Close())
				require.Equal(t, 200, res.StatusCode)
				require.Equal(t, "HTTP/2.0", res.Proto)
				got := <-tt.from
				require.True(t, got.whole)
				require.NotContains(t, got.body, "evil")
				if !on {
					require.Empty(t, got.Header)
					require.Equal(t, length > 0 && got.head != "HTTP/2.0", strings.Contains(got.head, "Content-Length: 5"))
					continue
				}
				require.Equal(t, http.Header{"X-Sum": {"1"}}, got.Header)
				require.NotContains(t, got.head, "Content-Length")
			}
		}
	}
}

// lastly is a reader that does something before it tells of its end.
type lastly struct {
	io.Reader

	do func()
}

func (l *lastly) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
	if err == io.EOF {
		l.do()
	}
	return n, err
}

// frontHTTP2 serves h on loopback, to clients that speak HTTP/2.
func frontHTTP2(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}

// Trailers that cannot be sent on are no end of a request: the target does not get one either.
func TestRequestTrailersThatCannotBeSent(t *testing.T) {
	t.Parallel()
	for transport, c := range bothTransports() {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			target, requests := taking(t)
			gw := trailing(upstream(t, c, target), policy.EntryConfig{}, true)
			srv := front(t, gw)
			for _, value := range []string{"a\x00b", "a\x7fb", "a\rb: c"} {
				conn, in := dialFront(t, srv)
				_, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: "+value+"\r\n\r\n")
				require.NoError(t, err)
				got := <-requests
				require.False(t, got.whole)
				require.NotContains(t, got.body, "\r\n0\r\n")
				res, err := http.ReadResponse(in, nil)
				require.NoError(t, err)
				require.Equal(t, http.StatusBadRequest, res.StatusCode, "%q", value)
				requireStatus(t, "http_request_error", res.Header)
			}
			h2 := frontHTTP2(t, gw)
			for _, trailer := range []http.Header{
				{"X-Sum": {strings.Repeat("x", 5<<10)}},
				{"X-" + textproto.CanonicalMIMEHeaderKey(strings.Repeat("y", 5<<10)): {"1"}},
			} {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h2.URL, io.MultiReader(strings.NewReader("abc")))
				require.NoError(t, err)
				r.Trailer = trailer
				res, err := h2.Client().Do(r)
				require.NoError(t, err)
				require.NoError(t, res.Body.Close())
				require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, res.StatusCode)
				requireStatus(t, "http_request_error", res.Header)
				if len(trailer["X-Sum"]) > 0 {
					require.False(t, (<-requests).whole)
				}
			}
			require.Empty(t, requests, "too many names are refused before a target is asked")
		})
	}
}

// What a hook puts in place of the trailers is sent, or is its own fault.
func TestRequestTrailersOfAHook(t *testing.T) {
	t.Parallel()
	tests := []struct {
		trailer http.Header
		status  int
	}{
		{http.Header{"X-Hook": {"1"}}, 200},
		{http.Header{"X-Hook": {"a\nb"}}, 500},
		{http.Header{"X Hook": {"1"}}, 500},
		{http.Header{"content-length": {"1"}}, 500},
	}
	for transport, c := range bothTransports() {
		for _, tt := range tests {
			target, requests := taking(t)
			u := upstream(t, c, target)
			srv := front(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				x, r := policy.Ensure(r)
				x.OnTry(trailerHook{tt.trailer})
				u.ServeHTTP(w, r)
			}))
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, io.MultiReader(strings.NewReader("abc")))
			require.NoError(t, err)
			res, err := srv.Client().Do(r)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			require.Equal(t, tt.status, res.StatusCode, "%s: %q", transport, tt.trailer)
			require.Zero(t, u.Status().Targets[0].Failed)
			if tt.status != 200 {
				requireStatus(t, "proxy_internal_error", res.Header)
				continue
			}
			got := <-requests
			require.True(t, got.whole)
			require.Equal(t, tt.trailer, got.Header)
		}
	}
}

type trailerHook struct{ trailer http.Header }

func (h trailerHook) BeginTry(ctx context.Context, try *policy.Try) context.Context {
	try.Out.Trailer = h.trailer
	return ctx
}
func (trailerHook) EndTry(context.Context, *policy.Try) {}
