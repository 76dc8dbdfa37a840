package gateway_test

import (
	"cmp"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/rawtest"
)

// answerScript is what a target answers, and what the client gets of it.
type answerScript struct {
	name   string
	method string // GET unless it is told
	answer string
	then   rawtest.Then
	drip   bool

	informs []string // informational answers
	gets    string   // the final one; "" is the gateway's own 502
	cut     bool     // it breaks off; without gets before the client has seen anything of it
	// repaired is what the client gets where net/http has read the answer, if that differs: it repairs what the other
	// transport refuses.
	repaired string
	// conns is how many connections the target sees when another request follows; 0 leaves that open.
	conns int
}

func playAnswers(t *testing.T, scripts []answerScript) {
	t.Helper()
	for _, tt := range scripts {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			play(t, func(s *stage) { tt.play(s) })
		})
	}
}

func (tt *answerScript) play(s *stage) {
	s.up.Serve(rawtest.Reply{Text: tt.answer, Drip: tt.drip, Then: tt.then}, rawtest.Reply{Text: answerUp})
	method := cmp.Or(tt.method, http.MethodGet)
	c := s.dial()
	c.Send(method + " /a HTTP/1.1\r\nHost: h\r\n\r\n")
	if tt.cut && tt.gets == "" { // the server had not sent the little there was
		c.ExpectEnd()
	} else {
		tt.answered(s, c, method)
	}
	if tt.cut {
		c = s.dial()
	}
	// Whatever the target has sent too much, or not to its end: the next request has its own answer.
	c.Send(nextBytes)
	require.Equal(s, passedOn("HTTP/1.1 200 OK\nContent-Length: 2\n\nup"), c.ReadAnswer(http.MethodGet).Text())
	request := method + " /a HTTP/1.1\n"
	if method == http.MethodPost {
		request += "Content-Length: 0\n"
	}
	s.saw(request, next)
	if tt.conns > 0 {
		require.Equal(s, tt.conns, s.up.Connections())
	}
}

// answered says that c gets the answer.
func (tt *answerScript) answered(s *stage, c *rawtest.Conn, method string) {
	var informs []string
	res := c.ReadAnswer(method)
	for ; res.Status() < 200; res = c.ReadAnswer(method) {
		require.NotEqual(s, 101, res.Status())
		informs = append(informs, strings.TrimSuffix(res.Text(), "\n"))
	}
	require.Equal(s, tt.informs, informs)
	gets := tt.gets
	if s.up.TLS != nil {
		gets = cmp.Or(tt.repaired, gets)
	}
	switch {
	case gets == "":
		require.NoError(s, res.Broken)
		require.Equal(s, 502, res.Status(), res.Head)
		require.Empty(s, res.Values("Via"), "the answer is the gateway's own")
		require.Contains(s, res.Body, badGateway)
		require.NotContains(s, res.Body, s.up.Addr)
	case tt.cut:
		require.Error(s, res.Broken, "the client takes a part for the whole: %q", res.Text())
		require.Equal(s, passedOn(gets), res.Text())
	default:
		require.NoError(s, res.Broken)
		require.Equal(s, passedOn(gets), res.Text())
	}
	if tt.cut {
		c.ExpectEnd()
	}
}

// passedOn is text, an answer as a client gets it, with the fields that every answer of a target has.
func passedOn(text string) string { return withFields(text, "Date: *", "Via: 1.1 gatehouse") }

// Heads of answers. What another recipient could read otherwise is not passed on, and its connection is not used again.
func TestScriptsOfHeads(t *testing.T) {
	t.Parallel()
	const (
		head  = "HTTP/1.1 200 OK\r\n"
		empty = "HTTP/1.1 200 OK\nContent-Length: 0\n"
	)
	status := func(line string) string { return line + "\r\nContent-Length: 0\r\n\r\n" }
	playAnswers(t, []answerScript{
		{name: "in order", answer: head + "Content-Length: 2\r\nA: b\r\n\r\nok", gets: "HTTP/1.1 200 OK\nA: b\nContent-Length: 2\n\nok", conns: 1},
		{name: "byte by byte", answer: head + "Content-Length: 2\r\nA: b\r\n\r\nok", drip: true, gets: "HTTP/1.1 200 OK\nA: b\nContent-Length: 2\n\nok", conns: 1},
		{name: "no reason", answer: status("HTTP/1.1 200 "), gets: empty, conns: 1},
		{name: "no reason and no space", answer: status("HTTP/1.1 200"), gets: empty, conns: 1},
		{name: "a reason of its own", answer: status("HTTP/1.1 404 Nothing here"), gets: "HTTP/1.1 404 Not Found\nContent-Length: 0\n", conns: 1},
		{name: "an unknown status", answer: status("HTTP/1.1 299 Odd"), gets: "HTTP/1.1 299 status code 299\nContent-Length: 0\n", conns: 1},
		{name: "HTTP/1.0", answer: status("HTTP/1.0 200 OK"), gets: empty + "Via: 1.0 gatehouse\n", conns: 2},
		{name: "status 099", answer: status("HTTP/1.1 099 Odd"), conns: 2},
		{name: "status 000", answer: status("HTTP/1.1 000 Odd"), conns: 2},
		{name: "status 600", answer: status("HTTP/1.1 600 Odd")},
		{name: "status 1000", answer: status("HTTP/1.1 1000 Odd"), conns: 2},
		{name: "status 2oo", answer: status("HTTP/1.1 2oo OK"), conns: 2},
		{name: "status 20", answer: status("HTTP/1.1 20 OK"), conns: 2},
		{name: "status -20", answer: status("HTTP/1.1 -20 OK"), conns: 2},
		{name: "no status", answer: status("HTTP/1.1"), conns: 2},
		{name: "two spaces before the status", answer: status("HTTP/1.1  200 OK"), repaired: empty},
		{name: "a tab before the status", answer: status("HTTP/1.1\t200 OK"), conns: 2},
		{name: "101 that nobody asked for", answer: "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", conns: 2},
		{name: "HTTP/0.9", answer: "<html>hello</html>\r\n", then: rawtest.Close, conns: 2},
		{name: "HTTP/1.2", answer: status("HTTP/1.2 200 OK"), repaired: empty + "Via: 1.2 gatehouse\n"},
		{name: "HTTP/2.0", answer: status("HTTP/2.0 200 OK"), conns: 2},
		{name: "HTTP/3", answer: status("HTTP/3 200 OK"), conns: 2},
		{name: "http in lower case", answer: status("http/1.1 200 OK"), conns: 2},
		{name: "ICY", answer: status("ICY 200 OK"), then: rawtest.Close, conns: 2},
		{name: "an empty line in front", answer: "\r\n" + status("HTTP/1.1 200 OK"), conns: 2},

		{name: "equal lengths", answer: head + "Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", gets: "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"},
		{name: "different lengths", answer: head + "Content-Length: 2\r\nContent-Length: 0\r\n\r\nok", conns: 2},
		{name: "list of lengths", answer: head + "Content-Length: 2, 2\r\n\r\nok", conns: 2},
		{name: "negative length", answer: head + "Content-Length: -2\r\n\r\nok", conns: 2},
		{name: "length with a plus", answer: head + "Content-Length: +2\r\n\r\nok", conns: 2},
		{name: "length beyond 64 bits", answer: head + "Content-Length: 18446744073709551618\r\n\r\nok", conns: 2},
		{name: "empty length", answer: head + "Content-Length:\r\n\r\nok", then: rawtest.Close, conns: 2},
		{name: "length and coding", answer: head + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
			repaired: "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nok"},
		{name: "unknown coding", answer: head + "Transfer-Encoding: gzip\r\n\r\nok", conns: 2},
		{name: "two codings", answer: head + "Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", conns: 2},
		{name: "two lines of codings", answer: head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", conns: 2},
		{name: "identity", answer: head + "Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok", conns: 2},
		{name: "coding in HTTP/1.0", answer: "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", then: rawtest.Close,
			repaired: "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nVia: 1.0 gatehouse\n\n2\r\nok\r\n0\r\n\r\n", conns: 2},

		{name: "continued line", answer: head + "A: b\r\n c\r\nContent-Length: 0\r\n\r\n", repaired: empty + "A: b c\n"},
		{name: "first line continued", answer: head + " A: b\r\nContent-Length: 0\r\n\r\n", conns: 2},
		{name: "no colon", answer: head + "A\r\nContent-Length: 0\r\n\r\n", conns: 2},
		{name: "empty name", answer: head + ": b\r\nContent-Length: 0\r\n\r\n", conns: 2},
		{name: "space in a name", answer: head + "A B: c\r\nContent-Length: 0\r\n\r\n", conns: 2},
		{name: "space before the colon", answer: head + "Content-Length : 0\r\n\r\n", conns: 2},
		{name: "name that is no token", answer: head + "A(b): c\r\nContent-Length: 0\r\n\r\n", conns: 2},
		{name: "NUL", answer: head + "A: b\x00c\r\nContent-Length: 0\r\n\r\n", conns: 2},
		{name: "CR in a value", answer: head + "A: b\rc\r\nContent-Length: 0\r\n\r\n", conns: 2},
		{name: "lines that end with LF", answer: "HTTP/1.1 200 OK\nA: b\nContent-Length: 0\n\n", gets: empty + "A: b\n"},
		{name: "huge", answer: head + "A: " + strings.Repeat("b", 200<<10) + "\r\n\r\n", conns: 2},
		{name: "no end", answer: head + "A: b\r\n", then: rawtest.Close, conns: 2},
		{name: "nothing", then: rawtest.Close, conns: 2},
		{name: "a reset", then: rawtest.Reset, conns: 2},

		{name: "hop by hop", answer: head + "Connection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nProxy-Connection: close\r\n" +
			"Upgrade: h2c\r\nTrailer: X\r\nTE: x\r\nB: 1\r\nContent-Length: 0\r\n\r\n", gets: empty + "B: 1\n", conns: 1},
		{name: "Connection names what stays", answer: head + "Connection: Set-Cookie, Cache-Control, Content-Length\r\nSet-Cookie: a=b\r\nCache-Control: no-store\r\nContent-Length: 0\r\n\r\n",
			gets: empty + "Cache-Control: no-store\nSet-Cookie: a=b\n"},
		{name: "Connection: close", answer: head + "Connection: close\r\nContent-Length: 0\r\n\r\n", gets: empty, conns: 2},
		{name: "Date and Via", answer: head + "Date: Mon, 01 Jan 2024 00:00:00 GMT\r\nVia: 1.0 a\r\nVia: 1.1 b\r\nContent-Length: 0\r\n\r\n",
			gets: empty + "Via: 1.0 a, 1.1 b, 1.1 gatehouse\n", conns: 1},
		{name: "several of a name", answer: head + "Set-Cookie: a=1\r\nset-cookie: b=2\r\nWww-Authenticate: A\r\nWWW-Authenticate: B\r\nContent-Length: 0\r\n\r\n",
			gets: empty + "Set-Cookie: a=1\nSet-Cookie: b=2\nWww-Authenticate: A\nWww-Authenticate: B\n", conns: 1},
		{name: "redirect", answer: "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
			gets: "HTTP/1.1 302 Found\nContent-Length: 0\nLocation: http://127.0.0.1:1/\n", conns: 1},
	})
}

// Informational answers: two of them say something to a client, and one that does not end is not listened to for ever.
func TestScriptsOfInformationalAnswers(t *testing.T) {
	t.Parallel()
	const final, gets, hint = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\nContent-Length: 0\n", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
	const hinted = "HTTP/1.1 103 Early Hints\nLink: </a>"
	playAnswers(t, []answerScript{
		{name: "103", answer: hint + final, informs: []string{hinted}, gets: gets, conns: 1},
		{name: "103 byte by byte", answer: hint + final, drip: true, informs: []string{hinted}, gets: gets, conns: 1},
		{name: "102", answer: "HTTP/1.1 102 Processing\r\n\r\n" + final, informs: []string{"HTTP/1.1 102 Processing"}, gets: gets, conns: 1},
		{name: "100 that nobody waits for", answer: "HTTP/1.1 100 Continue\r\n\r\n" + final, gets: gets, conns: 1},
		{name: "100 between hints", answer: hint + "HTTP/1.1 100 Continue\r\n\r\n" + hint + final, informs: []string{hinted, hinted}, gets: gets, conns: 1},
		{name: "199", answer: "HTTP/1.1 199 Odd\r\nA: b\r\n\r\n" + final, gets: gets, conns: 1},
		{name: "101 behind a hint", answer: hint + "HTTP/1.1 101 Switching Protocols\r\n\r\n", informs: []string{hinted}, conns: 2},
		{name: "hop by hop and cookies", answer: "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nSet-Cookie: a=b\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\r\n" + final,
			informs: []string{hinted}, gets: gets, conns: 1},
		{name: "length of a body that cannot be", answer: "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 5\r\n\r\n" + final, informs: []string{hinted}, gets: gets, conns: 1},
		{name: "many", answer: strings.Repeat(hint, 20) + final, informs: strings.Split(strings.TrimSuffix(strings.Repeat(hinted+"|", 8), "|"), "|"), gets: gets, conns: 1},
		{name: "without end", answer: strings.Repeat(hint, 2000), informs: strings.Split(strings.TrimSuffix(strings.Repeat(hinted+"|", 8), "|"), "|"), conns: 2},
		{name: "malformed", answer: "HTTP/1.1 103 Early Hints\r\nA B: c\r\n\r\n" + final, conns: 2},
	})
}
