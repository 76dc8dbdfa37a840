package gateway_test

import (
	"bytes"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/internal/race"
	"github.com/gatehouse-go/gateway/policy"
)

// benchBackend answers 1 KiB.
func benchBackend(tb testing.TB) string {
	tb.Helper()
	body := bytes.Repeat([]byte("x"), 1024)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(body)
	}))
	tb.Cleanup(srv.Close)
	return srv.URL
}

// discard is a writer that costs nothing, so that the proxy is measured and not a server.
type discard struct{ h http.Header }

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

// buffers is a pool for httputil's proxy, which allocates 32 KiB per answer without one.
type buffers struct{ sync.Pool }

func (b *buffers) Get() []byte  { return b.Pool.Get().(*[32 << 10]byte)[:] }
func (b *buffers) Put(p []byte) { b.Pool.Put((*[32 << 10]byte)(p)) }

// reverseProxy is the standard library's, with the settings of ours.
func reverseProxy(tb testing.TB, target string) http.Handler {
	tb.Helper()
	u, err := url.Parse(target)
	require.NoError(tb, err)
	transport := &http.Transport{
		DialContext: (&net.Dialer{}).DialContext, DisableCompression: true, MaxIdleConnsPerHost: 64, MaxConnsPerHost: 512,
		IdleConnTimeout: 30 * time.Second, ExpectContinueTimeout: time.Second, ResponseHeaderTimeout: 30 * time.Second, MaxResponseHeaderBytes: 128 << 10,
	}
	tb.Cleanup(transport.CloseIdleConnections)
	pool := &buffers{sync.Pool{New: func() any { return new([32 << 10]byte) }}}
	return &httputil.ReverseProxy{Transport: transport, BufferPool: pool, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(u)
		r.SetXForwarded()
	}}
}

// contenders are the handlers that are compared: ours alone, behind an entry as a gateway has it, and the standard one.
func contenders(tb testing.TB) map[string]http.Handler {
	tb.Helper()
	target := benchBackend(tb)
	u, err := gateway.NewUpstream(gateway.UpstreamConfig{Name: "up", Targets: []balancer.Target{{URL: target}}})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, u.Close()) })
	return map[string]http.Handler{
		"upstream": policy.Must(policy.NewEntry(policy.EntryConfig{})).Wrap(u),
		"httputil": reverseProxy(tb, target),
	}
}

func benchRequest(method string, body []byte) *http.Request {
	r := httptest.NewRequest(method, "http://shop.test/v1/users/42?q=1", bytes.NewReader(body))
	if len(body) == 0 {
		r.Body = http.NoBody
	}
	for _, f := range [...][2]string{{"Accept", "*/*"}, {"Accept-Encoding", "gzip"}, {"User-Agent", "bench"}, {"Cookie", "a=b"}} {
		r.Header.Set(f[0], f[1])
	}
	return r
}

// BenchmarkProxy measures one proxied request without the client's server, over loopback to a server in this process,
// whose allocations count too: compare the rows with each other.
func BenchmarkProxy(b *testing.B) {
	for _, c := range []struct {
		name, method string
		body         []byte
	}{{"GET", http.MethodGet, nil}, {"POST16K", http.MethodPost, make([]byte, 16<<10)}} {
		for name, h := range contenders(b) {
			b.Run(c.name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					h.ServeHTTP(&discard{h: http.Header{}}, benchRequest(c.method, c.body))
				}
			})
		}
	}
}

// TestProxyAllocations holds the upstream side, entry included, to what it costs today. Both counts include the server in the
// same process, which parses six more fields of ours.
func TestProxyAllocations(t *testing.T) {
	if race.Enabled || testing.Short() {
		t.Skip("the race detector allocates")
	}
	count := func(h http.Handler) float64 {
		r := benchRequest(http.MethodGet, nil)
		least := math.Inf(1)
		for range 5 { // a garbage collection that empties pools in between would count, too
			least = min(least, testing.AllocsPerRun(100, func() { h.ServeHTTP(&discard{h: http.Header{}}, r) }))
		}
		return least
	}
	got := map[string]float64{}
	for name, h := range contenders(t) {
		got[name] = count(h)
	}
	t.Logf("allocations per request: %v", got)
	require.LessOrEqual(t, got["upstream"], got["httputil"]-44) // measured 45; the server's part varies by one
}
