package transport_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/transport"
)

// closes is a connection that says when it is closed.
type closes struct {
	net.Conn

	gone chan struct{}
	told atomic.Bool
}

// Close implements [net.Conn].
func (c *closes) Close() error {
	if !c.told.Swap(true) {
		close(c.gone)
	}
	return c.Conn.Close()
}

// TestDiallingAcrossEras: a connection that is ready when nobody of its time is left is closed, and one that somebody of an
// earlier time makes is verified by the authorities of now.
func TestDiallingAcrossEras(t *testing.T) {
	t.Parallel()
	for _, h2 := range []bool{false, true} {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		srv.EnableHTTP2 = h2
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		srv.StartTLS()
		t.Cleanup(srv.Close)
		trusted := srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
		var now atomic.Pointer[x509.CertPool]
		var version atomic.Uint64
		set := func(pool *x509.CertPool) {
			now.Store(pool)
			version.Add(1)
		}
		set(trusted)
		dialling, made := make(chan chan struct{}), make(chan *closes, 10)
		s := transport.NewStandard(transport.Config{
			Authorities: func() (*x509.CertPool, uint64) { return now.Load(), version.Load() },
			TLS:         &tls.Config{MinVersion: tls.VersionTLS12},
			Dial: func(context.Context, string, string) (net.Conn, error) {
				hold := make(chan struct{})
				dialling <- hold
				<-hold
				c, err := new(net.Dialer).DialContext(context.Background(), "tcp", srv.Listener.Addr().String())
				if err != nil {
					return nil, err
				}
				out := &closes{Conn: c, gone: make(chan struct{})}
				made <- out
				return out, nil
			},
		})
		limits := transport.Limits{Connect: time.Minute, FirstByte: time.Minute, Idle: time.Minute}
		send := func(ctx context.Context) (done chan error, hold chan struct{}) {
			done = make(chan error, 1)
			go func() {
				res, err := s.Send(outgoing(ctx, srv.URL, nil), limits)
				if err == nil {
					err = res.Body.Close()
				}
				done <- err
			}()
			return done, <-dialling
		}

		leaves, leave := context.WithCancel(t.Context())
		first, hold := send(leaves)
		leave()
		require.Error(t, <-first)
		set(trusted)
		second, holdSecond := send(t.Context())
		close(hold)
		<-(<-made).gone
		close(holdSecond)
		require.NoError(t, <-second)
		<-made

		set(trusted)
		third, hold := send(t.Context())
		set(x509.NewCertPool())
		close(hold)
		require.ErrorContains(t, <-third, "x509", "it began when the target was trusted")
		require.NoError(t, s.Close())
	}
}
