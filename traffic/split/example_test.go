package split_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/split"
)

// A canary gets 5 %, fails, and loses it.
func Example() {
	v1 := gatewaytest.Respond(http.StatusOK, "v1")
	v2 := gatewaytest.Respond(http.StatusInternalServerError, "no database")
	canary, err := split.New(split.Config{
		Name: "app",
		Arms: []split.Arm{{Name: "stable", Weight: 95, Handler: v1}, {Name: "canary", Weight: 5, Handler: v2}},
		Rollback: split.Rule{
			Arm: "canary", Against: "stable",
			OnRollback: func(r split.Rollback) { fmt.Println(r) },
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	statuses := map[int]int{}
	for range 1000 {
		w := httptest.NewRecorder()
		canary.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		statuses[w.Code]++
	}
	fmt.Println(statuses, canary.Weights())
	// Output:
	// app: canary rolled back to stable, from 5 of 100: errors, 20 of 20 (100.0 %) against 0 of 378 (0.0 %) within 1m0s, last status 500
	// map[200:980 500:20] map[canary:0 stable:100]
}

// Blue/green: all at once, and back.
func ExampleSplit_Switch() {
	app := policy.Must(split.New(split.Config{Arms: []split.Arm{
		{Name: "blue", Weight: 100, Handler: gatewaytest.Respond(http.StatusOK, "blue")},
		{Name: "green", Handler: gatewaytest.Respond(http.StatusOK, "green")},
	}}))
	ask := func() {
		w := httptest.NewRecorder()
		app.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		fmt.Println(w.Body)
	}
	ask()
	fmt.Println(app.Switch("green"))
	ask()
	fmt.Println(app.Revert())
	ask()
	fmt.Println(app.Revert())
	// Output:
	// blue
	// <nil>
	// green
	// <nil>
	// blue
	// split: nothing to revert
}

// Testers choose for themselves, and everybody else stays where they are when the canary grows.
func ExampleOverride() {
	app := policy.Must(split.New(split.Config{
		Arms: []split.Arm{
			{Name: "stable", Weight: 95, Handler: gatewaytest.Respond(http.StatusOK, "v1")},
			{Name: "canary", Weight: 5, Handler: gatewaytest.Respond(http.StatusOK, "v2")},
		},
		Sticky:    policy.ByHeader("X-User"),
		Overrides: []split.Override{{Header: "X-Arm", Arm: "canary"}},
	}))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("X-User", "ann")
	fmt.Println(app.Preview(r))
	r.Header.Set("X-Arm", "canary")
	fmt.Println(app.Preview(r))
	r.Header.Set("X-Arm", "nonsense")
	fmt.Println(app.Preview(r))
	// Output:
	// split allowed sticky (stable)
	// split allowed override_header (canary)
	// split allowed sticky (stable)
}
