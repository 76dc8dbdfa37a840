package gatewaytest_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/acl"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/ratelimit"
)

// callers draws requests with the keys that consumers knows, and others.
func callers() gatewaytest.Properties {
	return gatewaytest.Properties{
		Headers:  map[string][]string{"Apikey": {"ann-key", "bob-key", "ann-key", "wrong"}, "Accept": {"application/problem+json"}, "Content-Type": {"application/grpc"}},
		Segments: []string{"users", "a", "b", "42", "caf%C3%A9"}, Peers: []string{"192.0.2.1:1234", "10.9.0.7:4711"},
	}
}

func consumers() auth.Static {
	return auth.Static{
		"ann-key": {ID: "1", Username: "ann", CustomID: "c-1", Groups: []string{"staff", "ops"}},
		"bob-key": {ID: "2", Username: "bob"},
	}
}

// proxied starts an upstream in memory and the proxy to it.
func proxied(t *testing.T, host, base string) (*gatewaytest.Upstream, *gateway.Upstream) {
	t.Helper()
	backend := gatewaytest.NewUpstream(host)
	up, err := gateway.NewUpstream(gateway.UpstreamConfig{Name: host, Targets: []balancer.Target{{URL: backend.URL() + base}}, Dial: backend.Dial})
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = up.Close(), backend.Close() })
	return backend, up
}

// TestGatewayKeepsExchanges holds a whole gateway to the rules: authentication, an access list and a limit before two
// upstreams, of which one fails in all ways.
func TestGatewayKeepsExchanges(t *testing.T) {
	t.Parallel()
	users, usersUp := proxied(t, "users.test", "/base/")
	files, filesUp := proxied(t, "files.test", "")
	keys := gateway.Must(keyauth.New(keyauth.Config{Consumers: consumers(), Anonymous: &policy.Consumer{ID: "0", Username: "nobody", Groups: []string{"guests"}}}))
	staff := gateway.Must(acl.New(acl.Config{Allow: []string{"staff", "guests"}}))
	limit := gateway.Must(ratelimit.New(ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerHour(3)}}))
	gw := gateway.Must(gateway.New(gateway.Config{
		Logger: quiet(),
		EntryConfig: policy.EntryConfig{
			TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24")}, AllowEncodedSlash: true, OwnedHeaders: []string{"X-B"},
		},
		Plugins: []gateway.Plugin{keys},
		Routes: []gateway.Route{
			{Name: "limited", Match: gateway.Match{Paths: []string{"/users/*rest"}}, Plugins: []gateway.Plugin{staff, limit}, Handler: usersUp},
			{Name: "stripped", Match: gateway.Match{Prefixes: []string{"/a"}}, Plugins: []gateway.Plugin{staff}, Handler: filesUp, Forward: gateway.Forward{StripPath: true, Path: "/under"}},
			{Name: "rewritten", Match: gateway.Match{Paths: []string{"/b/*rest"}}, Handler: filesUp, MaxBody: 8, Forward: gateway.Forward{
				Rewrite: func(_, out *http.Request) { out.URL.Path = "/elsewhere" },
			}},
			{Name: "rest", Match: gateway.Match{Methods: []string{"GET", "POST"}}, Plugins: []gateway.Plugin{policy.ReportOnly(staff)}, Handler: usersUp},
		},
	}))
	defer gw.Shutdown(context.Background())
	p := callers()
	rapid.Check(t, func(t *rapid.T) {
		users.Script(p.Script().Draw(t, "script")...)
		for range 5 {
			p.CheckExchange(t, gw, users, files)
		}
	})
	require.NotEmpty(t, users.Requests())
	require.NotEmpty(t, files.Requests())
}

// TestUpstreamKeepsExchanges: the same holds for a service that has no Gateway.
func TestUpstreamKeepsExchanges(t *testing.T) {
	t.Parallel()
	backend, up := proxied(t, "up.test", "")
	entry := policy.Must(policy.NewEntry(policy.EntryConfig{}))
	keys := gateway.Must(keyauth.New(keyauth.Config{Consumers: consumers(), HideCredentials: true}))
	for name, h := range map[string]http.Handler{"entry": entry.Wrap(keys.Wrap(up)), "policy": keys.Wrap(up), "upstream": up} {
		before := len(backend.Requests())
		rapid.Check(t, func(t *rapid.T) { callers().CheckExchange(t, h, backend) })
		require.Greater(t, len(backend.Requests()), before, name)
	}
}

// hook is a plugin that changes what goes to the upstream after all others.
type hook func(h http.Header)

func (f hook) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x, r := policy.Ensure(r)
		x.OnTry(f)
		next.ServeHTTP(w, r)
	})
}

func (f hook) BeginTry(ctx context.Context, t *policy.Try) context.Context {
	f(t.Out.Header)
	return ctx
}

func (hook) EndTry(context.Context, *policy.Try) {}

// around makes a plugin of a function that gets what is inside.
func around(f func(w http.ResponseWriter, r *http.Request, next http.Handler)) policy.PluginFunc {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f(w, r, next) })
	}
}

func TestCheckExchangeFindsFaults(t *testing.T) {
	t.Parallel()
	refusal := &policy.Error{Status: http.StatusForbidden, Code: "too_late"}
	for name, c := range map[string]struct {
		plugin policy.Plugin
		text   string // "" where nothing is wrong
	}{
		"a plugin that does nothing": {policy.PluginFunc(nil), ""},
		"a refusal": {around(func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			policy.Refuse(w, r, "strict", refusal)
		}), ""},
		"a refusal that leaks": {around(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			next.ServeHTTP(httptest.NewRecorder(), r)
			policy.Refuse(w, r, "leaky", refusal)
		}), "the request was refused (leaky refused too_late 403), and reached an upstream all the same"},
		"an identity that nobody has": {hook(func(h http.Header) { h["X_consumer_id"] = []string{"1"} }),
			`the upstream was told X_consumer_id: ["1"], which nothing in the identity implies`},
		"a field of another kind": {hook(func(h http.Header) { h.Set("X-Authenticated-Userid", "7") }),
			`the upstream was told X-Authenticated-Userid: ["7"], which nothing in the identity implies`},
		"another identity": {hook(func(h http.Header) { h.Set("X-Consumer-Id", "9") }),
			`the upstream was told X-Consumer-Id: ["9"], and the identity implies "`},
		"two identities": {hook(func(h http.Header) { h.Add("X-Consumer-Id", "9") }), `and the identity implies "`},
		"no identity":    {hook(func(h http.Header) { h.Del("X-Consumer-Id") }), `the upstream was not told X-Consumer-Id, and the identity implies "`},
		"an identity that changes": {around(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			next.ServeHTTP(w, r)
			policy.ExchangeFrom(r.Context()).SetIdentity(policy.Identity{Consumer: &policy.Consumer{ID: "8"}, Anonymous: true})
		}), `and the identity implies "8"`},
		"another path": {around(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			r.URL = &url.URL{Path: "/elsewhere"}
			next.ServeHTTP(w, r)
		}), `the upstream got the path "/elsewhere", and the policies saw "/`},
		"a deleted tag": {around(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			r.Header = http.Header{}
			policy.ExchangeFrom(r.Context()).OnTry(hook(func(h http.Header) { h.Set("X-Anonymous-Consumer", "maybe") }))
			next.ServeHTTP(w, r)
		}), `the upstream was told X-Anonymous-Consumer: ["maybe"]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backend, up := proxied(t, "up.test", "")
			keys := gateway.Must(keyauth.New(keyauth.Config{Consumers: consumers(), Anonymous: &policy.Consumer{ID: "0"}}))
			gw := gateway.Must(gateway.New(gateway.Config{Logger: quiet(), Routes: []gateway.Route{{
				Name: "r", Plugins: []gateway.Plugin{keys, policy.Describe("faulty", policy.Contract{}, c.plugin.Wrap)}, Handler: up,
			}}}))
			defer gw.Shutdown(context.Background())
			text := gatewaytest.FailureOf(func(t *rapid.T) { callers().CheckExchange(t, gw, backend) })
			if c.text == "" {
				require.Empty(t, text)
				return
			}
			require.Contains(t, text, c.text)
			require.Regexp(t, `(?s)^gatewaytest: .*\nrequest: [A-Z]+ https?://.*\nanswer: \d+\ndecisions: \[.*\nidentity: .*\nupstream up.test got: [A-Z]+ /`, text)
		})
	}
}

// TestCheckExchangeFindsRawPaths: a proxy that sends on what the client wrote.
func TestCheckExchangeFindsRawPaths(t *testing.T) {
	t.Parallel()
	backend := gatewaytest.NewUpstream("raw.test")
	defer backend.Close()
	tr := &http.Transport{DialContext: backend.Dial}
	defer tr.CloseIdleConnections()
	raw := &httputil.ReverseProxy{Transport: tr, Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host = "http", "raw.test"
		kept := http.Header{"Gatewaytest-Request": r.In.Header["Gatewaytest-Request"]}
		r.Out.Header = kept
	}}
	require.Regexp(t, `^gatewaytest: the upstream got the path "/.*", which is not in its canonical form "/`,
		gatewaytest.FailureOf(func(t *rapid.T) { gatewaytest.Properties{}.CheckExchange(t, raw, backend) }))
	// One that is behind an entry sends what that made of the path, and the fields that clients forge do not get that far.
	guarded := policy.Must(policy.NewEntry(policy.EntryConfig{})).Wrap(raw)
	require.Empty(t, gatewaytest.FailureOf(func(t *rapid.T) { gatewaytest.Properties{}.CheckExchange(t, guarded, backend) }))
}
