package transport

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSurplusBehindAnAnswer: a connection that was put back is offered to the next exchange only when nothing came behind the
// answer, below TLS and above. It used to be offered first and read then, so that the surplus passed for the answer to a request
// that was written meanwhile.
func TestSurplusBehindAnAnswer(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		for _, surplus := range []string{"", "surplus"} {
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				c, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					return
				}
				defer c.Close()
				_, _ = io.WriteString(c, "first."+surplus) // in one piece
				if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					_, _ = io.WriteString(c, "second")
				}
			}))
			var raw net.Conn
			var err error
			if secure {
				srv.StartTLS()
				raw, err = (&tls.Dialer{Config: srv.Client().Transport.(*http.Transport).TLSClientConfig}).DialContext(t.Context(), "tcp", srv.Listener.Addr().String())
			} else {
				srv.Start()
				raw, err = new(net.Dialer).DialContext(t.Context(), "tcp", srv.Listener.Addr().String())
			}
			require.NoError(t, err)
			c := newHTTP1(raw)
			const request = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
			c.begin(t.Context().Done())
			_, err = io.WriteString(c, request)
			require.NoError(t, err)
			p := make([]byte, 6)
			_, err = io.ReadFull(c, p)
			require.NoError(t, err)
			require.Equal(t, "first.", string(p))

			c.judge(time.Time{})
			c.keep()
			if surplus != "" {
				_, err = c.Read(p)
				require.ErrorIs(t, err, errUnsolicited)
				require.Empty(t, c.free, "the next exchange is not let in")
				_, err = io.WriteString(c, request)
				require.Error(t, err)
			} else {
				read := make(chan error, 1)
				go func() {
					_, err := io.ReadFull(c, p)
					read <- err
				}()
				c.begin(t.Context().Done())
				_, err = io.WriteString(c, request)
				require.NoError(t, err)
				require.NoError(t, <-read)
				require.Equal(t, "second", string(p))
			}
			_ = c.Close()
			srv.Close()
		}
	}
}
