package gatewaytest_test

import (
	"fmt"
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

// An upstream in memory answers by its script and records what reached it.
func ExampleUpstream() {
	users := gatewaytest.NewUpstream("users.test",
		gatewaytest.Respond(http.StatusOK, "hello"),
		gatewaytest.Reset(),
		gatewaytest.Truncate("half an ans", 4),
	)
	defer users.Close()
	up := gateway.Must(gateway.NewUpstream(gateway.UpstreamConfig{
		Name: "users", Targets: []balancer.Target{{URL: users.URL()}}, Dial: users.Dial,
	}))
	defer up.Close()
	for range 3 {
		res := gatewaytest.Do(up, httptest.NewRequest("POST", "/users", nil))
		body, err := gatewaytest.Text(res)
		if res.StatusCode != http.StatusOK {
			body = "(an error of the gateway's)"
		}
		fmt.Println(res.StatusCode, body, err)
	}
	fmt.Println(len(users.Requests()), users.Last().Method, users.Last().URI)
	// Output:
	// 200 hello <nil>
	// 502 (an error of the gateway's) <nil>
	// 200 half an ans unexpected EOF
	// 3 POST /users
}

// Do serves one request with any handler.
func ExampleDo() {
	res := gatewaytest.Do(http.NotFoundHandler(), httptest.NewRequest("GET", "/", nil))
	fmt.Println(res.StatusCode)
	// Output:
	// 404
}

// The decision record of a request that a test sends: who decided what, and who the client was. RemoteAddr chooses the
// client; without it httptest's is 192.0.2.1.
func ExampleDo_decisions() {
	keys := gateway.Must(keyauth.New(keyauth.Config{Consumers: auth.Static{"k": {ID: "1", Username: "ann"}}}))
	staff := gateway.Must(acl.New(acl.Config{Allow: []string{"staff"}}))
	gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{{
		Name: "users", Plugins: []gateway.Plugin{keys, staff}, Handler: http.NotFoundHandler(),
	}}}))

	r := httptest.NewRequest("GET", "/users/42", nil)
	r.RemoteAddr = "203.0.113.7:1"
	r.Header.Set("Apikey", "k")
	x, r := policy.Ensure(r)
	fmt.Println(gatewaytest.Do(gw, r).StatusCode)
	for _, d := range x.Decisions() {
		fmt.Println(d)
	}
	fmt.Println(x.Route(), x.ClientAddr(), x.Consumer().Username)
	// Output:
	// 403
	// key-auth allowed authenticated
	// acl refused no_group_allowed 403
	// users 203.0.113.7 ann
}
