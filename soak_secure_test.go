package gateway_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
)

// secured returns a listener of the gateway for TLS, and readies the clients for it: of HTTP/2 and of HTTP/1.1.
func (s *chaos) secured(t *testing.T, srv *http.Server) net.Listener {
	t.Helper()
	l := listen(t)
	s.secure = l.Addr().String()
	known := httptest.NewUnstartedServer(nil)
	known.StartTLS() // for its certificate
	known.Close()
	srv.TLSConfig.Certificates = known.TLS.Certificates
	for _, http2 := range []bool{true, false} {
		var only http.Protocols
		only.SetHTTP2(http2)
		only.SetHTTP1(!http2)
		trusts := &tls.Config{RootCAs: known.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com", MinVersion: tls.VersionTLS12}
		s.clients = append(s.clients, &http.Transport{TLSClientConfig: trusts, Protocols: &only, DisableCompression: true})
	}
	l, err := gateway.NewListener(l, gateway.ListenerConfig{})
	require.NoError(t, err)
	return tls.NewListener(l, srv.TLSConfig)
}

// askSecurely sends r over TLS, where other requests may be under way.
func (s *chaos) askSecurely(ctx context.Context, tr *http.Transport, r chaosRequest) {
	out, err := http.ReadRequest(bufio.NewReader(strings.NewReader(r.text)))
	if err != nil {
		s.failf("%v", err)
		return
	}
	out.RequestURI = ""
	out.URL.Scheme, out.URL.Host = "https", s.secure
	res, err := tr.RoundTrip(out.WithContext(ctx))
	if err != nil {
		s.unanswered(r, err, false)
		return
	}
	defer res.Body.Close()
	if s.isRight(r, res, false) && res.StatusCode == http.StatusOK {
		s.count(map[int]string{1: "HTTPS", 2: "HTTP/2"}[res.ProtoMajor], strconv.Itoa(res.StatusCode))
	}
}
