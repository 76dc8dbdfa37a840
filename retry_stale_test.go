package gateway_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
)

// However many kept connections have died, a request that may be repeated is answered, whatever tries and budget there are.
func TestManyStaleConnections(t *testing.T) {
	t.Parallel()
	const kept = 6
	for _, tt := range []struct {
		method, body string
		retry        policy.Retry
		status       int
	}{
		{http.MethodGet, "", policy.Retry{}, 200},
		{http.MethodGet, "", policy.Retry{Tries: 1}, 200},
		{http.MethodDelete, "", policy.Retry{}, 200},
		{http.MethodDelete, "", policy.Retry{Tries: 2}, 200},
		{http.MethodDelete, "", policy.Retry{Tries: 1}, 502},
		{http.MethodPut, "body", policy.Retry{MaxBody: 4}, 200},
		{http.MethodPut, "body", policy.Retry{MaxBody: 3}, 502},
		{http.MethodPost, "", policy.Retry{}, 502},
		{http.MethodPost, "body", policy.Retry{MaxBody: 4, Methods: []string{http.MethodPost}}, 200},
	} {
		for _, standard := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %s %d %t", tt.method, tt.body, tt.retry.Tries, standard), func(t *testing.T) {
				t.Parallel()
				var together sync.WaitGroup
				together.Add(kept)
				var delivered atomic.Int64
				url := scripted(t, func(c *net.TCPConn, in *bufio.Reader) {
					for {
						r, err := http.ReadRequest(in)
						if err != nil {
							return
						}
						body, _ := io.ReadAll(r.Body)
						switch r.URL.Path {
						case "/first": // on connections of their own
							together.Done()
							together.Wait()
							_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
							if _, err := in.Peek(1); err != nil {
								return
							}
							if tt.status != 200 { // with its body read, it is not to be had again
								if r, err := http.ReadRequest(in); err == nil {
									_, _ = io.Copy(io.Discard, r.Body)
								}
							}
							_ = c.SetLinger(0) // what comes next finds it dead
							return
						}
						if string(body) == tt.body {
							delivered.Add(1)
						}
						_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
					}
				})
				c := gateway.UpstreamConfig{Targets: []balancer.Target{{URL: url}}, Retry: tt.retry, RetryBudget: gateway.RetryBudget{Share: -1, Min: -1}}
				if standard {
					c.Outbound = []func(http.RoundTripper) http.RoundTripper{func(next http.RoundTripper) http.RoundTripper { return next }}
				}
				up := retrying(t, c)
				var first sync.WaitGroup
				for range kept {
					first.Go(func() {
						up.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/first", nil))
					})
				}
				first.Wait()
				w := httptest.NewRecorder()
				up.ServeHTTP(w, httptest.NewRequest(tt.method, "/", strings.NewReader(tt.body)))
				require.Equal(t, tt.status, w.Code)
				if tt.status == 200 {
					require.EqualValues(t, 1, delivered.Load())
				}
				require.Equal(t, balancer.Healthy, up.Status().Targets[0].Health)
			})
		}
	}
}

// h2Frame is one of HTTP/2 (RFC 9113 section 4.1).
func h2Frame(kind, flags byte, stream uint32, payload ...byte) []byte {
	b := append([]byte{0, 0, byte(len(payload)), kind, flags}, binary.BigEndian.AppendUint32(nil, stream)...)
	return append(b, payload...)
}

// clearHTTP2 returns the URL of a target that speaks HTTP/2 without TLS: it answers each request with 204, but the second one of the
// first connection, with which it does what late does, nil for closing it.
func clearHTTP2(t *testing.T, late func(stream uint32) []byte) string {
	t.Helper()
	const (
		data, headers, settings, ping = 0, 1, 4, 6
		ack, endStream, endHeaders    = 1, 1, 4
	)
	var conns atomic.Int64
	return scripted(t, func(c *net.TCPConn, in *bufio.Reader) {
		first, refused := conns.Add(1) == 1, uint32(0) // the stream that was
		_, _ = in.Discard(24)                          // the preface
		_, _ = c.Write(h2Frame(settings, 0, 0))
		for {
			var head [9]byte
			if _, err := io.ReadFull(in, head[:]); err != nil {
				return
			}
			payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
			if _, err := io.ReadFull(in, payload); err != nil {
				return
			}
			kind, flags, stream := head[3], head[4], binary.BigEndian.Uint32(head[5:])
			switch {
			case (kind == settings || kind == ping) && flags&ack == 0:
				if kind == settings {
					payload = nil
				}
				_, _ = c.Write(h2Frame(kind, ack, 0, payload...))
			case kind != headers && kind != data || refused != 0 && stream == refused:
			case flags&endStream == 0: // there is more of it
			case first && stream > 1 && refused == 0:
				if late == nil {
					return
				}
				refused = stream
				_, _ = c.Write(late(stream))
			default:
				_, _ = c.Write(h2Frame(headers, endStream|endHeaders, stream, 0x89)) // :status 204
			}
		}
	})
}

// A request that met the end of an HTTP/2 connection is sent again where that changes nothing; one that the target says it has not
// acted on, whatever its method, if its body is at hand.
func TestEndsOfHTTP2Connections(t *testing.T) {
	t.Parallel()
	const goAway, reset = 7, 3
	ends := map[string]func(stream uint32) []byte{
		"close":   nil,
		"goaway":  func(uint32) []byte { return h2Frame(goAway, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0) },
		"refused": func(stream uint32) []byte { return h2Frame(reset, 0, stream, 0, 0, 0, 7) },
		"failed":  func(stream uint32) []byte { return h2Frame(reset, 0, stream, 0, 0, 0, 2) }, // an exchange, and not the connection
	}
	for _, tt := range []struct {
		method, body string
		retry        policy.Retry
		status       map[string]int // by how it ends; 204 otherwise
	}{
		{http.MethodGet, "", policy.Retry{}, nil},
		{http.MethodDelete, "", policy.Retry{}, nil},
		{http.MethodPost, "", policy.Retry{}, map[string]int{"close": 502}},
		{http.MethodPut, "body", policy.Retry{MaxBody: 10}, nil},
		{http.MethodPost, "body", policy.Retry{MaxBody: 10}, nil}, // buffered as what might be repeated
		{http.MethodPost, "body", policy.Retry{MaxBody: 10, Methods: []string{http.MethodPost}}, nil},
	} {
		for how, late := range ends {
			t.Run(fmt.Sprintf("%s %s %v %s", tt.method, tt.body, tt.retry.Methods, how), func(t *testing.T) {
				t.Parallel()
				up := retrying(t, gateway.UpstreamConfig{Targets: []balancer.Target{{URL: clearHTTP2(t, late)}}, UnencryptedHTTP2: true, Retry: tt.retry})
				want := 204
				if s := tt.status[how]; s != 0 {
					want = s
				}
				if how == "failed" {
					want = 502
				}
				if tt.method == http.MethodPost && tt.body != "" && tt.retry.Methods == nil {
					want = 502 // its body was not kept
				}
				for i, status := range []int{204, want} {
					r := httptest.NewRequest(tt.method, "/", strings.NewReader(tt.body))
					if i == 0 {
						r = httptest.NewRequest(http.MethodGet, "/", nil)
					}
					w := httptest.NewRecorder()
					up.ServeHTTP(w, r)
					require.Equal(t, status, w.Code)
				}
				require.Equal(t, balancer.Healthy, up.Status().Targets[0].Health)
			})
		}
	}
}

// A target that resets every stream is asked a few times at most, whatever net/http makes of the code; and it is to blame.
func TestStreamsThatAreReset(t *testing.T) {
	t.Parallel()
	for code, most := range map[byte]map[string]int64{
		1: {http.MethodGet: 4, http.MethodDelete: 4, http.MethodPost: 2}, // PROTOCOL_ERROR, which net/http takes for a reason to try anew
		2: {http.MethodGet: 1, http.MethodDelete: 1, http.MethodPost: 1},
		8: {http.MethodGet: 1, http.MethodDelete: 1, http.MethodPost: 1},
	} {
		for method, most := range most {
			t.Run(fmt.Sprint(method, code), func(t *testing.T) {
				t.Parallel()
				var got atomic.Int64
				url := scripted(t, func(c *net.TCPConn, in *bufio.Reader) {
					_, _ = in.Discard(24)
					_, _ = c.Write(h2Frame(4, 0, 0))
					for {
						var head [9]byte
						if _, err := io.ReadFull(in, head[:]); err != nil {
							return
						}
						_, _ = in.Discard(int(head[0])<<16 | int(head[1])<<8 | int(head[2]))
						switch stream := binary.BigEndian.Uint32(head[5:]); {
						case head[3] == 4 && head[4] == 0:
							_, _ = c.Write(h2Frame(4, 1, 0))
						case head[3] == 1 && stream == 1 && got.Load() < 0: // the first one, which has the connection kept
							_, _ = c.Write(h2Frame(1, 5, stream, 0x89))
						case head[3] == 1:
							got.Add(1)
							_, _ = c.Write(h2Frame(3, 0, stream, 0, 0, 0, code))
						}
					}
				})
				up := retrying(t, gateway.UpstreamConfig{Targets: []balancer.Target{{URL: url}}, UnencryptedHTTP2: true, Health: balancer.Health{MaxEjected: 1}})
				got.Store(-1000)
				w := httptest.NewRecorder()
				up.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
				require.Equal(t, 204, w.Code)
				got.Store(0)
				for i := range 3 {
					w = httptest.NewRecorder()
					up.ServeHTTP(w, httptest.NewRequest(method, "/", nil))
					require.Equal(t, 502, w.Code)
					require.LessOrEqual(t, got.Load(), most*int64(i+1))
				}
				is := up.Status().Targets[0]
				require.Equal(t, "connection_reset", is.LastError)
				perhaps := code == 1 && method == http.MethodPost // it may have been refused for there being too many others
				require.Equal(t, perhaps, is.Health == balancer.Healthy, "it counts, other than a dead connection")
			})
		}
	}
}

// A request at which a target closes its connections is not tried at all of them.
func TestPoisonousRequest(t *testing.T) {
	t.Parallel()
	for _, standard := range []bool{false, true} {
		for _, body := range []string{"", "body"} {
			var got atomic.Int64
			var together sync.WaitGroup
			together.Add(10)
			url := scripted(t, func(c *net.TCPConn, in *bufio.Reader) {
				for {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					if r.URL.Path == "/poison" {
						got.Add(1)
						return
					}
					together.Done()
					together.Wait()
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
			})
			c := gateway.UpstreamConfig{Targets: []balancer.Target{{URL: url}}, Retry: policy.Retry{MaxBody: 10}}
			if standard {
				c.Outbound = []func(http.RoundTripper) http.RoundTripper{func(next http.RoundTripper) http.RoundTripper { return next }}
			}
			up := retrying(t, c)
			var first sync.WaitGroup
			for range 10 {
				first.Go(func() {
					up.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
				})
			}
			first.Wait()
			w := httptest.NewRecorder()
			up.ServeHTTP(w, httptest.NewRequest(http.MethodPut, "/poison", strings.NewReader(body)))
			require.Equal(t, 502, w.Code)
			require.LessOrEqual(t, got.Load(), int64(4), "%t %q", standard, body)
		}
	}
}

// The time for a request may end, or its client leave, while another try is waited for.
func TestBackOffThatEnds(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		step     http.Handler
		deadline bool
		status   int // 0 for a connection that is ended
	}{
		"an answer, and the time is over":   {gatewaytest.Respond(503, "x"), true, 504},
		"a failure, and the time is over":   {gatewaytest.Reset(), true, 502},
		"an answer, and the client leaves":  {gatewaytest.Respond(503, "x"), false, 0},
		"a failure, and the client leaves.": {gatewaytest.Reset(), false, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			target := gatewaytest.NewUpstream("a.test", tt.step)
			up, err := gateway.NewUpstream(gateway.UpstreamConfig{
				Name: "up", Targets: []balancer.Target{{URL: "http://a.test"}}, Dial: gatewaytest.Dial(target),
				Retry: policy.Retry{Tries: 2, Statuses: []int{503}, BackOff: 10 * time.Second},
			})
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tt.deadline {
				ctx, cancel = context.WithTimeout(ctx, time.Second)
				defer cancel()
			} else {
				time.AfterFunc(time.Second, cancel)
			}
			w := httptest.NewRecorder()
			var ended error
			func() {
				defer func() { ended, _ = recover().(error) }()
				up.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx))
			}()
			if tt.status == 0 {
				require.ErrorIs(t, ended, http.ErrAbortHandler, name)
				require.Empty(t, w.Body.String(), name)
			} else {
				require.NoError(t, ended, name)
				require.Equal(t, tt.status, w.Code, name)
			}
			require.NoError(t, up.Close())
			require.NoError(t, target.Close())
		})
	}
}
