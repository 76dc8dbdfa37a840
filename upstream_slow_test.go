package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
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

// slowGateway serves an upstream that counts what it gets, on /plain and, Streaming, on /stream.
func slowGateway(t *testing.T, c gateway.UpstreamConfig, e policy.EntryConfig) string {
	t.Helper()
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, n)
	}))
	t.Cleanup(target.Close)
	c.Name, c.Targets = "up", []balancer.Target{{URL: target.URL}}
	up := gateway.Must(gateway.NewUpstream(c))
	t.Cleanup(func() { _ = up.Close() })
	srv := httptest.NewServer(gateway.Must(gateway.New(gateway.Config{EntryConfig: e, Routes: []gateway.Route{
		{Name: "plain", Match: gateway.Match{Paths: []string{"/plain"}}, Handler: up},
		{Name: "stream", Match: gateway.Match{Paths: []string{"/stream"}}, Handler: up, Streaming: true},
	}})))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// slowUpload sends the head of a POST and returns the connection.
func slowUpload(t *testing.T, addr, path string, length int) net.Conn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute))) // a test that hangs shall fail
	_, err = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", path, length)
	require.NoError(t, err)
	return c
}

func TestDrippingUploadThroughUpstream(t *testing.T) {
	t.Parallel()
	addr := slowGateway(t, gateway.UpstreamConfig{}, policy.EntryConfig{ReadProgress: 800 * time.Millisecond, MinReadRate: 100})
	for path, status := range map[string]int{"/plain": http.StatusRequestTimeout, "/stream": http.StatusOK} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			c := slowUpload(t, addr, path, 20)
			for range 20 {
				time.Sleep(100 * time.Millisecond)
				if _, err := io.WriteString(c, "x"); err != nil {
					break // the gateway has closed
				}
			}
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			require.NoError(t, err)
			require.Equal(t, status, res.StatusCode)
			require.NoError(t, res.Body.Close())
		})
	}
}

// A client that holds the upstream's only connection with a body that does not come loses it to one that needs it.
func TestSlowUploadMakesRoom(t *testing.T) {
	t.Parallel()
	addr := slowGateway(t, gateway.UpstreamConfig{MaxConns: 1}, policy.EntryConfig{})
	slow := slowUpload(t, addr, "/plain", 10)
	_, err := io.WriteString(slow, "x")
	require.NoError(t, err)
	type answer struct {
		res *http.Response
		err error
	}
	cut := make(chan answer, 1)
	go func() {
		res, err := http.ReadResponse(bufio.NewReader(slow), nil)
		cut <- answer{res, err}
	}()
	for { // the first may come before the slow one has its connection
		status, _, err := fetch("http://" + addr + "/plain")
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
		select {
		case a := <-cut:
			require.NoError(t, a.err)
			require.Equal(t, http.StatusRequestTimeout, a.res.StatusCode)
			require.True(t, a.res.Close)
			body, err := io.ReadAll(a.res.Body)
			require.NoError(t, err)
			require.Contains(t, string(body), "did not arrive in time")
			return
		default:
		}
	}
}
