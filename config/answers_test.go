package config_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/config"
	"github.com/gatehouse-go/gateway/policy"
)

// get asks a real server, without following redirects, and returns the answer with its body.
func get(t *testing.T, server *httptest.Server, host, target string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+target, nil)
	require.NoError(t, err)
	r.Host = host
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	res, err := server.Client().Transport.RoundTrip(r)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res, string(body)
}

// TestForwardedPort: it is the listener's, whatever else a route says about forwarding.
func TestForwardedPort(t *testing.T) {
	t.Parallel()
	gw, up := serve(t, `
_format_version: "3.0"
services:
- name: s
  url: http://s.internal
  routes:
  - {name: plain, hosts: [plain.test]}
  - {name: preserve, hosts: [preserve.test], preserve_host: true}
  - {name: strip, hosts: [strip.test], paths: [/strip]}
`)
	server := httptest.NewServer(gw)
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)
	for _, host := range []string{"plain.test", "preserve.test", "strip.test"} {
		res, _ := get(t, server, host+":99", "/strip")
		require.Equal(t, 200, res.StatusCode)
		require.Equal(t, port, up.Last().Header.Get("X-Forwarded-Port"), host)
		require.Equal(t, host, up.Last().Header.Get("X-Forwarded-Host"))
	}
}

// TestWordedAnswers: refusals are in the media type that Accept prefers, as Kong has it.
func TestWordedAnswers(t *testing.T) {
	t.Parallel()
	gw, _ := serve(t, `
_format_version: "3.0"
services:
- name: s
  url: http://s.internal
  routes:
  - {name: keyed, hosts: [keyed.test], plugins: [{name: key-auth, config: {realm: r}}]}
  - {name: limited, hosts: [limited.test], plugins: [{name: rate-limiting, config: {minute: 1, limit_by: service, error_message: "<b>&slow"}}]}
`)
	server := httptest.NewServer(gw)
	t.Cleanup(server.Close)
	const html, xml, plain, asJSON, problem = "text/html; charset=utf-8", "application/xml; charset=utf-8", "text/plain; charset=utf-8",
		"application/json; charset=utf-8", "application/problem+json"
	for accept, want := range map[string]string{
		"text/html": html, "application/xml": xml, "text/plain": plain, "text/*": plain, "TEXT/HTML": html,
		"application/json": asJSON, "*/*": asJSON, "application/*": asJSON, "image/png": asJSON, "": asJSON, "text/html;q=0": asJSON, "text/html;q=x": asJSON,
		"application/json;q=0.9,text/html,text/plain;q=0.9":               html,
		"text/plain;q=0.7,application/json;q=0.8,text/html;q=0.5":         asJSON,
		"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": html,
		"application/problem+json, text/html":                             problem,
	} {
		res, body := get(t, server, "none.test", "/", "Accept", accept)
		require.Equal(t, 404, res.StatusCode)
		require.Equal(t, want, res.Header.Get("Content-Type"), accept)
		require.Contains(t, body, "no Route matched with those values")
		require.Contains(t, body, res.Header.Get("X-Kong-Request-Id"))
		require.Equal(t, "no-store", res.Header.Get("Cache-Control"))
	}

	res, body := get(t, server, "keyed.test", "/", "Accept", "text/plain")
	require.Equal(t, 401, res.StatusCode)
	require.Equal(t, `Key realm="r"`, res.Header.Get("WWW-Authenticate"))
	require.Equal(t, "No API key found in request\nrequest_id: "+res.Header.Get("X-Kong-Request-Id")+"\n", body)
	res, body = get(t, server, "keyed.test", "/", "Accept", "application/xml")
	require.Equal(t, 401, res.StatusCode)
	require.Contains(t, body, "<message>No API key found in request</message>")
	require.Contains(t, body, "<requestid>"+res.Header.Get("X-Kong-Request-Id")+"</requestid>")

	_, _ = get(t, server, "limited.test", "/")
	for accept, want := range map[string]string{"text/html": "<p>&lt;b&gt;&amp;slow</p>", "application/xml": "<message>&lt;b&gt;&amp;slow</message>", "text/plain": "<b>&slow\n"} {
		res, body = get(t, server, "limited.test", "/", "Accept", accept)
		require.Equal(t, 429, res.StatusCode)
		require.Contains(t, body, want)
	}
	r := httptest.NewRequest(http.MethodHead, "http://none.test/", nil)
	r.Header.Set("Accept", "text/html")
	w := httptest.NewRecorder()
	gw.ServeHTTP(w, r)
	require.Equal(t, 404, w.Code)
	require.Empty(t, w.Body.String())
	r = httptest.NewRequest(http.MethodPost, "http://none.test/", strings.NewReader(""))
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Content-Type", "application/grpc")
	w = httptest.NewRecorder()
	gw.ServeHTTP(w, r)
	require.Equal(t, 200, w.Code)
	require.Equal(t, "5", w.Header().Get("Grpc-Status"))
}

// TestOwnErrorHandler: one that is given is not replaced.
func TestOwnErrorHandler(t *testing.T) {
	t.Parallel()
	s, err := config.Load("kong.yml", strings.NewReader("_format_version: \"3.0\"\n"), config.Options{Entry: policy.EntryConfig{
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusTeapot) },
	}})
	require.NoError(t, err)
	gw, err := gateway.New(s.Gateway)
	require.NoError(t, err)
	t.Cleanup(func() { _ = gw.Shutdown(t.Context()) })
	require.Equal(t, 418, ask(gw, "GET", "/").StatusCode)
}

// TestLatencies: which fields an answer has, and whose Server, where a service was asked and where not.
func TestLatencies(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			<-stop
		case "/close":
			panic(http.ErrAbortHandler)
		case "/named":
			w.Header().Set("Server", "theirs")
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(service.Close)
	t.Cleanup(func() { close(stop) }) // before the server waits for its requests
	s, err := config.Load("kong.yml", strings.NewReader(`
_format_version: "3.0"
services:
- {name: s, url: "`+service.URL+`", read_timeout: 50, routes: [{name: s, hosts: [s.test]}]}
- {name: down, url: "http://127.0.0.1:1", routes: [{name: down, hosts: [down.test]}]}
- {name: nowhere, url: "http://nowhere.invalid", routes: [{name: nowhere, hosts: [nowhere.test]}]}
- {name: none, host: none, routes: [{name: none, hosts: [none.test]}]}
upstreams: [{name: none}]
`), config.Options{Headers: config.Headers{UpstreamStatus: true}, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasPrefix(address, "nowhere.") {
			return nil, &net.DNSError{Err: "no such host", Name: "nowhere.invalid", IsNotFound: true}
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}})
	require.NoError(t, err)
	gw, err := gateway.New(s.Gateway)
	require.NoError(t, err)
	t.Cleanup(func() { _ = gw.Shutdown(t.Context()) })
	tests := []struct {
		host, path      string
		status          int
		proxied         bool
		server, message string
	}{
		{"s.test", "/", 503, true, "gatehouse", ""},
		{"s.test", "/named", 503, true, "theirs", ""},
		{"s.test", "/slow", 504, true, "gatehouse", "The upstream server is timing out"},
		{"s.test", "/close", 502, true, "gatehouse", "An invalid response was received from the upstream server"},
		{"down.test", "/", 502, true, "gatehouse", "An invalid response was received from the upstream server"},
		{"nowhere.test", "/", 503, false, "gatehouse", "name resolution failed"},
		{"none.test", "/", 503, false, "gatehouse", "failure to get a peer from the ring-balancer"},
		{"unknown.test", "/", 404, false, "gatehouse", "no Route matched with those values"},
	}
	for _, tt := range tests {
		res := ask(gw, "GET", "http://"+tt.host+tt.path)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Equal(t, tt.status, res.StatusCode, tt.host+tt.path)
		require.Contains(t, string(body), tt.message)
		require.Equal(t, tt.server, res.Header.Get("Server"), tt.host+tt.path)
		for _, name := range []string{"X-Kong-Upstream-Latency", "X-Kong-Proxy-Latency", "X-Kong-Upstream-Status"} {
			require.Equal(t, tt.proxied, res.Header.Get(name) != "", "%s%s: %s", tt.host, tt.path, name)
		}
		require.Equal(t, !tt.proxied, res.Header.Get("X-Kong-Response-Latency") != "", tt.host+tt.path)
		require.NotContains(t, res.Header, "Proxy-Status", "Kong sends none")
	}
}

// TestHiddenLimits: hide_client_headers leaves nothing that tells of a limit.
func TestHiddenLimits(t *testing.T) {
	t.Parallel()
	gw, _ := serve(t, `
_format_version: "3.0"
services:
- name: s
  url: http://s.internal
  routes:
  - {name: hidden, paths: [/hidden], plugins: [{name: rate-limiting, config: {year: 1, hide_client_headers: true}}]}
  - {name: shown, paths: [/shown], plugins: [{name: rate-limiting, config: {year: 1}}]}
`)
	for path, want := range map[string]bool{"/hidden": false, "/shown": true} {
		require.Equal(t, 200, ask(gw, "GET", path).StatusCode)
		res := ask(gw, "GET", path)
		require.Equal(t, 429, res.StatusCode)
		for _, name := range []string{"Retry-After", "RateLimit-Limit", "RateLimit-Reset", "X-RateLimit-Limit-Year", "X-RateLimit-Remaining-Year"} {
			require.Equal(t, want, res.Header.Get(name) != "", "%s: %s", path, name)
		}
	}
}
