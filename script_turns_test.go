package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/rawtest"
)

// numbered is an answer that says which one it is.
func numbered(n int) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n%02d", n)
}

func getBytes(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n" }

// Requests in one go are answered one by one, in their order, and go over one connection.
func TestScriptOfPipelining(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		var replies []rawtest.Reply
		var all strings.Builder
		var sees []string
		for n := range 10 {
			replies = append(replies, rawtest.Reply{Text: numbered(n), Drip: n%2 == 1})
			if n%3 == 2 {
				fmt.Fprintf(&all, "POST /%d HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", n)
				sees = append(sees, fmt.Sprintf("POST /%d HTTP/1.1\nContent-Length: 3\n\nabc", n))
				continue
			}
			all.WriteString(getBytes(fmt.Sprintf("/%d", n)))
			sees = append(sees, fmt.Sprintf("GET /%d HTTP/1.1\n", n))
		}
		s.up.Serve(replies...)
		c := s.dial()
		c.Send(all.String())
		for n := range 10 {
			require.Equal(s, fmt.Sprintf("%02d", n), c.ReadAnswer(http.MethodGet).Body)
		}
		c.CloseWrite()
		c.ExpectEOF()
		s.saw(sees...)
		require.Equal(s, 1, s.up.Connections())
	})
}

// A client that sends byte by byte is as good as any other.
func TestScriptOfASlowClient(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		s.up.Serve(rawtest.Reply{Text: answerUp})
		c := s.dial()
		c.Drip("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")
		c.Drip("POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;a=b\r\n!\r\n0\r\nX: 1\r\n\r\n")
		for range 2 {
			require.Equal(s, 200, c.ReadAnswer(http.MethodPost).Status())
		}
		s.saw("POST /a HTTP/1.1\nContent-Length: 5\n\nhello", "POST /b HTTP/1.1\nTransfer-Encoding: chunked\n\nhello!")
	})
}

// A kept connection of the target turns out to be dead. What changes nothing is sent once more, over a new one, and nothing
// else is, for the target may have done it.
func TestScriptsOfStaleConnections(t *testing.T) {
	t.Parallel()
	const post = "Content-Length: 1\r\n\r\na"
	for _, tt := range []struct {
		name, request, method string
		partly                string // what the target sends before it goes
		then                  rawtest.Then
		again                 bool
	}{
		{"GET", "GET /a HTTP/1.1\r\nHost: h\r\n\r\n", http.MethodGet, "", rawtest.Close, true},
		{"GET, reset", "GET /a HTTP/1.1\r\nHost: h\r\n\r\n", http.MethodGet, "", rawtest.Reset, true},
		{"HEAD", "HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n", http.MethodHead, "", rawtest.Close, true},
		{"OPTIONS", "OPTIONS /a HTTP/1.1\r\nHost: h\r\n\r\n", http.MethodOptions, "", rawtest.Close, true},
		{"GET with a body", "GET /a HTTP/1.1\r\nHost: h\r\n" + post, http.MethodGet, "", rawtest.Close, false},
		{"POST", "POST /a HTTP/1.1\r\nHost: h\r\n" + post, http.MethodPost, "", rawtest.Close, false},
		{"POST without a body", "POST /a HTTP/1.1\r\nHost: h\r\n\r\n", http.MethodPost, "", rawtest.Close, false},
		{"POST with the client's word", "POST /a HTTP/1.1\r\nHost: h\r\nIdempotency-Key: k\r\n\r\n", http.MethodPost, "", rawtest.Close, false},
		{"PUT", "PUT /a HTTP/1.1\r\nHost: h\r\n" + post, http.MethodPut, "", rawtest.Close, false},
		{"DELETE", "DELETE /a HTTP/1.1\r\nHost: h\r\n\r\n", http.MethodDelete, "", rawtest.Close, true},
		{"GET that was answered in part", "GET /a HTTP/1.1\r\nHost: h\r\n\r\n", http.MethodGet, "HTTP/1.1 2", rawtest.Close, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			play(t, func(s *stage) {
				s.up.Serve(rawtest.Reply{Text: answerUp}, rawtest.Reply{Text: tt.partly, Then: tt.then}, rawtest.Reply{Text: answerUp})
				c := s.dial()
				c.Send(nextBytes)
				require.Equal(s, 200, c.ReadAnswer(http.MethodGet).Status())
				c.Send(tt.request)
				res := c.ReadAnswer(tt.method)
				got := s.up.Requests()
				require.Equal(s, 0, got[1].Conn, "the connection was kept")
				if !tt.again {
					require.Equal(s, 502, res.Status())
					require.Len(s, got, 2)
					return
				}
				require.Equal(s, 200, res.Status())
				require.Len(s, got, 3)
				require.Equal(s, 1, got[2].Conn)
				require.Equal(s, got[1].Text(), strings.Replace(got[2].Text(), "\nConnection: close", "", 1)) // which a connection of its own may say
			})
		})
	}
}

// A target that closes a connection between two requests costs nobody an answer, whatever the method.
func TestScriptOfAConnectionClosedInBetween(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		s.up.Serve(rawtest.Reply{Text: answerUp, Then: rawtest.Close})
		c := s.dial()
		for n := range 5 {
			c.Send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\na")
			require.Equal(s, 200, c.ReadAnswer(http.MethodPost).Status())
			s.up.AwaitEnd(n)
		}
		require.Equal(s, 5, s.up.Connections())
	})
}

// What a target sends between two requests is nobody's answer.
func TestScriptOfAnUnaskedAnswer(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		c := s.dial()
		c.Send(getBytes("/a"))
		up := s.up.Accept()
		require.Equal(s, "GET /a HTTP/1.1", up.ReadRequest().Start)
		up.Send(numbered(1))
		require.Equal(s, "01", c.ReadAnswer(http.MethodGet).Body)
		up.Send("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ncrossed")
		c.Send(getBytes("/b"))
		other := s.up.Accept()
		require.Equal(s, "GET /b HTTP/1.1", other.ReadRequest().Start)
		other.Send(numbered(2))
		require.Equal(s, "02", c.ReadAnswer(http.MethodGet).Body)
		up.ExpectEnd()
	})
}

// 100 Continue is the target's to say: before it has, the client is not asked for its body, nor the target sent it.
func TestScriptOfExpect(t *testing.T) {
	t.Parallel()
	const post = "POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
	play(t, func(s *stage) {
		c := s.dial()
		c.Send(post)
		up := s.up.Accept()
		m := up.ReadHead()
		require.Equal(s, s.forwarded("POST /a HTTP/1.1\nContent-Length: 5\nExpect: 100-continue\n"), m.Text())
		c.ExpectSilence()
		up.Send("HTTP/1.1 100 Continue\r\n\r\n")
		require.Equal(s, "HTTP/1.1 100 Continue\r\n\r\n", c.ReadAnswer(http.MethodPost).Head)
		up.ExpectSilence()
		c.Send("hello")
		up.Expect("hello")
		up.Send(answerUp)
		require.Equal(s, passedOn("HTTP/1.1 200 OK\nContent-Length: 2\n\nup"), c.ReadAnswer(http.MethodPost).Text())
		c.Send(nextBytes)
		if s.up.TLS == nil {
			up = s.up.Accept() // connections for Expect are counted apart
		}
		require.Equal(s, "GET /next HTTP/1.1", up.ReadRequest().Start)
		up.Send(answerUp)
		require.Equal(s, 200, c.ReadAnswer(http.MethodGet).Status())
	})
}

// A refusal in place of 100 Continue: nobody sees the body, and the connections on both sides end, since it might come.
func TestScriptOfExpectAndARefusal(t *testing.T) {
	t.Parallel()
	for _, framing := range []string{"Content-Length: 31", "Content-Length: 100000", "Transfer-Encoding: chunked"} {
		t.Run(framing, func(t *testing.T) {
			t.Parallel()
			play(t, func(s *stage) {
				c := s.dial()
				c.Send("POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n" + framing + "\r\n\r\n")
				up := s.up.Accept()
				up.ReadHead()
				up.Send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
				res := c.ReadAnswer(http.MethodPost)
				require.Equal(s, passedOn("HTTP/1.1 413 Request Entity Too Large\nConnection: close\nContent-Length: 3\n\nbig"), res.Text())
				up.ExpectEnd()
				c.ExpectEnd()
			})
		})
	}
}

// The gateway's own refusal does not ask for the body either.
func TestScriptOfExpectAndALocalRefusal(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		c := s.dial()
		c.Send("POST /keyed HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 31\r\n\r\n")
		res := c.ReadAnswer(http.MethodPost)
		require.Equal(s, 401, res.Status())
		require.Equal(s, []string{"close"}, res.Values("Connection"))
		c.ExpectEnd()
		require.Zero(s, s.up.Connections())
	})
}

// A target that says nothing to Expect gets the body after a while all the same (RFC 9110 section 10.1.1).
func TestScriptOfExpectWithoutAWord(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		c := s.dial()
		c.Send("POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
		up := s.up.Accept()
		require.Equal(s, "HTTP/1.1 100 Continue", c.ReadAnswer(http.MethodPost).Start)
		c.Send("5\r\nhello\r\n0\r\n\r\n")
		m := up.ReadRequest()
		require.Equal(s, s.forwarded("POST /a HTTP/1.1\nExpect: 100-continue\nTransfer-Encoding: chunked\n\nhello"), m.Text())
		up.Send(answerUp)
		require.Equal(s, 200, c.ReadAnswer(http.MethodPost).Status())
	})
}
