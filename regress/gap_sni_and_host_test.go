package regress_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
)

// Where a name in the TLS handshake decides which clients may connect, a request for another host over such a connection goes by
// the rules of the one and to the target of the other.
func TestHostOfAnotherConnection(t *testing.T) {
	t.Parallel()
	gw := must(gateway.New(gateway.Config{Routes: []gateway.Route{
		{Name: "secret", Public: true, Match: gateway.Match{Hosts: []string{"secret.test"}, SNIs: []string{"secret.test"}}, Handler: handlerOf("secret")},
		{Name: "open", Public: true, Match: gateway.Match{Hosts: []string{"open.test"}}, Handler: handlerOf("open")},
	}}))
	srv := httptest.NewTLSServer(gw)
	t.Cleanup(srv.Close)
	status := func(sni, host string) int {
		client := srv.Client().Transport.(*http.Transport).Clone()
		client.TLSClientConfig = &tls.Config{ServerName: sni, InsecureSkipVerify: true}
		defer client.CloseIdleConnections()
		req := must(http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, nil))
		req.Host = host
		res, err := client.RoundTrip(req)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return res.StatusCode
	}
	require.Equal(t, 200, status("secret.test", "secret.test"))
	require.Equal(t, 200, status("SECRET.test", "Secret.test."))
	for _, sni := range []string{"open.test", "xsecret.test", "secret.test.evil.test", "127.0.0.1"} {
		require.Equal(t, 404, status(sni, "secret.test"), sni)
	}
	require.Equal(t, 200, status("open.test", "open.test"))
}

// handlerOf writes text.
func handlerOf(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) })
}
