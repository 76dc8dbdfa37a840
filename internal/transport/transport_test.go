package transport_test

import (
	"bufio"
	"context"
	"errors"
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
	"go.uber.org/goleak"

	"github.com/gatehouse-go/gateway/internal/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func outgoing(ctx context.Context, url string, body io.Reader) *http.Request {
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		panic(err)
	}
	return r
}

func code(t *testing.T, err error) string {
	t.Helper()
	var e *transport.Error
	require.ErrorAs(t, err, &e)
	require.Error(t, e.Err)
	require.Contains(t, e.Error(), e.Code)
	require.Equal(t, e.Err, errors.Unwrap(e))
	return e.Code
}

// watchedConn counts connections that are open.
type watchedConn struct {
	net.Conn

	open *atomic.Int64
	once sync.Once
}

func (c *watchedConn) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

func counting(open *atomic.Int64) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		open.Add(1)
		return &watchedConn{Conn: c, open: open}, nil
	}
}

// Idle connections, one in use and one whose answer nobody has read yet: after Close none is open.
func TestCloseLeavesNoConnection(t *testing.T) {
	t.Parallel()
	for _, tls := range []bool{false, true} {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/idle" {
				_, _ = io.WriteString(w, "ok")
				return
			}
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}))
		config := transport.Config{}
		var open atomic.Int64
		config.Dial = counting(&open)
		if tls {
			srv.EnableHTTP2 = true
			srv.StartTLS()
			config.TLS = srv.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
			config.TLS.NextProtos = nil
		} else {
			srv.Start()
		}
		s := transport.NewStandard(config)
		res, err := s.Send(outgoing(t.Context(), srv.URL+"/idle", nil), transport.Limits{})
		require.NoError(t, err)
		_, err = io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())

		res, err = s.Send(outgoing(t.Context(), srv.URL+"/stream", nil), transport.Limits{})
		require.NoError(t, err)
		require.Positive(t, open.Load())
		read := make(chan error, 1)
		go func() {
			_, err := res.Body.Read(make([]byte, 1))
			_ = res.Body.Close()
			read <- err
		}()
		require.NoError(t, s.Close())
		require.Equal(t, transport.Closed, code(t, <-read))
		require.Zero(t, open.Load())
		require.NoError(t, s.Close())
		_, err = s.Send(outgoing(t.Context(), srv.URL, strings.NewReader("x")), transport.Limits{})
		require.Equal(t, transport.Closed, code(t, err))
		srv.Close()
	}
}

// Dialling goes on when the exchange that asked for it is given up, but not beyond Close, nor beyond its own limit.
func TestCloseEndsDialling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var dialling atomic.Int64
		s := transport.NewStandard(transport.Config{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			dialling.Add(1)
			defer dialling.Add(-1)
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}})
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 3)
		for _, l := range []transport.Limits{{Connect: time.Minute}, {}, {Connect: -1, Deadline: time.Now().Add(2 * time.Minute)}} {
			go func() {
				_, err := s.Send(outgoing(ctx, "http://a.test", nil), l)
				failed <- err
			}()
		}
		synctest.Wait()
		cancel()
		for range 3 {
			require.Equal(t, transport.Canceled, code(t, <-failed))
		}
		require.EqualValues(t, 3, dialling.Load())
		time.Sleep(61 * time.Second)
		require.EqualValues(t, 2, dialling.Load(), "the bounded one ended")
		time.Sleep(time.Minute)
		require.EqualValues(t, 1, dialling.Load(), "and that of an exchange that was bounded")
		time.Sleep(2 * time.Minute)
		require.EqualValues(t, 1, dialling.Load())
		time.Sleep(time.Minute)
		require.Zero(t, dialling.Load(), "and nothing has a place for ever")

		go func() {
			_, err := s.Send(outgoing(t.Context(), "http://a.test", nil), transport.Limits{})
			failed <- err
		}()
		synctest.Wait()
		require.EqualValues(t, 1, dialling.Load())
		require.NoError(t, s.Close())
		require.Equal(t, transport.Closed, code(t, <-failed))
		require.Zero(t, dialling.Load())
	})
}

// One timer serves all waits: none of them is cut short by the one before, none is missed.
func TestPhases(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			time.Sleep(9 * time.Second)
			client, server := net.Pipe()
			go func() {
				defer server.Close()
				in := bufio.NewReader(server)
				r, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, r.Body)
				time.Sleep(19 * time.Second)
				_, _ = io.WriteString(server, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n")
				for range 3 {
					time.Sleep(4 * time.Second)
					_, _ = io.WriteString(server, "x")
				}
				_, _ = io.Copy(io.Discard, in)
			}()
			return client, nil
		}
		s := transport.NewStandard(transport.Config{Dial: dial})
		pr, pw := io.Pipe()
		go func() { // the client takes an hour for its body, which is nobody's fault
			for range 6 {
				time.Sleep(10 * time.Minute)
				_, _ = io.WriteString(pw, "x")
			}
			_ = pw.Close()
		}()
		start := time.Now()
		res, err := s.Send(outgoing(t.Context(), "http://a.test", pr), transport.Limits{Connect: 10 * time.Second, FirstByte: 20 * time.Second, Idle: 5 * time.Second})
		require.NoError(t, err)
		require.Equal(t, time.Hour+19*time.Second, time.Since(start), "dialling falls into the first wait for the client")
		time.Sleep(time.Minute) // the reader of the answer has its own pace
		b, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Equal(t, "xxx", string(b))
		require.NoError(t, res.Body.Close())
		require.NoError(t, res.Body.Close())
		require.NoError(t, s.Close())
	})
}

// A target that does not take the request body is bound by FirstByte, too.
func TestUploadNobodyReads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := transport.NewStandard(transport.Config{Dial: func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go func() {
				_, _ = http.ReadRequest(bufio.NewReaderSize(server, 16))
				time.Sleep(time.Hour)
				_ = server.Close()
			}()
			return client, nil
		}})
		start := time.Now()
		_, err := s.Send(outgoing(t.Context(), "http://a.test", strings.NewReader(strings.Repeat("x", 1<<20))), transport.Limits{FirstByte: 7 * time.Second})
		require.Equal(t, transport.FirstByteLimit, code(t, err))
		require.Equal(t, 7*time.Second, time.Since(start))
		require.NoError(t, s.Close())
		time.Sleep(2 * time.Hour)
	})
}

// 100 Continue is asked of the client only when the target asks, or keeps silent for a second.
func TestExpectContinue(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, first string
		read        bool
		after       time.Duration
	}{
		{"asked", "HTTP/1.1 100 Continue\r\n\r\n", true, 0},
		{"silent", "", true, time.Second},
		{"refused", "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno", false, 0},
		{"refused and closed", "HTTP/1.1 417 Expectation Failed\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno", false, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := transport.NewStandard(transport.Config{Dial: func(context.Context, string, string) (net.Conn, error) {
					client, server := net.Pipe()
					go func() {
						defer server.Close()
						in := bufio.NewReader(server)
						r, err := http.ReadRequest(in)
						if err != nil {
							return
						}
						_, _ = io.WriteString(server, tt.first)
						if tt.read {
							_, _ = io.Copy(io.Discard, r.Body)
							_, _ = io.WriteString(server, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
						}
						_, _ = io.Copy(io.Discard, in)
					}()
					return client, nil
				}})
				var asked atomic.Bool
				r := outgoing(t.Context(), "http://a.test", &noticing{Reader: strings.NewReader("body"), asked: &asked})
				r.ContentLength = 4
				r.Header.Set("Expect", "100-continue")
				start := time.Now()
				res, err := s.Send(r, transport.Limits{})
				require.NoError(t, err)
				_, err = io.ReadAll(res.Body)
				require.NoError(t, err)
				require.NoError(t, res.Body.Close())
				require.Equal(t, tt.read, asked.Load())
				if tt.read {
					require.Equal(t, tt.after, time.Since(start))
				}
				require.NoError(t, s.Close())
			})
		})
	}
}

type noticing struct {
	io.Reader

	asked *atomic.Bool
}

func (n *noticing) Read(p []byte) (int, error) {
	n.asked.Store(true)
	return n.Reader.Read(p)
}

func TestThrough(t *testing.T) {
	t.Parallel()
	s := transport.NewStandard(transport.Config{})
	same, failed := transport.Through(s, nil)
	require.Same(t, s, same)
	require.Equal(t, -1, failed)
	none, failed := transport.Through(s, []func(http.RoundTripper) http.RoundTripper{
		func(http.RoundTripper) http.RoundTripper { return nil },
		func(next http.RoundTripper) http.RoundTripper { return next },
	})
	require.Nil(t, none)
	require.Zero(t, failed)
	through, _ := transport.Through(s, []func(http.RoundTripper) http.RoundTripper{func(next http.RoundTripper) http.RoundTripper { return next }})
	require.NoError(t, through.Close())
	_, err := through.Send(outgoing(t.Context(), "http://a.test", nil), transport.Limits{})
	require.Equal(t, transport.Closed, code(t, err))
}

// Errors of a round tripper of the application that come from the end of the request are told apart.
func TestThroughContext(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		ctx  func() (context.Context, context.CancelFunc)
		code string
	}{
		{func() (context.Context, context.CancelFunc) { return context.WithCancel(t.Context()) }, transport.Canceled},
		{func() (context.Context, context.CancelFunc) { return context.WithTimeout(t.Context(), 0) }, transport.TotalLimit},
	} {
		ctx, cancel := tt.ctx()
		cancel()
		s, _ := transport.Through(transport.NewStandard(transport.Config{}), []func(http.RoundTripper) http.RoundTripper{
			func(http.RoundTripper) http.RoundTripper { return failing{} },
		})
		_, err := s.Send(outgoing(ctx, "http://a.test", nil), transport.Limits{})
		require.Equal(t, tt.code, code(t, err))
	}
}

type failing struct{}

func (failing) RoundTrip(*http.Request) (*http.Response, error) { return nil, errors.New("own") }
