package gateway_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/acl"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/observe"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/ratelimit"
	"github.com/gatehouse-go/gateway/traffic/terminate"
)

// explained is the gateway of docs/explain.md.
func explained(t testing.TB) *gateway.Gateway {
	t.Helper()
	users, err := gateway.NewUpstream(gateway.UpstreamConfig{Name: "users", Targets: []balancer.Target{
		{URL: "http://10.0.0.1:8080"}, {URL: "http://10.0.0.2:8080", Weight: balancer.NoTraffic},
	}})
	require.NoError(t, err)
	beta := upstreamFor(t, "users-beta", gateway.Timeouts{})
	observer := gateway.Must(observe.New(observe.Config{Log: slog.New(slog.DiscardHandler)}))
	keys := gateway.Must(keyauth.New(keyauth.Config{Consumers: auth.Static{
		"ann-key": {ID: "1", Username: "ann", Groups: []string{"staff"}}, "bob-key": {ID: "2", Username: "bob"},
	}}))
	staff := gateway.Must(acl.New(acl.Config{Allow: []string{"staff"}}))
	limit := gateway.Must(ratelimit.New(ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerMinute(60)}, Key: policy.ByConsumer()}))
	gw, err := gateway.New(gateway.Config{
		EntryConfig: policy.EntryConfig{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24")}},
		Plugins:     []gateway.Plugin{observer},
		Routes: []gateway.Route{
			{
				Name: "users", Match: gateway.Match{Methods: []string{"GET", "PUT"}, Paths: []string{"/v1/users/:id"}}, Handler: users,
				Plugins: []gateway.Plugin{keys, staff, limit}, Forward: gateway.Forward{Path: "/accounts"},
			},
			{
				Name: "beta", Match: gateway.Match{Headers: map[string][]string{"X-Beta": {"yes"}}, Methods: []string{"GET"}, Paths: []string{"/v1/users/:id"}},
				Handler: fork{users, beta}, Plugins: []gateway.Plugin{keys, policy.ReportOnly(staff)},
			},
			{Name: "status", Match: gateway.Match{Paths: []string{"/status"}}, Public: true, Handler: say("")},
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = gw.Shutdown(context.Background()); _ = users.Close() })
	return gw
}

// ask makes a request as it comes from the trusted proxy.
func ask(method, target string, header ...string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	r.RemoteAddr = "10.9.0.7:4711"
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

// TestExplainGolden compares explanations as text and as JSON with files. GATEHOUSE_GOLDEN=1 writes them.
func TestExplainGolden(t *testing.T) {
	t.Parallel()
	gw := explained(t)
	for name, r := range map[string]*http.Request{
		"allowed":  ask("GET", "/v1//users/%34%32?fields=name", "apikey", "ann-key", "X-Forwarded-For", "203.0.113.9", "X-Consumer-Id", "9", "X_Consumer_ID", "9"),
		"refused":  ask("PUT", "/v1/users/42", "apikey", "bob-key"),
		"beta":     ask("GET", "/v1/users/42", "apikey", "bob-key", "X-Beta", "yes"),
		"method":   ask("DELETE", "/v1/users/42"),
		"no_route": ask("GET", "/v1/users/42/"),
		"entry":    ask("GET", `/v1/users/%5c..%5cadmin`),
	} {
		e := gw.Explain(r)
		js, err := json.MarshalIndent(e, "", "  ")
		require.NoError(t, err)
		for ext, got := range map[string]string{"txt": e.String(), "json": string(js) + "\n"} {
			file := filepath.Join("testdata", "explain", name+"."+ext)
			if os.Getenv("GATEHOUSE_GOLDEN") != "" {
				require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
				require.NoError(t, os.WriteFile(file, []byte(got), 0o600))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(want), got, file)
		}
	}
}

// TestExplainDocs: what docs/explain.md and the README show is what the golden files hold.
func TestExplainDocs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("docs", "explain.md"))
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join("testdata", "explain", "*.txt"))
	require.NoError(t, err)
	require.Len(t, files, 6)
	for _, file := range files {
		want, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Contains(t, string(page), "```text\n"+string(want)+"```", file)
	}
	for _, kind := range []gateway.FindingKind{
		gateway.Invalid, gateway.DuplicateRoute, gateway.UnreachableRoute, gateway.UnreachablePath, gateway.DeletedHeader, gateway.AmbiguousRoutes, gateway.BrokenContract,
		gateway.UnprovenContract, gateway.BufferedStream, gateway.UnauthenticatedRoute, gateway.UnusedUpstream, gateway.UnsafeRetry, gateway.NoTimeout, gateway.NotAllChecked,
	} {
		require.Contains(t, string(page), "| `"+string(kind)+"` |")
	}
	refused, err := os.ReadFile(filepath.Join("testdata", "explain", "refused.txt"))
	require.NoError(t, err)
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, shown, ok := strings.Cut(string(readme), "```text\n")
	require.True(t, ok)
	shown, _, _ = strings.Cut(shown, "```")
	for line := range strings.Lines(shown) {
		require.Contains(t, string(refused), line)
	}
}

// TestExplainAgreesWithServing: the route explained is the route that serves, and the plugin said to refuse refuses, for
// random tables and requests.
func TestExplainAgreesWithServing(t *testing.T) {
	t.Parallel()
	keys := gateway.Must(keyauth.New(keyauth.Config{Consumers: auth.Static{"good": {ID: "1", Groups: []string{"staff"}}}}))
	staff := gateway.Must(acl.New(acl.Config{Allow: []string{"staff"}}))
	admin := gateway.Must(acl.New(acl.Config{Allow: []string{"admin"}}))
	rapid.Check(t, func(t *rapid.T) {
		c := gateway.Config{Routes: drawRoutes(t), Compat: gateway.Compat{AllowIdenticalRoutes: true}, Logger: slog.New(slog.DiscardHandler)}
		for i := range c.Routes {
			c.Routes[i].Plugins = rapid.SampledFrom([][]gateway.Plugin{
				nil, {keys}, {keys, staff}, {keys, admin}, {policy.ReportOnly(keys), staff}, {keys, policy.ReportOnly(admin)},
			}).Draw(t, "plugins")
		}
		gw, err := gateway.New(c)
		require.NoError(t, err)
		for range 20 {
			r := drawRequest(t)
			r.Header.Set("apikey", rapid.SampledFrom([]string{"good", "bad"}).Draw(t, "key"))
			before := r.Clone(r.Context())
			e := gw.Explain(r)
			require.Equal(t, before, r, "Explain changes nothing")

			x, r := policy.Ensure(r)
			status := gatewaytest.Do(gw, r).StatusCode
			require.Equal(t, x.Route(), e.Route)
			require.Equal(t, x.Path(), e.Path)
			refusal, refused := x.Refusal()
			want := "handled by http.HandlerFunc"
			if refused {
				want = refusal.Policy + ": " + gateway.Verdict{Verdict: "refused", Reason: refusal.Reason, Status: status}.String()
			}
			require.Equal(t, want, e.Outcome)
			var previews []string
			for _, p := range e.Plugins {
				if p.Preview != nil {
					previews = append(previews, p.Preview.By+" "+p.Preview.Verdict+" "+p.Preview.Reason)
				}
			}
			var decisions []string
			for _, d := range x.Decisions() {
				if d.Policy != "gateway" && d.Policy != "entry" {
					decisions = append(decisions, d.Policy+" "+d.Verdict.String()+" "+d.Reason)
				}
			}
			require.Equal(t, decisions, previews)
		}
	})
}

// TestExplainHasNoEffects: no counter moves, nothing is dialled, no body is read, and the request stays as it was.
func TestExplainHasNoEffects(t *testing.T) {
	t.Parallel()
	backend := gatewaytest.NewUpstream("up.test")
	defer backend.Close()
	up := gateway.Must(gateway.NewUpstream(gateway.UpstreamConfig{Name: "up", Targets: []balancer.Target{{URL: backend.URL()}}, Dial: backend.Dial}))
	limit := gateway.Must(ratelimit.New(ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerMinute(1)}}))
	gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{{Name: "r", Plugins: []gateway.Plugin{limit}, Handler: up}}, Owns: []io.Closer{up}}))
	defer gw.Shutdown(t.Context())
	read := false
	r := httptest.NewRequest(http.MethodPost, "/", readFunc(func([]byte) (int, error) {
		read = true
		return 0, io.EOF
	}))
	r.Header.Set("X-Consumer-Id", "1")
	for range 5 {
		require.Equal(t, "handled by up", gw.Explain(r).Outcome)
	}
	require.False(t, read)
	require.Equal(t, "1", r.Header.Get("X-Consumer-Id"))
	require.Empty(t, r.Pattern)
	require.Zero(t, backend.Dials())
	require.Zero(t, gw.Status().Upstreams[0].Targets[0].Requests)
	require.Equal(t, 200, gatewaytest.Do(gw, get("/")).StatusCode, "the one of this minute")
	require.Equal(t, "rate-limiting: refused limit_exceeded 429 (minute)", gw.Explain(get("/")).Outcome)
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// TestExplainBodies: a body is looked at when there is a copy of it.
func TestExplainBodies(t *testing.T) {
	t.Parallel()
	keys := gateway.Must(keyauth.New(keyauth.Config{Consumers: auth.Static{"good": {ID: "1"}}, In: keyauth.Body}))
	gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{{Name: "r", Plugins: []gateway.Plugin{keys}, Handler: say("")}}}))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://a.test/", strings.NewReader("apikey=good"))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	require.Equal(t, "handled by http.HandlerFunc", gw.Explain(r).Outcome)
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.Equal(t, "apikey=good", string(body))
	r.GetBody = nil
	require.Nil(t, gw.Explain(r).Plugins[0].Preview, "the key may be in the body, which cannot be looked at")
	r.Body = http.NoBody
	require.Equal(t, "key-auth: refused no_credential 401", gw.Explain(r).Outcome)
}

// previewer is a plugin of an application's.
type previewer struct {
	preview func(*http.Request) policy.Decision
}

func (previewer) Wrap(next http.Handler) http.Handler       { return next }
func (p previewer) Preview(r *http.Request) policy.Decision { return p.preview(r) }
func (previewer) Name() string                              { return "mine" }

// TestExplainSurvives: panics of plugins and predicates, odd requests, and a gateway that is shut down.
func TestExplainSurvives(t *testing.T) {
	t.Parallel()
	gw := gateway.Must(gateway.New(gateway.Config{
		Logger:   slog.New(slog.DiscardHandler),
		NotFound: say("mine"),
		Routes: []gateway.Route{
			{Name: "plugin", Match: gateway.Match{Paths: []string{"/plugin"}}, Handler: say(""), Plugins: []gateway.Plugin{
				previewer{func(*http.Request) policy.Decision { panic("preview") }}, previewer{nil},
			}},
			{Name: "predicate", Match: gateway.Match{Paths: []string{"/predicate"}, Func: func(*http.Request) bool { panic("predicate") }}, Handler: say("")},
			{Name: "context", Match: gateway.Match{Paths: []string{"/context"}}, Handler: say(""), Plugins: []gateway.Plugin{
				previewer{func(r *http.Request) policy.Decision {
					return policy.Decision{Policy: "mine", Verdict: policy.Refused, Err: fmt.Errorf("secret: %w", r.Context().Err())}
				}},
			}},
			{Name: "cycle", Match: gateway.Match{Paths: []string{"/cycle"}}, Handler: cycle{}},
		},
	}))
	require.Equal(t, "mine: refused panic 500", gw.Explain(get("/plugin")).Outcome)
	require.Equal(t, "gateway: refused panic 500", gw.Explain(get("/predicate")).Outcome)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, "mine: refused", gw.Explain(get("/context").WithContext(ctx)).Outcome, "no text of an error")
	require.NotEmpty(t, gw.Explain(get("/cycle")).String())
	require.Equal(t, "handled by http.HandlerFunc", gw.Explain(get("/none")).Outcome)
	for _, r := range []*http.Request{{}, {Method: "CONNECT"}, {URL: nil, Header: nil}} {
		e := gw.Explain(r)
		require.Contains(t, e.Outcome, "refused", "%+v", r)
		require.NotEmpty(t, e.String())
	}
	require.NoError(t, gw.Shutdown(t.Context()))
	require.Equal(t, "gateway: refused shut_down 503", gw.Explain(get("/")).Outcome)
	require.Nil(t, gw.Routes())
}

// cycle is a handler that is inside itself.
type cycle struct{}

func (c cycle) Handlers() []http.Handler                   { return []http.Handler{c} }
func (cycle) ServeHTTP(http.ResponseWriter, *http.Request) {}

// TestExplainIsBounded: whatever a client sends, and however many routes have its path.
func TestExplainIsBounded(t *testing.T) {
	t.Parallel()
	var routes []gateway.Route
	for i := range 2000 {
		routes = append(routes, gateway.Route{
			Name: fmt.Sprint("r", i), Match: gateway.Match{Hosts: []string{fmt.Sprintf("h%d.test", i)}, Paths: []string{"/*rest"}}, Handler: say(""),
		})
	}
	gw := gateway.Must(gateway.New(gateway.Config{Routes: routes, EntryConfig: policy.EntryConfig{MaxHeaderFields: -1, MaxURLLength: -1}}))
	r := httptest.NewRequest(http.MethodGet, "/"+strings.Repeat("a%0d%0a", 50_000), nil)
	r.Host = "h1999.test"
	for i := range 5000 {
		r.Header[fmt.Sprint("X_Consumer_Id\x1b", strings.Repeat("x", i))] = []string{"1"}
		r.Header[fmt.Sprint("X-Forwarded-", i)] = []string{strings.Repeat("v", 100)}
	}
	e := gw.Explain(r)
	require.Equal(t, "r1999", e.Route, "the winner is among the candidates in any case")
	require.Less(t, len(e.String()), 20_000)
	require.NotContains(t, e.String(), "\x1b")
	require.Len(t, e.Candidates, 50)
	require.Equal(t, 1950, e.CandidatesMore)
	js, err := json.Marshal(e)
	require.NoError(t, err)
	require.Less(t, len(js), 40_000)
	require.Len(t, gw.Routes(), 2000)
}

// TestPreviews: what the policies of this module foretell, without an Exchange of a gateway's.
func TestPreviews(t *testing.T) {
	t.Parallel()
	failing := failingKeys{}
	keys := gateway.Must(keyauth.New(keyauth.Config{Consumers: failing, Anonymous: &policy.Consumer{ID: "0", Username: "nobody"}}))
	gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{{Name: "r", Plugins: []gateway.Plugin{keys}, Handler: say("")}}}))
	preview := func(header ...string) string {
		return gw.Explain(ask(http.MethodGet, "/", header...)).Plugins[0].Preview.String()
	}
	require.Equal(t, `allowed anonymous (consumer "0" nobody)`, preview())
	require.Equal(t, "refused store_unavailable 503", preview("apikey", "x"))
	require.NotContains(t, gw.Explain(ask(http.MethodGet, "/", "apikey", "x")).String(), "secret")

	any1 := gateway.Must(auth.AnyOf(gateway.Must(keyauth.New(keyauth.Config{Consumers: auth.Static{"k": {ID: "7"}}}))))
	twice := gateway.Must(keyauth.New(keyauth.Config{Consumers: auth.Static{}, Anonymous: &policy.Consumer{ID: "0"}}))
	gw = gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{{Name: "r", Plugins: []gateway.Plugin{any1, twice}, Handler: say("")}}}))
	e := gw.Explain(ask(http.MethodGet, "/", "apikey", "k"))
	require.Equal(t, `allowed authenticated (consumer "7")`, e.Plugins[0].Preview.String())
	require.Equal(t, "skipped already_authenticated", e.Plugins[1].Preview.String(), "in chain order, with what those outside found out")
}

type failingKeys struct{}

func (failingKeys) Lookup(context.Context, string) (auth.Credential, bool, error) {
	return auth.Credential{}, false, errors.New("secret address of the store")
}

// some draws up to two distinct values, none half of the time.
func some(t *rapid.T, label string, values ...string) []string {
	if rapid.Bool().Draw(t, "no "+label) {
		return nil
	}
	return rapid.SliceOfNDistinct(rapid.SampledFrom(values), 1, 2, rapid.ID).Draw(t, label)
}

// drawRoutes draws a table of routes that often meet.
func drawRoutes(t *rapid.T) []gateway.Route {
	routes := make([]gateway.Route, rapid.IntRange(1, 8).Draw(t, "routes"))
	for i := range routes {
		m := gateway.Match{
			Hosts:    some(t, "hosts", "a.test", "*.test", "a.*", "a.test:81"),
			Methods:  some(t, "methods", "GET", "POST", "PUT", "HEAD"),
			Schemes:  some(t, "schemes", "http", "https"),
			Paths:    some(t, "paths", "/a", "/a/:x", "/:x/b", "/a/*rest", "/*rest", "/a/b"),
			Prefixes: some(t, "prefixes", "/a", "/a/", "/"),
			Regexps:  some(t, "regexps", `/a/\w+`, "/a", `/(a|b)/b$`),
		}
		if rapid.IntRange(0, 3).Draw(t, "headers") == 0 {
			m.Headers = map[string][]string{rapid.SampledFrom([]string{"X-A", "X-B"}).Draw(t, "header"): some(t, "values", "1", "2", "~^1")}
		}
		if rapid.IntRange(0, 5).Draw(t, "snis") == 0 {
			m.SNIs = []string{rapid.SampledFrom([]string{"a.test", "*.test"}).Draw(t, "sni")}
		}
		routes[i] = gateway.Route{Name: fmt.Sprint("r", i), Match: m, Handler: say("")}
	}
	return routes
}

func drawRequest(t *rapid.T) *http.Request {
	r := httptest.NewRequest(rapid.SampledFrom([]string{"GET", "POST", "PUT", "HEAD", "DELETE"}).Draw(t, "method"),
		rapid.SampledFrom([]string{"/", "/a", "/a/", "/a/b", "/b/b", "/a/b/c", "/a/./b", "//a", "/a%2Fb", "/%61"}).Draw(t, "path"), nil)
	r.Host = rapid.SampledFrom([]string{"a.test", "b.test", "a.org", "a.test:81", "c"}).Draw(t, "host")
	for _, name := range []string{"X-A", "X-B"} {
		if v := rapid.SampledFrom([]string{"", "1", "2", "12"}).Draw(t, name); v != "" {
			r.Header.Set(name, v)
		}
	}
	if rapid.Bool().Draw(t, "tls") {
		r.TLS = &tls.ConnectionState{ServerName: rapid.SampledFrom([]string{"", "a.test", "b.test"}).Draw(t, "sni")}
	}
	return r
}

// TestExplainOutcomes: what ends a request in serving ends it in the explanation.
func TestExplainOutcomes(t *testing.T) {
	t.Parallel()
	hiding := gateway.Must(keyauth.New(keyauth.Config{Consumers: auth.Static{"k": {ID: "1"}}, HideCredentials: true}))
	closed := upstreamFor(t, "u", gateway.Timeouts{})
	require.NoError(t, closed.Close())
	page := gateway.Must(terminate.New(terminate.Config{Status: 503, Body: "closed"}))
	fine := gateway.Must(terminate.New(terminate.Config{Status: 200, Message: "fine"}))
	keyed := func() *http.Request { return ask(http.MethodGet, "/", "apikey", "k") }
	type contextKey struct{}
	byContext := gateway.Match{Func: func(r *http.Request) bool { return r.Context().Value(contextKey{}) != nil }}
	for name, c := range map[string]struct {
		config  gateway.Config
		request func() *http.Request
		outcome string
		status  int
	}{
		"a key hidden by the plugin outside": {
			gateway.Config{Plugins: []gateway.Plugin{hiding}, Routes: []gateway.Route{{Name: "r", Plugins: []gateway.Plugin{hiding}, Handler: say("")}}},
			keyed, "key-auth: refused no_credential 401", 401,
		},
		"a body beyond the bound": {
			gateway.Config{Routes: []gateway.Route{{Name: "r", MaxBody: 3, Handler: say("")}}},
			func() *http.Request { return httptest.NewRequest(http.MethodPost, "/", strings.NewReader("hello")) },
			"gateway: refused body_too_large 413", 413,
		},
		"a page": {
			gateway.Config{Routes: []gateway.Route{{Name: "r", Plugins: []gateway.Plugin{page}, Handler: say("")}}},
			keyed, "request-termination: refused terminated 503", 503,
		},
		"a page that is only reported": {
			gateway.Config{Routes: []gateway.Route{{Name: "r", Plugins: []gateway.Plugin{policy.ReportOnly(page)}, Handler: say("")}}},
			keyed, "handled by http.HandlerFunc", 200,
		},
		"an answer": {
			gateway.Config{Routes: []gateway.Route{{Name: "r", Plugins: []gateway.Plugin{fine, page}, Handler: say("")}}},
			keyed, "request-termination: answered terminated 200", 200,
		},
		"a closed upstream": {
			gateway.Config{Routes: []gateway.Route{{Name: "r", Handler: closed}}},
			keyed, "upstream: refused upstream_closed 503", 503,
		},
		"a value of the context": {
			gateway.Config{Routes: []gateway.Route{{Name: "r", Match: byContext, Handler: say("")}}},
			func() *http.Request {
				r := get("/")
				return r.WithContext(context.WithValue(r.Context(), contextKey{}, true))
			},
			"handled by http.HandlerFunc", 200,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gw := gateway.Must(gateway.New(c.config))
			require.Equal(t, c.outcome, gw.Explain(c.request()).Outcome)
			require.Equal(t, c.status, gatewaytest.Do(gw, c.request()).StatusCode)
		})
	}
}

// TestExplainBelowAnEntry: a request that was taken in already is explained as one that arrives, and stays what it was.
func TestExplainBelowAnEntry(t *testing.T) {
	t.Parallel()
	gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{{Name: "r", Handler: say("")}}}))
	e := policy.Must(policy.NewEntry(policy.EntryConfig{}))
	called := false
	gatewaytest.Do(e.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		called = true
		x := policy.ExchangeFrom(r.Context())
		x.SetIdentity(policy.Identity{Consumer: &policy.Consumer{ID: "1"}, Kind: "test"})
		require.Equal(t, "r", gw.Explain(r).Route)
		require.Empty(t, x.Route())
		require.Equal(t, "1", x.Consumer().ID)
	})), get("/"))
	require.True(t, called)
}

// TestExplainSurvivesHandlersAndNames: descriptions are the application's code, too.
func TestExplainSurvivesHandlersAndNames(t *testing.T) {
	t.Parallel()
	gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{{Name: "r", Match: gateway.Match{Paths: []string{"/:id"}}, Handler: twice{}}}}))
	require.Less(t, len(gw.Explain(get("/")).String()), 20_000, "a handler that is inside itself twice")
	text := gw.Explain(get(`/1%22,%20role=%22admin`)).String()
	require.NotContains(t, text, `, role="admin"`, "a value cannot pass itself off as another")
	require.Contains(t, text, `id="1\", role=\"admin"`)
}

// twice is a handler that is inside itself twice.
type twice struct{}

func (h twice) Handlers() []http.Handler                   { return []http.Handler{h, h} }
func (twice) ServeHTTP(http.ResponseWriter, *http.Request) {}

// TestExplainCandidates: predicates are asked also where they decide nothing, and only those that decide matter.
func TestExplainCandidates(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	gw := gateway.Must(gateway.New(gateway.Config{Logger: slog.New(slog.NewTextHandler(&log, nil)), Routes: []gateway.Route{
		{Name: "a", Match: gateway.Match{Paths: []string{"/a"}, Methods: []string{"GET"}}, Handler: say("")},
		{Name: "b", Match: gateway.Match{Func: func(r *http.Request) bool { return r.Header["X-Kind"][0] == "b" }}, Handler: say("")},
		{Name: "c", Match: gateway.Match{Paths: []string{"/:x/b/*rest"}, Query: map[string][]string{"q": nil}}, Handler: say("")},
		{Name: "d", Match: gateway.Match{Paths: []string{"/a/c"}, Headers: map[string][]string{"X-Kind": nil}}, Handler: say("")},
	}}))
	e := gw.Explain(get("/a"))
	require.Equal(t, "a", e.Route, "the panic of one that comes later changes nothing")
	require.Equal(t, []gateway.Candidate{
		{Route: "a", Pattern: "/a", Methods: []string{"GET"}, Wins: true},
		{Route: "b", Failed: "predicate", Wants: "not to panic"},
	}, e.Candidates)
	require.Contains(t, e.String(), "its predicate panics")
	e = gw.Explain(get("/none"))
	require.Equal(t, "gateway: refused panic 500", e.Outcome)
	require.Empty(t, log.String())
	e = gw.Explain(ask(http.MethodGet, "/a/b", "X-Kind", "other"))
	require.Len(t, e.Nearest, 2, "those that match are no near misses")
	for _, n := range e.Nearest {
		require.NotEqual(t, "c", n.Route)
	}
}

// TestExplainHandlersInside: the targets of all upstreams behind a handler that has several.
func TestExplainHandlersInside(t *testing.T) {
	t.Parallel()
	inside := fork{upstreamFor(t, "stable", gateway.Timeouts{}), upstreamFor(t, "canary", gateway.Timeouts{})}
	gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{{Name: "r", Handler: inside}}}))
	h := gw.Explain(get("/")).Handler
	require.Len(t, h.Handlers, 2)
	for i, name := range []string{"stable", "canary"} {
		require.Equal(t, name, h.Handlers[i].Name)
		require.Len(t, h.Handlers[i].Targets, 1)
	}
}
