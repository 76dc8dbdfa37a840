package consul_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/contrib/consul"
)

// A service of which one instance is well.
func Example() {
	users := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s of %s", r.URL.Path, r.Host)
	}))
	defer users.Close()
	address := strings.TrimPrefix(users.URL, "http://")

	agent := httptest.NewServer(newAgent(address, "10.0.0.1:80 check=critical")) // as one is at http://127.0.0.1:8500
	defer agent.Close()

	source, err := consul.New(consul.Config{Address: agent.URL, Service: "users", URL: "http://users.example"})
	if err != nil {
		panic(err)
	}
	up, err := gateway.NewUpstream(gateway.UpstreamConfig{Name: "users", Discovery: balancer.Discovery{Source: source}})
	if err != nil {
		panic(err)
	}
	defer up.Close()
	w := httptest.NewRecorder()
	up.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/users/42", nil))
	fmt.Println(len(up.Status().Targets), w.Code, w.Body)
	// Output: 1 200 /users/42 of users.example
}
