package regress_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/internal/rawtest"
	"github.com/gatehouse-go/gateway/traffic/terminate"
)

// Values with line ends that plugins put into fields, often made of what a client sent, became fields and whole answers of their
// own in many servers.
func TestValuesOfPluginsSplitNothing(t *testing.T) {
	t.Parallel()
	const evil = "1\r\nSet-Cookie: evil=1\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"
	answers := gateway.PluginFunc(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Value", evil)
			w.Header()["X-Name\r\nSet-Cookie: evil=1"] = []string{"1"}
			w.Header().Set("X-Good", "1")
			next.ServeHTTP(w, r)
		})
	})
	asks := gateway.PluginFunc(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("X-Value", strings.ReplaceAll(evil, "HTTP/1.1 200 OK", "GET /evil HTTP/1.1"))
			next.ServeHTTP(w, r)
		})
	})
	r := rigged(t, func(c *gateway.Config, u *gateway.Upstream) {
		c.Routes = append(c.Routes,
			gateway.Route{Name: "answers", Public: true, Match: paths("/answers"), Plugins: []gateway.Plugin{answers}, Handler: u},
			gateway.Route{Name: "asks", Public: true, Match: paths("/asks"), Plugins: []gateway.Plugin{asks}, Handler: u},
			gateway.Route{Name: "rewrites", Public: true, Match: paths("/rewrites"), Handler: u, Forward: gateway.Forward{
				Rewrite: func(_, out *http.Request) { out.Header.Set("X-Value", "1\nX-Evil: 1") },
			}})
	})
	c := rawtest.Dial(t, r.addr)
	c.Send("GET /answers HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	text := c.ReadToEnd()
	require.Contains(t, text, "X-Good: 1\r\n")
	require.NotContains(t, text, "\r\nSet-Cookie:")
	require.Equal(t, 1, strings.Count(text, "\r\n\r\n"), text)

	for _, path := range []string{"/asks", "/rewrites"} {
		r.refused(500, "GET "+path+" HTTP/1.1")
	}
	require.Equal(t, 200, r.ask("GET /open/a HTTP/1.1").Status())

	_, err := terminate.New(terminate.Config{Header: http.Header{"X-Value": {evil}}})
	require.ErrorContains(t, err, "X-Value")
}
