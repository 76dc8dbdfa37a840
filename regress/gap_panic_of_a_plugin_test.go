package regress_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
)

// A panic of a handler shows its value, often with what the client sent, in logs and on debug pages, and whoever holds something
// for the request when it goes by, such as a permit, keeps it.
func TestPanicsTellNothingAndKeepNothing(t *testing.T) {
	t.Parallel()
	held := make(chan struct{}, 1)
	holds := gateway.PluginFunc(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			held <- struct{}{}
			defer func() { <-held }()
			next.ServeHTTP(w, r)
		})
	})
	panics := gateway.PluginFunc(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.Header.Get("X-How") {
			case "text":
				panic("s3cret " + r.Header.Get("Apikey"))
			case "error":
				panic(errors.New("s3cret"))
			case "runtime":
				_ = []string{"s3cret"}[len(r.Header):]
			case "nil":
				panic(nil) //nolint:govet // which is one, too
			}
			next.ServeHTTP(w, r)
		})
	})
	r := rigged(t, func(c *gateway.Config, _ *gateway.Upstream) {
		c.Routes[1].Plugins = []gateway.Plugin{holds, keys(), panics}
	})
	for _, how := range []string{"text", "error", "runtime", "nil", "text"} {
		m := r.ask("GET /admin/a HTTP/1.1\nApikey: k\nX-How: " + how)
		require.Equal(t, 500, m.Status(), how)
		require.NotContains(t, m.Head+m.Body, "s3cret")
		require.NotContains(t, m.Head+m.Body, ".go:")
	}
	r.passes("GET /admin/a HTTP/1.1\nApikey: k")
	require.Contains(t, r.log.String(), "panic while serving")
	require.NotContains(t, r.log.String(), "s3cret")
}
