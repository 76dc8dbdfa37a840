package config_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/config"
	"github.com/gatehouse-go/gateway/gatewaytest"
)

// zone is a Resolver whose names are set.
type zone struct {
	mu    sync.Mutex
	addrs map[string][]string
	srv   map[string][]*net.SRV
}

func (z *zone) set(name string, addrs ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.addrs[name] = addrs
}

func (z *zone) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	var out []netip.Addr
	for _, a := range z.addrs[host] {
		out = append(out, netip.MustParseAddr(a))
	}
	if len(out) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return out, nil
}

func (z *zone) LookupSRV(_ context.Context, _, _, name string) (string, []*net.SRV, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	return name, z.srv[name], nil
}

// Names in a file are found at their addresses, each of which is a target, and again when these change or others are written.
func TestNamesAreLookedUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, r.Host) })
		var ups []*gatewaytest.Upstream
		for i := range 5 {
			ups = append(ups, gatewaytest.NewUpstream(fmt.Sprintf("10.0.0.%d:8000", i+1), echo))
		}
		z := &zone{
			addrs: map[string][]string{"a.internal": {"10.0.0.1", "10.0.0.2"}, "other.internal": {"10.0.0.5"}, "single.internal": {"10.0.0.1", "10.0.0.4"}},
			srv:   map[string][]*net.SRV{"b.internal": {{Target: "other.internal.", Port: 8000, Weight: 50}}},
		}
		file := filepath.Join(t.TempDir(), "kong.yml")
		write := func(targets string) {
			require.NoError(t, os.WriteFile(file, []byte(`
_format_version: "3.0"
upstreams:
- name: pool.internal
  targets: [`+targets+`]
services:
- {name: pooled, host: pool.internal, routes: [{name: pooled, paths: [/pooled]}]}
- {name: single, host: single.internal, port: 8000, routes: [{name: single, paths: [/single]}]}
`), 0o600))
		}
		write(`{target: "a.internal:8000"}, {target: "b.internal:9", weight: 50}, {target: "10.0.0.3:8000", weight: 50}, {target: "none.internal"}`)
		r, err := config.NewReloader(config.ReloaderConfig{File: file, Options: config.Options{
			Resolver: z, Dial: gatewaytest.Dial(ups...), Logger: slog.New(slog.DiscardHandler),
		}})
		require.NoError(t, err)
		synctest.Wait()
		ask := func(path string, n int) map[string]int {
			got := map[string]int{}
			before := make([]int, len(ups))
			for i, u := range ups {
				before[i] = len(u.Requests())
			}
			for range n {
				w := httptest.NewRecorder()
				r.Gateway().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
				require.Equal(t, 200, w.Code)
				got[w.Body.String()]++
			}
			for i, u := range ups {
				if d := len(u.Requests()) - before[i]; d > 0 {
					got[fmt.Sprint("at ", i+1)] = d
				}
			}
			return got
		}
		require.Equal(t, map[string]int{"a.internal:8000": 200, "b.internal:9": 50, "10.0.0.3:8000": 50, "at 1": 100, "at 2": 100, "at 3": 50, "at 5": 50}, ask("/pooled", 300))
		require.Equal(t, map[string]int{"single.internal:8000": 10, "at 1": 5, "at 4": 5}, ask("/single", 10))

		z.set("a.internal", "10.0.0.4")
		time.Sleep(time.Minute)
		require.Equal(t, map[string]int{"a.internal:8000": 100, "b.internal:9": 50, "10.0.0.3:8000": 50, "at 4": 100, "at 3": 50, "at 5": 50}, ask("/pooled", 200))

		before := upstreamOf(t, r.Gateway(), "pooled")
		write(`{target: "a.internal:8000"}`)
		changed, err := r.Reload()
		require.NoError(t, err)
		require.True(t, changed)
		synctest.Wait()
		require.Equal(t, map[string]int{"a.internal:8000": 10, "at 4": 10}, ask("/pooled", 10))
		after := upstreamOf(t, r.Gateway(), "pooled")
		require.Equal(t, requestsAt(before, "http://10.0.0.4:8000")+10, requestsAt(after, "http://10.0.0.4:8000"), "what stays keeps its state")

		require.NoError(t, r.Gateway().Shutdown(t.Context()))
		for _, u := range ups {
			require.NoError(t, u.Close())
		}
	})
}

func upstreamOf(t *testing.T, gw *gateway.Gateway, name string) gateway.UpstreamStatus {
	t.Helper()
	for _, u := range gw.Status().Upstreams {
		if u.Name == name {
			return u
		}
	}
	require.Failf(t, "there is no such upstream", "%s", name)
	return gateway.UpstreamStatus{}
}

func requestsAt(u gateway.UpstreamStatus, url string) uint64 {
	for _, m := range u.Targets {
		if m.URL == url {
			return m.Requests
		}
	}
	return 0
}

// TestNamesThatAreKnownAtOnce: what a resolver says before the configuration has been read to its end stays.
func TestNamesThatAreKnownAtOnce(t *testing.T) {
	t.Parallel()
	z := &zone{addrs: map[string][]string{"a.internal": {"10.0.0.1"}}}
	for range 200 {
		s, err := config.Load("kong.yml", strings.NewReader(`
_format_version: "3.0"
upstreams:
- {name: pool.internal, targets: [{target: "a.internal:8000"}]}
services:
- {name: pooled, host: pool.internal, routes: [{name: pooled, paths: [/pooled]}]}
`), config.Options{Resolver: z, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		gw := gateway.Must(gateway.New(s.Gateway))
		require.Eventually(t, func() bool { return !upstreamOf(t, gw, "pooled").Discovery.Answered.IsZero() }, 10*time.Second, time.Millisecond)
		require.Equal(t, "http://10.0.0.1:8000", upstreamOf(t, gw, "pooled").Targets[0].URL)
		require.NoError(t, gw.Shutdown(t.Context()))
	}
}
