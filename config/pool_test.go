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
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/config"
	"github.com/gatehouse-go/gateway/gatewaytest"
)

// flaky is a Resolver whose names are 10.0.0.N by their first letter, that fails as often as it is told and can hang.
type flaky struct {
	fails, asked  atomic.Int64
	hangs, panics atomic.Bool
}

func (f *flaky) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	f.asked.Add(1)
	if f.panics.Load() {
		panic("resolver")
	}
	if f.hangs.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if f.fails.Add(-1) >= 0 {
		return nil, &net.DNSError{Err: "server misbehaving", Name: host, IsTemporary: true}
	}
	return []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, host[0] - 'a' + 1})}, nil
}

func (*flaky) LookupSRV(_ context.Context, _, _, name string) (string, []*net.SRV, error) {
	return "", nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

// pooled is a gateway from a file with one upstream, of whose targets there are three: 10.0.0.1 to 3, which a.test to c.test are, too.
type pooled struct {
	*testing.T

	ups  []*gatewaytest.Upstream
	file string
	r    *config.Reloader
}

func newPooled(t *testing.T, dns *flaky, fields, targets string) *pooled {
	t.Helper()
	p := &pooled{T: t, file: filepath.Join(t.TempDir(), "kong.yml")}
	for i := range 3 {
		p.ups = append(p.ups, gatewaytest.NewUpstream(fmt.Sprintf("10.0.0.%d:80", i+1)))
	}
	p.write(fields, targets)
	o := config.Options{Dial: gatewaytest.Dial(p.ups...), Logger: slog.New(slog.DiscardHandler)}
	if dns != nil {
		o.Resolver = dns
	}
	var err error
	p.r, err = config.NewReloader(config.ReloaderConfig{File: p.file, Options: o, Interval: -1})
	require.NoError(t, err)
	return p
}

func (p *pooled) write(fields, targets string) {
	p.Helper()
	require.NoError(p, os.WriteFile(p.file, []byte(`_format_version: "3.0"
services: [{name: s, host: up, retries: 0, read_timeout: 86400000, routes: [{name: r, paths: [/]}]}]
upstreams: [{name: up, `+fields+` targets: [`+targets+`]}]
`), 0o600))
}

func (p *pooled) reload(fields, targets string) {
	p.Helper()
	p.write(fields, targets)
	changed, err := p.r.Reload()
	require.NoError(p, err)
	require.True(p, changed)
}

// asks makes n requests, and returns how many each of the upstreams got; or fails, unless all are answered with status.
func (p *pooled) asks(n, status int) (got [3]int) {
	p.Helper()
	for i, u := range p.ups {
		got[i] = -len(u.Requests())
	}
	for i := range n {
		w := httptest.NewRecorder()
		p.r.Gateway().ServeHTTP(w, httptest.NewRequest(http.MethodGet, fmt.Sprintf("/%d", i), nil))
		require.Equal(p, status, w.Code)
	}
	for i, u := range p.ups {
		got[i] += len(u.Requests())
	}
	return got
}

func (p *pooled) close() {
	require.NoError(p, p.r.Gateway().Shutdown(p.Context()))
	for _, u := range p.ups {
		require.NoError(p, u.Close())
	}
}

// What names were found at stays when the file changes, however the questions go that are asked then.
func TestReloadWhileDNSFails(t *testing.T) {
	t.Parallel()
	const both = `{target: "a.test:80"}, {target: "b.test:80", weight: %d}`
	synctest.Test(t, func(t *testing.T) {
		dns := &flaky{}
		p := newPooled(t, dns, "", fmt.Sprintf(both, 100))
		synctest.Wait()
		require.Equal(t, [3]int{5, 5, 0}, p.asks(10, 200))

		dns.fails.Store(1000)
		p.reload("", fmt.Sprintf(both, 0))
		require.Equal(t, [3]int{10, 0, 0}, p.asks(10, 200), "at once")
		p.reload("", fmt.Sprintf(both, 300))
		synctest.Wait()
		require.Equal(t, [3]int{5, 15, 0}, p.asks(20, 200), "and it comes back, where it was")
		p.reload("algorithm: least-connections,", fmt.Sprintf(both, 100)+`, {target: "10.0.0.3:80"}`)
		time.Sleep(time.Minute)
		for _, n := range p.asks(30, 200) {
			require.InDelta(t, 10, n, 1)
		}
		p.reload("tags: [x],", fmt.Sprintf(both, 100))
		p.reload("tags: [x, y],", fmt.Sprintf(both, 100))
		p.reload(`healthchecks: {passive: {unhealthy: {tcp_failures: 7}}},`, fmt.Sprintf(both, 100))
		require.Equal(t, [3]int{5, 5, 0}, p.asks(10, 200), "and for a pool that is new")

		dns.fails.Store(0)
		dns.hangs.Store(true)
		p.reload("", `{target: "10.0.0.3:80"}, {target: "a.test:80", weight: 300}`)
		require.Equal(t, [3]int{15, 0, 5}, p.asks(20, 200), "while a question is under way")
		p.reload("", `{target: "10.0.0.3:80"}, {target: "10.0.0.1:80", weight: 0}, {target: "b.test:80"}`)
		time.Sleep(1100 * time.Millisecond)
		require.Equal(t, [3]int{0, 0, 10}, p.asks(10, 200), "a new name is not waited for any longer")
		dns.hangs.Store(false)
		time.Sleep(12 * time.Second)
		require.Equal(t, [3]int{0, 5, 5}, p.asks(10, 200))
		p.close()
	})
}

// A question that fails at the start is asked again soon, and until then names are dialled as they are.
func TestStartWhileDNSFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dns := &flaky{}
		dns.fails.Store(2)
		p := newPooled(t, dns, "", `{target: "a.test:80"}, {target: "b.test:80", weight: 0}`)
		synctest.Wait()
		p.asks(3, 502) // which these upstreams refuse, and others would not
		time.Sleep(1200 * time.Millisecond)
		p.asks(3, 502)
		time.Sleep(2200 * time.Millisecond)
		require.Equal(t, [3]int{3, 0, 0}, p.asks(3, 200))
		require.EqualValues(t, 3, dns.asked.Load())
		p.close()
	})
}

// Whoever applies a snapshot gets what its file says, also where it has taken over what was there, and without a Reloader; and again
// with the one before.
func TestAppliedSnapshots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ups := []*gatewaytest.Upstream{gatewaytest.NewUpstream("10.0.0.1:80"), gatewaytest.NewUpstream("10.0.0.2:80")}
		load := func(before *config.Snapshot, target, fields string) *config.Snapshot {
			s, err := config.Load("kong.yml", strings.NewReader(fmt.Sprintf(`_format_version: "3.0"
services: [{name: s, host: up, routes: [{name: r, paths: [/]}]}]
upstreams: [{name: up, %s targets: [{target: "%s:80"}]}]
`, fields, target)), config.Options{Previous: before, Dial: gatewaytest.Dial(ups...), Logger: slog.New(slog.DiscardHandler)})
			require.NoError(t, err)
			return s
		}
		first := load(nil, "10.0.0.1", "")
		gw, err := gateway.New(first.Gateway)
		require.NoError(t, err)
		ask := func() [2]int {
			before := [2]int{len(ups[0].Requests()), len(ups[1].Requests())}
			for range 4 {
				w := httptest.NewRecorder()
				gw.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
				require.Equal(t, 200, w.Code)
			}
			return [2]int{len(ups[0].Requests()) - before[0], len(ups[1].Requests()) - before[1]}
		}
		second := load(first, "10.0.0.2", "algorithm: latency,")
		require.Equal(t, [2]int{4, 0}, ask(), "not before")
		require.NoError(t, gw.Apply(second.Gateway))
		require.Equal(t, [2]int{0, 4}, ask())
		require.NoError(t, gw.Apply(first.Gateway))
		require.Equal(t, [2]int{4, 0}, ask(), "and the one before, as long as the checks are the same")
		require.NoError(t, gw.Shutdown(t.Context()))
		for _, u := range ups {
			require.NoError(t, u.Close())
		}
	})
}

// What was found about the health of targets outlives all changes but those of the checks.
func TestHealthOutlivesReloads(t *testing.T) {
	t.Parallel()
	const (
		checks = `healthchecks: {passive: {unhealthy: {http_statuses: [500], http_failures: 1}}, active: {type: tcp, unhealthy: {interval: 3600}, healthy: {successes: 1}}},`
		two    = `{target: "10.0.0.1:80"}, {target: "10.0.0.2:80"}`
	)
	for about, c := range map[string]struct{ fields, targets string }{
		"tags":                 {checks + " tags: [x],", two},
		"another target":       {checks, two + `, {target: "10.0.0.3:80"}`},
		"least connections":    {checks + "algorithm: least-connections,", two},
		"latency":              {checks + "algorithm: latency,", two},
		"hashing":              {checks + "hash_on: path,", two},
		"hashing with a name":  {checks + "hash_on: path,", two + `, {target: "c.test:80"}`},
		"the first name":       {checks, two + `, {target: "c.test:80"}`},
		"a name without share": {checks, two + `, {target: "c.test:80", weight: 0}`},
	} {
		t.Run(about, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newPooled(t, &flaky{}, checks, two)
				p.ups[1].Script(gatewaytest.Respond(500, ""))
				synctest.Wait()
				w := httptest.NewRecorder()
				for w.Code != 500 {
					w = httptest.NewRecorder()
					p.r.Gateway().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
				}
				p.ups[1].Script()
				require.Equal(t, [3]int{20, 0, 0}, p.asks(20, 200))
				before := requestsAt(upstreamOf(t, p.r.Gateway(), "s"), "http://10.0.0.1:80")
				p.reload(c.fields, c.targets)
				synctest.Wait()
				got := p.asks(40, 200)
				require.Zero(t, got[1], "it is out")
				require.Equal(t, strings.Count(c.targets, "target:") == 3 && !strings.Contains(c.targets, "weight: 0"), got[2] > 0, "%v", got)
				require.Equal(t, before+uint64(got[0]), requestsAt(upstreamOf(t, p.r.Gateway(), "s"), "http://10.0.0.1:80"), "the other is the same")
				p.reload(strings.Replace(c.fields, "successes: 1", "successes: 2", 1), c.targets) // with names where they were found
				require.Positive(t, p.asks(40, 200)[1], "other checks are to say it anew")
				p.close()
			})
		})
	}
}

// A Resolver that panics for one name harms no other, and is asked again.
func TestResolverThatPanics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dns := &flaky{}
		p := newPooled(t, dns, "", `{target: "a.test:80"}, {target: "b.test:80"}`)
		synctest.Wait()
		dns.panics.Store(true)
		p.reload("", `{target: "a.test:80"}, {target: "b.test:80"}, {target: "c.test:80"}`)
		time.Sleep(2 * time.Second)
		require.Equal(t, [3]int{5, 5, 0}, p.asks(10, 200))
		p.reload("", `{target: "a.test:80"}`)
		require.Equal(t, [3]int{10, 0, 0}, p.asks(10, 200), "at once")
		p.reload("", `{target: "a.test:80"}, {target: "c.test:80"}`)
		dns.panics.Store(false)
		time.Sleep(time.Minute)
		require.Equal(t, [3]int{5, 0, 5}, p.asks(10, 200))
		p.close()
	})
}

// Questions end with the file, too: nothing is asked for a pool that only requests in flight still use.
func TestQuestionsEndWithTheirFile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dns := &flaky{}
		p := newPooled(t, dns, "", `{target: "a.test:80"}`)
		goOn := make(chan struct{})
		p.ups[0].Script(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			<-goOn
		}))
		synctest.Wait()
		var streams sync.WaitGroup
		for i := range 4 {
			streams.Go(func() {
				p.r.Gateway().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
			})
			synctest.Wait()
			p.reload(fmt.Sprintf("healthchecks: {passive: {unhealthy: {tcp_failures: %d}}},", i+1), `{target: "a.test:80"}`)
		}
		synctest.Wait()
		before := dns.asked.Load()
		time.Sleep(10 * time.Minute)
		require.InDelta(t, 20, dns.asked.Load()-before, 3)
		close(goOn)
		streams.Wait()
		p.close()
	})
}

// Checks end with the file that asked for them, also while a request goes on that began with it.
func TestChecksEndWithTheirFile(t *testing.T) {
	t.Parallel()
	const every = "healthchecks: {active: {http_path: /check, timeout: %d, healthy: {interval: 0.1}, unhealthy: {interval: 0.1, http_failures: 1}}},"
	synctest.Test(t, func(t *testing.T) {
		p := newPooled(t, nil, fmt.Sprintf(every, 1), `{target: "10.0.0.1:80"}`)
		goOn := make(chan struct{})
		p.ups[0].Script(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/stream" {
				w.(http.Flusher).Flush()
				<-goOn
			}
		}))
		checks := func() (n int) {
			time.Sleep(time.Second)
			before := len(p.ups[0].Requests())
			time.Sleep(10 * time.Second)
			for _, r := range p.ups[0].Requests()[before:] {
				if r.URI == "/check" {
					n++
				}
			}
			return n
		}
		ended := make(chan int, 3)
		for i := range 3 {
			go func() {
				w := httptest.NewRecorder()
				p.r.Gateway().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/stream", nil))
				ended <- w.Code
			}()
			synctest.Wait()
			require.InDelta(t, 100, checks(), 15)
			p.reload(fmt.Sprintf(every, i+2), `{target: "10.0.0.1:80"}`)
		}
		require.InDelta(t, 100, checks(), 15)
		p.reload("", `{target: "10.0.0.1:80"}`)
		require.Zero(t, checks())
		close(goOn)
		for range 3 {
			require.Equal(t, 200, <-ended)
		}
		p.close()
	})
}
