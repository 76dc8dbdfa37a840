package transport_test

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
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/transport"
)

const forged = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"

// surplus are answers after which a target sends bytes that belong to none. The second string follows in a segment of its own.
var surplus = map[string][2]string{
	"204 with a body":            {"HTTP/1.1 204 No Content\r\n\r\n" + forged},
	"204 with an announced body": {fmt.Sprintf("HTTP/1.1 204 No Content\r\nContent-Length: %d\r\n\r\n", len(forged)), forged},
	"204 in chunks":              {"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", "2c\r\n" + forged + "\r\n0\r\n\r\n"},
	"304 with a body":            {fmt.Sprintf("HTTP/1.1 304 Not Modified\r\nContent-Length: %d\r\n\r\n", len(forged)), forged},
	"HEAD with a body":           {fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(forged)), forged},
	"more than Content-Length":   {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + forged},
	"content with length 0":      {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + forged},
	"after the last chunk":       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + forged},
	"part of a head":             {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\nX: "},
}

// sloppyTarget answers /sloppy with parts and everything else with its path.
func sloppyTarget(t *testing.T, secure *tls.Config, parts [2]string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	if secure != nil {
		l = tls.NewListener(l, secure)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					if r.URL.Path != "/sloppy" {
						_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(r.URL.Path), r.URL.Path)
						continue
					}
					_, _ = io.WriteString(c, parts[0])
					if parts[1] != "" {
						_, _ = io.WriteString(c, parts[1])
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		conns.Wait()
	})
	return l.Addr().String()
}

// Nobody gets bytes a target sent before it had their request.
func TestNoAnswerIsCrossed(t *testing.T) {
	t.Parallel()
	https := httptest.NewTLSServer(http.NotFoundHandler())
	https.Close()
	certificate := https.TLS.Clone()
	certificate.NextProtos = nil
	roots := https.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	for name, parts := range surplus {
		for _, scheme := range [...]string{"http", "https", "direct"} {
			t.Run(scheme+" "+name, func(t *testing.T) {
				t.Parallel()
				config := transport.Config{MaxConns: 3, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
				var addr string
				if scheme == "https" {
					addr = sloppyTarget(t, certificate, parts)
				} else {
					addr = sloppyTarget(t, nil, parts)
				}
				var s transport.Transport = transport.NewStandard(config)
				scheme := scheme
				if scheme == "direct" {
					s, scheme = transport.NewDirect(config), "http"
				}
				defer s.Close()
				var clients sync.WaitGroup
				for i := range 8 {
					clients.Go(func() {
						for j := range 30 {
							r := outgoing(t.Context(), scheme+"://"+addr+"/sloppy", nil)
							if strings.HasPrefix(name, "HEAD") {
								r.Method = http.MethodHead
							}
							if j%3 > 0 {
								r = outgoing(t.Context(), fmt.Sprintf("%s://%s/%d/%d", scheme, addr, i, j), nil)
							}
							res, err := s.Send(r, transport.Limits{Connect: time.Minute, FirstByte: time.Minute})
							if !assertNoError(t, err) {
								return
							}
							got, err := io.ReadAll(res.Body)
							if !assertNoError(t, err) {
								return
							}
							if j%3 > 0 && (string(got) != r.URL.Path || len(res.Header) > 1) {
								t.Errorf("%s got %q, %v", r.URL.Path, got, res.Header)
							}
							_ = res.Body.Close()
						}
					})
				}
				clients.Wait()
			})
		}
	}
}

// assertNoError is for goroutines other than the test's.
func assertNoError(t *testing.T, err error) bool {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
	return err == nil
}

// What a target sends on an idle connection is nobody's answer either.
func TestUnsolicitedBytes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int64
		s := transport.NewStandard(transport.Config{Dial: func(context.Context, string, string) (net.Conn, error) {
			dials.Add(1)
			client, server := net.Pipe()
			go func() {
				defer server.Close()
				in := bufio.NewReader(server)
				for {
					if _, err := http.ReadRequest(in); err != nil {
						return
					}
					_, _ = io.WriteString(server, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
					time.Sleep(time.Second)
					_, _ = io.WriteString(server, forged)
				}
			}()
			return client, nil
		}})
		for range 3 {
			res, err := s.Send(outgoing(t.Context(), "http://a.test/", nil), transport.Limits{})
			require.NoError(t, err)
			got, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			require.Equal(t, "ok", string(got))
			require.NoError(t, res.Body.Close())
			time.Sleep(2 * time.Second)
		}
		require.EqualValues(t, 3, dials.Load())
		require.NoError(t, s.Close())
	})
}

// A kept connection the target has ended is not used, even when nobody has noticed yet; so a request that may not be
// sent twice does not fail on it.
func TestEndedConnection(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			}
			_ = c.Close()
		}
	}()
	for _, s := range []transport.Transport{transport.NewStandard(transport.Config{MaxConns: 1}), transport.NewDirect(transport.Config{MaxConns: 1})} {
		testEndedConnection(t, s, l)
	}
}

func testEndedConnection(t *testing.T, s transport.Transport, l net.Listener) {
	t.Helper()
	for range 200 {
		r := outgoing(t.Context(), "http://"+l.Addr().String(), nil)
		r.Method = http.MethodDelete
		res, err := s.Send(r, transport.Limits{FirstByte: time.Minute})
		if err != nil { // the end had not arrived
			require.Contains(t, []string{transport.StaleConnection, transport.ConnectionReset}, code(t, err))
			continue
		}
		_, err = io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
	}
	require.NoError(t, s.Close())
}

// witness is a round tripper that remembers what it saw.
type witness struct {
	next http.RoundTripper
	res  *http.Response
}

func (w *witness) RoundTrip(r *http.Request) (res *http.Response, err error) {
	w.res, err = w.next.RoundTrip(r)
	return w.res, err
}

// HTTP/1.1 over TLS is reported to the application's round trippers as such.
func TestTLSState(t *testing.T) {
	t.Parallel()
	for _, h2 := range []bool{false, true} {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		srv.EnableHTTP2 = h2
		srv.StartTLS()
		roots := srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
		s := transport.NewStandard(transport.Config{TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}})
		seen := &witness{}
		through, failed := transport.Through(s, []func(http.RoundTripper) http.RoundTripper{func(next http.RoundTripper) http.RoundTripper {
			seen.next = next
			return seen
		}})
		require.Negative(t, failed)
		res, err := through.Send(outgoing(t.Context(), srv.URL, nil), transport.Limits{})
		require.NoError(t, err)
		require.NotNil(t, seen.res.TLS)
		require.NotEmpty(t, seen.res.TLS.PeerCertificates)
		require.Equal(t, h2, res.ProtoMajor == 2)
		require.NoError(t, res.Body.Close())
		require.NoError(t, s.Close())
		srv.Close()
	}
}
