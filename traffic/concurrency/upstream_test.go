package concurrency_test

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/concurrency"
)

// rig is an upstream in memory behind a limiter, which is its admission or stands around it. It lives in a bubble.
type rig struct {
	up      *gatewaytest.Upstream
	l       *concurrency.Limiter
	handler http.Handler
}

func newRig(t *testing.T, around bool, c concurrency.Config, retry policy.Retry, steps ...http.Handler) *rig {
	t.Helper()
	g := &rig{up: gatewaytest.NewUpstream("a.test", steps...), l: made(t, c)}
	config := gateway.UpstreamConfig{
		Name: "users", Targets: []balancer.Target{{URL: g.up.URL()}, {URL: g.up.URL() + "/other"}}, Dial: g.up.Dial, Retry: retry,
		Timeouts: gateway.Timeouts{FirstByte: time.Second, Idle: 2 * time.Second}, Health: balancer.Health{Panic: 1}, HedgeBudget: gateway.RetryBudget{Share: 1},
	}
	if !around {
		config.Admission = []policy.Admission{g.l}
	}
	u := gateway.Must(gateway.NewUpstream(config))
	g.handler = u
	if around {
		g.handler = g.l.Wrap(u)
	}
	g.handler = policy.Must(policy.NewEntry(policy.EntryConfig{})).Wrap(g.handler)
	t.Cleanup(func() {
		require.NoError(t, u.Close())
		require.NoError(t, g.up.Close())
	})
	return g
}

// TestUpstreams: what an upstream makes of requests lowers the limit or does not, in front of it and as its admission.
func TestUpstreams(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		step  http.Handler
		down  bool
		lower bool
	}{
		"answered": {step: gatewaytest.After(10*time.Millisecond, gatewaytest.Respond(200, "x"))},
		"500":      {step: gatewaytest.After(10*time.Millisecond, gatewaytest.Respond(500, "x"))},
		"503":      {step: gatewaytest.After(10*time.Millisecond, gatewaytest.Respond(503, "x")), lower: true},
		"reset":    {step: gatewaytest.After(10*time.Millisecond, gatewaytest.Reset()), lower: true},
		"silent":   {step: gatewaytest.After(time.Minute, gatewaytest.Respond(200, "x")), lower: true},
		"down":     {down: true, lower: true},
	} {
		for around, mode := range map[bool]string{false: "admission", true: "plugin"} {
			t.Run(name+" as "+mode, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					var steps []http.Handler
					if c.step != nil {
						steps = append(steps, c.step)
					}
					g := newRig(t, around, concurrency.Config{Queue: -1}, policy.Retry{Tries: 1}, steps...)
					g.up.SetDown(c.down)
					var all sync.WaitGroup
					for range 40 {
						all.Go(func() {
							for range 100 {
								serve(g.handler, httptest.NewRecorder(), get())
								time.Sleep(10 * time.Millisecond)
							}
						})
					}
					all.Wait()
					s := g.l.Status()
					require.Zero(t, s.InFlight)
					if c.lower {
						require.Less(t, s.Limit, 10)
					} else {
						require.GreaterOrEqual(t, s.Limit, 20)
					}
				})
			})
		}
	}
}

// TestRefusedByUpstream: the refusal is the upstream's, and no target hears of it.
func TestRefusedByUpstream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, false, concurrency.Config{Name: "users", Limit: 1, Queue: -1}, policy.Retry{}, gatewaytest.Respond(200, "x"))
		ticket, _ := g.l.Admit(t.Context(), "")
		x, r := policy.Ensure(get())
		res := gatewaytest.Do(g.handler, r)
		require.Equal(t, []string{"1", "gatehouse; error=destination_unavailable"}, []string{res.Header.Get("Retry-After"), res.Header.Get("Proxy-Status")})
		d, _ := x.Refusal()
		require.Equal(t, "upstream refused limit_reached 503 (users)", d.String())
		require.ErrorIs(t, d.Err, concurrency.ErrShed)
		require.Zero(t, g.up.Dials())
		g.l.Done(ticket, policy.Outcome{})
		require.Equal(t, 200, gatewaytest.Do(g.handler, get()).StatusCode)
	})
}

// TestHedgesDoNotWait: a second try for which there is no place does not keep the first one's answer waiting.
func TestHedgesDoNotWait(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			g := newRig(t, false, concurrency.Config{Limit: limit, MaxWait: time.Minute}, policy.Retry{Hedge: 10 * time.Millisecond},
				gatewaytest.After(100*time.Millisecond, gatewaytest.Respond(200, "x")))
			start := time.Now()
			require.Equal(t, 200, gatewaytest.Do(g.handler, get()).StatusCode)
			require.Equal(t, 100*time.Millisecond, time.Since(start))
			require.Len(t, g.up.Requests(), limit)
			require.Zero(t, g.l.Status().InFlight)
		})
	}
}
