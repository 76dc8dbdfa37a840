package regress_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/internal/rawtest"
	"github.com/gatehouse-go/gateway/policy"
)

// Pingora, Envoy (CVE-2026-73548) and nghttpx sent on what came behind a request to switch protocols before the target had
// agreed: a target that did not read it as a request that no rule had seen.
func TestNothingFollowsAnUpgradeThatWasNotAnswered(t *testing.T) {
	t.Parallel()
	const behind = "GET /admin/x HTTP/1.1\r\nHost: h\r\n\r\n"
	r := rigged(t, func(c *gateway.Config, u *gateway.Upstream) {
		c.Routes = append(c.Routes, gateway.Route{
			Name: "switch", Public: true, Match: paths("/switch"), Handler: u, Forward: gateway.Forward{Upgrade: policy.Upgrade{Protocols: []string{"echo"}}},
		})
	})
	for _, path := range []string{"/open/a", "/switch"} {
		before := len(r.target.Requests())
		c := rawtest.Dial(t, r.addr)
		c.Send("GET " + path + " HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n" + behind)
		require.Equal(t, 200, c.ReadAnswer(http.MethodGet).Status(), "the target does not switch")
		require.Equal(t, 401, c.ReadAnswer(http.MethodGet).Status(), "what follows is a request like any other")
		got := r.target.Requests()[before:]
		require.Len(t, got, 1, "%v", got)
		require.Equal(t, "GET "+path+" HTTP/1.1", got[0].Start)
	}
	for _, body := range []string{"Content-Length: 36", "Transfer-Encoding: chunked"} {
		r.refused(400, "GET /switch HTTP/1.1\nConnection: Upgrade\nUpgrade: echo\n"+body)
	}
}
