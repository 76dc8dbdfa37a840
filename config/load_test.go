package config_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/config"
	"github.com/gatehouse-go/gateway/gatewaytest"
)

// serve loads a file whose services are answered by one upstream in memory.
func serve(t *testing.T, file string) (*gateway.Gateway, *gatewaytest.Upstream) {
	t.Helper()
	up := gatewaytest.NewUpstream("backend")
	t.Cleanup(func() { _ = up.Close() })
	s, err := config.Load("kong.yml", strings.NewReader(file), config.Options{Dial: up.Dial})
	require.NoError(t, err)
	gw, err := gateway.New(s.Gateway)
	require.NoError(t, err)
	t.Cleanup(func() { _ = gw.Shutdown(t.Context()) })
	return gw, up
}

func ask(gw http.Handler, method, target string, header ...string) *http.Response {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return gatewaytest.Do(gw, r)
}

const basic = `
_format_version: "3.0"
services:
  - name: users
    url: http://users.internal:8080/api
    routes:
      - name: users
        paths: ["/users", "~/people/\\d+$"]
        plugins:
          - name: key-auth
            config: {hide_credentials: true}
          - name: acl
            config: {allow: [staff]}
  - name: open
    host: pool
    routes:
      - name: open
        hosts: ["*.example.com"]
        strip_path: false
        preserve_host: true
        paths: [/open]
upstreams:
  - name: pool
    targets:
      - target: 10.0.0.1:9000
      - {target: 10.0.0.2, weight: 50}
consumers:
  - username: ann
    keyauth_credentials: [{key: ann-key}]
    acls: [{group: staff}]
    plugins:
      - name: rate-limiting
        config: {minute: 2}
  - username: bob
keyauth_credentials:
  - {key: bob-key, consumer: bob}
plugins:
  - name: correlation-id
    config: {echo_downstream: true, header_name: X-Corr}
`

func TestBasic(t *testing.T) {
	t.Parallel()
	gw, up := serve(t, basic)
	res := ask(gw, "GET", "/users/7?x=1", "apikey", "ann-key")
	require.Equal(t, 200, res.StatusCode)
	require.Equal(t, "/api/7?x=1", up.Last().URI)
	require.Equal(t, "users.internal:8080", up.Last().Host)
	require.Equal(t, "ann", up.Last().Header.Get("X-Consumer-Username"))
	require.NotEmpty(t, up.Last().Header.Get("X-Kong-Request-Id"))
	require.NotEmpty(t, res.Header.Get("X-Kong-Upstream-Latency"))
	require.NotEmpty(t, res.Header.Get("X-Corr"))
	require.Equal(t, "1", res.Header.Get("X-Ratelimit-Remaining-Minute"))
	require.Equal(t, 200, ask(gw, "GET", "/users", "apikey", "ann-key").StatusCode)
	require.Equal(t, 429, ask(gw, "GET", "/users", "apikey", "ann-key").StatusCode)
	require.Equal(t, 401, ask(gw, "GET", "/users").StatusCode)
	require.Equal(t, 403, ask(gw, "GET", "/people/7?apikey=bob-key").StatusCode)
	require.Equal(t, 404, ask(gw, "GET", "/people/x").StatusCode)
	res = ask(gw, "GET", "http://a.example.com/open/x")
	require.Equal(t, 200, res.StatusCode)
	require.Equal(t, "/open/x", up.Last().URI)
	require.Equal(t, "a.example.com", up.Last().Host)
	require.NotEmpty(t, ask(gw, "GET", "/nowhere").Header.Get("X-Corr"))
}

func text(t *testing.T, res *http.Response) string {
	t.Helper()
	s, err := gatewaytest.Text(res)
	require.NoError(t, err)
	return s
}

// TestExample: examples/gateway/kong.yml serves as Kong would.
func TestExample(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("../examples/gateway/kong.yml")
	require.NoError(t, err)
	gw, up := serve(t, string(file))
	for name, c := range map[string]struct {
		method, target, key string
		status              int
		body                string // of refusals
		uri, host           string // at the upstream
	}{
		"strip_path":         {"GET", "http://any/users/42?x=1", "ann-key", 200, "", "/api/42?x=1", "127.0.0.1:9001"},
		"nothing left":       {"GET", "http://any/users", "ann-key", 200, "", "/api", "127.0.0.1:9001"},
		"trailing slash":     {"GET", "http://any/users/", "ann-key", 200, "", "/api/", "127.0.0.1:9001"},
		"raw prefix":         {"GET", "http://any/usersx", "ann-key", 200, "", "/api/x", "127.0.0.1:9001"},
		"expression":         {"GET", "http://any/profiles/7", "bob-key", 200, "", "/api/profiles/7", "127.0.0.1:9001"},
		"expression no":      {"GET", "http://any/profiles/x", "bob-key", 404, "no Route matched with those values", "", ""},
		"method no":          {"PATCH", "http://any/users/1", "ann-key", 404, "no Route matched with those values", "", ""},
		"no key":             {"GET", "http://any/users/1", "", 401, "No API key found in request", "", ""},
		"wrong key":          {"GET", "http://any/users/1", "zzz", 401, "Unauthorized", "", ""},
		"acl":                {"GET", "http://reports.example.com/a", "bob-key", 403, "You cannot consume this service", "", ""},
		"acl passes":         {"GET", "http://reports.example.com/a", "ann-key", 200, "", "/v2/a", "reports.example.com"},
		"wildcard, preserve": {"GET", "http://eu.reports.example.com:8443/a/", "ann-key", 200, "", "/v2/a/", "eu.reports.example.com:8443"},
		"open":               {"GET", "http://any/status", "", 200, "", "/", "127.0.0.1:9003"},
		"no route":           {"GET", "http://any/", "", 404, "no Route matched with those values", "", ""},
	} {
		t.Run(name, func(t *testing.T) { // one after the other: they share what the upstream saw
			var header []string
			if c.key != "" {
				header = []string{"apikey", c.key}
			}
			before := len(up.Requests())
			res := ask(gw, c.method, c.target, header...)
			require.Equal(t, c.status, res.StatusCode)
			require.NotEmpty(t, res.Header.Get("X-Kong-Request-Id"))
			if c.uri == "" {
				require.Len(t, up.Requests(), before)
				require.Contains(t, text(t, res), c.body)
				require.NotEmpty(t, res.Header.Get("X-Kong-Response-Latency"))
				require.Empty(t, res.Header.Get("X-Kong-Upstream-Latency"))
				require.Empty(t, res.Header.Get("Via"))
				require.NotEmpty(t, res.Header.Get("Server"))
				return
			}
			require.Equal(t, c.uri, up.Last().URI)
			require.Equal(t, c.host, up.Last().Host)
			require.Equal(t, res.Header.Get("X-Kong-Request-Id"), up.Last().Header.Get("X-Kong-Request-Id"))
			require.NotEmpty(t, up.Last().Header.Get("X-Correlation-Id"))
			require.Equal(t, up.Last().Header.Get("X-Correlation-Id"), res.Header.Get("X-Correlation-Id"))
			require.NotEmpty(t, res.Header.Get("X-Kong-Upstream-Latency"))
			require.NotEmpty(t, res.Header.Get("X-Kong-Proxy-Latency"))
			require.Empty(t, res.Header.Get("X-Kong-Response-Latency"))
			require.Contains(t, res.Header.Get("Via"), "1.1 ")
			require.Contains(t, up.Last().Header.Get("Via"), "1.1 ")
		})
	}
	res := ask(gw, "GET", "/users/1")
	require.Equal(t, "Key", res.Header.Get("Www-Authenticate"))
	res = ask(gw, "GET", "/users/1", "X-API-Key", "bob-key")
	require.Equal(t, 200, res.StatusCode)
	require.Empty(t, up.Last().Header.Get("X-Api-Key"), "hide_credentials")
	require.Equal(t, "60", res.Header.Get("X-Ratelimit-Limit-Minute"))
	require.Equal(t, "59", res.Header.Get("X-Ratelimit-Remaining-Minute"))
	require.Equal(t, "60", res.Header.Get("Ratelimit-Limit"))
	require.NotEmpty(t, res.Header.Get("Ratelimit-Reset"))
	require.Equal(t, "bob", up.Last().Header.Get("X-Consumer-Username"))
	res = ask(gw, "GET", "/users/1", "apikey", "ann-key")
	require.Equal(t, "600", res.Header.Get("X-Ratelimit-Limit-Minute"), "service and consumer come before route")
}

// TestRoutes: one service, and what its routes say about paths, hosts and protocols.
func TestRoutes(t *testing.T) {
	t.Parallel()
	gw, up := serve(t, `
_format_version: "3.0"
services:
- name: s
  url: http://s.internal/base/
  routes:
  - {name: secure, paths: [/secure], protocols: [https]}
  - {name: moved, paths: [/moved], protocols: [https], https_redirect_status_code: 301}
  - {name: kept, paths: [/kept], strip_path: false}
  - {name: hosts, hosts: [exact.test, "*.left.test", "right.*", "ported.test:8080"], strip_path: true}
  - {name: header, paths: [/h], headers: {X-Version: [v1, "~*^v[2-3]$"]}}
  - {name: first, paths: ["~/re/(a|ab)"], regex_priority: 1}
  - {name: second, paths: ["~/re/abc"], regex_priority: 2, strip_path: false}
- name: root
  url: http://root.internal
  routes: [{name: root, paths: [/r], preserve_host: true}]
- name: hosted
  host: pool
  routes: [{name: hosted, paths: [/hosted]}]
- name: off
  enabled: false
  url: http://off.internal
  routes: [{name: off, paths: [/off]}]
upstreams:
- name: pool
  host_header: named.test
  targets: [{target: "t.internal:81"}]
routes:
- {name: lonely, paths: [/lonely]}
`)
	for name, c := range map[string]struct {
		method, target string
		header         []string
		status         int
		uri, host      string
	}{
		"426":            {"GET", "http://x/secure", nil, 426, "", ""},
		"301":            {"GET", "http://x/moved/a?b=c", nil, 301, "", ""},
		"kept":           {"GET", "http://x/kept/a", nil, 200, "/base/kept/a", "s.internal"},
		"exact host":     {"GET", "http://exact.test/a", nil, 200, "/base/a", "s.internal"},
		"host, any port": {"GET", "http://exact.test:99/a", nil, 200, "/base/a", "s.internal"},
		"left":           {"GET", "http://a.b.left.test/", nil, 200, "/base/", "s.internal"},
		"left itself":    {"GET", "http://left.test/", nil, 404, "", ""},
		"right":          {"GET", "http://right.org/", nil, 200, "/base/", "s.internal"},
		"port":           {"GET", "http://ported.test:8080/", nil, 200, "/base/", "s.internal"},
		"other port":     {"GET", "http://ported.test:8081/", nil, 404, "", ""},
		"header":         {"GET", "http://x/h/1", []string{"X-Version", "V1"}, 200, "/base/1", "s.internal"},
		"header expr":    {"GET", "http://x/h/1", []string{"X-Version", "v3"}, 200, "/base/1", "s.internal"},
		"header no":      {"GET", "http://x/h/1", []string{"X-Version", "v4"}, 404, "", ""},
		"priority":       {"GET", "http://x/re/abc", nil, 200, "/base/re/abc", "s.internal"},
		"stripped expr":  {"GET", "http://x/re/ax", nil, 200, "/base/x", "s.internal"},
		"preserved":      {"GET", "http://x:1234/r/y", nil, 200, "/y", "x:1234"},
		"host_header":    {"GET", "http://x/hosted/y", nil, 200, "/y", "named.test"},
		"disabled":       {"GET", "http://x/off", nil, 404, "", ""},
		"no service":     {"GET", "http://x/lonely", nil, 503, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(up.Requests())
			res := ask(gw, c.method, c.target, c.header...)
			require.Equal(t, c.status, res.StatusCode)
			if c.uri == "" {
				require.Len(t, up.Requests(), before)
				return
			}
			require.Equal(t, c.uri, up.Last().URI)
			require.Equal(t, c.host, up.Last().Host)
		})
	}
	res := ask(gw, "GET", "http://x/secure")
	require.Equal(t, "TLS/1.2, HTTP/1.1", res.Header.Get("Upgrade"))
	require.Equal(t, "Upgrade", res.Header.Get("Connection"))
	require.Contains(t, text(t, res), "Please use HTTPS protocol")
	require.Equal(t, "https://x/moved/a?b=c", ask(gw, "GET", "http://x/moved/a?b=c").Header.Get("Location"))
	require.Equal(t, "https://[2001:db8::1]/moved/a", ask(gw, "GET", "http://[2001:db8::1]:8000/moved/a").Header.Get("Location"))
	require.Contains(t, text(t, ask(gw, "GET", "http://x/lonely")), "no Service found with those values")
}

// TestHeaders: each of Kong's fields may be left out.
func TestHeaders(t *testing.T) {
	t.Parallel()
	up := gatewaytest.NewUpstream("backend")
	t.Cleanup(func() { _ = up.Close() })
	s, err := config.Load("kong.yml", strings.NewReader(basic), config.Options{Dial: up.Dial, Headers: config.Headers{
		HideLatency: true, HideRequestID: true, HideUpstreamRequestID: true, HideServer: true, UpstreamStatus: true,
	}})
	require.NoError(t, err)
	gw, err := gateway.New(s.Gateway)
	require.NoError(t, err)
	t.Cleanup(func() { _ = gw.Shutdown(t.Context()) })
	proxied, refused := ask(gw, "GET", "http://a.example.com/open"), ask(gw, "GET", "/none")
	require.Equal(t, "200", proxied.Header.Get("X-Kong-Upstream-Status"))
	require.Empty(t, refused.Header.Get("X-Kong-Upstream-Status"))
	require.Empty(t, up.Last().Header.Get("X-Kong-Request-Id"))
	for _, res := range []*http.Response{proxied, refused} {
		for _, name := range []string{"X-Kong-Request-Id", "X-Kong-Upstream-Latency", "X-Kong-Proxy-Latency", "X-Kong-Response-Latency", "Server"} {
			require.Empty(t, res.Header.Get(name), name)
		}
	}
}

// TestRequestBuffering: the body arrives whole, whether or not it is larger than what is buffered.
func TestRequestBuffering(t *testing.T) {
	t.Parallel()
	gw, up := serve(t, basic)
	for _, size := range []int{0, 1, 64 << 10, 64<<10 + 1, 300 << 10} {
		r := httptest.NewRequest("POST", "http://a.example.com/open", strings.NewReader(strings.Repeat("x", size)))
		require.Equal(t, 200, gatewaytest.Do(gw, r).StatusCode)
		require.Len(t, up.Last().Body, size)
	}
}

// TestResponseBuffering: without it the first part of an answer is there before the second has been sent.
func TestResponseBuffering(t *testing.T) {
	t.Parallel()
	read := make(chan struct{})
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "first")
		_ = http.NewResponseController(w).Flush()
		if r.URL.Path == "/no" {
			<-read
		}
		_, _ = io.WriteString(w, "later")
	}))
	t.Cleanup(service.Close)
	s, err := config.Load("kong.yml", strings.NewReader(`
_format_version: "3.0"
services:
- name: s
  url: `+service.URL+`
  routes:
  - {name: "no", paths: [/no], strip_path: false, response_buffering: false}
  - {name: "yes", paths: [/yes], strip_path: false}
`), config.Options{})
	require.NoError(t, err)
	require.EqualValues(t, -1, s.Gateway.Routes[0].Forward.FlushInterval)
	require.Zero(t, s.Gateway.Routes[1].Forward.FlushInterval)
	gw, err := gateway.New(s.Gateway)
	require.NoError(t, err)
	t.Cleanup(func() { _ = gw.Shutdown(t.Context()) })
	server := httptest.NewServer(gw)
	t.Cleanup(server.Close)
	for _, path := range []string{"/no", "/yes"} {
		res, err := server.Client().Get(server.URL + path)
		require.NoError(t, err)
		first := make([]byte, 5)
		_, err = io.ReadFull(res.Body, first)
		require.NoError(t, err)
		require.Equal(t, "first", string(first))
		if path == "/no" {
			close(read)
		}
		rest, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Equal(t, "later", string(rest))
		require.NoError(t, res.Body.Close())
	}
}

// TestSharedUpstream: services of one upstream take turns in one pool, and each has its own path.
func TestSharedUpstream(t *testing.T) {
	t.Parallel()
	up := gatewaytest.NewUpstream("backend")
	t.Cleanup(func() { _ = up.Close() })
	var dialled []string
	s, err := config.Load("kong.yml", strings.NewReader(`
_format_version: "3.0"
services:
- {name: s, host: pool, path: /one, routes: [{name: a, paths: [/a]}]}
- {name: t, host: pool, path: /two, routes: [{name: b, paths: [/b]}]}
upstreams: [{name: pool, targets: [{target: "x:1"}, {target: "y:2"}]}]
`), config.Options{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		dialled = append(dialled, addr)
		return up.Dial(ctx, network, addr)
	}})
	require.NoError(t, err)
	gw, err := gateway.New(s.Gateway)
	require.NoError(t, err)
	t.Cleanup(func() { _ = gw.Shutdown(t.Context()) })
	for _, tt := range [][2]string{{"/a", "/one"}, {"/b", "/two"}} {
		require.Equal(t, 200, ask(gw, "GET", tt[0]).StatusCode)
		require.Equal(t, tt[1], up.Last().URI)
	}
	require.ElementsMatch(t, []string{"x:1", "y:2"}, dialled)
}

// TestVault: references are resolved, whatever the type of the field, and never shown.
func TestVault(t *testing.T) {
	t.Parallel()
	file := func(minute string) string {
		return `
_format_version: "3.0"
services: [{name: s, url: "{vault://env/backend-url}", routes: [{name: r, paths: [/]}]}]
consumers: [{username: ann, keyauth_credentials: [{key: "{vault://env/ann-key}"}]}]
plugins:
- {name: key-auth, config: {hide_credentials: "{vault://env/hide}"}}
- {name: rate-limiting, config: {minute: "` + minute + `"}}
`
	}
	env := map[string]string{"BACKEND_URL": "http://s.internal/x", "ANN_KEY": "s3cret", "HIDE": "true", "LIMIT": "7", "BAD": "s3cret-limit"}
	up := gatewaytest.NewUpstream("backend")
	t.Cleanup(func() { _ = up.Close() })
	o := config.Options{Dial: up.Dial, Getenv: func(name string) (string, bool) { v, ok := env[name]; return v, ok }}
	s, err := config.Load("kong.yml", strings.NewReader(file("{vault://env/limit}")), o)
	require.NoError(t, err)
	gw, err := gateway.New(s.Gateway)
	require.NoError(t, err)
	t.Cleanup(func() { _ = gw.Shutdown(t.Context()) })
	res := ask(gw, "GET", "/y", "apikey", "s3cret")
	require.Equal(t, 200, res.StatusCode)
	require.Equal(t, "7", res.Header.Get("X-Ratelimit-Limit-Minute"))
	require.Equal(t, "/x/y", up.Last().URI)
	require.Empty(t, up.Last().Header.Get("Apikey"))
	_, err = config.Load("kong.yml", strings.NewReader(file("{vault://env/bad}")), o)
	require.ErrorContains(t, err, "plugins[1].config.minute: expected an integer")
	require.NotContains(t, err.Error(), "s3cret")
	for _, bad := range []string{"{vault://env/none}", "{vault://aws/x}", "{vault://env/}", "{vault://env/a/b}", "{vault://env/a"} {
		_, err = config.Load("kong.yml", strings.NewReader(file(bad)), o)
		require.ErrorContains(t, err, "plugins[1].config.minute: ", bad)
	}
}

// TestExplainHTTPSOnly: an explanation knows of what the loader adds.
func TestExplainHTTPSOnly(t *testing.T) {
	t.Parallel()
	gw, _ := serve(t, `_format_version: "3.0"
services: [{name: s, host: x, routes: [{name: r, paths: [/], protocols: [https]}]}]
`)
	r := httptest.NewRequest("GET", "http://x/", nil)
	require.Equal(t, "https-only: refused https_required 426", gw.Explain(r).Outcome)
	require.Equal(t, 426, gatewaytest.Do(gw, r).StatusCode)
	require.Contains(t, gw.Explain(httptest.NewRequest("GET", "https://x/", nil)).Outcome, "handled by")
}

// TestEscapes: JSON has escapes that YAML has not.
func TestEscapes(t *testing.T) {
	t.Parallel()
	gw, up := serve(t, `{"_format_version": "3.0", "_comment": "\\ud83e\\/",
"services": [{"name": "s", "url": "http:\/\/s.internal", "routes": [{"name": "r", "paths": ["\/"], "plugins": [{"name": "key-auth"}]}]}],
"consumers": [{"username": "\ud83e\uDD8D", "custom_id": "a\u00e9\\ud83e\\udd8d", "keyauth_credentials": [{"key": "k\/x"}]}]}`)
	require.Equal(t, 200, ask(gw, "GET", "/?apikey=k/x").StatusCode)
	require.Equal(t, "\U0001F98D", up.Last().Header.Get("X-Consumer-Username"))
	require.Equal(t, `aé\ud83e\udd8d`, up.Last().Header.Get("X-Consumer-Custom-Id"))

	_, err := config.Load("kong.yml", strings.NewReader(`{"_format_version": "3.0", "consumers": [{"username": "\ud83e"}]}`), config.Options{})
	require.ErrorContains(t, err, "escape")
}
