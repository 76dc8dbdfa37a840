package regress_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
)

// net/http panics over a status below 100 or above 999, wherever it comes from: a target that answers 099 or a handler that
// passes on a status it never got ended the client's connection with a stack in the log (golang/go#80875 and others).
func TestStatusesThatAreNone(t *testing.T) {
	t.Parallel()
	var status int
	r := rigged(t, func(c *gateway.Config, _ *gateway.Upstream) {
		c.Routes = append(c.Routes, gateway.Route{Name: "status", Public: true, Match: paths("/status"), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
		})})
	})
	for _, status = range []int{0, -1, 1, 99, 1000, 65536} {
		m := r.ask("GET /status HTTP/1.1")
		require.Equal(t, 500, m.Status(), "%d", status)
		require.NoError(t, m.Broken)
		require.NotContains(t, m.Body, "WriteHeader")
	}
	status = 299
	require.Equal(t, 299, r.ask("GET /status HTTP/1.1").Status())
}
