package regress_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
)

// net/http closes a connection that has agreed on HTTP/2 without a word where the listener was wrapped in TLS by the caller and
// the server's own TLSConfig names no protocols.
func TestHTTP2OverAListenerOfOnesOwn(t *testing.T) {
	t.Parallel()
	helper := httptest.NewUnstartedServer(nil)
	helper.EnableHTTP2 = true
	helper.StartTLS() // for its certificate
	t.Cleanup(helper.Close)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	gw := must(gateway.New(gateway.Config{Routes: []gateway.Route{{Name: "all", Handler: handlerOf("up")}}}))
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ran := make(chan error, 1)
	go func() {
		ran <- gw.Run(ctx, gateway.NewServer("", gw), tls.NewListener(l, &tls.Config{Certificates: helper.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}}))
	}()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ran)
	})
	for proto, offers := range map[string]bool{"HTTP/2.0": true, "HTTP/1.1": false} {
		client := helper.Client().Transport.(*http.Transport).Clone()
		client.ForceAttemptHTTP2 = offers
		if !offers {
			client.TLSClientConfig.NextProtos, client.Protocols = []string{"http/1.1"}, new(http.Protocols)
			client.Protocols.SetHTTP1(true)
		}
		res, err := client.RoundTrip(must(http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+l.Addr().String(), nil)))
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, proto, res.Proto)
		client.CloseIdleConnections()
	}
}
