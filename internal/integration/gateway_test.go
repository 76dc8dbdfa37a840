package integration_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/observe"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/ratelimit"
)

func TestMain(m *testing.M) {
	useFailing()
	goleak.VerifyTestMain(m)
}

// patience bounds every wait for what should come at once.
const patience = 30 * time.Second

// bounded is the context of a test that does not hang.
func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// receive takes a value that should be there soon.
func receive[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-bounded(t).Done():
		require.FailNow(t, "nothing came", what)
		panic("unreachable")
	}
}

// certified returns a certificate for 127.0.0.1, and who vouches for it.
func certified() (tls.Certificate, *x509.CertPool) {
	srv := httptest.NewUnstartedServer(nil)
	srv.StartTLS()
	defer srv.Close()
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	return srv.TLS.Certificates[0], pool
}

// trusting is the configuration of a client that trusts the peers of these tests.
func trusting() *tls.Config {
	_, pool := certified()
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
}

// presenting is the configuration of a server they trust.
func presenting() *tls.Config {
	certificate, _ := certified()
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}}
}

// A journal is an access log.
type journal struct {
	mu  sync.Mutex
	all bytes.Buffer
}

// Write implements [io.Writer].
func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.all.Write(p)
}

// String returns what was logged so far.
func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.all.String()
}

// policies are those of most gateways here: request ids and an access log, keys, and a limit.
func policies(t *testing.T, log *journal, limit ratelimit.Limit) []gateway.Plugin {
	t.Helper()
	observer, err := observe.New(observe.Config{Log: slog.New(slog.NewTextHandler(log, nil))})
	require.NoError(t, err)
	keys, err := keyauth.New(keyauth.Config{Consumers: auth.Static{"ann-key": {ID: "1", Username: "ann"}}, HideCredentials: true})
	require.NoError(t, err)
	limiter, err := ratelimit.New(ratelimit.Config{Limits: []ratelimit.Limit{limit}, Key: policy.ByConsumer()})
	require.NoError(t, err)
	return []gateway.Plugin{observer, keys, limiter}
}

// upstream is an upstream with one target.
func upstream(t *testing.T, c gateway.UpstreamConfig, target string) *gateway.Upstream {
	t.Helper()
	c.Name, c.Targets, c.TLS = "up", []balancer.Target{{URL: target}}, trusting()
	u, err := gateway.NewUpstream(c)
	require.NoError(t, err)
	return u
}

// A running gateway.
type running struct {
	addr string
	// stop has it shut down, and returns when it has.
	stop func()
}

// run serves a gateway until the test ends, with TLS unless configure takes it away.
func run(t *testing.T, c gateway.Config, configure func(*http.Server)) running {
	t.Helper()
	c.Logger = slog.New(slog.DiscardHandler)
	gw, err := gateway.New(c)
	require.NoError(t, err)
	srv := gateway.NewServer("", gw)
	srv.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelWarn)
	srv.TLSConfig = presenting()
	if configure != nil {
		configure(srv)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	if srv.TLSConfig != nil {
		l = tls.NewListener(l, srv.TLSConfig)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- gw.Run(ctx, srv, l) }()
	stop := sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	t.Cleanup(stop)
	return running{addr, stop}
}

// plain has a gateway serve without TLS.
func plain(srv *http.Server) { srv.TLSConfig = nil }
