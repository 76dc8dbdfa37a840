package gateway_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return l
}

// fetch does a GET over a connection of its own.
func fetch(url string) (status int, body string, err error) {
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	res, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), errors.Join(err, res.Body.Close())
}

func TestRunDrains(t *testing.T) {
	t.Parallel()
	owned := &closer{}
	started, finish := make(chan struct{}), make(chan struct{})
	gw := gateway.Must(gateway.New(gateway.Config{
		Owns: []io.Closer{owned},
		Routes: []gateway.Route{
			{Name: "fast", Handler: say("fast")},
			{Name: "slow", Match: gateway.Match{Paths: []string{"/slow"}}, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				close(started)
				<-finish
				_, _ = io.WriteString(w, "slow")
			})},
		},
	}))
	ctx, cancel := context.WithCancel(t.Context())
	l1, l2 := listen(t), listen(t)
	ran := make(chan error, 1)
	srv := gateway.NewServer("", nil)
	go func() { ran <- gw.Run(ctx, srv, l1, l2) }()
	for _, l := range []net.Listener{l1, l2} {
		_, body, err := fetch("http://" + l.Addr().String() + "/")
		require.NoError(t, err)
		require.Equal(t, "fast", body)
	}
	slow := make(chan string, 1)
	go func() {
		_, body, _ := fetch("http://" + l1.Addr().String() + "/slow")
		slow <- body
	}()
	<-started
	cancel()
	select {
	case err := <-ran:
		t.Fatalf("Run returned %v with a request in flight", err)
	case <-time.After(20 * time.Millisecond): // nothing to wait for: only a chance to fail
	}
	close(finish)
	require.NoError(t, <-ran)
	require.Equal(t, "slow", <-slow, "the request in flight was served whole")
	require.EqualValues(t, 1, owned.closed.Load())
	_, _, err := fetch("http://" + l1.Addr().String() + "/")
	require.Error(t, err, "nobody listens any more")
	require.ErrorIs(t, gw.Run(t.Context(), srv), gateway.ErrShutdown)
}

func TestRunCutsAfterTheDeadline(t *testing.T) {
	t.Parallel()
	started := make(chan struct{})
	gw := gateway.Must(gateway.New(gateway.Config{
		DrainTimeout: 50 * time.Millisecond,
		Routes: []gateway.Route{{Name: "stuck", Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(started)
			<-r.Context().Done()
		})}},
	}))
	ctx, cancel := context.WithCancel(t.Context())
	l := listen(t)
	ran := make(chan error, 1)
	go func() { ran <- gw.Run(ctx, gateway.NewServer("", gw), l) }()
	gone := make(chan struct{})
	go func() { defer close(gone); _, _, _ = fetch("http://" + l.Addr().String()) }()
	<-started
	cancel()
	require.ErrorIs(t, <-ran, context.DeadlineExceeded)
	<-gone
}

func TestRunReportsFailures(t *testing.T) {
	t.Parallel()
	taken := listen(t)
	defer taken.Close()
	owned := &closer{}
	config := gateway.Config{Owns: []io.Closer{owned}, Routes: []gateway.Route{{Name: "r", Handler: say("")}}}

	gw := gateway.Must(gateway.New(config))
	require.Error(t, gw.Run(t.Context(), gateway.NewServer(taken.Addr().String(), gw)), "the address is in use")
	require.EqualValues(t, 1, owned.closed.Load())

	gw = gateway.Must(gateway.New(config))
	require.ErrorContains(t, gw.Run(t.Context(), nil), "needs a server")

	closed := listen(t)
	require.NoError(t, closed.Close())
	require.ErrorContains(t, gw.Run(t.Context(), gateway.NewServer("", gw), listen(t), closed), "serving failed")

	// A server shut down by somebody else ends Run cleanly.
	gw = gateway.Must(gateway.New(config))
	srv := gateway.NewServer("", gw)
	ran := make(chan error, 1)
	l := listen(t)
	go func() { ran <- gw.Run(t.Context(), srv, l) }()
	_, _, err := fetch("http://" + l.Addr().String())
	require.NoError(t, err)
	require.NoError(t, srv.Shutdown(t.Context()))
	require.NoError(t, <-ran)
}

func TestServers(t *testing.T) {
	t.Parallel()
	require.Empty(t, gateway.CheckServer(gateway.NewServer(":8080", say(""))))
	require.Equal(t, []string{"the server is nil"}, gateway.CheckServer(nil))
	bare := gateway.CheckServer(&http.Server{})
	for i, want := range []string{"Handler", "ReadHeaderTimeout", "IdleTimeout", "MaxHeaderBytes", "DisableGeneralOptionsHandler", "HTTP2.MaxConcurrentStreams", "HTTP2.WriteByteTimeout"} {
		require.Contains(t, bare[i], want)
	}
	srv := gateway.NewServer("", say(""))
	srv.ReadTimeout, srv.WriteTimeout = time.Second, time.Second
	srv.Protocols.SetUnencryptedHTTP2(true)
	srv.TLSConfig.MinVersion = 0x0301
	require.Len(t, gateway.CheckServer(srv), 4)
}
