package split_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/breaker"
	"github.com/gatehouse-go/gateway/traffic/split"
)

// script is a handler whose answer can be changed.
type script struct {
	next atomic.Pointer[http.HandlerFunc]
}

func newScript(h http.Handler) *script {
	s := &script{}
	s.set(h)
	return s
}

func (s *script) set(h http.Handler) {
	f := h.ServeHTTP
	s.next.Store((*http.HandlerFunc)(&f))
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) { (*s.next.Load())(w, r) }

// trial is a Split of two scripts with a rule, in a bubble.
type trial struct {
	*split.Split

	stable, canary *script
	told           []split.Rollback
}

func newTrial(t *testing.T, stable, canary int, rule split.Rule, overrides ...split.Override) *trial {
	t.Helper()
	tr := &trial{stable: newScript(say("v1")), canary: newScript(say("v2"))}
	rule.Arm, rule.Against = "canary", "stable"
	rule.OnRollback = func(r split.Rollback) {
		require.NotEmpty(t, tr.Status().Name, "the callback may ask")
		tr.told = append(tr.told, r)
	}
	tr.Split = made(t, split.Config{Name: "app", Overrides: overrides, Rollback: rule, Arms: []split.Arm{
		{Name: "stable", Weight: stable, Handler: tr.stable}, {Name: "canary", Weight: canary, Handler: tr.canary},
	}})
	return tr
}

// ask sends so many requests, evenly over a time.
func (tr *trial) ask(n int, within time.Duration) {
	for range n {
		gatewaytest.Do(tr, get())
		time.Sleep(within / time.Duration(n))
	}
}

// TestRollback: a canary that fails loses its weight, once, with numbers that say why.
func TestRollback(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		tr := newTrial(t, 95, 5, split.Rule{})
		tr.ask(400, 20*time.Second)
		require.Empty(t, tr.told)
		tr.canary.set(gatewaytest.Respond(500, "x"))
		tr.ask(1000, 50*time.Second)
		require.Len(t, tr.told, 1)
		require.Equal(t, map[string]int{"stable": 100, "canary": 0}, tr.Weights())
		r := tr.told[0]
		require.Less(t, r.At.Sub(began), 40*time.Second)
		require.Equal(t, fmt.Sprintf("app: canary rolled back to stable, from 5 of 100: errors, %d of %d (%.1f %%) against 0 of %d (0.0 %%) within 1m0s, last status 500",
			r.Errors, r.Requests, 100*float64(r.Errors)/float64(r.Requests), r.AgainstRequests), r.String())
		t.Log(r)
		st := tr.Status()
		require.Equal(t, []any{"rollback", uint64(1), &r, r.At}, []any{st.Reason, st.Changes, st.Rollback, st.Since})
		require.EqualValues(t, r.Errors, st.Arms[1].Errors, "no request reached it any more")

		tr.canary.set(say("v2"))
		tr.ask(5000, time.Hour)
		require.Equal(t, map[string]int{"stable": 100, "canary": 0}, tr.Weights(), "it does not undo itself")
		require.ErrorIs(t, tr.Revert(), split.ErrNothingToRevert, "it has gone back already")

		require.NoError(t, tr.SetWeights(map[string]int{"stable": 50, "canary": 50}))
		require.Nil(t, tr.Status().Rollback)
		require.Zero(t, tr.Status().Arms[1].WindowRequests, "it counts anew")
		tr.ask(400, time.Second)
		require.Len(t, tr.told, 1)
		tr.canary.set(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
		for range 400 {
			if p := serve(tr, httptest.NewRecorder(), get()); p != nil {
				require.Equal(t, http.ErrAbortHandler, p, "a panic goes on")
			}
		}
		require.Len(t, tr.told, 2)
		require.ErrorContains(t, tr.told[1].Err, "panicked")
		require.Zero(t, tr.told[1].Status)
		require.Equal(t, []int{50, 100}, []int{tr.told[1].Weight, tr.told[1].Total})
	})
}

// TestNoRollback: what is no reason.
func TestNoRollback(t *testing.T) {
	t.Parallel()
	fails := gatewaytest.Respond(503, "x")
	now := func(h http.Handler, share float64) http.Handler { // fails now and then
		rng := rand.New(rand.NewPCG(1, 2))
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if rng.Float64() < share {
				h.ServeHTTP(w, r)
				return
			}
			w.WriteHeader(200)
		})
	}
	for name, c := range map[string]struct {
		stable, canary http.Handler
		weight         int
		requests       int
		rule           split.Rule
	}{
		"both are well":              {say(""), say(""), 5, 10_000, split.Rule{}},
		"both are down":              {fails, fails, 5, 10_000, split.Rule{}},
		"both fail now and then":     {now(fails, 0.2), now(fails, 0.2), 5, 20_000, split.Rule{}},
		"the other one is down":      {fails, say(""), 5, 10_000, split.Rule{}},
		"too few":                    {say(""), fails, 5, 19 * 20, split.Rule{}},
		"too few to compare with":    {say(""), fails, 95, 19 * 20, split.Rule{}},
		"nobody to compare with":     {say(""), fails, 100, 1000, split.Rule{}},
		"a single failure":           {say(""), now(fails, 0.005), 50, 2000, split.Rule{ErrorRatio: 2}},
		"a difference that is small": {say(""), now(fails, 0.03), 50, 20_000, split.Rule{}},
		"one of two conditions":      {now(fails, 0.2), now(fails, 0.3), 50, 20_000, split.Rule{ErrorShare: 0.05, ErrorRatio: 2}},
		"refused with 4xx inside": {say(""), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			policy.Refuse(w, r, "limit", &policy.Error{Status: 429})
		}), 50, 1000, split.Rule{}},
		"slow, and no rule about it":  {say(""), gatewaytest.After(time.Second, say("")), 50, 500, split.Rule{}},
		"hardly slower":               {gatewaytest.After(100*time.Millisecond, say("")), gatewaytest.After(110*time.Millisecond, say("")), 50, 2000, split.Rule{LatencyRatio: 1.01}},
		"fails, and no rule about it": {say(""), fails, 50, 1000, split.Rule{LatencyRatio: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tr := newTrial(t, 100-c.weight, c.weight, c.rule)
				tr.stable.set(c.stable)
				tr.canary.set(c.canary)
				tr.ask(c.requests, 30*time.Second)
				require.Empty(t, tr.told)
				require.Equal(t, map[string]int{"stable": 100 - c.weight, "canary": c.weight}, tr.Weights())
			})
		})
	}
}

// TestOutageOfBoth: an outage that begins and ends at both at once is no reason, whenever one looks.
func TestOutageOfBoth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := newTrial(t, 90, 10, split.Rule{Window: 10 * time.Second})
		for range 50 {
			tr.ask(500, 7*time.Second)
			tr.stable.set(gatewaytest.Respond(503, "x"))
			tr.canary.set(gatewaytest.Respond(503, "x"))
			tr.ask(500, 7*time.Second)
			tr.stable.set(say("v1"))
			tr.canary.set(say("v2"))
		}
		require.Empty(t, tr.told)
	})
}

// TestRollbackForLatency: what answers, but late.
func TestRollbackForLatency(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rule split.Rule
		slow time.Duration
		want bool
	}{
		"three times":              {split.Rule{LatencyRatio: 2}, 30 * time.Millisecond, true},
		"one and a half times":     {split.Rule{LatencyRatio: 2}, 15 * time.Millisecond, false},
		"20 ms more":               {split.Rule{Latency: 15 * time.Millisecond}, 30 * time.Millisecond, true},
		"three times, but little":  {split.Rule{LatencyRatio: 2, Latency: 50 * time.Millisecond}, 30 * time.Millisecond, false},
		"three times and a lot":    {split.Rule{LatencyRatio: 2, Latency: 5 * time.Millisecond}, 30 * time.Millisecond, true},
		"and the errors are fine":  {split.Rule{LatencyRatio: 2, ErrorShare: 0.1}, 30 * time.Millisecond, true},
		"streams that begin early": {split.Rule{LatencyRatio: 2}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tr := newTrial(t, 90, 10, c.rule)
				tr.stable.set(gatewaytest.After(10*time.Millisecond, say("v1")))
				tr.canary.set(gatewaytest.After(c.slow, say("v2")))
				if c.slow == 0 {
					tr.canary.set(gatewaytest.Stream(time.Second, "a", "b"))
				}
				tr.ask(1000, 10*time.Second)
				if !c.want {
					require.Empty(t, tr.told)
					return
				}
				require.Len(t, tr.told, 1)
				r := tr.told[0]
				require.Equal(t, "latency", r.Reason)
				require.InDelta(t, 30, r.Latency.Milliseconds(), 4)
				require.InDelta(t, 10, r.AgainstLatency.Milliseconds(), 2)
				require.Contains(t, r.String(), fmt.Sprintf("latency, 95 %% within %s of %d requests against %s of %d within 1m0s, last status 200",
					r.Latency, r.Requests, r.AgainstLatency, r.AgainstRequests))
			})
		})
	}
}

// TestRollbackAndOverrides: nobody is left in an arm that was rolled back, unless that is wanted.
func TestRollbackAndOverrides(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			tr := newTrial(t, 100, 0, split.Rule{KeepOverrides: keep},
				split.Override{Header: "X-Arm", Arm: "canary"}, split.Override{Header: "X-Arm", Value: "stable", Arm: "stable"})
			asked := func(arm string) *http.Request {
				r := get()
				r.Header.Set("X-Arm", arm)
				return r
			}
			tr.canary.set(gatewaytest.Respond(500, "x"))
			for range 50 {
				gatewaytest.Do(tr, get())
			}
			for range 30 {
				gatewaytest.Do(tr, asked("canary"))
			}
			require.Len(t, tr.told, 1, "what overrides send is looked at, too")
			require.Contains(t, tr.told[0].String(), "from 0 of 100")
			want := map[bool]string{false: "app allowed weight (stable)", true: "app allowed override_header (canary)"}[keep]
			require.Equal(t, want, decided(t, tr, asked("canary")).String())
			require.Equal(t, "app allowed override_header (stable)", decided(t, tr, asked("stable")).String())
			require.NoError(t, tr.SetWeights(tr.Weights()), "the same weights, by somebody")
			require.Equal(t, "app allowed override_header (canary)", decided(t, tr, asked("canary")).String())
		})
	}
}

// TestRollbackOfAll: a canary that has nearly everything gives it back.
func TestRollbackOfAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := newTrial(t, 50, 50, split.Rule{})
		tr.ask(200, time.Second)
		require.NoError(t, tr.Switch("canary"))
		tr.canary.set(gatewaytest.Respond(500, "x"))
		tr.ask(200, time.Second)
		require.Len(t, tr.told, 1)
		require.Equal(t, map[string]int{"stable": 100, "canary": 0}, tr.Weights())
	})
}

// TestStragglers: what began before a rule was armed again says nothing about what came after.
func TestStragglers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := newTrial(t, 50, 50, split.Rule{})
		hang := make(chan struct{})
		tr.canary.set(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang; panic(http.ErrAbortHandler) }))
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { serve(tr, httptest.NewRecorder(), get()) })
		}
		synctest.Wait()
		tr.canary.set(gatewaytest.Respond(500, "x"))
		tr.ask(200, time.Second)
		require.Len(t, tr.told, 1)
		tr.canary.set(say("v2"))
		require.NoError(t, tr.SetWeights(map[string]int{"stable": 50, "canary": 50}))
		tr.ask(100, time.Second)
		errorsBefore := tr.Status().Arms[1].Errors
		close(hang)
		all.Wait()
		require.Len(t, tr.told, 1)
		require.Zero(t, tr.Status().Arms[1].WindowErrors)
		require.Equal(t, errorsBefore+50, tr.Status().Arms[1].Errors)
	})
}

// TestOnRollbackPanics: a callback that panics harms the request that called it, and no other.
func TestOnRollbackPanics(t *testing.T) {
	t.Parallel()
	s := made(t, split.Config{
		Arms:     []split.Arm{{Name: "stable", Weight: 1, Handler: say("v1")}, {Name: "canary", Weight: 1, Handler: gatewaytest.Respond(500, "x")}},
		Rollback: split.Rule{Arm: "canary", Against: "stable", OnRollback: func(split.Rollback) { panic("x") }},
	})
	panics := 0
	for range 200 {
		if serve(s, httptest.NewRecorder(), get()) != nil {
			panics++
		}
	}
	require.Equal(t, 1, panics)
	require.Equal(t, map[string]int{"stable": 2, "canary": 0}, s.Weights())
	for _, a := range s.Status().Arms {
		require.Zero(t, a.InFlight)
	}
}

// TestWhatCounts: one request with each kind of end.
func TestWhatCounts(t *testing.T) {
	t.Parallel()
	const ok, failure, nothing = "ok", "failure", "nothing"
	write := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
	}
	refuse := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			policy.Refuse(w, r, "p", &policy.Error{Status: status, Code: "no"})
		}
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		request func(r *http.Request) *http.Request
		want    string
	}{
		"200":         {write(200), nil, ok},
		"no word":     {func(http.ResponseWriter, *http.Request) {}, nil, ok},
		"404":         {write(404), nil, ok},
		"429":         {write(429), nil, ok},
		"500":         {write(500), nil, failure},
		"503":         {write(503), nil, failure},
		"599":         {write(599), nil, failure},
		"900":         {write(900), nil, ok},
		"early, 500":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(103); w.WriteHeader(500) }, nil, failure},
		"panic":       {func(http.ResponseWriter, *http.Request) { panic("x") }, nil, failure},
		"abort":       {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, nil, failure},
		"broken off":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200); panic(http.ErrAbortHandler) }, nil, failure},
		"later":       {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200); time.Sleep(time.Hour); panic("x") }, nil, failure},
		"500, abort":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500); panic(http.ErrAbortHandler) }, nil, failure},
		"client left": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, left, nothing},
		"left, 502":   {func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done(); w.WriteHeader(502) }, left, nothing},
		"left, abort": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done(); panic(http.ErrAbortHandler) }, left, nothing},
		"left later": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		}, left, ok},
		"refused with 503": {refuse(503), nil, failure},
		"refused with 401": {refuse(401), nil, nothing},
		"refused for gRPC": {refuse(503), func(r *http.Request) *http.Request {
			r.Method, r.ProtoMajor = http.MethodPost, 2
			r.Header.Set("Content-Type", "application/grpc")
			return r
		}, failure},
		"an application's own error": {func(w http.ResponseWriter, r *http.Request) {
			policy.WriteError(w, r, &policy.Error{Status: 500})
		}, nil, failure},
		"upgrade": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(101) }, nil, ok},
		"hijack":  {func(w http.ResponseWriter, _ *http.Request) { _, _, _ = http.NewResponseController(w).Hijack() }, upgrade, ok},
		"hijack, abort": {func(w http.ResponseWriter, _ *http.Request) {
			_, _, _ = http.NewResponseController(w).Hijack()
			panic(http.ErrAbortHandler)
		}, upgrade, failure},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := made(t, split.Config{Arms: []split.Arm{{Name: "a", Weight: 1, Handler: c.handler}}})
				r := get()
				if c.request != nil {
					r = c.request(r)
				}
				w := hijackable{httptest.NewRecorder()}
				serve(s, w, r)
				a := s.Status().Arms[0]
				require.EqualValues(t, 1, a.Requests)
				require.Zero(t, a.InFlight)
				require.Equal(t, map[string]int{ok: 1, failure: 1}[c.want], a.WindowRequests)
				require.Equal(t, map[string]int{failure: 1}[c.want], a.WindowErrors)
				require.EqualValues(t, map[string]int{failure: 1}[c.want], a.Errors)
				if c.want == nothing {
					require.Zero(t, a.P95)
				}
			})
		})
	}
}

func left(r *http.Request) *http.Request {
	ctx, cancel := context.WithCancel(r.Context())
	time.AfterFunc(time.Second, cancel)
	return r.WithContext(ctx)
}

func upgrade(r *http.Request) *http.Request {
	r.Header.Set("Upgrade", "websocket")
	return r
}

// newUpstream is an upstream in memory.
func newUpstream(t *testing.T, name string, c gateway.UpstreamConfig, steps ...http.Handler) (*gateway.Upstream, *gatewaytest.Upstream) {
	t.Helper()
	up := gatewaytest.NewUpstream(name+".test", steps...)
	c.Name, c.Targets, c.Dial = name, []balancer.Target{{URL: up.URL()}}, up.Dial
	u := gateway.Must(gateway.NewUpstream(c))
	t.Cleanup(func() {
		require.NoError(t, u.Close())
		require.NoError(t, up.Close())
	})
	return u, up
}

// TestArmThatDies: a canary whose only target is gone, also when its breaker refuses before anybody is asked.
func TestArmThatDies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config gateway.UpstreamConfig
		closed bool
	}{
		"alone":          {},
		"with a breaker": {config: gateway.UpstreamConfig{Admission: []policy.Admission{policy.Must(breaker.New(breaker.Config{Consecutive: 3}))}}},
		"closed":         {closed: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				stable, _ := newUpstream(t, "v1", gateway.UpstreamConfig{}, say("v1"))
				canary, up := newUpstream(t, "v2", c.config, say("v2"))
				var told []split.Rollback
				s := made(t, split.Config{
					Arms:     []split.Arm{{Name: "stable", Weight: 95, Handler: stable}, {Name: "canary", Weight: 5, Handler: canary}},
					Rollback: split.Rule{Arm: "canary", Against: "stable", OnRollback: func(r split.Rollback) { told = append(told, r) }},
				})
				gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{{Name: "app", Handler: s}}}))
				failures := 0
				for n := range 10_000 {
					if n == 2000 {
						up.SetDown(true)
						up.Script(gatewaytest.Reset()) // on connections that there are
						if c.closed {
							require.NoError(t, canary.Close())
						}
					}
					if gatewaytest.Do(gw, get()).StatusCode != 200 {
						failures++
					}
					time.Sleep(10 * time.Millisecond)
				}
				require.Len(t, told, 1)
				require.Error(t, told[0].Err)
				t.Logf("%d of 8,000 requests failed after it died; %s", failures, told[0])
				require.LessOrEqual(t, failures, 40)
				require.NoError(t, gw.Shutdown(t.Context()))
			})
		})
	}
}

// TestUpstreams: what ends a request at an upstream, as a Split sees it.
func TestUpstreams(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		step             http.Handler
		request          func(*http.Request) *http.Request
		requests, errors int
	}{
		"answered":      {step: say("x"), requests: 1},
		"500":           {step: gatewaytest.Respond(500, "x"), requests: 1, errors: 1},
		"reset":         {step: gatewaytest.Reset(), requests: 1, errors: 1},
		"cut":           {step: gatewaytest.Truncate("abc", 5), requests: 1, errors: 1},
		"stream":        {step: gatewaytest.Stream(time.Second, "a", "b"), requests: 1},
		"client leaves": {step: gatewaytest.Stall(), request: left},
		"nonsense of the client": {step: say("x"), request: func(r *http.Request) *http.Request {
			r.Method, r.Body, r.ContentLength = http.MethodPost, io.NopCloser(strings.NewReader("x")), 2
			return r
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				u, _ := newUpstream(t, "v1", gateway.UpstreamConfig{}, c.step)
				s := made(t, split.Config{Arms: []split.Arm{{Name: "a", Weight: 1, Handler: u}}})
				r := get()
				if c.request != nil {
					r = c.request(r)
				}
				entry := policy.Must(policy.NewEntry(policy.EntryConfig{}))
				serve(entry.Wrap(s), httptest.NewRecorder(), r)
				a := s.Status().Arms[0]
				require.Equal(t, []int{c.requests, c.errors}, []int{a.WindowRequests, a.WindowErrors})
			})
		})
	}
}

// TestEarlierTries: what upstreams were asked before says nothing about those inside.
func TestEarlierTries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := made(t, split.Config{Arms: []split.Arm{{Name: "a", Weight: 1, Handler: gatewaytest.Respond(500, "x")}}})
		x, r := policy.Ensure(get())
		x.RecordTry(policy.Try{Start: time.Now(), Outcome: policy.Outcome{Canceled: true, Err: errors.New("x")}})
		time.Sleep(time.Second)
		serve(s, httptest.NewRecorder(), r)
		require.Equal(t, 1, s.Status().Arms[0].WindowErrors)
	})
}

// TestStatus: what operators see.
func TestStatus(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := newTrial(t, 90, 10, split.Rule{Window: 10 * time.Second})
		tr.stable.set(gatewaytest.After(20*time.Millisecond, say("v1")))
		tr.ask(100, 2*time.Second)
		st := tr.Status()
		require.EqualValues(t, 90, st.Arms[0].Requests)
		require.Equal(t, []any{"stable", 90, 90, 0}, []any{st.Arms[0].Name, st.Arms[0].Weight, st.Arms[0].WindowRequests, st.Arms[0].WindowErrors})
		require.InDelta(t, 21, st.Arms[0].P50.Milliseconds(), 2)
		require.InDelta(t, 21, st.Arms[0].P95.Milliseconds(), 2)
		time.Sleep(10 * time.Second)
		st = tr.Status()
		require.Equal(t, split.ArmStatus{Name: "stable", Weight: 90, Requests: 90}, st.Arms[0], "it is forgotten")
		tr.ask(100, 2*time.Second)
		time.Sleep(9 * time.Second)
		require.InDelta(t, 45, tr.Status().Arms[0].WindowRequests, 45)
	})
}
