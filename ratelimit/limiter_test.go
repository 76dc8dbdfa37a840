package ratelimit_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/race"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/ratelimit"
)

// everyone counts all requests together.
func everyone() policy.Key { return policy.Key{Name: "everyone"} }

var ok = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })

func do(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func get(h http.Handler) *httptest.ResponseRecorder {
	return do(h, httptest.NewRequest(http.MethodGet, "/", nil))
}

// as lets requests come from a consumer.
func as(id string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x, r := policy.Ensure(r)
		x.SetIdentity(policy.Identity{Kind: "key-auth", Credential: id + "-key", Consumer: &policy.Consumer{ID: id}})
		next.ServeHTTP(w, r)
	})
}

// recording keeps the decisions of the last request.
func recording(into *[]policy.Decision, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x, r := policy.Ensure(r)
		next.ServeHTTP(w, r)
		*into = x.Decisions()
	})
}

func TestSixtyAMinute(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms {
		synctest.Test(t, func(t *testing.T) {
			h := limiter(t, ratelimit.Config{Limits: minute(60), Algorithm: a}).Wrap(ok)
			for range 60 {
				require.Equal(t, http.StatusOK, get(h).Code)
			}
			w := get(h)
			require.Equal(t, http.StatusTooManyRequests, w.Code)
			require.JSONEq(t, `{"message":"API rate limit exceeded","request_id":"`+requestID(t, w)+`"}`, w.Body.String())
			time.Sleep(2 * time.Minute)
			require.Equal(t, http.StatusOK, get(h).Code)
		})
	}
}

func requestID(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	_, after, found := strings.Cut(w.Body.String(), `"request_id":"`)
	require.True(t, found)
	return after[:36]
}

// TestSmooth: a bucket refills evenly, a fixed window at once.
func TestSmooth(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		algorithm ratelimit.Algorithm
		after     [4]int // how many pass after each quarter of a minute
	}{
		{ratelimit.TokenBucket, [4]int{15, 15, 15, 15}},
		{ratelimit.FixedWindow, [4]int{0, 0, 0, 60}},
		{ratelimit.SlidingWindow, [4]int{0, 0, 0, 0}},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := limiter(t, ratelimit.Config{Limits: minute(60), Algorithm: tt.algorithm}).Wrap(ok)
			pass := func() (n int) {
				for range 100 {
					if get(h).Code == http.StatusOK {
						n++
					}
				}
				return n
			}
			require.Equal(t, 60, pass())
			for _, want := range tt.after {
				time.Sleep(15 * time.Second)
				require.Equal(t, want, pass(), tt.algorithm)
			}
			if tt.algorithm == ratelimit.SlidingWindow { // the window before weighs less and less
				for range 4 {
					time.Sleep(15 * time.Second)
					require.Equal(t, 15, pass())
				}
			}
		})
	}
}

func TestEveryMethodCounts(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST", "BREW", "upgrade"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			reached := 0
			h := limiter(t, ratelimit.Config{Limits: minute(2)}).Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ }))
			for i := range 4 {
				r := httptest.NewRequest(method, "/", nil)
				if method == "upgrade" {
					r = httptest.NewRequest(http.MethodGet, "/", nil)
					r.Header.Set("Connection", "Upgrade")
					r.Header.Set("Upgrade", "websocket")
				}
				w := do(h, r)
				require.Equal(t, i >= 2, w.Code == http.StatusTooManyRequests, i)
			}
			require.Equal(t, 2, reached, "a refused request reaches nobody")
		})
	}
}

type unreadable struct{ t *testing.T }

func (u unreadable) Read([]byte) (int, error) {
	u.t.Error("the body of a refused request was read")
	return 0, io.EOF
}

func TestRefusedUploadIsNotRead(t *testing.T) {
	t.Parallel()
	h := limiter(t, ratelimit.Config{Limits: minute(1)}).Wrap(ok)
	get(h)
	require.Equal(t, http.StatusTooManyRequests, do(h, httptest.NewRequest(http.MethodPost, "/", unreadable{t})).Code)

	// Over a connection: the answer comes although the client has sent nothing of its body.
	srv := httptest.NewServer(h)
	defer srv.Close()
	body, feed := io.Pipe()
	defer func() { _ = feed.Close() }()
	for want := range 2 {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, nil)
		require.NoError(t, err)
		if want == 1 {
			r.Body, r.ContentLength = body, 1<<30
		}
		res, err := srv.Client().Do(r)
		require.NoError(t, err)
		res.Body.Close()
		require.Equal(t, []int{200, 429}[want], res.StatusCode)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	entry := policy.Must(policy.NewEntry(policy.EntryConfig{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}))
	request := func(target, remote string, header ...string) *http.Request {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		r.RemoteAddr = remote
		for i := 0; i < len(header); i += 2 {
			r.Header.Add(header[i], header[i+1])
		}
		return r
	}
	const a, b = "192.0.2.1:1000", "192.0.2.2:1000"
	for _, tt := range []struct {
		name     string
		key      policy.Key
		first    *http.Request
		second   *http.Request
		together bool
	}{
		{"default: other port", policy.Key{}, request("/", a), request("/", "192.0.2.1:2000"), true},
		{"default: other client", policy.Key{}, request("/", a), request("/", b), false},
		{"default: consumer anywhere", policy.Key{}, request("/", a, "As", "ann"), request("/", b, "As", "ann"), true},
		{"default: other consumer", policy.Key{}, request("/", a, "As", "ann"), request("/", a, "As", "bob"), false},
		{"default: a consumer is no address", policy.Key{}, request("/", a, "As", "192.0.2.1"), request("/", a), false},
		{"default: a forged X-Forwarded-For is nothing", policy.Key{}, request("/", a, "X-Forwarded-For", "203.0.113.1"), request("/", a, "X-Forwarded-For", "203.0.113.2"), true},
		{"address: leftmost is forged", policy.ByClientAddress(),
			request("/", "10.0.0.1:1", "X-Forwarded-For", "203.0.113.1, 192.0.2.7"), request("/", "10.0.0.1:1", "X-Forwarded-For", "203.0.113.2, 192.0.2.7"), true},
		{"address: behind a proxy", policy.ByClientAddress(),
			request("/", "10.0.0.1:1", "X-Forwarded-For", "192.0.2.7"), request("/", "10.0.0.1:1", "X-Forwarded-For", "192.0.2.8"), false},
		{"address: one IPv6 network", policy.ByClientAddress(), request("/", "[2001:db8::1]:1"), request("/", "[2001:db8::ffff:1]:1"), true},
		{"address: two IPv6 networks", policy.ByClientAddress(), request("/", "[2001:db8::1]:1"), request("/", "[2001:db8:0:1::1]:1"), false},
		{"address: none is one", policy.ByClientAddress(), request("/", "@"), request("/", ""), true},
		{"consumer: nobody is one", policy.ByConsumer(), request("/", a), request("/", b), true},
		{"consumer: nobody is not somebody", policy.ByConsumer(), request("/", a), request("/", a, "As", "ann"), false},
		{"credential", policy.ByCredential(), request("/", a, "As", "ann"), request("/", a, "As", "bob"), false},
		{"header", policy.ByHeader("X-Tenant"), request("/", a, "X-Tenant", "1"), request("/", a, "X-Tenant", "2"), false},
		{"header: absent and empty", policy.ByHeader("X-Tenant"), request("/", a), request("/", b, "X-Tenant", ""), true},
		{"header: parts are kept apart", policy.ByHeader("X-Tenant"), request("/", a, "X-Tenant", "1", "X-Tenant", "2"), request("/", a, "X-Tenant", "12"), false},
		{"path: spelling", policy.ByPath(), request("/a/b", a), request("/./a//%62", a), true},
		{"path: query", policy.ByPath(), request("/a?x=1", a), request("/a?x=2", a), true},
		{"path: other", policy.ByPath(), request("/a/b", a), request("/a/B", a), false},
		{"route: no route", policy.ByRoute(), request("/a", a), request("/b", b), true},
		{"everyone", everyone(), request("/a", a, "As", "ann"), request("/b", b), true},
		{"fallback", policy.ByHeader("X-Tenant").Or(policy.ByClientAddress()), request("/", a), request("/", b), false},
		{"fallback: a value is not another's", policy.ByHeader("X-Tenant").Or(policy.ByClientAddress()), request("/", a, "X-Tenant", "192.0.2.2"), request("/", b), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			limit := limiter(t, ratelimit.Config{Limits: minute(1), Key: tt.key})
			h := entry.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				next := limit.Wrap(ok)
				if id := r.Header.Get("As"); id != "" {
					next = as(id, next)
				}
				next.ServeHTTP(w, r)
			}))
			require.Equal(t, http.StatusOK, do(h, tt.first).Code)
			require.Equal(t, tt.together, do(h, tt.second).Code == http.StatusTooManyRequests)
		})
	}
}

// TestScope: a value is a counter; two values never share one.
func TestScope(t *testing.T) {
	t.Parallel()
	c := ratelimit.Config{Limits: minute(1)}
	one, two := limiter(t, c), limiter(t, c)
	require.Equal(t, http.StatusOK, get(one.Wrap(ok)).Code)
	require.Equal(t, http.StatusTooManyRequests, get(one.Wrap(ok)).Code, "another handler, the same counter")
	require.Equal(t, http.StatusOK, get(two.Wrap(ok)).Code, "another limiter")
}

func TestContract(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		key  policy.Key
		want []policy.Fact
	}{
		{policy.Key{}, nil},
		{policy.ByConsumer(), []policy.Fact{policy.Authenticated}},
		{policy.ByConsumer().Or(policy.ByClientAddress()), nil},
		{policy.ByFunc("tenant", func(*http.Request) string { return "" }, "tenant"), []policy.Fact{"tenant"}},
	} {
		l := limiter(t, ratelimit.Config{Limits: minute(1), Key: tt.key})
		require.Equal(t, tt.want, l.Contract().Requires)
		require.Empty(t, l.Contract().Provides)
	}
	require.Equal(t, "rate-limiting", policy.NameOf(limiter(t, ratelimit.Config{Limits: minute(1)})))
	require.Equal(t, "global", policy.NameOf(limiter(t, ratelimit.Config{Limits: minute(1), Name: "global"})))
}

func TestDecisions(t *testing.T) {
	t.Parallel()
	var seen []policy.Decision
	limit := limiter(t, ratelimit.Config{Name: "orders", Limits: []ratelimit.Limit{ratelimit.PerSecond(1), ratelimit.PerYear(2)}})
	h := recording(&seen, limit.Wrap(ok))
	r := httptest.NewRequest(http.MethodGet, "/", nil)

	preview := limit.Preview(r)
	require.Equal(t, policy.Decision{Policy: "orders", Reason: "within_limit", Detail: "second: 1 of 1 left, year: 2 of 2 left"}, preview)
	do(h, r)
	require.Equal(t, []policy.Decision{{Policy: "orders", Reason: "within_limit"}}, seen)

	preview = limit.Preview(r)
	require.Equal(t, policy.Refused, preview.Verdict)
	require.Equal(t, "second", preview.Detail)
	require.Equal(t, http.StatusTooManyRequests, preview.Status)
	do(h, r)
	require.Len(t, seen, 1)
	require.Equal(t, policy.Refused, seen[0].Verdict)
	require.Equal(t, "limit_exceeded", seen[0].Reason)
	require.Equal(t, http.StatusTooManyRequests, seen[0].Status)
	require.ErrorIs(t, seen[0].Err, ratelimit.ErrExceeded)
	require.ErrorContains(t, seen[0].Err, `limit "second" exceeded`)
}

func TestPreviewChangesNothing(t *testing.T) {
	t.Parallel()
	limit := limiter(t, ratelimit.Config{Limits: minute(3)})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for range 10 {
		require.Equal(t, "minute: 3 of 3 left", limit.Preview(r).Detail)
		res, err := limit.Peek(r)
		require.NoError(t, err)
		require.True(t, res.Allowed)
		require.Equal(t, 3, res.Limits[0].Remaining)
	}
	require.Zero(t, limit.Stats().Keys)
	res, err := limit.Take(r)
	require.NoError(t, err)
	require.Equal(t, 2, res.Limits[0].Remaining)
	require.Equal(t, 1, limit.Stats().Keys)
}

func TestTakeReturnsAReadyRefusal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := limiter(t, ratelimit.Config{Limits: minute(2), Status: http.StatusServiceUnavailable, Message: "Slow down"})
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		for range 2 {
			_, err := limit.Take(r)
			require.NoError(t, err)
		}
		res, err := limit.Take(r)
		var e *policy.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, http.StatusServiceUnavailable, e.Status)
		require.Equal(t, "Slow down", e.Message)
		require.Equal(t, "limit_exceeded", e.Code)
		require.Equal(t, "30", e.Header.Get("Retry-After"))
		require.Equal(t, 30*time.Second, res.RetryAfter)
		require.Equal(t, "minute", res.Exceeded)
		time.Sleep(res.RetryAfter)
		_, err = limit.Take(r)
		require.NoError(t, err)
	})
}

func TestCost(t *testing.T) {
	t.Parallel()
	cost := 0
	limit := limiter(t, ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerMinute(10), ratelimit.PerHour(20)}, Cost: func(*http.Request) int { return cost }})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, tt := range []struct {
		cost   int
		reason string
		left   int
	}{
		{4, "within_limit", 6},
		{0, "within_limit", 6},
		{-9, "within_limit", 5}, // a mistake grants nothing
		{6, "limit_exceeded", 5},
		{11, "cost_too_high", 5},
		{5, "within_limit", 0},
		{0, "within_limit", 0}, // what costs nothing passes
		{1, "limit_exceeded", 0},
	} {
		cost = tt.cost
		res, err := limit.Take(r)
		require.Equal(t, tt.reason, res.Reason, "%+v", tt)
		require.Equal(t, tt.left, res.Limits[0].Remaining, "%+v", tt)
		require.Equal(t, tt.reason == "within_limit", err == nil)
		if tt.reason == "cost_too_high" {
			require.ErrorIs(t, err, ratelimit.ErrExceeded)
			require.Equal(t, "minute", res.Exceeded)
			var e *policy.Error
			require.ErrorAs(t, err, &e)
			require.Empty(t, e.Header.Get("Retry-After"), "waiting does not help")
		}
	}
}

// TestTakeAtSharesCounters: an explicit key is the value that the Key finds in a request.
func TestTakeAtSharesCounters(t *testing.T) {
	t.Parallel()
	limit := limiter(t, ratelimit.Config{Limits: minute(1), Key: policy.ByHeader("K")})
	with, without := httptest.NewRequest(http.MethodGet, "/", nil), httptest.NewRequest(http.MethodGet, "/", nil)
	with.Header.Set("K", "v")
	for _, r := range []*http.Request{with, without} {
		_, err := limit.Take(r)
		require.NoError(t, err)
	}
	for _, key := range [][]byte{[]byte("v"), nil} {
		_, err := limit.TakeAt(t.Context(), time.Now(), key, 1)
		require.ErrorIs(t, err, ratelimit.ErrExceeded)
	}
	_, err := limit.TakeAt(t.Context(), time.Now(), []byte{}, 1)
	require.NoError(t, err, "an empty value is a value")
}

func TestZeroLimiterRefuses(t *testing.T) {
	t.Parallel()
	var none *ratelimit.Limiter
	for _, l := range []*ratelimit.Limiter{none, {}} {
		w := get(l.Wrap(ok))
		require.Equal(t, http.StatusInternalServerError, w.Code)
		require.NotContains(t, w.Body.String(), "ratelimit")
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		for _, ask := range []func(*http.Request) (ratelimit.Result, error){l.Take, l.Peek} {
			res, err := ask(r)
			require.Error(t, err)
			require.False(t, res.Allowed)
		}
		res, err := l.TakeAt(t.Context(), time.Now(), nil, 0)
		require.Error(t, err)
		require.Equal(t, "not_configured", res.Reason)
		require.Equal(t, policy.Refused, l.Preview(r).Verdict)
		require.Equal(t, "rate-limiting", l.Name())
		require.Zero(t, l.Contract())
		require.Zero(t, l.Stats())
	}
}

// TestParallelRequests: exactly as many pass as the limit says, over handlers that share a Limiter.
func TestParallelRequests(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms {
		synctest.Test(t, func(t *testing.T) {
			limit := limiter(t, ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerMinute(50), ratelimit.PerHour(70)}, Algorithm: a})
			var passed, refused atomic.Int64
			var wg sync.WaitGroup
			for range 10 {
				h := limit.Wrap(ok)
				for range 20 {
					wg.Go(func() {
						switch w := get(h); w.Code {
						case http.StatusOK:
							passed.Add(1)
						case http.StatusTooManyRequests:
							refused.Add(1)
						}
					})
				}
			}
			wg.Wait()
			require.EqualValues(t, 50, passed.Load(), a)
			require.EqualValues(t, 150, refused.Load(), a)
		})
	}
}

// TestErrorHandlerSeesHeaders: whoever words the refusals of a gateway finds the fields set.
func TestErrorHandlerSeesHeaders(t *testing.T) {
	t.Parallel()
	entry := policy.Must(policy.NewEntry(policy.EntryConfig{ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
		var e *policy.Error
		if errors.As(err, &e) {
			w.WriteHeader(e.Status)
		}
		fmt.Fprint(w, "after ", w.Header().Get("Retry-After"))
	}}))
	h := entry.Wrap(limiter(t, ratelimit.Config{Limits: minute(1)}).Wrap(ok))
	get(h)
	w := get(h)
	require.Equal(t, http.StatusTooManyRequests, w.Code)
	require.Equal(t, "after 60", w.Body.String())
	require.Equal(t, "0", w.Header().Get("X-Ratelimit-Remaining-Minute"))
}

// TestAllocations holds the hot path to its budget: nothing without header fields, three pieces of memory with them.
func TestAllocations(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	for _, a := range algorithms {
		for _, limits := range [][]ratelimit.Limit{{plenty()}, three()} {
			hidden := limiter(t, ratelimit.Config{Limits: limits, Algorithm: a, HideHeaders: true}).Wrap(nothing)
			shown := limiter(t, ratelimit.Config{Limits: limits, Algorithm: a}).Wrap(head)
			w, r := inExchange(t)
			for range 64 { // until the decision record is full
				hidden.ServeHTTP(w, r)
			}
			require.Zero(t, testing.AllocsPerRun(1000, func() { hidden.ServeHTTP(w, r) }))
			under := &headWriter{http.Header{}}
			const writer = 1 // policy.OnHeader's own, once for all layers
			require.LessOrEqual(t, testing.AllocsPerRun(1000, func() { shown.ServeHTTP(policy.OnHeader(under, nil), r) }), float64(3+writer))
		}
	}
}
