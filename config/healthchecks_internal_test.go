package config

import (
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/balancer/healthcheck"
)

// read reads the health checks of an upstream.
func read(t *testing.T, fields string) (health, []string) {
	t.Helper()
	p := newProblems("kong.yml")
	root := parse([]byte("{name: u, "+fields+"}"), p)
	require.NotNil(t, root, "%s: %v", fields, p.err())
	d := &decoder{problems: p, schemas: &schemas{}}
	up := &upstream{}
	up.at(root)
	d.decode(root, up)
	b := &builder{d: d, in: &linked{}, out: &Snapshot{}, bad: map[*upstream]bool{}}
	h := b.healthOf(up)
	require.NoError(t, p.err())
	require.Empty(t, b.bad)
	return h, b.out.Warnings
}

// TestHealthOf: what becomes of each field.
func TestHealthOf(t *testing.T) {
	t.Parallel()
	passive := balancer.Passive{
		Failures: balancer.Failures{Refused: -1, TCP: 3, Timeouts: 2, HTTP: 1}, Statuses: []int{429, 500, 503},
		SuccessStatuses: []int{200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 306, 307, 308},
	}
	get := healthcheck.HTTP{
		Path: "/", Scheme: "http", Header: http.Header{}, Statuses: []int{200, 302}, FailureStatuses: []int{429, 404, 500, 501, 502, 503, 504, 505},
	}
	active := balancer.Active{
		Checker: get, Interval: 5 * time.Second, UnhealthyInterval: -1, Timeout: time.Second, Concurrency: 10, Successes: -1,
		Failures: balancer.Failures{Refused: -1, TCP: -1, Timeouts: -1, HTTP: 2},
	}
	const counted = "passive: {unhealthy: {tcp_failures: 3, timeouts: 2, http_failures: 1}}"
	const checked = "healthy: {interval: 5}, unhealthy: {http_failures: 2}"
	off := balancer.Passive{Off: true}
	for _, tt := range []struct {
		about, fields string
		passive       func(p *balancer.Passive) // what is other than by default; nil for off
		active        func(a *balancer.Active)
		threshold     float64
	}{
		{"nothing", "tags: [a]", nil, nil, 0},
		{"null", "healthchecks: null", nil, nil, 0},
		{"records that are empty", "healthchecks: {active: {}, passive: {healthy: null}}", nil, nil, 0},
		{"no counter", "healthchecks: {threshold: 50, passive: {healthy: {successes: 5}, unhealthy: {http_statuses: [500]}}, active: {type: tcp, http_path: /x}}", nil, nil, 0},
		{"passive", "healthchecks: {threshold: 12.5, " + counted + "}", func(*balancer.Passive) {}, nil, 0.125},
		{"passive alone of a kind", "healthchecks: {passive: {unhealthy: {timeouts: 255}}}", func(p *balancer.Passive) {
			p.Failures = balancer.Failures{Refused: -1, TCP: -1, Timeouts: 255, HTTP: -1}
		}, nil, 0},
		{
			"statuses", "healthchecks: {passive: {healthy: {http_statuses: [200, 404]}, unhealthy: {http_statuses: [404, 500, 999], tcp_failures: 3, timeouts: 2, http_failures: 1}}}",
			func(p *balancer.Passive) { p.SuccessStatuses, p.Statuses = []int{200, 404}, []int{500} }, nil, 0,
		},
		{
			"no statuses", "healthchecks: {passive: {healthy: {http_statuses: []}, unhealthy: {http_statuses: [], tcp_failures: 3, timeouts: 2, http_failures: 1}}}",
			func(p *balancer.Passive) { p.SuccessStatuses, p.Statuses, p.Failures.HTTP = []int{100}, []int{}, -1 }, nil, 0,
		},
		{"active", "healthchecks: {active: {" + checked + "}}", nil, func(*balancer.Active) {}, 0},
		{"active beside passive", "healthchecks: {active: {" + checked + "}, " + counted + "}", func(*balancer.Passive) {}, func(*balancer.Active) {}, 0},
		{
			"that bring back", "healthchecks: {active: {healthy: {interval: 0.25, successes: 2}, unhealthy: {interval: 0.5, http_failures: 2}}, " + counted + "}",
			func(p *balancer.Passive) { p.EjectionTime, p.MaxEjectionTime = time.Millisecond, time.Millisecond },
			func(a *balancer.Active) {
				a.Interval, a.UnhealthyInterval, a.Successes = time.Second/4, time.Second/2, 2
			}, 0,
		},
		{
			"of what is out alone", "healthchecks: {active: {healthy: {successes: 1}, unhealthy: {interval: 65535}}, " + counted + "}",
			func(p *balancer.Passive) { p.EjectionTime, p.MaxEjectionTime = time.Millisecond, time.Millisecond },
			func(a *balancer.Active) {
				a.Interval, a.UnhealthyInterval, a.Successes, a.Failures.HTTP = -1, 65535*time.Second, 1, -1
			}, 0,
		},
		{"counters", "healthchecks: {active: {healthy: {interval: 5}, unhealthy: {tcp_failures: 3, timeouts: 4}}}", nil, func(a *balancer.Active) {
			a.Failures = balancer.Failures{Refused: -1, TCP: 3, Timeouts: 4, HTTP: -1}
		}, 0},
		{"as short as can be", "healthchecks: {active: {timeout: 0.00001, healthy: {interval: 1e-9}, unhealthy: {http_failures: 2}}}", nil, func(a *balancer.Active) {
			a.Interval, a.Timeout = time.Millisecond, time.Millisecond
		}, 0},
		{"no timeout", "healthchecks: {active: {timeout: 0, concurrency: 2147483648, " + checked + "}}", nil, func(a *balancer.Active) {
			a.Timeout, a.Concurrency = time.Minute, 1<<20
		}, 0},
		{"a request", "host_header: up.test:81, healthchecks: {active: {http_path: '/health%20z?a=b', headers: {x-a: [b, c], X-B: [d]}, " + checked + "}}", nil, func(a *balancer.Active) {
			get := get
			get.Path, get.Host, get.Header = "/health%20z?a=b", "up.test:81", http.Header{"X-A": {"b", "c"}, "X-B": {"d"}}
			a.Checker = get
		}, 0},
		{"its statuses", "healthchecks: {active: {healthy: {interval: 5, http_statuses: [200, 503, 600]}, unhealthy: {http_failures: 2, http_statuses: [503, 700]}}}", nil, func(a *balancer.Active) {
			get := get
			get.Statuses, get.FailureStatuses = []int{200, 503}, []int{}
			a.Checker = get
		}, 0},
		{"another Host", "host_header: up.test, healthchecks: {active: {headers: {HOST: [h.test], x: []}, " + checked + "}}", nil, func(a *balancer.Active) {
			get := get
			get.Host = "h.test"
			a.Checker = get
		}, 0},
		{"https", "healthchecks: {active: {type: https, " + checked + "}}", nil, func(a *balancer.Active) {
			get := get
			get.Scheme = "https"
			a.Checker = get
		}, 0},
		{"tcp", "healthchecks: {active: {type: tcp, " + checked + "}}", nil, func(a *balancer.Active) { a.Checker = healthcheck.TCP{} }, 0},
		{"grpc", "healthchecks: {active: {type: grpc, " + checked + "}}", nil, func(a *balancer.Active) { a.Checker = healthcheck.GRPC{Scheme: "http"} }, 0},
		{"grpcs", "host_header: up.test, healthchecks: {active: {type: grpcs, " + checked + "}}", nil, func(a *balancer.Active) {
			a.Checker = healthcheck.GRPC{Scheme: "https", Authority: "up.test"}
		}, 0},
	} {
		h, _ := read(t, tt.fields)
		want := balancer.Health{Passive: off}
		if tt.passive != nil || tt.active != nil {
			want.MaxEjected, want.Panic, want.MinHealthy = 1, -1, tt.threshold
		}
		if tt.passive != nil {
			want.Passive = passive
			tt.passive(&want.Passive)
		}
		if tt.active != nil {
			want.Active = active
			tt.active(&want.Active)
		}
		require.Equal(t, tt.passive == nil && tt.active == nil, h.config.OnChange == nil, tt.about)
		got := h.config
		got.OnChange, got.Active.TLS = nil, nil
		require.Equal(t, want, got, tt.about)
		require.Equal(t, tt.passive == nil && tt.active == nil, h.key == "", tt.about)

		p, err := balancer.NewPool(balancer.Config{Targets: []balancer.Target{{URL: "http://a.test"}}, Health: h.config})
		require.NoError(t, err, tt.about)
		require.NoError(t, p.Close())
		again, _ := read(t, tt.fields)
		require.Equal(t, h.key, again.key, tt.about)
	}
	require.Less(t, math.Nextafter(wholeShare, 0)/wholeShare, 1.0, "no share that may be written is 1")
}

// TestHealthKey: a reload makes anew what is checked otherwise, and nothing else.
func TestHealthKey(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	const end = "healthy: {interval: 5}, unhealthy: {http_failures: 2}}}"
	for _, fields := range []string{
		"tags: []", "healthchecks: {active: {" + end, "healthchecks: {active: {type: tcp, " + end, "healthchecks: {active: {type: https, " + end,
		"healthchecks: {active: {type: https, https_sni: a.test, " + end, "healthchecks: {active: {type: https, https_verify_certificate: false, " + end,
		"healthchecks: {active: {headers: {a: [b, c]}, " + end, "healthchecks: {active: {headers: {a: [b c]}, " + end, "host_header: a.test, healthchecks: {active: {" + end,
		"healthchecks: {threshold: 5, active: {" + end, "healthchecks: {active: {timeout: 1.5, " + end, "healthchecks: {active: {http_path: /a, " + end,
		"healthchecks: {passive: {unhealthy: {timeouts: 1}}, active: {" + end, "healthchecks: {passive: {unhealthy: {timeouts: 1}}}", "healthchecks: {passive: {unhealthy: {tcp_failures: 1}}}",
	} {
		h, _ := read(t, fields)
		require.Empty(t, seen[h.key], "%s", fields)
		seen[h.key] = fields
	}
	for _, fields := range []string{
		"healthchecks: {active: {http_path: /a, type: grpc, headers: {a: [b]}}, threshold: 7}", "tags: [a], host_header: a.test",
	} {
		h, _ := read(t, fields)
		require.Empty(t, h.key, "nothing is checked: %s", fields)
	}
}

// TestHealthWarnings: what does other than it seems to.
func TestHealthWarnings(t *testing.T) {
	t.Parallel()
	for fields, want := range map[string][]string{
		"healthchecks: {active: {http_path: /a}}": nil,
		"healthchecks: {threshold: 5}":            {"kong.yml:1:37: threshold is without effect, as there are no health checks"},
		"healthchecks: {passive: {unhealthy: {timeouts: 1}}}": {
			`kong.yml:1:35: a target of upstream "u" that requests take out comes back after 10s, and after up to 5m0s the next times, as there is no Admin API to do it; ` +
				"set active.unhealthy.interval and active.healthy.successes to have checks bring it back",
		},
		"healthchecks: {passive: {unhealthy: {timeouts: 1}}, active: {healthy: {interval: 1}, unhealthy: {interval: 1}}}": {
			`kong.yml:1:35: a target of upstream "u" that requests take out comes back after 10s, and after up to 5m0s the next times, as there is no Admin API to do it; ` +
				"set active.unhealthy.interval and active.healthy.successes to have checks bring it back",
		},
		"healthchecks: {passive: {unhealthy: {timeouts: 1}}, active: {healthy: {successes: 1}, unhealthy: {interval: 1}}}": nil,
		"healthchecks: {active: {healthy: {interval: 1, successes: 1}, unhealthy: {interval: 1}}}": {
			`kong.yml:1:34: the health checks of upstream "u" take nothing out: they count no failures of healthy targets`,
		},
		"healthchecks: {active: {healthy: {successes: 1}, unhealthy: {interval: 1, timeouts: 1}}}": {
			`kong.yml:1:34: the health checks of upstream "u" take nothing out: they count no failures of healthy targets`,
		},
		"healthchecks: {active: {healthy: {interval: 1}, unhealthy: {timeouts: 1}}}": {
			`kong.yml:1:34: a target of upstream "u" that its checks take out never comes back; set active.unhealthy.interval and active.healthy.successes to have checks bring it back`,
		},
		"healthchecks: {active: {type: tcp, http_path: /a, headers: {host: [a.test]}, healthy: {interval: 1, successes: 1}, unhealthy: {interval: 1, timeouts: 1}}}": {
			"kong.yml:1:57: http_path is without effect, as the type of the checks is tcp", "kong.yml:1:70: headers are without effect, as the type of the checks is tcp",
		},
		"healthchecks: {active: {type: grpc, headers: {host: [a.test]}, healthy: {interval: 1, successes: 1}, unhealthy: {interval: 1, timeouts: 1}}}":           nil,
		"healthchecks: {active: {healthy: {interval: 1, successes: 1, http_statuses: [200, 600]}, unhealthy: {interval: 1, timeouts: 1, http_statuses: [999]}}}": {"kong.yml:1:87: the status 600 is not looked at, as no answer has it", "kong.yml:1:153: the status 999 is not looked at, as no answer has it"},
	} {
		_, warnings := read(t, fields)
		require.Equal(t, want, warnings, fields)
	}
}
