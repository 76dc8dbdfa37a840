package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// start serves a mode of the anchor and returns its URL.
func start(t *testing.T, mode, upstream string, policies bool, routes int) string {
	t.Helper()
	if mode == "fasthttp" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		srv := newFastServer(upstream, policies)
		go func() { _ = srv.Serve(l) }()
		t.Cleanup(func() { _ = srv.Shutdown() })
		return "http://" + l.Addr().String()
	}
	h, err := handler(mode, upstream, policies, routes)
	require.NoError(t, err)
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

func get(t *testing.T, url, key string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	if key != "" {
		r.Header.Set("Apikey", key)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(body)
}

func TestAnchors(t *testing.T) {
	t.Parallel()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Got", r.Header.Get("X-Consumer-Id")+r.Header.Get("X-Gateway")+r.Header.Get("Apikey"))
		n := originBytes
		if r.URL.Path == "/long" {
			n = 1 << 16
		}
		_, _ = io.WriteString(w, strings.Repeat("x", n))
	}))
	t.Cleanup(origin.Close)
	addr := strings.TrimPrefix(origin.URL, "http://")
	for _, mode := range []string{"noop", "raw", "httputil", "fasthttp"} {
		url := start(t, mode, addr, false, 0)
		for range 2 {
			resp, body := get(t, url, "")
			require.Equal(t, http.StatusOK, resp.StatusCode, mode)
			require.Len(t, body, originBytes, mode)
		}
		url = start(t, mode, addr, true, 0)
		resp, _ := get(t, url, "")
		require.Equal(t, http.StatusUnauthorized, resp.StatusCode, mode)
		resp, body := get(t, url, "key-42")
		require.Equal(t, http.StatusOK, resp.StatusCode, mode)
		require.Len(t, body, originBytes, mode)
		require.Equal(t, "bench", resp.Header.Get("X-Gateway"), mode)
		require.Equal(t, "100000000", resp.Header.Get("Ratelimit-Limit"), mode)
		if mode == "httputil" || mode == "fasthttp" {
			require.Equal(t, "consumer-42bench", resp.Header.Get("X-Got"), mode)
		}
	}

	url := start(t, "httputil", addr, false, 10)
	resp, _ := get(t, url+"/svc9/items/5", "")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	resp, _ = get(t, url+"/svc10/items/5", "")
	require.Equal(t, http.StatusNotFound, resp.StatusCode)

	for _, mode := range []string{"raw", "httputil", "fasthttp"} {
		resp, _ = get(t, start(t, mode, "127.0.0.1:1", false, 0), "")
		require.Equal(t, http.StatusBadGateway, resp.StatusCode, mode)
	}
	_, err := handler("other", addr, false, 0)
	require.ErrorContains(t, err, "other")
}

func TestNoLengthIsNotForwarded(t *testing.T) {
	t.Parallel()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
	}))
	t.Cleanup(origin.Close)
	resp, _ := get(t, start(t, "raw", strings.TrimPrefix(origin.URL, "http://"), false, 0), "")
	require.Equal(t, http.StatusBadGateway, resp.StatusCode)
}
