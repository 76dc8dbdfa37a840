package keyauth_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/policy"
)

// api shows what reaches it.
var api = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	id := policy.ExchangeFrom(r.Context()).Identity()
	fmt.Fprintf(w, "%s sees %s", id.Consumer.Username, r.URL)
})

// get sends a request to h, with a key in the header unless it is "", and prints the answer.
func get(h http.Handler, target, key string) {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	if key != "" {
		r.Header.Set("Apikey", key)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code == http.StatusOK {
		fmt.Println(w.Code, w.Body)
		return
	}
	fmt.Println(w.Code, w.Header().Get("Www-Authenticate"))
}

// Key authentication in front of any handler.
func Example() {
	keys := policy.Must(keyauth.New(keyauth.Config{
		Consumers: auth.Static{"k1": {ID: "1", Username: "ann"}},
		Realm:     "orders",
	}))
	h := keys.Wrap(api)
	get(h, "/orders", "k1")
	get(h, "/orders", "k2")
	get(h, "/orders", "")
	// Output:
	// 200 ann sees /orders
	// 401 Key realm="orders"
	// 401 Key realm="orders"
}

// The key may stand in the query, too, and does not reach the upstream.
func ExampleConfig() {
	keys := policy.Must(keyauth.New(keyauth.Config{
		Consumers:       auth.Static{"k1": {ID: "1", Username: "ann"}},
		In:              keyauth.Header | keyauth.Query,
		HideCredentials: true,
	}))
	h := keys.Wrap(api)
	get(h, "/orders?page=2&apikey=k1", "")
	get(h, "/orders?page=2&apikey=k1", "k1") // two keys
	// Output:
	// 200 ann sees /orders?page=2
	// 401 Key
}

// Callers without a key pass as guests; a wrong key is still refused.
func ExampleConfig_anonymous() {
	keys := policy.Must(keyauth.New(keyauth.Config{
		Consumers: auth.Static{"k1": {ID: "1", Username: "ann"}},
		Anonymous: &policy.Consumer{ID: "guest", Username: "a guest"},
	}))
	h := keys.Wrap(api)
	get(h, "/orders", "")
	get(h, "/orders", "k2")
	// Output:
	// 200 a guest sees /orders
	// 401 Key
}

// The decision without a server, for tests and for code of one's own.
func ExampleKeyAuth_Authenticate() {
	keys := policy.Must(keyauth.New(keyauth.Config{Consumers: auth.Static{"k1": {ID: "1", Username: "ann"}}}))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	_, err := keys.Authenticate(r)
	fmt.Println(errors.Is(err, auth.ErrNoCredential), err)
	r.Header.Set("Apikey", "k2")
	_, err = keys.Authenticate(r)
	fmt.Println(errors.Is(err, auth.ErrInvalidCredential), err)
	r.Header.Set("Apikey", "k1")
	id, err := keys.Authenticate(r)
	fmt.Println(id.Consumer.Username, err)
	// Output:
	// true 401 no_credential: No API key found in request: auth: no credential in the request
	// true 401 invalid_credential: Unauthorized: auth: invalid credential
	// ann <nil>
}
