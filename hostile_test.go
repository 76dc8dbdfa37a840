package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/policy"
)

// rawUpstream is a backend that keeps the bytes of every request head it gets and answers 200 "up". Bodies are read by
// their declared length or chunk by chunk, as any server would.
type rawUpstream struct {
	addr  string
	mu    sync.Mutex
	heads []string
	body  []string
}

func newRawUpstream(t *testing.T) *rawUpstream {
	t.Helper()
	l := listen(t)
	u := &rawUpstream{addr: l.Addr().String()}
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
				defer context.AfterFunc(ctx, func() { _ = c.Close() })()
				defer c.Close()
				u.serve(c)
			})
		}
	})
	return u
}

func (u *rawUpstream) serve(c net.Conn) {
	br := bufio.NewReader(c)
	for {
		var head strings.Builder
		for !strings.HasSuffix(head.String(), "\r\n\r\n") {
			line, err := br.ReadString('\n')
			if err != nil {
				return
			}
			head.WriteString(line)
		}
		req, err := http.ReadRequest(bufio.NewReader(io.MultiReader(strings.NewReader(head.String()), br)))
		var body []byte
		if err == nil {
			body, _ = io.ReadAll(req.Body)
		}
		u.mu.Lock()
		u.heads = append(u.heads, head.String())
		u.body = append(u.body, string(body))
		u.mu.Unlock()
		if err != nil {
			return
		}
		if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup"); err != nil {
			return
		}
	}
}

// take returns the heads that arrived since the last call.
func (u *rawUpstream) take() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	heads := u.heads
	u.heads = nil
	return heads
}

// serveRaw starts a gateway in front of a raw upstream and returns the address to send bytes to.
func serveRaw(t *testing.T, entry policy.EntryConfig) (addr string, up *rawUpstream) {
	t.Helper()
	up = newRawUpstream(t)
	proxy, err := gateway.NewUpstream(gateway.UpstreamConfig{Name: "up", Targets: []balancer.Target{{URL: "http://" + up.addr}}})
	require.NoError(t, err)
	keys, err := keyauth.New(keyauth.Config{Consumers: auth.Static{"k": {ID: "7", Username: "ann"}}})
	require.NoError(t, err)
	gw, err := gateway.New(gateway.Config{
		EntryConfig: entry,
		Logger:      nil,
		Owns:        []io.Closer{proxy},
		Routes: []gateway.Route{
			{Name: "public", Match: gateway.Match{Paths: []string{"/public/*rest"}}, Handler: proxy},
			{Name: "admin", Match: gateway.Match{Paths: []string{"/admin/*rest"}}, Plugins: []gateway.Plugin{keys}, Handler: proxy},
			{Name: "reserved", Plugins: []gateway.Plugin{keys}, Handler: proxy, Match: gateway.Match{
				Paths: []string{"/@internal/*rest", "/rpc(1)"}, Prefixes: []string{"/p:q"}, Regexps: []string{"/r:q"},
			}},
			{Name: "rest", Match: gateway.Match{Hosts: []string{"any.test"}, Paths: []string{"/*rest"}}, Handler: proxy},
			{Name: "host", Match: gateway.Match{Hosts: []string{"secret.test"}}, Plugins: []gateway.Plugin{keys}, Handler: proxy},
		},
	})
	require.NoError(t, err)
	l := listen(t)
	srv := gateway.NewServer("", gw)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ran := make(chan error, 1)
	go func() { ran <- gw.Run(ctx, srv, l) }()
	t.Cleanup(func() {
		cancel()
		<-ran
	})
	return l.Addr().String(), up
}

// sendRaw writes the bytes on a connection of their own and returns everything that comes back until the connection
// ends or the answer is whole.
func sendRaw(t *testing.T, addr, bytes string) *http.Response {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = io.WriteString(c, bytes)
	require.NoError(t, err)
	method, _, _ := strings.Cut(bytes, " ")
	res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	require.NoError(t, err)
	_, err = io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	return res
}

// Requests that must not enter: the status, and not a byte for the upstream. The rows follow the threats to proxy and
// router one by one.
func TestHostileRequestsAreRefused(t *testing.T) {
	t.Parallel()
	addr, up := serveRaw(t, policy.EntryConfig{})
	for name, c := range map[string]struct {
		line   string // request line
		header string
		status int
	}{
		"CONNECT authority":         {"CONNECT evil.test:443 HTTP/1.1", "", 405},
		"CONNECT path":              {"CONNECT /public/x HTTP/1.1", "", 405},
		"TRACE":                     {"TRACE /public/x HTTP/1.1", "", 405},
		"PRI":                       {"PRI /public/x HTTP/1.1", "", 405},
		"asterisk GET":              {"GET * HTTP/1.1", "", 400},
		"asterisk OPTIONS":          {"OPTIONS * HTTP/1.1", "", 400},
		"foreign scheme":            {"GET ftp://h/public/x HTTP/1.1", "", 400},
		"HTTP/1.2":                  {"GET /public/x HTTP/1.2", "", 505},
		"long method":               {"GETGETGETGETGETGETGETGETGETGETGETX /public/x HTTP/1.1", "", 501},
		"NUL":                       {"GET /public/%00 HTTP/1.1", "", 400},
		"backslash raw":             {`GET /public\..\admin HTTP/1.1`, "", 400},
		"backslash escaped":         {"GET /public/%5c..%5cadmin HTTP/1.1", "", 400},
		"fragment raw":              {"GET /public/x#y HTTP/1.1", "", 400},
		"fragment in query":         {"GET /public/x?a#y HTTP/1.1", "", 400},
		"encoded slash":             {"GET /public%2fadmin HTTP/1.1", "", 400},
		"dots behind encoded slash": {"GET /public/..%2fadmin HTTP/1.1", "", 400},
		"dots with a parameter":     {"GET /public/..;/admin HTTP/1.1", "", 400},
		"dots, escaped parameter":   {"GET /public/..%3b/admin HTTP/1.1", "", 400},
		"overlong UTF-8":            {"GET /public/%c0%ae%c0%ae/admin HTTP/1.1", "", 400},
		"invalid UTF-8":             {"GET /public/%ff HTTP/1.1", "", 400},
		"escaped reserved":          {"GET /%40internal/x HTTP/1.1", "", 401},
		"reserved in a prefix":      {"GET /p%3aq/x HTTP/1.1", "", 401},
		"reserved, parentheses":     {"GET /rpc%281%29 HTTP/1.1", "", 401},
		"reserved, an expression":   {"GET /r%3aq HTTP/1.1", "", 401},
		"dot segments into admin":   {"GET /public/../admin/x HTTP/1.1", "", 401},
		"escaped dots into admin":   {"GET /public/%2e%2e/admin/x HTTP/1.1", "", 401},
		"slashes into admin":        {"GET //admin///x HTTP/1.1", "", 401},
		"escaped letters of admin":  {"GET /%61dmin/x HTTP/1.1", "", 401},
		"host of another route":     {"GET /x HTTP/1.1", "Host: SECRET.test.:80", 401},
		"absolute form of it":       {"GET http://secret.test/x HTTP/1.1", "", 401},
		"userinfo in Host":          {"GET /public/x HTTP/1.1", "Host: a@secret.test", 400},
		"101 header fields":         {"GET /public/x HTTP/1.1", "Host: h\r\n" + strings.Repeat("A: b\r\n", 100) + "C: d", 431},
		"1001 parameters":           {"GET /public/x?" + strings.Repeat("a&", 1000) + " HTTP/1.1", "", 400},
		"9 KiB of URL":              {"GET /public/" + strings.Repeat("a", 9<<10) + " HTTP/1.1", "", 414},
		"no such route":             {"GET /ADMIN/x HTTP/1.1", "", 404},
		"prefix is no segment":      {"GET /publicx HTTP/1.1", "", 404},
		"lower-case method":         {"get /admin/x HTTP/1.1", "", 401},
		"conflicting lengths":       {"POST /public/x HTTP/1.1", "Host: h\r\nContent-Length: 1\r\nContent-Length: 2", 400},
		"length list":               {"POST /public/x HTTP/1.1", "Host: h\r\nContent-Length: 2, 2", 400},
		"signed length":             {"POST /public/x HTTP/1.1", "Host: h\r\nContent-Length: +2", 400},
		"unknown coding":            {"POST /public/x HTTP/1.1", "Host: h\r\nTransfer-Encoding: gzip, chunked", 501},
		"space before colon":        {"GET /public/x HTTP/1.1", "Host: h\r\nA : b", 400},
		"no Host":                   {"GET /public/x HTTP/1.1", "A: b", 400},
		"two Hosts":                 {"GET /public/x HTTP/1.1", "Host: a\r\nHost: b", 400},
		"NUL in a value":            {"GET /public/x HTTP/1.1", "Host: h\r\nA: b\x00c", 400},
		"unknown expectation":       {"GET /public/x HTTP/1.1", "Host: h\r\nExpect: the-worst", 417},
	} {
		t.Run(name, func(t *testing.T) {
			header := c.header
			if header == "" {
				header = "Host: h"
			}
			res := sendRaw(t, addr, c.line+"\r\n"+header+"\r\n\r\n")
			require.Equal(t, c.status, res.StatusCode)
			require.Empty(t, up.take(), "nothing is forwarded")
			if c.status == 405 {
				require.NotEmpty(t, res.Header.Get("Allow"))
			}
			if c.status == 401 {
				require.NotEmpty(t, res.Header.Get("Www-Authenticate"))
			}
		})
	}
}

// Requests that may enter: the exact spelling and header that reach the upstream.
func TestWhatReachesTheUpstream(t *testing.T) {
	t.Parallel()
	proxied := policy.EntryConfig{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	addr, up := serveRaw(t, policy.EntryConfig{})
	trustingAddr, trustingUp := serveRaw(t, proxied)
	for name, c := range map[string]struct {
		head    string
		trusted bool
		want    []string // lines the upstream gets
		never   []string // beginnings of lines it does not get, in lower case
	}{
		"canonical path": {
			head: "GET /public/./%7ea//b/../c%2a%C3%A9?x=%2f&y=a;b HTTP/1.1\r\nHost: h",
			want: []string{"GET /public/~a/c%2A%C3%A9?x=%2f&y=a;b HTTP/1.1", "Host: " + up.addr},
		},
		"data stays data": {
			head: "GET /public/%252e%252e/%3F%23;v=1 HTTP/1.1\r\nHost: h",
			want: []string{"GET /public/%252e%252e/%3F%23;v=1 HTTP/1.1"},
		},
		"absolute form": {
			head: "GET http://h/public/x HTTP/1.1\r\nHost: other", want: []string{"GET /public/x HTTP/1.1", "X-Forwarded-Host: h"},
		},
		"forged identity": {
			head: "GET /public/x HTTP/1.1\r\nHost: h\r\nX-Consumer-Id: 1\r\nx_consumer_username: root\r\nX.Consumer.Groups: admin\r\nX_Credential_Identifier: z\r\n" +
				"X-Anonymous-Consumer: false\r\nX-Authenticated-Userid: 1",
			never: []string{"x-consumer", "x_consumer", "x.consumer", "x_credential", "x-anonymous", "x-authenticated"},
		},
		"identity cannot be nominated away": {
			head: "GET /admin/x HTTP/1.1\r\nHost: h\r\nApikey: k\r\nConnection: X-Consumer-Id, x-consumer-username, X-Forwarded-For, Via",
			want: []string{"X-Consumer-Id: 7", "X-Consumer-Username: ann", "X-Forwarded-For: 127.0.0.1"},
		},
		"forwarding of an untrusted client": {
			head: "GET /public/x HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1.2.3.4\r\nx-forwarded_proto: https\r\nX-Forwarded-Prefix: /p\r\nX-Forwarded-User: root\r\n" +
				"Forwarded: for=1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\nTrue-Client-IP: 1.2.3.4\r\nX-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\nX-HTTP-Method-Override: DELETE",
			want:  []string{"X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http", "X-Forwarded-Host: h", "X-Real-Ip: 127.0.0.1"},
			never: []string{"forwarded:", "true-client-ip", "x-original-url", "x-rewrite-url", "x-http-method-override", "x-forwarded-prefix", "x-forwarded-user", "x-forwarded_"},
		},
		"forwarding of a trusted proxy": {
			trusted: true,
			head:    "GET /public/x HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 6.6.6.6, 1.2.3.4\r\nX_Forwarded_For: 9.9.9.9\r\nX-Forwarded-Proto: https",
			want:    []string{"X-Forwarded-For: 6.6.6.6, 1.2.3.4, 127.0.0.1", "X-Forwarded-Proto: https", "X-Real-Ip: 1.2.3.4"},
			never:   []string{"x_forwarded"},
		},
		"hop by hop": {
			head: "GET /public/x HTTP/1.1\r\nHost: h\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nProxy-Connection: close\r\n" +
				"Proxy-Authorization: Basic x\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nContent_Length: 9\r\nTransfer.Encoding: chunked\r\nX-End: 2",
			want:  []string{"X-End: 2"},
			never: []string{"connection: close", "x-hop", "keep-alive", "te:", "proxy-connection", "upgrade", "http2-settings", "content_length", "transfer"},
		},
		"a user's own underscore": {
			head: "GET /public/x HTTP/1.1\r\nHost: h\r\napi_key: mine", want: []string{"Api_key: mine"},
		},
		"no invented fields": {
			head: "GET /public/x HTTP/1.1\r\nHost: h", never: []string{"user-agent", "accept-encoding", "content-length", "transfer-encoding", "expect"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			to, from := addr, up
			if c.trusted {
				to, from = trustingAddr, trustingUp
			}
			res := sendRaw(t, to, c.head+"\r\n\r\n")
			require.Equal(t, 200, res.StatusCode)
			heads := from.take()
			require.Len(t, heads, 1)
			lines := strings.Split(heads[0], "\r\n")
			for _, want := range c.want {
				require.Contains(t, lines, want)
			}
			for _, line := range lines {
				for _, never := range c.never {
					require.False(t, strings.HasPrefix(strings.ToLower(line), never), "%q reached the upstream", line)
				}
			}
		})
	}
}

// An HTTP/1.0 message with a transfer coding has no agreed end: whatever follows must not be taken for a request.
func TestHTTP10IsNotKeptAlive(t *testing.T) {
	t.Parallel()
	addr, up := serveRaw(t, policy.EntryConfig{})
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	smuggled := "GET /public/smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
	_, err = fmt.Fprintf(c, "POST /public/x HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled)
	require.NoError(t, err)
	all, err := io.ReadAll(c)
	if err == nil {
		require.Equal(t, 1, strings.Count(string(all), "HTTP/1."), string(all))
	}
	for _, head := range up.take() {
		require.NotContains(t, strings.SplitN(head, "\r\n", 2)[0], "smuggled")
	}
}

// Requests one after the other on one connection stay apart, also around refusals with unread bodies.
func TestKeepAliveAcrossRefusals(t *testing.T) {
	t.Parallel()
	addr, up := serveRaw(t, policy.EntryConfig{})
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	br := bufio.NewReader(c)
	for i := range 20 {
		_, err = fmt.Fprintf(c, "POST /admin/x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n%5dPOST /public/%d HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok", i, i)
		require.NoError(t, err)
		for _, want := range []int{401, 200} {
			res, err := http.ReadResponse(br, &http.Request{Method: http.MethodPost})
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, res.Body)
			require.NoError(t, err)
			require.Equal(t, want, res.StatusCode)
		}
		heads := up.take()
		require.Len(t, heads, 1)
		require.True(t, strings.HasPrefix(heads[0], fmt.Sprintf("POST /public/%d ", i)))
	}
}
