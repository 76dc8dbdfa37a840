package resilience_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/balancer/discovery"
	"github.com/gatehouse-go/gateway/balancer/healthcheck"
	"github.com/gatehouse-go/gateway/internal/rawtest"
)

// zone is a Resolver that knows one name.
type zone struct{ addrs atomic.Pointer[[]netip.Addr] }

func (z *zone) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return *z.addrs.Load(), nil
}

func (*zone) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	return "", nil, nil
}

// set has the name lead to so many addresses of loopback.
func (z *zone) set(n int) {
	var all []netip.Addr
	for i := range n {
		all = append(all, netip.AddrFrom4([4]byte{127, 0, 0, byte(i + 1)}))
	}
	z.addrs.Store(&all)
}

// listeners returns listeners at one port of so many addresses.
func listeners(t *testing.T, n int) []net.Listener {
	t.Helper()
	for range 100 {
		var all []net.Listener
		port := "0"
		for i := range n {
			l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", fmt.Sprintf("127.0.0.%d:%s", i+1, port))
			if err != nil { // somebody has that port there
				break
			}
			_, port, err = net.SplitHostPort(l.Addr().String())
			require.NoError(t, err)
			all = append(all, l)
		}
		if len(all) == n {
			return all
		}
		for _, l := range all {
			_ = l.Close()
		}
	}
	require.Fail(t, "there is no port that is free at all addresses; does this system have 127.0.0.2?")
	return nil
}

// A service is scaled from 3 to 30 to 3 targets under load. Those that go end once they have answered what they have.
func TestScaledService(t *testing.T) {
	t.Parallel()
	const few, many = 3, 30
	ls := listeners(t, many)
	_, port, err := net.SplitHostPort(ls[0].Addr().String())
	require.NoError(t, err)
	servers := make([]*http.Server, many)
	served := make([]atomic.Int64, many)
	for i, l := range ls {
		servers[i] = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			served[i].Add(1)
			if r.Host != "users.test:"+port {
				w.WriteHeader(http.StatusMisdirectedRequest)
				return
			}
			time.Sleep(5 * time.Millisecond)
			w.WriteHeader(http.StatusNoContent)
		})}
		go func() { _ = servers[i].Serve(l) }()
		t.Cleanup(func() { _ = servers[i].Close() })
	}
	z := new(zone)
	z.set(few)
	up := upstream(t, gateway.UpstreamConfig{
		SlowStart: 100 * time.Millisecond,
		Discovery: balancer.Discovery{Source: discovery.DNS{URL: "http://users.test:" + port, Interval: 50 * time.Millisecond, Resolver: z}},
	})
	has := func(n int) func() bool { return func() bool { return len(up.Status().Targets) == n } }
	l := begin(up, 500, func(n int) *http.Request {
		return httptest.NewRequest([]string{http.MethodGet, http.MethodPost}[n%2], "/", nil)
	})
	l.during(t, 300)
	z.set(many)
	require.Eventually(t, has(many), 3*rawtest.Patience, time.Millisecond)
	l.during(t, 1000)
	for i := range served {
		require.Positive(t, served[i].Load(), i)
	}
	z.set(few)
	require.Eventually(t, has(few), 3*rawtest.Patience, time.Millisecond)
	for _, s := range servers[few:] {
		require.NoError(t, s.Shutdown(t.Context()))
	}
	l.during(t, 500)
	results := l.end()
	t.Logf("%d requests, %d failed", len(results), len(failures(results)))
	require.Empty(t, failures(results))
}

// A target that was found at an address proves to be the service by its certificate, to requests and to checks.
func TestDiscoveredTLS(t *testing.T) {
	t.Parallel()
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		var checks atomic.Int64
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/healthz" {
				checks.Add(1)
			}
			if r.TLS.ServerName != "example.com" || r.Host != "example.com:"+r.Header.Get("X-Port") && r.URL.Path != "/healthz" {
				w.WriteHeader(http.StatusMisdirectedRequest)
				return
			}
			w.WriteHeader(http.StatusNoContent)
		}))
		s.EnableHTTP2 = proto == "HTTP/2.0"
		s.StartTLS()
		t.Cleanup(s.Close)
		_, port, err := net.SplitHostPort(s.Listener.Addr().String())
		require.NoError(t, err)
		roots := x509.NewCertPool()
		roots.AddCert(s.Certificate()) // which is for example.com
		z := new(zone)
		z.set(1)
		for _, tt := range []struct {
			name   string
			status int
			health balancer.HealthState
		}{{"example.com", 204, balancer.Healthy}, {"other.test", 502, balancer.Failing}} {
			up := upstream(t, gateway.UpstreamConfig{
				TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
				Health: balancer.Health{
					Passive: balancer.Passive{Off: true},
					Active:  balancer.Active{Checker: healthcheck.HTTP{Path: "/healthz"}, Interval: 20 * time.Millisecond},
				},
				Discovery: balancer.Discovery{Source: discovery.DNS{URL: "https://" + tt.name + ":" + port, Resolver: z}},
			})
			r := get(0)
			r.Header.Set("X-Port", port)
			w := httptest.NewRecorder()
			up.ServeHTTP(w, r)
			require.Equal(t, tt.status, w.Code)
			require.Eventually(t, func() bool {
				target := up.Status().Targets[0]
				return target.Health == tt.health && !target.CheckedAt.IsZero()
			}, rawtest.Patience, time.Millisecond)
		}
		require.Positive(t, checks.Load())
	}
}
