package regress_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
)

// The repair of CVE-2024-45410 in Traefik compared names with regard to case: Connection: x-real-ip still removed the field.
func TestConnectionRemovesNoIdentity(t *testing.T) {
	t.Parallel()
	r := rigged(t, func(c *gateway.Config, _ *gateway.Upstream) { c.OwnedHeaders = []string{"X-Auth-User"} })
	for _, names := range []string{"X-Consumer-Id", "x-consumer-id", "X-CONSUMER-ID", "close,x-consumer-username ,x-consumer-id", "x_consumer_id", ",,x-consumer-groups"} {
		m := r.passes("GET /admin/a HTTP/1.1\nApikey: k\nConnection: " + names + "\nConnection: x-real-ip\nX-Consumer-Id: 0")
		require.Equal(t, []string{"1"}, m.Values("X-Consumer-Id"), names)
		require.Equal(t, []string{"ann"}, m.Values("X-Consumer-Username"), names)
		require.Equal(t, []string{"staff"}, m.Values("X-Consumer-Groups"), names)
		require.Len(t, m.Values("X-Real-Ip"), 1, names)
	}
	r.refused(401, "GET /admin/a HTTP/1.1\nApikey: k\nConnection: apikey")
}
