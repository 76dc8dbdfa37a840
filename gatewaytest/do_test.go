package gatewaytest_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/gatewaytest"
)

func TestDo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		status  int
		body    string
		err     error
	}{
		"answer":         {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201); _, _ = io.WriteString(w, "made") }, 201, "made", nil},
		"nothing is 200": {func(http.ResponseWriter, *http.Request) {}, 200, "", nil},
		"early hints":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(103); w.WriteHeader(404) }, 404, "", nil},
		"abort at once":  {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0, "", io.ErrUnexpectedEOF},
		"abort in between": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "ha")
			panic(http.ErrAbortHandler)
		}, 200, "ha", io.ErrUnexpectedEOF},
		"abort after head": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200); panic(http.ErrAbortHandler) }, 200, "", io.ErrUnexpectedEOF},
		"too short": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5")
			_, _ = io.WriteString(w, "ha")
		}, 200, "ha", io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res := gatewaytest.Do(c.handler, httptest.NewRequest(http.MethodGet, "/", nil))
			require.Equal(t, c.status, res.StatusCode)
			text, err := gatewaytest.Text(res)
			require.Equal(t, c.body, text)
			require.ErrorIs(t, err, c.err)
		})
	}
}

func TestDoHead(t *testing.T) {
	t.Parallel()
	res := gatewaytest.Do(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "5")
	}), httptest.NewRequest(http.MethodHead, "/", nil))
	text, err := gatewaytest.Text(res)
	require.NoError(t, err)
	require.Empty(t, text)
	require.EqualValues(t, 5, res.ContentLength)
}

func TestDoLetsOtherPanicsThrough(t *testing.T) {
	t.Parallel()
	require.PanicsWithValue(t, "bug", func() {
		gatewaytest.Do(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("bug") }), httptest.NewRequest(http.MethodGet, "/", nil))
	})
}
