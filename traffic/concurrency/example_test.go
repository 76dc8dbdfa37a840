package concurrency_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"time"

	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/concurrency"
)

// Two reports are made at once, and nobody waits for a third.
func Example() {
	limit, err := concurrency.New(concurrency.Config{Name: "reports", Limit: 2, Queue: -1, RetryAfter: 5 * time.Second})
	if err != nil {
		fmt.Println(err)
		return
	}
	var reports http.Handler
	reports = limit.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// While this one is made, somebody else asks for one, too.
		if depth := r.URL.Query().Get("depth"); len(depth) < 2 {
			other := httptest.NewRecorder()
			reports.ServeHTTP(other, httptest.NewRequest(http.MethodGet, "/?depth="+depth+"x", nil))
			fmt.Printf("%d %q\n", other.Code, other.Header().Get("Retry-After"))
		}
	}))
	w := httptest.NewRecorder()
	reports.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	fmt.Println(w.Code)
	// Output:
	// 503 "5"
	// 200 ""
	// 200
}

// Who pays comes first.
func ExampleConfig_classes() {
	gold := func(x *policy.Exchange) int {
		if c := x.Consumer(); c != nil && slices.Contains(c.Groups, "gold") {
			return 0
		}
		return 1
	}
	limit := policy.Must(concurrency.New(concurrency.Config{Name: "users", Limit: 1, Classes: 2, Class: gold}))
	x, r := policy.Ensure(httptest.NewRequest(http.MethodGet, "/", nil))
	fmt.Println(limit.Preview(r))
	x.SetIdentity(policy.Identity{Consumer: &policy.Consumer{ID: "1", Groups: []string{"gold"}}})
	fmt.Println(limit.Preview(r))
	// Output:
	// users allowed free (0 of 1 places are taken, 0 wait, class 1)
	// users allowed free (0 of 1 places are taken, 0 wait, class 0)
}

// A server that works on ten calls at once, each for 20 ms, and is asked for as many as the Limiter lets pass. The limit comes to
// stand where there is always work, and little that waits.
func ExampleLimiter_AdmitAt() {
	limit := policy.Must(concurrency.New(concurrency.Config{Adaptive: concurrency.Adaptive{Initial: 40}}))
	const workers, work = 10, 20 * time.Millisecond
	now := time.Now()
	var calls []policy.Ticket // in the order in which they came
	for range 1500 {
		for {
			ticket, err := limit.AdmitAt(now, 0)
			if errors.Is(err, concurrency.ErrShed) {
				break
			}
			calls = append(calls, ticket)
		}
		now = now.Add(work)
		for _, ticket := range calls[:min(workers, len(calls))] {
			limit.DoneAt(now, ticket, policy.Outcome{Status: 200})
		}
		calls = calls[min(workers, len(calls)):]
	}
	s := limit.Status()
	fmt.Println(s.Limit >= workers, s.Limit <= 2*workers, s.AtRest.Round(time.Millisecond))
	// Output:
	// true true 20ms
}
