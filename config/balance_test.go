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
func balanced(t *testing.T, upstream string) (http.Handler, *config.Snapshot) {
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
`), config.Options{Dial: gatewaytest.Dial(ups...)})
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

// Another algorithm makes another pool; the same one stays what it was.
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
		require.EqualValues(t, 2-i, requests(), upstream)
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
