package gatewaytest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/gatewaytest"
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
