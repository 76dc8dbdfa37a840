package gateway_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
)

// threeTargets are targets a, b and c, which say who they are.
func threeTargets(t *testing.T, config gateway.UpstreamConfig) (*gateway.Upstream, []*gatewaytest.Upstream) {
	t.Helper()
	var ups []*gatewaytest.Upstream
	for _, name := range []string{"a", "b", "c"} {
		up := gatewaytest.NewUpstream(name+".test", gatewaytest.Respond(200, name))
		t.Cleanup(func() { require.NoError(t, up.Close()) })
		ups = append(ups, up)
		config.Targets = append(config.Targets, balancer.Target{URL: up.URL()})
	}
	config.Dial = gatewaytest.Dial(ups...)
	return upstream(t, config), ups
}

func TestStickyCookieIsSet(t *testing.T) {
	t.Parallel()
	u, ups := threeTargets(t, gateway.UpstreamConfig{Algorithm: balancer.Sticky{
		Cookie: balancer.Cookie{Name: "target"}, Secrets: [][]byte{bytes.Repeat([]byte("s"), 16)},
	}})
	ups[2].Script(gatewaytest.Reset())
	mine := map[string]string{}
	for range 3 {
		res := gatewaytest.Do(u, get("/"))
		if res.StatusCode != 200 {
			require.Empty(t, res.Cookies(), "an answer in the place of a target's keeps nobody there")
			continue
		}
		require.Len(t, res.Cookies(), 1)
		c := res.Cookies()[0]
		require.True(t, c.Secure && c.HttpOnly && c.SameSite == http.SameSiteLaxMode)
		mine[c.Value] = text(t, res)
	}
	require.Len(t, mine, 2)
	for value, target := range mine {
		for range 4 {
			r := get("/")
			r.AddCookie(&http.Cookie{Name: "target", Value: value})
			res := gatewaytest.Do(u, r)
			require.Equal(t, target, text(t, res))
			require.Empty(t, res.Header["Set-Cookie"])
		}
	}
}

// The cookie stands beside those of the target and of plugins.
func TestStickyCookieBesideOthers(t *testing.T) {
	t.Parallel()
	up := gatewaytest.NewUpstream("a.test", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Set-Cookie"] = []string{"app=1", "app2=2"}
	}))
	t.Cleanup(func() { require.NoError(t, up.Close()) })
	u := upstream(t, gateway.UpstreamConfig{
		Targets: []balancer.Target{{URL: up.URL()}}, Dial: up.Dial, Algorithm: balancer.Ring{Cookie: &balancer.Cookie{Name: "sid", InsecureHTTP: true}},
	})
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Set-Cookie"] = []string{"plugin=0"}
		u.ServeHTTP(w, r)
	})
	lines := gatewaytest.Do(h, get("/")).Header["Set-Cookie"]
	require.Len(t, lines, 4)
	require.Equal(t, "plugin=0", lines[0])
	require.Regexp(t, `^sid=[0-9a-f]{16}; Path=/; HttpOnly; SameSite=Lax$`, lines[1])
	require.Equal(t, []string{"app=1", "app2=2"}, lines[2:])
}

// A parameter of the path, as the route has it, and the consumer reach the algorithm.
func TestHashInputsOfAGateway(t *testing.T) {
	t.Parallel()
	u, _ := threeTargets(t, gateway.UpstreamConfig{
		Name: "users", Algorithm: balancer.Maglev{Key: policy.ByPathValue("id").Or(policy.ByQuery("user"))}, SlowStart: time.Second, Zone: "here",
	})
	gw, err := gateway.New(gateway.Config{Routes: []gateway.Route{
		{Name: "users", Match: gateway.Match{Paths: []string{"/users/:id"}}, Handler: u}, {Name: "any", Match: gateway.Match{Paths: []string{"/any"}}, Handler: u},
	}})
	require.NoError(t, err)
	ask := func(target string) string {
		res := gatewaytest.Do(gw, httptest.NewRequest(http.MethodGet, target, nil))
		require.Equal(t, 200, res.StatusCode)
		return text(t, res)
	}
	seen := map[string]bool{}
	for i := range 20 {
		one, other := ask(fmt.Sprintf("/users/%d", i)), ask(fmt.Sprintf("/any?user=%d", i))
		seen[one] = true
		for range 3 {
			require.Equal(t, one, ask(fmt.Sprintf("/users/%d?x=%d", i, i)))
			require.Equal(t, other, ask(fmt.Sprintf("/any?user=%d", i)))
		}
	}
	require.Len(t, seen, 3)
	one, other := ask("/any"), ask("/any")
	require.NotEqual(t, one, other, "without any input requests go round")
}
