package concurrency_test

import (
	"bufio"
	"context"
	"errors"
	"math"
	"net"
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
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/concurrency"
)

func made(tb testing.TB, c concurrency.Config) *concurrency.Limiter {
	tb.Helper()
	l, err := concurrency.New(c)
	require.NoError(tb, err)
	return l
}

func get() *http.Request { return httptest.NewRequest(http.MethodGet, "/", nil) }

// serve runs h and swallows its panic, which it returns.
func serve(h http.Handler, w http.ResponseWriter, r *http.Request) (panicked any) {
	defer func() { panicked = recover() }()
	h.ServeHTTP(w, r)
	return nil
}

// held is a handler that goes on when it is told to.
type held struct{ release chan struct{} }

func newHeld() *held { return &held{make(chan struct{})} }

func (h *held) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	<-h.release
	w.WriteHeader(http.StatusOK)
}

// classOf reads a class from the name of a consumer, such as "1".
func classOf(x *policy.Exchange) int {
	c := x.Consumer()
	if c == nil {
		return -1
	}
	return int(c.ID[0] - '0')
}

func of(class string) *http.Request {
	x, r := policy.Ensure(get())
	x.SetIdentity(policy.Identity{Consumer: &policy.Consumer{ID: class}})
	return r
}

// TestLife: a place, the queue, and who finds no room.
func TestLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := made(t, concurrency.Config{Name: "users", Limit: 2, Queue: 1, RetryAfter: 1500 * time.Millisecond})
		inside := newHeld()
		h := l.Wrap(inside)
		var all sync.WaitGroup
		var mu sync.Mutex
		records := map[string]int{}
		ask := func() {
			all.Go(func() {
				x, r := policy.Ensure(get())
				res := gatewaytest.Do(h, r)
				d := x.Decisions()[0]
				mu.Lock()
				defer mu.Unlock()
				records[d.String()]++
				if res.StatusCode == 503 {
					if res.Header.Get("Retry-After") != "2" || !errors.Is(d.Err, concurrency.ErrShed) {
						t.Error(res.Header, d.Err)
					}
				}
			})
			synctest.Wait()
		}
		for range 4 {
			ask()
		}
		s := l.Status()
		require.Equal(t, concurrency.Status{
			Name: "users", Limit: 2, InFlight: 2, Waiting: 1, Classes: []concurrency.ClassStatus{{Waiting: 1, Admitted: 2, Refused: 1}},
		}, s)
		time.Sleep(concurrency.DefaultMaxWait)
		synctest.Wait()
		require.EqualValues(t, 1, l.Status().Classes[0].TimedOut)
		ask()
		inside.release <- struct{}{}
		synctest.Wait()
		require.Equal(t, 2, l.Status().InFlight, "who waited has the place")
		close(inside.release)
		all.Wait()
		require.Equal(t, map[string]int{
			"users allowed free": 2, "users allowed waited": 1, "users refused queue_full 503 (users)": 1, "users refused wait_timeout 503 (users)": 1,
		}, records)
		require.Zero(t, l.Status().InFlight)

		none := made(t, concurrency.Config{Limit: 1, Queue: -1})
		ticket, err := none.Admit(t.Context(), "")
		require.NoError(t, err)
		_, err = none.Admit(t.Context(), "")
		var e *policy.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, "limit_reached", e.Code)
		none.Done(ticket, policy.Outcome{Status: 200})
		require.Zero(t, none.Status().InFlight)
	})
}

// TestEveryEnd: however a request ends, its place is free again, and once only.
func TestEveryEnd(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]http.HandlerFunc{
		"answered":   gatewaytest.Respond(200, "x").ServeHTTP,
		"no word":    func(http.ResponseWriter, *http.Request) {},
		"overloaded": gatewaytest.Respond(503, "x").ServeHTTP,
		"panic":      func(http.ResponseWriter, *http.Request) { panic("x") },
		"abort":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200); panic(http.ErrAbortHandler) },
		"hijacked": func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_ = conn.Close()
			}
		},
		"hijacked, and panics": func(w http.ResponseWriter, _ *http.Request) {
			_, _, _ = http.NewResponseController(w).Hijack()
			panic("x")
		},
		"refused inside": func(w http.ResponseWriter, r *http.Request) { policy.Refuse(w, r, "x", &policy.Error{Status: 503}) },
	} {
		for _, c := range []concurrency.Config{{Limit: 2}, {}, {UntilAnswered: true}, {Limit: 2, UntilAnswered: true}} {
			for _, upgrade := range []bool{false, true} {
				l := made(t, c)
				for range 3 {
					r := get()
					if upgrade {
						r.Header.Set("Upgrade", "chat")
					}
					serve(l.Wrap(h), hijackable{httptest.NewRecorder()}, r)
					require.Zero(t, l.Status().InFlight, name)
				}
				require.EqualValues(t, 3, l.Status().Classes[0].Admitted)
			}
		}
	}
}

// hijackable is a recorder whose connection can be taken over.
type hijackable struct{ *httptest.ResponseRecorder }

func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, other := net.Pipe()
	_ = other.Close()
	return conn, bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn)), nil
}

// TestStreams: a stream and a switched connection hold their places until they end, or until they begin, as they are told.
func TestStreams(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(http.ResponseWriter){
		"stream":    func(w http.ResponseWriter) { w.WriteHeader(200) },
		"websocket": func(w http.ResponseWriter) { _, _, _ = http.NewResponseController(w).Hijack() },
	} {
		for _, until := range []bool{false, true} {
			for _, limit := range []int{0, 5} {
				synctest.Test(t, func(t *testing.T) {
					l := made(t, concurrency.Config{Limit: limit, UntilAnswered: until})
					go l.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
						time.Sleep(time.Second)
						begin(w)
						time.Sleep(time.Hour)
					})).ServeHTTP(hijackable{httptest.NewRecorder()}, func() *http.Request {
						r := get()
						r.Header.Set("Upgrade", "websocket")
						return r
					}())
					synctest.Wait()
					require.Equal(t, 1, l.Status().InFlight, name)
					time.Sleep(2 * time.Second)
					require.Equal(t, map[bool]int{false: 1, true: 0}[until], l.Status().InFlight, name)
					time.Sleep(2 * time.Hour)
					require.Zero(t, l.Status().InFlight, name)
				})
			}
		}
	}
}

// TestClientsThatWait: who leaves makes room at once, and nobody is answered; whose time is over is refused.
func TestClientsThatWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := made(t, concurrency.Config{Limit: 1, Queue: 1, MaxWait: time.Minute})
		inside := newHeld()
		h := l.Wrap(inside)
		go h.ServeHTTP(httptest.NewRecorder(), get())
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		var panicked any
		x, r := policy.Ensure(get().WithContext(ctx))
		w := httptest.NewRecorder()
		go func() { panicked = serve(h, w, r) }()
		synctest.Wait()
		require.Equal(t, 1, l.Status().Waiting)
		cancel()
		synctest.Wait()
		require.Equal(t, http.ErrAbortHandler, panicked)
		require.Equal(t, "concurrency refused client_left", x.Decisions()[0].String())
		require.Zero(t, l.Status().Waiting)
		require.EqualValues(t, 1, l.Status().Classes[0].Left)

		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.Equal(t, 503, gatewaytest.Do(h, get().WithContext(ctx)).StatusCode)
		require.EqualValues(t, 1, l.Status().Classes[0].TimedOut)
		_, err := l.Admit(ctx, "")
		var e *policy.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, "limit_reached", e.Code, "its time was over before")
		close(inside.release)
		synctest.Wait()
		ticket, err := l.Admit(ctx, "")
		require.NoError(t, err, "but a place that is free it gets")
		l.Done(ticket, policy.Outcome{})
		canceled, cancel := context.WithCancel(t.Context())
		ticket, _ = l.Admit(t.Context(), "")
		go cancel()
		_, err = l.Admit(canceled, "")
		require.ErrorIs(t, err, context.Canceled)
		l.Done(ticket, policy.Outcome{})
		require.Zero(t, l.Status().InFlight)
	})
}

// TestClasses: the highest first, and the lowest has to go.
func TestClasses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		order  concurrency.Order
		served string
	}{{concurrency.FIFO, "a0 b0 a1 a2"}, {concurrency.LIFO, "b0 a0 a1 a9"}} {
		synctest.Test(t, func(t *testing.T) {
			l := made(t, concurrency.Config{Limit: 1, Queue: 4, Order: c.order, Classes: 3, Class: classOf, MaxWait: time.Minute})
			inside := newHeld()
			go l.Wrap(inside).ServeHTTP(httptest.NewRecorder(), of("2"))
			synctest.Wait()
			var served []string
			var mu sync.Mutex
			reasons := map[string]int{}
			var all sync.WaitGroup
			for _, name := range []string{"a2", "b2", "a1", "a9", "a0", "b0"} { // 9 is none, and so the lowest
				all.Go(func() {
					r := of(name[1:])
					h := l.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						mu.Lock()
						served = append(served, name)
						mu.Unlock()
					}))
					gatewaytest.Do(h, r)
					mu.Lock()
					defer mu.Unlock()
					reasons[policy.ExchangeFrom(r.Context()).Decisions()[0].Reason]++
				})
				synctest.Wait()
			}
			close(inside.release)
			all.Wait()
			require.Equal(t, c.served, strings.Join(served, " "))
			require.Equal(t, map[string]int{"waited": 4, "displaced": 2}, reasons)
			s := l.Status()
			require.Equal(t, []concurrency.ClassStatus{
				{Admitted: 2, Waited: 2}, {Admitted: 1, Waited: 1}, {Admitted: 2, Waited: 1, Refused: 2},
			}, s.Classes)
		})
	}
}

// TestManyAtOnce: in a crowd there are never more inside than places, and all places are free afterwards.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	const limit = 7
	l := made(t, concurrency.Config{Limit: limit, Queue: 20, MaxWait: time.Minute, Classes: 2, Class: classOf})
	var mu sync.Mutex
	inside, highest, answered, shed, left := 0, 0, 0, 0, 0
	h := l.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		inside++
		highest = max(highest, inside)
		mu.Unlock()
		time.Sleep(50 * time.Microsecond)
		mu.Lock()
		inside--
		mu.Unlock()
	}))
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() {
			for n := range 50 {
				ctx, cancel := context.WithCancel(t.Context())
				if n%7 == 0 {
					time.AfterFunc(20*time.Microsecond, cancel)
				}
				w := httptest.NewRecorder()
				panicked := serve(h, w, of(string(rune('0'+i%2))).WithContext(ctx))
				cancel()
				mu.Lock()
				switch {
				case panicked != nil:
					left++
				case w.Code == 503:
					shed++
				default:
					answered++
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	require.Equal(t, 60*50, answered+shed+left)
	require.LessOrEqual(t, highest, limit)
	s := l.Status()
	require.Zero(t, s.InFlight)
	require.Zero(t, s.Waiting)
}

// TestLearns: what the limit goes by, and what it does not.
func TestLearns(t *testing.T) {
	t.Parallel()
	const took = 10 * time.Millisecond
	after := func(t *testing.T, answer http.Handler, c concurrency.Adaptive) int {
		t.Helper()
		limit := 0
		synctest.Test(t, func(t *testing.T) {
			l := made(t, concurrency.Config{Adaptive: c})
			var all sync.WaitGroup
			h := l.Wrap(answer)
			for range 30 {
				all.Go(func() {
					for range 150 {
						ctx, cancel := context.WithTimeout(t.Context(), 100*took)
						serve(h, httptest.NewRecorder(), get().WithContext(ctx))
						cancel()
					}
				})
			}
			all.Wait()
			limit = l.Status().Limit
		})
		return limit
	}
	for name, c := range map[string]struct {
		answer http.Handler
		config concurrency.Adaptive
		grows  bool
	}{
		"answers":            {gatewaytest.After(took, gatewaytest.Respond(200, "")), concurrency.Adaptive{}, true},
		"404":                {gatewaytest.After(took, gatewaytest.Respond(404, "")), concurrency.Adaptive{}, true},
		"500":                {gatewaytest.After(took, gatewaytest.Respond(500, "")), concurrency.Adaptive{}, true},
		"503":                {gatewaytest.After(took, gatewaytest.Respond(503, "")), concurrency.Adaptive{}, false},
		"503, which is none": {gatewaytest.After(took, gatewaytest.Respond(503, "")), concurrency.Adaptive{Overloaded: []int{429}}, true},
		"429, which is one":  {gatewaytest.After(took, gatewaytest.Respond(429, "")), concurrency.Adaptive{Overloaded: []int{429}}, false},
		"no time":            {http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done(); panic(http.ErrAbortHandler) }), concurrency.Adaptive{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if limit := after(t, c.answer, c.config); c.grows {
				require.Greater(t, limit, concurrency.DefaultInitial)
			} else {
				require.Less(t, limit, 5)
			}
		})
	}
}

// TestReportOnly: nothing is held back, and nothing waits.
func TestReportOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := made(t, concurrency.Config{Limit: 1, MaxWait: time.Hour})
		h := policy.ReportOnly(l).Wrap(gatewaytest.After(time.Second, gatewaytest.Respond(200, "x")))
		var all sync.WaitGroup
		var mu sync.Mutex
		records := map[string]int{}
		for range 3 {
			all.Go(func() {
				x, r := policy.Ensure(get())
				start := time.Now()
				if res := gatewaytest.Do(h, r); res.StatusCode != 200 || time.Since(start) != time.Second {
					t.Error(res.StatusCode, time.Since(start))
				}
				mu.Lock()
				defer mu.Unlock()
				records[x.Decisions()[0].String()]++
			})
		}
		all.Wait()
		require.Equal(t, map[string]int{"concurrency allowed free": 1, "concurrency would_refuse limit_reached 503 (concurrency)": 2}, records)
		require.Zero(t, l.Status().InFlight)
	})
}

// TestPreview: what it would say, without doing it.
func TestPreview(t *testing.T) {
	t.Parallel()
	l := made(t, concurrency.Config{Limit: 1, Queue: 1, Classes: 2, Class: classOf})
	preview := func(class string) string { return l.Preview(of(class)).String() }
	require.Equal(t, "concurrency allowed free (0 of 1 places are taken, 0 wait, class 1)", preview("1"))
	_, err := l.Admit(t.Context(), "")
	require.NoError(t, err)
	require.Equal(t, "concurrency allowed waited (1 of 1 places are taken, 0 wait, class 1)", preview("1"))
	go func() { _, _ = l.Admit(t.Context(), "") }()
	for l.Status().Waiting == 0 {
		time.Sleep(time.Microsecond)
	}
	require.Equal(t, "concurrency refused queue_full 503 (1 of 1 places are taken, 1 wait, class 1)", preview("1"))
	require.Equal(t, "concurrency allowed waited (1 of 1 places are taken, 1 wait, class 0)", preview("0"))
	require.Equal(t, 1, l.Status().InFlight)
}

// TestFallback answers in the place of the handler.
func TestFallback(t *testing.T) {
	t.Parallel()
	l := made(t, concurrency.Config{Limit: 1, Queue: -1, Fallback: gatewaytest.Respond(203, "older")})
	ticket, _ := l.Admit(t.Context(), "")
	x, r := policy.Ensure(get())
	require.Equal(t, 203, gatewaytest.Do(l.Wrap(gatewaytest.Respond(200, "x")), r).StatusCode)
	require.Equal(t, "concurrency refused limit_reached 503 (concurrency)", x.Decisions()[0].String())
	l.Done(ticket, policy.Outcome{})
	require.Equal(t, 200, gatewaytest.Do(l.Wrap(gatewaytest.Respond(200, "x")), get()).StatusCode)
}

// TestClock: the same on a clock of its own.
func TestClock(t *testing.T) {
	t.Parallel()
	l := made(t, concurrency.Config{Adaptive: concurrency.Adaptive{Initial: 10, Max: 30}})
	now := time.Now()
	for range 200 {
		var tickets []policy.Ticket
		for {
			ticket, err := l.AdmitAt(now, 7)
			if err != nil {
				require.ErrorIs(t, err, concurrency.ErrShed)
				break
			}
			tickets = append(tickets, ticket)
		}
		now = now.Add(20 * time.Millisecond)
		for _, ticket := range tickets {
			ticket = l.AnsweredAt(now, ticket, policy.Outcome{Status: 200})
			l.DoneAt(now, ticket, policy.Outcome{Status: 200})
		}
	}
	s := l.Status()
	require.Equal(t, 30, s.Limit)
	require.Equal(t, 20*time.Millisecond, s.AtRest.Round(time.Millisecond))
	require.Equal(t, 20*time.Millisecond, s.Latency.Round(time.Millisecond))
	require.EqualValues(t, 200, s.Classes[0].Refused)
}

// TestNotNew: a nil Limiter and one that New did not make let nothing pass, and do not panic.
func TestNotNew(t *testing.T) {
	t.Parallel()
	for _, l := range []*concurrency.Limiter{nil, {}} {
		require.Equal(t, 500, gatewaytest.Do(l.Wrap(gatewaytest.Respond(200, "x")), get()).StatusCode)
		ticket, err := l.Admit(t.Context(), "")
		require.ErrorContains(t, err, "was not made by New")
		l.Done(l.Answered(ticket, policy.Outcome{}), policy.Outcome{})
		_, err = l.AdmitAt(time.Now(), 0)
		require.Error(t, err)
		l.DoneAt(time.Now(), l.AnsweredAt(time.Now(), ticket, policy.Outcome{}), policy.Outcome{})
		require.Equal(t, concurrency.Status{}, l.Status())
		require.Equal(t, concurrency.DefaultName, l.Name())
		require.Equal(t, "concurrency refused not_configured 500", l.Preview(get()).String())
		require.Equal(t, policy.Contract{}, l.Contract())
	}
	require.Equal(t, "x", made(t, concurrency.Config{Name: "x"}).Name())
}

func TestNew(t *testing.T) {
	t.Parallel()
	class := func(*policy.Exchange) int { return 0 }
	for name, c := range map[string]struct {
		config concurrency.Config
		want   []string
	}{
		"everything": {concurrency.Config{
			Name: "a\nb", Limit: -1, Queue: 1 << 21, Order: 7, MaxWait: -1, Classes: 1, Class: class, RetryAfter: 1,
			Adaptive: concurrency.Adaptive{Initial: 9000, Min: 5, Max: 3, Window: 1, Samples: -1, Tolerance: math.NaN(), Probe: 1e18, Overloaded: []int{200}},
		}, []string{
			`concurrency: Name "a\nb" has control characters, or is not UTF-8; logs and metrics show it`,
			`concurrency: Limit is -1; use 0 to have it found, or 1 to 1048576`,
			`concurrency: Limit is -1, and Adaptive says how to find one; set one of them`,
			`concurrency: Adaptive.Max is 3, and Min 5; it cannot be lower`,
			`concurrency: Adaptive.Initial is 9000; use 0 for its default, or 5 to 3, as Min and Max say`,
			`concurrency: Adaptive.Window is 1ns; use 0 for its default, or 1ms to 168h0m0s`,
			`concurrency: Adaptive.Samples is -1; use 0 for its default, or 1 to 1048576`,
			`concurrency: Adaptive.Tolerance is NaN; use 0 for its default, or 1 to 10`,
			`concurrency: Adaptive.Probe is 277777h46m40s; use 0 for its default, or 1ms to 168h0m0s`,
			`concurrency: Adaptive.Overloaded[0] is 200; use error statuses, 400 to 599`,
			`concurrency: Queue is 2097152; use 0 for its default, or 1 to 1048576`,
			`concurrency: Order is 7; use FIFO or LIFO`,
			`concurrency: MaxWait is -1ns; use 0 for its default, or 1ms to 168h0m0s`,
			`concurrency: Classes is 1 beside Class; use 2 to 8`,
			`concurrency: RetryAfter is 1ns; use 0 for its default, or 1ms to 168h0m0s`,
		}},
		"classes alone":         {concurrency.Config{Classes: 2}, []string{`concurrency: Classes is 2 without Class, which puts requests into them; set both, or none`}},
		"class alone":           {concurrency.Config{Class: class}, []string{`concurrency: Classes is 0 beside Class; use 2 to 8`}},
		"classes without queue": {concurrency.Config{Class: class, Classes: 2, Queue: -1}, []string{`concurrency: Classes is 2 without a Queue, in which alone they matter; leave Queue out, or set it`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := concurrency.New(c.config)
			require.Nil(t, l)
			require.Equal(t, c.want, strings.Split(err.Error(), "\n"))
		})
	}
	require.Equal(t, 50, made(t, concurrency.Config{Adaptive: concurrency.Adaptive{Min: 50}}).Status().Limit)
	require.Equal(t, 7, made(t, concurrency.Config{Adaptive: concurrency.Adaptive{Max: 7}}).Status().Limit)
}

// TestStreamsDoNotShutOut: a probe for the time at rest does not wait for streams while all others wait outside.
func TestStreamsDoNotShutOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, err := concurrency.New(concurrency.Config{})
		require.NoError(t, err)
		var streams []policy.Ticket
		for range 15 {
			ticket, err := l.Admit(t.Context(), "")
			require.NoError(t, err)
			streams = append(streams, ticket)
		}
		time.Sleep(10 * time.Millisecond)
		for i, ticket := range streams {
			streams[i] = l.Answered(ticket, policy.Outcome{Status: http.StatusOK})
		}
		var refused atomic.Int64
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 3000 {
					ticket, err := l.Admit(t.Context(), "")
					if time.Sleep(10 * time.Millisecond); err != nil {
						refused.Add(1)
						continue
					}
					l.Done(ticket, policy.Outcome{Status: http.StatusOK})
				}
			})
		}
		all.Wait()
		require.Less(t, refused.Load(), int64(100))
		for _, ticket := range streams {
			l.Done(ticket, policy.Outcome{})
		}
		require.Zero(t, l.Status().InFlight)
	})
}
