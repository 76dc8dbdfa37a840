package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/ratelimit"
)

var hello = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") })

// A limit of two requests an hour for each client address.
func Example() {
	limit := policy.Must(ratelimit.New(ratelimit.Config{
		Limits: []ratelimit.Limit{ratelimit.PerHour(2)},
		Key:    policy.ByClientAddress(),
	}))
	h := limit.Wrap(hello)
	for range 3 {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		fmt.Println(w.Code, "remaining", w.Header().Get("X-Ratelimit-Remaining-Hour"), "come back later", w.Header().Get("Retry-After") != "")
	}
	// Output:
	// 200 remaining 1 come back later false
	// 200 remaining 0 come back later false
	// 429 remaining 0 come back later true
}

// Several limits: a request has to fit all of them, and one that does not is counted by none.
func ExampleLimiter_Take() {
	limit := policy.Must(ratelimit.New(ratelimit.Config{
		Limits: []ratelimit.Limit{
			{Name: "burst", Requests: 2, Window: time.Hour},
			{Name: "quota", Requests: 100, Window: 24 * time.Hour},
		},
	}))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for range 3 {
		res, err := limit.Take(r)
		fmt.Printf("allowed %v exceeded %v %q\n", res.Allowed, errors.Is(err, ratelimit.ErrExceeded), res.Exceeded)
		for _, s := range res.Limits {
			fmt.Printf("  %s: %d of %d\n", s.Name, s.Remaining, s.Requests)
		}
	}
	// Output:
	// allowed true exceeded false ""
	//   burst: 1 of 2
	//   quota: 99 of 100
	// allowed true exceeded false ""
	//   burst: 0 of 2
	//   quota: 98 of 100
	// allowed false exceeded true "burst"
	//   burst: 0 of 2
	//   quota: 98 of 100
}

// Explicit times, keys and costs, for what is not a request: 1,000 units a minute for each tenant.
func ExampleLimiter_TakeAt() {
	limit := policy.Must(ratelimit.New(ratelimit.Config{
		Limits: []ratelimit.Limit{ratelimit.PerMinute(1000)},
		Key:    policy.ByHeader("X-Tenant"),
	}))
	noon := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, at := range []time.Time{noon, noon, noon.Add(30 * time.Second)} {
		res, _ := limit.TakeAt(context.Background(), at, []byte("acme"), 600)
		fmt.Println(at.Format(time.TimeOnly), res.Allowed, res.Limits[0].Remaining, res.RetryAfter)
	}
	// Output:
	// 12:00:00 true 400 0s
	// 12:00:00 false 400 12s
	// 12:00:30 true 300 0s
}

// The number of items a request asks for is its cost.
func ExampleConfig_cost() {
	limit := policy.Must(ratelimit.New(ratelimit.Config{
		Limits: []ratelimit.Limit{ratelimit.PerDay(100)},
		Cost: func(r *http.Request) int {
			if r.URL.Query().Get("page") == "all" {
				return 60
			}
			return 1
		},
	}))
	h := limit.Wrap(hello)
	for _, target := range []string{"/?page=1", "/?page=all", "/?page=all", "/?page=2"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
		fmt.Println(target, w.Code, w.Header().Get("X-Ratelimit-Remaining-Day"))
	}
	// Output:
	// /?page=1 200 99
	// /?page=all 200 39
	// /?page=all 429 39
	// /?page=2 200 38
}

// Windows of the calendar and the header fields as Kong has them.
func ExampleFixedWindow() {
	limit := policy.Must(ratelimit.New(ratelimit.Config{
		Limits:    []ratelimit.Limit{ratelimit.PerMonth(1000)},
		Algorithm: ratelimit.FixedWindow,
		Headers:   ratelimit.HeadersPeriod | ratelimit.HeadersReset,
	}))
	at := time.Date(2028, 2, 28, 0, 0, 0, 0, time.UTC)
	res, _ := limit.TakeAt(context.Background(), at, nil, 1000)
	fmt.Println(res.Limits[0].Remaining, at.Add(res.Limits[0].Reset))
	// Output:
	// 0 2028-03-01 00:00:00 +0000 UTC
}

// A preview tells what would be decided and counts nothing.
func ExampleLimiter_Preview() {
	limit := policy.Must(ratelimit.New(ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerMinute(60), ratelimit.PerDay(1000)}}))
	d := limit.Preview(httptest.NewRequest(http.MethodGet, "/", nil))
	fmt.Println(d.Verdict, d.Reason)
	fmt.Println(d.Detail)
	// Output:
	// allowed within_limit
	// minute: 60 of 60 left, day: 1000 of 1000 left
}
