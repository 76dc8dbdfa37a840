package respw_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/respw"
)

// On real connections the kernel takes some megabytes before a write waits.
func TestStalledClientOverLoopback(t *testing.T) {
	t.Parallel()
	outcomes := make(chan error, 1)
	s := httptest.NewServer(http.HandlerFunc(func(under http.ResponseWriter, _ *http.Request) {
		w := respw.Wrap(under)
		w.LimitWrites(200 * time.Millisecond)
		var err error
		for err == nil {
			_, err = w.Write(make([]byte, 1<<20))
		}
		w.Finish()
		if !w.Stalled() {
			err = errors.New("not cut off by the limit")
		}
		outcomes <- err
	}))
	defer s.Close()
	conn := dialLoopback(t, s)
	_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: loopback\r\n\r\n")
	require.NoError(t, err)
	select {
	case err := <-outcomes:
		var netErr net.Error
		require.ErrorAs(t, err, &netErr)
		require.True(t, netErr.Timeout())
	case <-time.After(time.Minute):
		require.Fail(t, "the handler is still writing to a client that does not read")
	}
}

// A client that asks for many small answers in one go and takes none of them.
func TestPipeliningClientIsCutOff(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(under http.ResponseWriter, _ *http.Request) {
		w := respw.Wrap(under)
		w.LimitWrites(200 * time.Millisecond)
		_, _ = w.Write(make([]byte, 1500))
		w.Finish()
	}))
	closed := make(chan struct{}, 1)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed <- struct{}{}
		}
	}
	s.Start()
	defer s.Close()
	conn := dialLoopback(t, s)
	go func() {
		requests := strings.Repeat("GET / HTTP/1.1\r\nHost: loopback\r\n\r\n", 1000)
		for {
			if _, err := io.WriteString(conn, requests); err != nil {
				return
			}
		}
	}()
	select {
	case <-closed:
	case <-time.After(time.Minute):
		require.Fail(t, "the connection is still open")
	}
}

func dialLoopback(t *testing.T, s *httptest.Server) net.Conn {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", s.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
