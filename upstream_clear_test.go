package gateway_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
)

// A gRPC service without TLS is reached in HTTP/2, with and without round trippers of the application.
func TestUnencryptedHTTP2(t *testing.T) {
	t.Parallel()
	service := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		_, _ = fmt.Fprintf(w, "%s %s %s: ", r.Proto, r.Host, r.Header.Get("Te"))
		_, _ = io.Copy(w, r.Body)
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
	}))
	service.Config.Protocols = new(http.Protocols)
	service.Config.Protocols.SetUnencryptedHTTP2(true)
	service.Start()
	t.Cleanup(service.Close)
	for name, outbound := range map[string][]func(http.RoundTripper) http.RoundTripper{
		"direct": nil, "through": {func(next http.RoundTripper) http.RoundTripper { return next }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := frontHTTP2(t, upstream(t, gateway.UpstreamConfig{UnencryptedHTTP2: true, Outbound: outbound}, service.URL))
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+"/pkg.Service/Method", strings.NewReader("message"))
			require.NoError(t, err)
			r.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}
			res, err := srv.Client().Do(r)
			require.NoError(t, err)
			require.Equal(t, "HTTP/2.0 "+strings.TrimPrefix(service.URL, "http://")+" trailers: message", text(t, res))
			require.Equal(t, "0", res.Trailer.Get("Grpc-Status"))
		})
	}
}

// A target that was not told answers nothing that could be passed on.
func TestUnencryptedHTTP2IsNotUnderstood(t *testing.T) {
	t.Parallel()
	old := httptest.NewUnstartedServer(say("HTTP/1.1"))
	old.Config.ErrorLog = log.New(io.Discard, "", 0)
	old.Start()
	t.Cleanup(old.Close)
	srv := front(t, upstream(t, gateway.UpstreamConfig{UnencryptedHTTP2: true}, old.URL))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, nil)
	require.NoError(t, err)
	res, err := srv.Client().Do(r)
	require.NoError(t, err)
	require.Equal(t, http.StatusBadGateway, res.StatusCode)
	require.NoError(t, res.Body.Close())
}

// What a target ends with its head ends with it for the client, too: gRPC looks for the status of a failed call there.
func TestHeadThatEndsAnAnswer(t *testing.T) {
	t.Parallel()
	service := frontHTTP2(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Grpc-Status", "12")
	}))
	own, err := service.Client().Post(service.URL, "application/grpc", strings.NewReader("message"))
	require.NoError(t, err)
	require.NoError(t, own.Body.Close())
	roots := service.Client().Transport.(*http.Transport).TLSClientConfig
	u := upstream(t, gateway.UpstreamConfig{TLS: roots}, service.URL)
	for name, forward := range map[string]gateway.Forward{"default": {}, "flushed": {FlushInterval: -1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := frontHTTP2(t, gateway.Must(gateway.New(gateway.Config{Logger: quiet(), Routes: []gateway.Route{{Name: "all", Handler: u, Forward: forward}}})))
			res, err := srv.Client().Post(srv.URL, "application/grpc", strings.NewReader("message"))
			require.NoError(t, err)
			require.IsType(t, own.Body, res.Body, "there is no frame behind the head")
			require.Equal(t, "12", res.Header.Get("Grpc-Status"))
			require.NoError(t, res.Body.Close())
		})
	}
}
