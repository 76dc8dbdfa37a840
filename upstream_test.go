package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
)

func TestUpstreamConfigErrors(t *testing.T) {
	t.Parallel()
	shared, err := balancer.NewPool(balancer.Config{Targets: []balancer.Target{{URL: "http://a.test"}}})
	require.NoError(t, err)
	var noAdmission *admission
	tests := []struct {
		name   string
		config gateway.UpstreamConfig
		want   []string
	}{
		{"empty", gateway.UpstreamConfig{}, []string{
			"gateway: UpstreamConfig.Name is empty; logs, metrics and status tell upstreams apart by it",
			"gateway: UpstreamConfig.Targets: is empty; list at least one target",
		}},
		{"targets", gateway.UpstreamConfig{Name: "u", Targets: []balancer.Target{{URL: "ftp://x"}, {URL: "http://a.test"}, {URL: "http://a.test:80", Weight: 70000}}}, []string{
			`gateway: UpstreamConfig.Targets[0].URL "ftp://x": scheme must be http or https`,
			`gateway: UpstreamConfig.Targets[2].Weight 70000: must be 1 to 65535, 0 for the default of 100, or NoTraffic`,
			`gateway: UpstreamConfig.Targets[2].URL "http://a.test:80": is the same target as Targets[1]; give one of them the weight of both`,
		}},
		{"targets without traffic or scheme", gateway.UpstreamConfig{Name: "u", Targets: []balancer.Target{{URL: "10.0.0.1:8080", Weight: balancer.NoTraffic}, {URL: "localhost:8080", Weight: balancer.NoTraffic}}}, []string{
			`gateway: UpstreamConfig.Targets[0].URL "10.0.0.1:8080": is not a URL (RFC 3986); write http://10.0.0.1:8080`,
			`gateway: UpstreamConfig.Targets[1].URL "localhost:8080": scheme must be http or https; write http://localhost:8080`,
			`gateway: UpstreamConfig.Targets: all have the weight NoTraffic, so that no request could be answered; give one another weight, or take it away later with SetTargets`,
		}},
		{"name and zero pool", gateway.UpstreamConfig{Name: "u\n", Pool: &balancer.Pool{}}, []string{
			`gateway: UpstreamConfig.Name "u\n" has control characters, or is not UTF-8; logs and metrics show it`,
			`gateway: UpstreamConfig.Pool is the zero balancer.Pool, which has no targets; make it with balancer.NewPool`,
		}},
		{"everything else", gateway.UpstreamConfig{
			Name: "u", Pool: shared, Targets: []balancer.Target{{URL: "http://b.test"}}, Algorithm: balancer.RoundRobin{},
			Admission: []policy.Admission{nil, noAdmission}, Outbound: []func(http.RoundTripper) http.RoundTripper{nil}, MaxResponseHeaderBytes: -1,
		}, []string{
			"gateway: UpstreamConfig.Admission[0] is nil; check the error of its constructor",
			"gateway: UpstreamConfig.Admission[1] is nil; check the error of its constructor",
			"gateway: UpstreamConfig.Outbound[0] is nil",
			"gateway: UpstreamConfig.MaxResponseHeaderBytes -1 is negative; 0 means 131072",
			"gateway: UpstreamConfig.Targets and Pool are both set; the targets of a shared pool are set there",
			"gateway: UpstreamConfig.Algorithm and Pool are both set; the algorithm of a shared pool is set there",
		}},
		{"round tripper", gateway.UpstreamConfig{Name: "u", Pool: shared, Outbound: []func(http.RoundTripper) http.RoundTripper{
			func(next http.RoundTripper) http.RoundTripper { return next }, func(http.RoundTripper) http.RoundTripper { return nil },
		}}, []string{"gateway: UpstreamConfig.Outbound[1] returned a nil http.RoundTripper"}},
	}
	for _, tt := range tests {
		u, err := gateway.NewUpstream(tt.config)
		require.Nil(t, u, tt.name)
		require.Error(t, err, tt.name)
		require.Equal(t, strings.Join(tt.want, "\n"), err.Error(), tt.name)
	}
}

func TestZeroUpstream(t *testing.T) {
	t.Parallel()
	for _, u := range []*gateway.Upstream{nil, {}} {
		res := gatewaytest.Do(u, get("/"))
		require.Equal(t, 503, res.StatusCode)
		require.Contains(t, text(t, res), unavailable)
		require.NoError(t, u.Close())
		require.True(t, u.Status().Closed)
		require.Empty(t, u.Name())
	}
}

func TestSharedPool(t *testing.T) {
	t.Parallel()
	up := gatewaytest.NewUpstream("a.test")
	t.Cleanup(func() { require.NoError(t, up.Close()) })
	shared, err := balancer.NewPool(balancer.Config{Targets: []balancer.Target{{URL: up.URL()}}})
	require.NoError(t, err)
	a, err := gateway.NewUpstream(gateway.UpstreamConfig{Name: "a", Pool: shared, Dial: up.Dial})
	require.NoError(t, err)
	b := upstream(t, gateway.UpstreamConfig{Name: "b", Pool: shared, Dial: up.Dial})
	require.Equal(t, 200, gatewaytest.Do(a, get("/")).StatusCode)
	require.Equal(t, 200, gatewaytest.Do(b, get("/")).StatusCode)
	require.EqualValues(t, 2, b.Status().Targets[0].Requests)
	require.NoError(t, a.Close())
	require.Equal(t, 503, gatewaytest.Do(a, get("/")).StatusCode)
	require.Equal(t, 200, gatewaytest.Do(b, get("/")).StatusCode, "the pool is not closed with one of its users")
}

func TestNoTarget(t *testing.T) {
	t.Parallel()
	paused := policy.Must(balancer.NewPool(balancer.Config{Targets: []balancer.Target{{URL: "http://a.test"}}}))
	require.NoError(t, paused.SetTargets([]balancer.Target{{URL: "http://a.test", Weight: balancer.NoTraffic}}))
	u := upstream(t, gateway.UpstreamConfig{Pool: paused})
	h, ch := watched(u)
	res := gatewaytest.Do(h, get("/"))
	require.Equal(t, 503, res.StatusCode)
	require.Contains(t, text(t, res), "failure to get a peer from the ring-balancer")
	was := <-ch
	require.Empty(t, was.tries, "no target was asked")
	require.Equal(t, "no_target", was.decisions[0].Reason)
}

func TestLoopIsRefused(t *testing.T) {
	t.Parallel()
	// An upstream whose only target is the gateway itself.
	var u *gateway.Upstream
	srv := front(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { u.ServeHTTP(w, r) }))
	u = upstream(t, gateway.UpstreamConfig{}, srv.URL)
	status, body, err := exchange(t, srv.Client(), http.MethodGet, srv.URL)
	require.NoError(t, err)
	require.Equal(t, http.StatusLoopDetected, status)
	require.Contains(t, body, "Loop detected")
	require.EqualValues(t, 9, u.Status().Targets[0].Requests)
}

func TestIdentityThatCannotBeSent(t *testing.T) {
	t.Parallel()
	up := gatewaytest.NewUpstream("a.test")
	t.Cleanup(func() { require.NoError(t, up.Close()) })
	u := upstream(t, gateway.UpstreamConfig{Dial: up.Dial}, up.URL())
	h, ch := watched(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		policy.ExchangeFrom(r.Context()).SetIdentity(policy.Identity{Consumer: &policy.Consumer{ID: "1\r\nX-Admin: 1"}})
		u.ServeHTTP(w, r)
	}))
	res := gatewaytest.Do(h, get("/"))
	require.Equal(t, 500, res.StatusCode)
	require.NotContains(t, text(t, res), "X-Admin")
	require.Equal(t, "invalid_identity", (<-ch).decisions[0].Reason)
	require.Empty(t, up.Requests())
}

// Close breaks off what runs, waits for it, and leaves no connection.
func TestCloseBreaksOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		open := 0
		u := upstream(t, gateway.UpstreamConfig{Dial: piped(func(c net.Conn, in *bufio.Reader) {
			mu.Lock()
			open++
			mu.Unlock()
			r := readRequest(in)
			switch r.URL.Path {
			case "/body":
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
			case "/quick":
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			}
			silent(in)
			mu.Lock()
			open--
			mu.Unlock()
		})}, "http://a.test")
		h, ch := watched(u)
		require.Equal(t, 200, gatewaytest.Do(h, get("/quick")).StatusCode)
		<-ch
		statuses := make(chan string, 3)
		for _, path := range []string{"/head", "/body"} {
			go func() {
				res := gatewaytest.Do(h, get(path))
				_, err := io.ReadAll(res.Body)
				statuses <- fmt.Sprint(path, " ", res.StatusCode, " ", err)
			}()
		}
		pr, pw := io.Pipe() // an upload that stands still
		go func() {
			res := gatewaytest.Do(h, httptest.NewRequest(http.MethodPost, "/upload", pr))
			statuses <- fmt.Sprint("/upload ", res.StatusCode)
		}()
		synctest.Wait()
		require.Equal(t, 3, u.Status().InFlight)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				if err := u.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		require.True(t, u.Status().Closed)
		require.Zero(t, u.Status().InFlight)
		require.Equal(t, 503, gatewaytest.Do(u, get("/")).StatusCode)
		got := map[string]bool{}
		for range 3 {
			got[<-statuses] = true
			require.True(t, (<-ch).tries[0].Canceled, "closing is no fault of the target")
		}
		require.Equal(t, map[string]bool{"/head 503 <nil>": true, "/body 200 unexpected EOF": true, "/upload 503": true}, got)
		require.NoError(t, u.Close())
		_ = pw.Close()
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		require.Zero(t, open)
	})
}

// Connections are kept for as long as configured, and dialled anew then.
func TestIdleConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		up := gatewaytest.NewUpstream("a.test")
		u := upstream(t, gateway.UpstreamConfig{Dial: up.Dial, IdleConnTimeout: time.Minute}, up.URL())
		for _, pause := range []time.Duration{0, 59 * time.Second, 61 * time.Second} {
			time.Sleep(pause)
			require.Equal(t, 200, gatewaytest.Do(u, get("/")).StatusCode)
		}
		require.Equal(t, 2, up.Dials())
		none := upstream(t, gateway.UpstreamConfig{Dial: up.Dial, MaxIdleConns: -1}, up.URL())
		for range 3 {
			require.Equal(t, 200, gatewaytest.Do(none, get("/")).StatusCode)
		}
		require.Equal(t, 5, up.Dials())
		require.NoError(t, u.Close())
		require.NoError(t, none.Close())
		require.NoError(t, up.Close())
	})
}

// tripper is a round tripper as a function.
type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestOutbound(t *testing.T) {
	t.Parallel()
	up := gatewaytest.NewUpstream("a.test")
	t.Cleanup(func() { require.NoError(t, up.Close()) })
	mark := func(name string) func(http.RoundTripper) http.RoundTripper {
		return func(next http.RoundTripper) http.RoundTripper {
			return tripper(func(r *http.Request) (*http.Response, error) {
				r = r.Clone(r.Context())
				r.Header.Add("X-Order", name)
				return next.RoundTrip(r)
			})
		}
	}
	answer := func(res *http.Response, err error) func(http.RoundTripper) http.RoundTripper {
		return func(http.RoundTripper) http.RoundTripper {
			return tripper(func(*http.Request) (*http.Response, error) { return res, err })
		}
	}
	tests := []struct {
		name     string
		outbound []func(http.RoundTripper) http.RoundTripper
		status   int
		code     string
	}{
		{"order", []func(http.RoundTripper) http.RoundTripper{mark("a"), mark("b")}, 200, ""},
		{"own answer", []func(http.RoundTripper) http.RoundTripper{answer(&http.Response{StatusCode: 204, ProtoMajor: 1, ProtoMinor: 1}, nil)}, 204, ""},
		{"nothing", []func(http.RoundTripper) http.RoundTripper{answer(nil, nil)}, 502, "invalid_response"},
		{"error", []func(http.RoundTripper) http.RoundTripper{answer(nil, errors.New("10.0.0.1 is down"))}, 502, "invalid_response"},
		{"authored error", []func(http.RoundTripper) http.RoundTripper{answer(nil, &policy.Error{Status: 507, Code: "full"})}, 507, "full"},
		{"both", []func(http.RoundTripper) http.RoundTripper{answer(&http.Response{Body: io.NopCloser(strings.NewReader(""))}, errors.New("odd"))}, 502, "invalid_response"},
		{"lost context", []func(http.RoundTripper) http.RoundTripper{func(next http.RoundTripper) http.RoundTripper {
			return tripper(func(r *http.Request) (*http.Response, error) {
				return next.RoundTrip(r.WithContext(context.Background()))
			})
		}}, 500, "invalid_request"},
	}
	for _, tt := range tests {
		u := upstream(t, gateway.UpstreamConfig{Dial: up.Dial, Outbound: tt.outbound}, up.URL())
		h, ch := watched(u)
		res := gatewaytest.Do(h, get("/"))
		require.Equal(t, tt.status, res.StatusCode, tt.name)
		require.NotContains(t, text(t, res), "10.0.0.1")
		was := <-ch
		if tt.code != "" {
			require.Equal(t, tt.code, was.decisions[0].Reason, tt.name)
		}
		if tt.name == "order" {
			require.Equal(t, []string{"a", "b"}, up.Last().Header["X-Order"])
		}
	}
}

// journal is an order of events that several parties write.
type journal struct {
	mu     sync.Mutex
	events []string
}

func (j *journal) addf(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, fmt.Sprintf(format, args...))
}

func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	defer func() { j.events = nil }()
	return j.events
}

func outcome(o policy.Outcome) string {
	var e *policy.Error
	switch {
	case o.Canceled:
		return "nothing"
	case errors.As(o.Err, &e):
		return e.Code
	case o.Err != nil:
		return "error"
	default:
		return fmt.Sprint(o.Status)
	}
}

type admission struct {
	*journal

	name  string
	err   error
	panic bool
}

func (a *admission) Admit(_ context.Context, upstream string) (policy.Ticket, error) {
	a.addf("admit %s %s", a.name, upstream)
	return policy.Ticket(len(a.name) + 41), a.err
}

func (a *admission) Done(t policy.Ticket, o policy.Outcome) {
	a.addf("done %s %d %s", a.name, t, outcome(o))
	if a.panic {
		panic("done " + a.name)
	}
}

type hook struct {
	*journal

	name              string
	begin, end        bool // panic there
	before, afterward func(ctx context.Context, t *policy.Try)
}

type hookKey struct{}

func (h *hook) BeginTry(ctx context.Context, t *policy.Try) context.Context {
	h.addf("begin %s", h.name)
	if h.before != nil {
		h.before(ctx, t)
	}
	if h.begin {
		panic("begin " + h.name)
	}
	seen, _ := ctx.Value(hookKey{}).(string)
	return context.WithValue(ctx, hookKey{}, seen+h.name)
}

func (h *hook) EndTry(ctx context.Context, t *policy.Try) {
	h.addf("end %s in %s %s", h.name, ctx.Value(hookKey{}), outcome(t.Outcome))
	if h.afterward != nil {
		h.afterward(ctx, t)
	}
	if h.end {
		panic("end " + h.name)
	}
}

// Whatever happens in between, admissions and hooks are released exactly once each, in reverse order, and so is the pick.
func TestTryIsReleasedExactlyOnce(t *testing.T) {
	t.Parallel()
	type setup struct {
		a, b   *admission
		x, y   *hook
		panics http.ResponseWriter
	}
	tests := []struct {
		name   string
		step   http.Handler
		config func(s *setup)
		leave  bool
		down   bool
		want   []string // after "admit a", "admit b", "begin x", "begin y"
		status int      // -1: aborted
		panics any
		target balancer.MemberStatus
	}{
		{name: "answered", step: gatewaytest.Respond(201, "ok"), status: 201, want: []string{"end y in xy 201", "end x in x 201", "done b 42 201", "done a 42 201"}},
		{name: "upstream's 500", step: gatewaytest.Respond(500, "no"), status: 500, want: []string{"end y in xy 500", "end x in x 500", "done b 42 500", "done a 42 500"}, target: balancer.MemberStatus{ServerErrors: 1}},
		{name: "reset", step: gatewaytest.Reset(), status: 502, want: []string{"end y in xy connection_reset", "end x in x connection_reset", "done b 42 connection_reset", "done a 42 connection_reset"},
			target: balancer.MemberStatus{Failed: 1, LastError: "connection_reset"}},
		{name: "refused", down: true, status: 502, want: []string{"end y in xy connect_refused", "end x in x connect_refused", "done b 42 connect_refused", "done a 42 connect_refused"},
			target: balancer.MemberStatus{Failed: 1, LastError: "connect_refused"}},
		{name: "truncated", step: gatewaytest.Truncate("abc", 5), status: -1, panics: http.ErrAbortHandler,
			want:   []string{"end y in xy truncated_response", "end x in x truncated_response", "done b 42 truncated_response", "done a 42 truncated_response"},
			target: balancer.MemberStatus{Failed: 1, LastError: "truncated_response"}},
		{name: "client leaves", step: gatewaytest.Stall(), leave: true, status: -1, panics: http.ErrAbortHandler,
			want: []string{"end y in xy nothing", "end x in x nothing", "done b 42 nothing", "done a 42 nothing"}, target: balancer.MemberStatus{Canceled: 1}},
		{name: "not admitted", config: func(s *setup) { s.b.err = &policy.Error{Status: 503, Code: "open"} }, status: 503, want: []string{"done a 42 nothing"}},
		{name: "not admitted, foreign error", config: func(s *setup) { s.b.err = errors.New("10.0.0.1 is full") }, status: 503, want: []string{"done a 42 nothing"}},
		{name: "panic in BeginTry", config: func(s *setup) { s.y.begin = true }, status: -1, panics: "begin y",
			want: []string{"end x in x nothing", "done b 42 nothing", "done a 42 nothing"}, target: balancer.MemberStatus{Canceled: 1}},
		{name: "panic in EndTry", step: gatewaytest.Respond(200, "ok"), config: func(s *setup) { s.y.end = true }, status: -1, panics: "end y",
			want: []string{"end y in xy 200", "end x in x 200", "done b 42 200", "done a 42 200"}},
		{name: "panic in Done", step: gatewaytest.Respond(200, "ok"), config: func(s *setup) { s.b.panic = true }, status: -1, panics: "done b",
			want: []string{"end y in xy 200", "end x in x 200", "done b 42 200", "done a 42 200"}},
		{name: "panics everywhere", step: gatewaytest.Reset(), config: func(s *setup) { s.x.end, s.y.end, s.a.panic, s.b.panic = true, true, true, true }, status: -1, panics: "done a",
			want:   []string{"end y in xy connection_reset", "end x in x connection_reset", "done b 42 connection_reset", "done a 42 connection_reset"},
			target: balancer.MemberStatus{Failed: 1, LastError: "connection_reset"}},
		{name: "panic in the writer", step: gatewaytest.Respond(200, "ok"), config: func(s *setup) { s.panics = panickingWriter{httptest.NewRecorder()} }, status: -1, panics: "writer",
			want: []string{"end y in xy nothing", "end x in x nothing", "done b 42 nothing", "done a 42 nothing"}, target: balancer.MemberStatus{Canceled: 1}},
		{name: "hooks cannot change the outcome of others", step: gatewaytest.Respond(200, "ok"), config: func(s *setup) {
			s.y.afterward = func(_ context.Context, t *policy.Try) { t.Outcome = policy.Outcome{} }
		}, status: 200, want: []string{"end y in xy 200", "end x in x 0", "done b 42 200", "done a 42 200"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			j := &journal{}
			s := &setup{a: &admission{journal: j, name: "a"}, b: &admission{journal: j, name: "b"}, x: &hook{journal: j, name: "x"}, y: &hook{journal: j, name: "y"}}
			if tt.config != nil {
				tt.config(s)
			}
			var steps []http.Handler
			if tt.step != nil {
				steps = append(steps, tt.step)
			}
			up := gatewaytest.NewUpstream("a.test", steps...)
			t.Cleanup(func() { require.NoError(t, up.Close()) })
			up.SetDown(tt.down)
			u := upstream(t, gateway.UpstreamConfig{Name: "users", Dial: up.Dial, Admission: []policy.Admission{s.a, s.b}}, up.URL())
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tt.leave {
				s.y.before = func(context.Context, *policy.Try) { time.AfterFunc(time.Millisecond, cancel) }
			}
			x, r := policy.Ensure(get("/").WithContext(ctx))
			x.OnTry(s.x)
			x.OnTry(s.y)
			rec := httptest.NewRecorder()
			var w http.ResponseWriter = rec
			if s.panics != nil {
				w = s.panics
			}
			var got any
			func() {
				defer func() { got = recover() }()
				u.ServeHTTP(w, r)
			}()
			require.Equal(t, tt.panics, got)
			if tt.status > 0 {
				require.Equal(t, tt.status, rec.Code)
			}
			before := []string{"admit a users", "admit b users"}
			if !strings.HasPrefix(tt.name, "not admitted") {
				before = append(before, "begin x", "begin y")
				require.Len(t, x.Tries(), 1)
			}
			require.Equal(t, append(before, tt.want...), j.take())
			target := u.Status().Targets[0]
			require.Zero(t, target.InFlight)
			require.Equal(t, []any{tt.target.Failed, tt.target.ServerErrors, tt.target.Canceled, tt.target.LastError},
				[]any{target.Failed, target.ServerErrors, target.Canceled, target.LastError})
			require.Zero(t, u.Status().InFlight)
		})
	}
}

type panickingWriter struct{ http.ResponseWriter }

func (panickingWriter) WriteHeader(int) { panic("writer") }

// A hook has the last word on the header, sees the try and its times, and gives the request a context of its own.
func TestTryHooks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		up := gatewaytest.NewUpstream("a.test", gatewaytest.After(time.Second, gatewaytest.Stream(time.Second, "a", "b")))
		j := &journal{}
		var ended policy.Try
		h := &hook{journal: j, name: "h", before: func(_ context.Context, tr *policy.Try) {
			require.Equal(t, "users", tr.Upstream)
			require.Equal(t, "http://a.test", tr.Target)
			require.Equal(t, 1, tr.Number)
			require.Equal(t, "http://a.test/x?y", tr.Out.URL.String())
			require.Equal(t, "192.0.2.1", tr.Out.Header.Get("X-Forwarded-For"))
			tr.Out.Header.Set("X-Forwarded-For", "hook")
			tr.Out.Header.Set("Traceparent", "00-1")
			tr.Out.Header.Set("Content-Length", "5")
		}, afterward: func(_ context.Context, tr *policy.Try) { ended = *tr }}
		carried := ""
		u := upstream(t, gateway.UpstreamConfig{Name: "users", Dial: up.Dial, Outbound: []func(http.RoundTripper) http.RoundTripper{
			func(next http.RoundTripper) http.RoundTripper {
				return tripper(func(r *http.Request) (*http.Response, error) {
					carried, _ = r.Context().Value(hookKey{}).(string)
					return next.RoundTrip(r)
				})
			},
		}}, up.URL())
		x, r := policy.Ensure(get("/x?y"))
		x.OnTry(h)
		require.Equal(t, "ab", text(t, gatewaytest.Do(u, r)))
		got := up.Last().Header
		require.Equal(t, "hook", got.Get("X-Forwarded-For"))
		require.Equal(t, "00-1", got.Get("Traceparent"))
		require.Empty(t, got.Get("Content-Length"), "framing is not the hook's")
		require.Equal(t, "h", carried)
		require.Equal(t, time.Second, ended.FirstByte)
		require.Equal(t, 2*time.Second, ended.Duration)
		require.NotNil(t, ended.Out)
		tries := x.Tries()
		require.Len(t, tries, 1)
		require.Nil(t, tries[0].Out)
		ended.Out = nil
		require.Equal(t, ended, tries[0])
		require.NoError(t, u.Close())
		require.NoError(t, up.Close())
	})
}

// A field no server would understand is the plugin's mistake, not the target's.
func TestInvalidHeaderOfAPlugin(t *testing.T) {
	t.Parallel()
	up := gatewaytest.NewUpstream("a.test")
	t.Cleanup(func() { require.NoError(t, up.Close()) })
	u := upstream(t, gateway.UpstreamConfig{Dial: up.Dial}, up.URL())
	for _, bad := range []http.Header{{"X-A": {"a\r\nX-B: c"}}, {"X A": {"b"}}, {"": {"b"}}} {
		h, ch := watched(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			policy.ExchangeFrom(r.Context()).OnTry(&hook{journal: &journal{}, before: func(_ context.Context, tr *policy.Try) {
				maps.Copy(tr.Out.Header, bad)
			}})
			u.ServeHTTP(w, r)
		}))
		require.Equal(t, 500, gatewaytest.Do(h, get("/")).StatusCode)
		was := <-ch
		require.True(t, was.tries[0].Canceled)
		require.Equal(t, "invalid_request", was.decisions[0].Reason)
	}
	require.Empty(t, up.Requests())
}

// Several targets share the requests, and those that fail are seen in the status.
func TestTargetsShareRequests(t *testing.T) {
	t.Parallel()
	a, b := gatewaytest.NewUpstream("a.test"), gatewaytest.NewUpstream("b.test")
	t.Cleanup(func() { require.NoError(t, errors.Join(a.Close(), b.Close())) })
	u := upstream(t, gateway.UpstreamConfig{Dial: gatewaytest.Dial(a, b), Targets: []balancer.Target{{URL: a.URL(), Weight: 2}, {URL: b.URL() + "/base", Weight: 1}}})
	for range 9 {
		require.Equal(t, 200, gatewaytest.Do(u, get("/x")).StatusCode)
	}
	require.Len(t, a.Requests(), 6)
	require.Len(t, b.Requests(), 3)
	require.Equal(t, "/base/x", b.Last().URI)
	require.Equal(t, "b.test", b.Last().Host)
	b.SetDown(true)
	s := u.Status()
	require.Equal(t, "up", s.Name)
	require.Equal(t, []string{"http://a.test", "http://b.test/base"}, []string{s.Targets[0].URL, s.Targets[1].URL})
}
