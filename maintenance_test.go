package gateway_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/traffic/terminate"
)

// A target is taken out, drained and put back; a route is closed and opened; the rest goes on, and a swap of the table changes nothing
// about it.
func TestMaintenance(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	a := gatewaytest.NewUpstream("a.test", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-release
		}
	}))
	b := gatewaytest.NewUpstream("b.test")
	up, err := gateway.NewUpstream(gateway.UpstreamConfig{Name: "up", Targets: []balancer.Target{{URL: a.URL()}, {URL: b.URL()}}, Dial: gatewaytest.Dial(a, b)})
	require.NoError(t, err)
	maintenance, err := terminate.New(terminate.Config{Standby: true, Message: "Back at noon", Header: http.Header{"Retry-After": {"600"}}})
	require.NoError(t, err)
	config := gateway.Config{Logger: quiet(), Routes: []gateway.Route{
		{Name: "users", Match: gateway.Match{Paths: []string{"/users"}}, Plugins: []gateway.Plugin{maintenance}, Handler: up},
		{Name: "rest", Match: gateway.Match{Paths: []string{"/*rest"}}, Handler: up},
	}}
	gw, err := gateway.New(config)
	require.NoError(t, err)
	ask := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		gw.ServeHTTP(w, get(path))
		return w
	}
	slow := make(chan int, 1)
	go func() { // both targets are asked in turn: one of two gets to a
		if w := ask("/slow"); len(a.Requests()) == 0 {
			slow <- ask("/slow").Code
		} else {
			slow <- w.Code
		}
	}()
	require.Eventually(t, func() bool { return len(a.Requests()) == 1 }, 10*time.Second, time.Millisecond)
	require.NoError(t, up.TakeOut(a.URL()))
	for range 10 {
		require.Equal(t, 200, ask("/").Code)
	}
	require.Len(t, a.Requests(), 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	require.ErrorIs(t, up.Drained(ctx), context.DeadlineExceeded)
	close(release)
	require.NoError(t, up.Drained(t.Context()))
	require.Equal(t, 200, <-slow)
	require.True(t, gw.Status().Upstreams[0].Targets[0].TakenOut)
	require.NoError(t, up.PutBack(a.URL()))
	for range 10 {
		require.Equal(t, 200, ask("/").Code)
	}
	require.Len(t, a.Requests(), 6)
	require.ErrorIs(t, up.TakeOut("http://c.test"), balancer.ErrUnknownTarget)

	maintenance.SetActive(true)
	require.NoError(t, gw.Apply(config))
	w := ask("/users")
	require.Equal(t, 503, w.Code)
	require.Equal(t, "600", w.Header().Get("Retry-After"))
	require.Contains(t, gw.Explain(get("/users")).String(), "terminated")
	require.Equal(t, 200, ask("/other").Code)
	maintenance.SetActive(false)
	require.Equal(t, 200, ask("/users").Code)

	var none *gateway.Upstream
	require.ErrorIs(t, none.TakeOut(a.URL()), balancer.ErrUnknownTarget)
	require.NoError(t, none.Drained(t.Context()))
	require.NoError(t, gw.Shutdown(t.Context()))
	require.NoError(t, up.Close())
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
}
