package transport_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/transport"
)

// TestCancelledWhileItEnds: a cancellation that comes just as an exchange ends must not reach the next one on the connection.
func TestCancelledWhileItEnds(t *testing.T) {
	t.Parallel()
	var conns atomic.Int64
	body := make(chan struct{}, 1)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-body // so that it has to be waited for, which is what arms the cancellation
		_, _ = io.WriteString(w, r.URL.Path)
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)
	d := transport.NewDirect(transport.Config{})
	defer d.Close()
	ask := func(ctx context.Context, path string, beforeEnd func()) {
		res, err := d.Send(outgoing(ctx, srv.URL+path, nil), transport.Limits{FirstByte: time.Minute, Idle: time.Minute})
		require.NoError(t, err)
		time.AfterFunc(time.Millisecond, func() { body <- struct{}{} })
		got, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Equal(t, path, string(got))
		beforeEnd()
		require.NoError(t, res.Body.Close())
	}
	for _, path := range []string{"/first", "/second"} {
		ctx, cancel := context.WithCancel(t.Context())
		ask(ctx, path, func() {})
		cancel() // too late for anything
	}
	require.EqualValues(t, 1, conns.Load())
	ctx, cancel := context.WithCancel(t.Context())
	ask(ctx, "/cancelled", cancel)
	ask(t.Context(), "/next", func() {})
	require.EqualValues(t, 2, conns.Load(), "the connection of the cancelled one is not used again")
}

// TestDirectRequests: what a target gets on the wire.
func TestDirectRequests(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for {
					var b strings.Builder
					length, chunks := 0, false
					for {
						line, err := in.ReadString('\n')
						if err != nil {
							return
						}
						b.WriteString(line)
						if line == "\r\n" {
							break
						}
						_, _ = fmt.Sscanf(line, "Content-Length: %d", &length)
						chunks = chunks || strings.HasPrefix(line, "Transfer-Encoding")
					}
					body := make([]byte, length)
					_, _ = io.ReadFull(in, body)
					b.Write(body)
					for chunks && !strings.HasSuffix(b.String(), "0\r\n\r\n") {
						line, err := in.ReadString('\n')
						if err != nil {
							return
						}
						b.WriteString(line)
					}
					got <- b.String()
					_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
				}
			}()
		}
	}()
	d := transport.NewDirect(transport.Config{})
	defer d.Close()
	base := "http://" + l.Addr().String()
	for _, tt := range []struct {
		method, target, body string
		length               int64
		header               http.Header
		want                 string
	}{
		{"GET", "/a%20b?q=1&x", "", 0, http.Header{"A": {"1", " 2 "}}, "GET /a%20b?q=1&x HTTP/1.1\r\nHost: HOST\r\nA: 1\r\nA: 2\r\n\r\n"},
		{"DELETE", "/?", "", 0, nil, "DELETE /? HTTP/1.1\r\nHost: HOST\r\n\r\n"},
		{"POST", "", "", 0, nil, "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\n\r\n"},
		{"POST", "/", "body", 4, nil, "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 4\r\n\r\nbody"},
		{"PATCH", "/", "body", -1, nil, "PATCH / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"},
		{"PUT", "/", strings.Repeat("y", 20000), 20000, nil, "PUT / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 20000\r\n\r\n" + strings.Repeat("y", 20000)},
		// Framing is ours.
		{"POST", "/", "body", 4, http.Header{"content-length": {"1"}, "TRANSFER-ENCODING": {"chunked"}, "host": {"evil"}, "Trailer": {"X"}},
			"POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 4\r\n\r\nbody"},
	} {
		r := outgoing(t.Context(), base+tt.target, nil)
		r.Method, r.ContentLength = tt.method, tt.length
		r.URL.ForceQuery = strings.HasSuffix(tt.target, "?")
		if tt.body != "" {
			r.Body = io.NopCloser(strings.NewReader(tt.body))
		}
		r.Header = tt.header
		res, err := d.Send(r, transport.Limits{FirstByte: time.Minute})
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, strings.ReplaceAll(tt.want, "HOST", l.Addr().String()), <-got)
	}
	// What would break the message, or become two of it, is not sent.
	for name, edit := range map[string]func(r *http.Request){
		"method":       func(r *http.Request) { r.Method = "GET /x" },
		"path":         func(r *http.Request) { r.URL.RawQuery = "a b" },
		"CR in query":  func(r *http.Request) { r.URL.RawQuery = "a\r\nX: y" },
		"fragment":     func(r *http.Request) { r.URL.RawQuery = "a#b" },
		"host":         func(r *http.Request) { r.Host = "a\r\nX: y" },
		"host's path":  func(r *http.Request) { r.Host = "a/b" },
		"name":         func(r *http.Request) { r.Header = http.Header{"A b": {"c"}} },
		"CRLF":         func(r *http.Request) { r.Header = http.Header{"A": {"b\r\nC: d"}} },
		"NUL":          func(r *http.Request) { r.Header = http.Header{"A": {"\x00"}} },
		"name is CRLF": func(r *http.Request) { r.Header = http.Header{"A: b\r\nC": {"d"}} },
	} {
		r := outgoing(t.Context(), base, nil)
		edit(r)
		_, err := d.Send(r, transport.Limits{FirstByte: time.Minute})
		require.Equal(t, transport.InvalidRequest, code(t, err), name)
	}
	require.Empty(t, got)
}

// TestDirectClose: whatever exchanges do when it is closed, they end, and no connection is left.
func TestDirectClose(t *testing.T) {
	t.Parallel()
	var open atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/stream" {
			_ = http.NewResponseController(w).Flush()
		}
		if r.URL.Path != "/idle" {
			<-r.Context().Done()
		}
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		default:
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)
	d := transport.NewDirect(transport.Config{MaxConns: 4})
	res, err := d.Send(outgoing(t.Context(), srv.URL+"/idle", nil), transport.Limits{})
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	ended := make(chan error, 10)
	stalled, client := io.Pipe()
	defer client.Close()
	for _, body := range []io.Reader{nil, stalled} {
		go func() {
			_, err := d.Send(outgoing(t.Context(), srv.URL+"/silent", body), transport.Limits{})
			ended <- err
		}()
	}
	for range 2 {
		res, err := d.Send(outgoing(t.Context(), srv.URL+"/stream", nil), transport.Limits{})
		require.NoError(t, err)
		go func() {
			_, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			ended <- err
		}()
	}
	for open.Load() < 4 {
		time.Sleep(time.Millisecond)
	}
	go func() { // all places are taken
		_, err := d.Send(outgoing(t.Context(), srv.URL, nil), transport.Limits{})
		ended <- err
	}()
	time.Sleep(10 * time.Millisecond)
	require.NoError(t, d.Close())
	for range 5 {
		require.Equal(t, transport.Closed, code(t, <-ended))
	}
	for open.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
	require.NoError(t, d.Close())
	_, err = d.Send(outgoing(t.Context(), srv.URL, strings.NewReader("x")), transport.Limits{})
	require.Equal(t, transport.Closed, code(t, err))
}

// TestBothPaths: what comes of an answer does not depend on which of the two transports it came by, except that a Direct
// refuses some of what net/http repairs.
func TestBothPaths(t *testing.T) {
	t.Parallel()
	const ok, repaired = "HTTP/1.1 200 OK\r\n", true
	for name, c := range map[string]struct {
		answer   string
		stricter bool
	}{
		"length":                    {ok + "Content-Length: 2\r\n\r\nok", false},
		"chunks and trailers":       {ok + "Trailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: v\r\n\r\n", false},
		"until the end":             {ok + "\r\nok", false},
		"HTTP/1.0":                  {"HTTP/1.0 200 OK\r\n\r\nok", false},
		"hints":                     {"HTTP/1.1 103 Early Hints\r\n\r\n" + ok + "Content-Length: 0\r\n\r\n", false},
		"204":                       {"HTTP/1.1 204 No Content\r\n\r\n", false},
		"304 with a length":         {"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false},
		"repeated fields":           {ok + "A: 1\r\na: 2\r\nContent-Length: 0\r\n\r\n", false},
		"bare LF":                   {"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", false},
		"101":                       {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", false},
		"HTTP/0.9":                  {"<html>", false},
		"HTTP/2.0":                  {"HTTP/2.0 200 OK\r\n\r\n", false},
		"nothing":                   {"", false},
		"half a head":               {ok + "A: b\r\n", false},
		"short":                     {ok + "Content-Length: 3\r\n\r\nok", false},
		"short chunk":               {ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nok", false},
		"malformed chunk":           {ok + "Transfer-Encoding: chunked\r\n\r\nx\r\nok", false},
		"two lengths":               {ok + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nok", false},
		"signed length":             {ok + "Content-Length: -1\r\n\r\nok", false},
		"another coding":            {ok + "Transfer-Encoding: gzip\r\n\r\nok", false},
		"space before the colon":    {ok + "A : b\r\n\r\n", false},
		"a line without a colon":    {ok + "A\r\n\r\n", false},
		"a head beyond all":         {ok + "A: " + strings.Repeat("x", 200<<10) + "\r\n\r\n", false},
		"099":                       {"HTTP/1.1 099 X\r\n\r\n", repaired}, // the proxy refuses it
		"600":                       {"HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n", repaired},
		"length and chunks":         {ok + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", repaired},
		"chunks of HTTP/1.0":        {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", repaired},
		"a folded line":             {ok + "A: b\r\n c\r\nContent-Length: 0\r\n\r\n", repaired},
		"a control character":       {ok + "A: b\x01\r\nContent-Length: 0\r\n\r\n", false},
		"an empty length":           {ok + "Content-Length:\r\n\r\nok", false},
		"another version of HTTP/1": {"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n", repaired},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			t.Cleanup(func() { _ = l.Close() })
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
						_, _ = io.Copy(io.Discard, r.Body)
						_, _ = io.WriteString(conn, c.answer)
						_ = conn.(*net.TCPConn).CloseWrite()
						_, _ = io.Copy(io.Discard, conn)
					}
					_ = conn.Close()
				}
			}()
			outcome := func(s transport.Transport) string {
				defer s.Close()
				r := outgoing(t.Context(), "http://"+l.Addr().String(), strings.NewReader("x"))
				res, err := s.Send(r, transport.Limits{FirstByte: time.Minute, Idle: time.Minute})
				if err != nil {
					return code(t, err)
				}
				body, err := io.ReadAll(res.Body)
				out := fmt.Sprint(res.StatusCode, res.Header.Values("A"), res.ContentLength, string(body), res.Trailer())
				if err != nil {
					out += code(t, err)
				}
				require.NoError(t, res.Body.Close())
				return out
			}
			standard, direct := outcome(transport.NewStandard(transport.Config{})), outcome(transport.NewDirect(transport.Config{}))
			if c.stricter {
				require.Equal(t, transport.InvalidResponse, direct)
				require.NotEqual(t, direct, standard, "net/http has become stricter, too")
				return
			}
			require.Equal(t, standard, direct)
		})
	}
}

// TestAge: a connection that is old enough is not used again, and one that has been idle for too long neither.
func TestAge(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]transport.Config{
		"age": {MaxAge: time.Nanosecond}, "idle": {IdleTimeout: time.Nanosecond}, "none kept": {MaxIdleConns: -1}, "kept": {},
	} {
		var conns atomic.Int64
		closed := make(chan struct{}, 3)
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
		srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
			switch s {
			case http.StateNew:
				conns.Add(1)
			case http.StateClosed:
				closed <- struct{}{}
			default:
			}
		}
		srv.Start()
		d := transport.NewDirect(c)
		for range 3 {
			res, err := d.Send(outgoing(t.Context(), srv.URL, nil), transport.Limits{})
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, res.Body)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			if name != "kept" {
				<-closed
			}
		}
		want := map[bool]int64{true: 1, false: 3}[name == "kept"]
		require.Equal(t, want, conns.Load(), name)
		require.NoError(t, d.Close())
		srv.Close()
	}
}

// receiver is told what becomes of an answer.
type receiver func()

func (r receiver) Cut()                    { r() }
func (r receiver) Inform(int, http.Header) { r() }

// TestDirectPanics: a panic of what is the application's takes no place in the pool along, and does not keep Close waiting.
func TestDirectPanics(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
				_, _ = io.Copy(io.Discard, c)
			}
			_ = c.Close()
		}
	}()
	dials := 0
	d := transport.NewDirect(transport.Config{MaxConns: 1, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials++; dials < 3 {
			panic("dial")
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}})
	limits := transport.Limits{Connect: 10 * time.Second, FirstByte: 10 * time.Second}
	limits.Receiver = receiver(func() { panic("receiver") })
	for _, want := range []string{"dial", "dial", "receiver", "receiver"} {
		require.PanicsWithValue(t, want, func() {
			_, _ = d.Send(outgoing(t.Context(), "http://"+l.Addr().String(), strings.NewReader("x")), limits)
		})
	}
	limits.Receiver = nil
	res, err := d.Send(outgoing(t.Context(), "http://"+l.Addr().String(), nil), limits)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.NoError(t, d.Close())
}

// timedConn notes what is done to its deadlines.
type timedConn struct {
	*net.TCPConn

	cut  chan struct{} // closed when the exchange is ended
	late atomic.Bool   // a deadline was set after that
}

func (c *timedConn) SetDeadline(t time.Time) error {
	close(c.cut)
	return c.TCPConn.SetDeadline(t)
}

func (c *timedConn) SetWriteDeadline(t time.Time) error {
	select {
	case <-c.cut:
		c.late.Store(true)
	default:
	}
	return c.TCPConn.SetWriteDeadline(t)
}

// lateBody gives its first bytes when nobody wants them any more.
type lateBody struct{ c *timedConn }

func (b lateBody) Read(p []byte) (int, error) {
	<-b.c.cut
	time.Sleep(20 * time.Millisecond) // beyond what a deadline has in reserve
	return len(p), nil
}

func (b lateBody) Close() error { return nil }

// TestUploadAfterTheEnd: what a client still sends when its exchange ends does not give the connection new time.
func TestUploadAfterTheEnd(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}
	}()
	raw, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	require.NoError(t, err)
	tcp, _ := raw.(*net.TCPConn)
	c := &timedConn{TCPConn: tcp, cut: make(chan struct{})}
	d := transport.NewDirect(transport.Config{Dial: func(context.Context, string, string) (net.Conn, error) { return c, nil }})
	defer d.Close()
	r := outgoing(t.Context(), "http://"+l.Addr().String(), lateBody{c})
	r.ContentLength = -1
	res, err := d.Send(r, transport.Limits{FirstByte: 160 * time.Millisecond})
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.False(t, c.late.Load())
}

// TestCancelledWhileItIsSent: a target that does not take the request does not hold a client that left.
func TestCancelledWhileItIsSent(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = c.Read(make([]byte, 1))
			cancel()
			<-t.Context().Done()
			_ = c.Close()
		}
	}()
	d := transport.NewDirect(transport.Config{})
	defer d.Close()
	r := outgoing(ctx, "http://"+l.Addr().String(), nil)
	r.Header.Set("A", strings.Repeat("x", 32<<20)) // more than sockets hold
	_, err = d.Send(r, transport.Limits{FirstByte: time.Minute})
	require.Equal(t, transport.Canceled, code(t, err))
}
