package config_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/config"
	"github.com/gatehouse-go/gateway/gatewaytest"
)

// backend is a target that says who it is, with the statuses that are set for requests and for checks of /status.
type backend struct {
	*gatewaytest.Upstream
	answer, check    atomic.Pointer[http.Handler]
	requests, checks atomic.Int64
}

func newBackend(name string) *backend {
	b := &backend{}
	b.answers(gatewaytest.Respond(200, name))
	b.checked(gatewaytest.Respond(200, "ok"))
	b.Upstream = gatewaytest.NewUpstream(name+".internal", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, n := &b.answer, &b.requests
		if r.URL.Path == "/status" {
			h, n = &b.check, &b.checks
		}
		n.Add(1)
		(*h.Load()).ServeHTTP(w, r)
	}))
	return b
}

func (b *backend) answers(h http.Handler) { b.answer.Store(&h) }
func (b *backend) checked(h http.Handler) { b.check.Store(&h) }

// watched is a gateway before backends, within a bubble.
type watched struct {
	t        *testing.T
	r        *config.Reloader
	name     string // of its file
	backends []*backend
	service  string
	log      lockedBuffer
}

// watch serves an upstream of n targets called a, b, …, of which the name is the whole answer.
func watch(t *testing.T, n int, service, upstream string) *watched {
	t.Helper()
	w := &watched{t: t, name: filepath.Join(t.TempDir(), "kong.yml"), service: service}
	var ups []*gatewaytest.Upstream
	for i := range n {
		b := newBackend(string(rune('a' + i)))
		w.backends, ups = append(w.backends, b), append(ups, b.Upstream)
	}
	w.write(n, upstream, "")
	var err error
	w.r, err = config.NewReloader(config.ReloaderConfig{File: w.name, Options: config.Options{
		Dial: gatewaytest.Dial(ups...), Logger: slog.New(slog.NewTextHandler(&w.log, nil)),
	}})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, w.r.Gateway().Shutdown(t.Context()))
		for _, b := range w.backends {
			require.NoError(t, b.Close())
		}
		time.Sleep(time.Hour) // whatever was to come has come
	})
	return w
}

// write writes the file anew, with the first n targets.
func (w *watched) write(n int, upstream, more string) {
	w.t.Helper()
	var targets []string
	for i := range n {
		targets = append(targets, fmt.Sprintf("{target: '%c.internal:80'}", 'a'+i))
	}
	replace(w.t, w.name, fmt.Sprintf(`_format_version: "3.0"
services:
- {name: s, host: u, %s routes: [{name: r, paths: [/], tags: [public]}]}
%s
upstreams: [{name: u, targets: [%s], %s}]
`, w.service, more, strings.Join(targets, ", "), upstream))
}

func (w *watched) reload() {
	w.t.Helper()
	changed, err := w.r.Reload()
	require.NoError(w.t, err)
	require.True(w.t, changed)
}

// ask sends requests and counts the answers: bodies of backends, statuses of others.
func (w *watched) ask(n int, header ...string) map[string]int {
	w.t.Helper()
	got := map[string]int{}
	for range n {
		res := ask(w.r.Gateway(), http.MethodGet, "/x", header...)
		body, err := io.ReadAll(res.Body)
		require.NoError(w.t, err)
		if len(body) > 1 {
			body = fmt.Append(nil, res.StatusCode)
		}
		got[string(body)]++
	}
	return got
}

// states returns what is known about the targets.
func (w *watched) states() string {
	var out []string
	for _, u := range w.r.Gateway().Status().Upstreams {
		for _, m := range u.Targets {
			out = append(out, m.Health.String())
		}
	}
	return strings.Join(out, "/")
}

type counts = map[string]int

// Kong: "perform passive health checks". So many failures in a row, and all requests go to the other target.
func TestPassiveHealth(t *testing.T) {
	t.Parallel()
	for failures := 1; failures <= 3; failures++ {
		synctest.Test(t, func(t *testing.T) {
			w := watch(t, 2, "", fmt.Sprintf("healthchecks: {passive: {unhealthy: {http_failures: %d}}}", failures))
			require.Equal(t, counts{"a": 5, "b": 5}, w.ask(10))
			b := w.backends[1]
			b.answers(gatewaytest.Respond(500, "broken"))
			require.Equal(t, counts{"a": 20 - failures, "500": failures}, w.ask(20))
			require.Equal(t, "healthy/ejected", w.states())
			require.EqualValues(t, 5+failures, b.requests.Load())
			b.answers(gatewaytest.Respond(200, "b"))
			require.Equal(t, counts{"a": 10}, w.ask(10))
			require.Contains(t, w.log.take(), `level=WARN msg="health of a target" upstream=u target=http://b.internal:80 state=ejected reason=http_failures`)

			time.Sleep(balancer.DefaultEjectionTime * 9 / 8) // as there is no Admin API
			require.Equal(t, counts{"a": 5, "b": 5}, w.ask(10))
			require.Contains(t, w.log.take(), "level=INFO msg=\"health of a target\" upstream=u target=http://b.internal:80 state=healthy reason=ejection_over")
			require.Equal(t, counts{"a": 5, "b": 5}, w.ask(10))
		})
	}
}

// What counts, and what does not.
func TestPassiveHealthCounts(t *testing.T) {
	t.Parallel()
	status := func(n int) http.Handler { return gatewaytest.Respond(n, "broken") }
	for _, tt := range []struct {
		about, passive string
		answer         http.Handler
		state          string
	}{
		{"nothing by default", "", status(500), "healthy"},
		{"a status of the list", "unhealthy: {http_failures: 1}", status(429), "ejected"},
		{"one of another list", "unhealthy: {http_failures: 1, http_statuses: [418]}", status(429), "healthy"},
		{"one of that list", "unhealthy: {http_failures: 1, http_statuses: [418]}", status(418), "ejected"},
		{"one of both, which is a healthy one", "healthy: {http_statuses: [418]}, unhealthy: {http_failures: 1, http_statuses: [418]}", status(418), "healthy"},
		{"another counter", "unhealthy: {tcp_failures: 1, timeouts: 1}", status(500), "healthy"},
		{"a connection that breaks", "unhealthy: {tcp_failures: 1}", gatewaytest.Reset(), "ejected"},
		{"what is no answer", "unhealthy: {tcp_failures: 1}", gatewaytest.Raw("SSH-2.0\r\n"), "ejected"},
		{"the same, which is no timeout", "unhealthy: {timeouts: 1, http_failures: 1}", gatewaytest.Reset(), "healthy"},
		{"no answer in time", "unhealthy: {timeouts: 1}", gatewaytest.Stall(), "ejected"},
		{"the same, which is no failed connection", "unhealthy: {tcp_failures: 1, http_failures: 1}", gatewaytest.Stall(), "healthy"},
		{"a 504 of the target, which is no timeout", "unhealthy: {timeouts: 1}", status(504), "healthy"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := watch(t, 2, "retries: 0, read_timeout: 2000,", "healthchecks: {passive: {"+tt.passive+"}}")
			w.backends[1].answers(tt.answer)
			w.ask(8)
			require.Equal(t, "healthy/"+tt.state, w.states(), tt.about)
		})
	}
}

// Kong: "connection timeouts". The request that meets it is answered by the other target.
func TestPassiveHealthTimeouts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, 2, "read_timeout: 2000,", "healthchecks: {passive: {unhealthy: {timeouts: 1}}}")
		w.backends[1].answers(gatewaytest.Stall())
		began := time.Now()
		require.Equal(t, counts{"a": 20}, w.ask(20))
		require.InDelta(t, 2, time.Since(began).Seconds(), 0.5, "one waited")
		require.EqualValues(t, 1, w.backends[1].requests.Load())
	})
}

// A refused connection counts as one that failed, also at the last try.
func TestPassiveHealthRefused(t *testing.T) {
	t.Parallel()
	for passive, state := range map[string]string{"tcp_failures: 2": "ejected", "timeouts: 1, http_failures: 1": "healthy"} {
		synctest.Test(t, func(t *testing.T) {
			w := watch(t, 2, "retries: 0,", "healthchecks: {passive: {unhealthy: {"+passive+"}}}")
			w.backends[1].SetDown(true)
			w.ask(2)
			require.Equal(t, "healthy/healthy", w.states())
			w.ask(2)
			require.Equal(t, "healthy/"+state, w.states(), passive)
		})
	}
}

// Kong: "threshold for health checks". Requests are refused unless more than that is healthy.
func TestHealthThreshold(t *testing.T) {
	t.Parallel()
	for threshold, out := range map[string]int{"0": 4, "24.9": 4, "25": 3, "50": 2, "74": 2, "75": 1, "99": 1} {
		synctest.Test(t, func(t *testing.T) {
			w := watch(t, 4, "", "healthchecks: {threshold: "+threshold+", passive: {unhealthy: {tcp_failures: 1}}}")
			for i := range out {
				require.Zero(t, w.ask(8)["503"], "%s: with %d out", threshold, i)
				w.backends[i].answers(gatewaytest.Reset())
				for range 8 { // the last one has nobody to stand in for it
					w.ask(1)
				}
			}
			require.Equal(t, counts{"503": 8}, w.ask(8), threshold)
			require.True(t, w.r.Gateway().Status().Upstreams[0].Health.Refusing)
		})
	}
}

// Kong: "do not count Kong-generated errors as failures".
func TestHealthOwnAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, 2, "plugins: [{name: request-termination, config: {status_code: 401, trigger: x-stop}}],",
			"healthchecks: {passive: {healthy: {successes: 1}, unhealthy: {http_statuses: [401, 500], http_failures: 1, tcp_failures: 1, timeouts: 1}}}")
		require.Equal(t, counts{"401": 10}, w.ask(10, "X-Stop", "1"))
		require.Equal(t, "healthy/healthy", w.states())
		require.Equal(t, counts{"a": 5, "b": 5}, w.ask(10))
	})
}

// Kong: "does not perform health checks when disabled".
func TestHealthOff(t *testing.T) {
	t.Parallel()
	for _, upstream := range []string{"tags: [x]", "healthchecks: {active: {http_path: /status, unhealthy: {http_failures: 1}}, passive: {unhealthy: {http_failures: 0}}}"} {
		synctest.Test(t, func(t *testing.T) {
			w := watch(t, 2, "retries: 0,", upstream)
			for _, status := range []int{200, 500, 200} {
				w.backends[1].answers(gatewaytest.Respond(status, map[int]string{200: "b", 500: "broken"}[status]))
				require.Equal(t, counts{"a": 10, map[int]string{200: "b", 500: "500"}[status]: 10}, w.ask(20))
			}
			w.backends[1].SetDown(true)
			w.backends[1].answers(gatewaytest.Reset())
			require.Equal(t, counts{"a": 10, "502": 10}, w.ask(20))
			time.Sleep(time.Minute)
			require.Equal(t, "healthy/healthy", w.states())
			require.Zero(t, w.backends[0].checks.Load())
		})
	}
}

// Kong: consistent hashing, "passive healthcheck". What hashes to a target that is out goes to one other.
func TestHealthHashing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, 3, "", "hash_on: header, hash_on_header: hashme, healthchecks: {passive: {healthy: {successes: 1}, unhealthy: {http_failures: 1}}}")
		first := w.ask(9, "hashme", "just a value")
		require.Len(t, first, 1)
		for name := range first {
			w.backends[name[0]-'a'].answers(gatewaytest.Respond(500, "broken"))
		}
		second := w.ask(9, "hashme", "just a value")
		require.Len(t, second, 2)
		require.Equal(t, 1, second["500"])
		require.Equal(t, 2, w.r.Gateway().Status().Upstreams[0].Health.Healthy)
		require.False(t, w.r.Gateway().Status().Upstreams[0].Health.Refusing)
	})
}

const always = "healthchecks: {active: {http_path: '/status', healthy: {interval: 0.1, successes: %d}, unhealthy: {interval: 0.1, http_failures: %[1]d, tcp_failures: %[1]d, timeouts: %[1]d}}}"

// Kong: "up then down", "automatic recovery", "can detect before any proxy traffic". No request meets a target that is not well.
func TestActiveHealth(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 3} {
		synctest.Test(t, func(t *testing.T) {
			w := watch(t, 2, "", fmt.Sprintf(always, n))
			b := w.backends[1]
			for _, bad := range []http.Handler{gatewaytest.Respond(500, ""), gatewaytest.Stall(), gatewaytest.Reset(), gatewaytest.Raw("SSH-2.0\r\n")} {
				b.checked(bad)
				time.Sleep(5 * time.Second)
				require.Equal(t, "healthy/failing", w.states())
				require.Equal(t, counts{"a": 10}, w.ask(10))
				b.checked(gatewaytest.Respond(200, ""))
				time.Sleep(time.Second)
				require.Equal(t, counts{"a": 5, "b": 5}, w.ask(10))
			}
			b.checked(gatewaytest.Respond(418, "")) // which is in neither list
			time.Sleep(5 * time.Second)
			require.Equal(t, counts{"a": 5, "b": 5}, w.ask(10))
			b.SetDown(true) // connections of requests stay
			time.Sleep(time.Second)
			require.Equal(t, counts{"a": 10}, w.ask(10))
			before := w.backends[0].checks.Load()
			time.Sleep(time.Minute)
			require.InDelta(t, 600, w.backends[0].checks.Load()-before, 70)
		})
	}
}

// What checks ask for.
func TestActiveHealthRequest(t *testing.T) {
	t.Parallel()
	for upstream, want := range map[string]string{
		"healthchecks: {active: {": "/ a.internal:80 []",
		"host_header: up.test, healthchecks: {active: {http_path: /status/, ":                                  "/status/ up.test []",
		"host_header: 'up.test:8080', healthchecks: {active: {headers: {x-a: [b, c]}, http_path: '/s?a=%41', ": "/s?a=%41 up.test:8080 [b c]",
		"host_header: up.test, healthchecks: {active: {headers: {host: ['h.test'], x-a: [b]}, ":                "/ h.test [b]",
	} {
		synctest.Test(t, func(t *testing.T) {
			w := watch(t, 1, "", upstream+"healthy: {interval: 0.5, successes: 1}, unhealthy: {interval: 0.5, http_failures: 1}}}")
			time.Sleep(time.Second)
			got := w.backends[0].Last()
			require.Equal(t, want, fmt.Sprint(got.URI, " ", got.Host, " ", got.Header["X-A"]))
			require.Equal(t, "GET HTTP/1.1", got.Method+" "+got.Proto)
			require.Equal(t, "healthy", w.states())
		})
	}
}

// Where checks bring back, nothing else does: neither time, nor before checks have succeeded.
func TestActiveHealthBringsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, 2, "", "healthchecks: {active: {http_path: /status, healthy: {successes: 2}, unhealthy: {interval: 1.5}}, passive: {unhealthy: {http_failures: 1}}}")
		b := w.backends[1]
		time.Sleep(time.Minute)
		require.Zero(t, b.checks.Load(), "no checks of what is healthy")
		b.answers(gatewaytest.Respond(503, "broken"))
		b.checked(gatewaytest.Respond(503, ""))
		require.Equal(t, counts{"a": 9, "503": 1}, w.ask(10))
		time.Sleep(time.Hour)
		require.Equal(t, counts{"a": 10}, w.ask(10))
		require.InDelta(t, 2400, b.checks.Load(), 250)
		require.Zero(t, w.backends[0].checks.Load())
		b.answers(gatewaytest.Respond(200, "b"))
		b.checked(gatewaytest.Respond(200, ""))
		time.Sleep(5 * time.Second)
		require.Equal(t, counts{"a": 5, "b": 5}, w.ask(10))
		b.answers(gatewaytest.Respond(503, "broken"))
		w.ask(10)
		require.Equal(t, "healthy/ejected", w.states())
		time.Sleep(5 * time.Second)
		require.Equal(t, "healthy/healthy", w.states(), "as its checks succeed, as in Kong")
	})
}

// And where nothing brings back, nothing does.
func TestActiveHealthWithoutRecovery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, 2, "", "healthchecks: {active: {http_path: /status, healthy: {interval: 1}, unhealthy: {http_failures: 1}}}")
		w.backends[1].checked(gatewaytest.Respond(503, ""))
		time.Sleep(5 * time.Second)
		w.backends[1].checked(gatewaytest.Respond(200, ""))
		time.Sleep(time.Hour)
		require.Equal(t, counts{"a": 10}, w.ask(10))
		require.Len(t, w.r.Snapshot().Warnings, 1)
	})
}

// A reload keeps what is known, and the checks, unless they change; what is not used makes none.
func TestReloadHealth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		checks := fmt.Sprintf(always, 1)
		w := watch(t, 3, "", checks)
		w.write(2, checks, "")
		w.reload()
		b := w.backends[1]
		b.checked(gatewaytest.Respond(500, ""))
		time.Sleep(time.Second)
		require.Equal(t, "healthy/failing", w.states())

		w.write(2, checks+", tags: [x]", "- {name: other, host: other.internal, routes: [{name: other, paths: [/other]}]}")
		w.reload()
		require.Equal(t, counts{"a": 10}, w.ask(10))
		before := b.checks.Load()
		time.Sleep(time.Minute)
		require.InDelta(t, 600, b.checks.Load()-before, 70, "no checks beside those of before")

		w.write(3, checks, "")
		w.reload()
		require.Equal(t, "healthy/failing/healthy", w.states())
		require.Equal(t, counts{"a": 5, "c": 5}, w.ask(10))
		before = w.backends[2].checks.Load()
		time.Sleep(time.Minute)
		require.InDelta(t, 600, w.backends[2].checks.Load()-before, 70, "what is new is checked, too")

		w.write(3, checks, "routes: [{name: bad}]")
		_, err := w.r.Reload()
		require.ErrorContains(t, err, "a route needs at least one of")
		w.write(3, strings.Replace(checks, "/status", "/status?x", 1), "routes: [{name: bad}]")
		_, err = w.r.Reload()
		require.ErrorContains(t, err, "a route needs at least one of")
		before = b.checks.Load()
		time.Sleep(time.Minute)
		require.InDelta(t, 600, b.checks.Load()-before, 70, "a bad file checks nothing")

		w.write(3, strings.Replace(checks, "/status", "/status?x", 1), "")
		w.reload()
		require.Equal(t, "healthy/healthy/healthy", w.states(), "they are other checks")
		time.Sleep(time.Second)
		require.Equal(t, "healthy/failing/healthy", w.states())
		require.Equal(t, "/status?x", b.Last().URI)
		before = b.checks.Load()
		time.Sleep(time.Minute)
		require.InDelta(t, 600, b.checks.Load()-before, 70, "those of before have ended")

		w.write(3, "tags: [x]", "")
		w.reload()
		before = b.checks.Load()
		time.Sleep(time.Minute)
		require.Equal(t, before, b.checks.Load())
	})
}

// What is loaded and not served is closed, and then checks nothing.
func TestSnapshotHealth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBackend("a")
		load := func(more string) (*config.Snapshot, error) {
			return config.Load("kong.yml", strings.NewReader(`_format_version: "3.0"
services: [{name: s, host: u, routes: [{name: r, paths: [/]}]}, {name: t, host: u, routes: [{name: q, paths: [/q]}]}]
upstreams: [{name: u, targets: [{target: "a.internal:80"}], `+fmt.Sprintf(always, 1)+`}, {name: unused, targets: [{target: "a.internal:80"}], `+fmt.Sprintf(always, 1)+`}]
`+more), config.Options{Dial: b.Dial, Logger: quiet})
		}
		for _, more := range []string{"routes: [{name: bad}]", "routes: [{name: bad, paths: [x]}]", "consumers: [{}]", "certificates: [{cert: a, key: b}]"} {
			_, err := load(more)
			require.Error(t, err)
			time.Sleep(time.Minute)
			require.Zero(t, b.checks.Load(), more)
		}
		s, err := load("")
		require.NoError(t, err)
		time.Sleep(time.Minute)
		checks := b.checks.Load()
		require.InDelta(t, 600, checks, 70, "one pool for both services, and none for what no service uses")
		require.NoError(t, s.Close())
		time.Sleep(time.Minute)
		require.Equal(t, checks, b.checks.Load())

		s, err = load("")
		require.NoError(t, err)
		gw, err := gateway.New(s.Gateway)
		require.NoError(t, err)
		time.Sleep(time.Second)
		require.NoError(t, gw.Shutdown(t.Context()))
		checks = b.checks.Load()
		time.Sleep(time.Minute)
		require.Equal(t, checks, b.checks.Load())
		require.NoError(t, b.Close())
	})
}
