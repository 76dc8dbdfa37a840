package gatewaytest

import (
	"fmt"
	"log/slog"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/policy"
)

// FailureOf returns how a property fails, or "" when it holds for as many seeds as a Check tries. It neither shrinks nor
// writes a file, as a Check would that fails.
func FailureOf(prop func(*rapid.T)) string {
	for seed := range 100 {
		if text := rapid.Custom(func(t *rapid.T) string { return attempt(t, prop) }).Example(seed); text != "" {
			return text
		}
	}
	return ""
}

func attempt(t *rapid.T, prop func(*rapid.T)) (text string) {
	rapid.Bool().Draw(t, "what draws nothing is no generator")
	defer func() {
		if v := recover(); v != nil { // which is how rapid fails
			text = fmt.Sprint(v)
		}
	}()
	prop(t)
	return ""
}

// TestDisagreements sets a gateway and rules against each other that are not those of the same table.
func TestDisagreements(t *testing.T) {
	t.Parallel()
	route := func(name string, m gateway.Match) gateway.Route {
		return gateway.Route{Name: name, Match: m, Handler: http.NotFoundHandler()}
	}
	ours := []gateway.Route{route("users", gateway.Match{Methods: []string{"GET", "PUT"}, Paths: []string{"/users/:id", "/a"}})}
	for name, c := range map[string]struct {
		change func(t *rapid.T, s *tableServer)
		text   string
	}{
		"none": {func(*rapid.T, *tableServer) {}, ""},
		"another table": {func(_ *rapid.T, s *tableServer) {
			s.naive = newNaive([]gateway.Route{route("other", ours[0].Match)})
		}, `the request went to route "users", and by the rules it is one for route "other"`},
		"a route less": {func(_ *rapid.T, s *tableServer) { s.naive = nil }, `the request went to route "users", and by the rules it is one for no route`},
		"another pattern": {func(_ *rapid.T, s *tableServer) {
			s.naive = newNaive([]gateway.Route{route("users", gateway.Match{Paths: []string{"/*rest"}})})
		},
			`, and by the rules by "/*rest"`},
		"another value": {func(_ *rapid.T, s *tableServer) {
			for i := range s.naive {
				if s.naive[i].kind == naiveParameters {
					s.naive[i].path = "/users/:name"
				}
			}
		}, `the pattern "/users/:id" of route "users" found the path value name "", and by the rules it is "`},
		"another method": {func(_ *rapid.T, s *tableServer) {
			s.naive = newNaive([]gateway.Route{route("users", gateway.Match{Methods: []string{"GET", "PUT", "QUERY"}, Paths: ours[0].Match.Paths})})
		}, `no route takes the method: the answer was 405 with Allow: "GET, HEAD, PUT", and by the rules it is 405 with Allow: "GET, HEAD, PUT, QUERY"`},
		"a stricter entry": {func(t *rapid.T, s *tableServer) { s.entry = entryOf(t, policy.EntryConfig{MaxURLLength: 1}) },
			`the entry refuses the request, but route "users" took it`},
		"a stricter gateway": {func(t *rapid.T, s *tableServer) {
			s.gateway = gatewayOf(t, gateway.Config{Routes: ours, EntryConfig: policy.EntryConfig{MaxURLLength: 1}})
		}, `the request was refused (entry refused url_too_long 414), and an entry with the same configuration lets it in`},
		"another handler": {func(t *rapid.T, s *tableServer) {
			lying := ours[0]
			lying.Handler = s.note("other")
			s.gateway = gatewayOf(t, gateway.Config{Routes: []gateway.Route{lying}})
		}, `the answer 200 did not come from the handler of route "users"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := FailureOf(func(t *rapid.T) {
				s := newTableServer(t, gateway.Config{Routes: ours})
				defer s.close()
				c.change(t, s)
				s.check(t, Properties{}.filled().near(s.config).draw(t))
			})
			if c.text == "" {
				require.Empty(t, text)
				return
			}
			require.Contains(t, text, c.text)
		})
	}
}

func entryOf(t *rapid.T, c policy.EntryConfig) *policy.Entry {
	e, err := policy.NewEntry(c)
	require.NoError(t, err)
	return e
}

func gatewayOf(t *rapid.T, c gateway.Config) *gateway.Gateway {
	c.Logger = slog.New(slog.DiscardHandler)
	gw, err := gateway.New(c)
	require.NoError(t, err)
	return gw
}
