package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
)

// This file holds behaviours that people who come from Kong rely on.

// kongUp returns a gateway with one route to one upstream in memory.
func kongUp(t *testing.T, target string, rt gateway.Route) (*gateway.Gateway, *gatewaytest.Upstream) {
	t.Helper()
	b := gatewaytest.NewUpstream("backend.internal")
	t.Cleanup(func() { _ = b.Close() })
	u, err := gateway.NewUpstream(gateway.UpstreamConfig{Name: "u", Targets: []balancer.Target{{URL: target}}, Dial: b.Dial})
	require.NoError(t, err)
	t.Cleanup(func() { _ = u.Close() })
	rt.Name, rt.Handler = "r", u
	return gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{rt}})), b
}

// TestServicePaths: a service's path may stand in the URL of the target or in Forward.Path, with the same outcome.
func TestServicePaths(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		service, route string
		strip          bool
		request, want  string
	}{
		{"/srv/", "/rou", true, "/rou", "/srv"},
		{"/srv/", "/rou", true, "/route", "/srv/te"},
		{"/srv", "/rou", false, "/route", "/srv/route"},
		{"/service", "/", false, "/", "/service"},
		{"/service", "/", true, "/", "/service"},
		{"/service", "/", true, "/a/", "/service/a/"},
		{"/service", "/route", true, "/route", "/service"},
		{"/service", "/route", true, "/route/", "/service/"},
		{"/service/", "/route", true, "/route", "/service"},
		{"/service/", "/", true, "/", "/service/"},
		{"/service", "", false, "/", "/service"},
		{"/service/", "", false, "/", "/service/"},
		{"/service", "/route", true, "/routereq", "/service/req"},
		{"/service%20x/", "/route", true, "/route/", "/service%20x/"},
	} {
		m := gateway.Match{Hosts: []string{"example.com"}}
		if c.route != "" {
			m.Prefixes = []string{c.route}
		}
		for name, f := range map[string]gateway.Forward{"target": {StripPath: c.strip}, "forward": {StripPath: c.strip, Path: c.service}} {
			target := "http://backend.internal"
			if name == "target" {
				target += c.service
			}
			if len(m.Prefixes) == 0 {
				f.StripPath = false
			}
			gw, b := kongUp(t, target, gateway.Route{Match: m, Forward: f})
			gatewaytest.Do(gw, get(c.request))
			require.Equal(t, c.want, b.Last().URI, "%s %+v", name, c)
		}
	}
	for _, m := range []gateway.Match{{Prefixes: []string{"/"}}, {Paths: []string{"/*rest"}}} {
		gw, b := kongUp(t, "http://backend.internal", gateway.Route{Match: m, Forward: gateway.Forward{StripPath: true, Path: "/service"}})
		gatewaytest.Do(gw, get("/"))
		require.Equal(t, "/service", b.Last().URI, m)
		gatewaytest.Do(gw, get("/a/b"))
		require.Equal(t, "/service/a/b", b.Last().URI, m)
	}
}

// TestExpressionsSeeDecodedPaths: and the path that is stripped is what they matched, as it was spelled.
func TestExpressionsSeeDecodedPaths(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ expr, path, want string }{
		{`/users/[a-z ]+/profile`, "/users/john%20doe/profile/x", "/x"},
		{`/users/[a-z\s]+`, "/users/john%20doe/profile", "/profile"},
		{`/\p{Han}+`, "/%E4%BD%A0%E5%A5%BD/%40", "/%40"},
		{`/\d+"`, "/123%22", "/"},
		{`/a@b`, "/a%40b/c", "/c"},
	} {
		gw, b := kongUp(t, "http://backend.internal", gateway.Route{Match: gateway.Match{Regexps: []string{c.expr}}, Forward: gateway.Forward{StripPath: true}})
		require.Equal(t, 200, gatewaytest.Do(gw, get(c.path)).StatusCode, c.path)
		require.Equal(t, c.want, b.Last().URI, c.path)
	}
}

// TestGRPCStatuses of refusals.
func TestGRPCStatuses(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{
		400: "3", 401: "16", 402: "3", 403: "7", 404: "5", 405: "12", 406: "3", 409: "6", 413: "8", 422: "3", 426: "3", 429: "8", 451: "3", 499: "1",
		500: "13", 501: "12", 502: "14", 503: "14", 504: "4", 505: "13",
	} {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.ProtoMajor = 2
		r.Header.Set("Content-Type", "application/grpc")
		w := httptest.NewRecorder()
		policy.WriteError(w, r, &policy.Error{Status: status})
		require.Equal(t, want, w.Header().Get("Grpc-Status"), "%d", status)
	}
}

// TestKeysInJSON: a list is two credentials, and null is none.
func TestKeysInJSON(t *testing.T) {
	t.Parallel()
	guest := &policy.Consumer{ID: "guest"}
	for _, c := range []struct {
		body, header string
		anonymous    *policy.Consumer
		status       int
		message      string
	}{
		{`{"apikey":["kong","kong"]}`, "", nil, 401, "Duplicate API key found"},
		{`{"apikey":null}`, "", nil, 401, "No API key found in request"},
		{`{"apikey":null}`, "", guest, 200, ""},
		{`{"apikey":null}`, "kong", nil, 200, ""},
		{`{"apikey":null,"apikey":"kong"}`, "", nil, 200, ""},
		{`{"apikey":1}`, "", nil, 401, "Unauthorized"},
	} {
		k := policy.Must(keyauth.New(keyauth.Config{
			Consumers: auth.Static{"kong": {ID: "1"}}, In: keyauth.Header | keyauth.Query | keyauth.Body, Anonymous: c.anonymous,
		}))
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(c.body))
		r.Header.Set("Content-Type", "application/json")
		if c.header != "" {
			r.Header.Set("Apikey", c.header)
		}
		res := gatewaytest.Do(k.Wrap(say("")), r)
		require.Equal(t, c.status, res.StatusCode, c.body)
		require.Contains(t, text(t, res), c.message, c.body)
	}
}

// TestProxyAuthorization: the client's is for the gateway, that of a Rewrite for the target.
func TestProxyAuthorization(t *testing.T) {
	t.Parallel()
	set := func(in, out *http.Request) {
		if in.URL.Path == "/set" {
			out.Header.Set("Proxy-Authorization", "Basic ZGVtbzp0ZXN0")
		}
	}
	gw, b := kongUp(t, "http://backend.internal", gateway.Route{Forward: gateway.Forward{Rewrite: set}})
	for path, want := range map[string]string{"/set": "Basic ZGVtbzp0ZXN0", "/": ""} {
		r := get(path)
		r.Header.Set("Proxy-Authorization", "Basic client")
		gatewaytest.Do(gw, r)
		require.Equal(t, want, b.Last().Header.Get("Proxy-Authorization"))
	}
}
