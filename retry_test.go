package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/policy"
)

// mishap is a target that fails in one way, or answers with what it got.
type mishap struct {
	url string
	got atomic.Int64 // requests
}

// serve returns how it fails to fail a request, or to answer it.
func (b *mishap) serve(how string) func(*net.TCPConn, *bufio.Reader) {
	return func(c *net.TCPConn, in *bufio.Reader) {
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			n := b.got.Add(1)
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			how := how
			if first, found := strings.CutSuffix(how, " at first"); found {
				if how = first; n > 1 {
					how = ""
				}
			}
			switch how {
			case "reset":
				_ = c.SetLinger(0)
				return
			case "reset later":
				time.Sleep(100 * time.Millisecond)
				_ = c.SetLinger(0)
				return
			case "close":
				return
			case "stall":
				_, _ = io.Copy(io.Discard, in)
				return
			case "hint, reset":
				_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
				return
			case "slow":
				time.Sleep(300 * time.Millisecond)
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
			case "late":
				time.Sleep(300 * time.Millisecond)
				_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </late>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
			case "half":
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
				return
			case "503", "404":
				_, _ = io.WriteString(c, "HTTP/1.1 "+how+" X\r\nContent-Length: 4\r\n\r\nfail")
			case "503 in a moment":
				_, _ = io.WriteString(c, "HTTP/1.1 503 X\r\nRetry-After: 0\r\nContent-Length: 4\r\n\r\nfail")
			case "503 for ever":
				_, _ = io.WriteString(c, "HTTP/1.1 503 X\r\nRetry-After: 99999999999999999999\r\nContent-Length: 4\r\n\r\nfail")
			case "503 later":
				_, _ = io.WriteString(c, "HTTP/1.1 503 X\r\nRetry-After: 3600\r\nContent-Length: 4\r\n\r\nfail")
			default:
				text := r.Method + " " + string(body)
				_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
			}
		}
	}
}

// mishaps returns targets, one for each way; "refused" is an address where nobody listens.
func mishaps(t *testing.T, ways ...string) ([]*mishap, []balancer.Target) {
	t.Helper()
	all, targets := make([]*mishap, len(ways)), make([]balancer.Target, len(ways))
	for i, how := range ways {
		b := new(mishap)
		if how == "refused" {
			l := listen(t)
			b.url = "http://" + l.Addr().String()
			require.NoError(t, l.Close())
		} else {
			b.url = scripted(t, b.serve(how))
		}
		all[i], targets[i] = b, balancer.Target{URL: b.url}
	}
	return all, targets
}

// inTurn has targets asked in their order, whatever they answer.
var inTurn = balancer.Health{Passive: balancer.Passive{Off: true}}

// retrying returns an upstream.
func retrying(t *testing.T, c gateway.UpstreamConfig) *gateway.Upstream {
	t.Helper()
	c.Name = "up"
	up, err := gateway.NewUpstream(c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, up.Close()) })
	return up
}

// Which tries are made, and what of a request they carry.
func TestRetries(t *testing.T) {
	t.Parallel()
	put := func(size int) *http.Request {
		return httptest.NewRequest(http.MethodPut, "/", strings.NewReader(strings.Repeat("b", size)))
	}
	inChunks := func(r *http.Request) *http.Request {
		r.ContentLength = -1
		return r
	}
	with := func(method, key string) *http.Request {
		r := httptest.NewRequest(method, "/", nil)
		if key != "" {
			r.Header["Idempotency-Key"] = []string{key}
		}
		return r
	}
	get := func() *http.Request { return with(http.MethodGet, "") }
	post := func(body string) *http.Request {
		return httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	}
	tests := []struct {
		about  string
		ways   []string
		retry  policy.Retry
		r      *http.Request
		status int
		body   string
		got    []int64 // requests of each target
	}{
		{"GET, refused", []string{"refused", ""}, policy.Retry{}, get(), 200, "GET ", []int64{0, 1}},
		{"GET, refused twice", []string{"refused", "refused", ""}, policy.Retry{}, get(), 200, "GET ", []int64{0, 0, 1}},
		{"GET, refused by all", []string{"refused", "refused"}, policy.Retry{}, get(), 502, "", []int64{0, 0}},
		{"GET, refused more often than it may be", []string{"refused", "refused", "refused", ""}, policy.Retry{}, get(), 502, "", []int64{0, 0, 0, 0}},
		{"GET, four tries", []string{"refused", "refused", "refused", ""}, policy.Retry{Tries: 4}, get(), 200, "GET ", []int64{0, 0, 0, 1}},
		{"GET, one try", []string{"refused", ""}, policy.Retry{Tries: 1}, get(), 502, "", []int64{0, 0}},
		{"GET, no try at all", []string{"refused", ""}, policy.Retry{Tries: -1}, get(), 502, "", []int64{0, 0}},
		{"POST, refused", []string{"refused", ""}, policy.Retry{}, post("body"), 200, "POST body", []int64{0, 1}},
		{"POST in chunks, refused", []string{"refused", ""}, policy.Retry{}, inChunks(post("body")), 200, "POST body", []int64{0, 1}},
		{"a large POST, refused", []string{"refused", "refused", ""}, policy.Retry{}, post(strings.Repeat("b", 100_000)), 200, "POST " + strings.Repeat("b", 100_000), []int64{0, 0, 1}},
		{"GET, reset", []string{"reset", ""}, policy.Retry{}, get(), 200, "GET ", []int64{1, 1}},
		{"GET, closed", []string{"close", ""}, policy.Retry{BackOff: -1}, get(), 200, "GET ", []int64{1, 1}},
		{"GET, reset by the only one", []string{"reset"}, policy.Retry{}, get(), 502, "", []int64{1}},
		{"GET, reset by the only one, three tries", []string{"reset"}, policy.Retry{Tries: 3}, get(), 502, "", []int64{3}},
		{"GET, reset by the only one at first", []string{"reset at first"}, policy.Retry{Tries: 3}, get(), 200, "GET ", []int64{2}},
		{"GET, refused by the only one", []string{"refused"}, policy.Retry{Tries: 3}, get(), 502, "", []int64{0}},
		{"POST, reset by the only one", []string{"reset at first"}, policy.Retry{Tries: 3}, post("body"), 502, "", []int64{1}},
		{"PUT in memory, reset by both", []string{"reset at first", "reset at first"}, policy.Retry{MaxBody: 4, Tries: 3}, put(4), 200, "PUT bbbb", []int64{2, 1}},
		{"DELETE, reset", []string{"reset", ""}, policy.Retry{}, with(http.MethodDelete, ""), 200, "DELETE ", []int64{1, 1}},
		{"POST, reset", []string{"reset", ""}, policy.Retry{}, with(http.MethodPost, ""), 502, "", []int64{1, 0}},
		{"PATCH, reset", []string{"reset", ""}, policy.Retry{}, with(http.MethodPatch, ""), 502, "", []int64{1, 0}},
		{"POST, which may be repeated", []string{"reset", ""}, policy.Retry{Methods: []string{"POST"}}, with(http.MethodPost, ""), 200, "POST ", []int64{1, 1}},
		{"POST with a key that means nothing", []string{"reset", ""}, policy.Retry{}, with(http.MethodPost, "k"), 502, "", []int64{1, 0}},
		{"POST with a key", []string{"reset", ""}, policy.Retry{IdempotencyKey: true}, with(http.MethodPost, "k"), 200, "POST ", []int64{1, 1}},
		{"POST without the key", []string{"reset", ""}, policy.Retry{IdempotencyKey: true}, with(http.MethodPost, ""), 502, "", []int64{1, 0}},
		{"PUT, reset", []string{"reset", ""}, policy.Retry{}, put(4), 502, "", []int64{1, 0}},
		{"PUT in memory, reset", []string{"reset", ""}, policy.Retry{MaxBody: 4}, put(4), 200, "PUT bbbb", []int64{1, 1}},
		{"PUT in memory, reset twice", []string{"reset", "close", ""}, policy.Retry{MaxBody: 1 << 20}, put(500_000), 200, "PUT " + strings.Repeat("b", 500_000), []int64{1, 1, 1}},
		{"PUT too large", []string{"reset", ""}, policy.Retry{MaxBody: 4}, put(5), 502, "", []int64{1, 0}},
		{"PUT too large, refused", []string{"refused", ""}, policy.Retry{MaxBody: 4}, put(5), 200, "PUT bbbbb", []int64{0, 1}},
		{"PUT in chunks in memory", []string{"reset", ""}, policy.Retry{MaxBody: 4}, inChunks(put(4)), 200, "PUT bbbb", []int64{1, 1}},
		{"PUT in chunks, too large", []string{"reset", ""}, policy.Retry{MaxBody: 4}, inChunks(put(5)), 502, "", []int64{1, 0}},
		{"PUT in chunks, too large, passed on", []string{""}, policy.Retry{MaxBody: 4}, inChunks(put(50_000)), 200, "PUT " + strings.Repeat("b", 50_000), []int64{1}},
		{"POST is not held back", []string{""}, policy.Retry{MaxBody: 4}, post("body"), 200, "POST body", []int64{1}},
		{"503", []string{"503", ""}, policy.Retry{}, get(), 503, "fail", []int64{1, 0}},
		{"503, which is repeated", []string{"503", ""}, policy.Retry{Statuses: []int{502, 503}}, get(), 200, "GET ", []int64{1, 1}},
		{"503 of all", []string{"503", "503", "503", "503"}, policy.Retry{Statuses: []int{503}}, get(), 503, "fail", []int64{1, 1, 1, 0}},
		{"503 of the only one", []string{"503"}, policy.Retry{Statuses: []int{503}}, get(), 503, "fail", []int64{1}},
		{"503 of the only one at first", []string{"503 at first"}, policy.Retry{Statuses: []int{503}, Tries: 2}, get(), 200, "GET ", []int64{2}},
		{"503 of the only one, four tries", []string{"503"}, policy.Retry{Statuses: []int{503}, Tries: 4}, get(), 503, "fail", []int64{4}},
		{"503 to a POST", []string{"503", ""}, policy.Retry{Statuses: []int{503}}, with(http.MethodPost, ""), 503, "fail", []int64{1, 0}},
		{"404, which is not", []string{"404", ""}, policy.Retry{Statuses: []int{502, 503}}, get(), 404, "fail", []int64{1, 0}},
		{"503, after which one waits", []string{"503 in a moment", ""}, policy.Retry{Statuses: []int{503}}, get(), 200, "GET ", []int64{1, 1}},
		{"503, after which one would wait too long", []string{"503 later", ""}, policy.Retry{Statuses: []int{503}}, get(), 503, "fail", []int64{1, 0}},
		{"503, after which one would wait for ever", []string{"503 for ever", ""}, policy.Retry{Statuses: []int{503}}, get(), 503, "fail", []int64{1, 0}},
		{"503, after which one does not wait", []string{"503 in a moment", ""}, policy.Retry{Statuses: []int{503}, MaxRetryAfter: -1}, get(), 200, "GET ", []int64{1, 1}},
		{"a slow one", []string{"stall", ""}, policy.Retry{PerTry: 50 * time.Millisecond}, get(), 200, "GET ", []int64{1, 1}},
		{"slow ones", []string{"stall", "stall"}, policy.Retry{PerTry: 50 * time.Millisecond}, get(), 504, "", []int64{1, 1}},
		{"slow ones, three tries", []string{"stall", "stall"}, policy.Retry{PerTry: 50 * time.Millisecond, Tries: 3}, get(), 504, "", []int64{2, 1}},
		{"a slow one that is the only one", []string{"stall at first"}, policy.Retry{PerTry: 50 * time.Millisecond, Tries: 2}, get(), 200, "GET ", []int64{2}},
		{"a slow one to a POST", []string{"stall", ""}, policy.Retry{PerTry: 50 * time.Millisecond}, with(http.MethodPost, ""), 504, "", []int64{1, 0}},
		{"a hint has gone out, which a recorder takes for all", []string{"hint, reset", ""}, policy.Retry{}, get(), 103, "", []int64{1, 0}},
		{"nothing, and then another failure", []string{"refused", "reset", "503", ""}, policy.Retry{Tries: 9, Statuses: []int{503}}, get(), 200, "GET ", []int64{0, 1, 1, 1}},
	}
	for _, tt := range tests {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			for _, standard := range []bool{false, true} {
				all, targets := mishaps(t, tt.ways...)
				c := gateway.UpstreamConfig{Targets: targets, Retry: tt.retry, Health: inTurn}
				if standard {
					c.Outbound = []func(http.RoundTripper) http.RoundTripper{func(next http.RoundTripper) http.RoundTripper { return next }}
				}
				r := tt.r.Clone(t.Context())
				if tt.r.Body != nil {
					body, err := io.ReadAll(tt.r.Body)
					require.NoError(t, err)
					tt.r.Body, r.Body = io.NopCloser(strings.NewReader(string(body))), io.NopCloser(strings.NewReader(string(body)))
				}
				x, r := policy.Ensure(r)
				w := httptest.NewRecorder()
				retrying(t, c).ServeHTTP(w, r)
				require.Equal(t, tt.status, w.Code)
				if tt.body != "" {
					require.Equal(t, tt.body, w.Body.String())
				}
				made := 0
				for i, b := range all {
					require.Equal(t, tt.got[i], b.got.Load(), "target %d", i)
				}
				for i, try := range x.Tries() {
					require.Equal(t, i+1, try.Number)
					made++
				}
				require.LessOrEqual(t, made, max(tt.retry.Tries, policy.DefaultTries))
			}
		})
	}
}

// A name that leads nowhere is not asked for again, but other targets are.
func TestRetryOfNames(t *testing.T) {
	t.Parallel()
	for _, targets := range [][]balancer.Target{{{URL: "http://nowhere.test"}}, {{URL: "http://nowhere.test"}, {URL: "http://nor.test"}}} {
		var dials atomic.Int64
		up := retrying(t, gateway.UpstreamConfig{
			Targets: targets, Retry: policy.Retry{Tries: 5}, Health: inTurn,
			Dial: func(_ context.Context, _, address string) (net.Conn, error) {
				dials.Add(1)
				return nil, &net.DNSError{Err: "no such host", Name: address, IsNotFound: true}
			},
		})
		w := httptest.NewRecorder()
		up.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		require.GreaterOrEqual(t, w.Code, 502)
		require.EqualValues(t, len(targets), dials.Load())
	}
}

// An answer that broke off behind its head is the last word.
func TestNoRetryOfHalfAnAnswer(t *testing.T) {
	t.Parallel()
	all, targets := mishaps(t, "half", "")
	up := retrying(t, gateway.UpstreamConfig{Targets: targets, Retry: policy.Retry{Statuses: []int{500}}})
	require.PanicsWithError(t, http.ErrAbortHandler.Error(), func() { up.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)) })
	require.EqualValues(t, 1, all[0].got.Load())
	require.Zero(t, all[1].got.Load())
}

// What a route says comes before what the upstream says.
func TestRetryOfARoute(t *testing.T) {
	t.Parallel()
	_, targets := mishaps(t, "503", "")
	up := retrying(t, gateway.UpstreamConfig{Targets: targets, Retry: policy.Retry{Statuses: []int{502}, Tries: 5}})
	gw, err := gateway.New(gateway.Config{Logger: slog.New(slog.DiscardHandler), Routes: []gateway.Route{
		{Name: "repeats", Match: gateway.Match{Paths: []string{"/repeats"}}, Handler: up, Forward: gateway.Forward{Retry: policy.Retry{Statuses: []int{503}}}},
		{Name: "does not", Match: gateway.Match{Paths: []string{"/does/not"}}, Handler: up, Forward: gateway.Forward{Retry: policy.Retry{Tries: 1}}},
	}})
	require.NoError(t, err)
	for path, want := range map[string][]int{"/repeats": {200, 200, 200, 200}, "/does/not": {503, 200, 503, 200}} {
		for _, status := range want {
			w := httptest.NewRecorder()
			gw.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			if path == "/repeats" {
				require.Equal(t, status, w.Code)
			} else {
				require.Contains(t, []int{503, 200}, w.Code)
			}
		}
	}
}

// A backend that fails whatever it is asked gets no more than 1.2 times its traffic, from any number of clients.
func TestRetryBudget(t *testing.T) {
	t.Parallel()
	for name, ways := range map[string][]string{
		"close": {"close", "close", "close"}, "503": {"503", "503", "503"}, "one that closes": {"close"}, "one with 503": {"503"}, "one that refuses": {"refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, targets := mishaps(t, ways...)
			up := retrying(t, gateway.UpstreamConfig{Targets: targets, Retry: policy.Retry{Statuses: []int{503}, BackOff: -1, Tries: 3}, RetryBudget: gateway.RetryBudget{Min: -1}})
			const requests = 3000
			var clients sync.WaitGroup
			for range 30 {
				clients.Go(func() {
					for range requests / 30 {
						up.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
					}
				})
			}
			clients.Wait()
			got := uint64(0)
			for _, s := range up.Status().Targets {
				got += s.Requests
			}
			require.LessOrEqual(t, got, uint64(requests*1.2))
			require.Greater(t, got, uint64(requests*1.1), "and the budget is used")
		})
	}
}

// A body that is declared and does not come takes no memory.
func TestKeptBodiesTakeWhatHasCome(t *testing.T) { //nolint:paralleltest // it counts what the process allocates
	_, targets := mishaps(t, "")
	up := retrying(t, gateway.UpstreamConfig{Targets: targets, Retry: policy.Retry{MaxBody: 64 << 20}})
	ask := func() {
		r := httptest.NewRequest(http.MethodPut, "/", iotest.ErrReader(io.ErrUnexpectedEOF))
		r.ContentLength = 64 << 20
		w := httptest.NewRecorder()
		up.ServeHTTP(w, r)
		require.Equal(t, 400, w.Code)
	}
	ask()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	ask()
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(256<<10))
}

// A connection serves on after an answer that was not passed on.
func TestRetriedAnswersKeepTheirConnections(t *testing.T) {
	t.Parallel()
	_, targets := mishaps(t, "503", "")
	var conns atomic.Int64
	up := retrying(t, gateway.UpstreamConfig{
		Targets: targets, Retry: policy.Retry{Statuses: []int{503}, BackOff: -1},
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			conns.Add(1)
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	})
	for range 6 {
		w := httptest.NewRecorder()
		up.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		require.Equal(t, 200, w.Code)
	}
	require.LessOrEqual(t, conns.Load(), int64(3))
}

// A client that leaves while another try is waited for is not answered, and Close waits for nobody.
func TestRetryIsGivenUp(t *testing.T) {
	t.Parallel()
	begin := func(ctx context.Context) (*gateway.Upstream, *httptest.ResponseRecorder, <-chan any) {
		all, targets := mishaps(t, "reset", "")
		up := retrying(t, gateway.UpstreamConfig{Targets: targets, Retry: policy.Retry{BackOff: time.Hour}})
		w, ended := httptest.NewRecorder(), make(chan any, 1)
		go func() {
			defer func() { ended <- recover() }()
			up.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx))
		}()
		require.Eventually(t, func() bool { return all[0].got.Load() == 1 }, 10*time.Second, time.Millisecond)
		return up, w, ended
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, _, ended := begin(ctx)
	cancel()
	<-ended
	up, w, ended := begin(t.Context())
	require.NoError(t, up.Close())
	require.Nil(t, <-ended)
	require.Contains(t, []int{502, 503}, w.Code) // the reset, or that the upstream was closed over it
}

// hookOf counts tries.
type hookOf struct{ begun, ended []int }

func (h *hookOf) BeginTry(ctx context.Context, t *policy.Try) context.Context {
	h.begun = append(h.begun, t.Number)
	t.Out.Header.Set("X-Try", fmt.Sprint(t.Number))
	return ctx
}
func (h *hookOf) EndTry(_ context.Context, t *policy.Try) { h.ended = append(h.ended, t.Number) }

// gates lets everybody in and counts.
type gates struct{ in, out atomic.Int64 }

func (g *gates) Admit(context.Context, string) (policy.Ticket, error) { g.in.Add(1); return 0, nil }
func (g *gates) Done(policy.Ticket, policy.Outcome)                   { g.out.Add(1) }

// Each try is admitted, told to hooks and counted for its target by itself.
func TestRetriesAreTriesOfTheirOwn(t *testing.T) {
	t.Parallel()
	_, targets := mishaps(t, "refused", "reset", "")
	g, h := new(gates), new(hookOf)
	up := retrying(t, gateway.UpstreamConfig{Targets: targets, Admission: []policy.Admission{g}, Health: inTurn})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	x, r := policy.Ensure(r)
	x.OnTry(h)
	w := httptest.NewRecorder()
	up.ServeHTTP(w, r)
	require.Equal(t, 200, w.Code)
	require.Equal(t, []int64{3, 3}, []int64{g.in.Load(), g.out.Load()})
	require.Equal(t, []int{1, 2, 3}, h.begun)
	require.Equal(t, h.begun, h.ended)
	tries := x.Tries()
	require.Len(t, tries, 3)
	require.Equal(t, []string{targets[0].URL, targets[1].URL, targets[2].URL}, []string{tries[0].Target, tries[1].Target, tries[2].Target})
	require.Error(t, tries[0].Err)
	require.Equal(t, 200, tries[2].Status)
	for i, s := range up.Status().Targets {
		require.EqualValues(t, 1, s.Requests, i)
		require.Zero(t, s.InFlight)
	}
}

func TestRetryConfig(t *testing.T) {
	t.Parallel()
	retry := policy.Retry{Statuses: []int{502, 200, 600}, Methods: []string{"POST", "a b", ""}}
	_, err := gateway.NewUpstream(gateway.UpstreamConfig{Name: "up", Targets: []balancer.Target{{URL: "http://a.test"}}, Retry: retry, RetryBudget: gateway.RetryBudget{Share: 1.1}})
	require.EqualError(t, err, "gateway: UpstreamConfig.Retry.Statuses[1] 200 is no failure; list statuses from 400 to 599, such as 502\n"+
		"gateway: UpstreamConfig.Retry.Statuses[2] 600 is no failure; list statuses from 400 to 599, such as 502\n"+
		"gateway: UpstreamConfig.Retry.Methods[1] \"a b\" is no method; write it in capitals, such as POST\n"+
		"gateway: UpstreamConfig.Retry.Methods[2] \"\" is no method; write it in capitals, such as POST\n"+
		"gateway: UpstreamConfig.RetryBudget.Share 1.1 is no share of the requests, or more than all; 0.2 is usual")
	_, err = gateway.NewUpstream(gateway.UpstreamConfig{
		Name: "up", Targets: []balancer.Target{{URL: "http://a.test"}}, RetryBudget: gateway.RetryBudget{Share: math.NaN()},
		Retry: policy.Retry{Methods: []string{"post"}, PerTry: 2 * time.Hour, BackOff: math.MaxInt64, Hedge: 24 * time.Hour},
	})
	require.EqualError(t, err, "gateway: UpstreamConfig.Retry.Methods[0] \"post\" is no method; write it in capitals, such as POST\n"+
		"gateway: UpstreamConfig.Retry.PerTry 2h0m0s is more than 1h0m0s, for which no client waits\n"+
		"gateway: UpstreamConfig.Retry.BackOff 2562047h47m16.854775807s is more than 1h0m0s, for which no client waits\n"+
		"gateway: UpstreamConfig.Retry.Hedge 24h0m0s is more than 1h0m0s, for which no client waits\n"+
		"gateway: UpstreamConfig.RetryBudget.Share NaN is no share of the requests, or more than all; 0.2 is usual")
	_, err = gateway.New(gateway.Config{Routes: []gateway.Route{{Name: "r", Handler: http.NotFoundHandler(), Forward: gateway.Forward{Retry: retry}}}})
	require.ErrorContains(t, err, `route "r": Forward.Retry.Statuses[1] 200`)
}

// A target is told how long there is for its answer, and not by the client.
func TestTimeoutHeader(t *testing.T) {
	t.Parallel()
	var got atomic.Pointer[[]string]
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		values := r.Header.Values("X-Request-Timeout-Ms")
		got.Store(&values)
	}))
	t.Cleanup(s.Close)
	for _, tt := range []struct {
		about    string
		timeouts gateway.Timeouts
		retry    policy.Retry
		header   string
		from, to int // milliseconds; 0 for no field
	}{
		{"what is left", gateway.Timeouts{Total: time.Minute}, policy.Retry{}, "X-Request-Timeout-Ms", 50_000, 60_000},
		{"the name as it is written", gateway.Timeouts{Total: time.Minute}, policy.Retry{}, "x-request-timeout-ms", 50_000, 60_000},
		{"less for a try", gateway.Timeouts{Total: time.Minute}, policy.Retry{PerTry: 25 * time.Second}, "X-Request-Timeout-Ms", 20_000, 25_000},
		{"a try alone", gateway.Timeouts{}, policy.Retry{PerTry: 25 * time.Second}, "X-Request-Timeout-Ms", 20_000, 25_000},
		{"no time", gateway.Timeouts{}, policy.Retry{}, "X-Request-Timeout-Ms", 0, 0},
		{"another name, under which the client's goes on", gateway.Timeouts{Total: time.Minute}, policy.Retry{}, "X-Other", 1, 1},
	} {
		t.Run(tt.about, func(t *testing.T) {
			for _, standard := range []bool{false, true} {
				c := gateway.UpstreamConfig{Name: "up", Targets: []balancer.Target{{URL: s.URL}}}
				if standard {
					c.Outbound = []func(http.RoundTripper) http.RoundTripper{func(next http.RoundTripper) http.RoundTripper { return next }}
				}
				gw, err := gateway.New(gateway.Config{Logger: slog.New(slog.DiscardHandler), Routes: []gateway.Route{{
					Name: "r", Handler: retrying(t, c), Forward: gateway.Forward{Timeouts: tt.timeouts, Retry: tt.retry, TimeoutHeader: tt.header},
				}}})
				require.NoError(t, err)
				r := httptest.NewRequest(http.MethodGet, "/", nil)
				r.Header.Add("X-Request-Timeout-Ms", "1")
				w := httptest.NewRecorder()
				gw.ServeHTTP(w, r)
				require.Equal(t, 200, w.Code)
				if tt.to == 0 {
					require.Empty(t, *got.Load())
					continue
				}
				require.Len(t, *got.Load(), 1)
				n, err := strconv.Atoi((*got.Load())[0])
				require.NoError(t, err)
				require.GreaterOrEqual(t, n, tt.from)
				require.LessOrEqual(t, n, tt.to)
			}
		})
	}
	for _, name := range []string{"a b", "Connection", "X-Forwarded-For", "x_consumer_id", "Content-Length"} {
		_, err := gateway.New(gateway.Config{Routes: []gateway.Route{{Name: "r", Handler: http.NotFoundHandler(), Forward: gateway.Forward{TimeoutHeader: name}}}})
		require.ErrorContains(t, err, fmt.Sprintf("route \"r\": Forward.TimeoutHeader %q is no name", name))
	}
	for _, name := range []string{"Expect", "authorization", "Cookie"} {
		_, err := gateway.New(gateway.Config{Routes: []gateway.Route{{Name: "r", Handler: http.NotFoundHandler(), Forward: gateway.Forward{TimeoutHeader: name}}}})
		require.ErrorContains(t, err, fmt.Sprintf("route \"r\": Forward.TimeoutHeader %q is a field with a meaning of its own", name))
	}
}
