package regress_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/internal/rawtest"
)

// ReverseProxy ends an answer that broke off with a panic. Middleware of many programs recovered from it, and had then sent half
// an answer as a whole one.
func TestHalfAnAnswerIsNoWholeOne(t *testing.T) {
	t.Parallel()
	swallows := gateway.PluginFunc(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() { _ = recover() }()
			next.ServeHTTP(w, r)
		})
	})
	panics := gateway.PluginFunc(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			_ = http.NewResponseController(w).Flush()
			panic("after the answer")
		})
	})
	for name, half := range map[string]string{
		"length": "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
		"chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rigged(t, func(c *gateway.Config, u *gateway.Upstream) {
				c.Routes = append(c.Routes,
					gateway.Route{Name: "swallows", Match: paths("/swallows"), Public: true, Plugins: []gateway.Plugin{swallows}, Handler: u},
					gateway.Route{Name: "panics", Match: paths("/panics"), Public: true, Plugins: []gateway.Plugin{panics}, Handler: u})
			}, rawtest.Reply{Text: up}, rawtest.Reply{Text: half, Then: rawtest.Close}, rawtest.Reply{Text: half, Then: rawtest.Close}, rawtest.Reply{Text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nup\r\n0\r\n\r\n"})
			require.NoError(t, r.ask("GET /swallows HTTP/1.1").Broken)
			for _, path := range []string{"/open/a", "/swallows", "/panics"} {
				c := rawtest.Dial(t, r.addr)
				c.Send("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n")
				if text := c.ReadToEnd(); text != "" { // nothing at all is as clear
					require.True(t, strings.HasSuffix(text, "half") || strings.HasSuffix(text, "half\r\n") || strings.HasSuffix(text, "up\r\n"), "%s: %q", path, text)
				}
			}
		})
	}
}
