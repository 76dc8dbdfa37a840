package regress_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth/acl"
	"github.com/gatehouse-go/gateway/policy"
)

// Most gateways run policies in whatever order they are written. A list of groups in front of the one that finds out who the
// caller is lets nobody in or everybody, and a limit by consumer counts all callers as one.
func TestPoliciesInTheWrongOrderAreRefused(t *testing.T) {
	t.Parallel()
	groups := must(acl.New(acl.Config{Allow: []string{"staff"}}))
	for name, plugins := range map[string][]gateway.Plugin{
		"acl outside":      {groups, keys()},
		"acl alone":        {groups},
		"limit outside":    {once(policy.ByConsumer()), keys()},
		"limit alone":      {once(policy.ByConsumer())},
		"limit by key":     {once(policy.ByCredential()), keys(), groups},
		"acl before limit": {groups, once(policy.ByConsumer()), keys()},
	} {
		_, err := gateway.New(gateway.Config{Routes: []gateway.Route{{Name: "all", Handler: handlerOf("up"), Plugins: plugins}}})
		require.Error(t, err, name)
	}
	r := rigged(t, func(c *gateway.Config, _ *gateway.Upstream) {
		c.Routes[1].Plugins = []gateway.Plugin{keys(), groups, once(policy.ByConsumer())}
	})
	r.refused(401, "GET /admin/a HTTP/1.1\nX-Consumer-Groups: staff\nX-Consumer-Id: 1")
	r.refused(403, "GET /admin/a HTTP/1.1\nApikey: k2\nX-Consumer-Groups: staff\nx_consumer_groups: staff")
	r.passes("GET /admin/a HTTP/1.1\nApikey: k")
	r.refused(429, "GET /admin/a HTTP/1.1\nApikey: k")
}
