package gateway_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/policy"
)

// Which tries are made while another is under way, and whose answer counts.
func TestHedging(t *testing.T) {
	t.Parallel()
	soon := policy.Retry{Hedge: 20 * time.Millisecond}
	with := func(r policy.Retry, change func(*policy.Retry)) policy.Retry {
		change(&r)
		return r
	}
	get := func() *http.Request { return httptest.NewRequest(http.MethodGet, "/", nil) }
	for _, tt := range []struct {
		about  string
		ways   []string
		retry  policy.Retry
		r      *http.Request
		status int
		body   string
		got    []int64
	}{
		{"the first is quick", []string{"", ""}, with(soon, func(r *policy.Retry) { r.Hedge = time.Hour }), get(), 200, "GET ", []int64{1, 0}},
		{"the first is slow", []string{"stall", ""}, soon, get(), 200, "GET ", []int64{1, 1}},
		{"two are slow", []string{"stall", "stall", ""}, soon, get(), 200, "GET ", []int64{1, 1, 1}},
		{"three are slow, and no more may be asked", []string{"late", "stall", "stall", ""}, soon, get(), 200, "late", []int64{1, 1, 1, 0}},
		{"the other is slower", []string{"late", "stall"}, soon, get(), 200, "late", []int64{1, 1}},
		{"the other fails", []string{"late", "reset"}, soon, get(), 200, "late", []int64{1, 1}},
		{"the other answers what another try is made for", []string{"late", "503"}, with(soon, func(r *policy.Retry) { r.Statuses = []int{503} }), get(), 200, "late", []int64{1, 1}},
		{"the other answers what is an answer", []string{"late", "503"}, soon, get(), 503, "fail", []int64{1, 1}},
		{"the first fails before", []string{"reset", ""}, soon, get(), 200, "GET ", []int64{1, 1}},
		{"the first fails before, and the next is slow", []string{"reset", "stall", ""}, soon, get(), 200, "GET ", []int64{1, 1, 1}},
		{"the first fails before, and no more may be asked than one", []string{"reset", "slow", ""}, with(soon, func(r *policy.Retry) { r.Tries = 2 }), get(), 200, "late", []int64{1, 1, 0}},
		{"all fail, one after the other", []string{"reset", "reset", "reset"}, soon, get(), 502, "", []int64{1, 1, 1}},
		{"all are slow", []string{"stall", "stall"}, with(soon, func(r *policy.Retry) { r.PerTry = 200 * time.Millisecond }), get(), 504, "", []int64{1, 1}},
		{"all are slow, three tries", []string{"stall", "stall"}, with(soon, func(r *policy.Retry) { r.PerTry, r.Tries = 200*time.Millisecond, 3 }), get(), 504, "", []int64{2, 1}},
		{"there is no other", []string{"late"}, soon, get(), 200, "late", []int64{1}},
		{"one try", []string{"slow", ""}, with(soon, func(r *policy.Retry) { r.Tries = 1 }), get(), 200, "late", []int64{1, 0}},
		{"HEAD", []string{"stall", ""}, soon, httptest.NewRequest(http.MethodHead, "/", nil), 200, "", []int64{1, 1}},
		{"a GET with a body", []string{"slow", ""}, soon, httptest.NewRequest(http.MethodGet, "/", strings.NewReader("body")), 200, "late", []int64{1, 0}},
		{"DELETE", []string{"slow", ""}, soon, httptest.NewRequest(http.MethodDelete, "/", nil), 200, "late", []int64{1, 0}},
		{"never", []string{"slow", ""}, policy.Retry{}, get(), 200, "late", []int64{1, 0}},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			for _, standard := range []bool{false, true} {
				all, targets := mishaps(t, tt.ways...)
				gate, hook := new(gates), new(hookOf)
				c := gateway.UpstreamConfig{Targets: targets, Retry: tt.retry, Health: inTurn, Admission: []policy.Admission{gate}}
				if standard {
					c.Outbound = []func(http.RoundTripper) http.RoundTripper{func(next http.RoundTripper) http.RoundTripper { return next }}
				}
				up := retrying(t, c)
				r := tt.r.Clone(t.Context())
				if tt.r.ContentLength > 0 {
					r = httptest.NewRequest(tt.r.Method, "/", strings.NewReader("body"))
				}
				x, r := policy.Ensure(r)
				if standard {
					x.OnTry(hook)
				}
				w := httptest.NewRecorder()
				up.ServeHTTP(w, r)
				require.Equal(t, tt.status, w.Code)
				if tt.body != "" {
					require.Equal(t, tt.body, w.Body.String())
				}
				made := int64(0)
				for i, b := range all {
					require.Equal(t, tt.got[i], b.got.Load(), "target %d", i)
					made += tt.got[i]
				}
				require.Equal(t, made, gate.in.Load())
				require.Equal(t, made, gate.out.Load())
				require.Len(t, x.Tries(), int(made))
				numbers := map[int]bool{}
				for _, try := range x.Tries() {
					numbers[try.Number] = true
					require.Equal(t, try.Canceled, try.Fault == policy.FaultOvertaken, "%+v", try)
				}
				require.Len(t, numbers, int(made), "each has a number of its own")
				if standard {
					require.Len(t, hook.ended, int(made))
				}
				for _, s := range up.Status().Targets {
					require.Zero(t, s.InFlight)
				}
			}
		})
	}
}

// Tries beside others have a budget: an upstream that is slow throughout gets little more.
func TestHedgeBudget(t *testing.T) {
	t.Parallel()
	slow := func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(5 * time.Millisecond)
		w.WriteHeader(http.StatusNoContent)
	}
	var got atomic.Int64
	var targets []balancer.Target
	for range 3 {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got.Add(1)
			slow(w, r)
		}))
		t.Cleanup(s.Close)
		targets = append(targets, balancer.Target{URL: s.URL})
	}
	up := retrying(t, gateway.UpstreamConfig{Targets: targets, Retry: policy.Retry{Hedge: time.Millisecond}, HedgeBudget: gateway.RetryBudget{Min: -1}})
	for range 300 {
		w := httptest.NewRecorder()
		up.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		require.Equal(t, 204, w.Code)
	}
	require.LessOrEqual(t, got.Load(), int64(330))
	require.Greater(t, got.Load(), int64(310), "and the budget is used")
	_, err := gateway.NewUpstream(gateway.UpstreamConfig{Name: "up", Targets: targets, HedgeBudget: gateway.RetryBudget{Share: 2}})
	require.EqualError(t, err, "gateway: UpstreamConfig.HedgeBudget.Share 2 is no share of the requests, or more than all; 0.1 is usual")
}

// What goes wrong in a try stays with its request.
func TestHedgingThatEnds(t *testing.T) {
	t.Parallel()
	all, targets := mishaps(t, "stall", "stall")
	retry := policy.Retry{Hedge: 5 * time.Millisecond}
	up := retrying(t, gateway.UpstreamConfig{Targets: targets, Retry: retry})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan any, 1)
	go func() {
		defer func() { ended <- recover() }()
		up.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx))
	}()
	require.Eventually(t, func() bool { return all[0].got.Load()+all[1].got.Load() == 2 }, 10*time.Second, time.Millisecond)
	cancel()
	require.Equal(t, http.ErrAbortHandler, <-ended)
	require.Zero(t, up.Status().InFlight)

	// A round tripper of the application's panics: that is the request's end, not the process's.
	panics := errors.New("round tripper")
	var calls atomic.Int64
	up = retrying(t, gateway.UpstreamConfig{Targets: targets, Retry: retry, Outbound: []func(http.RoundTripper) http.RoundTripper{
		func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				if calls.Add(1) == 2 {
					panic(panics)
				}
				return next.RoundTrip(r)
			})
		},
	}})
	require.PanicsWithError(t, "round tripper", func() { up.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)) })
	for _, s := range up.Status().Targets {
		require.Zero(t, s.InFlight)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A target that is overtaken looks slow to an algorithm that goes by latency, although none of its answers is waited for.
func TestOvertakenTargetsAreSlow(t *testing.T) {
	t.Parallel()
	all, targets := mishaps(t, "stall", "", "")
	up := retrying(t, gateway.UpstreamConfig{Targets: targets, Algorithm: balancer.PeakEWMA{Seed: 1}, Retry: policy.Retry{Hedge: 50 * time.Millisecond}})
	for range 100 {
		w := httptest.NewRecorder()
		up.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		require.Equal(t, 200, w.Code)
	}
	require.Less(t, all[0].got.Load(), int64(20), "and not every third")
	require.Greater(t, up.Status().Targets[0].Latency, 10*time.Millisecond)
	require.Equal(t, balancer.Healthy, up.Status().Targets[0].Health)
}

// A try that is not admitted beside another one is none, and changes nothing for that.
func TestHedgingThatIsNotAdmitted(t *testing.T) {
	t.Parallel()
	_, targets := mishaps(t, "reset later", "")
	gate := &turnstile{refuses: 2}
	up := retrying(t, gateway.UpstreamConfig{
		Targets: targets, Health: inTurn, Admission: []policy.Admission{gate}, Retry: policy.Retry{Tries: 2, Hedge: 5 * time.Millisecond},
	})
	x, r := policy.Ensure(httptest.NewRequest(http.MethodGet, "/", nil))
	w := httptest.NewRecorder()
	up.ServeHTTP(w, r)
	require.Equal(t, 200, w.Code)
	require.EqualValues(t, 3, gate.asked.Load())
	require.Len(t, x.Tries(), 2)
	require.Equal(t, 2, x.Tries()[1].Number)
	require.EqualValues(t, 2, gate.out.Load())
}

// turnstile refuses one try.
type turnstile struct {
	gates

	asked   atomic.Int64
	refuses int64
}

func (g *turnstile) Admit(context.Context, string) (policy.Ticket, error) {
	if g.asked.Add(1) == g.refuses {
		return 0, errors.New("not now")
	}
	return 0, nil
}
