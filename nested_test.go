package gateway_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
)

func TestNestedGateway(t *testing.T) {
	t.Parallel()
	inner := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{{Name: "inner", Match: gateway.Match{Paths: []string{"/x"}}, Handler: http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, policy.ExchangeFrom(r.Context()).Route())
		})}}}))
	outer := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{{
		Name: "outer", Match: gateway.Match{Paths: []string{"/in/*rest"}}, Forward: gateway.Forward{StripPath: true}, Handler: inner,
	}}}))
	require.Equal(t, "inner", text(t, gatewaytest.Do(outer, get("/in/x"))))
	require.Equal(t, 404, gatewaytest.Do(outer, get("/in/y")).StatusCode)
}

// How the outer route forwards does not stay in force where an inner route decides.
func TestNestedForward(t *testing.T) {
	t.Parallel()
	backend := gatewaytest.NewUpstream("up.test")
	defer backend.Close()
	up := gateway.Must(gateway.NewUpstream(gateway.UpstreamConfig{Name: "up", Targets: []balancer.Target{{URL: backend.URL()}}, Dial: backend.Dial}))
	defer up.Close()
	inner := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{
		{Name: "plain", Match: gateway.Match{Paths: []string{"/x/*rest"}}, Handler: up},
		{Name: "own", Match: gateway.Match{Paths: []string{"/y/*rest"}}, Handler: up, Forward: gateway.Forward{StripPath: true, PreserveHost: true}},
	}}))
	outer := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{{
		Name: "outer", Match: gateway.Match{Paths: []string{"/in/*rest"}}, Handler: inner, Forward: gateway.Forward{
			StripPath: true, PreserveHost: true, Rewrite: func(_, out *http.Request) { out.Header.Set("X-Outer", "1") },
		},
	}}}))
	require.Equal(t, http.StatusOK, gatewaytest.Do(outer, get("/in/x/1")).StatusCode)
	got := backend.Last()
	require.Equal(t, []string{"up.test", "/x/1", "", "/in"}, []string{got.Host, got.URI, got.Header.Get("X-Outer"), got.Header.Get("X-Forwarded-Prefix")})
	require.Equal(t, http.StatusOK, gatewaytest.Do(outer, get("/in/y/1")).StatusCode)
	got = backend.Last()
	require.Equal(t, []string{"example.com", "/1", "", "/in/y"}, []string{got.Host, got.URI, got.Header.Get("X-Outer"), got.Header.Get("X-Forwarded-Prefix")})
}

// Clients leave the default port out.
func TestDefaultPort(t *testing.T) {
	t.Parallel()
	gw := gateway.Must(gateway.New(gateway.Config{Logger: quiet(), Routes: []gateway.Route{
		{Name: "http", Match: gateway.Match{Hosts: []string{"a.test:80"}}, Handler: say("80")},
		{Name: "https", Match: gateway.Match{Hosts: []string{"a.test:443"}}, Handler: say("443")},
		{Name: "other", Match: gateway.Match{Hosts: []string{"a.test:8080"}}, Handler: say("8080")},
	}}))
	for target, want := range map[string]string{
		"http://a.test/": "80", "http://a.test:80/": "80", "https://a.test/": "443", "https://a.test:443/": "443", "http://a.test:443/": "443",
		"http://a.test:8080/": "8080",
	} {
		require.Equal(t, want, text(t, gatewaytest.Do(gw, get(target))), target)
	}
	require.Equal(t, http.StatusNotFound, gatewaytest.Do(gw, get("http://a.test:81/")).StatusCode)
}
