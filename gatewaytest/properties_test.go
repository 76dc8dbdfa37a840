package gatewaytest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
)

// ever draws examples until one has what is asked for.
func ever[T any](t *testing.T, g *rapid.Generator[T], what string, has func(T) bool) {
	t.Helper()
	for seed := range 2000 {
		if has(g.Example(seed)) {
			return
		}
	}
	t.Errorf("none of 2000 examples has %s", what)
}

func nowhere(string) http.Handler { return http.NotFoundHandler() }

// TestRequestsAreOdd: the generator draws all that its comment speaks of.
func TestRequestsAreOdd(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Properties{}.Request()
	for what, has := range map[string]func(*http.Request) bool{
		"repeated slashes":      func(r *http.Request) bool { return strings.Contains(r.RequestURI, "//") },
		"dot segments":          func(r *http.Request) bool { return strings.Contains(r.RequestURI, "/zz/../") },
		"hidden dot segments":   func(r *http.Request) bool { return strings.Contains(r.RequestURI, "/..%2f") },
		"an encoded slash":      func(r *http.Request) bool { return strings.Contains(r.URL.RawPath, "%2F") },
		"needless escapes":      func(r *http.Request) bool { return strings.Contains(r.RequestURI, "%61") },
		"escapes in lower case": func(r *http.Request) bool { return strings.Contains(r.RequestURI, "%c3%a9") },
		"a slash at the end":    func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/") && len(r.URL.Path) > 1 },
		"a port":                func(r *http.Request) bool { return r.Host == "a.test:81" },
		"a host in upper case":  func(r *http.Request) bool { return r.Host == "A.TEST" },
		"no TLS":                func(r *http.Request) bool { return r.TLS == nil },
		"no server name":        func(r *http.Request) bool { return r.TLS != nil && r.TLS.ServerName == "" },
		"another server name":   func(r *http.Request) bool { return r.TLS != nil && r.TLS.ServerName == "b.test" && r.Host == "a.test" },
		"an identity":           func(r *http.Request) bool { return r.Header.Get("X-Consumer-Id") != "" },
		"an alias":              func(r *http.Request) bool { return r.Header.Get("X_consumer_id") != "" },
		"a forwarding field":    func(r *http.Request) bool { return r.Header.Get("X-Forwarded-For") == "203.0.113.7" },
		"two values":            func(r *http.Request) bool { return len(r.Header["X-A"]) == 2 },
		"a parameter":           func(r *http.Request) bool { return r.URL.Query().Get("q q") == "o n+e" },
		"a body":                func(r *http.Request) bool { return r.ContentLength > 0 },
		"a body without length": func(r *http.Request) bool { return r.ContentLength < 0 },
	} {
		ever(t, g, what, has)
	}
}

// TestFieldsReplaceSets: what is drawn comes from the fields that are set, and what they cannot mean is left out.
func TestFieldsReplaceSets(t *testing.T) {
	t.Parallel()
	p := gatewaytest.Properties{
		Hosts: []string{"*.mine.test", "own.*:81", "[2001:db8::1]"}, Segments: []string{"s", "%73", "a/b", "..", "", "%zz", "*star"}, Methods: []string{"QUERY", "get me", "TRACE", "get"},
		Headers: map[string][]string{"X-Own": {"yes", "~no "}}, Query: map[string][]string{"own": nil}, Peers: []string{"10.0.0.1:1"},
	}
	rapid.Check(t, func(t *rapid.T) {
		r := p.Request().Draw(t, "request")
		require.Contains(t, []string{"QUERY", "TRACE", "get"}, r.Method)
		require.Equal(t, "10.0.0.1:1", r.RemoteAddr)
		require.NotContains(t, r.Header, "X-A")
		m := p.Match().Draw(t, "match")
		for _, method := range m.Methods {
			require.Equal(t, "QUERY", method)
		}
		for name := range m.Headers {
			require.Equal(t, "X-Own", name)
		}
		routes := []gateway.Route{{Name: "r", Match: m, Handler: nowhere("")}}
		require.NoError(t, gateway.Config{Routes: routes}.Validate().Err())
	})
	ever(t, p.Request(), "a host of *.mine.test", func(r *http.Request) bool { return r.Host == "y.x.mine.test" })
	ever(t, p.Request(), "a host of own.*", func(r *http.Request) bool { return r.Host == "own.test:81" })
	ever(t, p.Match(), "the pattern of a literal star", func(m gateway.Match) bool { return len(m.Paths) > 0 && strings.Contains(m.Paths[0], "/%2Astar") })
}

// TestRoutesAreValid: a gateway takes every table, and all kinds of criteria are in some.
func TestRoutesAreValid(t *testing.T) {
	t.Parallel()
	var p gatewaytest.Properties
	rapid.Check(t, func(t *rapid.T) {
		routes := p.Routes(nowhere).Draw(t, "routes")
		_, err := gateway.New(gateway.Config{Routes: routes, Logger: quiet()})
		require.NoError(t, err)
		for i, r := range routes {
			require.Equal(t, fmt.Sprint("r", i), r.Name)
		}
	})
	for what, has := range map[string]func(gateway.Match) bool{
		"hosts":    func(m gateway.Match) bool { return len(m.Hosts) > 1 },
		"methods":  func(m gateway.Match) bool { return len(m.Methods) > 1 },
		"schemes":  func(m gateway.Match) bool { return len(m.Schemes) > 0 },
		"SNIs":     func(m gateway.Match) bool { return len(m.SNIs) > 0 },
		"subtrees": func(m gateway.Match) bool { return len(m.Paths) > 0 && strings.HasSuffix(m.Paths[0], "/*rest") },
		"prefixes": func(m gateway.Match) bool { return len(m.Prefixes) > 0 },
		"regexps":  func(m gateway.Match) bool { return len(m.Regexps) > 0 },
		"headers":  func(m gateway.Match) bool { return len(m.Headers) > 1 },
		"query":    func(m gateway.Match) bool { return len(m.Query) > 1 },
		"func":     func(m gateway.Match) bool { return m.Func != nil },
		"nothing": func(m gateway.Match) bool {
			return len(m.Hosts)+len(m.Methods)+len(m.Paths)+len(m.Prefixes)+len(m.Regexps)+len(m.Headers)+len(m.Query) == 0
		},
	} {
		ever(t, p.Match(), what, has)
	}
	// Where nothing that is drawn is valid, there is still a table.
	odd := gatewaytest.Properties{Hosts: []string{"not a host"}}
	rapid.Check(t, func(t *rapid.T) { require.NotEmpty(t, odd.Routes(nowhere).Draw(t, "routes")) })
}

// TestScripts: steps print as they are written, and an upstream runs them all without waiting.
func TestScripts(t *testing.T) {
	t.Parallel()
	var p gatewaytest.Properties
	u := gatewaytest.NewUpstream("script.test")
	defer u.Close()
	up := gateway.Must(gateway.NewUpstream(gateway.UpstreamConfig{Name: "up", Targets: []balancer.Target{{URL: u.URL()}}, Dial: u.Dial}))
	defer up.Close()
	rapid.Check(t, func(t *rapid.T) {
		script := p.Script().Draw(t, "script")
		u.Script(script...)
		for range script {
			gatewaytest.Do(up, p.Request().Draw(t, "request"))
		}
	})
	require.NotEmpty(t, u.Requests())
	for _, call := range []string{
		`gatewaytest.Respond(200, "ok")`, `gatewaytest.Respond(204, "", "Set-Cookie", "a=b")`, `gatewaytest.Stream(0, "ok", "end")`, `gatewaytest.Truncate("ok", 3)`,
		"gatewaytest.Reset()", `gatewaytest.Raw("220 smtp ready\r\n\r\n")`, `gatewaytest.Early(gatewaytest.Respond(404, "ok"))`,
	} {
		ever(t, p.Script(), call, func(script []http.Handler) bool { return fmt.Sprintf("%#v", script[0]) == call })
	}
}

// A Properties is read only: tests in parallel share one.
func TestPropertiesAreShared(t *testing.T) {
	t.Parallel()
	p := gatewaytest.Properties{Methods: []string{"GET", "a b"}, Headers: map[string][]string{"X-A": {"1"}}}
	for range 4 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				p.CheckRoutes(t, gateway.Config{Routes: p.Routes(nowhere).Draw(t, "routes"), EntryConfig: policy.EntryConfig{}})
			})
		})
	}
}

// console stands for the test in an Example. What a test would report is printed.
type console struct{ rapid.TB }

func (console) Helper()             {}
func (console) Name() string        { return "Example" }
func (console) Failed() bool        { return false }
func (console) Logf(string, ...any) {}

func (console) Errorf(format string, args ...any) { fmt.Printf(format+"\n", args...) }
