package breaker_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
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
	"github.com/gatehouse-go/gateway/traffic/breaker"
)

// rig is an upstream in memory behind a breaker, which is its admission or stands around it. It lives in a bubble.
type rig struct {
	up      *gatewaytest.Upstream
	b       *breaker.Breaker
	handler http.Handler
}

func newRig(t *testing.T, around bool, c breaker.Config, steps ...http.Handler) *rig {
	t.Helper()
	g := &rig{up: gatewaytest.NewUpstream("a.test", steps...), b: made(t, c)}
	config := gateway.UpstreamConfig{
		Name: "users", Targets: []balancer.Target{{URL: g.up.URL()}}, Dial: g.up.Dial, Timeouts: gateway.Timeouts{FirstByte: time.Second, Idle: 2 * time.Second},
	}
	if !around {
		config.Admission = []policy.Admission{g.b}
	}
	u := gateway.Must(gateway.NewUpstream(config))
	g.handler = u
	if around {
		g.handler = g.b.Wrap(u)
	}
	g.handler = policy.Must(policy.NewEntry(policy.EntryConfig{})).Wrap(g.handler)
	t.Cleanup(func() {
		require.NoError(t, u.Close())
		require.NoError(t, g.up.Close())
	})
	return g
}

// TestUpstream: one request with each kind of end, through an upstream, with the breaker as its admission and around it.
func TestUpstream(t *testing.T) {
	t.Parallel()
	slowly := func(r *http.Request) *http.Request {
		r.Method, r.Body, r.ContentLength = http.MethodPost, io.NopCloser(io.MultiReader(slowBody{}, strings.NewReader("x"))), 2
		return r
	}
	for name, c := range map[string]struct {
		step                     http.Handler
		down                     bool
		request                  func(*http.Request) *http.Request
		requests, failures, slow int
	}{
		"answered":       {step: gatewaytest.Respond(200, "x"), requests: 1},
		"client's fault": {step: gatewaytest.Respond(404, "x"), requests: 1},
		"500":            {step: gatewaytest.Respond(500, "x"), requests: 1, failures: 1},
		"reset":          {step: gatewaytest.Reset(), requests: 1, failures: 1},
		"refused":        {down: true, requests: 1, failures: 1},
		"silent":         {step: gatewaytest.After(time.Minute, gatewaytest.Respond(200, "x")), requests: 1, failures: 1, slow: 1},
		"cut":            {step: gatewaytest.Truncate("abc", 5), requests: 1, failures: 1},
		"slow":           {step: gatewaytest.After(900*time.Millisecond, gatewaytest.Respond(200, "x")), requests: 1, slow: 1},
		"stream":         {step: gatewaytest.Stream(time.Second, "a", "b"), requests: 1},
		"client leaves":  {step: gatewaytest.Stall(), request: leaveSoon},
		"and is slow":    {step: gatewaytest.Respond(200, "x"), request: slowly, requests: 1},
		"for gRPC": {down: true, requests: 1, failures: 1, request: func(r *http.Request) *http.Request {
			r.Method, r.Proto, r.ProtoMajor, r.ProtoMinor = http.MethodPost, "HTTP/2.0", 2, 0
			r.Header.Set("Content-Type", "application/grpc")
			return r
		}},
		"nonsense of the client": {step: gatewaytest.Respond(200, "x"), request: func(r *http.Request) *http.Request {
			r.Method, r.Body, r.ContentLength = http.MethodPost, io.NopCloser(strings.NewReader("x")), 2
			return r
		}},
	} {
		for around, mode := range map[bool]string{false: "admission", true: "plugin"} {
			t.Run(name+" as "+mode, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					var steps []http.Handler
					if c.step != nil {
						steps = append(steps, c.step)
					}
					g := newRig(t, around, breaker.Config{Consecutive: 2, SlowRate: 1, SlowAfter: 900 * time.Millisecond}, steps...)
					g.up.SetDown(c.down)
					r := get()
					if c.request != nil {
						r = c.request(r)
					}
					serve(g.handler, httptest.NewRecorder(), r)
					s := g.b.Status()
					require.Equal(t, []int{c.requests, c.failures, c.slow}, []int{s.Requests, s.Failures, s.Slow})
					require.Equal(t, c.failures, s.Consecutive)
				})
			})
		}
	}
}

func leaveSoon(r *http.Request) *http.Request {
	ctx, cancel := context.WithCancel(r.Context())
	time.AfterFunc(time.Millisecond, cancel)
	return r.WithContext(ctx)
}

// TestRecovered: an answer that broke off has failed, although a plugin between has swallowed the panic that says so.
func TestRecovered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, false, breaker.Config{}, gatewaytest.Truncate("abc", 5))
		around := made(t, breaker.Config{})
		swallow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serve(g.handler, w, r) })
		serve(policy.Must(policy.NewEntry(policy.EntryConfig{})).Wrap(around.Wrap(swallow)), httptest.NewRecorder(), get())
		require.Equal(t, 1, g.b.Status().Failures)
		require.Equal(t, 1, around.Status().Failures)
	})
}

// TestOpenUpstream: what is refused never reaches the target, and the refusal is one of the gateway's.
func TestOpenUpstream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, false, breaker.Config{Name: "users", Consecutive: 2, Probes: 1})
		g.up.SetDown(true)
		for range 2 {
			require.Equal(t, 502, gatewaytest.Do(g.handler, get()).StatusCode)
		}
		dials := g.up.Dials()
		x, r := policy.Ensure(get())
		res := gatewaytest.Do(g.handler, r)
		require.Equal(t, []string{"5", "gatehouse; error=destination_unavailable"}, []string{res.Header.Get("Retry-After"), res.Header.Get("Proxy-Status")})
		require.Equal(t, 503, res.StatusCode)
		d, _ := x.Refusal()
		require.Equal(t, "upstream refused circuit_open 503 (users)", d.String())
		require.ErrorIs(t, d.Err, breaker.ErrOpen)
		require.Equal(t, dials, g.up.Dials())

		g.up.SetDown(false)
		time.Sleep(5 * time.Second)
		require.Equal(t, 200, gatewaytest.Do(g.handler, get()).StatusCode)
		require.Equal(t, breaker.Closed, g.b.State())
	})
}

// TestWebSocketAsProbe: a probe that switches protocols closes the circuit when it has, not when it ends.
func TestWebSocketAsProbe(t *testing.T) {
	t.Parallel()
	for around, mode := range map[bool]string{false: "admission", true: "plugin"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			over := make(chan struct{})
			target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Upgrade") == "" {
					w.WriteHeader(500)
					return
				}
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					return
				}
				defer func() { _ = conn.Close() }()
				_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")
				<-over
			}))
			t.Cleanup(target.Close)
			b := made(t, breaker.Config{Consecutive: 1, Probes: 1, Successes: 1, OpenFor: time.Millisecond})
			config := gateway.UpstreamConfig{Name: "users", Targets: []balancer.Target{{URL: target.URL}}}
			var plugins []gateway.Plugin
			if around {
				plugins = append(plugins, b)
			} else {
				config.Admission = []policy.Admission{b}
			}
			u := gateway.Must(gateway.NewUpstream(config))
			gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{{
				Name: "all", Plugins: plugins, Handler: u, Forward: gateway.Forward{Upgrade: gateway.Upgrade{Protocols: []string{"chat"}}},
			}}}))
			front := httptest.NewServer(gw)
			t.Cleanup(func() {
				front.Close()
				require.NoError(t, u.Close())
			})
			ask := func(upgrade string) *http.Response {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, front.URL, nil)
				require.NoError(t, err)
				if upgrade != "" {
					r.Header.Set("Connection", "Upgrade")
					r.Header.Set("Upgrade", upgrade)
				}
				res, err := front.Client().Do(r)
				require.NoError(t, err)
				t.Cleanup(func() { _ = res.Body.Close() })
				return res
			}
			require.Equal(t, 500, ask("").StatusCode)
			require.Equal(t, breaker.Open, b.State())
			for ask("chat").StatusCode != http.StatusSwitchingProtocols {
				runtime.Gosched() // until the open time is over
			}
			require.Equal(t, breaker.Closed, b.State(), "while the connection lives")
			close(over)
		})
	}
}

// TestOutage: while everything fails, next to nothing reaches the upstream; afterwards everything does again.
func TestOutage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config breaker.Config
		most   int // failures in a minute: what opens the circuit, and the probes
	}{
		"default":                {breaker.Config{}, 505},
		"five in a row, or half": {breaker.Config{Consecutive: 5, FailureRate: 0.5}, 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { outage(t, c.config, c.most) })
		})
	}
}

func outage(t *testing.T, c breaker.Config, most int) {
	t.Helper()
	const each = 6000
	g := newRig(t, false, c)
	minute := func() (answered, refused, failed int) {
		var all sync.WaitGroup
		var mu sync.Mutex
		for range each {
			time.Sleep(time.Minute / each)
			all.Go(func() {
				status := gatewaytest.Do(g.handler, get()).StatusCode
				mu.Lock()
				defer mu.Unlock()
				switch status {
				case 200:
					answered++
				case 503:
					refused++
				default:
					failed++
				}
			})
		}
		all.Wait()
		return answered, refused, failed
	}
	answered, _, _ := minute()
	require.Equal(t, each, answered)
	g.up.Script(gatewaytest.Respond(500, "x"))
	_, refused, failed := minute()
	t.Logf("of %d requests in a minute %d were refused and %d failed", each, refused, failed)
	require.Equal(t, each, refused+failed)
	require.LessOrEqual(t, failed, most)
	g.up.Script(gatewaytest.Respond(200, "x"))
	time.Sleep(breaker.DefaultMaxOpenFor)
	answered, _, _ = minute()
	require.Equal(t, each, answered)
}
