package clientconn_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/clientconn"
)

// serve serves h with net/http over connections of this package, and ordinary ones when plain is set.
func serve(t testing.TB, plain bool, h http.HandlerFunc, set func(*httptest.Server)) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	if !plain {
		srv.Listener = clientconn.NewGate(srv.Listener, clientconn.Options{})
	}
	if set != nil {
		set(srv)
	}
	if srv.TLS != nil {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	return srv
}

func dial(t testing.TB, srv *httptest.Server) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", srv.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(30*time.Second)))
	return c, bufio.NewReader(c)
}

func answer(t testing.TB, in *bufio.Reader) string {
	t.Helper()
	res, err := http.ReadResponse(in, nil)
	require.NoError(t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return string(body)
}

func path(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) }

const get = "GET %s HTTP/1.1\r\nHost: a.test\r\n\r\n"

func TestServer(t *testing.T) {
	t.Parallel()
	timeouts := func(srv *httptest.Server) {
		srv.Config.IdleTimeout, srv.Config.ReadHeaderTimeout = time.Minute, time.Minute
	}
	t.Run("one after the other", func(t *testing.T) {
		t.Parallel()
		c, in := dial(t, serve(t, false, path, timeouts))
		for i := range 100 {
			_, err := fmt.Fprintf(c, get, fmt.Sprintf("/%d", i))
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("/%d", i), answer(t, in))
		}
	})
	t.Run("all at once", func(t *testing.T) {
		t.Parallel()
		c, in := dial(t, serve(t, false, path, timeouts))
		var all strings.Builder
		for i := range 100 {
			fmt.Fprintf(&all, get, fmt.Sprintf("/%d", i))
		}
		_, err := io.WriteString(c, all.String())
		require.NoError(t, err)
		for i := range 100 {
			require.Equal(t, fmt.Sprintf("/%d", i), answer(t, in))
		}
	})
	t.Run("in pieces", func(t *testing.T) {
		t.Parallel()
		c, in := dial(t, serve(t, false, path, timeouts))
		for range 3 {
			for _, b := range []byte(fmt.Sprintf(get, "/a")) {
				_, err := c.Write([]byte{b})
				require.NoError(t, err)
			}
			require.Equal(t, "/a", answer(t, in))
		}
	})
	t.Run("bodies", func(t *testing.T) {
		t.Parallel()
		srv := serve(t, false, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }, timeouts)
		body := strings.Repeat("abcdefgh", 1<<17)
		for range 3 {
			res, err := srv.Client().Post(srv.URL, "", strings.NewReader(body))
			require.NoError(t, err)
			got, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			require.Equal(t, body, string(got))
		}
	})
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprintf("the client leaves, late: %v", late), func(t *testing.T) {
			t.Parallel()
			there, left := make(chan struct{}), make(chan struct{})
			c, _ := dial(t, serve(t, false, func(_ http.ResponseWriter, r *http.Request) {
				close(there)
				<-r.Context().Done()
				close(left)
			}, timeouts))
			_, err := fmt.Fprintf(c, get, "/")
			require.NoError(t, err)
			<-there
			if late {
				after(t, 2*brief)
			}
			require.NoError(t, c.Close())
			<-left
		})
	}
	t.Run("idle for too long", func(t *testing.T) {
		t.Parallel()
		c, in := dial(t, serve(t, false, path, func(srv *httptest.Server) { srv.Config.IdleTimeout = 2 * brief }))
		for range 3 { // each sets it anew
			_, err := fmt.Fprintf(c, get, "/a")
			require.NoError(t, err)
			require.Equal(t, "/a", answer(t, in))
		}
		_, err := in.ReadByte()
		require.ErrorIs(t, err, io.EOF)
	})
	t.Run("a head that takes too long", func(t *testing.T) {
		t.Parallel()
		c, in := dial(t, serve(t, false, path, func(srv *httptest.Server) {
			srv.Config.IdleTimeout, srv.Config.ReadHeaderTimeout = time.Hour, 2*brief
		}))
		_, err := fmt.Fprintf(c, get+"GET /", "/a")
		require.NoError(t, err)
		require.Equal(t, "/a", answer(t, in))
		_, err = io.Copy(io.Discard, in)
		require.NoError(t, err, "it is closed")
	})
	t.Run("an answer nobody reads", func(t *testing.T) {
		t.Parallel()
		failed := make(chan error, 1)
		c, _ := dial(t, serve(t, false, func(w http.ResponseWriter, _ *http.Request) {
			err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(brief))
			for err == nil {
				_, err = w.Write(make([]byte, 1<<20))
			}
			failed <- err
		}, timeouts))
		_, err := fmt.Fprintf(c, get, "/")
		require.NoError(t, err)
		var timeout net.Error
		require.ErrorAs(t, <-failed, &timeout)
		require.True(t, timeout.Timeout())
	})
	t.Run("taken over", func(t *testing.T) {
		t.Parallel()
		c, in := dial(t, serve(t, false, func(w http.ResponseWriter, _ *http.Request) {
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = io.Copy(conn, rw)
		}, timeouts))
		_, err := fmt.Fprintf(c, get+"first ", "/")
		require.NoError(t, err)
		for range 3 {
			_, err = io.WriteString(c, "more\n")
			require.NoError(t, err)
			line, err := in.ReadString('\n')
			require.NoError(t, err)
			require.Contains(t, line, "more")
		}
	})
	t.Run("over TLS", func(t *testing.T) {
		t.Parallel()
		for _, http2 := range []bool{false, true} {
			srv := serve(t, false, path, func(srv *httptest.Server) {
				timeouts(srv)
				srv.EnableHTTP2, srv.TLS = http2, new(tls.Config)
			})
			for range 5 {
				res, err := srv.Client().Get(srv.URL + "/a")
				require.NoError(t, err)
				got, err := io.ReadAll(res.Body)
				require.NoError(t, err)
				require.NoError(t, res.Body.Close())
				require.Equal(t, "/a", string(got))
				require.Equal(t, http2, res.ProtoMajor == 2)
			}
		}
	})
	t.Run("shut down", func(t *testing.T) {
		t.Parallel()
		srv := serve(t, false, path, timeouts)
		c, in := dial(t, srv)
		_, err := fmt.Fprintf(c, get, "/a")
		require.NoError(t, err)
		require.Equal(t, "/a", answer(t, in))
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		require.NoError(t, srv.Config.Shutdown(ctx))
		_, err = in.ReadByte()
		require.ErrorIs(t, err, io.EOF)
	})
}

func BenchmarkServer(b *testing.B) {
	for _, plain := range []bool{true, false} {
		b.Run(map[bool]string{true: "net", false: "clientconn"}[plain], func(b *testing.B) {
			srv := serve(b, plain, path, func(srv *httptest.Server) {
				srv.Config.IdleTimeout, srv.Config.ReadHeaderTimeout = time.Minute, 5*time.Second
			})
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				c, _ := dial(b, srv)
				message, buf := []byte(fmt.Sprintf(get, "/a")), make([]byte, 1<<10)
				for pb.Next() {
					if _, err := c.Write(message); err != nil {
						b.Fatal(err)
					}
					if _, err := c.Read(buf); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
