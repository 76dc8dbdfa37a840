package healthcheck_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatehouse-go/gateway/balancer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait for what should come at once.
const patience = 10 * time.Second

// dialer counts the connections that are open, and how often it was asked for one.
type dialer struct {
	mu    sync.Mutex
	asked int
	open  map[net.Conn]bool
}

type counted struct {
	net.Conn

	of *dialer
}

func (c counted) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c.Conn)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

func (d *dialer) dial(ctx context.Context, address string) (net.Conn, error) {
	d.mu.Lock()
	d.asked++
	d.mu.Unlock()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open == nil {
		d.open = map[net.Conn]bool{}
	}
	d.open[conn] = true
	return counted{conn, d}, nil
}

// check has c ask a target, and holds that it makes one connection and leaves none.
func check(t *testing.T, c balancer.Checker, target string, config *tls.Config) error {
	t.Helper()
	return checkFor(t, patience, c, target, config)
}

func checkFor(t *testing.T, timeout time.Duration, c balancer.Checker, target string, config *tls.Config) error {
	t.Helper()
	if v, ok := c.(interface{ Validate() error }); ok {
		require.NoError(t, v.Validate())
	}
	u, err := url.Parse(target)
	require.NoError(t, err)
	before := *u
	d := new(dialer)
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	err = c.Check(ctx, balancer.Check{
		Target: balancer.Target{URL: target}, URL: u, TLS: config,
		Dial: func(ctx context.Context) (net.Conn, error) { return d.dial(ctx, u.Host) },
	})
	require.Equal(t, before, *u, "it is shared")
	d.mu.Lock()
	defer d.mu.Unlock()
	require.Equal(t, 1, d.asked)
	require.Empty(t, d.open, "connections that are left")
	return err
}

// raw serves connections on loopback with f, and returns the URL.
func raw(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer func() { _ = conn.Close() }()
				f(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		running.Wait()
	})
	return "http://" + l.Addr().String()
}

// says answers each request with text.
func says(text string) func(net.Conn) {
	return func(conn net.Conn) {
		if request, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_ = request.Body.Close()
			_, _ = conn.Write([]byte(text))
		}
	}
}

// untilClosed reads until the other side is gone.
func untilClosed(conn net.Conn) {
	b := make([]byte, 1<<10)
	for {
		if _, err := conn.Read(b); err != nil {
			return
		}
	}
}

// without returns an address where nothing listens.
func without(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return "http://" + l.Addr().String()
}

// server serves h with these protocols, and returns the URL, and the configuration of a client that trusts it.
func server(t *testing.T, secure, http1, http2 bool, h http.HandlerFunc) (string, *tls.Config) {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(http1)
	srv.Config.Protocols.SetHTTP2(http2)
	srv.Config.Protocols.SetUnencryptedHTTP2(http2)
	srv.Config.ErrorLog = quiet()
	t.Cleanup(srv.Close)
	if !secure {
		srv.Start()
		return srv.URL, nil
	}
	srv.EnableHTTP2 = http2
	srv.StartTLS()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	return srv.URL, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
}
