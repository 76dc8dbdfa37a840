package regress_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/gatewaytest"
)

// grpc-go served a method whose path lacks the slash in front, while its rules by path knew only those that have one.
func TestPathWithoutASlash(t *testing.T) {
	t.Parallel()
	r := rigged(t, nil)
	r.refused(400, "POST pkg.Service/Method HTTP/1.1\nContent-Length: 0")
	r.refused(400, "GET admin/x HTTP/1.1")

	reached := false // what a front without net/http's checks may hand over
	gw := must(gateway.New(gateway.Config{Routes: []gateway.Route{
		{Name: "rest", Public: true, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true })},
	}}))
	for _, u := range []*url.URL{{Path: "pkg.Service/Method"}, {Path: "admin", RawPath: "admin"}, {Path: ""}, {Opaque: "admin/x"}, {Path: "*"}} {
		req := httptest.NewRequest(http.MethodPost, "/", nil)
		req.URL, req.RequestURI, req.ProtoMajor, req.ProtoMinor = u, u.String(), 2, 0
		req.Header.Set("Content-Type", "application/grpc")
		res := gatewaytest.Do(gw, req)
		require.False(t, reached, "%v", u)
		require.True(t, res.StatusCode == 400 || res.Header.Get("Grpc-Status") != "", "%v: %d", u, res.StatusCode)
	}
	require.Equal(t, 200, gatewaytest.Do(gw, httptest.NewRequest(http.MethodPost, "/pkg.Service/Method", nil)).StatusCode)
	require.True(t, reached)
}
