package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/acl"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
)

// A gateway in front of one upstream, which lives in memory here.
func Example() {
	backend := gatewaytest.NewUpstream("users.test", gatewaytest.Respond(200, "ann's page"))
	defer backend.Close()
	users := gateway.Must(gateway.NewUpstream(gateway.UpstreamConfig{
		Name:    "users",
		Targets: []balancer.Target{{URL: backend.URL()}},
		Dial:    backend.Dial, // leave this out for targets on the network
	}))
	keys := gateway.Must(keyauth.New(keyauth.Config{Consumers: auth.Static{"k1": {ID: "1", Username: "ann", Groups: []string{"staff"}}}}))
	staff := gateway.Must(acl.New(acl.Config{Allow: []string{"staff"}}))
	gw := gateway.Must(gateway.New(gateway.Config{
		Routes: []gateway.Route{{
			Name:    "users",
			Match:   gateway.Match{Paths: []string{"/v1/users/*rest"}},
			Plugins: []gateway.Plugin{keys, staff},
			Handler: users,
			Forward: gateway.Forward{StripPath: true},
		}},
		Owns: []io.Closer{users},
	}))
	defer gw.Shutdown(context.Background())

	r := httptest.NewRequest("GET", "/v1/users/42", nil)
	fmt.Println(gatewaytest.Do(gw, r).Status)
	r = httptest.NewRequest("GET", "/v1/users/42", nil)
	r.Header.Set("Apikey", "k1")
	fmt.Println(gatewaytest.Text(gatewaytest.Do(gw, r)))
	fmt.Println(backend.Last().URI, "for", backend.Last().Header.Get("X-Consumer-Username"))
	// Output:
	// 401 Unauthorized
	// ann's page <nil>
	// /42 for ann
}

// All mistakes of a configuration are reported together.
func ExampleNew() {
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	_, err := gateway.New(gateway.Config{Routes: []gateway.Route{
		{Name: "users", Match: gateway.Match{Paths: []string{"/users"}}},
		{Name: "users", Match: gateway.Match{Paths: []string{"/users"}, Methods: []string{"GET"}}, Handler: ok, MaxBody: -1},
	}})
	fmt.Println(err)
	// Output:
	// gateway: route "users": Handler is nil; set an *Upstream or any http.Handler
	// gateway: Routes[0] and Routes[1] are both named "users"; names are unique
	// gateway: route "users": MaxBody -1 is negative; 0 means no bound
}

// A report has errors and warnings; those about routes prove what they say by a request.
func ExampleConfig_Validate() {
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	staff := gateway.Must(acl.New(acl.Config{Allow: []string{"staff"}}))
	report := gateway.Config{Routes: []gateway.Route{
		{Name: "users", Match: gateway.Match{Paths: []string{"/users/:id"}}, Plugins: []gateway.Plugin{staff}, Handler: ok},
		{Name: "secure", Match: gateway.Match{Paths: []string{"/users/:name"}, Schemes: []string{"https"}}, Handler: ok},
	}}.Validate()
	for _, f := range report.Findings {
		fmt.Println(f.Kind, f.Route, f.Others)
		if f.Witness != nil {
			fmt.Println("  goes elsewhere:", f.Witness.Method, f.Witness.URL)
		}
	}
	// Output:
	// broken_contract users []
	// unreachable_route secure [users]
	//   goes elsewhere: GET /users/anything
}

// An explanation says what would become of a request, without serving it.
func ExampleGateway_Explain() {
	keys := gateway.Must(keyauth.New(keyauth.Config{Consumers: auth.Static{"k1": {ID: "1", Username: "ann"}}}))
	staff := gateway.Must(acl.New(acl.Config{Allow: []string{"staff"}}))
	gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{
		{Name: "users", Match: gateway.Match{Paths: []string{"/users/:id"}}, Plugins: []gateway.Plugin{keys, staff}, Handler: gatewaytest.Respond(200, "")},
	}}))
	r := httptest.NewRequest("GET", "/users//7", nil)
	r.Header.Set("Apikey", "k1")
	fmt.Print(gw.Explain(r))
	// Output:
	// GET http://example.com/users//7
	// outcome  acl: refused no_group_allowed 403
	// client   192.0.2.1
	// path     /users/7: repeated slashes merged
	// route    users, by /users/:id, id="7"
	//
	// candidates in order of precedence
	// > users  *  /users/:id  *  takes it
	//
	// plugins, the first outermost
	//   key-auth  route  provides authenticated                       allowed authenticated (consumer "1" ann)
	//   acl       route  requires authenticated; provides authorized  refused no_group_allowed 403
	//
	// handler
	//   http.HandlerFunc
}

// The table in order of precedence, which is not that in which it is written.
func ExampleGateway_Routes() {
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{
		{Name: "rest", Match: gateway.Match{Paths: []string{"/*rest"}}, Handler: ok},
		{Name: "user", Match: gateway.Match{Paths: []string{"/users/:id"}}, Handler: ok},
	}}))
	fmt.Print(gw.Routes())
	// Output:
	// ROUTE  HOST  PATH        METHODS  PLUGINS  HANDLER
	// user   *     /users/:id  *        -        http.HandlerFunc
	// rest   *     /*rest      *        -        http.HandlerFunc
}

// Which route wins does not depend on the order written.
func ExampleMatch() {
	name := func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(policy.ExchangeFrom(r.Context()).Route(), "id="+r.PathValue("id"))
	}
	route := func(n string, m gateway.Match) gateway.Route {
		return gateway.Route{Name: n, Match: m, Handler: http.HandlerFunc(name)}
	}
	gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{
		route("everything", gateway.Match{}),
		route("subtree", gateway.Match{Paths: []string{"/users/*rest"}}),
		route("parameter", gateway.Match{Paths: []string{"/users/:id"}}),
		route("exact", gateway.Match{Paths: []string{"/users/me"}}),
		route("host", gateway.Match{Hosts: []string{"*.example.org"}, Paths: []string{"/users/*rest"}}),
		route("method", gateway.Match{Methods: []string{"DELETE"}, Paths: []string{"/users/:id"}}),
	}}))
	for _, target := range []string{"/", "/users/me", "/users/42", "/users/42/posts", "http://eu.example.org/users/me"} {
		gw.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", target, nil))
	}
	gw.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("DELETE", "/users/42", nil))
	// Output:
	// everything id=
	// exact id=
	// parameter id=42
	// subtree id=
	// host id=
	// method id=42
}

// Apply swaps the table between two requests.
func ExampleGateway_Apply() {
	table := func(text string) gateway.Config {
		return gateway.Config{Routes: []gateway.Route{{Name: "all", Handler: gatewaytest.Respond(200, text)}}}
	}
	gw := gateway.Must(gateway.New(table("blue")))
	ask := func() { fmt.Println(gatewaytest.Text(gatewaytest.Do(gw, httptest.NewRequest("GET", "/", nil)))) }
	ask()
	fmt.Println(gw.Apply(table("green")))
	ask()
	// Output:
	// blue <nil>
	// <nil>
	// green <nil>
}

// The table as the gateway sees it: in order of precedence.
func ExampleGateway_Status() {
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{
		{Name: "rest", Handler: ok},
		{Name: "user", Match: gateway.Match{Paths: []string{"/users/:id"}, Methods: []string{"GET"}}, Handler: ok},
	}}))
	fmt.Print(gw.Status().Routes)
	// Output:
	// ROUTE  HOST  PATH        METHODS  PLUGINS  HANDLER
	// user   *     /users/:id  GET      -        http.HandlerFunc
	// rest   *     *           *        -        http.HandlerFunc
}

// A gateway runs on any server; CheckServer says what is missing on one that NewServer did not make.
func ExampleCheckServer() {
	srv := gateway.NewServer(":8080", http.NotFoundHandler())
	srv.IdleTimeout = 0
	for _, finding := range gateway.CheckServer(srv) {
		fmt.Println(finding)
	}
	// Output:
	// IdleTimeout is not set: idle connections stay open for ever; set 1m0s
}

// Forward says how the upstream request is made from the client's.
func ExampleForward() {
	backend := gatewaytest.NewUpstream("legacy.test")
	defer backend.Close()
	legacy := gateway.Must(gateway.NewUpstream(gateway.UpstreamConfig{
		Name: "legacy", Targets: []balancer.Target{{URL: backend.URL()}}, Dial: backend.Dial,
	}))
	defer legacy.Close()
	gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{{
		Name:    "legacy",
		Match:   gateway.Match{Prefixes: []string{"/old"}},
		Handler: legacy,
		Forward: gateway.Forward{
			StripPath:    true,
			Path:         "/api",
			PreserveHost: true,
			Rewrite:      func(in, out *http.Request) { out.Header.Set("X-Original-Query", in.URL.RawQuery) },
		},
	}}}))
	gatewaytest.Do(gw, httptest.NewRequest("GET", "http://shop.test/old/cart?id=7", nil))
	got := backend.Last()
	fmt.Println(got.Host, got.URI, got.Header.Get("X-Original-Query"), got.Header.Get("X-Forwarded-Prefix"))
	// Output:
	// shop.test /api/cart?id=7 id=7 /old
}
