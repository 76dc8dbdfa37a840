package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
)

func TestProtect(t *testing.T) {
	t.Parallel()
	h, err := protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, policy.ExchangeFrom(r.Context()).Consumer().Username)
	}))
	require.NoError(t, err)
	r := httptest.NewRequest(http.MethodGet, "/hello", nil)
	require.Equal(t, http.StatusUnauthorized, gatewaytest.Do(h, r).StatusCode)

	r = httptest.NewRequest(http.MethodGet, "/hello", nil)
	r.Header.Set("Apikey", "secret")
	res := gatewaytest.Do(h, r)
	require.Equal(t, http.StatusOK, res.StatusCode)
	text, err := gatewaytest.Text(res)
	require.NoError(t, err)
	require.Equal(t, "ann", text)
}
