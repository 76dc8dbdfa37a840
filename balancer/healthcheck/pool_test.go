package healthcheck_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/balancer/healthcheck"
)

// A pool tells apart what becomes of checks, and sees when it is over.
func TestPool(t *testing.T) {
	t.Parallel()
	const well, hangs, resets, fails = 0, 1, 2, 3
	var state [4]atomic.Int32 // of the targets, but the first
	targets := make([]balancer.Target, len(state))
	release := make(chan struct{})
	for i := range state {
		url, _ := server(t, false, true, false, func(w http.ResponseWriter, r *http.Request) {
			switch state[i].Load() {
			case hangs:
				select {
				case <-r.Context().Done():
				case <-release:
				}
			case resets:
				panic(http.ErrAbortHandler)
			case fails:
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		})
		targets[i].URL = url
	}
	var refuses atomic.Pointer[string] // where to dial in place of the first target
	nowhere := strings.TrimPrefix(without(t), "http://")
	refuses.Store(&nowhere)
	first := strings.TrimPrefix(targets[0].URL, "http://")
	changes := make(chan balancer.HealthChange, 100)
	p, err := balancer.NewPool(balancer.Config{Targets: targets, Health: balancer.Health{
		Active: balancer.Active{
			Checker: healthcheck.HTTP{Path: "/healthz"}, Interval: 10 * time.Millisecond, Timeout: 500 * time.Millisecond,
			Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				if address == first {
					address = *refuses.Load()
				}
				return new(net.Dialer).DialContext(ctx, network, address)
			},
		},
		OnChange: func(c balancer.HealthChange) { changes <- c },
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	next := func() balancer.HealthChange {
		select {
		case c := <-changes:
			return c
		case <-time.After(patience):
			require.Failf(t, "nothing came", "%+v", p.Status())
			return balancer.HealthChange{}
		}
	}
	c := next()
	require.Equal(t, targets[0].URL, c.Target)
	require.Equal(t, "connect_refused", c.Reason)
	for i, reason := range []string{hangs: "timeouts", resets: "tcp_failures", fails: "http_failures"} {
		if reason == "" {
			continue
		}
		state[i].Store(int32(i))
		c := next()
		require.Equal(t, targets[i].URL, c.Target)
		require.Equal(t, reason, c.Reason, "%v", c.Err)
		require.Equal(t, balancer.Failing, c.To)
		require.Equal(t, 3-i, c.Pool.Healthy)
		if i == fails {
			require.Equal(t, 503, c.Status)
		} else {
			require.Zero(t, c.Status)
		}
	}
	require.True(t, p.Health().Panic)
	close(release)
	refuses.Store(&first)
	for i := range state {
		state[i].Store(well)
	}
	for range state {
		c := next()
		require.Equal(t, "checks_succeeded", c.Reason)
		require.Equal(t, balancer.Healthy, c.To)
	}
	require.Equal(t, balancer.PoolHealth{Targets: 4, Healthy: 4, Share: 1}, p.Health())
	for _, s := range p.Status() {
		require.NoError(t, s.CheckError)
		require.Zero(t, s.Requests, "checks are no requests")
	}
}

// Targets that are an IPv6 address, a socket, or have TLS.
func TestPoolOfKinds(t *testing.T) {
	t.Parallel()
	secure, config := server(t, true, true, true, answers(200))
	targets := []balancer.Target{{URL: secure}}
	path := t.TempDir() + "/s"
	for network, address := range map[string]string{"tcp6": "[::1]:0", "unix": path} {
		l, err := new(net.ListenConfig).Listen(t.Context(), network, address)
		if err != nil {
			t.Logf("there is no %s here: %v", network, err)
			continue
		}
		srv := &http.Server{Handler: answers(200), ReadHeaderTimeout: patience}
		ended := make(chan error, 1)
		go func() { ended <- srv.Serve(l) }()
		t.Cleanup(func() {
			_ = srv.Close()
			<-ended
		})
		if network == "unix" {
			targets = append(targets, balancer.Target{URL: "http://s.test", Socket: path})
		} else {
			targets = append(targets, balancer.Target{URL: "http://" + l.Addr().String()})
		}
	}
	p, err := balancer.NewPool(balancer.Config{Targets: targets, Health: balancer.Health{Active: balancer.Active{
		Checker: healthcheck.HTTP{}, Interval: time.Millisecond, Timeout: patience, TLS: func() *tls.Config { return config },
	}}})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	for i := range targets {
		require.Eventually(t, func() bool { return !p.Status()[i].CheckedAt.IsZero() }, patience, time.Millisecond)
		require.NoError(t, p.Status()[i].CheckError, "%v", targets[i])
	}
}
