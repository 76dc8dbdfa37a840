package gateway_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func get(target string) *http.Request { return httptest.NewRequest(http.MethodGet, target, nil) }

// text returns the body of an answer that is whole.
func text(t *testing.T, res *http.Response) string {
	t.Helper()
	s, err := gatewaytest.Text(res)
	require.NoError(t, err)
	return s
}

// say answers with a text.
func say(s string) http.Handler { return gatewaytest.Respond(http.StatusOK, s) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestServesRoutes(t *testing.T) {
	t.Parallel()
	var outer *http.Request
	gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{
		{Name: "user", Match: gateway.Match{Paths: []string{"/users/:id"}}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			x := policy.ExchangeFrom(r.Context())
			_, _ = fmt.Fprintf(w, "%s %s %s %s %s", r.PathValue("id"), r.Pattern, x.Route(), x.Pattern(), x.MatchedPath())
		})},
		{Name: "me", Match: gateway.Match{Paths: []string{"/users/me"}}, Handler: say("me")},
		{Name: "files", Match: gateway.Match{Paths: []string{"/files/*rest"}}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprintf(w, "%q %s", r.PathValue("rest"), policy.ExchangeFrom(r.Context()).MatchedPath())
		})},
		{Name: "re", Match: gateway.Match{Regexps: []string{`/v(?P<major>\d+)/(.*)`}}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprintf(w, "%s %s %s", r.PathValue("major"), r.PathValue("1"), r.PathValue("2"))
		})},
		{Name: "admin", Match: gateway.Match{Hosts: []string{"admin.test"}, Methods: []string{"GET"}}, Handler: say("admin")},
	}}))
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gw.ServeHTTP(w, r)
		outer = r
	})
	for _, c := range []struct{ target, want string }{
		{"/users/42", "42 /users/:id user /users/:id /users/42"},
		{"/users/me", "me"},
		{"/users/%6d%65", "me"},
		{"/x/../users//me", "me"},
		{"/users/a%20b", "a b /users/:id user /users/:id /users/a%20b"},
		{"/files", `"" /files`},
		{"/files/a/b", `"a/b" /files`},
		{"/v12/x/y", "12 12 x/y"},
		{"http://admin.test/", "admin"},
		{"http://ADMIN.test.:8080/", "admin"},
	} {
		res := gatewaytest.Do(h, get(c.target))
		require.Equal(t, 200, res.StatusCode, c.target)
		require.Equal(t, c.want, text(t, res), c.target)
	}
	gatewaytest.Do(h, get("/users/7"))
	require.Equal(t, "/users/:id", outer.Pattern, "the caller's own request knows the pattern")
	require.Equal(t, "7", outer.PathValue("id"))
}

func TestNoRoute(t *testing.T) {
	t.Parallel()
	routes := []gateway.Route{
		{Name: "a", Match: gateway.Match{Paths: []string{"/a"}, Methods: []string{"GET", "PUT"}}, Handler: say("a")},
		{Name: "b", Match: gateway.Match{Paths: []string{"/a"}, Methods: []string{"DELETE"}}, Handler: say("b")},
	}
	seen := 0
	count := gateway.PluginFunc(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen++; next.ServeHTTP(w, r) })
	})
	gw := gateway.Must(gateway.New(gateway.Config{Routes: routes, Plugins: []gateway.Plugin{count}}))

	res := gatewaytest.Do(gw, get("/b"))
	require.Equal(t, 404, res.StatusCode)
	require.Contains(t, text(t, res), `"message":"no Route matched with those values"`)

	res = gatewaytest.Do(gw, httptest.NewRequest(http.MethodPost, "/a", nil))
	require.Equal(t, 405, res.StatusCode)
	require.Equal(t, "DELETE, GET, HEAD, PUT", res.Header.Get("Allow"))

	res = gatewaytest.Do(gw, httptest.NewRequest(http.MethodOptions, "/a", nil))
	require.Equal(t, 405, res.StatusCode, "OPTIONS is routed like any method")

	res = gatewaytest.Do(gw, get("/a%00"))
	require.Equal(t, 400, res.StatusCode)
	require.Equal(t, 4, seen, "gateway-wide plugins run around 404, 405 and 400")

	res = gatewaytest.Do(gw, httptest.NewRequest(http.MethodHead, "/a", nil))
	require.Equal(t, 200, res.StatusCode, "HEAD follows GET")

	gw = gateway.Must(gateway.New(gateway.Config{Routes: routes, Compat: gateway.Compat{NotFoundForMethod: true}, NotFound: gatewaytest.Respond(418, "mine")}))
	require.Equal(t, 418, gatewaytest.Do(gw, httptest.NewRequest(http.MethodPost, "/a", nil)).StatusCode)
	require.Equal(t, 418, gatewaytest.Do(gw, get("/zzz")).StatusCode)
}

// tag appends its name to a trace header on the way in, and to another on the way out.
func tag(name string) gateway.Plugin {
	return policy.Describe(name, policy.Contract{}, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Add("In", name)
			next.ServeHTTP(policy.OnHeader(w, func(_ int, h http.Header) { h.Add("Out", name) }), r)
		})
	})
}

func TestOrderOfPlugins(t *testing.T) {
	t.Parallel()
	gw := gateway.Must(gateway.New(gateway.Config{
		Plugins: []gateway.Plugin{tag("g1"), tag("g2")},
		Routes: []gateway.Route{{Name: "r", Plugins: []gateway.Plugin{tag("r1"), tag("r2"), tag("r1")}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, strings.Join(r.Header["In"], " "))
		})}},
	}))
	res := gatewaytest.Do(gw, get("/"))
	require.Equal(t, "g1 g2 r1 r2 r1", text(t, res))
	require.Equal(t, []string{"r1", "r2", "r1", "g2", "g1"}, res.Header["Out"])
}

func TestPanics(t *testing.T) {
	t.Parallel()
	var statuses []int
	watch := gateway.PluginFunc(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(policy.OnHeader(w, func(status int, _ http.Header) { statuses = append(statuses, status) }), r)
		})
	})
	bad := func(f func(http.ResponseWriter)) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { f(w) })
	}
	var log strings.Builder
	gw := gateway.Must(gateway.New(gateway.Config{
		Plugins: []gateway.Plugin{watch},
		Logger:  slog.New(slog.NewTextHandler(&log, nil)),
		Routes: []gateway.Route{
			{Name: "before", Match: gateway.Match{Paths: []string{"/before"}}, Handler: bad(func(w http.ResponseWriter) {
				w.Header().Set("Content-Length", "99")
				panic("secret of a plugin")
			})},
			{Name: "after", Match: gateway.Match{Paths: []string{"/after"}}, Handler: bad(func(w http.ResponseWriter) {
				_, _ = io.WriteString(w, "half")
				panic("late")
			})},
			{Name: "abort", Match: gateway.Match{Paths: []string{"/abort"}}, Handler: bad(func(http.ResponseWriter) { panic(http.ErrAbortHandler) })},
			{Name: "nil", Match: gateway.Match{Paths: []string{"/nil"}}, Handler: bad(func(http.ResponseWriter) {
				_ = strings.Split("one", ",")[1]
			})},
		},
	}))
	res := gatewaytest.Do(gw, get("/before"))
	require.Equal(t, 500, res.StatusCode)
	require.NotContains(t, text(t, res), "secret")
	require.NotContains(t, log.String(), "secret")
	require.Contains(t, log.String(), "gateway.route=before")
	require.Equal(t, []int{500}, statuses, "gateway-wide plugins see the 500")

	_, err := gatewaytest.Text(gatewaytest.Do(gw, get("/after")))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF, "a half-sent answer is aborted")
	require.Equal(t, 0, gatewaytest.Do(gw, get("/abort")).StatusCode)
	require.Equal(t, 500, gatewaytest.Do(gw, get("/nil")).StatusCode)
	require.Contains(t, log.String(), "index out of range", "errors of the runtime are logged whole")

	// So is a predicate's.
	gw = gateway.Must(gateway.New(gateway.Config{Logger: quiet(), Routes: []gateway.Route{{Name: "r", Match: gateway.Match{Func: func(*http.Request) bool {
		panic("predicate")
	}}, Handler: say("")}}}))
	require.Equal(t, 500, gatewaytest.Do(gw, get("/")).StatusCode)

	// A gateway-wide plugin that panics is caught too.
	gw = gateway.Must(gateway.New(gateway.Config{Logger: quiet(), Plugins: []gateway.Plugin{gateway.PluginFunc(func(http.Handler) http.Handler {
		return bad(func(http.ResponseWriter) { panic(42) })
	})}}))
	require.Equal(t, 500, gatewaytest.Do(gw, get("/")).StatusCode)
}

func TestForward(t *testing.T) {
	t.Parallel()
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Host+" "+r.URL.RequestURI())
	})
	for _, c := range []struct {
		name    string
		match   gateway.Match
		forward gateway.Forward
		target  string
		want    string
	}{
		{"as it is", gateway.Match{}, gateway.Forward{}, "/a/b?c=d", "example.com /a/b?c=d"},
		{"strip subtree", gateway.Match{Paths: []string{"/v1/*rest"}}, gateway.Forward{StripPath: true}, "/v1/users", "example.com /users"},
		{"strip all", gateway.Match{Paths: []string{"/v1/*rest"}}, gateway.Forward{StripPath: true}, "/v1", "example.com /"},
		{"strip all but the slash", gateway.Match{Paths: []string{"/v1/*rest"}}, gateway.Forward{StripPath: true}, "/v1/", "example.com /"},
		{"strip prefix", gateway.Match{Prefixes: []string{"/fv0"}}, gateway.Forward{StripPath: true, Path: "/s"}, "/fv0req", "example.com /s/req"},
		{"strip prefix, slash", gateway.Match{Prefixes: []string{"/fv0"}}, gateway.Forward{StripPath: true, Path: "/s/"}, "/fv0/req", "example.com /s/req"},
		{"strip prefix whole", gateway.Match{Prefixes: []string{"/fv0"}}, gateway.Forward{StripPath: true, Path: "/s"}, "/fv0", "example.com /s"},
		{"strip prefix whole, base slash", gateway.Match{Prefixes: []string{"/fv0"}}, gateway.Forward{StripPath: true, Path: "/s/"}, "/fv0", "example.com /s"},
		{"strip prefix with slash whole", gateway.Match{Prefixes: []string{"/fv0/"}}, gateway.Forward{StripPath: true, Path: "/s"}, "/fv0/", "example.com /s/"},
		{"join", gateway.Match{}, gateway.Forward{Path: "/base"}, "/a/", "example.com /base/a/"},
		{"join root", gateway.Match{}, gateway.Forward{Path: "/base"}, "/", "example.com /base"},
		{"join root, base slash", gateway.Match{}, gateway.Forward{Path: "/base/"}, "/", "example.com /base/"},
		{"join, base slash", gateway.Match{}, gateway.Forward{Path: "/base/"}, "/a/", "example.com /base/a/"},
		{"strip root, base slash", gateway.Match{Prefixes: []string{"/"}}, gateway.Forward{StripPath: true, Path: "/base/"}, "/", "example.com /base/"},
		{"strip root", gateway.Match{Prefixes: []string{"/"}}, gateway.Forward{StripPath: true, Path: "/base"}, "/", "example.com /base"},
		{"strip prefix with slash whole, base slash", gateway.Match{Prefixes: []string{"/fv0/"}}, gateway.Forward{StripPath: true, Path: "/s/"}, "/fv0/", "example.com /s/"},
		{"exact is stripped whole", gateway.Match{Paths: []string{"/only/:id"}}, gateway.Forward{StripPath: true, Path: "/t"}, "/only/1", "example.com /t"},
		{"regexp", gateway.Match{Regexps: []string{`/v\d`}}, gateway.Forward{StripPath: true}, "/v2/x", "example.com /x"},
		{"dot segments left over", gateway.Match{Prefixes: []string{"/a"}}, gateway.Forward{StripPath: true, Path: "/base"}, "/a../x", "example.com /base/x"},
		{"no climbing out of the base", gateway.Match{Prefixes: []string{"/api"}}, gateway.Forward{StripPath: true, Path: "/tenants/acme"}, "/api../globex/secret", "example.com /tenants/acme/globex/secret"},
		{"nor escaped", gateway.Match{Prefixes: []string{"/api"}}, gateway.Forward{StripPath: true, Path: "/tenants/acme"}, "/api.%2e/globex", "example.com /tenants/acme/globex"},
		{"nor to the parent", gateway.Match{Prefixes: []string{"/api"}}, gateway.Forward{StripPath: true, Path: "/tenants/acme"}, "/api..", "example.com /tenants/acme/"},
		{"nor by an expression", gateway.Match{Regexps: []string{"/rx"}}, gateway.Forward{StripPath: true, Path: "/base"}, "/rx../globex", "example.com /base/globex"},
		{"escapes survive", gateway.Match{Prefixes: []string{"/v1"}}, gateway.Forward{StripPath: true}, "/v1/a%20b%3Fc", "example.com /a%20b%3Fc"},
		{"host", gateway.Match{}, gateway.Forward{Host: "other.test"}, "/", "other.test /"},
		{"question mark kept", gateway.Match{Prefixes: []string{"/v1"}}, gateway.Forward{StripPath: true}, "/v1/a?", "example.com /a?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{{Name: "r", Match: c.match, Forward: c.forward, Handler: echo}}}))
			res := gatewaytest.Do(gw, get(c.target))
			require.Equal(t, c.want, text(t, res))
		})
	}
	gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{{Name: "r", Match: gateway.Match{Prefixes: []string{"/a"}}, Forward: gateway.Forward{StripPath: true}, Handler: echo}}}))
	require.Equal(t, 400, gatewaytest.Do(gw, get("/a..;/x")).StatusCode, "what stripping makes ambiguous is refused")
}

func TestMaxBody(t *testing.T) {
	t.Parallel()
	read := 0
	gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{{Name: "r", MaxBody: 4, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		read = len(b)
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			w.WriteHeader(413)
		}
	})}}}))
	post := func(body io.Reader) int {
		return gatewaytest.Do(gw, httptest.NewRequest(http.MethodPost, "/", body)).StatusCode
	}
	require.Equal(t, 200, post(strings.NewReader("1234")))
	require.Equal(t, 4, read)
	read = -1
	require.Equal(t, 413, post(strings.NewReader("12345")))
	require.Equal(t, -1, read, "a declared length is judged before the handler runs")
	require.Equal(t, 413, post(io.MultiReader(strings.NewReader("12345"))))
	require.Equal(t, 4, read)
}

type closer struct {
	name   string
	closed atomic.Int32
	err    error
	block  chan struct{}
}

func (c *closer) Close() error {
	if c.block != nil {
		<-c.block
	}
	c.closed.Add(1)
	return c.err
}

func TestNewReportsAllProblems(t *testing.T) {
	t.Parallel()
	var noPlugin *policy.Entry
	c := &closer{}
	_, err := gateway.New(gateway.Config{
		EntryConfig: policy.EntryConfig{ClientAddressHeader: "a b"},
		Plugins:     []gateway.Plugin{nil},
		Owns:        []io.Closer{c, nil},
		Routes: []gateway.Route{
			{Handler: say("")},
			{Name: "a", Match: gateway.Match{Paths: []string{"users"}}, Handler: say("")},
			{Name: "a", Match: gateway.Match{Methods: []string{"get"}, Paths: []string{"/x"}}, Handler: say("")},
			{Name: "b", Match: gateway.Match{Regexps: []string{"("}}, Plugins: []gateway.Plugin{noPlugin}, MaxBody: -1, Forward: gateway.Forward{Path: "x/..", Host: "a b"}},
			{Name: "c", Match: gateway.Match{Paths: []string{"/same"}}, Handler: say("")},
			{Name: "d", Match: gateway.Match{Paths: []string{"/same"}}, Handler: say("")},
			{Name: "e", Match: gateway.Match{Paths: []string{"/e"}}, Handler: say(""), Streaming: true, Plugins: []gateway.Plugin{
				policy.Describe("buffer", policy.Contract{BuffersResponse: true}, nil),
			}},
			{Name: "f", Match: gateway.Match{Paths: []string{"/f"}}, Handler: say(""), Plugins: []gateway.Plugin{
				gateway.PluginFunc(func(http.Handler) http.Handler { return nil }),
			}},
			{Name: "g", Match: gateway.Match{Paths: []string{"/g"}}, Handler: say(""), Plugins: []gateway.Plugin{
				gateway.PluginFunc(func(http.Handler) http.Handler { panic("in wrap") }),
			}},
		},
	})
	require.Error(t, err)
	for _, want := range []string{
		"Name is empty", `ClientAddressHeader "a b"`, "Config.Plugins[0] is nil", "Owns[1] is nil", `both named "a"`, `"users"`, `"get"`, `"("`,
		`route "b": Handler is nil`, `route "b": Plugins[0] is nil`, "MaxBody -1", `Forward.Path "x/.."`, `Forward.Host "a b"`,
		`"c"`, `"d"`, `route "e": is Streaming, but plugin "buffer" buffers`, "nil handler from Wrap", "panicked in Wrap: in wrap",
	} {
		require.ErrorContains(t, err, want)
	}
	require.Zero(t, c.closed.Load(), "on error nothing was closed")
}

func TestApplyAndOwns(t *testing.T) {
	t.Parallel()
	a, b, c := &closer{name: "a"}, &closer{name: "b"}, &closer{name: "c", err: errors.New("stuck")}
	inFlight, finish := make(chan struct{}), make(chan struct{})
	slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(inFlight)
			<-finish
		}
		_, _ = io.WriteString(w, "first")
	})
	gw := gateway.Must(gateway.New(gateway.Config{Logger: quiet(), Routes: []gateway.Route{{Name: "r", Handler: slow}}, Owns: []io.Closer{a, b}}))
	require.Equal(t, "1", gw.Status().Version)

	var answer string
	done := make(chan struct{})
	go func() {
		defer close(done)
		answer, _ = gatewaytest.Text(gatewaytest.Do(gw, get("/slow")))
	}()
	<-inFlight
	require.Equal(t, 1, gw.Status().InFlight)

	require.Error(t, gw.Apply(gateway.Config{Routes: []gateway.Route{{}}, Owns: []io.Closer{c}}))
	require.Equal(t, "first", text(t, gatewaytest.Do(gw, get("/"))), "a refused table changes nothing")

	require.NoError(t, gw.Apply(gateway.Config{Logger: quiet(), Routes: []gateway.Route{{Name: "r", Handler: say("second")}}, Owns: []io.Closer{b, c}}))
	require.Equal(t, "second", text(t, gatewaytest.Do(gw, get("/"))))
	require.Equal(t, "2", gw.Status().Version)
	require.Zero(t, a.closed.Load(), "the old table still serves a request")
	close(finish)
	<-done
	require.Equal(t, "first", answer)

	require.NoError(t, gw.Shutdown(t.Context()))
	require.NoError(t, gw.Shutdown(t.Context()), "Shutdown may be repeated")
	for _, c := range []*closer{a, b, c} {
		require.EqualValues(t, 1, c.closed.Load(), c.name)
	}
	require.Equal(t, 503, gatewaytest.Do(gw, get("/")).StatusCode)
	require.ErrorIs(t, gw.Apply(gateway.Config{}), gateway.ErrShutdown)
	require.Empty(t, gw.Status().Routes)
}

// OnApply is called once its configuration is in force, and not for one that is refused.
func TestOnApply(t *testing.T) {
	t.Parallel()
	var gw *gateway.Gateway
	var calls []string
	named := func(name string) gateway.Config {
		return gateway.Config{Logger: quiet(), Routes: []gateway.Route{{Name: "r", Handler: say(name)}}, OnApply: func() {
			served := ""
			if gw != nil { // New has not returned it otherwise
				served = text(t, gatewaytest.Do(gw, get("/")))
			}
			calls = append(calls, name+": "+served)
		}}
	}
	gw, err := gateway.New(named("first"))
	require.NoError(t, err)
	bad := named("bad")
	bad.Routes = append(bad.Routes, gateway.Route{})
	require.Error(t, gw.Apply(bad))
	require.NoError(t, gw.Apply(named("next")))
	require.NoError(t, gw.Shutdown(t.Context()))
	require.ErrorIs(t, gw.Apply(named("late")), gateway.ErrShutdown)
	require.Equal(t, []string{"first: ", "next: next"}, calls)
}

// Requests that fly while tables are swapped see one table whole: the plugin and the handler of one generation.
func TestApplyUnderLoad(t *testing.T) {
	t.Parallel()
	swaps := 10_000
	if testing.Short() {
		swaps = 1_000
	}
	config := func(n int) gateway.Config {
		gen := fmt.Sprint(n)
		mark := gateway.PluginFunc(func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Generation", gen)
				next.ServeHTTP(w, r)
			})
		})
		return gateway.Config{
			Plugins: []gateway.Plugin{mark},
			Routes:  []gateway.Route{{Name: "r" + gen, Match: gateway.Match{Paths: []string{"/:id"}}, Handler: say(gen)}},
			Owns:    []io.Closer{&closer{}},
		}
	}
	gw := gateway.Must(gateway.New(config(0)))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var served atomic.Int64
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				res := gatewaytest.Do(gw, get("/x"))
				body, err := gatewaytest.Text(res)
				if err != nil || res.StatusCode != 200 || body != res.Header.Get("Generation") {
					t.Errorf("status %d, body %q, generation %q, %v", res.StatusCode, body, res.Header.Get("Generation"), err)
					return
				}
				served.Add(1)
			}
		})
	}
	for n := range swaps {
		require.NoError(t, gw.Apply(config(n+1)))
	}
	for served.Load() == 0 {
	}
	close(stop)
	wg.Wait()
	require.NoError(t, gw.Shutdown(t.Context()))
	t.Logf("%d requests during %d swaps", served.Load(), swaps)
}

func TestRouteTable(t *testing.T) {
	t.Parallel()
	gw := gateway.Must(gateway.New(gateway.Config{
		Plugins: []gateway.Plugin{tag("log")},
		Routes: []gateway.Route{
			{Name: "rest", Handler: say("")},
			{Name: "users", Match: gateway.Match{Hosts: []string{"API.test"}, Methods: []string{"GET"}, Paths: []string{"/users/:id"}}, Plugins: []gateway.Plugin{tag("auth")}, Handler: say("")},
		},
	}))
	want := "ROUTE  HOST      PATH        METHODS  PLUGINS     HANDLER\n" +
		"users  api.test  /users/:id  GET      log > auth  http.HandlerFunc\n" +
		"rest   *         *           *        log         http.HandlerFunc\n"
	require.Equal(t, want, gw.Status().Routes.String())
}

func TestZeroGateway(t *testing.T) {
	t.Parallel()
	var gw gateway.Gateway
	require.Equal(t, 503, gatewaytest.Do(&gw, get("/")).StatusCode)
	require.Empty(t, gw.Status())
	require.NoError(t, gw.Shutdown(t.Context()))
	require.Error(t, gw.Run(t.Context(), gateway.NewServer("127.0.0.1:0", &gw)))
}
