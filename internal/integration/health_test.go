package integration_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/balancer/healthcheck"
)

// healthAt serves gRPC's own health service, and returns it and its URL.
func healthAt(t *testing.T, secure bool) (*health.Server, string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	scheme, opts := "http://", []grpc.ServerOption(nil)
	if secure {
		scheme, opts = "https://", []grpc.ServerOption{grpc.Creds(credentials.NewTLS(presenting()))}
	}
	srv, service := grpc.NewServer(opts...), health.NewServer()
	healthpb.RegisterHealthServer(srv, service)
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Stop()
		<-ended
	})
	return service, scheme + l.Addr().String()
}

// TestGRPCHealth asks the server that gRPC comes with.
func TestGRPCHealth(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		service, target := healthAt(t, secure)
		u, err := url.Parse(target)
		require.NoError(t, err)
		ask := func(g healthcheck.GRPC) error {
			return g.Check(bounded(t), balancer.Check{
				Target: balancer.Target{URL: target}, URL: u, TLS: trusting(),
				Dial: func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", u.Host) },
			})
		}
		require.NoError(t, ask(healthcheck.GRPC{}))
		users := healthcheck.GRPC{Service: "a.Users"}
		require.EqualError(t, ask(users), `balancer: check: grpc-status is "5"`)
		for status, want := range map[healthpb.HealthCheckResponse_ServingStatus]string{
			healthpb.HealthCheckResponse_SERVING:         "",
			healthpb.HealthCheckResponse_NOT_SERVING:     "balancer: check: it does not say SERVING",
			healthpb.HealthCheckResponse_UNKNOWN:         "balancer: check: it does not say SERVING",
			healthpb.HealthCheckResponse_SERVICE_UNKNOWN: "balancer: check: it does not say SERVING",
		} {
			service.SetServingStatus("a.Users", status)
			if want == "" {
				require.NoError(t, ask(users))
			} else {
				require.EqualError(t, ask(users), want)
			}
		}
		require.NoError(t, ask(healthcheck.GRPC{}), "the server as a whole is another matter")
		service.Shutdown()
		require.Error(t, ask(healthcheck.GRPC{}))
	}
}

// TestGRPCHealthOfPool has a pool go by it.
func TestGRPCHealthOfPool(t *testing.T) {
	t.Parallel()
	a, first := healthAt(t, true)
	_, second := healthAt(t, true)
	changes := make(chan balancer.HealthChange, 9)
	p, err := balancer.NewPool(balancer.Config{Targets: []balancer.Target{{URL: first}, {URL: second}}, Health: balancer.Health{
		Active: balancer.Active{
			Checker: healthcheck.GRPC{}, Interval: 10 * time.Millisecond, Timeout: patience,
			TLS: func() *tls.Config { return trusting() },
		},
		OnChange: func(c balancer.HealthChange) { changes <- c },
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	a.Shutdown()
	c := receive(t, changes, "a is not serving")
	require.True(t, strings.HasPrefix(c.String(), first+": healthy to failing: http_failures; 1 of 2"), c.String())
	a.Resume()
	c = receive(t, changes, "a is serving")
	require.Equal(t, balancer.Healthy, c.To)
}
