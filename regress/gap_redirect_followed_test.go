package regress_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/rawtest"
)

// A gateway that follows the redirects of a target sends requests, with the client's credentials, wherever the target says.
func TestRedirectsAreTheClients(t *testing.T) {
	t.Parallel()
	other := rawtest.Listen(t, false)
	r := rigged(t, nil, rawtest.Reply{Text: "HTTP/1.1 307 Temporary Redirect\r\nLocation: " + other.URL + "/inside\r\nContent-Length: 0\r\n\r\n"})
	m := r.ask("GET /open/a HTTP/1.1\nAuthorization: Basic x")
	require.Equal(t, 307, m.Status())
	require.Equal(t, []string{other.URL + "/inside"}, m.Values("Location"))
	require.Len(t, r.target.Requests(), 1)
	require.Zero(t, other.Connections())
}
