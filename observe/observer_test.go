package observe_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/observe"
	"github.com/gatehouse-go/gateway/policy"
)

// journal is where a test's log goes.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

// lines returns the records written so far.
func (j *journal) lines(t *testing.T) []map[string]any {
	t.Helper()
	var lines []map[string]any
	for line := range strings.Lines(j.String()) {
		m := map[string]any{}
		require.NoError(t, json.Unmarshal([]byte(line), &m), line)
		lines = append(lines, m)
	}
	return lines
}

// line returns the only record.
func (j *journal) line(t *testing.T) map[string]any {
	t.Helper()
	lines := j.lines(t)
	require.Len(t, lines, 1, "one record for one request")
	return lines[0]
}

func (j *journal) json() *slog.Logger { return slog.New(slog.NewJSONHandler(j, nil)) }

// observer makes an Observer that logs JSON to j.
func observer(t *testing.T, j *journal, c observe.Config) *observe.Observer {
	t.Helper()
	if c.Log == nil {
		c.Log = j.json()
	}
	o, err := observe.New(c)
	require.NoError(t, err)
	return o
}

// serve runs h and returns its answer, and what it panicked with.
func serve(h http.Handler, r *http.Request) (w *httptest.ResponseRecorder, panicked any) {
	w = httptest.NewRecorder()
	defer func() { panicked = recover() }()
	h.ServeHTTP(w, r)
	return w, nil
}

// left returns a request whose client has gone.
func left(method string) *http.Request {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return httptest.NewRequestWithContext(ctx, method, "/", nil)
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	get := func() *http.Request { return httptest.NewRequest(http.MethodGet, "/", nil) }
	tests := []struct {
		name    string
		request *http.Request
		handler http.HandlerFunc
		outcome observe.Outcome
		status  float64 // 0: none logged
		level   string
		source  string
		panics  any
	}{
		{
			name: "answered", handler: func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello") },
			outcome: observe.OK, status: 200, level: "INFO", source: "handler",
		},
		{
			name: "nothing written", handler: func(http.ResponseWriter, *http.Request) {},
			outcome: observe.OK, status: 200, level: "INFO", source: "handler",
		},
		{
			name: "a handler's own 500", handler: func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
			outcome: observe.OK, status: 500, level: "WARN", source: "handler",
		},
		{
			name: "informational heads do not count", handler: func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusEarlyHints)
				w.WriteHeader(http.StatusNoContent)
			},
			outcome: observe.OK, status: 204, level: "INFO", source: "handler",
		},
		{
			name: "HEAD has no body", request: httptest.NewRequest(http.MethodHead, "/", nil),
			handler: func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello") },
			outcome: observe.OK, status: 200, level: "INFO", source: "handler",
		},
		{
			name: "an upstream's answer", handler: func(w http.ResponseWriter, r *http.Request) {
				policy.ExchangeFrom(r.Context()).RecordTry(policy.Try{Number: 1, Outcome: policy.Outcome{Status: 418}})
				w.WriteHeader(http.StatusTeapot)
			},
			outcome: observe.OK, status: 418, level: "INFO", source: "upstream",
		},
		{
			name: "a cache's answer", handler: func(w http.ResponseWriter, r *http.Request) {
				policy.ExchangeFrom(r.Context()).SetCacheStatus("hit")
				w.WriteHeader(http.StatusOK)
			},
			outcome: observe.OK, status: 200, level: "INFO", source: "cache",
		},
		{
			name: "refused inside a cache that had an old answer", handler: func(w http.ResponseWriter, r *http.Request) {
				x := policy.ExchangeFrom(r.Context())
				x.Record(policy.Decision{Policy: "breaker", Verdict: policy.Refused, Status: 503})
				x.MarkGatewayMade()
				x.SetCacheStatus("stale")
				w.WriteHeader(http.StatusOK)
			},
			outcome: observe.OK, status: 200, level: "INFO", source: "cache",
		},
		{
			name: "refused", handler: func(w http.ResponseWriter, r *http.Request) {
				policy.Refuse(w, r, "acl", &policy.Error{Status: 403, Code: "not_in_group"})
			},
			outcome: observe.Refused, status: 403, level: "INFO", source: "gateway",
		},
		{
			name: "refused by an upstream's handler", handler: func(w http.ResponseWriter, r *http.Request) {
				policy.ExchangeFrom(r.Context()).RecordTry(policy.Try{Number: 1, Outcome: policy.Outcome{Err: boom}})
				policy.Refuse(w, r, "upstream", &policy.Error{Status: 502, Code: "unreachable", Err: boom})
			},
			outcome: observe.Refused, status: 502, level: "WARN", source: "gateway",
		},
		{
			name: "would have been refused", handler: func(w http.ResponseWriter, r *http.Request) {
				policy.ExchangeFrom(r.Context()).Record(policy.Decision{Policy: "acl", Verdict: policy.WouldRefuse, Status: 403})
			},
			outcome: observe.OK, status: 200, level: "INFO", source: "handler",
		},
		{
			name: "aborted in the middle", handler: func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, "hel")
				panic(http.ErrAbortHandler)
			},
			outcome: observe.Aborted, status: 200, level: "WARN", source: "handler", panics: http.ErrAbortHandler,
		},
		{
			name: "aborted without an answer", handler: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			outcome: observe.Aborted, level: "WARN", panics: http.ErrAbortHandler,
		},
		{
			name: "panic", handler: func(http.ResponseWriter, *http.Request) { panic("boom") },
			outcome: observe.Panicked, status: 500, level: "ERROR", source: "gateway", panics: "boom",
		},
		{
			name: "panic after the head", handler: func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusAccepted)
				panic(boom)
			},
			outcome: observe.Panicked, status: 202, level: "ERROR", source: "handler", panics: boom,
		},
		{
			name: "panic with something that cannot be compared", handler: func(http.ResponseWriter, *http.Request) { panic([]int{1}) },
			outcome: observe.Panicked, status: 500, level: "ERROR", source: "gateway", panics: []int{1},
		},
		{
			name: "panic a gateway recovered from", handler: func(w http.ResponseWriter, r *http.Request) {
				policy.Refuse(w, r, "gateway", &policy.Error{Status: 500, Code: "panic", Err: errors.New("panic of type string")})
			},
			outcome: observe.Panicked, status: 500, level: "ERROR", source: "gateway",
		},
		{
			name: "panic a gateway recovered from too late", handler: func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, "hel")
				policy.Refuse(w, r, "gateway", &policy.Error{Status: 500, Code: "panic"})
			},
			outcome: observe.Panicked, status: 200, level: "ERROR", source: "gateway", panics: http.ErrAbortHandler,
		},
		{
			name: "panic of a client that left", request: left("GET"),
			handler: func(http.ResponseWriter, *http.Request) { panic("boom") },
			outcome: observe.Panicked, status: 500, level: "ERROR", source: "gateway", panics: "boom",
		},
		{
			name: "client gone before any answer", request: left("GET"), handler: func(http.ResponseWriter, *http.Request) {},
			outcome: observe.ClientGone, status: 499, level: "INFO",
		},
		{
			name: "client gone, handler aborts", request: left("GET"),
			handler: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			outcome: observe.ClientGone, status: 499, level: "INFO", panics: http.ErrAbortHandler,
		},
		{
			name: "client gone in the middle of a stream", request: left("GET"),
			handler: func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "data: 1\n\n") },
			outcome: observe.ClientGone, status: 200, level: "INFO", source: "handler",
		},
		{
			name: "client gone before the declared end", request: left("GET"), handler: func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Length", "5")
				_, _ = io.WriteString(w, "hel")
			},
			outcome: observe.ClientGone, status: 200, level: "INFO", source: "handler",
		},
		{
			name: "client gone once it had everything", request: left("GET"), handler: func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Length", "5")
				_, _ = io.WriteString(w, "hello")
			},
			outcome: observe.OK, status: 200, level: "INFO", source: "handler",
		},
		{
			name: "client gone once it had the head", request: left("HEAD"),
			handler: func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusOK) },
			outcome: observe.OK, status: 200, level: "INFO", source: "handler",
		},
		{
			name: "client gone once it was refused", request: left("GET"), handler: func(w http.ResponseWriter, r *http.Request) {
				policy.Refuse(w, r, "acl", &policy.Error{Status: 403})
			},
			outcome: observe.Refused, status: 403, level: "INFO", source: "gateway",
		},
		{
			name: "client gone as the upstream saw it", handler: func(w http.ResponseWriter, r *http.Request) {
				x := policy.ExchangeFrom(r.Context())
				x.RecordTry(policy.Try{Number: 1, Outcome: policy.Outcome{Err: context.Canceled, Canceled: true}})
				panic(http.ErrAbortHandler)
			},
			outcome: observe.ClientGone, status: 499, level: "INFO", panics: http.ErrAbortHandler,
		},
		{
			name: "client gone as the upstream says", handler: func(w http.ResponseWriter, r *http.Request) {
				policy.Refuse(w, r, "upstream", &policy.Error{Status: 499, Code: "client_gone", Message: "m"})
			},
			outcome: observe.ClientGone, status: 499, level: "INFO", source: "gateway",
		},
		{
			name: "the handler's own deadline is no leaving", handler: http.TimeoutHandler(
				http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), time.Minute, "").ServeHTTP,
			outcome: observe.OK, status: 200, level: "INFO", source: "handler",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var j journal
			r := tt.request
			if r == nil {
				r = get()
			}
			w := httptest.NewRecorder()
			panicked := func() (v any) {
				defer func() { v = recover() }()
				observer(t, &j, observe.Config{}).Wrap(tt.handler).ServeHTTP(w, r)
				return nil
			}()
			require.Equal(t, tt.panics, panicked, "panics pass on unchanged")
			line := j.line(t)
			require.Equal(t, string(tt.outcome), line["gateway.outcome"])
			status, _ := line["http.response.status_code"].(float64)
			require.InDelta(t, tt.status, status, 0)
			size := w.Body.Len()
			if r.Method == http.MethodHead {
				size = 0
			}
			require.InDelta(t, size, line["http.response.body.size"], 0)
			require.Equal(t, tt.level, line["level"])
			source, _ := line["gateway.source"].(string)
			require.Equal(t, tt.source, source)
			require.Equal(t, "request", line["msg"])
			require.GreaterOrEqual(t, line["http.server.request.duration"], 0.0)
		})
	}
}

func TestPanic(t *testing.T) {
	t.Parallel()
	tests := []struct {
		value   any
		kind    any
		message string
	}{
		{"s3cr3t", "string", "<nil>"},
		{errors.New("s3cr3t"), "*errors.errorString", "<nil>"},
		{struct{ S string }{"s3cr3t"}, "struct { S string }", "<nil>"},
		{http.ErrAbortHandler, nil, "<nil>"},
		{nil, "*runtime.PanicNilError", "panic called with nil argument"},
	}
	for _, tt := range tests {
		var j journal
		_, panicked := serve(observer(t, &j, observe.Config{}).Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(tt.value) })),
			httptest.NewRequest(http.MethodGet, "/", nil))
		require.NotNil(t, panicked)
		line := j.line(t)
		require.Equal(t, tt.kind, line["exception.type"])
		require.Contains(t, fmt.Sprint(line["exception.message"]), tt.message)
		require.NotContains(t, j.String(), "s3cr3t")
	}
}

// TestGoexit holds that a handler which ends its goroutine is logged, too.
func TestGoexit(t *testing.T) {
	t.Parallel()
	var j journal
	h := observer(t, &j, observe.Config{}).Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { goexit() }))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = serve(h, httptest.NewRequest(http.MethodGet, "/", nil))
	}()
	<-done
	require.Equal(t, string(observe.Aborted), j.line(t)["gateway.outcome"])
}

// full is a handler that leaves behind all that can be left behind.
func full(w http.ResponseWriter, r *http.Request) {
	x := policy.ExchangeFrom(r.Context())
	x.SetRoute("users", "/v1/users/:id", "/v1/users/42")
	x.SetVersion("7")
	x.SetIdentity(policy.Identity{
		Kind: "key-auth", Credential: "cred-1", Consumer: &policy.Consumer{ID: "c1", Username: "ann"},
		Claims: map[string]any{"sub": "s3cr3t"},
	})
	x.SetCacheStatus("miss")
	x.Record(policy.Decision{Policy: "key-auth", Reason: "known_key"})
	x.Record(policy.Decision{Policy: "rate-limit", Verdict: policy.WouldRefuse, Reason: "exceeded", Detail: "per minute", Status: 429})
	x.RecordTry(policy.Try{
		Upstream: "users", Target: "http://10.0.0.1:8080", Number: 1,
		Outcome: policy.Outcome{Err: errors.New("connect: connection refused"), Duration: 2 * time.Millisecond},
	})
	x.RecordTry(policy.Try{
		Upstream: "users", Target: "http://10.0.0.2:8080", Number: 2,
		Outcome: policy.Outcome{Status: 200, FirstByte: 20 * time.Millisecond, Duration: 30 * time.Millisecond},
	})
	w.WriteHeader(http.StatusOK)
	_, _ = io.WriteString(w, "hello")
}

// timeless drops what differs from run to run.
func timeless(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey || a.Key == "http.server.request.duration" {
		return slog.Attr{}
	}
	return a
}

func fullRequest() *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/v1//users/4%32?page=2&apikey=s3cr3t", strings.NewReader("body"))
	r.Host, r.RemoteAddr = "API.example.com:8443", "10.1.2.3:40000"
	r.Header.Set("User-Agent", `Mozilla/5.0 "x"`)
	r.Header.Set("X-Request-ID", "golden-1")
	r.Header.Set("X-Forwarded-For", "198.51.100.7")
	r.Header.Set("X-Forwarded-Proto", "https")
	r.Header.Set("Authorization", "Bearer s3cr3t")
	return r
}

func TestGoldenLine(t *testing.T) {
	t.Parallel()
	entry := policy.Must(policy.NewEntry(policy.EntryConfig{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}))
	for name, compose := range map[string]func(*observe.Observer, http.Handler) http.Handler{
		"Observer around the Entry": func(o *observe.Observer, h http.Handler) http.Handler { return o.Wrap(entry.Wrap(h)) },
		"Entry around the Observer": func(o *observe.Observer, h http.Handler) http.Handler { return entry.Wrap(o.Wrap(h)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var j journal
			o := observer(t, &j, observe.Config{
				Log:             slog.New(slog.NewJSONHandler(&j, &slog.HandlerOptions{ReplaceAttr: timeless})),
				AcceptRequestID: observe.TrustAnyone, QueryValues: []string{"page"},
				Attrs: func(x *policy.Exchange, r *http.Request) []slog.Attr {
					return []slog.Attr{slog.String("tenant", "blue"), slog.Int("n", 1)}
				},
			})
			_, panicked := serve(compose(o, http.HandlerFunc(full)), fullRequest())
			require.Nil(t, panicked)
			require.Equal(t, strings.Join([]string{
				`{"level":"INFO","msg":"request"`,
				`"http.request.method":"POST","url.scheme":"https","url.path":"/v1/users/42","url.query":"page=2&apikey"`,
				`"http.route":"/v1/users/:id","server.address":"api.example.com","server.port":"8443"`,
				`"client.address":"198.51.100.7","network.peer.address":"10.1.2.3","network.protocol.version":"1.1"`,
				`"user_agent.original":"Mozilla/5.0 \"x\"","http.request.body.size":4`,
				`"http.response.status_code":200,"http.response.body.size":5`,
				`"gateway.request_id":"golden-1","gateway.outcome":"ok","gateway.source":"upstream"`,
				`"gateway.route":"users","gateway.config_version":"7"`,
				`"gateway.consumer.id":"c1","gateway.consumer.username":"ann"`,
				`"gateway.credential.kind":"key-auth","gateway.credential.id":"cred-1"`,
				`"gateway.cache":"miss","gateway.upstream.name":"users","gateway.upstream.target":"http://10.0.0.2:8080"`,
				`"gateway.upstream.duration":0.032`,
				`"gateway.tries":[{"number":1,"upstream":"users","target":"http://10.0.0.1:8080","duration":0.002,"error":"connect: connection refused"}`,
				`{"number":2,"upstream":"users","target":"http://10.0.0.2:8080","status":200,"first_byte":0.02,"duration":0.03}]`,
				`"gateway.decisions":[{"policy":"key-auth","verdict":"allowed","reason":"known_key"}`,
				`{"policy":"rate-limit","verdict":"would_refuse","reason":"exceeded","detail":"per minute","status":429}]`,
				`"tenant":"blue","n":1}` + "\n",
			}, ","), j.String())
		})
	}
}

func TestGoldenText(t *testing.T) {
	t.Parallel()
	var j journal
	o := observer(t, &j, observe.Config{Log: slog.New(slog.NewTextHandler(&j, &slog.HandlerOptions{ReplaceAttr: timeless}))})
	h := o.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		policy.ExchangeFrom(r.Context()).Record(policy.Decision{Policy: "key-auth", Reason: "known_key"})
		policy.ExchangeFrom(r.Context()).RecordTry(policy.Try{Target: "http://10.0.0.1", Outcome: policy.Outcome{Duration: time.Second, Err: errors.New("reset")}})
		policy.Refuse(w, r, "acl", &policy.Error{Status: 403, Code: "not_in_group", Err: errors.New("group x")})
	}))
	_, _ = serve(h, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Contains(t, j.String(), `gateway.tries="http://10.0.0.1 1s reset" gateway.refused_by=acl gateway.reason=not_in_group `+
		`gateway.error="group x" gateway.decisions="key-auth allowed known_key; acl refused not_in_group 403"`+"\n")
}

// TestWhy holds that one line answers who refused a request, and why.
func TestWhy(t *testing.T) {
	t.Parallel()
	var j journal
	h := observer(t, &j, observe.Config{}).Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := policy.ExchangeFrom(r.Context())
		x.Record(policy.Decision{Policy: "key-auth", Reason: "known_key"})
		x.SetIdentity(policy.Identity{Kind: "key-auth", Anonymous: true})
		policy.Refuse(w, r, "acl", &policy.Error{Status: 403, Code: "not_in_group", Err: errors.New("groups: none")})
	}))
	_, _ = serve(h, httptest.NewRequest(http.MethodGet, "/", nil))
	line := j.line(t)
	require.Equal(t, "acl", line["gateway.refused_by"])
	require.Equal(t, "not_in_group", line["gateway.reason"])
	require.Equal(t, "groups: none", line["gateway.error"])
	require.Equal(t, true, line["gateway.anonymous"])
	require.Equal(t, []any{
		map[string]any{"policy": "key-auth", "verdict": "allowed", "reason": "known_key"},
		map[string]any{"policy": "acl", "verdict": "refused", "reason": "not_in_group", "status": 403.0, "error": "groups: none"},
	}, line["gateway.decisions"])
}

func TestRefusedByTheEntry(t *testing.T) {
	t.Parallel()
	var j journal
	h := observer(t, &j, observe.Config{}).Wrap(policy.Must(policy.NewEntry(policy.EntryConfig{})).Wrap(http.NotFoundHandler()))
	w, _ := serve(h, httptest.NewRequest(http.MethodGet, "/a/%2e%2e%2f..;/x?q=1", nil))
	require.Equal(t, 400, w.Code)
	line := j.line(t)
	require.Equal(t, "entry", line["gateway.refused_by"])
	require.Equal(t, "/a/%2e%2e%2f..;/x", line["url.path"], "as it was sent")
	require.Equal(t, "refused", line["gateway.outcome"])
}

func TestRequestAttributes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		edit func(r *http.Request)
		want map[string]any
	}{
		{"unknown method", func(r *http.Request) { r.Method = strings.Repeat("X", 300) }, map[string]any{
			"http.request.method": "_OTHER", "http.request.method_original": strings.Repeat("X", 29) + "...",
		}},
		{"no method", func(r *http.Request) { r.Method = "" }, map[string]any{"http.request.method": "GET", "http.request.method_original": nil}},
		{"HTTP/2", func(r *http.Request) { r.ProtoMajor, r.ProtoMinor = 2, 0 }, map[string]any{"network.protocol.version": "2"}},
		{"HTTP/1.0", func(r *http.Request) { r.ProtoMinor = 0 }, map[string]any{"network.protocol.version": "1.0"}},
		{"HTTP/3", func(r *http.Request) { r.ProtoMajor, r.ProtoMinor = 3, 0 }, map[string]any{"network.protocol.version": "3"}},
		{"IPv6", func(r *http.Request) { r.RemoteAddr, r.Host = "[2001:db8::1%eth0]:1", "[2001:DB8::2]:80" }, map[string]any{
			"client.address": "2001:db8::1", "network.peer.address": "2001:db8::1", "server.address": "2001:db8::2", "server.port": "80",
		}},
		{"Unix socket", func(r *http.Request) { r.RemoteAddr = "@" }, map[string]any{"client.address": nil, "network.peer.address": nil}},
		{"bad host", func(r *http.Request) { r.Host = "a b\x00" }, map[string]any{"server.address": `a b\x00`, "server.port": nil}},
		{"no host", func(r *http.Request) { r.Host = "" }, map[string]any{"server.address": nil}},
		{"nothing at all", func(r *http.Request) { *r = http.Request{} }, map[string]any{"http.request.method": "GET", "url.path": nil}},
		{"ServeMux pattern", func(r *http.Request) { r.Pattern = "GET example.com/users/{id}" }, map[string]any{"http.route": "/users/{id}"}},
		{"long path", func(r *http.Request) { r.URL.Path = "/" + strings.Repeat("a", 5000) }, map[string]any{
			"url.path": "/" + strings.Repeat("a", 1020) + "...",
		}},
		{"no query", func(r *http.Request) { r.URL.RawQuery = "" }, map[string]any{"url.query": nil}},
		{"unknown length", func(r *http.Request) { r.ContentLength = -1 }, map[string]any{"http.request.body.size": nil}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var j journal
			r := httptest.NewRequest(http.MethodGet, "/?a=b", nil)
			tt.edit(r)
			_, panicked := serve(observer(t, &j, observe.Config{}).Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})), r)
			require.Nil(t, panicked)
			line := j.line(t)
			for key, want := range tt.want {
				require.Equal(t, want, line[key], key)
			}
		})
	}
}

// TestLoggedAsItCame holds that edits of inner plugins do not change what is logged of the request.
func TestLoggedAsItCame(t *testing.T) {
	t.Parallel()
	var j journal
	h := observer(t, &j, observe.Config{}).Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("User-Agent", "forged")
		r.Method, r.Host, r.URL.Path, r.URL.RawQuery, r.ContentLength = "POST", "other", "/other", "other", 7
	}))
	r := httptest.NewRequest(http.MethodGet, "http://example.com/here?a=b", nil)
	r.Header.Set("User-Agent", "ua")
	_, _ = serve(h, r)
	line := j.line(t)
	require.Equal(t, "GET", line["http.request.method"])
	require.Equal(t, "/here", line["url.path"])
	require.Equal(t, "a", line["url.query"])
	require.Equal(t, "ua", line["user_agent.original"])
	require.Equal(t, "example.com", line["server.address"])
	require.Nil(t, line["http.request.body.size"])
}

func TestSkip(t *testing.T) {
	t.Parallel()
	var j journal
	o := observer(t, &j, observe.Config{Skip: func(r *http.Request) bool { return r.URL.Path == "/healthz" }})
	h := o.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" && r.Method == http.MethodPut {
			panic("boom")
		}
	}))
	w, _ := serve(h, httptest.NewRequest(http.MethodGet, "/healthz", nil))
	require.NotEmpty(t, w.Header().Get("X-Request-ID"))
	_, panicked := serve(h, httptest.NewRequest(http.MethodPut, "/healthz", nil))
	require.Equal(t, "boom", panicked)
	require.Empty(t, j.String())
	_, _ = serve(h, httptest.NewRequest(http.MethodGet, "/", nil))
	j.line(t)
}

func TestNoLog(t *testing.T) {
	t.Parallel()
	o := policy.Must(observe.New(observe.Config{}))
	w, _ := serve(o.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})), httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, 200, w.Code)
	require.NotEmpty(t, w.Header().Get("X-Request-ID"))
	_, panicked := serve(o.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("boom") })), httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, "boom", panicked)
}

func TestLevel(t *testing.T) {
	t.Parallel()
	var j journal
	type call struct {
		status int
		o      observe.Outcome
	}
	var got []call
	o := observer(t, &j, observe.Config{Level: func(status int, o observe.Outcome) slog.Level {
		got = append(got, call{status, o})
		if status == 404 {
			return slog.LevelDebug // below what the handler takes
		}
		return slog.LevelWarn
	}})
	_, _ = serve(o.Wrap(http.NotFoundHandler()), httptest.NewRequest(http.MethodGet, "/", nil))
	require.Empty(t, j.String())
	_, _ = serve(o.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })), httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, "WARN", j.line(t)["level"])
	require.Equal(t, []call{{404, observe.OK}, {0, observe.Aborted}}, got)
}

// badHandler is a slog.Handler of an application that fails.
type badHandler struct {
	slog.Handler

	handle func() error
}

func (h badHandler) Handle(context.Context, slog.Record) error { return h.handle() }

// TestLoggingNeverFailsARequest holds that nothing an application hands in for logging can hurt an answer.
func TestLoggingNeverFailsARequest(t *testing.T) {
	t.Parallel()
	var none *policy.Error // its Error method panics
	tests := []struct {
		name   string
		config observe.Config
		err    error
		lines  int
		want   map[string]any
	}{
		{"handler panics", observe.Config{Log: slog.New(badHandler{discard{}, func() error { panic("log") }})}, nil, 0, nil},
		{"handler fails", observe.Config{Log: slog.New(badHandler{discard{}, func() error { return errors.New("full") }})}, nil, 0, nil},
		{"Attrs panics", observe.Config{Attrs: func(*policy.Exchange, *http.Request) []slog.Attr { panic(errors.New("x")) }}, nil, 1, map[string]any{
			"gateway.attrs_panic": "*errors.errorString",
		}},
		{"Level panics", observe.Config{Level: func(int, observe.Outcome) slog.Level { panic("level") }}, nil, 1, map[string]any{"level": "ERROR"}},
		{"an error panics", observe.Config{}, none, 1, map[string]any{"gateway.outcome": "ok"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var j journal
			h := observer(t, &j, tt.config).Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				policy.ExchangeFrom(r.Context()).Record(policy.Decision{Policy: "p", Err: tt.err})
				_, _ = io.WriteString(w, "fine")
			}))
			w, panicked := serve(h, httptest.NewRequest(http.MethodGet, "/", nil))
			require.Nil(t, panicked)
			require.Equal(t, "fine", w.Body.String())
			lines := j.lines(t)
			require.Len(t, lines, tt.lines)
			for key, want := range tt.want {
				require.Equal(t, want, lines[0][key])
			}
			_, panicked = serve(observer(t, &j, tt.config).Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("theirs") })),
				httptest.NewRequest(http.MethodGet, "/", nil))
			require.Equal(t, "theirs", panicked, "the request's own panic passes on")
		})
	}
}

// TestHandlerGetsContext holds that handlers can find values of the request, and are not stopped by its end.
func TestHandlerGetsContext(t *testing.T) {
	t.Parallel()
	type key struct{}
	for _, gone := range []bool{false, true} {
		var seen context.Context
		o := observer(t, nil, observe.Config{Log: slog.New(contextHandler{&seen})})
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "trace"))
		if gone {
			cancel()
		}
		_, _ = serve(o.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})), httptest.NewRequestWithContext(ctx, "GET", "/", nil))
		require.NoError(t, seen.Err())
		require.Equal(t, "trace", seen.Value(key{}))
		require.NotNil(t, policy.ExchangeFrom(seen))
		cancel()
	}
}

type contextHandler struct{ seen *context.Context }

func (h contextHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h contextHandler) Handle(ctx context.Context, _ slog.Record) error {
	*h.seen = ctx //nolint:fatcontext // a test looks at it
	return nil
}
func (h contextHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h contextHandler) WithGroup(string) slog.Handler      { return h }

// TestOutlives runs plugins' goroutines that do not end with their request, under the race detector.
func TestOutlives(t *testing.T) {
	t.Parallel()
	var j journal
	o := observer(t, &j, observe.Config{})
	late := errors.New("late: \x1b")
	var wg sync.WaitGroup
	h := o.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := policy.ExchangeFrom(r.Context())
		for range 3 {
			wg.Go(func() {
				for i := range 100 {
					x.Record(policy.Decision{Policy: "late", Verdict: policy.Refused, Err: late})
					x.RecordTry(policy.Try{Number: i, Target: "http://u:p@h", Outcome: policy.Outcome{Err: late}})
					x.SetIdentity(policy.Identity{Kind: "late"})
					x.SetRoute("r", "/", "/")
					x.SetCacheStatus("hit")
					_ = x.Decisions()
				}
			})
		}
	}))
	for range 20 {
		_, panicked := serve(h, httptest.NewRequest(http.MethodGet, "/", nil))
		require.Nil(t, panicked)
	}
	wg.Wait()
	require.Len(t, j.lines(t), 20)
}

func TestConcurrent(t *testing.T) {
	t.Parallel()
	var j journal
	h := observer(t, &j, observe.Config{}).Wrap(http.HandlerFunc(full))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 25 {
				_, _ = serve(h, httptest.NewRequest(http.MethodGet, "/?a=b", nil))
			}
		})
	}
	wg.Wait()
	ids := map[any]bool{}
	for _, line := range j.lines(t) {
		ids[line["gateway.request_id"]] = true
	}
	require.Len(t, ids, 100)
}

func TestNew(t *testing.T) {
	t.Parallel()
	tests := []struct {
		config observe.Config
		want   []string
	}{
		{observe.Config{}, nil},
		{observe.Config{RequestIDHeader: "kong-request-id", QueryValues: []string{"page", "filter[x]"}, AcceptRequestID: observe.TrustProxies}, nil},
		{observe.Config{RequestIDHeader: "a b"}, []string{`observe: RequestIDHeader "a b" is not a header name`}},
		{observe.Config{RequestIDHeader: "content_length"}, []string{`observe: RequestIDHeader "content_length" has a meaning of its own`}},
		{
			observe.Config{RequestIDHeader: "Authorization", AcceptRequestID: 9, QueryValues: []string{"a", "", "b=c"}},
			[]string{`RequestIDHeader "Authorization"`, "AcceptRequestID 9 is unknown", `QueryValues[1] "" is not`, `QueryValues[2] "b=c" is not`},
		},
	}
	for _, tt := range tests {
		o, err := observe.New(tt.config)
		if tt.want == nil {
			require.NoError(t, err)
			require.Equal(t, "observe", o.Name())
			continue
		}
		require.Nil(t, o)
		for _, want := range tt.want {
			require.ErrorContains(t, err, want)
		}
	}
	require.Equal(t, "observe", policy.NameOf(policy.Must(observe.New(observe.Config{}))))
	require.Empty(t, policy.Must(observe.New(observe.Config{})).Contract())
	contract, ok := policy.ContractOf(policy.Must(observe.New(observe.Config{AcceptRequestID: observe.TrustProxies})))
	require.True(t, ok)
	require.Equal(t, []policy.Fact{policy.ClientAddress}, contract.Requires)
}

func TestZeroObserver(t *testing.T) {
	t.Parallel()
	for _, o := range []*observe.Observer{nil, {}} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		o.Wrap(http.NotFoundHandler()).ServeHTTP(w, r)
		require.Equal(t, http.StatusNotFound, w.Code)
		require.Empty(t, r.Header)
		require.Equal(t, policy.Contract{}, o.Contract())
	}
}
