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
	"strings"
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

// frugal is a target that allocates nothing once its connections are there: it answers each request with the same bytes.
func frugal(tb testing.TB, answer string) string {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = l.Close() })
	serve := func(c net.Conn) {
		defer c.Close()
		in, out, n := make([]byte, 64<<10), []byte(answer), 0
		for {
			m, err := c.Read(in[n:])
			if err != nil {
				return
			}
			n += m
			head := bytes.Index(in[:n], []byte("\r\n\r\n"))
			if head < 0 {
				continue
			}
			switch at := bytes.Index(in[:head], []byte("Content-Length: ")); {
			case bytes.Contains(in[:head], []byte("chunked")):
				if !bytes.HasSuffix(in[:n], []byte("0\r\n\r\n")) {
					continue
				}
			case at >= 0:
				length := 0
				for _, d := range in[at+len("Content-Length: ") : head+1] {
					if d < '0' || d > '9' {
						break
					}
					length = length*10 + int(d-'0')
				}
				if n < head+4+length {
					continue
				}
			}
			n = 0
			if _, err := c.Write(out); err != nil {
				return
			}
		}
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return "http://" + l.Addr().String()
}

// TestProxyAllocations holds each path through an upstream, its entry included, to what it costs: the request's Exchange and
// copy, and what goes into the header of the answer.
func TestProxyAllocations(t *testing.T) {
	if race.Enabled || testing.Short() {
		t.Skip("the race detector allocates")
	}
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Sun, 29 Nov 2026 00:00:00 GMT\r\n"
	kib := strings.Repeat("x", 1<<10)
	chunk := "400\r\n" + kib + "\r\n"
	sized := ok + "Content-Length: 1024\r\n\r\n" + kib
	for _, tt := range []struct {
		name, method, answer string
		body                 []byte
		chunked              bool
		most                 float64 // what was measured; those with a body include the test's own io.NopCloser
	}{
		{"GET", http.MethodGet, sized, nil, false, 6},
		{"GET, 1 MiB", http.MethodGet, ok + "Content-Length: 1048576\r\n\r\n" + strings.Repeat(kib, 1<<10), nil, false, 8},
		{"GET, chunked", http.MethodGet, ok + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat(chunk, 4) + "0\r\n\r\n", nil, false, 16},
		{"POST, 16 KiB", http.MethodPost, sized, make([]byte, 16<<10), false, 12},
		{"POST, 48 KiB", http.MethodPost, sized, make([]byte, 48<<10), false, 15},
		{"POST, chunked", http.MethodPost, sized, make([]byte, 4<<10), true, 16},
	} {
		u, err := gateway.NewUpstream(gateway.UpstreamConfig{Name: "up", Targets: []balancer.Target{{URL: frugal(t, tt.answer)}}})
		require.NoError(t, err)
		h := policy.Must(policy.NewEntry(policy.EntryConfig{})).Wrap(u)
		r, body := benchRequest(tt.method, tt.body), bytes.NewReader(tt.body)
		if tt.chunked {
			r.ContentLength = -1
		}
		w := &discard{h: http.Header{}}
		least := math.Inf(1)
		for range 5 { // a garbage collection that empties pools in between would count, too
			least = min(least, testing.AllocsPerRun(100, func() {
				if clear(w.h); tt.body != nil {
					body.Reset(tt.body)
					r.Body = io.NopCloser(body)
				}
				h.ServeHTTP(w, r)
			}))
		}
		t.Logf("%s: %v allocations", tt.name, least)
		require.LessOrEqual(t, least, tt.most, tt.name)
		require.NoError(t, u.Close())
	}
}
