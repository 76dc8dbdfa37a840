package breaker_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/breaker"
)

// A search that fails is left alone for a while, and an older answer serves meanwhile.
func Example() {
	trip, err := breaker.New(breaker.Config{
		Name: "search", Consecutive: 2,
		Fallback: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "what everybody likes")
		}),
		OnChange: func(c breaker.Change) { fmt.Println(c) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	search := trip.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Println("search is asked")
		http.Error(w, "no index", http.StatusInternalServerError)
	}))
	for range 3 {
		w := httptest.NewRecorder()
		search.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/search?q=tea", nil))
		fmt.Println(w.Code, w.Body)
	}
	// Output:
	// search is asked
	// 500 no index
	//
	// search is asked
	// search: closed to open for 5s: consecutive_failures, 2 of 2 failed and 0 were slow, last status 500
	// 500 no index
	//
	// 200 what everybody likes
}

// An upstream asks before each try, and tells how it went.
func ExampleBreaker_Admit() {
	trip := policy.Must(breaker.New(breaker.Config{Name: "users", Consecutive: 1}))
	up := gatewaytest.NewUpstream("a.test", gatewaytest.Reset())
	defer up.Close()
	users := gateway.Must(gateway.NewUpstream(gateway.UpstreamConfig{
		Name: "users", Targets: []balancer.Target{{URL: up.URL()}}, Dial: up.Dial, Admission: []policy.Admission{trip},
	}))
	defer users.Close()
	for range 2 {
		res := gatewaytest.Do(users, httptest.NewRequest(http.MethodGet, "/", nil))
		fmt.Printf("%d %q\n", res.StatusCode, res.Header.Get("Retry-After"))
	}
	s := trip.Status()
	fmt.Println(s.State, s.Reason, s.Refused)
	// Output:
	// 502 ""
	// 503 "5"
	// open consecutive_failures 1
}

// What is no request can be asked about, too, on a clock of its own.
func ExampleBreaker_AdmitAt() {
	trip := policy.Must(breaker.New(breaker.Config{Consecutive: 1, Probes: 1}))
	now := time.Now()
	call := func(err error) {
		ticket, refused := trip.AdmitAt(now)
		if refused != nil {
			fmt.Println("refused", errors.Is(refused, breaker.ErrOpen))
			return
		}
		trip.DoneAt(now, ticket, policy.Outcome{Err: err})
		fmt.Println("called", trip.State())
	}
	call(errors.New("no connection"))
	call(nil)
	now = now.Add(5 * time.Second)
	call(nil)
	// Output:
	// called open
	// refused true
	// called closed
}
