package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/policy"
)

// A client that belongs to a target still does when another one was quicker for once, and not when its own has failed.
func TestHedgingKeepsClientsAtTheirTargets(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		about string
		ways  []string
		bound bool
		moves bool
	}{
		{"slow", []string{"stall", ""}, true, false},
		{"slow, and then failed", []string{"reset later", "late"}, true, true},
		{"failed", []string{"reset", ""}, true, true},
		{"new, and the first is slow", []string{"stall", ""}, false, true},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			_, targets := mishaps(t, tt.ways...)
			sticky := balancer.Sticky{Cookie: balancer.Cookie{Name: "at"}, Secrets: [][]byte{[]byte(strings.Repeat("s", 32))}}
			cookie := func(of balancer.Target) *http.Cookie {
				pool, err := balancer.NewPool(balancer.Config{Targets: []balancer.Target{of}, Algorithm: sticky})
				require.NoError(t, err)
				defer pool.Close()
				q := balancer.Query{Request: httptest.NewRequest(http.MethodGet, "/", nil), Now: time.Now()}
				m, err := pool.Pick(q)
				require.NoError(t, err)
				return pool.Cookie(q, m)
			}
			up := retrying(t, gateway.UpstreamConfig{Targets: targets, Algorithm: sticky, Retry: policy.Retry{Hedge: 20 * time.Millisecond}})
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			if tt.bound {
				r.AddCookie(cookie(targets[0]))
			}
			w := httptest.NewRecorder()
			up.ServeHTTP(w, r)
			require.Equal(t, 200, w.Code)
			if !tt.moves {
				require.Empty(t, w.Header()["Set-Cookie"])
				return
			}
			res := w.Result()
			defer res.Body.Close()
			require.Len(t, res.Cookies(), 1)
			require.Equal(t, cookie(targets[1]).Value, res.Cookies()[0].Value)
		})
	}
}
