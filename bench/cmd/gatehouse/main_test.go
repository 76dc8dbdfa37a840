package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
)

func TestConfigure(t *testing.T) {
	t.Parallel()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Got", r.Header.Get("X-Consumer-Id")+r.Header.Get("X-Gateway")+r.Header.Get("Apikey"))
	}))
	defer origin.Close()
	addr := strings.TrimPrefix(origin.URL, "http://")
	tests := []struct {
		policies  bool
		routes    int
		path, key string
		status    int
		got       string
	}{
		{false, 0, "/any", "", 200, ""},
		{true, 0, "/any", "", 401, ""},
		{true, 0, "/any", "key-10000", 401, ""},
		{true, 0, "/any", "key-9999", 200, "consumer-9999bench"},
		{false, 10, "/svc9/items/5", "", 200, ""},
		{false, 10, "/svc10/items/5", "", 404, ""},
	}
	for _, tt := range tests {
		c, err := configure(addr, tt.policies, tt.routes)
		require.NoError(t, err)
		gw, err := gateway.New(c)
		require.NoError(t, err)
		r := httptest.NewRequest(http.MethodGet, tt.path, nil)
		if tt.key != "" {
			r.Header.Set("Apikey", tt.key)
		}
		w := httptest.NewRecorder()
		gw.ServeHTTP(w, r)
		require.Equal(t, tt.status, w.Code, tt.path)
		require.Equal(t, tt.got, w.Header().Get("X-Got"))
		require.Equal(t, tt.got != "", w.Header().Get("X-Gateway") == "bench")
		require.NoError(t, gw.Shutdown(t.Context()))
	}
	_, err := configure("no address", false, 0)
	require.Error(t, err)
}
