package breaker_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/internal/respw"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/breaker"
)

func made(tb testing.TB, c breaker.Config) *breaker.Breaker {
	tb.Helper()
	b, err := breaker.New(c)
	require.NoError(tb, err)
	return b
}

// script is a handler whose answer can be changed, and which counts.
type script struct {
	asked atomic.Int64
	next  atomic.Pointer[http.HandlerFunc]
}

func newScript(h http.HandlerFunc) *script {
	s := &script{}
	s.next.Store(&h)
	return s
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked.Add(1)
	(*s.next.Load())(w, r)
}

func (s *script) answer(status int) {
	h := gatewaytest.Respond(status, "x").ServeHTTP
	f := http.HandlerFunc(h)
	s.next.Store(&f)
}

func get() *http.Request { return httptest.NewRequest(http.MethodGet, "/", nil) }

// serve runs h and swallows its panic, which it returns.
func serve(h http.Handler, w http.ResponseWriter, r *http.Request) (panicked any) {
	defer func() { panicked = recover() }()
	h.ServeHTTP(w, r)
	return nil
}

// TestLife: closed, open, half-open and closed again, in virtual time.
func TestLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var changes []string
		b := made(t, breaker.Config{Name: "users", Consecutive: 3, Probes: 1, Successes: 2, OnChange: func(c breaker.Change) { changes = append(changes, c.String()) }})
		inside := newScript(gatewaytest.Respond(200, "x").ServeHTTP)
		h := b.Wrap(inside)
		ask := func(status int) *http.Response {
			t.Helper()
			res := gatewaytest.Do(h, get())
			require.Equal(t, status, res.StatusCode)
			return res
		}
		ask(200)
		inside.answer(503)
		for range 3 {
			ask(503)
		}
		require.EqualValues(t, 4, inside.asked.Load())
		require.Equal(t, breaker.Open, b.State())
		time.Sleep(2100 * time.Millisecond)
		res := ask(503)
		require.Equal(t, "3", res.Header.Get("Retry-After"), "2.9 s, rounded up")
		require.Equal(t, "no-store", res.Header.Get("Cache-Control"))
		require.EqualValues(t, 4, inside.asked.Load(), "nobody was asked")
		require.Equal(t, 2900*time.Millisecond, b.Status().RetryAfter)
		time.Sleep(time.Second)
		require.Equal(t, "2", ask(503).Header.Get("Retry-After"))

		time.Sleep(1900 * time.Millisecond)
		require.Equal(t, breaker.Open, b.State(), "until somebody comes")
		ask(503)
		require.EqualValues(t, 5, inside.asked.Load())
		require.Equal(t, 10*time.Second, b.Status().RetryAfter, "twice as long")
		inside.answer(200)
		time.Sleep(10 * time.Second)
		ask(200)
		require.Equal(t, breaker.HalfOpen, b.State())
		require.Equal(t, 1, b.Status().Succeeded)
		ask(200)
		require.Equal(t, breaker.Closed, b.State())
		s := b.Status()
		require.Equal(t, breaker.Status{
			Name: "users", State: breaker.Closed, Since: s.Since, Reason: "probes_succeeded", Changes: 5, Refused: 2,
		}, s)
		require.Zero(t, time.Since(s.Since))
		require.Equal(t, []string{
			"users: closed to open for 5s: consecutive_failures, 3 of 4 failed and 0 were slow, last status 503",
			"users: open to half_open: open_time_over",
			"users: half_open to open for 10s: probe_failed, last status 503",
			"users: open to half_open: open_time_over",
			"users: half_open to closed: probes_succeeded, last status 200",
		}, changes)
	})
}

// TestWhatCounts: one request with each kind of end, around a handler.
func TestWhatCounts(t *testing.T) {
	t.Parallel()
	const ok, failure, nothing, cut = "ok", "failure", "nothing", "cut"
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		request func(r *http.Request) *http.Request
		want    string
	}{
		"200":         {gatewaytest.Respond(200, "x").ServeHTTP, nil, ok},
		"no word":     {func(http.ResponseWriter, *http.Request) {}, nil, ok},
		"304":         {gatewaytest.Respond(304, "").ServeHTTP, nil, ok},
		"404":         {gatewaytest.Respond(404, "x").ServeHTTP, nil, ok},
		"429":         {gatewaytest.Respond(429, "x").ServeHTTP, nil, ok},
		"500":         {gatewaytest.Respond(500, "x").ServeHTTP, nil, failure},
		"503":         {gatewaytest.Respond(503, "x").ServeHTTP, nil, failure},
		"599":         {gatewaytest.Respond(599, "x").ServeHTTP, nil, failure},
		"900":         {gatewaytest.Respond(900, "x").ServeHTTP, nil, ok},
		"early, 500":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(103); w.WriteHeader(500) }, nil, failure},
		"panic":       {func(http.ResponseWriter, *http.Request) { panic("x") }, nil, failure},
		"abort":       {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, nil, failure},
		"broken off":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200); panic(http.ErrAbortHandler) }, nil, cut},
		"client left": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, left, nothing},
		"left, 502":   {func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done(); w.WriteHeader(502) }, left, nothing},
		"left, abort": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done(); panic(http.ErrAbortHandler) }, left, nothing},
		"left in body": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		}, left, ok},
		"too late": {func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done(); w.WriteHeader(504) }, late, failure},
		"another plugin refuses": {func(w http.ResponseWriter, r *http.Request) {
			policy.Refuse(w, r, "key-auth", &policy.Error{Status: 503, Code: "store_unavailable"})
		}, nil, nothing},
		"an application's own error": {func(w http.ResponseWriter, r *http.Request) {
			policy.WriteError(w, r, &policy.Error{Status: 500})
		}, nil, failure},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, start := range []breaker.State{breaker.Closed, breaker.HalfOpen} {
				synctest.Test(t, func(t *testing.T) {
					b := made(t, breaker.Config{Consecutive: 2, Probes: 1, Successes: 1, Minimum: 1})
					h := b.Wrap(c.handler)
					if start == breaker.HalfOpen {
						for range 2 {
							serve(b.Wrap(gatewaytest.Respond(500, "")), httptest.NewRecorder(), get())
						}
						time.Sleep(breaker.DefaultOpenFor)
					}
					r := get()
					if c.request != nil {
						r = c.request(r)
					}
					serve(h, httptest.NewRecorder(), r)
					s := b.Status()
					require.Zero(t, s.Probes, "its place is free")
					if start == breaker.HalfOpen {
						require.Equal(t, map[string]breaker.State{ok: breaker.Closed, cut: breaker.Closed, failure: breaker.Open, nothing: breaker.HalfOpen}[c.want], s.State)
						require.Equal(t, map[string]int{cut: 1}[c.want], s.Failures, "it was a success when it began")
						return
					}
					require.Equal(t, map[string]int{failure: 1, cut: 1}[c.want], s.Consecutive)
					require.Equal(t, map[string]int{failure: 1, cut: 1}[c.want], s.Failures)
					if c.want == nothing {
						require.Zero(t, s.Requests)
					} else {
						require.Equal(t, 1, s.Requests)
					}
				})
			}
		})
	}
}

func left(r *http.Request) *http.Request {
	ctx, cancel := context.WithCancel(r.Context())
	time.AfterFunc(time.Second, cancel)
	return r.WithContext(ctx)
}

func late(r *http.Request) *http.Request {
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	context.AfterFunc(ctx, cancel)
	return r.WithContext(ctx)
}

// TestProbes: of many requests at once exactly as many pass as there are places, whatever becomes of those.
func TestProbes(t *testing.T) {
	t.Parallel()
	for _, probes := range []int{1, 3, 7} {
		synctest.Test(t, func(t *testing.T) {
			b := made(t, breaker.Config{Consecutive: 1, Probes: probes, Successes: probes})
			trip(b)
			time.Sleep(breaker.DefaultOpenFor)
			for _, end := range []policy.Outcome{{Canceled: true}, {Status: 200}} {
				var tickets []policy.Ticket
				var mu sync.Mutex
				var all sync.WaitGroup
				for range 200 {
					all.Go(func() {
						ticket, err := b.Admit(t.Context(), "users")
						if err != nil {
							var e *policy.Error
							if !errors.As(err, &e) || e.Code != "circuit_half_open" || !errors.Is(err, breaker.ErrOpen) || e.Header.Get("Retry-After") != "1" {
								t.Error(err)
							}
							return
						}
						mu.Lock()
						defer mu.Unlock()
						tickets = append(tickets, ticket)
					})
				}
				all.Wait()
				require.Len(t, tickets, probes)
				require.Equal(t, probes, b.Status().Probes)
				for _, ticket := range tickets {
					all.Go(func() { b.Done(ticket, end) })
				}
				all.Wait()
				require.Zero(t, b.Status().Probes)
			}
			require.Equal(t, breaker.Closed, b.State())
		})
	}
}

// trip opens a breaker for which one failure is enough.
func trip(b *breaker.Breaker) {
	ticket, _ := b.Admit(context.Background(), "")
	b.Done(ticket, policy.Outcome{Status: 500})
}

// TestRates: shares of a window, with a minimum.
func TestRates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := made(t, breaker.Config{})
		done := func(times int, o policy.Outcome) {
			for range times {
				ticket, err := b.Admit(t.Context(), "")
				require.NoError(t, err)
				b.Done(ticket, o)
			}
		}
		done(10, policy.Outcome{Err: errors.New("reset")})
		done(9, policy.Outcome{Status: 200})
		require.Equal(t, breaker.Closed, b.State(), "19 are too few")
		time.Sleep(breaker.DefaultWindow)
		require.Zero(t, b.Status().Requests)
		done(1000, policy.Outcome{Status: 404})
		done(999, policy.Outcome{Status: 502})
		require.Equal(t, breaker.Closed, b.State())
		require.Equal(t, 999, b.Status().Failures)
		done(1, policy.Outcome{Status: 502})
		require.Equal(t, breaker.Open, b.State())
		require.Equal(t, "failure_rate", b.Status().Reason)

		b = made(t, breaker.Config{SlowRate: 0.5, SlowAfter: time.Second, Minimum: 4})
		done(2, policy.Outcome{Status: 200, FirstByte: 10 * time.Millisecond, Duration: time.Hour})
		done(2, policy.Outcome{Status: 200, FirstByte: time.Minute, Upload: time.Minute - 10*time.Millisecond})
		require.Zero(t, b.Status().Slow, "streams and slow clients are not slow")
		done(2, policy.Outcome{Status: 200, FirstByte: time.Second})
		done(2, policy.Outcome{Duration: time.Second})
		require.Equal(t, "slow_rate", b.Status().Reason)
		require.Equal(t, breaker.Open, b.State())
	})
}

// TestSlowHandlers: how slow a handler is, is the time to its head.
func TestSlowHandlers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		h    http.Handler
		slow int
	}{
		"slow":   {gatewaytest.After(time.Second, gatewaytest.Respond(200, "x")), 1},
		"quick":  {gatewaytest.After(999*time.Millisecond, gatewaytest.Respond(200, "x")), 0},
		"stream": {gatewaytest.Stream(2*time.Second, "a", "b"), 0},
		"mute":   {http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(time.Second) }), 1},
		"failed": {gatewaytest.After(time.Second, gatewaytest.Respond(500, "x")), 1},
		"slow client": {http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = r.Body.Read(make([]byte, 1))
			w.WriteHeader(200)
		}), 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := made(t, breaker.Config{SlowRate: 0.5, SlowAfter: time.Second})
				r := httptest.NewRequest(http.MethodPost, "/", slowBody{})
				entry := policy.Must(policy.NewEntry(policy.EntryConfig{}))
				gatewaytest.Do(entry.Wrap(b.Wrap(c.h)), r)
				s := b.Status()
				require.Equal(t, []int{1, c.slow}, []int{s.Requests, s.Slow})
			})
		})
	}
}

// slowBody is one that a client does not hurry with.
type slowBody struct{}

func (slowBody) Read(p []byte) (int, error) {
	time.Sleep(5 * time.Second)
	return copy(p, "x"), nil
}

// TestStreamsAsProbes: a probe that goes on and on keeps nobody waiting, and counts once more when it breaks off.
func TestStreamsAsProbes(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]http.HandlerFunc{
		"events":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) },
		"upgrade": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(101); hijack(w) },
		"hijack":  func(w http.ResponseWriter, _ *http.Request) { hijack(w) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := made(t, breaker.Config{Consecutive: 1, Probes: 1, Successes: 2})
				trip(b)
				time.Sleep(breaker.DefaultOpenFor)
				over := make(chan bool)
				stream := b.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					begin(w, r)
					if <-over {
						panic(http.ErrAbortHandler)
					}
				}))
				var all sync.WaitGroup
				for i := range 2 {
					require.Equal(t, i, b.Status().Succeeded)
					all.Go(func() {
						r := get()
						r.Header.Set("Upgrade", "websocket")
						serve(stream, &hijackable{ResponseRecorder: httptest.NewRecorder()}, r)
					})
					synctest.Wait()
				}
				require.Equal(t, breaker.Closed, b.State())
				over <- false
				synctest.Wait()
				require.Equal(t, breaker.Closed, b.State())
				over <- true
				all.Wait()
				require.Equal(t, breaker.Open, b.State(), "it broke off")
				require.Equal(t, "consecutive_failures", b.Status().Reason)
			})
		})
	}
}

// TestBrokenProbe: a probe that breaks off long after it began failed, but was not slow.
func TestBrokenProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := made(t, breaker.Config{Consecutive: 2, SlowRate: 1, SlowAfter: time.Second, Successes: 1})
		trip(b)
		trip(b)
		time.Sleep(breaker.DefaultOpenFor)
		serve(b.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(200)
			time.Sleep(time.Minute)
			panic("x")
		})), httptest.NewRecorder(), get())
		s := b.Status()
		require.Equal(t, []int{1, 1, 0}, []int{s.Requests, s.Failures, s.Slow})
	})
}

// TestEarlierTries: what upstreams were asked before says nothing about those inside.
func TestEarlierTries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := made(t, breaker.Config{})
		x, r := policy.Ensure(get())
		x.RecordTry(policy.Try{Start: time.Now(), Outcome: policy.Outcome{Canceled: true}})
		time.Sleep(time.Second)
		serve(b.Wrap(gatewaytest.Respond(500, "x")), httptest.NewRecorder(), r)
		require.Equal(t, 1, b.Status().Failures)
	})
}

// TestLateHijack: somebody further out who takes the connection of an answered request over changes nothing about others.
func TestLateHijack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := made(t, breaker.Config{})
		w := respw.Wrap(&hijackable{ResponseRecorder: httptest.NewRecorder()})
		r := get()
		r.Header.Set("Upgrade", "websocket")
		b.Wrap(gatewaytest.Respond(404, "x")).ServeHTTP(w, r)
		go serve(b.Wrap(gatewaytest.Stall()), httptest.NewRecorder(), left(get()))
		synctest.Wait()
		hijack(w)
		require.Equal(t, 1, b.Status().Requests)
		time.Sleep(time.Second) // until the other has left
	})
}

// TestSilentProbes: a handler that never ends does not keep the circuit half-open.
func TestSilentProbes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := made(t, breaker.Config{Consecutive: 1, Probes: 2})
		trip(b)
		time.Sleep(breaker.DefaultOpenFor)
		for range 2 {
			_, err := b.Admit(t.Context(), "")
			require.NoError(t, err)
		}
		time.Sleep(breaker.DefaultProbeTimeout - time.Nanosecond)
		_, err := b.Admit(t.Context(), "")
		require.ErrorIs(t, err, breaker.ErrOpen)
		require.Equal(t, breaker.HalfOpen, b.State())
		time.Sleep(time.Nanosecond)
		_, err = b.Admit(t.Context(), "")
		var e *policy.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, []string{"circuit_open", "10"}, []string{e.Code, e.Header.Get("Retry-After")})
		require.Equal(t, "probes_silent", b.Status().Reason)
	})
}

func TestFallback(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := made(t, breaker.Config{Name: "search", Consecutive: 1, Fallback: gatewaytest.Respond(200, "yesterday's", "X-Stale", "1")})
		inside := newScript(gatewaytest.Respond(500, "x").ServeHTTP)
		h := b.Wrap(inside)
		require.Equal(t, 500, gatewaytest.Do(h, get()).StatusCode, "what fails is passed on")
		x, r := policy.Ensure(get())
		res := gatewaytest.Do(h, r)
		require.Equal(t, []string{"200", "1", ""}, []string{fmt.Sprint(res.StatusCode), res.Header.Get("X-Stale"), res.Header.Get("Retry-After")})
		require.EqualValues(t, 1, inside.asked.Load())
		require.Equal(t, "search refused circuit_open 503 (search)", x.Decisions()[0].String())
		require.True(t, x.GatewayMade(), "no cache keeps it")
		x, r = policy.Ensure(get())
		require.Equal(t, 500, gatewaytest.Do(policy.ReportOnly(b).Wrap(inside), r).StatusCode, "nor is it asked where the breaker only reports")
		require.Equal(t, "search would_refuse circuit_open 503 (search)", x.Decisions()[0].String())
	})
}

func TestRecordAndPreview(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := made(t, breaker.Config{Name: "users", Consecutive: 1, Probes: 1})
		record := func() string {
			before := b.Status()
			preview := b.Preview(get())
			require.Equal(t, before, b.Status(), "it changes nothing")
			x, r := policy.Ensure(get())
			serve(b.Wrap(gatewaytest.Stall()), httptest.NewRecorder(), left(r))
			d := x.Decisions()[0]
			require.Equal(t, []any{d.Verdict, d.Reason, d.Status}, []any{preview.Verdict, preview.Reason, preview.Status})
			return preview.String()
		}
		require.Equal(t, "users allowed closed (0 of 0 failed in the last 10s)", record())
		trip(b)
		require.Equal(t, "users refused circuit_open 503 (for another 5s)", record())
		time.Sleep(5 * time.Second)
		require.Equal(t, "users allowed probe", record())
		_, err := b.Admit(t.Context(), "")
		require.NoError(t, err)
		require.Equal(t, "users refused circuit_half_open 503", record())
	})
}

// TestOnChange: changes are told one at a time, in order, without a lock, and none gets lost but by waiting for too long.
func TestOnChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b *breaker.Breaker
		var told []uint64
		hold, panics := make(chan struct{}), false
		b = made(t, breaker.Config{Consecutive: 1, Probes: 1, OnChange: func(c breaker.Change) {
			told = append(told, c.Number)
			_ = b.Status() // may be asked
			if panics {
				panic("x")
			}
			<-hold
		}})
		go trip(b)
		synctest.Wait()
		for range 24 { // which nobody waits for
			time.Sleep(breaker.DefaultMaxOpenFor)
			ticket, err := b.Admit(t.Context(), "")
			require.NoError(t, err)
			b.Done(ticket, policy.Outcome{Status: 500})
		}
		require.Equal(t, []uint64{1}, told)
		close(hold)
		synctest.Wait()
		require.EqualValues(t, 49, b.Status().Changes)
		require.Len(t, told, 17)
		require.Equal(t, []uint64{1, 34, 35, 36}, told[:4], "the oldest gave way")

		panics = true
		time.Sleep(breaker.DefaultMaxOpenFor)
		require.Panics(t, func() { _, _ = b.Admit(t.Context(), "") })
		require.Zero(t, b.Status().Probes, "the place of a probe that nobody will end")
		ticket, err := b.Admit(t.Context(), "")
		require.NoError(t, err)
		require.Panics(t, func() { b.Done(ticket, policy.Outcome{Status: 500}) })
		require.Equal(t, breaker.Open, b.State())
	})
}

// TestChangesOfManyGoroutines: under load the callback hears of every change, and each begins where the last ended.
func TestChangesOfManyGoroutines(t *testing.T) {
	t.Parallel()
	var told []breaker.Change
	b := made(t, breaker.Config{Consecutive: 1, Probes: 2, Successes: 1, OpenFor: time.Millisecond, OnChange: func(c breaker.Change) { told = append(told, c) }})
	var all sync.WaitGroup
	var clock atomic.Int64
	start := time.Now()
	for i := range 8 {
		all.Go(func() {
			for n := range 2000 {
				now := start.Add(time.Duration(clock.Add(1)) * 100 * time.Microsecond)
				ticket, err := b.AdmitAt(now)
				if err != nil {
					continue
				}
				ticket = b.AnsweredAt(now, ticket, policy.Outcome{Status: 200})
				b.DoneAt(now, ticket, policy.Outcome{Status: 200, Err: map[bool]error{true: errors.New("cut")}[(n+i)%5 == 0]})
			}
		})
	}
	all.Wait()
	require.Greater(t, len(told), 10)
	for i, c := range told {
		require.EqualValues(t, i+1, c.Number)
		if i > 0 {
			require.Equal(t, told[i-1].To, c.From)
			require.False(t, c.At.Before(told[i-1].At))
		}
	}
	require.Zero(t, b.Status().Probes)
}

// TestNotMade: what New did not make refuses.
func TestNotMade(t *testing.T) {
	t.Parallel()
	for _, b := range []*breaker.Breaker{nil, {}} {
		require.Equal(t, "breaker", b.Name())
		require.Equal(t, policy.Contract{}, b.Contract())
		require.Equal(t, breaker.Status{}, b.Status())
		require.Equal(t, 500, gatewaytest.Do(b.Wrap(gatewaytest.Respond(200, "")), get()).StatusCode)
		require.Equal(t, policy.Refused, b.Preview(get()).Verdict)
		_, err := b.Admit(t.Context(), "")
		require.Error(t, err)
		_, err = b.AdmitAt(time.Now())
		require.Error(t, err)
		require.EqualValues(t, 7, b.Answered(7, policy.Outcome{}))
		require.EqualValues(t, 7, b.AnsweredAt(time.Now(), 7, policy.Outcome{}))
		b.Done(7, policy.Outcome{})
		b.DoneAt(time.Now(), 7, policy.Outcome{})
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config breaker.Config
		want   []string
	}{
		"all at once": {breaker.Config{
			Name: "a\nb", Consecutive: -1, FailureRate: 1.5, SlowRate: -0.1, Window: time.Millisecond, Minimum: 1 << 21, Failures: []int{500, 200},
			OpenFor: -time.Second, MaxOpenFor: 10000 * time.Hour, Probes: -3, Successes: -1, ProbeTimeout: 1,
		}, []string{
			`breaker: Name "a\nb" has control characters, or is not UTF-8; logs and metrics show it`,
			`breaker: Consecutive is -1; use 0 for its default, or 1 to 1048576`,
			`breaker: FailureRate is 1.5; use a share above 0 up to 1, or 0 for no such rule`,
			`breaker: SlowRate is -0.1; use a share above 0 up to 1, or 0 for no such rule`,
			`breaker: Window is 1ms; use 0 for its default, or 10ms to 168h0m0s`,
			`breaker: Minimum is 2097152; use 0 for its default, or 1 to 1048576`,
			`breaker: Failures[1] is 200; use error statuses, 400 to 599`,
			`breaker: OpenFor is -1s; use 0 for its default, or 1ms to 168h0m0s`,
			`breaker: MaxOpenFor is 10000h0m0s; use 0 for its default, or 1ms to 168h0m0s`,
			`breaker: Probes is -3; use 0 for its default, or 1 to 1048576`,
			`breaker: Successes is -1; use 0 for its default, or 1 to 1048576`,
			`breaker: ProbeTimeout is 1ns; use 0 for its default, or 1ms to 168h0m0s`,
		}},
		"slow without a time":     {breaker.Config{SlowRate: 0.5}, []string{`breaker: SlowRate is 0.5 without SlowAfter, so that no request is slow; set both, or none`}},
		"a time without slow":     {breaker.Config{SlowAfter: time.Second}, []string{`breaker: SlowAfter is 1s without SlowRate, which would count the slow ones; set both, or none`}},
		"shorter than the lowest": {breaker.Config{OpenFor: 2 * time.Second, MaxOpenFor: time.Second}, []string{`breaker: MaxOpenFor is 1s, and OpenFor 2s; it cannot be shorter`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, err := breaker.New(c.config)
			require.Nil(t, b)
			require.Equal(t, c.want, strings.Split(err.Error(), "\n"))
		})
	}
	b := made(t, breaker.Config{OpenFor: time.Hour, Consecutive: 1, Failures: []int{429}})
	ticket, _ := b.Admit(t.Context(), "")
	b.Done(ticket, policy.Outcome{Status: 500})
	require.Equal(t, breaker.Closed, b.State())
	ticket, _ = b.Admit(t.Context(), "")
	b.Done(ticket, policy.Outcome{Status: 200, Err: &policy.Error{Status: 401}})
	require.Equal(t, breaker.Closed, b.State(), "what a round tripper says of the request")
	b.Done(ticket, policy.Outcome{Status: 429})
	require.Equal(t, breaker.Open, b.State())
	require.Equal(t, "unknown", breaker.State(9).String())
	require.Equal(t, "half_open", breaker.HalfOpen.String())
}
