package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/rawtest"
)

// after says what becomes of the client's connection.
type after uint8

const (
	closes after = iota // nothing behind the request is read as another
	keeps               // what follows is the next request
)

// What clients send in one go, with another request behind it in the same bytes: what the target sees of both, and what
// becomes of the connection. Without sees the target sees no byte.
type requestScript struct {
	name, send string
	status     int
	sees       string
	after      after
	refused    int // the status where the server repairs nothing; 0 for the same. The target sees nothing then
}

func playRequests(t *testing.T, scripts []requestScript) {
	t.Helper()
	for _, tt := range scripts {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			play(t, func(s *stage) {
				s.up.Serve(rawtest.Reply{Text: answerUp})
				c := s.dial()
				method, _, _ := strings.Cut(tt.send, " ")
				c.Send(tt.send + nextBytes)
				res := c.ReadAnswer(method)
				tt := tt
				if tt.refused != 0 && !s.repairs {
					tt.status, tt.sees, tt.after = tt.refused, "", closes
				}
				require.Equal(s, tt.status, res.Status(), res.Head)
				require.NoError(s, res.Broken)
				saw := []string{}
				if tt.sees != "" {
					saw = append(saw, tt.sees)
				}
				if tt.after == keeps {
					require.Equal(s, 200, c.ReadAnswer(http.MethodGet).Status())
					saw = append(saw, next)
				} else {
					c.ExpectEnd()
				}
				s.saw(saw...)
				if len(saw) == 0 {
					require.Zero(s, s.up.Connections())
				}
			})
		})
	}
}

// Two servers that do not agree on where a request ends: what one of them takes for the body, the other takes for a request
// of somebody else (RFC 9112 section 11.2).
func TestScriptsOfFraming(t *testing.T) {
	t.Parallel()
	const (
		post    = "POST /a HTTP/1.1\r\nHost: h\r\n"
		chunked = "Transfer-Encoding: chunked\r\n"
		abc     = "3\r\nabc\r\n0\r\n\r\n"
		chunks  = "POST /a HTTP/1.1\nTransfer-Encoding: chunked\n\nabc"
		sized   = "POST /a HTTP/1.1\nContent-Length: 3\n\nabc"
	)
	playRequests(t, []requestScript{
		{"length", post + "Content-Length: 3\r\n\r\nabc", 200, sized, keeps, 0},
		{"no body", "GET /a HTTP/1.1\r\nHost: h\r\n\r\n", 200, "GET /a HTTP/1.1\n", keeps, 0},
		{"POST without a body", post + "\r\n", 200, "POST /a HTTP/1.1\nContent-Length: 0\n", keeps, 0},
		{"GET with a body", "GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", 200, "GET /a HTTP/1.1\nContent-Length: 3\n\nabc", keeps, 0},
		{"equal lengths", post + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 200, sized, keeps, 400},
		{"different lengths", post + "Content-Length: 3\r\nContent-Length: 0\r\n\r\nabc", 400, "", closes, 0},
		{"list of equal lengths", post + "Content-Length: 3, 3\r\n\r\nabc", 400, "", closes, 0},
		{"list of lengths", post + "Content-Length: 3, 0\r\n\r\nabc", 400, "", closes, 0},
		{"length with a plus", post + "Content-Length: +3\r\n\r\nabc", 400, "", closes, 0},
		{"length with a minus", post + "Content-Length: -3\r\n\r\nabc", 400, "", closes, 0},
		{"hexadecimal length", post + "Content-Length: 0x3\r\n\r\nabc", 400, "", closes, 0},
		{"length with a space inside", post + "Content-Length: 3 0\r\n\r\nabc", 400, "", closes, 0},
		{"empty length", post + "Content-Length:\r\n\r\nabc", 400, "", closes, 0},
		{"length beyond 64 bits", post + "Content-Length: 18446744073709551619\r\n\r\nabc", 400, "", closes, 0},
		{"length with underscore in its name", post + "Content_Length: 9\r\nContent-Length: 3\r\n\r\nabc", 200, sized, keeps, 0},

		{"chunks", post + chunked + "\r\n" + abc, 200, chunks, keeps, 0},
		{"chunks, name in odd case", post + "tRANSFER-eNCODING: CHUNKED\r\n\r\n" + abc, 200, chunks, keeps, 0},
		{"xchunked", post + "Transfer-Encoding: xchunked\r\n\r\n" + abc, 501, "", closes, 0},
		{"identity", post + "Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc", 501, "", closes, 400},
		{"chunked twice", post + "Transfer-Encoding: chunked, chunked\r\n\r\n" + abc, 501, "", closes, 0},
		{"chunked, identity", post + "Transfer-Encoding: chunked, identity\r\n\r\n" + abc, 501, "", closes, 0},
		{"gzip, chunked", post + "Transfer-Encoding: gzip, chunked\r\n\r\n" + abc, 501, "", closes, 0},
		{"two lines of chunked", post + chunked + chunked + "\r\n" + abc, 501, "", closes, 0},
		{"a line of identity beside", post + chunked + "Transfer-Encoding: identity\r\n\r\n" + abc, 501, "", closes, 0},
		{"an empty line beside", post + chunked + "Transfer-Encoding:\r\n\r\n" + abc, 501, "", closes, 0},
		{"empty coding", post + "Transfer-Encoding:\r\nContent-Length: 3\r\n\r\nabc", 501, "", closes, 400},
		{"quoted coding", post + "Transfer-Encoding: \"chunked\"\r\n\r\n" + abc, 501, "", closes, 0},
		{"coding with a parameter", post + "Transfer-Encoding: chunked;q=1\r\n\r\n" + abc, 501, "", closes, 0},
		{"coding behind a tab", post + "Transfer-Encoding:\tchunked\r\n\r\n" + abc, 200, chunks, keeps, 0},
		{"coding behind a vertical tab", post + "Transfer-Encoding:\vchunked\r\n\r\n" + abc, 400, "", closes, 0},
		{"coding before a form feed", post + "Transfer-Encoding: chunked\f\r\n\r\n" + abc, 400, "", closes, 0},
		{"coding before a no-break space", post + "Transfer-Encoding: chunked\xa0\r\n\r\n" + abc, 501, "", closes, 0},
		{"coding before a NUL", post + "Transfer-Encoding: chunked\x00\r\n\r\n" + abc, 400, "", closes, 0},
		{"coding before a CR", post + "Transfer-Encoding: chunked\r\r\n\r\n" + abc, 400, "", closes, 0},
		{"coding on a line of its own", post + "Transfer-Encoding:\r\n chunked\r\n\r\n" + abc, 200, chunks, keeps, 400},
		{"coding with a space before its colon", post + "Transfer-Encoding : chunked\r\n\r\n" + abc, 400, "", closes, 0},
		{"coding with a space before its name", post + "A: b\r\n Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc", 200,
			"POST /a HTTP/1.1\nA: b Transfer-Encoding: chunked\nContent-Length: 3\n\nabc", keeps, 400},
		{"coding with an underscore", post + "Transfer_Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc", 200, sized, keeps, 0},
		{"coding with a dot", post + "Transfer.Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc", 200, sized, keeps, 0},
		{"coding behind bare LF", post + "A: b\nTransfer-Encoding: chunked\r\n\r\n" + abc, 200, "POST /a HTTP/1.1\nA: b\nTransfer-Encoding: chunked\n\nabc", keeps, 400},
		{"coding behind bare CR", post + "A: b\rTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc", 400, "", closes, 0},
		// RFC 9112 section 6.1 wants the first two processed and their connections closed. Of the others net/http tells nobody that
		// there was a length; the chunks are what counts, and the target hears of one framing only.
		{"coding in HTTP/1.0", "POST /a HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n" + chunked + "\r\n" + abc, 200,
			"POST /a HTTP/1.1\nContent-Length: 0\nVia: 1.0 gatehouse\n", closes, 400},
		{"coding and length in HTTP/1.0", "POST /a HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nContent-Length: 3\r\n" + chunked + "\r\nabc", 200,
			"POST /a HTTP/1.1\nContent-Length: 3\nVia: 1.0 gatehouse\n\nabc", closes, 400},
		{"length and coding", post + "Content-Length: 3\r\n" + chunked + "\r\n" + abc, 200, chunks, keeps, 400},
		{"coding and length", post + chunked + "Content-Length: 100\r\n\r\n" + abc, 200, chunks, keeps, 400},
		{"Connection names the length", post + "Connection: Content-Length\r\nContent-Length: 3\r\n\r\nabc", 200, sized, keeps, 0},
		{"Connection names the coding", post + "Connection: Transfer-Encoding\r\n" + chunked + "\r\n" + abc, 200, chunks, keeps, 0},
	})
}

// Chunks that another server could read otherwise: the client is told, what follows is no request, and the target never has the
// whole of one.
func TestScriptsOfChunks(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, body string
		sees       string // the body, when the request is in order
		repaired   bool   // it is not, and net/http does not say so
	}{
		{"in order", "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "abcde", false},
		{"zeros in front", "0003\r\nabc\r\n000\r\n\r\n", "abc", false},
		{"capitals", "A\r\n0123456789\r\n0\r\n\r\n", "0123456789", false},
		{"an extension", "3;a=b\r\nabc\r\n0;c=\"d\"\r\n\r\n", "abc", false},
		{"a space behind the size", "3 \r\nabc\r\n0\r\n\r\n", "abc", false},
		{"trailers", "3\r\nabc\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n", "abc", false},
		// Trailers go no further, and net/http is not strict with them.
		{"a trailer with a space in its name", "3\r\nabc\r\n0\r\nX : 1\r\n\r\n", "abc", true},
		{"LF for the end", "3\r\nabc\r\n0\r\n\n", "abc", true},
		{"no size", "\r\nabc\r\n0\r\n\r\n", "", false},
		{"size of an extension alone", ";a=b\r\nabc\r\n0\r\n\r\n", "", false},
		{"no hexadecimal", "g\r\nabc\r\n0\r\n\r\n", "", false},
		{"0x", "0x3\r\nabc\r\n0\r\n\r\n", "", false},
		{"plus", "+3\r\nabc\r\n0\r\n\r\n", "", false},
		{"minus", "-3\r\nabc\r\n0\r\n\r\n", "", false},
		{"underscore", "0_3\r\nabc\r\n0\r\n\r\n", "", false},
		{"a space in front", " 3\r\nabc\r\n0\r\n\r\n", "", false},
		{"a vertical tab", "3\v\r\nabc\r\n0\r\n\r\n", "", false},
		{"beyond 64 bits", "10000000000000003\r\nabc\r\n0\r\n\r\n", "", false},
		{"LF behind the size", "3\nabc\r\n0\r\n\r\n", "", false},
		{"LF behind an extension", "3;a\nabc\r\n0\r\n\r\n", "", false},
		{"LF within an extension", "3;a\nb\r\nabc\r\n0\r\n\r\n", "", false},
		{"CR within an extension", "3;a\rb\r\nabc\r\n0\r\n\r\n", "", false},
		{"two CR and LF behind the size", "3\r\r\nabc\r\n0\r\n\r\n", "", false},
		{"LF behind the data", "3\r\nabc\n0\r\n\r\n", "", false},
		{"nothing behind the data", "3\r\nabc0\r\n\r\n", "", false},
		{"more data than announced", "3\r\nabcd\r\n0\r\n\r\n", "", false},
		{"LF behind the last chunk", "3\r\nabc\r\n0\n\r\n", "", false},
		{"a trailer without a colon", "3\r\nabc\r\n0\r\nX\r\n\r\n", "", false},
		{"no last chunk, but a request", "3\r\nabc\r\n", "", false},
		{"an endless extension", "3;" + strings.Repeat("a", 8<<10) + "\r\nabc\r\n0\r\n\r\n", "", false},
		{"an endless trailer", "3\r\nabc\r\n0\r\nX: " + strings.Repeat("a", 128<<10) + "\r\n\r\n", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			play(t, func(s *stage) {
				s.up.Serve(rawtest.Reply{Text: answerUp})
				c := s.dial()
				c.Send("POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + tt.body + nextBytes)
				res := c.ReadAnswer(http.MethodPost)
				if tt.sees != "" && (s.repairs || !tt.repaired) {
					require.Equal(s, 200, res.Status())
					require.Equal(s, 200, c.ReadAnswer(http.MethodGet).Status())
					s.saw("POST /a HTTP/1.1\nTransfer-Encoding: chunked\n\n"+tt.sees, next)
					return
				}
				require.Equal(s, 400, res.Status(), res.Head)
				require.Equal(s, []string{"close"}, res.Values("Connection"))
				c.ExpectEnd()
				for n := range s.up.Connections() {
					s.up.AwaitEnd(n)
				}
				for _, m := range s.up.Requests() {
					require.Equal(s, "POST /a HTTP/1.1", m.Start)
					require.Error(s, m.Broken)
				}
			})
		})
	}
}
