package regress_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Clients of Traefik had X-Forwarded-Host and others of its own fields removed by naming them in Connection.
func TestConnectionRemovesNoForwardingField(t *testing.T) {
	t.Parallel()
	r := rigged(t, nil)
	fields := []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Real-Ip", "Via", "X-Request-Id", "Host"}
	for _, name := range append(fields, "Keep-Alive") {
		m := r.passes("GET /open/a HTTP/1.1\nConnection: close, " + name + ", X-Mine\nX-Mine: 1\nX-Other: 1")
		for _, name := range fields {
			require.Len(t, m.Values(name), 1, "%s, in %q", name, m.Head)
		}
		require.Empty(t, m.Values("X-Mine"), "what is the client's own to name")
		require.Equal(t, []string{"1"}, m.Values("X-Other"))
	}
}
