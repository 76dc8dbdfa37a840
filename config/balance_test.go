package config_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/config"
	"github.com/gatehouse-go/gateway/gatewaytest"
)

// balanced serves an upstream of three targets, which say who they are.
func balanced(t *testing.T, upstream string, more ...string) (http.Handler, *config.Snapshot) {
	t.Helper()
	var ups []*gatewaytest.Upstream
	for _, name := range []string{"a", "b", "c"} {
		up := gatewaytest.NewUpstream(name+".internal", gatewaytest.Respond(200, name))
		t.Cleanup(func() { require.NoError(t, up.Close()) })
		ups = append(ups, up)
	}
	s, err := config.Load("kong.yml", strings.NewReader(`_format_version: "3.0"
services: [{name: s, host: u, routes: [{name: r, paths: ["~/users/(?<id>[0-9]+)", "/"], strip_path: false}]}]
upstreams: [{name: u, targets: [{target: "a.internal:80"}, {target: "b.internal:80"}, {target: "c.internal:80"}], `+upstream+`}]
`+strings.Join(more, "")), config.Options{Dial: gatewaytest.Dial(ups...)})
	require.NoError(t, err)
	gw, err := gateway.New(s.Gateway)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, gw.Shutdown(t.Context())) })
	return gw, s
}

// Each hash input keeps its requests together; where it is missing the fallback does, and without that they go round.
func TestHashOn(t *testing.T) {
	t.Parallel()
	request := func(target string, header ...string) *http.Request {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		return r
	}
	for upstream, tt := range map[string]struct {
		with    func(i int) *http.Request
		without bool // there are requests without the input
	}{
		"hash_on: header, hash_on_header: x_user": {func(i int) *http.Request { return request("/", "X-User", fmt.Sprint(i)) }, true},
		"hash_on: header, hash_on_header: host":   {func(i int) *http.Request { return request(fmt.Sprintf("http://h%d.test/", i)) }, false},
		"hash_on: query_arg, hash_on_query_arg: u, hash_fallback: query_arg, hash_fallback_query_arg: U": {
			func(i int) *http.Request { return request(fmt.Sprintf("/?U=%d", i)) }, true,
		},
		"hash_on: header, hash_on_header: x-user":       {func(i int) *http.Request { return request("/", "X-User", fmt.Sprint(i)) }, true},
		"hash_on: query_arg, hash_on_query_arg: u":      {func(i int) *http.Request { return request(fmt.Sprintf("/?u=%d", i)) }, true},
		"hash_on: uri_capture, hash_on_uri_capture: id": {func(i int) *http.Request { return request(fmt.Sprintf("/users/%d", i)) }, true},
		"hash_on: path": {func(i int) *http.Request { return request(fmt.Sprintf("/%d", i)) }, false},
		"hash_on: ip": {func(i int) *http.Request {
			r := request("/")
			r.RemoteAddr = fmt.Sprintf("192.0.2.%d:1234", i)
			return r
		}, false},
		"hash_on: cookie, hash_on_cookie: c":                                     {func(i int) *http.Request { return request("/", "Cookie", fmt.Sprintf("c=%d", i)) }, true},
		"hash_on: consumer, hash_fallback: header, hash_fallback_header: x-user": {func(i int) *http.Request { return request("/", "X-User", fmt.Sprint(i)) }, true},
		"algorithm: consistent-hashing, slots: 20, hash_on: header, hash_on_header: x-user, hash_fallback: query_arg, hash_fallback_query_arg: u": {
			func(i int) *http.Request { return request(fmt.Sprintf("/?u=%d", i)) }, true,
		},
	} {
		h, s := balanced(t, upstream)
		require.Empty(t, s.Warnings)
		seen := map[string]bool{}
		for i := range 30 {
			first := text(t, gatewaytest.Do(h, tt.with(i)))
			seen[first] = true
			for range 2 {
				require.Equal(t, first, text(t, gatewaytest.Do(h, tt.with(i))), upstream)
			}
		}
		require.Len(t, seen, 3, upstream)
		if tt.without {
			round := map[string]int{}
			for range 9 {
				round[text(t, gatewaytest.Do(h, request("/")))]++
			}
			require.Equal(t, map[string]int{"a": 3, "b": 3, "c": 3}, round, upstream)
		}
	}
}

// The groups of a caller are hashed on, whom acl tells targets.
func TestHashOnConsumerGroups(t *testing.T) {
	t.Parallel()
	h, _ := balanced(t, "hash_on: header, hash_on_header: X-Consumer-Groups", `
plugins: [{name: key-auth}, {name: acl, config: {allow: [g]}}]
consumers: [{username: bob, keyauth_credentials: [{key: bob}], acls: [{group: g}, {group: other}]}]
`)
	seen := map[string]bool{}
	for range 12 {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Apikey", "bob")
		res := gatewaytest.Do(h, r)
		require.Equal(t, 200, res.StatusCode)
		seen[text(t, res)] = true
	}
	require.Len(t, seen, 1)
}

// Only names that clients take over TLS alone make a cookie Secure without it.
func TestSecureHashCookies(t *testing.T) {
	t.Parallel()
	for name, secure := range map[string]bool{"sid": false, "__sid": false, "__Hostage": false, "__Host-sid": true, "__secure-sid": true} {
		h, _ := balanced(t, "hash_on: cookie, hash_on_cookie: "+name)
		require.Equal(t, secure, strings.Contains(gatewaytest.Do(h, httptest.NewRequest(http.MethodGet, "/", nil)).Header.Get("Set-Cookie"), "; Secure"), name)
	}
}

// Who has no cookie gets one, which leads back to the target.
func TestHashOnCookie(t *testing.T) {
	t.Parallel()
	for _, upstream := range []string{
		"hash_on: cookie, hash_on_cookie: sid, hash_on_cookie_path: /app",
		"hash_on: consumer, hash_fallback: cookie, hash_on_cookie: sid, hash_on_cookie_path: /app",
	} {
		h, _ := balanced(t, upstream)
		for range 6 {
			res := gatewaytest.Do(h, httptest.NewRequest(http.MethodGet, "/", nil))
			target := text(t, res)
			require.Len(t, res.Cookies(), 1)
			require.Regexp(t, `^sid=[0-9a-f]+; Path=/app; HttpOnly; SameSite=Lax$`, res.Header.Get("Set-Cookie"))
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.AddCookie(res.Cookies()[0])
			res = gatewaytest.Do(h, r)
			require.Equal(t, target, text(t, res))
			require.Empty(t, res.Cookies())
		}
	}
}

func TestAlgorithms(t *testing.T) {
	t.Parallel()
	for upstream, warns := range map[string]bool{
		"algorithm: round-robin": false, "algorithm: least-connections": false, "algorithm: latency": false, "algorithm: consistent-hashing": true,
	} {
		h, s := balanced(t, upstream)
		require.Equal(t, warns, len(s.Warnings) > 0, "%s: %q", upstream, s.Warnings)
		seen := map[string]bool{}
		for range 12 {
			seen[text(t, gatewaytest.Do(h, httptest.NewRequest(http.MethodGet, "/", nil)))] = true
		}
		require.Len(t, seen, 3, upstream)
	}
}

// A pool outlives its algorithm, with all that is known of its targets.
func TestReloadAlgorithm(t *testing.T) {
	t.Parallel()
	file := func(upstream string) string {
		return strings.Replace(reloadFile(20, "a.internal:80", ""), "name: pool,", "name: pool, "+upstream+",", 1)
	}
	r, name, up := reloader(t, file("hash_on: ip"), config.Options{})
	t.Cleanup(func() {
		require.NoError(t, r.Gateway().Shutdown(t.Context()))
		require.NoError(t, up.Close())
	})
	requests := func() uint64 {
		ask(r.Gateway(), "GET", "/r", "apikey", "bob")
		for _, u := range r.Gateway().Status().Upstreams {
			if u.Name == "s" {
				return u.Targets[0].Requests
			}
		}
		return 0
	}
	require.EqualValues(t, 1, requests())
	for i, upstream := range []string{"hash_on: ip, tags: [x]", "hash_on: path"} {
		replace(t, name, file(upstream))
		_, err := r.Reload()
		require.NoError(t, err)
		require.EqualValues(t, 2+i, requests(), upstream)
	}
}

// As in Kong a service with one target is asked again, as often as retries says, and POSTs are not.
func TestRetriesOfOneTarget(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		service, method string
		status          int
		got             int64
	}{
		{"", http.MethodGet, 200, 3},
		{"retries: 2,", http.MethodGet, 200, 3},
		{"retries: 1,", http.MethodGet, 502, 2},
		{"retries: 0,", http.MethodGet, 502, 1},
		{"", http.MethodPost, 502, 1},
	} {
		var got atomic.Int64
		service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if got.Add(1) > 2 {
				return
			}
			c, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_ = c.Close()
			}
		}))
		t.Cleanup(service.Close)
		s, err := config.Load("kong.yml", strings.NewReader(`_format_version: "3.0"
services: [{name: s, `+tt.service+` url: "`+service.URL+`", routes: [{name: r, paths: [/]}]}]
`), config.Options{})
		require.NoError(t, err)
		gw, err := gateway.New(s.Gateway)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, gw.Shutdown(t.Context())) })
		res := gatewaytest.Do(gw, httptest.NewRequest(tt.method, "/", nil))
		require.Equal(t, tt.status, res.StatusCode, tt.service)
		require.Equal(t, tt.got, got.Load(), tt.service)
	}
}

// The same requests, spelled otherwise, go to the same target.
func TestHashOnIsCanonical(t *testing.T) {
	t.Parallel()
	query, _ := balanced(t, "hash_on: query_arg, hash_on_query_arg: u")
	header, _ := balanced(t, "hash_on: header, hash_on_header: x-user")
	for i := range 20 {
		first := text(t, gatewaytest.Do(query, httptest.NewRequest(http.MethodGet, fmt.Sprintf("/?u=a%d&u=b", i), nil)))
		require.Equal(t, first, text(t, gatewaytest.Do(query, httptest.NewRequest(http.MethodGet, fmt.Sprintf("/?u=b&u=%%61%d", i), nil))))
		one, two := httptest.NewRequest(http.MethodGet, "/", nil), httptest.NewRequest(http.MethodGet, "/", nil)
		one.Header["X-User"], two.Header["X-User"] = []string{fmt.Sprintf("a%d, b", i)}, []string{fmt.Sprintf("a%d", i), "b"}
		require.Equal(t, text(t, gatewaytest.Do(header, one)), text(t, gatewaytest.Do(header, two)))
	}
}

// What the gateway tells targets about the caller can be hashed on, and clients cannot choose it.
func TestHashOnFieldsOfTheGateway(t *testing.T) {
	t.Parallel()
	var ups []*gatewaytest.Upstream
	for _, name := range []string{"a", "b", "c"} {
		up := gatewaytest.NewUpstream(name+".internal", gatewaytest.Respond(200, name))
		t.Cleanup(func() { require.NoError(t, up.Close()) })
		ups = append(ups, up)
	}
	for _, field := range []string{"X-Consumer-Username", "X-Consumer-ID", "X-Consumer-Custom-ID", "X-Credential-Identifier"} {
		s, err := config.Load("kong.yml", strings.NewReader(`_format_version: "3.0"
services: [{name: s, host: u, routes: [{name: r, paths: [/]}]}]
plugins: [{name: key-auth, config: {key_names: [k]}}]
consumers:
- {username: a, custom_id: x, keyauth_credentials: [{key: k0}]}
- {username: b, custom_id: y, keyauth_credentials: [{key: k1}]}
- {username: c, custom_id: z, keyauth_credentials: [{key: k2}]}
- {username: d, custom_id: zz, keyauth_credentials: [{key: k3}]}
upstreams: [{name: u, hash_on: header, hash_on_header: `+field+`, targets: [{target: "a.internal:80"}, {target: "b.internal:80"}, {target: "c.internal:80"}]}]
`), config.Options{Dial: gatewaytest.Dial(ups...)})
		require.NoError(t, err)
		gw, err := gateway.New(s.Gateway)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, gw.Shutdown(t.Context())) })
		seen := map[string]bool{}
		for key := range 4 {
			got := map[string]bool{}
			for i := range 6 {
				r := httptest.NewRequest(http.MethodGet, "/", nil)
				r.Header.Set("K", fmt.Sprint("k", key))
				r.Header.Set(field, fmt.Sprint(i))
				target := text(t, gatewaytest.Do(gw, r))
				got[target], seen[target] = true, true
			}
			require.Len(t, got, 1, field)
		}
		require.Greater(t, len(seen), 1, field)
	}
}

// However few slots are asked for, each target has some, as in Kong; and an address is one target in all its spellings.
func TestTargetsOfAnUpstream(t *testing.T) {
	t.Parallel()
	h, _ := balanced(t, "slots: 10, hash_on: query_arg, hash_on_query_arg: u")
	count := map[string]int{}
	for i := range 300 {
		count[text(t, gatewaytest.Do(h, httptest.NewRequest(http.MethodGet, fmt.Sprintf("/?u=%d", i), nil)))]++
	}
	for _, name := range []string{"a", "b", "c"} {
		require.InDelta(t, 100, count[name], 40, name)
	}
	s, err := config.Load("kong.yml", strings.NewReader(`_format_version: "3.0"
services: [{name: s, host: u, routes: [{name: r, paths: [/]}]}]
upstreams: [{name: u, algorithm: latency, hash_on: consumer, targets: [{target: "[::1]:80"}, {target: "[0:0:0:0:0:0:0:1]:80", weight: 0}, {target: B.test}, {target: b.test, weight: 0}]}]
`), config.Options{})
	require.NoError(t, err)
	require.Len(t, s.Warnings, 2)
	require.Contains(t, strings.Join(s.Warnings, "\n"), "hash_on is without effect, as the algorithm is latency")
	require.Contains(t, strings.Join(s.Warnings, "\n"), "no target of upstream \"u\" takes traffic", "the last one counts")
	require.NoError(t, gateway.Must(gateway.New(s.Gateway)).Shutdown(t.Context()))
}
