package regress_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Traefik's rules by address were passed by with QUIC's early data, whose sender need not be at the address it names. Whether
// a request came as early data is for the server to say that received it, not for its client.
func TestEarlyDataIsNotTheClientsWord(t *testing.T) {
	t.Parallel()
	r := rigged(t, nil)
	m := r.passes("GET /open/a HTTP/1.1\nEarly-Data: 1\nearly_data: 1\nX-Data: 1")
	require.NotContains(t, m.Head, "arly")
	require.Equal(t, []string{"1"}, m.Values("X-Data"))
}
