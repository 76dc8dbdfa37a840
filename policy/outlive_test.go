package policy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/policy"
)

// trickling is a request body that does not end by itself.
type trickling struct{}

func (trickling) Read(p []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return copy(p, "xxxxxxxx"), nil
}

// Whoever reads the body beyond the handler's end, as net/http's own Transport does, touches nothing that is gone: on
// HTTP/2 that would end the process.
func TestReadBeyondTheHandler(t *testing.T) {
	t.Parallel()
	for _, h2 := range []bool{false, true} {
		for name, h := range map[string]http.HandlerFunc{
			"returns": func(_ http.ResponseWriter, r *http.Request) { go func() { _, _ = io.Copy(io.Discard, r.Body) }() },
			"panics": func(_ http.ResponseWriter, r *http.Request) {
				go func() { _, _ = io.Copy(io.Discard, r.Body) }()
				panic(http.ErrAbortHandler)
			},
			"timed out": func(w http.ResponseWriter, r *http.Request) {
				http.TimeoutHandler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
				}), 10*time.Millisecond, "late").ServeHTTP(w, r)
			},
			"inner entry": policy.Must(policy.NewEntry(policy.EntryConfig{})).Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				go func() { _, _ = io.Copy(io.Discard, r.Body) }()
			})).ServeHTTP,
		} {
			t.Run(fmt.Sprintf("%s, HTTP/2: %v", name, h2), func(t *testing.T) {
				t.Parallel()
				srv := httptest.NewUnstartedServer(policy.Must(policy.NewEntry(policy.EntryConfig{})).Wrap(h))
				srv.EnableHTTP2 = h2
				srv.StartTLS()
				defer srv.Close()
				for range 20 {
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
					r, err := http.NewRequestWithContext(ctx, http.MethodPost, srv.URL, trickling{})
					require.NoError(t, err)
					if res, err := srv.Client().Do(r); err == nil {
						_ = res.Body.Close()
					}
					cancel()
				}
			})
		}
	}
}

// A late Read does not move the deadline of the connection's next wait.
func TestReadBeyondTheHandlerKeepsIdleTimeout(t *testing.T) {
	t.Parallel()
	late := make(chan struct{})
	entry := policy.Must(policy.NewEntry(policy.EntryConfig{}))
	srv := httptest.NewUnstartedServer(entry.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body := r.Body
		time.AfterFunc(20*time.Millisecond, func() {
			defer close(late)
			_, _ = body.Read(make([]byte, 10))
		})
	})))
	srv.Config.IdleTimeout = 200 * time.Millisecond
	srv.Start()
	defer srv.Close()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(srv.URL, "http://"))
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(30*time.Second))) // a test that hangs shall fail
	_, err = io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
	require.NoError(t, err)
	br := bufio.NewReader(c)
	res, err := http.ReadResponse(br, nil)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	<-late
	_, err = br.ReadByte()
	require.ErrorIs(t, err, io.EOF, "the server's IdleTimeout holds")
}
