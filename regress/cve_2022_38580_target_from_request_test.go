package regress_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/rawtest"
)

// Skipper sent a request where the client's field X-Skipper-Proxy said. No part of a request chooses the target here.
func TestClientsDoNotChooseTheTarget(t *testing.T) {
	t.Parallel()
	other := rawtest.Listen(t, false)
	other.Serve(rawtest.Reply{Text: up})
	r := rigged(t, nil)
	for _, head := range []string{
		"GET /open/a HTTP/1.1\nHost: " + other.Addr,
		"GET http://" + other.Addr + "/open/a HTTP/1.1\nHost: h",
		"GET //" + other.Addr + "/../open/a HTTP/1.1",
		"GET /open/http://" + other.Addr + "/ HTTP/1.1",
		"GET /open/a HTTP/1.1\nX-Skipper-Proxy: " + other.URL + "\nX-Forwarded-Host: " + other.Addr + "\nForwarded: host=" + other.Addr +
			"\nX-Original-Host: " + other.Addr + "\nX-Original-Url: " + other.URL + "\nX-Host: " + other.Addr + "\nProxy: " + other.URL,
	} {
		require.Equal(t, []string{r.target.Addr}, r.passes(head).Values("Host"))
	}
	r.refused(405, "CONNECT "+other.Addr+" HTTP/1.1")
	require.Zero(t, other.Connections())
}
