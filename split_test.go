package gateway_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/split"
)

// TestSplitAsHandler: a gateway sees through a Split, says which arm a request would get, and holds it to its contract.
func TestSplitAsHandler(t *testing.T) {
	t.Parallel()
	v1, v2 := upstreamFor(t, "v1", gateway.Timeouts{}), upstreamFor(t, "v2", gateway.Timeouts{})
	canary := gateway.Must(split.New(split.Config{
		Name: "app", Sticky: policy.ByConsumer(), Overrides: []split.Override{{Group: "beta", Arm: "canary"}, {Header: "X-Arm", Arm: "canary"}},
		Arms: []split.Arm{{Name: "stable", Weight: 100, Handler: v1}, {Name: "canary", Handler: v2}},
	}))
	keys := gateway.Must(keyauth.New(keyauth.Config{Consumers: auth.Static{"ann-key": {ID: "1", Groups: []string{"beta"}}, "bob-key": {ID: "2"}}}))
	routes := func(plugins ...gateway.Plugin) gateway.Config {
		return gateway.Config{Logger: quiet(), Routes: []gateway.Route{{Name: "app", Handler: canary, Plugins: plugins}}}
	}
	_, err := gateway.New(routes())
	require.EqualError(t, err, `gateway: route "app": plugin "app" requires "authenticated", and no plugin around it provides that; put one that authenticates, such as key-auth, before it`)
	gw := gateway.Must(gateway.New(routes(keys)))

	s := gw.Status()
	require.Equal(t, "app", s.Routes[0].Handler)
	require.Len(t, s.Upstreams, 2)
	require.Equal(t, []string{"v1", "v2"}, []string{s.Upstreams[0].Name, s.Upstreams[1].Name})

	for _, c := range []struct{ key, arm, want string }{
		{"ann-key", "", "allowed override_group (canary)"},
		{"bob-key", "", "allowed sticky (stable)"},
		{"bob-key", "canary", "allowed override_header (canary)"},
		{"bob-key", "nonsense", "allowed sticky (stable)"},
	} {
		e := gw.Explain(ask(http.MethodGet, "/", "apikey", c.key, "X-Arm", c.arm))
		require.Equal(t, "handled by app", e.Outcome)
		require.NotNil(t, e.Handler.Preview)
		require.Equal(t, c.want, e.Handler.Preview.String())
		require.Contains(t, e.String(), "  app, a *split.Split: "+c.want+"\n    v1, a *gateway.Upstream\n")
		text, err := json.Marshal(e)
		require.NoError(t, err)
		require.Contains(t, string(text), `"preview":{"by":"app","verdict":"allowed"`)
		require.Len(t, e.Handler.Handlers, 2)
	}
	for _, a := range canary.Status().Arms {
		require.Zero(t, a.Requests, "nothing was sent")
	}

	nobody := gateway.Must(gateway.New(gateway.Config{Logger: quiet(), Routes: []gateway.Route{{Name: "app", Handler: new(split.Split)}}}))
	require.Equal(t, 503, gatewaytest.Do(nobody, get("/")).StatusCode)
}
