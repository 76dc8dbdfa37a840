package transport_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/transport"
)

// clearServer speaks HTTP/2 without TLS, and HTTP/1.1 if it may, and counts its connections.
func clearServer(t *testing.T, http1 bool, conns *atomic.Int64, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(http1)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)
	return srv.URL
}

// clearTransports are those that speak HTTP/2 without TLS.
func clearTransports() map[string]func() transport.Transport {
	c := transport.Config{ClearHTTP2: true}
	return map[string]func() transport.Transport{
		"standard": func() transport.Transport { return transport.NewStandard(c) },
		"direct":   func() transport.Transport { return transport.NewDirect(c) },
	}
}

func TestClearHTTP2(t *testing.T) {
	t.Parallel()
	limits := transport.Limits{Connect: time.Minute, FirstByte: time.Minute, Idle: time.Minute}
	for name, start := range clearTransports() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var conns atomic.Int64
			url := clearServer(t, false, &conns, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Proto", r.Proto)
				w.Header().Set("Trailer", "X-End")
				_, _ = io.Copy(w, r.Body)
				w.Header().Set("X-End", r.Method)
			})
			s := start()
			ask := func(method, body string) {
				r := outgoing(t.Context(), url, strings.NewReader(body))
				r.Method = method
				if body == "" {
					r.Body = http.NoBody
				}
				res, err := s.Send(r, limits)
				require.NoError(t, err)
				got, err := io.ReadAll(res.Body)
				require.NoError(t, err)
				require.Equal(t, 2, res.ProtoMajor)
				require.Equal(t, []string{"HTTP/2.0"}, res.Header.Values("X-Proto"))
				if method != http.MethodHead {
					require.Equal(t, body, string(got))
					require.Equal(t, method, res.Trailer().Get("X-End"))
				}
				require.NoError(t, res.Body.Close())
			}
			ask(http.MethodPost, "first")
			ask(http.MethodHead, "")
			var together sync.WaitGroup
			for i := range 20 {
				together.Go(func() { ask(http.MethodPost, strings.Repeat(fmt.Sprint(i), 50_000)) })
			}
			together.Wait()
			require.EqualValues(t, 1, conns.Load(), "all on one connection, which HEAD leaves as it is")
			require.NoError(t, s.Close())
			_, err := s.Send(outgoing(t.Context(), url, nil), limits)
			require.Equal(t, transport.Closed, code(t, err))
		})
	}
}

// A target that speaks only HTTP/1.1 gives no answer, soon.
func TestClearHTTP2IsNotUnderstood(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.Start()
	t.Cleanup(srv.Close)
	for name, start := range clearTransports() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start()
			defer s.Close()
			_, err := s.Send(outgoing(t.Context(), srv.URL, nil), transport.Limits{Connect: time.Minute, FirstByte: time.Minute})
			require.Contains(t, []string{transport.InvalidResponse, transport.ConnectionReset}, code(t, err), "%v", err)
		})
	}
}

// Protocols are switched in HTTP/1.1.
func TestClearHTTP2AndUpgrade(t *testing.T) {
	t.Parallel()
	for name, start := range clearTransports() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var conns atomic.Int64
			url := clearServer(t, true, &conns, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Upgrade", r.Header.Get("Upgrade"))
				w.Header().Set("Connection", "upgrade")
				w.WriteHeader(http.StatusSwitchingProtocols)
				c, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					return
				}
				_, _ = io.Copy(c, c)
				_ = c.Close()
			})
			s := start()
			defer s.Close()
			r := outgoing(t.Context(), url, nil)
			r.Header = http.Header{"Connection": {"upgrade"}, "Upgrade": {"echo"}}
			res, err := s.Send(r, transport.Limits{})
			require.NoError(t, err)
			require.NotNil(t, res.Switched)
			_, err = io.WriteString(res.Switched, "hello")
			require.NoError(t, err)
			got := make([]byte, 5)
			_, err = io.ReadFull(res.Switched, got)
			require.NoError(t, err)
			require.Equal(t, "hello", string(got))
			require.NoError(t, res.Switched.Close())
		})
	}
}

// A cancelled exchange ends its own stream and no other.
func TestClearHTTP2Cancelled(t *testing.T) {
	t.Parallel()
	for name, start := range clearTransports() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var conns atomic.Int64
			began, left := make(chan struct{}), make(chan struct{})
			url := clearServer(t, false, &conns, func(_ http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/wait" {
					close(began)
					<-r.Context().Done()
					close(left)
				}
			})
			s := start()
			defer s.Close()
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-began
				cancel()
			}()
			_, err := s.Send(outgoing(ctx, url+"/wait", nil), transport.Limits{})
			require.Equal(t, transport.Canceled, code(t, err))
			<-left
			res, err := s.Send(outgoing(t.Context(), url, nil), transport.Limits{})
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			require.EqualValues(t, 1, conns.Load())
		})
	}
}

// An exchange whose context ends is over, although its client neither sends more nor ends what it sends.
func TestCancelledWhileTheClientPauses(t *testing.T) {
	t.Parallel()
	for name, start := range clearTransports() {
		for _, before := range []bool{true, false} {
			t.Run(fmt.Sprint(name, " before the answer: ", before), func(t *testing.T) {
				t.Parallel()
				var conns atomic.Int64
				began, left := make(chan struct{}), make(chan struct{})
				url := clearServer(t, false, &conns, func(w http.ResponseWriter, r *http.Request) {
					if !before {
						_ = http.NewResponseController(w).Flush()
					}
					close(began)
					<-r.Context().Done()
					close(left)
				})
				s := start()
				defer s.Close()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				body, client := io.Pipe()
				defer client.Close()
				if before {
					go func() {
						<-began
						cancel()
					}()
				}
				res, err := s.Send(outgoing(ctx, url, body), transport.Limits{})
				if !before {
					require.NoError(t, err)
					<-began
					cancel()
					_, err = res.Body.Read(make([]byte, 1))
					require.NoError(t, res.Body.Close())
				}
				require.Equal(t, transport.Canceled, code(t, err))
				<-left
			})
		}
	}
}
