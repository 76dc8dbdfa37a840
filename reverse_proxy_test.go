package gateway_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
)

// The tests named TestReverseProxy… say about a gateway what the standard library's tests say about its ReverseProxy, and
// what we do instead where we differ.

// reverse is a gateway on loopback whose only route leads to target.
func reverse(t *testing.T, c gateway.Config, f gateway.Forward, u gateway.UpstreamConfig, target string) *httptest.Server {
	t.Helper()
	c.Logger = quiet()
	c.Routes = []gateway.Route{{Name: "all", Forward: f, Handler: upstream(t, u, target)}}
	return front(t, gateway.Must(gateway.New(c)))
}

// request sends a request with header fields, given as name and value in turn, and returns the answer.
func request(t *testing.T, srv *httptest.Server, path string, header ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+path, nil)
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	r.Host = "asked.test"
	res, err := srv.Client().Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// mirror answers with the lines of the request's head, sorted by nothing: a test looks for what is in it.
func mirror(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s %s\nHost: %s\n", r.Method, r.RequestURI, r.Host)
	for name, values := range r.Header {
		for _, v := range values {
			fmt.Fprintf(w, "%s: %s\n", name, v)
		}
	}
}

func lines(t *testing.T, res *http.Response) []string {
	t.Helper()
	return strings.Split(text(t, res), "\n")
}

// wrapped is an Outbound that answers in place of the transport, or changes what that has answered.
func wrapped(f func(next http.RoundTripper, r *http.Request) (*http.Response, error)) []func(http.RoundTripper) http.RoundTripper {
	return []func(http.RoundTripper) http.RoundTripper{func(next http.RoundTripper) http.RoundTripper {
		return tripper(func(r *http.Request) (*http.Response, error) { return f(next, r) })
	}}
}

func TestReverseProxyPassesOn(t *testing.T) {
	t.Parallel()
	got := make(chan *http.Request, 1)
	target := backend(t, func(w http.ResponseWriter, r *http.Request) {
		got <- r.Clone(r.Context())
		h := w.Header()
		h.Set("Trailer", "X-Sum")
		h.Set("Trailers", "an ordinary field")
		h.Set("Upgrade", "foo")
		h.Set("Keep-Alive", "timeout=1")
		h["X-Twice"] = []string{"one", "two"}
		http.SetCookie(w, &http.Cookie{Name: "taste", Value: "vanilla"})
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "not here")
		h.Set("X-Sum", "8")
		h.Set(http.TrailerPrefix+"X-Late", "unannounced")
	})
	srv := reverse(t, gateway.Config{}, gateway.Forward{}, gateway.UpstreamConfig{}, target)
	res := request(t, srv, "/", "Connection", "close, TE", "Te", "foo", "Te", "bar, trailers", "Proxy-Connection", "close", "Upgrade", "foo")
	require.Equal(t, http.StatusNotFound, res.StatusCode)
	require.Equal(t, []string{"one", "two"}, res.Header["X-Twice"])
	require.Equal(t, "an ordinary field", res.Header.Get("Trailers"))
	require.Equal(t, "taste", res.Cookies()[0].Name)
	for _, name := range []string{"Upgrade", "Keep-Alive", "Connection"} {
		require.NotContains(t, res.Header, name)
	}
	require.Equal(t, http.Header{"X-Sum": nil}, res.Trailer, "announced before the body")
	require.Equal(t, "not here", text(t, res))
	require.Equal(t, http.Header{"X-Sum": {"8"}, "X-Late": {"unannounced"}}, res.Trailer)

	r := <-got
	require.Empty(t, r.TransferEncoding)
	require.Equal(t, "127.0.0.1", r.Header.Get("X-Forwarded-For"))
	// TE goes on for gRPC and from HTTP/2 clients only: the trailers are passed on to the client in any case.
	for _, name := range []string{"Connection", "Te", "Upgrade", "Proxy-Connection"} {
		require.NotContains(t, r.Header, name)
	}
	require.Equal(t, strings.TrimPrefix(target, "http://"), r.Host, "the target's, unless PreserveHost is set")
}

func TestReverseProxyTargetHangsUp(t *testing.T) {
	t.Parallel()
	for name, target := range map[string]string{
		"hangs up": backend(t, func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_ = c.Close()
			}
		}),
		"is not there": "http://" + closedAddr(t),
	} {
		srv := reverse(t, gateway.Config{}, gateway.Forward{}, gateway.UpstreamConfig{}, target)
		require.Equal(t, http.StatusBadGateway, request(t, srv, "/").StatusCode, name)
	}
}

// closedAddr is an address on which nobody listens.
func closedAddr(t *testing.T) string {
	t.Helper()
	l := listen(t)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// What Connection names goes no further in either direction, empty elements or not. The entry takes it from the request
// itself, which ReverseProxy leaves alone, so that no plugin takes it for the client's either.
func TestReverseProxyConnectionNames(t *testing.T) {
	t.Parallel()
	got := make(chan http.Header, 1)
	u := upstream(t, gateway.UpstreamConfig{}, backend(t, func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header.Clone()
		for _, v := range r.Header["X-Options"] {
			w.Header().Add("Connection", v)
		}
		w.Header().Set("X-Hop", "1")
		w.Header().Set("X-Leap", "1")
		w.Header().Set("X-Far", "1")
	}))
	after := make(chan http.Header, 1)
	srv := front(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.ServeHTTP(w, r)
		after <- r.Header
	}))
	for _, options := range [][]string{{"Upgrade, X-Hop", "x-leap"}, {"", "X-Hop , ,X-Leap"}, {",", "keep-alive,X-Leap,x-hop"}} {
		header := []string{"X-Hop", "1", "X-Leap", "1", "X-Far", "1"}
		for _, o := range options {
			header = append(header, "Connection", o, "X-Options", o)
		}
		res := request(t, srv, "/", header...)
		for side, h := range map[string]http.Header{"target": <-got, "client": res.Header} {
			for _, name := range []string{"Connection", "X-Hop", "X-Leap"} {
				require.NotContains(t, h, name, "%s, %q", side, options)
			}
			require.Equal(t, "1", h.Get("X-Far"), "%s, %q", side, options)
		}
		h := <-after
		require.NotContains(t, h, "X-Hop")
		require.Equal(t, "1", h.Get("X-Far"))
	}
}

// Of what a client says about its own way here nothing is believed unless it is a trusted proxy: ReverseProxy appends.
func TestReverseProxyForwardedFor(t *testing.T) {
	t.Parallel()
	target := backend(t, mirror)
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	for _, tt := range []struct {
		name  string
		entry policy.EntryConfig
		want  string
	}{
		{"a client", policy.EntryConfig{}, "127.0.0.1"},
		{"a trusted proxy", policy.EntryConfig{TrustedProxies: loopback}, "192.0.2.7, 127.0.0.1"},
		{"a client, as ReverseProxy", policy.EntryConfig{InsecureAppendForwardedFor: true}, "192.0.2.7, 127.0.0.1"},
	} {
		srv := reverse(t, gateway.Config{EntryConfig: tt.entry}, gateway.Forward{}, gateway.UpstreamConfig{}, target)
		require.Contains(t, lines(t, request(t, srv, "/", "X-Forwarded-For", "192.0.2.7")), "X-Forwarded-For: "+tt.want, tt.name)
	}
}

// A Rewrite comes after the client's forwarding fields have gone, and before ours: it cannot leave out or forge these, as
// a Director can.
func TestReverseProxyRewriteAndForwarding(t *testing.T) {
	t.Parallel()
	names := []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"}
	seen := make(chan http.Header, 1)
	srv := reverse(t, gateway.Config{}, gateway.Forward{Rewrite: func(_, out *http.Request) {
		seen <- out.Header.Clone()
		out.Header["X-Forwarded-For"] = nil
		out.Header.Set("X-Forwarded-Proto", "gopher")
		out.Header.Set("X-From-Rewrite", "1")
	}}, gateway.UpstreamConfig{}, backend(t, mirror))
	var header []string
	for _, name := range names {
		header = append(header, name, "forged")
	}
	got := lines(t, request(t, srv, "/", header...))
	before := <-seen
	for _, name := range names {
		require.NotContains(t, before, name)
	}
	require.Contains(t, got, "X-From-Rewrite: 1")
	require.Contains(t, got, "X-Forwarded-For: 127.0.0.1")
	require.Contains(t, got, "X-Forwarded-Proto: http")
	require.Contains(t, got, "X-Forwarded-Host: asked.test")
	require.NotContains(t, strings.Join(got, "\n"), "Forwarded: ")
}

// A Rewrite that replaces what it was given decides path, query and header, and nothing else.
func TestReverseProxyRewriteReplacesTheRequest(t *testing.T) {
	t.Parallel()
	srv := reverse(t, gateway.Config{}, gateway.Forward{Rewrite: func(in, out *http.Request) {
		other, err := http.NewRequestWithContext(in.Context(), http.MethodDelete, "http://192.0.2.1:9/other?q=1", strings.NewReader("body"))
		if err != nil {
			panic(err)
		}
		other.Header.Set("X-Other", "1")
		*out = *other
	}}, gateway.UpstreamConfig{}, backend(t, mirror))
	got := lines(t, request(t, srv, "/", "X-Mine", "1"))
	require.Contains(t, got, "GET /other?q=1")
	require.Contains(t, got, "X-Other: 1")
	require.NotContains(t, got, "X-Mine: 1")
	require.NotContains(t, strings.Join(got, "\n"), "Content-Length")
}

// The client's request is nobody's to write to: handlers outside find it as it was.
func TestReverseProxyLeavesTheRequestAlone(t *testing.T) {
	t.Parallel()
	got := make(chan *http.Request, 1)
	u := upstream(t, gateway.UpstreamConfig{}, backend(t, func(_ http.ResponseWriter, r *http.Request) { got <- r.Clone(r.Context()) })+"/base")
	x, r := policy.Ensure(get("/path?query"))
	gw := gateway.Must(gateway.New(gateway.Config{Logger: quiet(), Routes: []gateway.Route{{Name: "all", Handler: u, Forward: gateway.Forward{
		Rewrite: func(in, out *http.Request) {
			out.Header.Set("X-From-Rewrite", "1")
			out.Header.Add("Accept", "b")
			out.URL.Path += "/more"
		},
	}}}}))
	r.Header["Accept"] = make([]string, 1, 2)
	r.Header["Accept"][0] = "a"
	require.Equal(t, 200, gatewaytest.Do(gw, r).StatusCode)
	out := <-got
	require.Equal(t, "/base/path/more?query", out.RequestURI)
	require.Equal(t, []string{"a", "b"}, out.Header["Accept"])
	require.Equal(t, "1", out.Header.Get("X-From-Rewrite"))
	require.Equal(t, "/path?query", r.URL.String())
	require.Equal(t, http.Header{"Accept": {"a"}}, r.Header)
	require.Equal(t, []string{"a", ""}, r.Header["Accept"][:2], "nor behind the end of its slices")
	require.Equal(t, "/path", x.Path())
}

// The query is the client's, byte for byte: whatever anybody in between takes for parameters of it, the target gets what
// the client has sent, or the request is refused as a whole. ReverseProxy drops what net/url does not understand.
func TestReverseProxyQuery(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("a=1&", 10000) + "a=1"
	for _, rewrite := range []func(in, out *http.Request){nil, func(in, _ *http.Request) { in.FormValue("a") }} {
		for _, noLimits := range []bool{false, true} {
			var c gateway.Config
			if noLimits {
				c.MaxQueryParams, c.MaxURLLength = -1, -1
			}
			srv := reverse(t, c, gateway.Forward{Rewrite: rewrite}, gateway.UpstreamConfig{}, backend(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, r.URL.RawQuery)
			}))
			for _, query := range []string{"", "us=er", "a=1&a=2;b=3", "a=1&a=%zz&b=3", "a=%zz", "&&=&a", "a=%26b"} {
				require.Equal(t, query, text(t, request(t, srv, "/?"+query)))
			}
			res := request(t, srv, "/?"+many)
			if !noLimits {
				require.Equal(t, http.StatusRequestURITooLong, res.StatusCode)
				continue
			}
			require.Equal(t, many, text(t, res))
		}
	}
	// A query of the target's own would have to be put together with the client's.
	_, err := gateway.NewUpstream(gateway.UpstreamConfig{Name: "up", Targets: []balancer.Target{{URL: "http://a.test/?sta=tic"}}})
	require.ErrorContains(t, err, "Targets[0].URL")
}

// How the target's path and the client's become one.
func TestReverseProxyJoinsPaths(t *testing.T) {
	t.Parallel()
	base := backend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RequestURI) })
	for _, tt := range []struct{ target, path, want string }{
		{"", "/favicon.ico", "/favicon.ico"},
		{"/", "/favicon.ico", "/favicon.ico"},
		{"", "", "/"},
		{"/a/b", "/c", "/a/b/c"},
		{"/a/b/", "/c", "/a/b/c"},
		{"/a/b", "/c/", "/a/b/c/"},
		{"/a/b/", "", "/a/b/"},
		{"/a%20b", "/c%3Fd", "/a%20b/c%3Fd"},
		{"/a/b", "/c/d%2Fe", "/a/b/c/d%2Fe"},
		{"/a/b", "/../../c", "/a/b/c"},    // nobody climbs out of the target's path
		{"/a/b", "//c", "/a/b/c"},         // and all see one canonical path
		{"/a/b/", "/%63/./d", "/a/b/c/d"}, // ReverseProxy sends what it got
	} {
		c := gateway.Config{EntryConfig: policy.EntryConfig{AllowEncodedSlash: true}}
		srv := reverse(t, c, gateway.Forward{}, gateway.UpstreamConfig{}, base+tt.target)
		require.Equal(t, tt.want, text(t, request(t, srv, tt.path)), "%q and %q", tt.target, tt.path)
	}
}

func TestReverseProxyHost(t *testing.T) {
	t.Parallel()
	target := backend(t, mirror)
	for _, tt := range []struct {
		forward gateway.Forward
		want    string
	}{
		{gateway.Forward{}, strings.TrimPrefix(target, "http://")},
		{gateway.Forward{PreserveHost: true}, "asked.test"},
		{gateway.Forward{Host: "said.test"}, "said.test"},
	} {
		require.Contains(t, lines(t, request(t, reverse(t, gateway.Config{}, tt.forward, gateway.UpstreamConfig{}, target), "/")), "Host: "+tt.want)
	}
}

// A client that names no User-Agent is not given one, over either transport.
func TestReverseProxyUserAgent(t *testing.T) {
	t.Parallel()
	target := backend(t, mirror)
	pass := wrapped(func(next http.RoundTripper, r *http.Request) (*http.Response, error) { return next.RoundTrip(r) })
	for _, outbound := range [][]func(http.RoundTripper) http.RoundTripper{nil, pass} {
		srv := reverse(t, gateway.Config{}, gateway.Forward{}, gateway.UpstreamConfig{Outbound: outbound}, target)
		require.Contains(t, lines(t, request(t, srv, "/", "User-Agent", "mine")), "User-Agent: mine")
		require.NotContains(t, text(t, request(t, srv, "/", "User-Agent", "")), "User-Agent")
	}
}

// What a round tripper is given: no body where the client sent none, and a header in any case.
func TestReverseProxyOutboundRequest(t *testing.T) {
	t.Parallel()
	reached := 0
	u := upstream(t, gateway.UpstreamConfig{Outbound: wrapped(func(_ http.RoundTripper, r *http.Request) (*http.Response, error) {
		reached++
		require.Nil(t, r.Body)
		require.Zero(t, r.ContentLength)
		require.NotNil(t, r.Header)
		return nil, errors.New("enough seen")
	})}, "http://a.test")
	bare := get("/")
	bare.Header, bare.Body = nil, nil
	chunked := httptest.NewRequest(http.MethodPost, "/", http.NoBody)
	for _, r := range []*http.Request{get("/"), bare, chunked} {
		require.Equal(t, http.StatusBadGateway, gatewaytest.Do(u, r).StatusCode)
	}
	require.Equal(t, 3, reached)
}

// A request without a body, though made by hand, reaches the target.
func TestReverseProxyRequestMadeByHand(t *testing.T) {
	t.Parallel()
	u := upstream(t, gateway.UpstreamConfig{}, backend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hi") }))
	srv := front(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET / HTTP/1.0\r\n\r\n")))
		if err != nil {
			panic(err)
		}
		r.Body = nil
		u.ServeHTTP(w, r)
	}))
	require.Equal(t, "hi", text(t, request(t, srv, "/")))
}

// closeNoting is a body that tells whether it was closed.
type closeNoting struct {
	io.Reader

	closed int
}

func (c *closeNoting) Close() error {
	c.closed++
	return nil
}

// Answers are looked at and changed in a round tripper, and heads of answers by policy.OnHeader: that is what
// ModifyResponse is there. What fails on the way is a 502 of the gateway's, whose ErrorHandler presents it, and no text of
// an error reaches the client.
func TestReverseProxyModifiedAnswers(t *testing.T) {
	t.Parallel()
	teapot := func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusTeapot) }
	for _, tt := range []struct {
		name   string
		err    error
		handle func(http.ResponseWriter, *http.Request, error)
		want   int
	}{
		{"passed", nil, nil, 346},
		{"passed, no error to handle", nil, teapot, 346},
		{"failed", errors.New("secret"), nil, http.StatusBadGateway},
		{"failed and handled", errors.New("secret"), teapot, http.StatusTeapot},
		{"refused in its own words", &policy.Error{Status: 451, Code: "law", Message: "no"}, nil, 451},
	} {
		body := &closeNoting{Reader: strings.NewReader("hello")}
		srv := reverse(t, gateway.Config{EntryConfig: policy.EntryConfig{ErrorHandler: tt.handle}}, gateway.Forward{}, gateway.UpstreamConfig{
			Outbound: wrapped(func(http.RoundTripper, *http.Request) (*http.Response, error) {
				res := &http.Response{StatusCode: 345, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"X-Target": {"1"}}, ContentLength: 5, Body: body}
				res.StatusCode++
				return res, tt.err
			}),
		}, "http://a.test")
		res := request(t, srv, "/")
		require.Equal(t, tt.want, res.StatusCode, tt.name)
		require.NotContains(t, text(t, res), "secret")
		require.Equal(t, tt.err == nil, res.Header.Get("X-Target") == "1", tt.name)
		require.Positive(t, body.closed, "%s: a body is closed whatever becomes of it", tt.name)
	}
}

// A target that lacks a mark is refused, by the error of a round tripper that has an answer in its hands already.
func TestReverseProxyRefusedAnswer(t *testing.T) {
	t.Parallel()
	srv := reverse(t, gateway.Config{}, gateway.Forward{}, gateway.UpstreamConfig{MaxConns: 1, Outbound: wrapped(func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		res, err := next.RoundTrip(r)
		if err == nil && res.Header.Get("X-Mark") != "true" {
			return nil, errors.New("not marked") // and the answer is left open
		}
		return res, err
	})}, backend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Mark", fmt.Sprint(r.URL.Path == "/marked"))
		_, _ = io.WriteString(w, "body")
	}))
	for range 3 { // with one connection: a body that stays open would keep the next request from it
		require.Equal(t, 200, request(t, srv, "/marked").StatusCode)
		require.Equal(t, http.StatusBadGateway, request(t, srv, "/other").StatusCode)
	}
}

// A plugin changes the head of an answer, the status included in what it sees.
func TestReverseProxyOnHeader(t *testing.T) {
	t.Parallel()
	statuses := make(chan int, 1)
	srv := reverse(t, gateway.Config{Plugins: []gateway.Plugin{gateway.PluginFunc(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(policy.OnHeader(w, func(status int, h http.Header) {
				statuses <- status
				h.Del("X-Target")
				h.Set("X-Plugin", "1")
			}), r)
		})
	})}}, gateway.Forward{}, gateway.UpstreamConfig{}, backend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Target", "1")
		w.WriteHeader(http.StatusAccepted)
	}))
	res := request(t, srv, "/")
	require.Equal(t, http.StatusAccepted, <-statuses)
	require.Equal(t, "1", res.Header.Get("X-Plugin"))
	require.NotContains(t, res.Header, "X-Target")
}

// A client that waits for 100 Continue gets its answer at once where there is no target, though it sends no body.
func TestReverseProxyExpectWithoutATarget(t *testing.T) {
	t.Parallel()
	srv := reverse(t, gateway.Config{}, gateway.Forward{}, gateway.UpstreamConfig{}, "http://"+closedAddr(t))
	c, in := dialFront(t, srv)
	_, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 16\r\nExpect: 100-continue\r\n\r\n")
	require.NoError(t, err)
	res, err := http.ReadResponse(in, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusBadGateway, res.StatusCode)
	require.True(t, res.Close, "the body may still come, and is no request")
	require.NoError(t, res.Body.Close())
}

// Upgrades are not forwarded: a target never learns of one, so that nothing of what the Upgrade tests of ReverseProxy say
// about tunnels can happen here, and its answer to the plain request is passed on.
func TestReverseProxyUpgradeIsNotForwarded(t *testing.T) {
	t.Parallel()
	srv := reverse(t, gateway.Config{}, gateway.Forward{}, gateway.UpstreamConfig{}, backend(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUpgradeRequired)
		mirror(w, r)
	}))
	res := request(t, srv, "/", "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
	require.Equal(t, http.StatusUpgradeRequired, res.StatusCode)
	got := text(t, res)
	require.NotContains(t, got, "Upgrade:")
	require.NotContains(t, got, "Connection:")
	require.Equal(t, http.StatusUpgradeRequired, request(t, srv, "/").StatusCode, "the connection is one for requests, as before")
}

// hijackable is a writer whose connection nobody may take.
type hijackable struct {
	http.ResponseWriter

	hijacked bool
}

// Hijack implements [http.Hijacker].
func (h *hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	h.hijacked = true
	return nil, nil, http.ErrNotSupported
}

// A target that switches protocols all the same is refused, whether or not the client had asked for it: the client's
// connection is not taken from the server, and the target's is closed.
func TestReverseProxyUnaskedSwitch(t *testing.T) {
	t.Parallel()
	pass := wrapped(func(next http.RoundTripper, r *http.Request) (*http.Response, error) { return next.RoundTrip(r) })
	for name, outbound := range map[string][]func(http.RoundTripper) http.RoundTripper{"direct": nil, "standard": pass} {
		ended := make(chan struct{}, 1)
		u := upstream(t, gateway.UpstreamConfig{Outbound: outbound}, scripted(t, func(c *net.TCPConn, in *bufio.Reader) {
			readRequest(in)
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\nhello")
			_, _ = io.Copy(io.Discard, in)
			ended <- struct{}{}
		}))
		var taken bool
		srv := front(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h := &hijackable{ResponseWriter: w}
			u.ServeHTTP(h, r)
			taken = h.hijacked
		}))
		for range 2 {
			res := request(t, srv, "/", "Connection", "Upgrade", "Upgrade", "websocket")
			require.Equal(t, http.StatusBadGateway, res.StatusCode, name)
			require.NotContains(t, res.Header, "Upgrade")
			require.NotContains(t, text(t, res), "hello")
			<-ended
			require.False(t, taken)
		}
	}
}
