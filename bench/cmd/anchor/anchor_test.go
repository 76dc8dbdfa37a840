package main

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/bench/internal/certificate"
)

// start serves a mode of the anchor and returns its URL.
func start(t *testing.T, mode, upstream string, policies bool, routes int) string {
	t.Helper()
	return "http://" + startTLS(t, nil, mode, upstream, policies, routes)
}

// startTLS serves a mode of the anchor, over TLS if there is a configuration of it, and returns its address.
func startTLS(t *testing.T, cfg *tls.Config, mode, upstream string, policies bool, routes int) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- serve(l, cfg, mode, upstream, policies, routes) }()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
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
		require.Equal(t, "1000000", resp.Header.Get("X-Ratelimit-Limit-Second"), mode)
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

func TestTLS(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tls.pem")
	require.NoError(t, certificate.Write(file))
	server, err := certificate.Server(file, file)
	require.NoError(t, err)
	trust, err := certificate.Client(file)
	require.NoError(t, err)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Got", r.Header.Get("X-Forwarded-Proto"))
		_, _ = io.WriteString(w, strings.Repeat("x", originBytes))
	}))
	t.Cleanup(origin.Close)
	for _, mode := range []string{"noop", "raw", "httputil", "fasthttp"} {
		url := "https://" + startTLS(t, server, mode, strings.TrimPrefix(origin.URL, "http://"), false, 0)
		for major := 1; major <= 2; major++ {
			if major == 2 && mode == "fasthttp" {
				continue
			}
			client := http.Client{Transport: &http.Transport{
				TLSClientConfig: trust.Clone(), ForceAttemptHTTP2: major == 2, DisableKeepAlives: true,
			}}
			resp, err := client.Get(url)
			require.NoError(t, err, mode)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, http.StatusOK, resp.StatusCode, mode)
			require.Equal(t, major, resp.ProtoMajor, mode)
			require.NoError(t, certificate.Check(resp.TLS), mode)
			if mode == "httputil" || mode == "fasthttp" {
				require.Equal(t, "https", resp.Header.Get("X-Got"), mode)
			}
		}
	}
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
