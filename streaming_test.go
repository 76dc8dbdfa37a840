package gateway_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/acl"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/observe"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/ratelimit"
	"github.com/gatehouse-go/gateway/traffic/breaker"
	"github.com/gatehouse-go/gateway/traffic/concurrency"
	trafficmirror "github.com/gatehouse-go/gateway/traffic/mirror"
	"github.com/gatehouse-go/gateway/traffic/split"
	"github.com/gatehouse-go/gateway/traffic/terminate"
)

// streamingPlugins are chains of all policies that do not say that they buffer. Each lets a request of ann's pass.
func streamingPlugins(t *testing.T) map[string][]gateway.Plugin {
	t.Helper()
	consumers := auth.Static{"ann-key": {ID: "1", Username: "ann", Groups: []string{"staff"}}}
	observer := gateway.Must(observe.New(observe.Config{Log: slog.New(slog.NewJSONHandler(new(bytes.Buffer), nil))}))
	keys := gateway.Must(keyauth.New(keyauth.Config{Consumers: consumers, In: keyauth.Header | keyauth.Query | keyauth.Cookie, HideCredentials: true}))
	nobody := gateway.Must(keyauth.New(keyauth.Config{Consumers: auth.Static{}, Names: []string{"other"}}))
	anyOf := gateway.Must(auth.AnyOf(keys, nobody))
	staff := gateway.Must(acl.New(acl.Config{Allow: []string{"staff"}}))
	strangers := gateway.Must(acl.New(acl.Config{Deny: []string{"staff"}}))
	buckets := gateway.Must(ratelimit.New(ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerMinute(100_000)}}))
	windows := gateway.Must(ratelimit.New(ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerMinute(100_000)}, Algorithm: ratelimit.SlidingWindow}))
	spent := gateway.Must(ratelimit.New(ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerHour(1)}, Cost: func(*http.Request) int { return 2 }}))
	triggered := gateway.Must(terminate.New(terminate.Config{Trigger: "X-Maintenance"}))
	always := gateway.Must(terminate.New(terminate.Config{}))
	closed := gateway.Must(breaker.New(breaker.Config{SlowRate: 1, SlowAfter: time.Hour, Fallback: always}))
	tripped := gateway.Must(breaker.New(breaker.Config{Consecutive: 1, OpenFor: time.Hour}))
	if ticket, err := tripped.Admit(t.Context(), ""); err == nil {
		tripped.Done(ticket, policy.Outcome{Status: http.StatusInternalServerError})
	}
	places := gateway.Must(concurrency.New(concurrency.Config{}))
	taken := gateway.Must(concurrency.New(concurrency.Config{Limit: 1}))
	_, err := taken.Admit(t.Context(), "")
	require.NoError(t, err)
	copied := gateway.Must(trafficmirror.New(trafficmirror.Config{Shadow: http.HandlerFunc(echoes), Share: 1, Methods: []string{"*"}, Compare: &trafficmirror.Compare{}}))
	t.Cleanup(func() { require.NoError(t, copied.Close()) })
	return map[string][]gateway.Plugin{
		"none":                        nil,
		"observe":                     {observer},
		"key-auth":                    {keys},
		"any":                         {anyOf},
		"acl":                         {keys, staff},
		"rate-limiting":               {buckets, windows},
		"request-termination":         {triggered},
		"key-auth, reported":          {policy.ReportOnly(nobody)},
		"acl, reported":               {keys, policy.ReportOnly(strangers)},
		"rate-limiting, reported":     {policy.ReportOnly(spent)},
		"termination, reported":       {policy.ReportOnly(always)},
		"breaker":                     {closed},
		"split":                       {splits(t)},
		"breaker, reported":           {policy.ReportOnly(tripped)},
		"concurrency":                 {places},
		"concurrency, reported":       {policy.ReportOnly(taken)},
		"all of them":                 {observer, keys, staff, buckets, windows, triggered, closed, places, copied, policy.ReportOnly(nobody), policy.ReportOnly(strangers), policy.ReportOnly(spent), policy.ReportOnly(tripped)},
		"mirror":                      {copied},
		"mirror, reported":            {policy.ReportOnly(copied)},
		"a chain reported as a whole": {observer, policy.ReportOnly(keys), policy.ReportOnly(buckets), policy.ReportOnly(triggered)},
	}
}

// splits stands a Split, with all that it may do to an answer, around what is inside, which is both of its arms.
func splits(t *testing.T) gateway.Plugin {
	t.Helper()
	return policy.Describe("split", policy.Contract{}, func(next http.Handler) http.Handler {
		return gateway.Must(split.New(split.Config{
			Arms:   []split.Arm{{Name: "stable", Weight: 1, Handler: next}, {Name: "canary", Weight: 1, Handler: next}},
			Cookie: split.Cookie{Name: "arm"}, Header: "X-Arm", Rollback: split.Rule{Arm: "canary", Against: "stable", LatencyRatio: 2, ErrorShare: 0.1},
		}))
	})
}

// echoes answers with the body of the request.
func echoes(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }

// handover is a target and a client in turns: each waits for the other before it goes on.
type handover struct{ target, client chan struct{} }

// ServeHTTP answers as the path says.
func (h handover) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	wait := func() {
		select {
		case <-h.client:
		case <-r.Context().Done():
		}
	}
	say := func(s string) {
		_, _ = io.WriteString(w, s)
		_ = control.Flush()
	}
	switch r.URL.Path {
	case "/events":
		w.Header().Set("Content-Type", "text/event-stream")
		say("one")
		wait()
		say("two")
	case "/events/declared":
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Content-Length", "6")
		say("one")
		wait()
		say("two")
	case "/unknown":
		say("one")
		wait()
		say("two")
	case "/poll":
		_ = control.Flush() // the head alone
		wait()
		say("onetwo")
	case "/hint":
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		wait()
		say("onetwo")
	case "/upload":
		b := make([]byte, 3)
		_, _ = io.ReadFull(r.Body, b)
		h.target <- struct{}{}
		rest, _ := io.ReadAll(r.Body)
		_, _ = w.Write(slices.Concat(b, rest))
	case "/echo": // what came goes back before the rest comes
		_ = control.EnableFullDuplex()
		b := make([]byte, 3)
		_, _ = io.ReadFull(r.Body, b)
		say(string(b))
		rest, _ := io.ReadAll(r.Body)
		_, _ = w.Write(rest)
	}
}

// No policy holds back what it does not say it does.
func TestPoliciesStream(t *testing.T) {
	t.Parallel()
	for name, plugins := range streamingPlugins(t) {
		for _, p := range plugins {
			c, _ := policy.ContractOf(p)
			require.False(t, c.BuffersRequest || c.BuffersResponse, "%s: %s says that it buffers", name, policy.NameOf(p))
		}
		for _, h2 := range []bool{false, true} {
			protocol := map[bool]string{false: "HTTP/1.1", true: "HTTP/2"}[h2]
			t.Run(name+" over "+protocol, func(t *testing.T) {
				t.Parallel()
				h := handover{make(chan struct{}, 1), make(chan struct{}, 1)}
				gw := gateway.Must(gateway.New(gateway.Config{Logger: quiet(), Routes: []gateway.Route{{
					Name: "all", Plugins: plugins, Handler: upstream(t, gateway.UpstreamConfig{}, backend(t, h.ServeHTTP)), MaxBody: 1 << 20,
				}}}))
				srv := front(t, gw)
				if h2 {
					srv = frontHTTP2(t, gw)
				}
				for _, path := range []string{"/events", "/events/declared", "/unknown", "/poll", "/hint"} {
					h.downloads(t, srv, path)
				}
				h.uploads(t, srv)
				if h2 { // clients of HTTP/1.1 send all first
					h.converses(t, srv)
				}
			})
		}
	}
}

// askFor sends a request of ann's, bounded in time.
func askFor(t *testing.T, srv *httptest.Server, method, path string, body io.Reader, trace *httptrace.ClientTrace) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(httptrace.WithClientTrace(t.Context(), trace), 20*time.Second)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, srv.URL+path, body)
	require.NoError(t, err)
	r.Header.Set("Apikey", "ann-key")
	res, err := srv.Client().Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { _ = res.Body.Close() })
	require.Equal(t, http.StatusOK, res.StatusCode, path)
	return res
}

// downloads gets an answer whose second half the target has only when the client has the first.
func (h handover) downloads(t *testing.T, srv *httptest.Server, path string) {
	t.Helper()
	hinted := false
	res := askFor(t, srv, http.MethodGet, path, nil, &httptrace.ClientTrace{Got1xxResponse: func(status int, _ textproto.MIMEHeader) error {
		hinted = status == http.StatusEarlyHints
		h.client <- struct{}{}
		return nil
	}})
	got := ""
	switch path {
	case "/hint":
		require.True(t, hinted)
	case "/poll":
		h.client <- struct{}{}
	default:
		first := make([]byte, 3)
		_, err := io.ReadFull(res.Body, first)
		require.NoError(t, err, path)
		got = string(first)
		h.client <- struct{}{}
	}
	require.Equal(t, "onetwo", got+text(t, res), path)
}

// uploads sends a body of unknown length, whose second half the client has only when the target has the first.
func (h handover) uploads(t *testing.T, srv *httptest.Server) {
	t.Helper()
	body, client := io.Pipe()
	go func() {
		_, _ = io.WriteString(client, "one")
		<-h.target
		_, _ = io.WriteString(client, "two")
		_ = client.Close()
	}()
	require.Equal(t, "onetwo", text(t, askFor(t, srv, http.MethodPost, "/upload", body, &httptrace.ClientTrace{})))
}

// converses does both at once.
func (h handover) converses(t *testing.T, srv *httptest.Server) {
	t.Helper()
	body, client := io.Pipe()
	go func() { _, _ = io.WriteString(client, "one") }()
	res := askFor(t, srv, http.MethodPost, "/echo", body, &httptrace.ClientTrace{})
	first := make([]byte, 3)
	_, err := io.ReadFull(res.Body, first)
	require.NoError(t, err)
	go func() {
		_, _ = io.WriteString(client, "two")
		_ = client.Close()
	}()
	require.Equal(t, "onetwo", string(first)+text(t, res))
}
