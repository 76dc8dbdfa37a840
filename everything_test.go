package gateway_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/breaker"
	"github.com/gatehouse-go/gateway/traffic/concurrency"
	shadows "github.com/gatehouse-go/gateway/traffic/mirror"
	"github.com/gatehouse-go/gateway/traffic/split"
)

// faulty answers each request with what its path and body say it is, or does not, as the dice fall. The mark of what it wrote for
// one request is in all it writes.
func faulty(dice *rand.Rand, mu *sync.Mutex, copies *atomic.Int64) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(shadows.DefaultHeader) != "" {
			copies.Add(1)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		mark := r.URL.Query().Get("mark")
		if r.Method == http.MethodPost && string(body) != strings.Repeat(mark+" ", 100) {
			mark = "a body that is another's: " + mark
		}
		w.Header().Set("X-Mark", mark)
		mu.Lock()
		what := dice.IntN(24)
		mu.Unlock()
		control := http.NewResponseController(w)
		switch what {
		case 0:
			if conn, _, err := control.Hijack(); err == nil {
				reset(conn.(*net.TCPConn))
			}
			return
		case 1:
			w.Header().Del("X-Mark")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		case 2:
			w.WriteHeader(http.StatusInternalServerError)
		case 3:
			select {
			case <-r.Context().Done():
			case <-time.After(300 * time.Millisecond):
			}
		case 4:
			_, _ = io.WriteString(w, mark+" ")
			_ = control.Flush()
			panic(http.ErrAbortHandler)
		case 5:
			w.Header().Set("Link", "</"+mark+">")
			w.WriteHeader(http.StatusEarlyHints)
		case 6, 7:
			time.Sleep(20 * time.Millisecond)
		case 8:
			w.Header().Set("Content-Type", "application/json")
		}
		w.Header().Set("Trailer", "X-Last")
		for range 20 {
			if _, err := io.WriteString(w, mark+" "); err != nil {
				return
			}
			if what > 18 {
				_ = control.Flush()
			}
		}
		w.Header().Set("X-Last", mark)
	}
}

// TestEverythingOnOneRoute: breaker, concurrency, split, mirror, retries and hedges around faulty targets. Nobody gets what was meant
// for another, and in the end nothing is held by anything.
func TestEverythingOnOneRoute(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var marked, copies atomic.Int64
	dice := rand.New(rand.NewPCG(8, 8))
	var servers []*httptest.Server
	for i := range 6 {
		count := &marked
		if i > 3 {
			count = &copies
		}
		servers = append(servers, front(t, faulty(dice, &mu, count)))
	}
	breakers := map[string]*breaker.Breaker{}
	limits := map[string]*concurrency.Limiter{}
	limit := func(name string, c concurrency.Config) *concurrency.Limiter {
		c.Name = name
		limits[name] = gateway.Must(concurrency.New(c))
		return limits[name]
	}
	circuit := func(name string) *breaker.Breaker {
		breakers[name] = gateway.Must(breaker.New(breaker.Config{Name: name, FailureRate: 0.6, OpenFor: 20 * time.Millisecond, MaxOpenFor: 20 * time.Millisecond}))
		return breakers[name]
	}
	arm := func(name string, of []*httptest.Server) *gateway.Upstream {
		c := gateway.UpstreamConfig{
			Name: name, Admission: []policy.Admission{circuit(name + "-circuit"), limit(name+"-limit", concurrency.Config{UntilAnswered: name == "canary"})},
			Retry:    policy.Retry{Tries: 3, Statuses: []int{503}, Hedge: 10 * time.Millisecond, MaxBody: 1 << 16, IdempotencyKey: true, BackOff: time.Millisecond},
			Timeouts: gateway.Timeouts{FirstByte: 200 * time.Millisecond},
		}
		return upstream(t, c, of[0].URL, of[1].URL)
	}
	stable, canary, next := arm("stable", servers[:2]), arm("canary", servers[2:4]), arm("next", servers[4:])
	arms := gateway.Must(split.New(split.Config{
		Name: "arms", Header: "X-Arm", Cookie: split.Cookie{Name: "arm", InsecureHTTP: true},
		Arms:     []split.Arm{{Name: "stable", Weight: 50, Handler: stable}, {Name: "canary", Weight: 50, Handler: canary}},
		Rollback: split.Rule{Arm: "canary", Against: "stable", Latency: time.Millisecond, LatencyRatio: 1.1},
	}))
	shadow := gateway.Must(shadows.New(shadows.Config{Shadow: next, Share: 0.5, Methods: []string{"*"}, Workers: 4, Queue: 8, Compare: &shadows.Compare{IgnoreHeaders: []string{"X-Arm"}}}))
	gw := gateway.Must(gateway.New(gateway.Config{Logger: quiet(), Routes: []gateway.Route{{
		Name: "all", Handler: shadow.Wrap(arms),
		Plugins: []gateway.Plugin{circuit("circuit"), limit("limit", concurrency.Config{Limit: 12, Queue: 4, MaxWait: 20 * time.Millisecond, Order: concurrency.LIFO})},
	}}}))

	explained := gw.Explain(ask(http.MethodGet, "/"))
	for _, name := range []string{"circuit", "limit", "arms", "stable", "canary", "next"} {
		require.Contains(t, explained.String(), name)
	}

	one, two := front(t, gw), frontHTTP2(t, gw)
	var answers, whole, left atomic.Int64
	ask := func(srv *httptest.Server, mark string, dice *rand.Rand) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if dice.IntN(10) == 0 {
			defer time.AfterFunc(time.Duration(dice.IntN(30))*time.Millisecond, cancel).Stop()
			left.Add(1)
		}
		method, body := http.MethodGet, io.Reader(http.NoBody)
		switch dice.IntN(4) {
		case 0:
			method, body = http.MethodPost, strings.NewReader(strings.Repeat(mark+" ", 100))
		case 1:
			method = http.MethodHead
		}
		r, err := http.NewRequestWithContext(ctx, method, srv.URL+"/?mark="+mark, body)
		if err != nil {
			t.Error(err)
			return
		}
		if method == http.MethodPost && dice.IntN(2) == 0 {
			r.Header.Set("Idempotency-Key", mark)
		}
		if dice.IntN(5) == 0 {
			r.Header.Set(shadows.DefaultHeader, "forged")
		}
		res, err := srv.Client().Do(r)
		if err != nil {
			return
		}
		got, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		answers.Add(1)
		if m := res.Header.Get("X-Mark"); m == "" { // the gateway's, or a 503
			if res.StatusCode < 500 {
				t.Errorf("%s %s: %d without a mark", method, mark, res.StatusCode)
			}
			return
		} else if m != mark {
			t.Errorf("%s %s: answered with %q", method, mark, m)
		}
		want := strings.Repeat(mark+" ", 20)
		switch {
		case method == http.MethodHead:
			want = ""
			fallthrough
		case err == nil:
			if string(got) != want {
				t.Errorf("%s %s: the body is %q", method, mark, got)
			}
			whole.Add(1)
		case !strings.HasPrefix(want, string(got)):
			t.Errorf("%s %s: the body begins with %q", method, mark, got)
		}
		if last := res.Trailer.Get("X-Last"); last != "" && last != mark {
			t.Errorf("%s %s: the trailer is %q", method, mark, last)
		}
		if arm := res.Header.Values("X-Arm"); len(arm) != 1 || len(res.Header.Values("Set-Cookie")) != 1 {
			t.Errorf("%s %s: the arms are %q, the cookies %q", method, mark, arm, res.Header.Values("Set-Cookie"))
		}
	}
	const clients, each = 24, 60
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			dice := rand.New(rand.NewPCG(uint64(i), 1))
			for j := range each {
				srv := one
				if i%2 == 1 {
					srv = two
				}
				ask(srv, strconv.Itoa(i)+"-"+strconv.Itoa(j), dice)
				if i == 0 && j%10 == 0 {
					if err := arms.SetWeights(map[string]int{"stable": 50, "canary": 50 - j%20}); err != nil {
						t.Error(err)
					}
					_ = gw.Explain(get("/"))
				}
			}
		})
	}
	all.Wait()
	held := func() string {
		var s []string
		for name, l := range limits {
			if st := l.Status(); st.InFlight+st.Waiting != 0 {
				s = append(s, fmt.Sprintf("%s has %d places taken, and %d wait", name, st.InFlight, st.Waiting))
			}
		}
		for _, a := range arms.Status().Arms {
			if a.InFlight != 0 {
				s = append(s, fmt.Sprintf("arm %s has %d", a.Name, a.InFlight))
			}
		}
		if m := shadow.Status(); m.Running+m.Waiting != 0 || m.Held != 0 {
			s = append(s, fmt.Sprintf("the mirror: %+v", m))
		}
		for _, u := range gw.Status().Upstreams {
			for _, target := range u.Targets {
				if target.InFlight != 0 {
					s = append(s, fmt.Sprintf("%s at %s has %d", u.Name, target.URL, target.InFlight))
				}
			}
		}
		return strings.Join(s, "; ")
	}
	require.Eventually(t, func() bool { return held() == "" }, 30*time.Second, 5*time.Millisecond, "%v", held)
	require.Empty(t, held())
	m := shadow.Status()
	t.Logf("%d answers, %d whole, %d clients left; mirror %+v; split %v", answers.Load(), whole.Load(), left.Load(), m, arms.Status().Arms)
	require.Greater(t, whole.Load(), int64(100))
	require.Positive(t, m.Equal)
	require.Positive(t, copies.Load())
	require.Zero(t, marked.Load(), "only copies are marked, whatever clients send")
	require.Equal(t, m.Sampled, m.Sent+m.Dropped.Total())
	require.Equal(t, m.Sent, m.Answered+m.TimedOut+m.CutOff+m.Panicked+m.Failed)
	require.Equal(t, m.Sent, m.Compared+m.Incomparable)
	require.NoError(t, shadow.Close())
	for name, b := range breakers { // no probe's place is lost
		require.Eventually(t, func() bool {
			ticket, err := b.Admit(t.Context(), "")
			if err != nil {
				return false
			}
			b.Done(ticket, policy.Outcome{Status: http.StatusOK})
			return b.Status().State == breaker.Closed
		}, 10*time.Second, time.Millisecond, name)
	}
}
