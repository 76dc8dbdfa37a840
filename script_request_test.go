package gateway_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/rawtest"
)

// Request lines and hosts: the target gets one spelling of each, or nothing.
func TestScriptsOfTargets(t *testing.T) {
	t.Parallel()
	get := func(target string) string { return "GET " + target + " HTTP/1.1\r\nHost: h\r\n\r\n" }
	host := func(lines string) string { return "GET /a HTTP/1.1\r\n" + lines + "\r\n" }
	playRequests(t, []requestScript{
		{"absolute form", get("http://h/a?b=c"), 200, "GET /a?b=c HTTP/1.1\n", keeps, 0},
		{"absolute form counts, not Host", "GET http://h/a HTTP/1.1\r\nHost: other\r\n\r\n", 200, "GET /a HTTP/1.1\n", keeps, 0},
		{"absolute form with a port", get("http://h:81/a"), 200, "GET /a HTTP/1.1\nX-Forwarded-Host: h:81\nX-Forwarded-Port: 81\n", keeps, 0},
		{"absolute form without a path", get("http://h"), 200, "GET / HTTP/1.1\n", keeps, 0},
		{"absolute form of https", get("https://h/a"), 200, "GET /a HTTP/1.1\n", keeps, 0},
		{"absolute form with user information", get("http://u:p@h/a"), 400, "", keeps, 0},
		{"absolute form of another scheme", get("ftp://h/a"), 400, "", keeps, 0},
		{"absolute form of a file", get("file:///a"), 400, "", keeps, 0},
		{"authority form", get("h:80"), 400, "", keeps, 0},
		{"asterisk form", get("*"), 400, "", keeps, 0},
		{"asterisk form of OPTIONS", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", 400, "", keeps, 0},
		{"no slash in front", get("a"), 400, "", closes, 0},
		{"empty", "GET  HTTP/1.1\r\nHost: h\r\n\r\n", 400, "", closes, 0},
		{"two spaces", "GET  /a HTTP/1.1\r\nHost: h\r\n\r\n", 400, "", closes, 0},
		{"a tab", "GET\t/a HTTP/1.1\r\nHost: h\r\n\r\n", 400, "", closes, 0},
		{"a space inside", get("/a b"), 400, "", closes, 0},
		{"a space at the end", "GET /a HTTP/1.1 \r\nHost: h\r\n\r\n", 400, "", closes, 0},
		{"two slashes in front", get("//h/a"), 200, "GET /h/a HTTP/1.1\n", keeps, 0},
		{"two slashes inside", get("/a//b"), 200, "GET /a/b HTTP/1.1\n", keeps, 0},
		{"dot segments", get("/a/./b/../c"), 200, "GET /a/c HTTP/1.1\n", keeps, 0},
		{"escaped dot segments", get("/a/%2e%2E/c"), 200, "GET /c HTTP/1.1\n", keeps, 0},
		{"dot segments into a guarded route", get("/a/../keyed"), 401, "", keeps, 0},
		{"above the root", get("/../../a"), 200, "GET /a HTTP/1.1\n", keeps, 0},
		{"escaped slash", get("/a%2fb"), 400, "", keeps, 0},
		{"escaped backslash", get("/a%5cb"), 400, "", keeps, 0},
		{"backslash", get(`/a\b`), 400, "", keeps, 0},
		{"escaped NUL", get("/a%00"), 400, "", keeps, 0},
		{"escaped CR LF", get("/a%0d%0aX:%20y"), 200, "GET /a%0D%0AX:%20y HTTP/1.1\n", keeps, 0},
		{"escaped question mark", get("/a%3fb"), 200, "GET /a%3Fb HTTP/1.1\n", keeps, 0},
		{"escaped percent sign", get("/a%252fb"), 200, "GET /a%252fb HTTP/1.1\n", keeps, 0},
		{"malformed escape", get("/a%zz"), 400, "", closes, 0},
		{"fragment", get("/a#b"), 400, "", keeps, 0},
		{"fragment in the query", get("/a?b#c"), 400, "", keeps, 0},
		{"not ASCII", get("/\xc3\xa9"), 200, "GET /%C3%A9 HTTP/1.1\n", keeps, 0},
		{"control character", get("/a\x01"), 400, "", closes, 0},
		{"query as it is", get("/a?b=%2f&c=d;e&%zz"), 200, "GET /a?b=%2f&c=d;e&%zz HTTP/1.1\n", keeps, 0},
		{"question mark alone", get("/a?"), 200, "GET /a? HTTP/1.1\n", keeps, 0},

		{"no Host", host(""), 400, "", closes, 0},
		{"empty Host", host("Host:\r\n"), 200, "GET /a HTTP/1.1\nX-Forwarded-Host:\n", keeps, 0},
		{"two Hosts", host("Host: h\r\nHost: h\r\n"), 400, "", closes, 0},
		{"Host on a continued line", host("Host:\r\n h\r\n"), 200, "GET /a HTTP/1.1\n", keeps, 400},
		{"Host with a space before its colon", host("Host : h\r\n"), 400, "", closes, 0},
		{"Host with user information", host("Host: u@h\r\n"), 400, "", closes, 0},
		{"Host with a path", host("Host: h/b\r\n"), 400, "", closes, 0},
		{"Host with a space", host("Host: h b\r\n"), 400, "", closes, 0},
		{"Host with a comma", host("Host: h,b\r\n"), 400, "", keeps, 0},
		{"Host with a bad port", host("Host: h:port\r\n"), 400, "", keeps, 0},
		{"Host in capitals, with a dot", host("Host: H.:80\r\n"), 200, "GET /a HTTP/1.1\nX-Forwarded-Host: h:80\n", keeps, 0},

		{"CONNECT", "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", 405, "", closes, 0},
		{"CONNECT with a path", "CONNECT /a HTTP/1.1\r\nHost: h\r\n\r\n", 405, "", closes, 0},
		{"CONNECT with a body", "CONNECT h:80 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", 405, "", closes, 0},
		{"TRACE", "TRACE /a HTTP/1.1\r\nHost: h\r\n\r\n", 405, "", closes, 0},
		{"PRI", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 405, "", closes, 505},
		{"PRI with a path", "PRI /a HTTP/1.1\r\nHost: h\r\n\r\n", 405, "", closes, 0},
		{"method in lower case", "get /a HTTP/1.1\r\nHost: h\r\n\r\n", 200, "get /a HTTP/1.1\n", keeps, 0},
		{"method of one's own", "PURGE /a HTTP/1.1\r\nHost: h\r\n\r\n", 200, "PURGE /a HTTP/1.1\n", keeps, 0},
		{"method that is no token", "G(T /a HTTP/1.1\r\nHost: h\r\n\r\n", 400, "", closes, 0},
		{"method that is very long", strings.Repeat("G", 33) + " /a HTTP/1.1\r\nHost: h\r\n\r\n", 501, "", keeps, 0},
		{"HTTP/0.9", "GET /a\r\n", 400, "", closes, 0},
		{"HTTP/1.2", "GET /a HTTP/1.2\r\nHost: h\r\n\r\n", 505, "", keeps, 0},
		{"HTTP/2.0", "GET /a HTTP/2.0\r\nHost: h\r\n\r\n", 505, "", closes, 0},
		{"HTTP/1.01", "GET /a HTTP/1.01\r\nHost: h\r\n\r\n", 400, "", closes, 0},
		{"http/1.1", "GET /a http/1.1\r\nHost: h\r\n\r\n", 400, "", closes, 0},
	})
}

// Fields that are malformed are refused, those of one connection end there, and those a client may not set do not arrive.
func TestScriptsOfFields(t *testing.T) {
	t.Parallel()
	with := func(lines string) string { return "GET /a HTTP/1.1\r\nHost: h\r\n" + lines + "\r\n\r\n" }
	const plain = "GET /a HTTP/1.1\n"
	playRequests(t, []requestScript{
		{"several of a name", with("A: 1\r\na: 2\r\nB:\r\nA: 3"), 200, plain + "A: 1\nA: 2\nA: 3\nB: \n", keeps, 0},
		{"white space around a value", with("A: \t b c \t"), 200, plain + "A: b c\n", keeps, 0},
		{"continued line", with("A: b\r\n c\r\n\td"), 200, plain + "A: b c d\n", keeps, 400},
		{"first line continued", "GET /a HTTP/1.1\r\n Host: h\r\nHost: h\r\n\r\n", 400, "", closes, 0},
		{"lines that end with LF", "GET /a HTTP/1.1\nHost: h\nA: b\n\n", 200, plain + "A: b\n", keeps, 400},
		{"empty name", with(": b"), 400, "", closes, 0},
		{"no colon", with("A"), 400, "", closes, 0},
		{"space before the colon", with("A : b"), 400, "", closes, 0},
		{"tab before the colon", with("A\t: b"), 400, "", closes, 0},
		{"name that is no token", with("A(b): c"), 400, "", closes, 0},
		{"name that is not ASCII", with("\xc3\xa9: c"), 400, "", closes, 0},
		{"NUL in a value", with("A: b\x00c"), 400, "", closes, 0},
		{"CR in a value", with("A: b\rc"), 400, "", closes, 0},
		{"NUL in a name", with("A\x00: b"), 400, "", closes, 0},
		{"value that is not ASCII", with("A: \xc3\xa9"), 200, plain + "A: \xc3\xa9\n", keeps, 0},
		{"64 KiB", with("A: " + strings.Repeat("b", 80<<10)), 431, "", closes, 0},
		{"101 fields", with(strings.Repeat("A: b\r\n", 100) + "A: b"), 431, "", keeps, 0},

		{"hop by hop", with("Connection: X-Hop, keep-alive\r\nx-hop: 1\r\nKeep-Alive: 5\r\nProxy-Connection: close\r\nTE: trailers, gzip\r\nTrailer: A\r\n" +
			"Proxy-Authorization: Basic x\r\nB: 1"), 200, plain + "B: 1\n", keeps, 0},
		{"Connection: close", with("Connection: close\r\nA: b"), 200, plain + "A: b\n", closes, 0},
		{"Connection: close in a list", with("Connection: x, Close\r\nA: b"), 200, plain + "A: b\n", closes, 0},
		{"Connection names what is the gateway's", with("Connection: Host, Via, X-Forwarded-For, X-Real-Ip, X-Forwarded-Proto, x-forwarded-path\r\nA: b"), 200, plain + "A: b\n", keeps, 0},
		{"Connection names what identifies", "GET /keyed HTTP/1.1\r\nHost: h\r\nApikey: k\r\nConnection: X-Consumer-Id, x-consumer-id, X-Credential-Identifier\r\n\r\n", 200,
			"GET /keyed HTTP/1.1\nX-Consumer-Id: 1\nX-Credential-Identifier: *\n", keeps, 0},
		{"Connection names the credential", "GET /keyed HTTP/1.1\r\nHost: h\r\nApikey: k\r\nConnection: Apikey\r\n\r\n", 401, "", keeps, 0},
		{"TE", with("TE: trailers"), 200, plain, keeps, 0},
		{"TE of gRPC", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Type: application/grpc\r\nTE: trailers, gzip\r\nContent-Length: 1\r\n\r\na", 200,
			"POST /a HTTP/1.1\nContent-Length: 1\nContent-Type: application/grpc\nTe: trailers\n\na", keeps, 0},
		{"upgrade to h2c", with("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"), 200, plain, keeps, 0},
		{"upgrade that is not named", with("Upgrade: websocket\r\nHTTP2-Settings: AAMAAABk"), 200, plain, keeps, 0},
		{"upgrade to a WebSocket", with("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"), 200, plain + "Sec-Websocket-Version: 13\n", keeps, 0},
		{"forged identity", with("X-Consumer-Id: 1\r\nx_consumer_username: root\r\nX.Consumer.Groups: admin"), 200, plain, keeps, 0},
		{"forged forwarding", with("X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: evil\r\nX_Forwarded_Proto: https\r\nForwarded: for=1.2.3.4\r\nX-Real-IP: 1.2.3.4"), 200, plain, keeps, 0},
		{"Via is appended to", with("Via: 1.0 a\r\nVia: 1.1 b"), 200, plain + "Via: 1.0 a, 1.1 b, 1.1 gatehouse\n", keeps, 0},
		{"Via in a loop", with("Via: " + strings.TrimSuffix(strings.Repeat("1.1 gatehouse, ", 9), ", ")), 508, "", keeps, 0},
		{"Expect without a body", with("Expect: 100-continue"), 200, plain, keeps, 0},
		{"unknown expectation", with("Expect: the-worst"), 417, "", closes, 0},
		{"trailer that is announced", "POST /a HTTP/1.1\r\nHost: h\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n", 200,
			"POST /a HTTP/1.1\nTransfer-Encoding: chunked\n\na", keeps, 0},
		{"trailer that must not be announced", "POST /a HTTP/1.1\r\nHost: h\r\nTrailer: Content-Length\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", 400, "", closes, 0},
		{"HTTP/1.0", "GET /a HTTP/1.0\r\nHost: h\r\nA: b\r\n\r\n", 200, plain + "A: b\nVia: 1.0 gatehouse\n", closes, 0},
		{"HTTP/1.0 that would be kept alive", "GET /a HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n", 200, plain + "Via: 1.0 gatehouse\n", closes, 0},
		{"HTTP/1.0 with a body", "POST /a HTTP/1.0\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", 200, "POST /a HTTP/1.1\nContent-Length: 3\nVia: 1.0 gatehouse\n\nabc", closes, 0},
	})
}

// A refusal comes from the gateway alone, and what stands in the body of a refused request is no request.
func TestScriptOfARefusal(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		s.up.Serve(rawtest.Reply{Text: answerUp})
		c := s.dial()
		for range 3 {
			c.Send("POST /keyed HTTP/1.1\r\nHost: h\r\nContent-Length: " + strconv.Itoa(len(nextBytes)) + "\r\n\r\n" + nextBytes)
			res := c.ReadAnswer(http.MethodPost)
			require.Equal(s, 401, res.Status())
			require.Equal(s, []string{"application/json; charset=utf-8"}, res.Values("Content-Type"))
			require.Len(s, res.Values("Www-Authenticate"), 1)
			require.Empty(s, res.Values("Via"))
			require.NotContains(s, res.Head+res.Body, s.up.Addr)
		}
		require.Zero(s, s.up.Connections())
	})
}
