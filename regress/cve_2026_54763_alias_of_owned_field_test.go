package regress_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
)

// Traefik removed X-Auth-User and let X_Auth_User pass, and after that was repaired X.Auth.User (CVE-2026-88011): servers that make
// variables of names take all three for one.
func TestAliasesOfOwnedFields(t *testing.T) {
	t.Parallel()
	r := rigged(t, func(c *gateway.Config, _ *gateway.Upstream) { c.OwnedHeaders = []string{"X-Auth-User"} })
	for _, name := range []string{
		"X-Auth-User", "x-auth-user", "X_Auth_User", "x_auth-USER", "X.Auth.User", "X-Auth.User", "X~Auth~User", "X!Auth'User", "X|Auth^User", "X`Auth*User", "X+Auth&User",
		"X_Consumer_Id", "x.consumer.groups", "X-Consumer_Username", "X_Forwarded_For", "X.Forwarded.Host", "X_Real_Ip", "x_original_url", "X_HTTP_Method_Override",
		"X_Request_Id", "x.request.id", "Content_Length", "Transfer.Encoding", "X_Credential.Identifier",
	} {
		m := r.passes("GET /admin/a HTTP/1.1\nApikey: k\n" + name + ": forged\nX-Other_user: 1")
		require.NotContains(t, m.Head, "forged", name)
		require.Equal(t, []string{"1"}, m.Values("X-Other_user"))
	}
}
