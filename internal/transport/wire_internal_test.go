package transport

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// scriptedConn gives what a target sends, some bytes at a time, and takes everything.
type scriptedConn struct {
	net.Conn

	data []byte
	step int
}

func (c *scriptedConn) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.data[:min(c.step, len(c.data))])
	c.data = c.data[n:]
	return n, nil
}

func (c *scriptedConn) Write(p []byte) (int, error)      { return len(p), nil }
func (c *scriptedConn) Close() error                     { return nil }
func (c *scriptedConn) SetDeadline(time.Time) error      { return nil }
func (c *scriptedConn) SetReadDeadline(time.Time) error  { return nil }
func (c *scriptedConn) SetWriteDeadline(time.Time) error { return nil }

// heard is what became of an answer.
type heard struct {
	status  int
	header  http.Header
	body    string
	trailer http.Header
	rest    string // what was not taken for the answer
}

var errNotHeard = errors.New("not accepted")

// hear reads an answer as a wire does, from a target that gives step bytes at a time.
func hear(method string, data []byte, step int) (heard, bool, error) {
	return hearIn(method, data, step, 512)
}

// hearIn is hear for somebody who reads size bytes of the body at a time.
func hearIn(method string, data []byte, step, size int) (heard, bool, error) {
	d := NewDirect(Config{Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errNotHeard }})
	defer d.Close()
	p := d.pool("a.test")
	p.open++
	target := &scriptedConn{data: data, step: step}
	c := newWire(target, p)
	d.running.Add(1)
	if err := c.begin(context.Background(), Limits{}, false); err != nil {
		return heard{}, false, err
	}
	if err := c.readHead(method); err != nil {
		e := c.failure(err, false)
		c.finish(false)
		d.leave()
		return heard{}, false, e
	}
	h := heard{status: c.answer.StatusCode, header: c.answer.Header.asMap()}
	var body bytes.Buffer
	_, err := io.CopyBuffer(struct{ io.Writer }{&body}, &c.body, make([]byte, size))
	h.body, h.trailer = body.String(), c.answer.trailer.Clone()
	h.rest = string(c.in[c.from:c.to]) + string(target.data)
	keep := c.body.done && !c.body.last && c.from == c.to
	_ = c.body.Close()
	return h, keep, err
}

// FuzzAnswer: what we accept, net/http accepts with the same outcome. We may refuse more, which it would repair.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n2;a=b\r\nok\r\n0\r\nX-T: v\r\nX-U: w\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\nuntil the end",
		"HTTP/1.0 204 No Content\nA: b\n\n", "HTTP/1.1 304\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 099 X\r\n\r\n",
		"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n00\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\n0\n\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", "HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nset-cookie: b\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
	} {
		f.Add("GET", []byte(s), 3)
		f.Add("HEAD", []byte(s), 4096)
	}
	f.Fuzz(func(t *testing.T, method string, data []byte, step int) {
		got, _, err := hear(method, bytes.Clone(data), 1+step&0xfff)
		if err != nil {
			return
		}
		in := bufio.NewReader(bytes.NewReader(data))
		res, err := http.ReadResponse(in, &http.Request{Method: method})
		for err == nil && res.StatusCode < 200 {
			res, err = http.ReadResponse(in, &http.Request{Method: method})
		}
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Equal(t, res.StatusCode, got.status)
		require.Equal(t, string(body), got.body)
		rest, err := io.ReadAll(in)
		require.NoError(t, err)
		require.Equal(t, string(rest), got.rest, "what the next answer begins with")
		for _, name := range [...]string{"Transfer-Encoding", "Trailer", "Connection"} { // net/http takes some out of the header
			res.Header.Del(name)
			got.header.Del(name)
		}
		require.Len(t, got.header, len(res.Header), "%v", res.Header)
		for name, values := range res.Header {
			require.Equal(t, values, got.header[name], name)
		}
		for name, values := range got.trailer {
			if len(values) > 0 {
				require.Equal(t, values, res.Trailer[name], name)
			}
		}
	})
}

// TestAnswers: what is accepted, what not, and after what the connection may be used again.
func TestAnswers(t *testing.T) {
	t.Parallel()
	const ok = "HTTP/1.1 200 OK\r\n"
	tests := []struct {
		about, method, data string
		status              int
		body                string
		code                string // of the error
		keep                bool
	}{
		{"length", "GET", ok + "Content-Length: 2\r\n\r\nok", 200, "ok", "", true},
		{"no length", "GET", ok + "\r\nall of it", 200, "all of it", "", false},
		{"nothing", "GET", ok + "Content-Length: 0\r\n\r\n", 200, "", "", true},
		{"chunks", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0A;x=y\r\n0123456789\r\n0\r\n\r\n", 200, "a0123456789", "", true},
		{"chunks and more", "GET", ok + "Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\nHTTP", 200, "", "", false},
		{"close", "GET", ok + "Connection: foo, Close\r\nContent-Length: 2\r\n\r\nok", 200, "ok", "", false},
		{"HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", "", false},
		{"no reason", "GET", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, "ok", "", true},
		{"hints before", "GET", "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + ok + "Content-Length: 2\r\n\r\nok", 200, "ok", "", true},
		{"the same length twice", "GET", ok + "Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", 200, "ok", "", true},
		{"HEAD", "HEAD", ok + "Content-Length: 2\r\n\r\n", 200, "", "", true},
		{"HEAD with a body", "HEAD", ok + "Content-Length: 2\r\n\r\nok", 200, "", "", false},
		{"304 with a length", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", 304, "", "", true},
		{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", "", true},

		{"short", "GET", ok + "Content-Length: 3\r\n\r\nok", 200, "ok", Truncated, false},
		{"short chunk", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nok", 200, "ok", Truncated, false},
		{"no last chunk", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", 200, "ok", Truncated, false},
		{"half a last chunk", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", 200, "ok", Truncated, false},
		{"chunk without an end", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nokx\r\n0\r\n\r\n", 200, "ok", Truncated, false},
		{"bare LF in a chunk", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n", 200, "", Truncated, false},
		{"size with a sign", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n+2\r\nok\r\n0\r\n\r\n", 200, "", Truncated, false},
		{"size with 0x", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n0x2\r\nok\r\n0\r\n\r\n", 200, "", Truncated, false},
		{"white space before an extension", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n2 ;a\r\nok\r\n0\r\n\r\n", 200, "", Truncated, false},
		{"no size", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n\r\nok\r\n0\r\n\r\n", 200, "", Truncated, false},
		{"too large a size", "GET", ok + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 200, "", Truncated, false},
		{"endless extension", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n1;" + strings.Repeat("x", 5000) + "\r\na\r\n0\r\n\r\n", 200, "", Truncated, false},
		{"more extensions than data", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1;"+strings.Repeat("x", 1000)+"\r\na\r\n", 40), 200, strings.Repeat("a", 16), Truncated, false},
		{"bad trailer", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n0\r\nA b: c\r\n\r\n", 200, "", Truncated, false},

		{"two lengths", "GET", ok + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nok", 0, "", InvalidResponse, false},
		{"a list of lengths", "GET", ok + "Content-Length: 2, 2\r\n\r\nok", 0, "", InvalidResponse, false},
		{"a signed length", "GET", ok + "Content-Length: +2\r\n\r\nok", 0, "", InvalidResponse, false},
		{"an empty length", "GET", ok + "Content-Length:\r\n\r\nok", 0, "", InvalidResponse, false},
		{"a length beyond all", "GET", ok + "Content-Length: 9223372036854775808\r\n\r\nok", 0, "", InvalidResponse, false},
		{"length and chunks", "GET", ok + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0, "", InvalidResponse, false},
		{"a length as a trailer", "GET", ok + "Transfer-Encoding: chunked\r\nTrailer: X-A, content-length\r\n\r\n0\r\n\r\n", 0, "", InvalidResponse, false},
		{"a length as a trailer, HEAD", "HEAD", ok + "Transfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n", 0, "", InvalidResponse, false},
		{"another coding", "GET", ok + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 0, "", InvalidResponse, false},
		{"two codings", "GET", ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0, "", InvalidResponse, false},
		{"chunks of HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0, "", InvalidResponse, false},
		{"space before the colon", "GET", ok + "Content-Length : 2\r\n\r\nok", 0, "", InvalidResponse, false},
		{"a folded line", "GET", ok + "A: b\r\n c\r\nContent-Length: 2\r\n\r\nok", 0, "", InvalidResponse, false},
		{"a line without a colon", "GET", ok + "A\r\n\r\n", 0, "", InvalidResponse, false},
		{"an empty name", "GET", ok + ": b\r\n\r\n", 0, "", InvalidResponse, false},
		{"a NUL", "GET", ok + "A: b\x00c\r\n\r\n", 0, "", InvalidResponse, false},
		{"a bare CR", "GET", ok + "A: b\rContent-Length: 0\r\n\r\n", 0, "", InvalidResponse, false},
		{"099", "GET", "HTTP/1.1 099 X\r\n\r\n", 0, "", InvalidResponse, false},
		{"600", "GET", "HTTP/1.1 600 X\r\n\r\n", 0, "", InvalidResponse, false},
		{"four digits", "GET", "HTTP/1.1 2000 X\r\n\r\n", 0, "", InvalidResponse, false},
		{"101", "GET", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", 0, "", InvalidResponse, false},
		{"HTTP/1.2", "GET", "HTTP/1.2 200 OK\r\n\r\n", 0, "", InvalidResponse, false},
		{"HTTP/2", "GET", "HTTP/2.0 200 OK\r\n\r\n", 0, "", InvalidResponse, false},
		{"HTTP/0.9", "GET", "<html>", 0, "", InvalidResponse, false},
		{"a head without an end", "GET", ok + strings.Repeat("A: b\r\n", 40000), 0, "", InvalidResponse, false},
		{"hints without end", "GET", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 1000), 0, "", InvalidResponse, false},
		{"half a head", "GET", ok + "A: b\r\n", 0, "", ConnectionReset, false},
		{"nothing at all", "GET", "", 0, "", ConnectionReset, false},
	}
	for _, tt := range tests {
		for _, step := range []int{1, 7, 1 << 20} {
			got, keep, err := hear(tt.method, []byte(tt.data), step)
			require.Equal(t, tt.status, got.status, tt.about)
			require.Equal(t, tt.body, got.body, tt.about)
			if step > len(tt.data) { // else what comes behind the answer may not be there yet
				require.Equal(t, tt.keep, keep, tt.about)
			}
			if tt.code == "" {
				require.NoError(t, err, tt.about)
				continue
			}
			var e *Error
			require.ErrorAs(t, err, &e, tt.about)
			require.Equal(t, tt.code, e.Code, "%s: %v", tt.about, err)
		}
	}
}
