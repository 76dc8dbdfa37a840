package config_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/config"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
)

// What Kong sends where it differs from the defaults of the library.
func TestKongsAnswers(t *testing.T) {
	t.Parallel()
	up := gatewaytest.NewUpstream("backend")
	t.Cleanup(func() { _ = up.Close() })
	s, err := config.Load("kong.yml", strings.NewReader(`
_format_version: "3.0"
services:
- name: s
  url: http://s.internal
  routes:
  - {name: plain, paths: [/plain], preserve_host: true}
  - {name: keyed, paths: [/keyed], plugins: [{name: key-auth, config: {run_on_preflight: false}}]}
  - {name: t503, paths: [/503], plugins: [{name: request-termination}]}
  - {name: t401, paths: [/401], plugins: [{name: request-termination, config: {status_code: 401}}]}
  - {name: t404, paths: [/404], plugins: [{name: request-termination, config: {status_code: 404}}]}
  - {name: t406, paths: [/406], plugins: [{name: request-termination, config: {status_code: 406, message: Invalid}}]}
`), config.Options{Dial: up.Dial, Entry: policy.EntryConfig{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}}})
	require.NoError(t, err)
	gw, err := gateway.New(s.Gateway)
	require.NoError(t, err)
	t.Cleanup(func() { _ = gw.Shutdown(t.Context()) })

	for path, want := range map[string]string{
		"/401": `{"message":"Unauthorized"}`, "/503": `{"message":"Service unavailable"}`, "/404": `{"message":"Not found"}`, "/406": `{"message":"Invalid"}`,
	} {
		res := ask(gw, "GET", path)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Equal(t, path, "/"+strconv.Itoa(res.StatusCode))
		require.Equal(t, want, string(body))
		require.Equal(t, "application/json; charset=utf-8", res.Header.Get("Content-Type"))
	}
	require.Equal(t, 401, ask(gw, "GET", "/keyed").StatusCode)
	require.Equal(t, 200, ask(gw, "OPTIONS", "/keyed").StatusCode)

	tests := []struct {
		name   string
		remote string
		header []string
		want   map[string]string
	}{
		{"untrusted", "192.0.2.9:1", []string{"X-Forwarded-Prefix", "/front"}, map[string]string{
			"X-Forwarded-Host": "foo.test", "X-Forwarded-Port": "8443", "X-Forwarded-Prefix": "/plain",
		}},
		{"trusted", "192.0.2.1:1", []string{"X-Forwarded-Prefix", "/front", "X-Forwarded-Port", "444"}, map[string]string{
			"X-Forwarded-Host": "foo.test", "X-Forwarded-Port": "444", "X-Forwarded-Prefix": "/front",
		}},
	}
	for _, tt := range tests {
		r := httptest.NewRequest(http.MethodGet, "http://Foo.TEST:9000/plain/x", nil)
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 8443}))
		r.RemoteAddr = tt.remote
		for i := 0; i < len(tt.header); i += 2 {
			r.Header.Set(tt.header[i], tt.header[i+1])
		}
		require.Equal(t, 200, gatewaytest.Do(gw, r).StatusCode)
		got := up.Last()
		require.Equal(t, "Foo.TEST:9000", got.Host, tt.name)
		for name, value := range tt.want {
			require.Equal(t, value, got.Header.Get(name), "%s: %s", tt.name, name)
		}
	}
}

// TestKongsKeys: where key-auth finds a key, and which one counts.
func TestKongsKeys(t *testing.T) {
	t.Parallel()
	gw, up := serve(t, `
_format_version: "3.0"
services:
- name: s
  url: http://s.internal
  routes:
  - {name: a, paths: [/a], plugins: [{name: key-auth}]}
  - {name: b, paths: [/b], plugins: [{name: key-auth, config: {key_in_body: true, hide_credentials: true, key_names: [other, apikey]}}]}
  - {name: c, paths: [/c], plugins: [{name: key-auth, config: {key_names: [api_key]}}]}
consumers: [{username: ann, keyauth_credentials: [{key: good}]}]
`)
	const form, text = "application/x-www-form-urlencoded", "text/plain"
	tests := []struct {
		about, target, header, kind, body string
		want                              string // "" for an answer of the service
	}{
		{"header", "/a", "apikey: good", "", "", ""},
		{"query", "/a?apikey=good", "", "", "", ""},
		{"header before query", "/a?apikey=bad", "apikey: good", "", "", ""},
		{"the same in both", "/a?apikey=good", "apikey: good", "", "", ""},
		{"a wrong one first", "/a?apikey=good", "apikey: bad", "", "", "Unauthorized"},
		{"an empty one first", "/a?apikey=good", "apikey: ", "", "", "No API key found in request"},
		{"two of one name", "/a?apikey=good&apikey=good", "", "", "", "Duplicate API key found"},
		{"brackets", "/b", "", form, "apikey[]=good&apikey[1]=good", "No API key found in request"},
		{"form", "/b", "", form, "apikey=good", ""},
		{"two in a form", "/b", "", form, "apikey=good&apikey=good", "Duplicate API key found"},
		{"JSON", "/b", "", "application/json", `{"apikey":"good","foo":"bar"}`, ""},
		{"a list", "/b", "", "application/json", `{"apikey":["good","good"]}`, "Duplicate API key found"},
		{"query before form", "/b?apikey=good", "", form, "apikey=bad", ""},
		{"the first name before the second", "/b?apikey=bad", "", form, "other=good", ""},
		{"no body with fields", "/b", "", text, "apikey=good", "No API key found in request"},
		{"underscore", "/c", "api_key: good", "", "", ""},
		{"hyphen for underscore", "/c", "api-key: good", "", "", ""},
		{"wrong with hyphen", "/c", "api-key: bad", "", "", "Unauthorized"},
	}
	for _, tt := range tests {
		r := httptest.NewRequest(http.MethodGet, tt.target, strings.NewReader(tt.body))
		if name, value, ok := strings.Cut(tt.header, ": "); ok {
			r.Header.Set(name, value)
		}
		if tt.kind != "" {
			r.Header.Set("Content-Type", tt.kind)
		}
		res := gatewaytest.Do(gw, r)
		if tt.want == "" {
			require.Equal(t, 200, res.StatusCode, tt.about)
			if strings.HasPrefix(tt.target, "/b") {
				require.NotContains(t, up.Last().URI+string(up.Last().Body), "apikey", tt.about)
			}
			continue
		}
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		var got struct{ Message string }
		require.NoError(t, json.Unmarshal(body, &got))
		require.Equal(t, 401, res.StatusCode, tt.about)
		require.Equal(t, tt.want, got.Message, tt.about)
		require.Equal(t, "Key", res.Header.Get("WWW-Authenticate"), tt.about)
	}
}

// TestKongsGroups: hide_groups_header keeps them from services, and from nobody else.
func TestKongsGroups(t *testing.T) {
	t.Parallel()
	gw, up := serve(t, `
_format_version: "3.0"
services:
- name: s
  url: http://s.internal
  routes:
  - {name: shown, paths: [/shown], plugins: [{name: acl, config: {allow: [admin]}}]}
  - {name: hidden, paths: [/hidden], plugins: [{name: acl, config: {allow: [admin], hide_groups_header: true, always_use_authenticated_groups: true}}]}
consumers: [{username: ann, keyauth_credentials: [{key: k}], acls: [{group: admin}, {group: staff}]}]
plugins: [{name: key-auth}]
`)
	for path, want := range map[string]string{"/shown": "admin, staff", "/hidden": ""} {
		require.Equal(t, 200, ask(gw, "GET", path, "apikey", "k", "X-Consumer-Groups", "forged").StatusCode)
		require.Equal(t, want, up.Last().Header.Get("X-Consumer-Groups"), path)
		require.Equal(t, "ann", up.Last().Header.Get("X-Consumer-Username"))
	}
}

// TestCorrelationID: what the generators make, and what is kept of the client's.
func TestCorrelationID(t *testing.T) {
	t.Parallel()
	gw, up := serve(t, `
_format_version: "3.0"
services:
- name: s
  url: http://s.internal
  routes:
  - {name: counter, paths: [/counter], plugins: [{name: correlation-id}]}
  - {name: uuid, paths: [/uuid], plugins: [{name: correlation-id, config: {generator: uuid, header_name: Foo-Bar-ID, echo_downstream: true}}]}
  - {name: tracker, paths: [/tracker], plugins: [{name: correlation-id, config: {generator: tracker}}]}
  - {name: stop, paths: [/stop], plugins: [{name: correlation-id, config: {generator: uuid, echo_downstream: true}}, {name: request-termination, config: {status_code: 418}}]}
`)
	const uuid = `^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`
	sent := func(path, name string, header ...string) (string, *http.Response) {
		res := ask(gw, "GET", path, header...)
		return up.Last().Header.Get(name), res
	}
	first, res := sent("/counter", "Kong-Request-Id")
	second, _ := sent("/counter", "Kong-Request-Id")
	require.Regexp(t, uuid+"#1$", first)
	require.Equal(t, strings.TrimSuffix(first, "1")+"2", second)
	require.Empty(t, res.Header.Get("Kong-Request-Id"))

	first, res = sent("/uuid", "Foo-Bar-Id")
	second, _ = sent("/uuid", "Foo-Bar-Id")
	require.Regexp(t, uuid+"$", first)
	require.NotEqual(t, first, second)
	require.Equal(t, first, res.Header.Get("Foo-Bar-Id"))

	first, _ = sent("/tracker", "Kong-Request-Id")
	second, _ = sent("/tracker", "Kong-Request-Id")
	require.Regexp(t, `^\d+\.\d+\.\d+\.\d+-\d+-\d+-\d+-\d+-\d{10}\.\d{3}$`, first)
	require.NotEqual(t, first, second)

	kept, _ := sent("/counter", "Kong-Request-Id", "Kong-Request-ID", "my very personal id")
	require.Equal(t, "my very personal id", kept)
	for _, empty := range []string{"", " "} {
		kept, _ = sent("/counter", "Kong-Request-Id", "Kong-Request-ID", empty)
		require.Regexp(t, uuid, kept)
	}
	kept, _ = sent("/counter", "Kong-Request-Id", "Kong-Request-ID", "mine", "Kong_Request_ID", "other")
	require.Equal(t, "mine", kept)
	require.Empty(t, up.Last().Header["Kong_request_id"])
	kept, _ = sent("/counter", "Kong-Request-Id", "Kong-Request-ID", "mine", "Connection", "Kong-Request-ID") // theirs was for us alone
	require.Regexp(t, uuid, kept)

	res = ask(gw, "GET", "/stop", "Kong-Request-ID", "my very personal id")
	require.Equal(t, 418, res.StatusCode)
	require.Equal(t, "my very personal id", res.Header.Get("Kong-Request-Id"))
	require.NotEqual(t, "my very personal id", res.Header.Get("X-Kong-Request-Id"))

	_, err := config.Load("kong.yml", strings.NewReader(`
_format_version: "3.0"
plugins: [{name: correlation-id, config: {header_name: Content-Length}}]
`), config.Options{})
	require.ErrorContains(t, err, `plugins[0].config.header_name: "Content-Length" is a header field of the message itself`)
}

// TestEcho: what request-termination shows of a request over a real connection, in Kong's shape.
func TestEcho(t *testing.T) {
	t.Parallel()
	gw, up := serve(t, `
_format_version: "3.0"
services: [{name: s, id: 00000000-0000-4000-8000-000000000001, url: "http://s.internal/secret"}]
routes:
- {name: all, service: s, hosts: [all.test], paths: ["~/(?<parameter>[^#?/]+)/200"], plugins: [{name: request-termination, config: {echo: true, status_code: 404}}]}
- {name: some, service: s, hosts: [some.test], plugins: [{name: request-termination, config: {echo: true, trigger: gimme-an-echo, message: seen, status_code: 200}}]}
`)
	server := httptest.NewServer(gw)
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	echo := func(host, target, body string, header ...string) (int, map[string]any) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, server.URL+target, strings.NewReader(body))
		require.NoError(t, err)
		r.Host = host
		r.Header.Set("User-Agent", "test")
		r.Header.Set("Accept-Encoding", "identity")
		for i := 0; i < len(header); i += 2 {
			r.Header.Add(header[i], header[i+1])
		}
		res, err := server.Client().Do(r)
		require.NoError(t, err)
		defer func() { _ = res.Body.Close() }()
		data, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NotContains(t, string(data), "s3cret")
		require.NotContains(t, string(data), "s.internal")
		out := map[string]any{}
		require.NoError(t, json.Unmarshal(data, &out))
		return res.StatusCode, out
	}

	status, got := echo("all.test", "/status/200?hello=there&a=1&a=2", "cool body", "Cookie", "a=s3cret", "Authorization", "s3cret", "X-A", "1", "X-A", "2")
	require.Equal(t, 404, status)
	require.Equal(t, "Not found", got["message"])
	require.Equal(t, map[string]any{
		"scheme": "http", "host": "all.test", "port": float64(number), "method": "PUT", "path": "/status/200", "raw_body": "cool body", "body": nil,
		"query": map[string]any{"hello": "there", "a": []any{"1", "2"}},
		"headers": map[string]any{
			"host": "all.test", "content-length": "9", "user-agent": "test", "accept-encoding": "identity", "cookie": "REDACTED", "authorization": "REDACTED",
			"x-a": []any{"1", "2"},
		},
		"uri_captures": map[string]any{"named": map[string]any{"parameter": "status"}, "unnamed": []any{"status"}},
	}, got["request"])
	route, ok := got["matched_route"].(map[string]any)
	require.True(t, ok)
	require.Equal(t, []any{"all.test"}, route["hosts"])
	require.Equal(t, map[string]any{"id": "00000000-0000-4000-8000-000000000001", "name": "s"}, got["matched_service"])
	require.Empty(t, up.Requests())

	status, got = echo("some.test", "/?gimme-an-echo=1", `{"a":[1]}`, "Content-Type", "application/json")
	require.Equal(t, 200, status)
	require.Equal(t, "seen", got["message"])
	require.Equal(t, map[string]any{"a": []any{float64(1)}}, got["request"].(map[string]any)["body"])
	_, got = echo("some.test", "/", "a=1&b=2&b=3", "Content-Type", "application/x-www-form-urlencoded", "Gimme-An-Echo", "x")
	require.Equal(t, map[string]any{"a": "1", "b": []any{"2", "3"}}, got["request"].(map[string]any)["body"])
	_, got = echo("some.test", "/?gimme-an-echo", strings.Repeat("x", 70<<10))
	require.Len(t, got["request"].(map[string]any)["raw_body"], 64<<10)
}

// TestHiddenInLargeBodies: where the key is to be hidden in bodies, too, one that is too large to look at is refused as that,
// wherever the key is.
func TestHiddenInLargeBodies(t *testing.T) {
	t.Parallel()
	gw, _ := serve(t, `
_format_version: "3.0"
services:
- {name: s, url: "http://s.internal", routes: [
   {name: hide, paths: [/hide], plugins: [{name: key-auth, config: {key_in_body: true, hide_credentials: true}}]},
   {name: stream, paths: [/stream], request_buffering: false, plugins: [{name: key-auth, config: {key_in_body: true, hide_credentials: true}}]},
   {name: show, paths: [/show], plugins: [{name: key-auth, config: {key_in_body: true}}]}]}
consumers: [{username: ann, keyauth_credentials: [{key: ann}]}]
`)
	for path, want := range map[string]int{"/hide": 413, "/stream": 413, "/show": 200} {
		for _, length := range []int64{100 << 10, -1} {
			r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(strings.Repeat("x", 100<<10)))
			r.ContentLength = length
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Apikey", "ann")
			require.Equal(t, want, gatewaytest.Do(gw, r).StatusCode, "%s %d", path, length)
		}
	}
}
