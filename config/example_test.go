package config_test

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/config"
	"github.com/gatehouse-go/gateway/gatewaytest"
)

const users = `
_format_version: "3.0"
services:
- name: users
  url: http://users.test
  routes: [{name: users, paths: [/users]}]
  plugins: [{name: key-auth}]
consumers: [{username: ann, keyauth_credentials: [{key: ann-key}]}]
`

// A file becomes a gateway.
func ExampleLoad() {
	backend := gatewaytest.NewUpstream("users.test", gatewaytest.Respond(200, "hello"))
	defer backend.Close()
	snapshot, err := config.Load("kong.yml", strings.NewReader(users), config.Options{Dial: backend.Dial, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Println(err)
		return
	}
	gw := gateway.Must(gateway.New(snapshot.Gateway))
	for _, target := range []string{"/users/42", "/users/42?apikey=ann-key", "/orders"} {
		res := gatewaytest.Do(gw, httptest.NewRequest("GET", target, nil))
		text, _ := gatewaytest.Text(res)
		fmt.Println(res.StatusCode, strings.SplitAfter(text, ",")[0])
	}
	// Output:
	// 401 {"message":"No API key found in request",
	// 200 hello
	// 404 {"message":"no Route matched with those values",
}

// All that is wrong is said at once.
func ExampleLoad_problems() {
	_, err := config.Load("kong.yml", strings.NewReader(`
_format_version: "3.0"
services:
- name: users
  url: http://users.test
  retrys: 3
  plugins: [{name: key-auht}]
`), config.Options{})
	fmt.Println(err)
	// Output:
	// kong.yml:6:3: services[0].retrys: unknown field "retrys"; did you mean "retries"?
	// kong.yml:7:20: services[0].plugins[0].name: found "key-auht": is no plugin; did you mean "key-auth"?
}

// What a reviewer wants to know about a change.
func ExampleDiff() {
	load := func(text string) *config.Snapshot {
		return gateway.Must(config.Load("kong.yml", strings.NewReader(text), config.Options{}))
	}
	before := load(users)
	after := load(strings.NewReplacer("paths: [/users]", "paths: [/users, /people]", "ann-key", "another").Replace(users))
	fmt.Print(config.Diff(before, after))
	// Output:
	// ~ route users
	//     paths: ["/users"] → ["/users","/people"]
	// ~ keyauth_credential of ann
	//     key: changed
}
