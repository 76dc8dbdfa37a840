package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/rawtest"
	"github.com/gatehouse-go/gateway/policy"
)

// uploads are requests whose clients stop within the body.
func uploads() map[string]string {
	return map[string]string{
		"small":        "Content-Length: 10\r\n\r\nhello",
		"not begun":    "Content-Length: 10\r\n\r\n",
		"large":        "Content-Length: 100000\r\n\r\n" + strings.Repeat("x", 50_000),
		"very large":   "Content-Length: 10000000\r\n\r\n" + strings.Repeat("x", 500_000),
		"chunk":        "Transfer-Encoding: chunked\r\n\r\na\r\nhello",
		"no chunk yet": "Transfer-Encoding: chunked\r\n\r\n",
		"no last one":  "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"huge chunk":   "Transfer-Encoding: chunked\r\n\r\n3000000000000003\r\nhello",
	}
}

// A body that ends before its end is never a whole request to the target, however its client leaves.
func TestScriptsOfShortUploads(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*rawtest.Conn){
		"closes": (*rawtest.Conn).Close, "closes its side": (*rawtest.Conn).CloseWrite, "resets": (*rawtest.Conn).Reset,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, func(s *stage) {
				s.up.Serve(rawtest.Reply{Text: answerUp})
				var clients []*rawtest.Conn
				for _, body := range uploads() {
					c := s.dial()
					c.Send("POST /a HTTP/1.1\r\nHost: h\r\n" + body)
					leave(c)
					clients = append(clients, c)
				}
				if name == "closes its side" {
					for _, c := range clients {
						c.ReadToEnd()
					}
				}
				s.shutdown()
				for n := range s.up.Connections() {
					s.up.AwaitEnd(n)
				}
				for _, m := range s.up.Requests() {
					require.Error(s, m.Broken, m.Head)
				}
			})
		})
	}
}

// A target answers before the upload has come: its answer goes through at once although the client holds the rest back,
// whether the target reads on, lets it lie, or closes its connection over it. That the client's connection ends does not hang
// on the bounds for clients.
func TestScriptsOfEarlyAnswers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		after func(up *rawtest.Conn)
		entry policy.EntryConfig
	}{
		{"reads on", func(up *rawtest.Conn) { up.ReadToEnd() }, policy.EntryConfig{}},
		{"does not read", func(*rawtest.Conn) {}, policy.EntryConfig{}},
		{"closes", (*rawtest.Conn).Close, policy.EntryConfig{}},
		{"closes its side", (*rawtest.Conn).CloseWrite, policy.EntryConfig{}},
		{"reads on, without bounds", func(up *rawtest.Conn) { up.ReadToEnd() }, policy.EntryConfig{ReadProgress: -1, WriteProgress: -1}},
		{"closes, without bounds", (*rawtest.Conn).Close, policy.EntryConfig{ReadProgress: -1, WriteProgress: -1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			playWith(t, tt.entry, func(s *stage) {
				clients := map[string]*rawtest.Conn{}
				for framing, body := range uploads() {
					c := s.dial()
					c.SendMeanwhile("POST /a HTTP/1.1\r\nHost: h\r\n" + body)
					up := s.up.Accept()
					require.Equal(s, "POST /a HTTP/1.1", up.ReadHead().Start)
					up.Send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
					tt.after(up)
					require.Equal(s, passedOn("HTTP/1.1 413 Request Entity Too Large\nConnection: close\nContent-Length: 3\n\nbig"),
						c.ReadAnswer(http.MethodPost).Text(), framing)
					clients[framing] = c
				}
				for _, c := range clients { // all of them wait together
					c.ExpectEnd()
				}
			})
		})
	}
}

// A client that does not hold the rest back but goes on with it gets the answer as well, and nobody waits for anybody.
func TestScriptOfAnEarlyAnswerToALargeUpload(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		c := s.dial()
		sent := c.SendMeanwhile("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 30000000\r\n\r\n" + strings.Repeat("x", 30_000_000))
		up := s.up.Accept()
		up.ReadHead()
		up.Send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
		require.Equal(s, 413, c.ReadAnswer(http.MethodPost).Status())
		c.ExpectEnd()
		require.Error(s, <-sent)
		up.ReadToEnd()
	})
}

// Nor does the rest of an upload that nobody wants become a request.
func TestScriptOfASmugglingUpload(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		s.up.Serve(rawtest.Reply{Text: answerUp, Early: true})
		c := s.dial()
		c.Send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n")
		res := c.ReadAnswer(http.MethodPost)
		require.Equal(s, 200, res.Status())
		require.Equal(s, []string{"close"}, res.Values("Connection"))
		<-c.SendMeanwhile(strings.Repeat(nextBytes, 10))
		c.ExpectEnd()
		s.up.AwaitEnd(0)
		require.Len(s, s.up.Requests(), 1)
	})
}

// The gateway's own answers do not wait for what the client still holds back, and neither does the end of the connection.
func TestScriptsOfLocalAnswers(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		clients := map[string]*rawtest.Conn{}
		for framing, body := range uploads() {
			c := s.dial()
			c.SendMeanwhile("POST /keyed HTTP/1.1\r\nHost: h\r\n" + body)
			res := c.ReadAnswer(http.MethodPost)
			require.Equal(s, 401, res.Status(), framing)
			require.Equal(s, []string{"close"}, res.Values("Connection"), framing)
			clients[framing] = c
		}
		for _, c := range clients {
			c.ExpectEnd()
		}
		require.Zero(s, s.up.Connections())
	})
}
