package mirror_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/mirror"
)

// The next version of a service sees real requests, and where it answers otherwise is told.
func Example() {
	now := gatewaytest.NewUpstream("now.test", gatewaytest.Respond(200, `{"name":"Ann","logins":3,"seen":"09:00"}`, "Content-Type", "application/json"))
	defer now.Close()
	next := gatewaytest.NewUpstream("next.test", gatewaytest.Respond(200, `{"seen":"09:01","name":"ann","logins":3.0}`, "Content-Type", "application/json"))
	defer next.Close()
	upstream := func(name string, u *gatewaytest.Upstream) *gateway.Upstream {
		return gateway.Must(gateway.NewUpstream(gateway.UpstreamConfig{Name: name, Targets: []balancer.Target{{URL: u.URL()}}, Dial: u.Dial}))
	}
	users, usersNext := upstream("users", now), upstream("users-next", next)
	found := make(chan mirror.Difference)
	shadow := gateway.Must(mirror.New(mirror.Config{
		Shadow: usersNext, Share: 1,
		Compare: &mirror.Compare{Ignore: []string{"**.seen"}, OnDifference: func(d mirror.Difference) { found <- d }},
	}))
	gw := gateway.Must(gateway.New(gateway.Config{
		Routes: []gateway.Route{{Name: "users", Match: gateway.Match{Prefixes: []string{"/v1/"}}, Handler: shadow.Wrap(users), Forward: gateway.Forward{StripPath: true}}},
		Owns:   []io.Closer{users, usersNext, shadow},
	}))
	res := gatewaytest.Do(gw, httptest.NewRequest(http.MethodGet, "/v1/users/42?token=secret", nil))
	body, _ := gatewaytest.Text(res)
	fmt.Println(body)
	fmt.Println(<-found)
	fmt.Println(next.Last().URI, next.Last().Header.Get("X-Gatehouse-Mirror") != "")
	fmt.Println(gw.Status().Upstreams[1].Name)
	// Output:
	// {"name":"Ann","logins":3,"seen":"09:00"}
	// users: GET /v1/users/42: body name value
	// /users/42?token=secret true
	// users-next
}

// A tenth of the callers, and always the same.
func ExampleConfig_key() {
	m := policy.Must(mirror.New(mirror.Config{Shadow: http.NotFoundHandler(), Share: 0.1, Key: policy.ByConsumer().Or(policy.ByClientAddress())}))
	defer m.Close()
	h := m.Wrap(gatewaytest.Respond(200, "hello"))
	for i := range 1000 {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = fmt.Sprintf("192.0.2.%d:1", i%10)
		gatewaytest.Do(h, r)
	}
	fmt.Println(m.Status().Sampled%100, m.Status().Share)
	// Output:
	// 0 0.1
}
