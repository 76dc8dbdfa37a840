package terminate_test

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/terminate"
)

// Maintenance begins and ends while requests come.
func TestStandby(t *testing.T) {
	t.Parallel()
	m, err := terminate.New(terminate.Config{Standby: true, Message: "Back at noon"})
	require.NoError(t, err)
	h := m.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	ask := func() (int, string) {
		x, r := policy.Ensure(httptest.NewRequest(http.MethodGet, "/", nil))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		reason := x.Decisions()[0].Reason
		require.Equal(t, reason, m.Preview(r).Reason)
		require.Equal(t, w.Code == http.StatusNoContent, m.Check(r) == nil)
		return w.Code, reason
	}
	for range 3 {
		require.False(t, m.Active())
		status, reason := ask()
		require.Equal(t, []any{204, "standby"}, []any{status, reason})
		m.SetActive(true)
		require.True(t, m.Active())
		status, reason = ask()
		require.Equal(t, []any{503, "terminated"}, []any{status, reason})
		m.SetActive(false)
	}
	w := httptest.NewRecorder()
	m.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, 503, w.Code, "as a handler it has nobody to pass on to")

	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for range 500 {
				m.SetActive(i%2 == 0)
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
				if w.Code != 204 && w.Code != 503 {
					t.Error(w.Code)
				}
			}
		})
	}
	all.Wait()

	var none *terminate.Terminator
	none.SetActive(false)
	require.True(t, none.Active())
	require.True(t, new(terminate.Terminator).Active())
}
