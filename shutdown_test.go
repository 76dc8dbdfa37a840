package gateway_test

import (
	"context"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/gatewaytest"
)

func TestShutdownDeadline(t *testing.T) {
	t.Parallel()
	cut := make(chan struct{})
	owned := closeFunc(func() error { close(cut); return nil })
	started := make(chan struct{})
	gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{{Name: "r", Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(started)
		<-cut // as a proxied request ends when its upstream is closed
	})}}, Owns: []io.Closer{&owned}}))
	done := make(chan struct{})
	go func() { defer close(done); gatewaytest.Do(gw, get("/")) }()
	<-started
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, gw.Shutdown(ctx), context.Canceled)
	<-done
	require.NoError(t, gw.Shutdown(t.Context()))
}

// A closer that takes its time does not hold Shutdown up, and whatever the order of events each is closed once.
func TestShutdownClosesOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var closes atomic.Int64
		stuck := make(chan struct{})
		owned := closeFunc(func() error { closes.Add(1); <-stuck; return nil })
		ends := []chan struct{}{make(chan struct{}), make(chan struct{})}
		routes := func(i int) gateway.Config {
			return gateway.Config{Owns: []io.Closer{&owned}, Routes: []gateway.Route{{Name: "r", Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				<-ends[i]
			})}}}
		}
		gw := gateway.Must(gateway.New(routes(0)))
		var requests sync.WaitGroup
		begin := func() {
			requests.Go(func() { gatewaytest.Do(gw, get("/")) })
			synctest.Wait()
		}
		begin()
		require.NoError(t, gw.Apply(routes(1)))
		begin()
		for _, end := range ends {
			start := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			require.ErrorIs(t, gw.Shutdown(ctx), context.DeadlineExceeded)
			cancel()
			require.LessOrEqual(t, time.Since(start), 6*time.Second)
			close(end)
			synctest.Wait()
		}
		close(stuck)
		requests.Wait()
		require.NoError(t, gw.Shutdown(t.Context()))
		require.EqualValues(t, 1, closes.Load())
	})
}

type closeFunc func() error

func (f *closeFunc) Close() error { return (*f)() }
