package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
)

// An upstream is a handler for any mux, with or without a gateway.
func ExampleNewUpstream() {
	a, b := gatewaytest.NewUpstream("a.test", gatewaytest.Respond(200, "from a")), gatewaytest.NewUpstream("b.test", gatewaytest.Respond(200, "from b"))
	defer a.Close()
	defer b.Close()
	users, err := gateway.NewUpstream(gateway.UpstreamConfig{
		Name:     "users",
		Targets:  []balancer.Target{{URL: "http://a.test"}, {URL: "http://b.test"}},
		Timeouts: gateway.Timeouts{FirstByte: 5 * time.Second},
		Dial:     gatewaytest.Dial(a, b), // in memory; leave it out to use the network
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer users.Close()
	mux := http.NewServeMux()
	mux.Handle("/v1/", http.StripPrefix("/v1", users))
	for range 2 {
		res := gatewaytest.Do(mux, httptest.NewRequest(http.MethodGet, "http://shop.test/v1/users/42", nil))
		body, err := gatewaytest.Text(res)
		fmt.Println(res.StatusCode, body, err)
	}
	got := a.Last()
	fmt.Println(got.URI, got.Host, got.Header.Get("X-Forwarded-Host"))
	// Output:
	// 200 from a <nil>
	// 200 from b <nil>
	// /users/42 a.test shop.test
}

func ExampleNewUpstream_errors() {
	_, err := gateway.NewUpstream(gateway.UpstreamConfig{Targets: []balancer.Target{{URL: "ftp://x"}}})
	fmt.Println(err)
	// Output:
	// gateway: UpstreamConfig.Name is empty; logs, metrics and status tell upstreams apart by it
	// gateway: UpstreamConfig.Targets[0].URL "ftp://x": scheme must be http or https
}

// Why there is no answer of a target is told in Proxy-Status, in the words of RFC 9209.
func ExampleUpstreamConfig_proxyStatus() {
	down := gatewaytest.NewUpstream("a.test")
	defer down.Close()
	down.SetDown(true)
	for _, hide := range []bool{false, true} {
		users := gateway.Must(gateway.NewUpstream(gateway.UpstreamConfig{
			Name: "users", Targets: []balancer.Target{{URL: down.URL()}}, Dial: down.Dial, HideProxyStatus: hide,
		}))
		res := gatewaytest.Do(users, httptest.NewRequest(http.MethodGet, "/", nil))
		fmt.Printf("%d %q\n", res.StatusCode, res.Header.Get("Proxy-Status"))
		_ = users.Close()
	}
	// Output:
	// 502 "gatehouse; error=connection_refused"
	// 502 ""
}

func ExampleUpstream_Status() {
	down := gatewaytest.NewUpstream("a.test")
	defer down.Close()
	down.SetDown(true)
	users := gateway.Must(gateway.NewUpstream(gateway.UpstreamConfig{Name: "users", Targets: []balancer.Target{{URL: down.URL()}}, Dial: down.Dial}))
	defer users.Close()
	fmt.Println(gatewaytest.Do(users, httptest.NewRequest(http.MethodGet, "/", nil)).StatusCode)
	for _, t := range users.Status().Targets {
		fmt.Println(t.URL, t.Requests, t.Failed, t.LastError)
	}
	// Output:
	// 502
	// http://a.test 1 1 connect_refused
}

// Trailers of requests are sent on where a route asks for it, as far as they may be trailers at all.
func ExampleForward_requestTrailers() {
	files := gatewaytest.NewUpstream("files.test")
	defer files.Close()
	up := gateway.Must(gateway.NewUpstream(gateway.UpstreamConfig{Name: "files", Targets: []balancer.Target{{URL: files.URL()}}, Dial: files.Dial}))
	defer up.Close()
	gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{
		{Name: "plain", Match: gateway.Match{Paths: []string{"/plain"}}, Handler: up},
		{Name: "checked", Match: gateway.Match{Paths: []string{"/checked"}}, Handler: up, Forward: gateway.Forward{RequestTrailers: true}},
	}}))
	for _, path := range []string{"/plain", "/checked"} {
		r := httptest.NewRequest(http.MethodPut, path, io.MultiReader(strings.NewReader("a large file")))
		r.Trailer = http.Header{"X-Checksum": {"7b5d3a"}, "X-Consumer-Id": {"forged"}} // as net/http's server has it at the end of the body
		fmt.Println(gatewaytest.Do(gw, r).StatusCode, files.Last().Trailer)
	}
	// Output:
	// 200 map[]
	// 200 map[X-Checksum:[7b5d3a]]
}

// oneAtATime is an admission: what it refuses never reaches a target, and it learns how every try ended.
type oneAtATime chan struct{}

func (c oneAtATime) Admit(context.Context, string) (policy.Ticket, error) {
	select {
	case c <- struct{}{}:
		return 0, nil
	default:
		return 0, &policy.Error{Status: http.StatusServiceUnavailable, Code: "busy", Header: http.Header{"Retry-After": {"1"}}}
	}
}

func (c oneAtATime) Done(policy.Ticket, policy.Outcome) { <-c }

func ExampleUpstreamConfig_admission() {
	busy := oneAtATime(make(chan struct{}, 1))
	up := gatewaytest.NewUpstream("a.test")
	defer up.Close()
	users := gateway.Must(gateway.NewUpstream(gateway.UpstreamConfig{
		Name: "users", Targets: []balancer.Target{{URL: up.URL()}}, Dial: up.Dial, Admission: []policy.Admission{busy},
	}))
	defer users.Close()
	ask := func() {
		res := gatewaytest.Do(users, httptest.NewRequest(http.MethodGet, "/", nil))
		fmt.Printf("%d %q\n", res.StatusCode, res.Header.Get("Retry-After"))
	}
	ask()
	busy <- struct{}{} // somebody else is in
	ask()
	// Output:
	// 200 ""
	// 503 "1"
}

// A target that fails costs a request that may be repeated only another try; what may not be repeated is answered for.
func ExampleUpstreamConfig_retry() {
	failing, fine := gatewaytest.NewUpstream("a.test", gatewaytest.Respond(503, "try later")), gatewaytest.NewUpstream("b.test", gatewaytest.Respond(200, "from b"))
	defer failing.Close()
	defer fine.Close()
	up, err := gateway.NewUpstream(gateway.UpstreamConfig{
		Name:    "users",
		Targets: []balancer.Target{{URL: "http://a.test"}, {URL: "http://b.test"}},
		Retry: policy.Retry{
			Statuses: []int{502, 503}, // besides what did not reach its target, or was reset
			MaxBody:  64 << 10,        // bodies up to that size are kept to be sent again
		},
		RetryBudget: gateway.RetryBudget{Share: 0.1}, // at most one more for every ten requests
		Dial:        gatewaytest.Dial(failing, fine),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer up.Close()
	for _, method := range []string{http.MethodPut, http.MethodPost} {
		x, r := policy.Ensure(httptest.NewRequest(method, "/users/42", strings.NewReader(`{"name":"ann"}`)))
		res := gatewaytest.Do(up, r)
		body, err := gatewaytest.Text(res)
		fmt.Println(method, res.StatusCode, body, err)
		for _, try := range x.Tries() {
			fmt.Println("  try", try.Number, try.Target, try.Status)
		}
	}
	fmt.Println(len(fine.Requests()), string(fine.Last().Body))
	// Output:
	// PUT 200 from b <nil>
	//   try 1 http://a.test 503
	//   try 2 http://b.test 200
	// POST 503 try later <nil>
	//   try 1 http://a.test 503
	// 1 {"name":"ann"}
}
