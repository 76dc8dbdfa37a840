package gateway_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
)

// TestInformationalAnswers: those that say something to the client come before the answer, a bounded number of them, and
// nothing of what was prepared for it.
func TestInformationalAnswers(t *testing.T) {
	t.Parallel()
	const hint = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nSet-Cookie: a=b\r\nX-Hop: 1\r\nConnection: X-Hop\r\n\r\n"
	target := scripted(t, func(c *net.TCPConn, in *bufio.Reader) {
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			hints := "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 110 Unknown\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + hint
			if r.URL.Path == "/many" {
				hints = strings.Repeat(hint, 20)
			}
			_, _ = io.WriteString(c, hints+"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	same := func(next http.RoundTripper) http.RoundTripper { return next }
	for name, outbound := range map[string][]func(http.RoundTripper) http.RoundTripper{"direct": nil, "standard": {same}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := upstream(t, gateway.UpstreamConfig{Outbound: outbound}, target)
			srv := front(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Prepared", "1")
				u.ServeHTTP(w, r)
			}))
			for path, want := range map[string][]int{"/": {102, 103}, "/many": {103, 103, 103, 103, 103, 103, 103, 103}} {
				var statuses []int
				var hints http.Header
				ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(status int, h textproto.MIMEHeader) error {
					statuses = append(statuses, status)
					hints = http.Header(h)
					return nil
				}})
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+path, nil)
				require.NoError(t, err)
				res, err := srv.Client().Do(r)
				require.NoError(t, err)
				require.Equal(t, "ok", text(t, res))
				require.Equal(t, "1", res.Header.Get("X-Prepared"))
				require.Empty(t, res.Header.Get("Link"))
				require.Equal(t, want, statuses, path)
				require.Equal(t, http.Header{"Link": {"</a.css>"}}, hints)
			}
			c, in := dialFront(t, srv)
			_, err := io.WriteString(c, "GET / HTTP/1.0\r\nHost: h\r\n\r\n")
			require.NoError(t, err)
			line, err := in.ReadString('\n')
			require.NoError(t, err)
			require.Contains(t, line, "200 OK", "HTTP/1.0 knows no others")
		})
	}
}

// TestFlushInterval: bytes of an answer of declared length reach the client although the rest does not come.
func TestFlushInterval(t *testing.T) {
	t.Parallel()
	for _, interval := range []time.Duration{-1, 2 * time.Millisecond} {
		rest := make(chan struct{})
		u := upstream(t, gateway.UpstreamConfig{}, scripted(t, func(c *net.TCPConn, in *bufio.Reader) {
			if _, err := http.ReadRequest(in); err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\none")
			<-rest
			_, _ = io.WriteString(c, "two")
			_, _ = io.WriteString(c, "end")
			_, _ = io.Copy(io.Discard, in)
		}))
		gw, err := gateway.New(gateway.Config{Routes: []gateway.Route{{
			Name: "r", Match: gateway.Match{Prefixes: []string{"/"}}, Handler: u, Forward: gateway.Forward{FlushInterval: interval},
		}}})
		require.NoError(t, err)
		c, in := dialFront(t, front(t, gw))
		_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		require.NoError(t, err)
		res, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		require.EqualValues(t, 9, res.ContentLength)
		first := make([]byte, 3)
		_, err = io.ReadFull(res.Body, first)
		require.NoError(t, err)
		require.Equal(t, "one", string(first))
		close(rest)
		require.Equal(t, "twoend", text(t, res))
		require.NoError(t, gw.Shutdown(t.Context()))
	}
}
