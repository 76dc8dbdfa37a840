package respw_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/race"
	"github.com/gatehouse-go/gateway/internal/respw"
)

const limit = 30 * time.Second

// memory is a listener of connections without a network, so that a server can
// run on virtual time. Its connections hold no bytes: a write ends when all of
// it was read.
type memory struct {
	conns  chan net.Conn
	once   sync.Once
	done   chan struct{}
	lasted []time.Duration // when the server closed connections, since the start
}

func newMemory() *memory { return &memory{conns: make(chan net.Conn), done: make(chan struct{})} }

func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.done:
		return nil, net.ErrClosed
	}
}

func (m *memory) Close() error   { m.once.Do(func() { close(m.done) }); return nil }
func (m *memory) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

func (m *memory) dial(context.Context, string, string) (net.Conn, error) {
	client, srv := net.Pipe()
	select {
	case m.conns <- srv:
		return client, nil
	case <-m.done:
		return nil, net.ErrClosed
	}
}

// outcome is what a handler saw.
type outcome struct {
	err     error
	stalled bool
	took    time.Duration
}

// run serves handler under a Writer limited by limit, on virtual time, and
// calls client with a way to connect.
func run(t *testing.T, handler func(w *respw.Writer, r *http.Request) error, client func(t *testing.T, m *memory, outcomes <-chan outcome)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		start := time.Now()
		outcomes := make(chan outcome, 10)
		srv := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(under http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/plain" { // somebody else's, on the same connection
				_, _ = io.WriteString(under, strings.Repeat("p", 10_000))
				return
			}
			var w respw.Writer
			w.Init(under)
			w.LimitWrites(limit)
			start := time.Now()
			err := handler(&w, r)
			w.Finish()
			outcomes <- outcome{err, w.Stalled(), time.Since(start)}
		})}
		srv.Protocols.SetHTTP1(true)
		srv.Protocols.SetUnencryptedHTTP2(true)
		srv.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				m.lasted = append(m.lasted, time.Since(start))
			}
		}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(m) }()
		client(t, m, outcomes)
		require.NoError(t, srv.Close())
		require.ErrorIs(t, <-served, http.ErrServerClosed)
	})
}

func get(ctx context.Context, t *testing.T, c *http.Client, path string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://memory"+path, http.NoBody)
	require.NoError(t, err)
	resp, err := c.Do(r)
	require.NoError(t, err)
	return resp
}

func newClient(m *memory, http2 bool) *http.Client {
	p := new(http.Protocols)
	p.SetHTTP1(!http2)
	p.SetUnencryptedHTTP2(http2)
	return &http.Client{Transport: &http.Transport{DialContext: m.dial, Protocols: p, DisableCompression: true}}
}

func sendRequest(t *testing.T, m *memory, path string) net.Conn {
	t.Helper()
	conn, err := m.dial(t.Context(), "", "")
	require.NoError(t, err)
	_, err = io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: memory\r\n\r\n")
	require.NoError(t, err)
	return conn
}

func TestStalledClientIsCutOff(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("x", 500_000)
	for _, tt := range []struct {
		name    string
		handler func(w *respw.Writer, r *http.Request) error
	}{
		{"write", func(w *respw.Writer, _ *http.Request) error { _, err := w.Write([]byte(text)); return err }},
		{"string", func(w *respw.Writer, _ *http.Request) error { _, err := w.WriteString(text); return err }},
		{"copy", func(w *respw.Writer, _ *http.Request) error { _, err := io.Copy(w, onlyReader(text)); return err }},
		{"flush", func(w *respw.Writer, _ *http.Request) error { _, _ = w.WriteString("event"); return w.FlushError() }},
		{"many small writes", func(w *respw.Writer, _ *http.Request) error {
			for range 10_000 {
				if _, err := w.WriteString("0123456789"); err != nil {
					return err
				}
			}
			return nil
		}},
		{"informational head", func(w *respw.Writer, _ *http.Request) error {
			w.WriteHeader(http.StatusEarlyHints)
			return errors.New("see the time it took")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			took := time.Duration(0)
			run(t, func(w *respw.Writer, r *http.Request) error {
				start := time.Now()
				err := tt.handler(w, r)
				w.Finish()
				took = time.Since(start)
				return err
			}, func(t *testing.T, m *memory, outcomes <-chan outcome) {
				t.Helper()
				conn := sendRequest(t, m, "/")
				got := <-outcomes
				require.Error(t, got.err)
				require.True(t, got.stalled)
				require.Equal(t, limit, took)
				_, err := io.Copy(io.Discard, conn)
				require.NoError(t, err, "the connection is closed")
			})
		})
	}
}

// What the server holds back until the handler returned is bounded, too.
func TestStalledClientIsCutOffAfterTheHandler(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 5, 3000} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			t.Parallel()
			run(t, func(w *respw.Writer, _ *http.Request) error {
				_, err := w.WriteString(strings.Repeat("x", size))
				return err
			}, func(t *testing.T, m *memory, outcomes <-chan outcome) {
				t.Helper()
				conn := sendRequest(t, m, "/")
				defer func() { _ = conn.Close() }()
				got := <-outcomes
				require.NoError(t, got.err)
				require.Zero(t, got.took)
				time.Sleep(10 * limit)
				synctest.Wait()
				require.Equal(t, []time.Duration{limit}, m.lasted)
			})
		})
	}
}

func TestStalledHTTP2StreamIsReset(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"large": 500_000, "buffered": 3000, "small": 5} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, func(w *respw.Writer, _ *http.Request) error {
				_, err := w.WriteString(strings.Repeat("x", size))
				return err
			}, func(t *testing.T, m *memory, outcomes <-chan outcome) {
				t.Helper()
				start := time.Now()
				conn := sendHTTP2WithoutWindow(t, m)
				defer func() { _ = conn.Close() }()
				require.Equal(t, uint32(2), readReset(t, conn), "INTERNAL_ERROR")
				require.GreaterOrEqual(t, time.Since(start), limit)
				require.LessOrEqual(t, time.Since(start), 2*limit)
				got := <-outcomes
				require.Equal(t, size > 4096, got.err != nil)
				require.Equal(t, size > 4096, got.stalled)
			})
		})
	}
}

// sendHTTP2WithoutWindow sends a GET with prior knowledge and lets the server
// send no body byte (RFC 9113 section 6.9.2).
func sendHTTP2WithoutWindow(t *testing.T, m *memory) net.Conn {
	t.Helper()
	conn, err := m.dial(t.Context(), "", "")
	require.NoError(t, err)
	const settings, headers, endStreamAndHeaders = 4, 1, 1 | 4
	b := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	b = append(b, 0, 0, 6, settings, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0) // INITIAL_WINDOW_SIZE = 0
	fields := append([]byte{0x82, 0x86, 0x84, 0x41, 6}, "memory"...)  // GET, http, /, :authority
	b = append(b, 0, 0, byte(len(fields)), headers, endStreamAndHeaders, 0, 0, 0, 1)
	b = append(b, fields...)
	go func() { _, _ = conn.Write(b) }()
	return conn
}

// readReset reads frames up to a RST_STREAM and returns its error code.
func readReset(t *testing.T, conn net.Conn) uint32 {
	t.Helper()
	var head [9]byte
	for {
		_, err := io.ReadFull(conn, head[:])
		require.NoError(t, err)
		payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		_, err = io.ReadFull(conn, payload)
		require.NoError(t, err)
		switch head[3] {
		case 3:
			return binary.BigEndian.Uint32(payload)
		case 7:
			require.Fail(t, "GOAWAY", "%q", payload)
		}
	}
}

// Time in which the handler has nothing to send is not the client's fault.
func TestIdleStreamsLiveOn(t *testing.T) {
	t.Parallel()
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		for _, way := range []string{"flush", "copy", "unflushed"} {
			t.Run(name+" "+way, func(t *testing.T) {
				t.Parallel()
				run(t, func(w *respw.Writer, _ *http.Request) error {
					part := strings.Repeat("x", 3000)
					if way == "copy" {
						pr, pw := io.Pipe()
						go func() {
							for range 3 {
								_, _ = io.WriteString(pw, part)
								time.Sleep(10 * limit)
							}
							_ = pw.Close()
						}()
						_, err := io.Copy(w, pr)
						return err
					}
					for range 3 {
						if _, err := w.WriteString(part); err != nil {
							return err
						}
						if way == "flush" {
							if err := w.FlushError(); err != nil {
								return err
							}
						}
						time.Sleep(10 * limit)
					}
					return nil
				}, func(t *testing.T, m *memory, outcomes <-chan outcome) {
					t.Helper()
					c := newClient(m, http2)
					defer c.CloseIdleConnections()
					resp := get(t.Context(), t, c, "/")
					defer resp.Body.Close()
					body, err := io.ReadAll(resp.Body)
					require.NoError(t, err)
					require.Len(t, body, 9000)
					got := <-outcomes
					require.NoError(t, got.err)
					require.False(t, got.stalled)
					require.Equal(t, 30*limit, got.took)
				})
			})
		}
	}
}

// A client that takes its bytes slowly, but does take them, is served.
func TestSlowClientIsServed(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	for _, way := range []string{"write", "copy"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			run(t, func(w *respw.Writer, _ *http.Request) error {
				if way == "copy" {
					_, err := io.Copy(w, onlyReader(strings.Repeat("x", size)))
					return err
				}
				_, err := w.Write(make([]byte, size))
				return err
			}, func(t *testing.T, m *memory, outcomes <-chan outcome) {
				t.Helper()
				conn := sendRequest(t, m, "/")
				defer func() { _ = conn.Close() }()
				resp, err := http.ReadResponse(bufio.NewReaderSize(slow{conn, limit / 8}, 64<<10), nil)
				require.NoError(t, err)
				defer resp.Body.Close()
				n, err := io.Copy(io.Discard, resp.Body)
				require.NoError(t, err)
				require.Equal(t, int64(size), n)
				got := <-outcomes
				require.NoError(t, got.err)
				require.False(t, got.stalled)
				require.Greater(t, got.took, 4*limit)
			})
		})
	}
}

// slow reads up to 16 KiB at a time and pauses after each.
type slow struct {
	net.Conn
	pause time.Duration
}

func (s slow) Read(p []byte) (int, error) {
	time.Sleep(s.pause)
	var full int
	for full < min(len(p), 16<<10) {
		n, err := s.Conn.Read(p[full:min(len(p), 16<<10)])
		full += n
		if err != nil || n < 4096 {
			return full, err
		}
	}
	return full, nil
}

// Nothing of the limit is left on a connection that goes on to serve others.
func TestLimitEndsWithTheResponse(t *testing.T) {
	t.Parallel()
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, func(w *respw.Writer, _ *http.Request) error {
				_, err := w.WriteString(strings.Repeat("x", 100_000))
				return err
			}, func(t *testing.T, m *memory, outcomes <-chan outcome) {
				t.Helper()
				dials := 0
				c := newClient(m, http2)
				defer c.CloseIdleConnections()
				c.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
					dials++
					return m.dial(ctx, network, addr)
				}
				for _, path := range []string{"/limited", "/plain", "/limited", "/plain"} {
					resp := get(t.Context(), t, c, path)
					time.Sleep(2 * limit / 3)
					if path == "/plain" {
						time.Sleep(10 * limit) // longer than a limited handler may wait
					}
					n, err := io.Copy(io.Discard, resp.Body)
					require.NoError(t, err)
					require.NoError(t, resp.Body.Close())
					if path == "/limited" {
						require.Equal(t, int64(100_000), n)
						require.NoError(t, (<-outcomes).err)
					}
				}
				require.Equal(t, 1, dials)
			})
		})
	}
}

func TestFinishAfterAPanicIsNotNeeded(t *testing.T) {
	t.Parallel()
	run(t, func(w *respw.Writer, _ *http.Request) error {
		_, _ = w.WriteString(strings.Repeat("x", 100_000))
		panic(http.ErrAbortHandler)
	}, func(t *testing.T, m *memory, _ <-chan outcome) {
		t.Helper()
		c := newClient(m, false)
		resp := get(t.Context(), t, c, "/")
		_, err := io.Copy(io.Discard, resp.Body)
		require.Error(t, err)
		require.NoError(t, resp.Body.Close())
		time.Sleep(2 * limit) // the timer finds nothing to cut and ends
	})
}

// deadlineWriter records the deadlines set through it.
type deadlineWriter struct {
	plainWriter
	deadlines []time.Time
	flushes   int
	err       error
}

func (w *deadlineWriter) Flush() { w.flushes++ }
func (w *deadlineWriter) SetWriteDeadline(d time.Time) error {
	w.deadlines = append(w.deadlines, d)
	return w.err
}

func TestFinishLeavesOneDeadline(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 2047, 2048, 200_000} {
		synctest.Test(t, func(t *testing.T) {
			under := &deadlineWriter{plainWriter: plainWriter{h: http.Header{}}}
			w := respw.Wrap(under)
			w.LimitWrites(limit)
			_, err := w.WriteString(strings.Repeat("x", size))
			require.NoError(t, err)
			require.Empty(t, under.deadlines)
			w.Finish()
			w.Finish()
			require.Equal(t, []time.Time{time.Now().Add(limit)}, under.deadlines)
			require.Zero(t, under.flushes, "the server can still send a length")

			// An outer layer that is not done yet is not bound by it.
			_, err = w.WriteString("x")
			require.NoError(t, err)
			_, err = w.ReadFrom(onlyReader("x"))
			require.NoError(t, err)
			require.Len(t, under.deadlines, 2)
			require.Zero(t, under.deadlines[1])
		})
	}
}

func TestFinishLeavesNothingWithoutALimit(t *testing.T) {
	t.Parallel()
	under := &deadlineWriter{plainWriter: plainWriter{h: http.Header{}}}
	w := respw.Wrap(under)
	w.LimitWrites(limit)
	w.LimitWrites(-1)
	_, _ = w.Write(make([]byte, 5000))
	w.Finish()
	require.Empty(t, under.deadlines)
}

func TestFinishDoesNotReviveAConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		under := &blockingWriter{deadlineWriter{plainWriter: plainWriter{h: http.Header{}}}}
		w := respw.Wrap(under)
		w.LimitWrites(limit)
		_, _ = w.Write(make([]byte, 5000))
		require.True(t, w.Stalled())
		w.Finish()
		require.Len(t, under.deadlines, 1)
		require.True(t, under.deadlines[0].Before(time.Now()))
	})
}

func TestLimitWithoutSupport(t *testing.T) {
	t.Parallel()
	rec := httptest.NewRecorder()
	w := respw.Wrap(foreign{rec})
	w.LimitWrites(limit)
	_, err := w.Write(make([]byte, 200_000))
	require.NoError(t, err)
	w.Finish()
	require.False(t, rec.Flushed)
	require.Equal(t, 200_000, rec.Body.Len())

	// A writer that has the method and refuses it.
	synctest.Test(t, func(t *testing.T) {
		under := &blockingWriter{deadlineWriter: deadlineWriter{plainWriter: plainWriter{h: http.Header{}}, err: http.ErrNotSupported}}
		w := respw.Wrap(under)
		w.LimitWrites(limit)
		_, err := w.Write(make([]byte, 5000))
		require.NoError(t, err)
		require.False(t, w.Stalled())
		w.Finish()
	})
}

// blockingWriter takes three times the limit for every write.
type blockingWriter struct{ deadlineWriter }

func (w *blockingWriter) Write(p []byte) (int, error) {
	time.Sleep(3 * limit)
	return w.deadlineWriter.Write(p)
}

// The first watched write makes a timer; nothing else is allocated.
func TestWatchedAnswersAllocateATimer(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	under := &endlessWriter{deadlineWriter{plainWriter: plainWriter{h: http.Header{}, discard: true}}}
	body := make([]byte, 100_000)
	var w respw.Writer
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() {
		w.Init(under)
		w.LimitWrites(limit)
		for range 10 {
			_, _ = w.Write(body)
		}
		w.Finish()
	}), 2.0)
}

// endlessWriter takes deadlines and keeps nothing.
type endlessWriter struct{ deadlineWriter }

func (*endlessWriter) SetWriteDeadline(time.Time) error { return nil }
