package gateway_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/internal/rawtest"
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

// TestTunnelsThroughASplit: a WebSocket counts when it begins, stays in its arm whatever becomes of the weights, and is in flight until
// it ends.
func TestTunnelsThroughASplit(t *testing.T) {
	t.Parallel()
	blue, green := rawtest.Listen(t, false), rawtest.Listen(t, false)
	s := gateway.Must(split.New(split.Config{
		Arms: []split.Arm{
			{Name: "blue", Weight: 1, Handler: upstream(t, gateway.UpstreamConfig{}, blue.URL)},
			{Name: "green", Handler: upstream(t, gateway.UpstreamConfig{}, green.URL)},
		},
		Header: "X-Arm", Cookie: split.Cookie{Name: "arm", InsecureHTTP: true}, Rollback: split.Rule{Arm: "green", Against: "blue"},
	}))
	gw := gateway.Must(gateway.New(gateway.Config{Logger: quiet(), Routes: []gateway.Route{{
		Name: "app", Handler: s, Forward: gateway.Forward{Upgrade: gateway.Upgrade{Protocols: []string{"websocket"}}},
	}}}))
	addr := front(t, gw).Listener.Addr().String()
	open := func(up *rawtest.Upstream, arm string) (client, target *rawtest.Conn) {
		client = rawtest.Dial(t, addr)
		client.Send(wsAsks)
		target = up.Accept()
		target.ReadHead()
		target.Send(wsAnswers)
		m := client.ReadAnswer(http.MethodGet)
		require.Equal(t, 101, m.Status())
		require.Equal(t, []string{arm}, m.Values("X-Arm"))
		require.Len(t, m.Values("Set-Cookie"), 1)
		return client, target
	}
	first, inBlue := open(blue, "blue")
	require.NoError(t, s.Switch("green"))
	second, inGreen := open(green, "green")
	for range 2 {
		inBlue.Send(frame(1, "a"))
		first.Expect(frame(1, "a"))
	}
	for _, a := range s.Status().Arms {
		require.Equal(t, []int{1, 1, 0}, []int{a.InFlight, a.WindowRequests, a.WindowErrors}, a.Name)
	}
	first.Close()
	inBlue.ExpectEnd()
	inBlue.Close()
	require.Eventually(t, func() bool { return s.Status().Arms[0].InFlight == 0 }, 10*time.Second, time.Millisecond)
	require.Equal(t, 1, s.Status().Arms[1].InFlight)
	second.Close()
	inGreen.ExpectEnd()
	inGreen.Close()
	require.Eventually(t, func() bool { return s.Status().Arms[1].InFlight == 0 }, 10*time.Second, time.Millisecond)
}
