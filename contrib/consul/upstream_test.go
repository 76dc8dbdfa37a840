package consul_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/contrib/consul"
	"github.com/gatehouse-go/gateway/gatewaytest"
)

// Instances come, fail their checks and go while requests are made, none of which fails; also while the agent is out.
func TestUpstream(t *testing.T) {
	t.Parallel()
	const n = 3
	var lines []string
	var served [n]atomic.Int64
	for i := range n {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			served[i].Add(1)
			w.WriteHeader(http.StatusNoContent)
		}))
		t.Cleanup(s.Close)
		lines = append(lines, strings.TrimPrefix(s.URL, "http://"))
	}
	a := newAgent(lines[0])
	server := httptest.NewServer(a)
	defer server.Close()
	s, err := consul.New(consul.Config{Address: server.URL, Service: "users"})
	require.NoError(t, err)
	up, err := gateway.NewUpstream(gateway.UpstreamConfig{Name: "users", Discovery: balancer.Discovery{Source: s, FirstAnswer: patience}})
	require.NoError(t, err)
	defer func() { require.NoError(t, up.Close()) }()

	stop := make(chan struct{})
	var load sync.WaitGroup
	var asked, failed atomic.Int64
	for range 4 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				w := httptest.NewRecorder()
				up.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil))
				if asked.Add(1); w.Code != http.StatusNoContent {
					failed.Add(1)
				}
			}
		})
	}
	has := func(n int) {
		t.Helper()
		require.Eventually(t, func() bool { return len(up.Status().Targets) == n }, patience, time.Millisecond)
		before := served[n-1].Load()
		require.Eventually(t, func() bool { return served[n-1].Load() > before+20 }, patience, time.Millisecond, "each gets requests")
	}
	fails := func(want bool) {
		t.Helper()
		require.Eventually(t, func() bool { return (up.Status().Discovery.Err != nil) == want }, patience, time.Millisecond)
	}
	has(1)
	a.has(lines...)
	has(3)
	a.has(lines[0], lines[1], lines[2]+" check=critical")
	has(2)
	a.set(func(a *agent) {
		a.index++
		a.fault = gatewaytest.Respond(http.StatusInternalServerError, "").ServeHTTP
	})
	fails(true)
	has(2)
	a.set(func(a *agent) { a.fault = nil })
	a.has(lines...)
	has(3)
	fails(false)
	a.has() // as when all checks fail at once
	fails(true)
	has(3)
	close(stop)
	load.Wait()
	t.Logf("%d requests, %d failed", asked.Load(), failed.Load())
	require.Zero(t, failed.Load())
	require.ErrorContains(t, up.Status().Discovery.Err, "the source says that there are no targets")
}

// A pool takes whatever is made of an answer.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("["+entry("10.0.0.1:80 weights=1/2")+","+entry("users.test:80 check=warning zone=a")+"]"), true)
	f.Add([]byte("["+entry("[::1]:80")+","+entry(":0")+"]"), false)
	f.Add([]byte(`[{"Node":{"Address":"10.0.0.1"},"Service":{"Port":80,"Weights":null},"Checks":null},{}]`), false)
	f.Fuzz(func(t *testing.T, text []byte, https bool) {
		c := consul.Config{Service: "users", Warning: true, ZoneMeta: "zone"}
		if https {
			c.URL = "https://users.test/v1"
		}
		targets, err := consul.Targets(c, text)
		if err != nil || len(targets) == 0 {
			return
		}
		pool, err := balancer.NewPool(balancer.Config{Targets: targets})
		require.NoError(t, err, "%v", targets)
		require.NoError(t, pool.Close())
	})
}

// The same, with what is in an instance drawn by itself, beside one that is well.
func FuzzInstance(f *testing.F) {
	f.Add("10.0.0.1", 80, 1, 1, "passing", "a", "https://users.test/v1")
	f.Add("Users-1.test.", 443, 0, 70000, "warning", "", "")
	f.Add("2001:DB8::1", 65535, -1, 0, "x", "\xff", "http://[::1]:1")
	f.Add("::ffff:10.0.0.1%1", 1, 1, 1, "passing", "", "http://a..b")
	f.Fuzz(func(t *testing.T, address string, port, passing, warning int, status, zone, url string) {
		type m = map[string]any
		text, err := json.Marshal([]m{
			{"Service": m{"Address": address, "Port": port, "Weights": m{"Passing": passing, "Warning": warning}}, "Checks": []m{{"Status": status}}, "Node": m{"Meta": m{"zone": zone}}},
			{"Service": m{"Address": "10.0.0.1", "Port": 80}},
		})
		require.NoError(t, err)
		targets, err := consul.Targets(consul.Config{Service: "users", Warning: true, ZoneMeta: "zone", URL: url}, text)
		if err != nil {
			return // the URL is none
		}
		pool, err := balancer.NewPool(balancer.Config{Targets: targets})
		require.NoError(t, err, "%v", targets)
		require.NoError(t, pool.Close())
	})
}
