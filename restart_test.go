package gateway_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
)

// While one of two targets is restarted again and again, no request that may be repeated fails, whether a connection of before breaks
// or there is nobody to connect to.
func TestRestartedTarget(t *testing.T) {
	t.Parallel()
	stays := listen(t)
	restarted := listen(t)
	addr := restarted.Addr().String()
	var served atomic.Int64
	start := func(l net.Listener) *http.Server {
		srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served.Add(1) })}
		go func() { _ = srv.Serve(l) }()
		t.Cleanup(func() { _ = srv.Close() })
		return srv
	}
	start(stays)
	srv := start(restarted)
	up := retrying(t, gateway.UpstreamConfig{Targets: []balancer.Target{{URL: "http://" + stays.Addr().String()}, {URL: "http://" + addr}}})
	stop := make(chan struct{})
	var failed, asked atomic.Int64
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			method := []string{http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodHead}[i%4]
			for {
				select {
				case <-stop:
					return
				default:
				}
				w := httptest.NewRecorder()
				up.ServeHTTP(w, httptest.NewRequest(method, "/", nil))
				if asked.Add(1); w.Code != http.StatusOK {
					failed.Add(1)
				}
			}
		})
	}
	during := func(n int64) { // some requests, whatever the machine does meanwhile
		for end := asked.Load() + n; asked.Load() < end; {
			time.Sleep(time.Millisecond)
		}
	}
	for range 20 {
		during(50)
		require.NoError(t, srv.Close())
		during(50)
		var l net.Listener
		require.Eventually(t, func() bool {
			var err error
			l, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", addr)
			return err == nil
		}, 10*time.Second, time.Millisecond)
		srv = start(l)
	}
	during(50)
	close(stop)
	clients.Wait()
	require.Zero(t, failed.Load(), "of %d", asked.Load())
	require.Positive(t, served.Load())
}
