package acl_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/acl"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/policy"
)

// Who the caller is, the key says; who may pass, the list.
func Example() {
	keys := policy.Must(keyauth.New(keyauth.Config{Consumers: auth.Static{
		"k1": {ID: "1", Username: "ann", Groups: []string{"staff"}},
		"k2": {ID: "2", Username: "bob", Groups: []string{"staff", "suspended"}},
		"k3": {ID: "3", Username: "cat"},
	}}))
	staff := policy.Must(acl.New(acl.Config{Allow: []string{"staff"}, Deny: []string{"suspended"}}))
	h := keys.Wrap(staff.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "orders")
	})))
	for _, key := range []string{"k1", "k2", "k3", ""} {
		r := httptest.NewRequest(http.MethodGet, "/orders", nil)
		r.Header.Set("Apikey", key)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		fmt.Printf("%q: %d\n", key, w.Code)
	}
	// Output:
	// "k1": 200
	// "k2": 403
	// "k3": 403
	// "": 401
}

// The decision without a server.
func ExampleACL_Authorize() {
	staff := policy.Must(acl.New(acl.Config{Allow: []string{"staff"}}))
	ann := &policy.Identity{Consumer: &policy.Consumer{ID: "1", Groups: []string{"staff"}}}
	bob := &policy.Identity{Consumer: &policy.Consumer{ID: "2", Groups: []string{"partners"}}}
	fmt.Println(staff.Authorize(ann))
	fmt.Println(errors.Is(staff.Authorize(bob), acl.ErrForbidden))
	fmt.Println(errors.Is(staff.Authorize(nil), acl.ErrUnauthenticated))
	// Output:
	// <nil>
	// true
	// true
}
