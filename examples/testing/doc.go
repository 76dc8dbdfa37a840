// Package testing shows how an application tests its policies in its own unit tests: no ports, no sleeping. The
// interesting part is in the test file.
package testing

import (
	"errors"
	"io"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/ratelimit"
)

// New is the gateway of an application, as its main uses it: one upstream behind API keys and 60 requests a minute.
// The upstream's configuration comes from outside, so that a test can put one in memory in its place.
func New(users gateway.UpstreamConfig) (*gateway.Gateway, error) {
	up, err1 := gateway.NewUpstream(users)
	keys, err2 := keyauth.New(keyauth.Config{Consumers: auth.Static{"k1": {ID: "1", Username: "ann"}, "k2": {ID: "2", Username: "bob"}}})
	limit, err3 := ratelimit.New(ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerMinute(60)}, Key: policy.ByConsumer(), Algorithm: ratelimit.FixedWindow})
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	return gateway.New(gateway.Config{
		Routes: []gateway.Route{{Name: "users", Match: gateway.Match{Paths: []string{"/users/*rest"}}, Plugins: []gateway.Plugin{keys, limit}, Handler: up}},
		Owns:   []io.Closer{up},
	})
}
