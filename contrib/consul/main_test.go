package consul_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/contrib/consul"
	"github.com/gatehouse-go/gateway/gatewaytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what a test waits for.
const patience = 20 * time.Second

// agent answers as the health endpoint of Consul does: a question with an index waits for a later one.
type agent struct {
	mu      sync.Mutex
	index   uint64
	body    string
	changed chan struct{} // closed when there is something new
	fault   http.HandlerFunc
	asked   []string // the URIs
	times   []time.Time
	last    *http.Request
}

func newAgent(instances ...string) *agent {
	a := &agent{changed: make(chan struct{})}
	a.has(instances...)
	return a
}

func (a *agent) set(change func(*agent)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(a)
	close(a.changed)
	a.changed = make(chan struct{})
}

// has sets the instances, each a line for entry.
func (a *agent) has(instances ...string) {
	var all []string
	for _, line := range instances {
		all = append(all, entry(line))
	}
	a.set(func(a *agent) { a.index, a.body = a.index+10, "["+strings.Join(all, ",")+"]" })
}

// entry makes an element of an answer of a line: address:port, and other fields as name=value.
func entry(line string) string {
	fields := strings.Fields(line)
	i := strings.LastIndex(fields[0], ":")
	port, err := strconv.Atoi(fields[0][i+1:])
	if err != nil {
		panic(err)
	}
	service := map[string]any{"ID": "users-1", "Service": "users", "Address": fields[0][:i], "Port": port, "Tags": []string{"v1"}, "Proxy": map[string]any{}}
	node := map[string]any{"Node": "n1", "Address": "192.0.2.9", "Datacenter": "dc1", "Meta": map[string]string{"zone": "", "rack": "r1"}}
	checks := []map[string]any{{"CheckID": "serfHealth", "Status": "passing"}}
	for _, f := range fields[1:] {
		name, value, _ := strings.Cut(f, "=")
		switch name {
		case "zone":
			node["Meta"] = map[string]string{"zone": value}
		case "check":
			checks = append(checks, map[string]any{"CheckID": "c", "Status": value})
		case "weights":
			var p, w int
			if _, err := fmt.Sscanf(value, "%d/%d", &p, &w); err != nil {
				panic(err)
			}
			service["Weights"] = map[string]any{"Passing": p, "Warning": w}
		case "id":
			service["ID"] = value
		}
	}
	raw, err := json.Marshal(map[string]any{"Node": node, "Service": service, "Checks": checks})
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// questions returns what was asked since it was called before.
func (a *agent) questions() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	asked := a.asked
	a.asked = nil
	return asked
}

func (a *agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.asked, a.times = append(a.asked, r.RequestURI), append(a.times, time.Now())
	a.last = r.Clone(context.Background())
	fault := a.fault
	a.mu.Unlock()
	if fault != nil {
		fault(w, r)
		return
	}
	after, _ := strconv.ParseUint(r.URL.Query().Get("index"), 10, 64)
	wait, _ := time.ParseDuration(r.URL.Query().Get("wait"))
	end := time.NewTimer(wait + wait/32)
	defer end.Stop()
	for late := false; ; {
		a.mu.Lock()
		index, body, changed := a.index, a.body, a.changed
		a.mu.Unlock()
		if after == 0 || index > after || late {
			answer(w, index, body)
			return
		}
		select {
		case <-changed:
		case <-end.C:
			late = true
		case <-r.Context().Done():
			return
		}
	}
}

func answer(w http.ResponseWriter, index any, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Consul-Index", fmt.Sprint(index))
	_, _ = w.Write([]byte(body))
}

// watched collects what a source delivers, a line each.
type watched struct {
	mu     sync.Mutex
	lines  []string
	cancel context.CancelFunc
	ended  chan error
}

func watch(t *testing.T, s balancer.Source) *watched {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watched{cancel: cancel, ended: make(chan error, 1)}
	go func() {
		w.ended <- s.Watch(ctx, func(targets []balancer.Target, err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.lines = append(w.lines, line(targets, err))
		})
	}()
	return w
}

// line writes what was delivered: URL, host, weight, priority and zone of each target.
func line(targets []balancer.Target, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	var all []string
	for _, t := range targets {
		host := ""
		if t.Host != "" {
			host = " (" + t.Host + ")"
		}
		all = append(all, fmt.Sprintf("%s%s %d/%d %s", t.URL, host, t.Weight, t.Priority, t.Zone))
	}
	return strings.Join(all, ", ")
}

// new returns what was delivered since, in a bubble.
func (w *watched) new() []string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := w.lines
	w.lines = nil
	return lines
}

func (w *watched) end(t *testing.T) {
	t.Helper()
	w.cancel()
	require.ErrorIs(t, <-w.ended, context.Canceled)
}

// in runs a test with a source that asks the agent, in a bubble.
func in(t *testing.T, a *agent, c consul.Config, f func(t *testing.T, w *watched)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a.mu.Lock()
		a.changed = make(chan struct{}) // of this bubble
		a.mu.Unlock()
		server := gatewaytest.NewUpstream("127.0.0.1:8500", a)
		defer server.Close()
		c.Dial = server.Dial
		if c.Service == "" {
			c.Service = "users"
		}
		s, err := consul.New(c)
		require.NoError(t, err)
		w := watch(t, s)
		f(t, w)
		w.end(t)
	})
}
