package healthcheck_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/balancer/healthcheck"
	"github.com/gatehouse-go/gateway/policy"
)

// A target that says it is down gets no requests until it says otherwise.
func ExampleHTTP() {
	var down atomic.Bool
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" || down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, `{"status": "up"}`)
	}))
	defer target.Close()
	changes := make(chan balancer.HealthChange, 1)
	pool := policy.Must(balancer.NewPool(balancer.Config{
		Targets: []balancer.Target{{URL: target.URL}},
		Health: balancer.Health{
			Active: balancer.Active{
				Checker:  healthcheck.HTTP{Path: "/healthz", Body: regexp.MustCompile(`"status": *"up"`)},
				Interval: 10 * time.Millisecond,
			},
			OnChange: func(c balancer.HealthChange) { changes <- c },
		},
	}))
	defer pool.Close()
	for _, state := range []bool{true, false} {
		down.Store(state)
		c := <-changes
		fmt.Println(c.From, "to", c.To, "because", c.Reason)
	}
	// Output:
	// healthy to failing because http_failures
	// failing to healthy because checks_succeeded
}

// A check can be made by hand, as by a tool that looks at targets before they are configured.
func ExampleTCP() {
	refused := balancer.Check{
		URL:  &url.URL{Scheme: "http", Host: "a.test"},
		Dial: func(context.Context) (net.Conn, error) { return nil, errors.New("nothing listens there") },
	}
	fmt.Println(healthcheck.TCP{}.Check(context.Background(), refused))
	// Output: nothing listens there
}
