package gateway_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
)

// An answer that is there whole arrives whole, also where its client may wait for the head as such.
func TestStreamOfDeclaredLength(t *testing.T) {
	t.Parallel()
	for _, contentType := range []string{"text/plain", "text/event-stream", "application/grpc"} {
		target := scripted(t, answering("HTTP/1.1 200 OK\r\nContent-Type: "+contentType+"\r\nContent-Length: 2\r\n\r\nok"))
		srv := front(t, upstream(t, gateway.UpstreamConfig{}, target))
		status, body, err := exchange(t, srv.Client(), "GET", srv.URL)
		require.NoError(t, err, contentType)
		require.Equal(t, 200, status)
		require.Equal(t, "ok", body)
	}
}
