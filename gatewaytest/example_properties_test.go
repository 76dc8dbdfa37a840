package gatewaytest_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/ratelimit"
)

// The generators serve any property: here, that asking for an explanation changes nothing about what becomes of a request,
// whatever the table.
func ExampleProperties() {
	var t console // in a test, its *testing.T
	p := gatewaytest.Properties{Hosts: []string{"api.example.com", "*.example.com"}, Segments: []string{"v1", "users", "42"}}
	handler := func(name string) http.Handler { return gatewaytest.Respond(http.StatusOK, name) }
	rapid.Check(t, func(t *rapid.T) {
		routes := p.Routes(handler).Draw(t, "routes")
		routes = append(routes, gateway.Route{Name: "mine", Match: p.Match().Draw(t, "mine"), Handler: handler("mine")})
		gw, err := gateway.New(gateway.Config{
			Routes: routes, Compat: gateway.Compat{AllowIdenticalRoutes: true}, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		x, r := policy.Ensure(p.Request().Draw(t, "request"))
		explained := gw.Explain(r).Route
		gatewaytest.Do(gw, r)
		if x.Route() != explained {
			t.Fatalf("explained %q, served by %q", explained, x.Route())
		}
	})
	fmt.Println("it holds")
	// Output:
	// it holds
}

// minutes is a limiter of an application's: three a minute for each key.
type minutes map[string]int

func (m minutes) allow(now time.Time, key string, cost int) bool {
	key += now.UTC().Format(" 2006-01-02T15:04")
	if m[key]+cost > 3 {
		return false
	}
	m[key] += cost
	return true
}

// A limiter of the application's never admits more than its limit says.
func ExampleProperties_CheckLimiter() {
	var t console // in a test, its *testing.T
	bound := gatewaytest.Bound(ratelimit.PerMinute(3), ratelimit.FixedWindow)
	rapid.Check(t, func(t *rapid.T) {
		gatewaytest.Properties{}.CheckLimiter(t, minutes{}.allow, bound)
	})
	fmt.Println("it holds")
	// Output:
	// it holds
}

// Three a minute, counted in windows of the clock, are up to six within a nanosecond: the last of one and the first of the
// next. A bucket and a sliding window do not let that happen.
func ExampleBound() {
	for _, a := range []ratelimit.Algorithm{ratelimit.TokenBucket, ratelimit.FixedWindow, ratelimit.SlidingWindow} {
		bound := gatewaytest.Bound(ratelimit.PerMinute(3), a)
		fmt.Println(a, bound(0), bound(time.Nanosecond), bound(time.Minute), bound(time.Hour))
	}
	// Output:
	// TokenBucket 3 3 6 183
	// FixedWindow 3 6 6 183
	// SlidingWindow 3 3 5 123
}

// A table that a program makes of something else, such as a list of tenants, is what it is meant to be.
func ExampleProperties_CheckRoutes() {
	var t console // in a test, its *testing.T
	var c gateway.Config
	for _, tenant := range []string{"blue", "red"} {
		c.Routes = append(c.Routes, gateway.Route{
			Name:    tenant,
			Match:   gateway.Match{Hosts: []string{tenant + ".example.com", "*." + tenant + ".example.com"}, Paths: []string{"/v1/*rest"}},
			Handler: http.NotFoundHandler(),
		})
	}
	rapid.Check(t, func(t *rapid.T) {
		gatewaytest.Properties{}.CheckRoutes(t, c)
	})
	fmt.Println("it holds")
	// Output:
	// it holds
}

// Whatever clients send, and however the upstream answers: nobody without a key reaches it, and it is told who calls.
func ExampleProperties_CheckExchange() {
	var t console // in a test, its *testing.T
	users := gatewaytest.NewUpstream("users.test")
	defer users.Close()
	up := gateway.Must(gateway.NewUpstream(gateway.UpstreamConfig{
		Name: "users", Targets: []balancer.Target{{URL: users.URL()}}, Dial: users.Dial,
	}))
	defer up.Close()
	keys := gateway.Must(keyauth.New(keyauth.Config{Consumers: auth.Static{"secret": {ID: "1", Username: "ann"}}}))
	gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{{
		Name: "users", Plugins: []gateway.Plugin{keys}, Handler: up,
	}}}))

	p := gatewaytest.Properties{Headers: map[string][]string{"Apikey": {"secret", "wrong"}}}
	rapid.Check(t, func(t *rapid.T) {
		users.Script(p.Script().Draw(t, "script")...)
		p.CheckExchange(t, gw, users)
	})
	fmt.Println("it holds")
	// Output:
	// it holds
}
