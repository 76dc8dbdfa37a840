package dns_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/balancer/discovery"
	"github.com/gatehouse-go/gateway/contrib/dns"
)

// until waits for something to be delivered.
func (w *watched) until(t *testing.T, want string) {
	t.Helper()
	require.Eventually(t, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return slices.Contains(w.lines, want)
	}, patience, time.Millisecond, "%q", w.lines)
}

// Over the sockets of this system: two servers of which one is dead, an answer that does not fit into UDP.
func TestLoopback(t *testing.T) {
	t.Parallel()
	z := &zone{lie: func(via, _ string, _, m *mdns.Msg) []*mdns.Msg {
		if m.Compress = true; via == "udp" {
			m.Truncate(1232)
		}
		return []*mdns.Msg{m}
	}}
	dead, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, dead.Close())
	addr := server(t, z)
	var many []string
	for i := range 3000 {
		many = append(many, fmt.Sprintf("users.test. 0 IN A 10.1.%d.%d", i/250, i%250))
	}
	z.has(many...)
	s, err := dns.New(dns.Config{URL: "http://users.test", Servers: []string{dead.LocalAddr().String(), addr}, MinTTL: 50 * time.Millisecond, Timeout: 5 * time.Second})
	require.NoError(t, err)
	w := watch(t, s)
	require.Eventually(t, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.lines) > 0 && strings.Count(w.lines[0], "http://") == 3000
	}, patience, time.Millisecond)
	require.Equal(t, []string{addr + " udp A users.test", addr + " tcp A users.test"}, z.questions()[:2])
	z.has("users.test. 0 IN CNAME b.test.", "b.test. 0 IN A 10.0.0.1")
	w.until(t, "http://10.0.0.1 (users.test)")
	w.end(t)
}

// Package discovery, whose answers come from net.Resolver, against the same server.
func TestNetResolver(t *testing.T) {
	t.Parallel()
	z := &zone{soa: negative}
	addr := server(t, z)
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	ask := func(s interface {
		Ask(ctx context.Context) ([]balancer.Target, error)
	}) string {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return line(s.Ask(ctx))
	}
	d := discovery.DNS{URL: "http://users.test.:80", Resolver: resolver}
	z.has("users.test. 30 IN CNAME b.test.", "b.test. 30 IN A 10.0.0.1", "b.test. 30 IN AAAA 2001:db8::1")
	require.Equal(t, "http://10.0.0.1:80 (users.test.:80)", ask(d))
	d.Family = discovery.AllFamilies
	require.Equal(t, "http://10.0.0.1:80 (users.test.:80), http://[2001:db8::1]:80 (users.test.:80)", ask(d))
	z.has("users.test. 30 IN TXT x")
	require.Contains(t, ask(d), "no such host")
	z.set(func(z *zone) { z.rcode = mdns.RcodeServerFailure })
	require.Contains(t, ask(d), "server misbehaving")
	z.set(func(z *zone) { z.rcode = 0 })

	s := discovery.SRV{Name: srv + ".", Resolver: resolver}
	z.has(srv+". 30 IN SRV 1 7 8081 b.test.", srv+". 30 IN SRV 0 5 8080 a.test.", "a.test. 30 IN A 10.0.0.1", "b.test. 30 IN A 10.0.0.2")
	require.Equal(t, "http://10.0.0.1:8080 (a.test:8080) 5/0, http://10.0.0.2:8081 (b.test:8081) 7/1", ask(s))
	z.has(srv+". 30 IN SRV 0 5 8080 a.test.", srv+`. 30 IN SRV 0 5 8080 a\000b.test.`, "a.test. 30 IN A 10.0.0.1")
	require.Equal(t, "http://10.0.0.1:8080 (a.test:8080) 5/0", ask(s), "net.Resolver leaves out what is no name, and says so")
	// As they watch.
	d.Interval, d.Family = 20*time.Millisecond, discovery.PreferIPv4
	z.has("users.test. 30 IN A 10.0.0.1")
	w := watch(t, d)
	w.until(t, "http://10.0.0.1:80 (users.test.:80)")
	z.has("users.test. 30 IN A 10.0.0.2", "users.test. 30 IN A 10.0.0.3")
	w.until(t, "http://10.0.0.2:80 (users.test.:80), http://10.0.0.3:80 (users.test.:80)")
	w.end(t)
}

// targets are servers at one port of several addresses of loopback.
func targets(t *testing.T, n int) (port string, served []*atomic.Int64) {
	t.Helper()
	for range 100 {
		port = "0"
		var all []net.Listener
		for i := range n {
			l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", fmt.Sprintf("127.0.0.%d:%s", i+1, port))
			if err != nil { // somebody has that port there
				break
			}
			_, port, _ = net.SplitHostPort(l.Addr().String())
			all = append(all, l)
		}
		if len(all) < n {
			for _, l := range all {
				_ = l.Close()
			}
			continue
		}
		for _, l := range all {
			count := new(atomic.Int64)
			s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				count.Add(1)
				w.WriteHeader(http.StatusNoContent)
			})}
			var serving sync.WaitGroup
			serving.Go(func() { _ = s.Serve(l) })
			t.Cleanup(func() { _ = s.Close(); serving.Wait() })
			served = append(served, count)
		}
		return port, served
	}
	require.Fail(t, "there is no port that is free at all addresses; does this system have 127.0.0.2?")
	return "", nil
}

// Targets are added and removed in DNS while requests are made, none of which fails; also while the server of DNS is out.
func TestUpstream(t *testing.T) {
	t.Parallel()
	port, served := targets(t, 3)
	z := &zone{}
	addr := server(t, z)
	set := func(n int) {
		var records []string
		for i := range served { // names stay: else a round could see the records of before, and their names no more
			if records = append(records, fmt.Sprintf("n%d.test. 0 IN A 127.0.0.%d", i, i+1)); i < n {
				records = append(records, fmt.Sprintf("%s. 0 IN SRV 0 1 %s n%d.test.", srv, port, i))
			}
		}
		z.has(records...)
	}
	set(1)
	s, err := dns.New(dns.Config{SRV: srv, Servers: []string{addr}, MinTTL: 20 * time.Millisecond, MaxTTL: 50 * time.Millisecond, Timeout: 5 * time.Second})
	require.NoError(t, err)
	var changes atomic.Int64
	up, err := gateway.NewUpstream(gateway.UpstreamConfig{Name: "users", Discovery: balancer.Discovery{
		Source: s, FirstAnswer: patience, OnChange: func(balancer.DiscoveryChange) { changes.Add(1) },
	}})
	require.NoError(t, err)
	defer func() { require.NoError(t, up.Close()) }()

	stop := make(chan struct{})
	var load sync.WaitGroup
	var asked, failed atomic.Int64
	for range 4 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				w := httptest.NewRecorder()
				up.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil))
				if asked.Add(1); w.Code != http.StatusNoContent {
					failed.Add(1)
				}
			}
		})
	}
	has := func(n int) {
		t.Helper()
		require.Eventually(t, func() bool { return len(up.Status().Targets) == n }, patience, time.Millisecond)
		before := served[n-1].Load()
		require.Eventually(t, func() bool { return served[n-1].Load() > before+20 }, patience, time.Millisecond, "each gets requests")
	}
	has(1)
	set(3)
	has(3)
	z.set(func(z *zone) { z.rcode = mdns.RcodeServerFailure })
	require.Eventually(t, func() bool { return up.Status().Discovery.Err != nil }, patience, time.Millisecond)
	has(3)
	set(2)
	z.set(func(z *zone) { z.rcode = 0 })
	has(2)
	require.Eventually(t, func() bool { return up.Status().Discovery.Err == nil }, patience, time.Millisecond)
	set(0) // the name does not exist
	require.Eventually(t, func() bool { return up.Status().Discovery.Err != nil }, patience, time.Millisecond)
	has(2)
	close(stop)
	load.Wait()
	t.Logf("%d requests, %d failed, %d changes", asked.Load(), failed.Load(), changes.Load())
	require.Zero(t, failed.Load())
}

// A name that is not there is told by the constructor of the upstream.
func TestFirstAnswer(t *testing.T) {
	t.Parallel()
	z := &zone{}
	s, err := dns.New(dns.Config{URL: "http://user.test", Servers: []string{"192.0.2.1"}, Dial: z.dial})
	require.NoError(t, err)
	_, err = gateway.NewUpstream(gateway.UpstreamConfig{Name: "users", Discovery: balancer.Discovery{Source: s, FirstAnswer: 50 * time.Millisecond}})
	require.ErrorContains(t, err, "lookup user.test: the name does not exist (NXDOMAIN)")
}
