package gateway_test

import (
	"bufio"
	"bytes"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/terminate"
)

// Each test of this file is an attack that once went through.

func attacked(t *testing.T, base string, script ...http.Handler) (*gatewaytest.Upstream, *gateway.Upstream) {
	t.Helper()
	backend := gatewaytest.NewUpstream("up.test", script...)
	up, err := gateway.NewUpstream(gateway.UpstreamConfig{Name: "up", Targets: []balancer.Target{{URL: backend.URL() + base}}, Dial: backend.Dial})
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = up.Close()
		_ = backend.Close()
	})
	return backend, up
}

func keysIn(in keyauth.Location) *keyauth.KeyAuth {
	return policy.Must(keyauth.New(keyauth.Config{Consumers: auth.Static{"k": {ID: "1"}}, In: in, HideCredentials: true}))
}

// A predicate decides by the path that is forwarded, not by another spelling of it.
func TestPredicateSeesTheCanonicalPath(t *testing.T) {
	t.Parallel()
	backend, up := attacked(t, "")
	gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{
		{Name: "open", Public: true, Handler: up, Match: gateway.Match{Func: func(r *http.Request) bool {
			require.NotNil(t, policy.ExchangeFrom(r.Context()))
			return !strings.HasPrefix(r.URL.Path, "/admin")
		}}},
		{Name: "rest", Handler: up, Plugins: []gateway.Plugin{keysIn(0)}},
	}}))
	for _, p := range []string{"/admin/x", "//admin/x", "/a/../admin/x", "/%2e/admin/x", "/%61dmin/x"} {
		require.Equal(t, 401, gatewaytest.Do(gw, get(p)).StatusCode, p)
	}
	require.Empty(t, backend.Requests())
	require.Equal(t, 200, gatewaytest.Do(gw, get("/b")).StatusCode)
}

// Behind a router that goes by the path as it was sent, another spelling must not arrive where the router never sent it.
func TestRouterThatGoesByRawPath(t *testing.T) {
	t.Parallel()
	backend, up := attacked(t, "")
	keys, strict := keysIn(0), policy.Must(policy.NewEntry(policy.EntryConfig{StrictPath: true}))
	byRawPath := func(admin, rest http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			path := r.URL.RawPath
			if path == "" {
				path = r.URL.Path
			}
			if strings.HasPrefix(path, "/admin/") {
				admin.ServeHTTP(w, r)
				return
			}
			rest.ServeHTTP(w, r)
		})
	}
	for name, h := range map[string]http.Handler{
		"upstream alone": byRawPath(keys.Wrap(up), up),
		"strict entry":   byRawPath(strict.Wrap(keys.Wrap(up)), strict.Wrap(up)),
	} {
		for _, p := range []string{"/admin/x", "/%61dmin/x", "/admin%2fx"} {
			require.GreaterOrEqual(t, gatewaytest.Do(h, get(p)).StatusCode, 400, name+" "+p)
		}
	}
	require.Empty(t, backend.Requests())
}

// A plugin that answers by itself cannot make a tunnel of a CONNECT, nor keep its connection.
func TestConnectIsRefusedWhateverPluginsSay(t *testing.T) {
	t.Parallel()
	_, up := attacked(t, "")
	writes := gateway.PluginFunc(func(http.Handler) http.Handler { return say("hello") })
	for name, p := range map[string]gateway.Plugin{
		"keys": keysIn(0), "page": policy.Must(terminate.New(terminate.Config{Status: 200, Body: "maintenance"})), "writes": writes,
	} {
		for _, method := range []string{"CONNECT", "TRACE"} {
			gw := gateway.Must(gateway.New(gateway.Config{Plugins: []gateway.Plugin{p}, Routes: []gateway.Route{{Name: "a", Handler: up}}}))
			srv := httptest.NewServer(gw)
			t.Cleanup(srv.Close)
			c, err := net.Dial("tcp", srv.Listener.Addr().String())
			require.NoError(t, err)
			t.Cleanup(func() { _ = c.Close() })
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			target := "h:80"
			if method == "TRACE" {
				target = "/"
			}
			_, _ = io.WriteString(c, method+" "+target+" HTTP/1.1\r\nHost: h\r\n\r\nGET /tunnelled HTTP/1.1\r\nHost: h\r\n\r\n")
			all, _ := io.ReadAll(c)
			require.True(t, strings.HasPrefix(string(all), "HTTP/1.1 4"), "%s %s: %s", name, method, all)
			require.Equal(t, 1, strings.Count(string(all), "HTTP/1.1 "), "%s %s", name, method)
		}
	}
}

// What a handler in between leaves of a path cannot climb out of the path of a target.
func TestNobodyClimbsOutOfATarget(t *testing.T) {
	t.Parallel()
	backend, up := attacked(t, "/base")
	gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{
		{Name: "a", Match: gateway.Match{Prefixes: []string{"/a"}}, Handler: http.StripPrefix("/a", up)},
	}}))
	mux := http.NewServeMux()
	mux.Handle("/files/", http.StripPrefix("/files/v1", up))
	guarded := policy.Must(policy.NewEntry(policy.EntryConfig{})).Wrap(mux)
	gatewaytest.Do(gw, get("/a../secret"))
	gatewaytest.Do(guarded, get("/files/v1../secret"))
	gatewaytest.Do(gw, get("/a/b%20c/"))
	var got []string
	for _, r := range backend.Requests() {
		got = append(got, r.URI)
	}
	require.Equal(t, []string{"/base/secret", "/base/secret", "/base/b%20c/"}, got)
	broken := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path, r.URL.RawPath = "/a\x00", ""
		up.ServeHTTP(w, r)
	})
	require.Equal(t, 400, gatewaytest.Do(policy.Must(policy.NewEntry(policy.EntryConfig{})).Wrap(broken), get("/")).StatusCode)
}

// HTTP/1.0 has no other sign for the end of an answer of unknown length than the end of its connection.
func TestCutAnswersToHTTP10AreReset(t *testing.T) {
	t.Parallel()
	_, up := attacked(t, "", gatewaytest.Raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"))
	srv := httptest.NewServer(up)
	defer srv.Close()
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(c, "GET / HTTP/1.0\r\nHost: h\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err == nil {
		_, err = io.ReadAll(res.Body)
	}
	require.Error(t, err)
}

// No type is made up for an answer that has none on purpose.
func TestNoContentTypeIsInvented(t *testing.T) {
	t.Parallel()
	_, up := attacked(t, "", gatewaytest.Raw("HTTP/1.1 200 OK\r\nX-Content-Type-Options: nosniff\r\nContent-Length: 38\r\n\r\n<html><script>alert(1)</script></html>"))
	srv := httptest.NewServer(up)
	defer srv.Close()
	res, err := srv.Client().Get(srv.URL)
	require.NoError(t, err)
	defer res.Body.Close()
	require.Empty(t, res.Header["Content-Type"])
}

// A client cannot have what a target sends behind its answer to HEAD written to the process's log.
func TestAnswersToHeadAreNotLogged(t *testing.T) { //nolint:paralleltest // sets the process's logger
	var buf bytes.Buffer
	log.SetOutput(&buf)
	defer log.SetOutput(io.Discard)
	backend, up := attacked(t, "", gatewaytest.Raw("HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n{\"password\":\"hunter2\"}"))
	gatewaytest.Do(up, httptest.NewRequest(http.MethodHead, "/", nil))
	require.NoError(t, up.Close())
	require.NoError(t, backend.Close())
	require.NotContains(t, buf.String(), "hunter2")
}

// A body cannot be described under a name that the gateway does not read and an upstream does.
func TestAliasesOfContentType(t *testing.T) {
	t.Parallel()
	backend, up := attacked(t, "")
	keys := keysIn(keyauth.Header | keyauth.Body)
	gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{{Name: "a", Plugins: []gateway.Plugin{keys}, Handler: up}}}))
	for _, alias := range []string{"Content_type", "CONTENT.TYPE", "Content_encoding"} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("apikey=k&apikey=other"))
		r.Header.Set("Apikey", "k")
		r.Header[alias] = []string{"application/x-www-form-urlencoded"}
		require.Equal(t, 200, gatewaytest.Do(gw, r.Clone(t.Context())).StatusCode)
		require.NotContains(t, backend.Last().Header, alias)
		require.Equal(t, 400, gatewaytest.Do(keys.Wrap(say("")), r).StatusCode, "without an entry")
	}
}

// Aliases of forwarding fields with any character in place of the hyphen go, also those a trusted proxy passes on.
func TestAliasesOfForwardedFields(t *testing.T) {
	t.Parallel()
	backend, up := attacked(t, "")
	gw := gateway.Must(gateway.New(gateway.Config{
		EntryConfig: policy.EntryConfig{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
		Routes:      []gateway.Route{{Name: "a", Handler: up}},
	}))
	r := get("/")
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded!For", "X~Forwarded-Proto", "X-Forwarded_Host", "x-forwarded-port", "Client-Ip", "Client_ip"} {
		r.Header[name] = []string{"198.51.100.7"}
	}
	gatewaytest.Do(gw, r)
	for name := range backend.Last().Header {
		require.False(t, strings.ContainsAny(name, "!~_"), name)
	}
	require.Equal(t, "198.51.100.7, 192.0.2.1", backend.Last().Header.Get("X-Forwarded-For"))
}

// The host that a target is told is the one the request was routed by.
func TestPreservedHostIsTheRoutedOne(t *testing.T) {
	t.Parallel()
	backend, up := attacked(t, "")
	gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{
		{Name: "a", Match: gateway.Match{Hosts: []string{"secret.test"}}, Handler: up, Forward: gateway.Forward{PreserveHost: true}},
	}}))
	r := get("/")
	r.Host = "SECRET.test.:81"
	require.Equal(t, 200, gatewaytest.Do(gw, r).StatusCode)
	require.Equal(t, "secret.test:81", backend.Last().Host)
}
