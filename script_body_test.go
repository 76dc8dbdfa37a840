package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/rawtest"
)

// Bodies of answers: whole, or broken off so that the client can tell.
func TestScriptsOfBodies(t *testing.T) {
	t.Parallel()
	const (
		head    = "HTTP/1.1 200 OK\r\n"
		chunked = head + "Transfer-Encoding: chunked\r\n\r\n"
		chunks  = "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n"
		sized   = "HTTP/1.1 200 OK\nContent-Length: 5\n\n"
		none    = "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n"
	)
	// What comes behind an answer, and would be taken for the next one where it is not noticed.
	const surplus = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ncrossed"
	large := strings.Repeat("0123456789abcdef", 20_000)
	playAnswers(t, []answerScript{
		{name: "length", answer: head + "Content-Length: 5\r\n\r\nhello", gets: sized + "hello", conns: 1},
		{name: "large", answer: head + "Content-Length: 320000\r\n\r\n" + large, gets: "HTTP/1.1 200 OK\nContent-Length: 320000\n\n" + large, conns: 1},
		{name: "until the end of the connection", answer: head + "\r\nhello", then: rawtest.Close, gets: chunks + "hello", conns: 2},
		{name: "until the target closes its side", answer: head + "\r\nhello", then: rawtest.CloseWrite, gets: chunks + "hello", conns: 2},
		{name: "until the end, byte by byte", answer: head + "\r\nhello", drip: true, then: rawtest.Close, gets: chunks + "hello", conns: 2},
		{name: "until the end, nothing", answer: head + "\r\n", then: rawtest.Close, gets: none, conns: 2},
		{name: "until the end, in HTTP/1.0", answer: "HTTP/1.0 200 OK\r\n\r\nhello", then: rawtest.Close, gets: "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nVia: 1.0 gatehouse\n\nhello", conns: 2},
		{name: "of a reset, until the end", answer: head + "\r\nhello", then: rawtest.Reset, conns: 2, gets: chunks + "hello", cut: true},
		{name: "of an error", answer: "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 5\r\n\r\nhello", gets: "HTTP/1.1 500 Internal Server Error\nContent-Length: 5\n\nhello", conns: 1},

		{name: "chunks", answer: chunked + "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", gets: chunks + "hello world", conns: 1},
		{name: "chunks byte by byte", answer: chunked + "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", drip: true, gets: chunks + "hello world", conns: 1},
		{name: "chunks with extensions", answer: chunked + "5;a=\"b\"\r\nhello\r\n0;c\r\n\r\n", gets: chunks + "hello", conns: 1},
		{name: "one large chunk", answer: chunked + "4E200\r\n" + large + "\r\n0\r\n\r\n", gets: chunks + large, conns: 1},
		{name: "no data", answer: chunked + "0\r\n\r\n", gets: none, conns: 1},
		{name: "no chunk", answer: chunked, then: rawtest.Close, gets: none, cut: true, conns: 2},
		{name: "no last chunk", answer: chunked + "5\r\nhello\r\n", then: rawtest.Close, gets: chunks + "hello", cut: true, conns: 2},
		{name: "a reset between chunks", answer: chunked + "5\r\nhello\r\n", then: rawtest.Reset, gets: chunks + "hello", cut: true, conns: 2},
		{name: "half a last chunk", answer: chunked + "5\r\nhello\r\n0\r\n", then: rawtest.Close, gets: chunks + "hello", cut: true, conns: 2},
		{name: "no size", answer: chunked + "5\r\nhello\r\n\r\n0\r\n\r\n", gets: chunks + "hello", cut: true, conns: 2},
		{name: "no hexadecimal", answer: chunked + "5\r\nhello\r\ng\r\na\r\n0\r\n\r\n", gets: chunks + "hello", cut: true, conns: 2},
		{name: "0x", answer: chunked + "5\r\nhello\r\n0x1\r\na\r\n0\r\n\r\n", gets: chunks + "hello", cut: true, conns: 2},
		{name: "negative size", answer: chunked + "5\r\nhello\r\n-1\r\na\r\n0\r\n\r\n", gets: chunks + "hello", cut: true, conns: 2},
		{name: "size with a plus", answer: chunked + "5\r\nhello\r\n+1\r\na\r\n0\r\n\r\n", gets: chunks + "hello", cut: true, conns: 2},
		{name: "size with a space in front", answer: chunked + "5\r\nhello\r\n 1\r\na\r\n0\r\n\r\n", gets: chunks + "hello", cut: true, conns: 2},
		{name: "size beyond 64 bits", answer: chunked + "5\r\nhello\r\n10000000000000001\r\na\r\n0\r\n\r\n", gets: chunks + "hello", cut: true, conns: 2},
		{name: "LF behind the size", answer: chunked + "5\r\nhello\r\n1\na\r\n0\r\n\r\n", gets: chunks + "hello", cut: true, conns: 2},
		{name: "LF in an extension", answer: chunked + "5\r\nhello\r\n1;a\nb\r\na\r\n0\r\n\r\n", gets: chunks + "hello", cut: true, conns: 2},
		{name: "LF behind the data", answer: chunked + "5\r\nhello\n0\r\n\r\n", gets: chunks + "hello", cut: true, conns: 2},
		{name: "nothing behind the data", answer: chunked + "5\r\nhello0\r\n\r\n", gets: chunks + "hello", cut: true, conns: 2},
		{name: "more data than announced", answer: chunked + "5\r\nhello!\r\n0\r\n\r\n", gets: chunks + "hello", cut: true, conns: 2},
		{name: "an endless extension", answer: chunked + "5\r\nhello\r\n1;" + strings.Repeat("a", 8<<10) + "\r\na\r\n0\r\n\r\n", gets: chunks + "hello", cut: true, conns: 2},

		{name: "trailers", answer: head + "Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
			gets: "HTTP/1.1 200 OK\nTrailer: X-Sum\nTransfer-Encoding: chunked\n\nhello\n\nX-Sum: 1", conns: 1},
		{name: "trailers that nobody announced", answer: chunked + "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", gets: chunks + "hello\n\nX-Sum: 1", conns: 1},
		{name: "trailers byte by byte", answer: chunked + "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", drip: true, gets: chunks + "hello\n\nX-Sum: 1", conns: 1},
		{name: "trailers that may not be", answer: chunked + "5\r\nhello\r\n0\r\nContent-Length: 1\r\nTransfer-Encoding: gzip\r\nSet-Cookie: a=b\r\nCache-Control: public\r\n" +
			"X-Consumer-Id: 1\r\nX-Forwarded-For: 1.2.3.4\r\nVia: 1.1 a\r\nHost: h\r\nX-Sum: 1\r\n\r\n", gets: chunks + "hello\n\nX-Sum: 1", conns: 1},
		{name: "trailers without a colon", answer: chunked + "5\r\nhello\r\n0\r\nX\r\n\r\n", gets: chunks + "hello", cut: true, conns: 2},
		{name: "trailers without an end", answer: chunked + "5\r\nhello\r\n0\r\nX-Sum: 1\r\n", then: rawtest.Close, gets: chunks + "hello", cut: true, conns: 2},
		{name: "trailers without bound", answer: chunked + "5\r\nhello\r\n0\r\nX: " + strings.Repeat("a", 200<<10) + "\r\n\r\n", gets: chunks + "hello", cut: true, conns: 2},

		{name: "nothing of a length", answer: head + "Content-Length: 5\r\n\r\n", then: rawtest.Close, conns: 2},
		{name: "less than the length", answer: head + "Content-Length: 5\r\n\r\nhel", then: rawtest.Close, cut: true, conns: 2},
		{name: "less than the length, half closed", answer: head + "Content-Length: 5\r\n\r\nhel", then: rawtest.CloseWrite, cut: true, conns: 2},
		{name: "less than a large length", answer: head + "Content-Length: 320001\r\n\r\n" + large, then: rawtest.Close, gets: "HTTP/1.1 200 OK\nContent-Length: 320001\n\n" + large, cut: true, conns: 2},

		{name: "more than the length", answer: head + "Content-Length: 5\r\n\r\nhello" + surplus, gets: sized + "hello", conns: 2},
		{name: "more than no body", answer: head + "Content-Length: 0\r\n\r\n" + surplus, gets: "HTTP/1.1 200 OK\nContent-Length: 0\n", conns: 2},
		{name: "more than chunks", answer: chunked + "5\r\nhello\r\n0\r\n\r\n" + surplus, gets: chunks + "hello", conns: 2},
		{name: "more than the length, by much", answer: head + "Content-Length: 5\r\n\r\nhello" + strings.Repeat(surplus, 200), gets: sized + "hello", conns: 2},
		{name: "more than chunks, in front of a buffer's end", answer: chunked + "1000\r\n" + strings.Repeat("a", 4096) + "\r\n0\r\n\r\n" + strings.Repeat(surplus, 200),
			gets: chunks + strings.Repeat("a", 4096), conns: 2},
		{name: "more than the length, at a buffer's end", answer: head + "Content-Length: 4055\r\n\r\n" + strings.Repeat("a", 4055) + surplus,
			gets: "HTTP/1.1 200 OK\nContent-Length: 4055\n\n" + strings.Repeat("a", 4055), conns: 2},
		{name: "CR LF behind the body", answer: head + "Content-Length: 5\r\n\r\nhello\r\n", gets: sized + "hello", conns: 2},
		{name: "closed behind the body", answer: head + "Content-Length: 5\r\n\r\nhello", then: rawtest.Close, gets: sized + "hello", conns: 2},
		{name: "reset behind the body", answer: head + "Content-Length: 5\r\n\r\nhello", then: rawtest.Reset, gets: sized + "hello", conns: 2},
		{name: "answered twice", answer: head + "Content-Length: 5\r\n\r\nhello" + head + "Content-Length: 5\r\n\r\nagain", gets: sized + "hello", conns: 2},

		{name: "HEAD", method: http.MethodHead, answer: head + "Content-Length: 1234\r\nA: b\r\n\r\n", gets: "HTTP/1.1 200 OK\nA: b\nContent-Length: 1234\n"},
		{name: "HEAD without a length", method: http.MethodHead, answer: head + "A: b\r\n\r\n", gets: "HTTP/1.1 200 OK\nA: b\n"},
		{name: "HEAD with a coding", method: http.MethodHead, answer: head + "Transfer-Encoding: chunked\r\n\r\n", gets: "HTTP/1.1 200 OK\n"},
		{name: "HEAD with a body", method: http.MethodHead, answer: head + "Content-Length: 46\r\n\r\n" + surplus, gets: "HTTP/1.1 200 OK\nContent-Length: 46\n", conns: 2},
		{name: "HEAD with chunks", method: http.MethodHead, answer: chunked + "5\r\nhello\r\n0\r\n\r\n", gets: "HTTP/1.1 200 OK\n", conns: 2},
		{name: "204", answer: "HTTP/1.1 204 No Content\r\nA: b\r\n\r\n", gets: "HTTP/1.1 204 No Content\nA: b\n", conns: 1},
		{name: "204 with a length", answer: "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", gets: "HTTP/1.1 204 No Content\n"},
		{name: "204 with a body", answer: "HTTP/1.1 204 No Content\r\nContent-Length: 46\r\n\r\n" + surplus, gets: "HTTP/1.1 204 No Content\n", conns: 2},
		{name: "204 with chunks", answer: "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", gets: "HTTP/1.1 204 No Content\n", conns: 2},
		{name: "304", answer: "HTTP/1.1 304 Not Modified\r\nEtag: \"a\"\r\nCache-Control: max-age=5\r\nContent-Length: 5\r\n\r\n",
			gets: "HTTP/1.1 304 Not Modified\nCache-Control: max-age=5\nEtag: \"a\"\n"},
		{name: "304 with a body", answer: "HTTP/1.1 304 Not Modified\r\nContent-Length: 46\r\n\r\n" + surplus, gets: "HTTP/1.1 304 Not Modified\n", conns: 2},
		{name: "304 without a length, with a body", answer: "HTTP/1.1 304 Not Modified\r\n\r\n" + surplus, gets: "HTTP/1.1 304 Not Modified\n", conns: 2},
		{name: "205 with a body", answer: "HTTP/1.1 205 Reset Content\r\nContent-Length: 5\r\n\r\nhello", gets: "HTTP/1.1 205 Reset Content\nContent-Length: 5\n\nhello", conns: 1},
		{name: "POST", method: http.MethodPost, answer: "HTTP/1.1 201 Created\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n", gets: "HTTP/1.1 201 Created\nContent-Length: 0\nLocation: /b\n", conns: 1},
	})
}

// The end of a connection ends a body only where it is the target's: anybody can cut the one below TLS.
func TestScriptOfACutBelowTLS(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		c := s.dial()
		c.Send(getBytes("/a"))
		up := s.up.Accept()
		up.ReadRequest()
		up.Send("HTTP/1.1 200 OK\r\n\r\nhello")
		up.Drop()
		res := c.ReadAnswer(http.MethodGet)
		require.Equal(s, "hello", res.Body)
		require.Equal(s, s.up.TLS != nil, res.Broken != nil)
	})
}

// A client of HTTP/1.0 gets no chunks, and its connection ends with the answer; one that breaks off ends it with a reset, for
// there is nothing else to tell it by.
func TestScriptsOfHTTP10(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, request, answer, gets string
		cut                         bool
	}{
		{"length", "GET /a HTTP/1.0\r\n", "Content-Length: 5\r\n\r\nhello", "Content-Length: 5\n\nhello", false},
		{"chunks", "GET /a HTTP/1.0\r\n", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", "\nhello", false},
		{"kept alive, length", "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n", "Content-Length: 5\r\n\r\nhello", "Content-Length: 5\n\nhello", false},
		{"kept alive, chunks", "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "\nhello", false},
		{"no last chunk", "GET /a HTTP/1.0\r\n", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "\nhello", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			play(t, func(s *stage) {
				s.up.Serve(rawtest.Reply{Text: "HTTP/1.1 200 OK\r\n" + tt.answer, Then: rawtest.Close})
				c := s.dial()
				c.Send(tt.request + "Host: h\r\n\r\n" + nextBytes)
				res := c.ReadAnswer(http.MethodGet)
				require.Equal(s, tt.cut, res.Broken != nil)
				require.Equal(s, passedOn("HTTP/1.0 200 OK\nConnection: close\n"+tt.gets), res.Text())
				c.ExpectEnd()
				s.saw("GET /a HTTP/1.1\nVia: 1.0 gatehouse\n")
			})
		})
	}
}
