package config_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/config"
	"github.com/gatehouse-go/gateway/internal/rawtest"
)

// As in Kong a WebSocket may go through any route, and read_timeout ends it when nothing is said.
func TestWebSocket(t *testing.T) {
	t.Parallel()
	up := rawtest.Listen(t, false)
	s, err := config.Load("kong.yml", strings.NewReader(strings.ReplaceAll(`
_format_version: "3.0"
services:
- name: s
  url: URL
  read_timeout: 200
  routes:
  - {name: r, paths: [/chat]}
`, "URL", up.URL)), config.Options{})
	require.NoError(t, err)
	gw, err := gateway.New(s.Gateway)
	require.NoError(t, err)
	server := httptest.NewServer(gw)
	t.Cleanup(server.Close)
	client := rawtest.Dial(t, server.Listener.Addr().String())
	client.Send("GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	target := up.Accept()
	require.Equal(t, []string{"websocket"}, target.ReadHead().Values("Upgrade"))
	target.Send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x05hello")
	require.Equal(t, http.StatusSwitchingProtocols, client.ReadAnswer(http.MethodGet).Status())
	client.Expect("\x81\x05hello")
	client.Expect("\x88\x02\x03\xe9") // going away
	client.Close()
	target.ExpectEnd()
	target.Close()
}
