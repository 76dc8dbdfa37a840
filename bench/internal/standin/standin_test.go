package standin_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/bench/internal/standin"
)

func TestChain(t *testing.T) {
	t.Parallel()
	var got http.Header
	h := standin.Chain(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		_, _ = io.WriteString(w, "ok")
	}))
	for key, status := range map[string]int{"": 401, "key-10000": 401, "key-9999": 200} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		if key != "" {
			r.Header.Set("Apikey", key)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Equal(t, status, w.Code, key)
		if status == http.StatusOK {
			require.Equal(t, "bench", w.Header().Get("X-Gateway"))
			require.Equal(t, "1000000", w.Header().Get(standin.LimitHeader))
			require.Equal(t, "999999", w.Header().Get(standin.RemainingHeader))
			require.Equal(t, http.Header{
				"X-Gateway": {"bench"}, "X-Consumer-Id": {"consumer-9999"}, "X-Credential-Identifier": {"consumer-9999"},
			}, got)
		}
	}
}

func TestLimiterRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const burst = standin.PerSecond
		l, c := standin.NewLimiter(), new(standin.Consumer)
		for i := range int64(burst) {
			left, ok := l.Admit(c)
			require.True(t, ok && left == burst-1-i)
		}
		_, ok := l.Admit(c)
		require.False(t, ok)
		time.Sleep(time.Microsecond) // one request's worth
		left, ok := l.Admit(c)
		require.True(t, ok)
		require.Zero(t, left)
	})
}
