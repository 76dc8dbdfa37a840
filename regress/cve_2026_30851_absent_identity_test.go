package regress_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Caddy copied fields of an authorisation's answer into the request and left the client's own where the answer had none: a
// consumer without a name or group could choose them.
func TestWhatAConsumerDoesNotHaveIsNotTheClients(t *testing.T) {
	t.Parallel()
	r := rigged(t, nil)
	m := r.passes("GET /admin/a HTTP/1.1\nApikey: k3\nX-Consumer-Username: root\nX-Consumer-Groups: staff\nX-Consumer-Custom-Id: 0\nx_anonymous_consumer: false")
	require.Equal(t, []string{"3"}, m.Values("X-Consumer-Id"))
	for _, name := range []string{"X-Consumer-Username", "X-Consumer-Groups", "X-Consumer-Custom-Id", "X-Anonymous-Consumer", "X_anonymous_consumer"} {
		require.Empty(t, m.Values(name), name)
	}
	require.Equal(t, []string{"ann"}, r.passes("GET /admin/a HTTP/1.1\nApikey: k\nX-Consumer-Username: root").Values("X-Consumer-Username"))
}
