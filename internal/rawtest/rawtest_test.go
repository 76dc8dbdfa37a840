package rawtest_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatehouse-go/gateway/internal/rawtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// failing is a test that fails without failing the one it is part of.
type failing struct {
	testing.TB

	text string
}

func (f *failing) Fatalf(format string, args ...any) {
	f.text = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// failure returns what test fails with, "" when it does not.
func failure(t *testing.T, test func(tb testing.TB)) string {
	t.Helper()
	f, done := &failing{TB: t}, make(chan struct{})
	go func() {
		defer close(done)
		test(f)
	}()
	<-done
	return f.text
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// pair returns both ends of a connection.
func pair(t testing.TB) (client, server *rawtest.Conn) {
	t.Helper()
	up := rawtest.Listen(t, false)
	client = rawtest.Dial(t, up.Addr)
	return client, up.Accept()
}

func TestBothEnds(t *testing.T) {
	t.Parallel()
	client, server := pair(t)
	client.Drip("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
	require.Equal(t, "GET /a HTTP/1.1", server.ReadRequest().Start)
	client.ExpectSilence()
	server.Send("HTTP/1.1 103 Early Hints\r\nB: 1\r\nA: 2\r\n\r\n", ok)
	require.Equal(t, 103, client.ReadAnswer(http.MethodGet).Status())
	m := client.ReadAnswer(http.MethodGet)
	require.Equal(t, "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", m.Text())
	require.NoError(t, m.Broken)
	require.Equal(t, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n", server.Received())
	sent := client.SendMeanwhile("abc")
	server.Expect("abc")
	require.NoError(t, <-sent)
	client.CloseWrite()
	server.ExpectEOF()
	server.Send("bye")
	server.Reset()
	client.Expect("bye")
	client.ExpectReset()
}

// What a gateway may not send is seen, and what was waited for is said.
func TestFailures(t *testing.T) {
	t.Parallel()
	answer := func(c *rawtest.Conn) { c.ReadAnswer(http.MethodGet) }
	request := func(c *rawtest.Conn) { c.ReadRequest() }
	tests := []struct {
		name, sent string
		read       func(c *rawtest.Conn)
		want       string
	}{
		{"other text", "abd", func(c *rawtest.Conn) { c.Expect("abc") }, `expected "abc", got "abd"`},
		{"less text", "ab", func(c *rawtest.Conn) { c.Expect("abc") }, `waited for "abc", got "ab": EOF`},
		{"more text", "ab", (*rawtest.Conn).ExpectEOF, `more was sent: "ab"`},
		{"more text, any end", "ab", (*rawtest.Conn).ExpectEnd, `more was sent: "ab"`},
		{"no reset", "", (*rawtest.Conn).ExpectReset, "expected a reset, got EOF"},
		{"no silence", "ab", (*rawtest.Conn).ExpectSilence, `expected silence, got "ab"`},
		{"an end is no silence", "", (*rawtest.Conn).ExpectSilence, "expected silence"},
		{"half a head", "HTTP/1.1 200 OK\r\n", answer, "no answer"},
		{"no status", "HTTP/1.1 abc OK\r\n\r\n", answer, "status line"},
		{"bare LF", "HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n", answer, "malformed: line"},
		{"no colon", "HTTP/1.1 200 OK\r\nA\r\n\r\n", answer, "malformed: field"},
		{"space before the colon", "HTTP/1.1 200 OK\r\nA : b\r\n\r\n", answer, "malformed: field"},
		{"two framings", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", answer, "malformed: framing"},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n", answer, "malformed: framing"},
		{"odd length", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n", answer, "malformed: length"},
		{"odd coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", answer, "malformed: coding"},
		{"no path", "GET * HTTP/1.1\r\nHost: h\r\n\r\n", request, "request line"},
		{"other version", "GET / HTTP/1.0\r\nHost: h\r\n\r\n", request, "request line"},
		{"no Host", "GET / HTTP/1.1\r\n\r\n", request, "malformed: Host"},
		{"half of a request's head", "GET / HTTP/1.1\r\n", func(c *rawtest.Conn) { c.ReadHead() }, "no head"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, failure(t, func(tb testing.TB) {
				tb.Helper()
				client, server := pair(tb)
				client.Send(tt.sent)
				client.Close()
				tt.read(server)
			}), tt.want)
		})
	}
	up := rawtest.Listen(t, false)
	require.Contains(t, failure(t, func(tb testing.TB) {
		tb.Helper()
		rawtest.Listen(tb, false).AwaitEnd(0)
	}), "no connection 0")
	require.Zero(t, up.Connections())
}

// Bodies that do not end as they should are broken, in whichever way they are framed.
func TestBodies(t *testing.T) {
	t.Parallel()
	tests := []struct {
		sent, body string
		broken     bool
	}{
		{"Content-Length: 3\r\n\r\nabc", "abc", false},
		{"Content-Length: 3\r\n\r\nab", "ab", true},
		{"\r\nabc", "abc", false},
		{"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\nX: 1\r\n\r\n", "abcd", false},
		{"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "abc", true},
		{"Transfer-Encoding: chunked\r\n\r\n3\r\nab", "ab", true},
		{"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n", "abc", true},
		{"Transfer-Encoding: chunked\r\n\r\n03\r\nabc\r\n0\r\n\r\n", "", true},
		{"Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n", "", true},
	}
	for _, tt := range tests {
		client, server := pair(t)
		server.Send("HTTP/1.1 200 OK\r\nDate: now\r\n" + tt.sent)
		server.Close()
		m := client.ReadAnswer(http.MethodGet)
		require.Equal(t, tt.body, m.Body)
		require.Equal(t, tt.broken, m.Broken != nil, tt.sent)
		if strings.Contains(tt.sent, "X: 1") {
			require.Equal(t, "HTTP/1.1 200 OK\nDate: now\nTransfer-Encoding: chunked\n\nabcd\n\nX: 1", m.Text())
		}
		if !tt.broken {
			require.Equal(t, tt.sent, strings.TrimPrefix(m.Head+m.Raw, "HTTP/1.1 200 OK\r\nDate: now\r\n"))
		}
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	const post = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n"
	for _, then := range []rawtest.Then{rawtest.Close, rawtest.CloseWrite, rawtest.Reset} {
		up := rawtest.Listen(t, false)
		up.Serve(rawtest.Reply{Text: ok, Drip: true}, rawtest.Reply{Text: ok, Early: true, Then: then})
		c := rawtest.Dial(t, up.Addr)
		c.Send(post + "a")
		require.Equal(t, "ok", c.ReadAnswer(http.MethodPost).Body)
		c.Send(post)
		require.Equal(t, "ok", c.ReadAnswer(http.MethodPost).Body)
		c.Send("b")
		if then == rawtest.Reset {
			c.ExpectReset()
		} else {
			c.ExpectEOF()
		}
		c.Close()
		up.AwaitEnd(0)
		require.Equal(t, []string{post + "a" + post + "b"}, up.Received())
		require.Len(t, up.Requests(), 2)
		require.Equal(t, []string{"h"}, up.Requests()[1].Values("host"))
		require.Equal(t, "b", up.Requests()[1].Body)
	}
}

func TestWithTLS(t *testing.T) {
	t.Parallel()
	up := rawtest.Listen(t, true)
	up.Serve(rawtest.Reply{Text: ok})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: up.TLS}}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, up.URL, nil)
	require.NoError(t, err)
	res, err := client.Do(r)
	require.NoError(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, "ok", string(b))
	// A connection that never gets to a handshake ends with the test.
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", up.Addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
}
