package terminate_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/terminate"
)

// A page during maintenance, in front of a handler that stays as it is.
func Example() {
	maintenance, err := terminate.New(terminate.Config{
		Body:        "<h1>Back at noon</h1>\n",
		ContentType: "text/html; charset=utf-8",
		Header:      http.Header{"Retry-After": {"3600"}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	api := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { fmt.Println("never reached") })
	w := httptest.NewRecorder()
	maintenance.Wrap(api).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/users", nil))
	fmt.Println(w.Code, w.Header().Get("Retry-After"))
	fmt.Print(w.Body)
	// Output:
	// 503 3600
	// <h1>Back at noon</h1>
}

// A route that consists of its answer.
func ExampleTerminator_ServeHTTP() {
	mux := http.NewServeMux()
	mux.Handle("/alive", policy.Must(terminate.New(terminate.Config{Status: http.StatusOK, Body: "ok\n"})))
	mux.Handle("/old/", policy.Must(terminate.New(terminate.Config{
		Status: http.StatusMovedPermanently,
		Header: http.Header{"Location": {"https://example.com/new/"}},
	})))
	for _, target := range []string{"/alive", "/old/x"} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
		fmt.Println(w.Code, w.Header().Get("Location"), w.Body)
	}
	// Output:
	// 200  ok
	//
	// 301 https://example.com/new/
}

// Only requests that ask for it are shown what arrived; credentials are not.
func ExampleConfig_echo() {
	debug := policy.Must(terminate.New(terminate.Config{Echo: true, Status: http.StatusOK, Trigger: "X-Debug"}))
	r := httptest.NewRequest(http.MethodGet, "/v1/users?apikey=k1", nil)
	r.Header.Set("X-Debug", "1")
	r.Header.Set("Authorization", "Bearer t")
	x, r := policy.Ensure(r)
	x.SetRequestID("order-42")
	w := httptest.NewRecorder()
	debug.Wrap(http.NotFoundHandler()).ServeHTTP(w, r)
	fmt.Print(w.Body)
	// Output:
	// {"message":"OK","request_id":"order-42","trigger":"X-Debug","request":{"protocol":"HTTP/1.1","method":"GET","scheme":"http","host":"example.com","path":"/v1/users","query":{"apikey":["REDACTED"]},"headers":{"Authorization":["REDACTED"],"X-Debug":["REDACTED"]},"client_address":"192.0.2.1"}}
}
