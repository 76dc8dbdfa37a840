package http1_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	get     = "GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n"
	post    = "POST /a HTTP/1.1\r\nHost: h\r\n"
	chunked = "Transfer-Encoding: chunked\r\n"
	abc     = "3\r\nabc\r\n0\r\n\r\n"
)

// heard are servers whose handler writes down the requests that were whole, each with all that a handler can see of it.
func heard(t testing.TB) (ours, theirs func(in string, cuts *rand.Rand) ([]string, string)) {
	t.Helper()
	type key struct{}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		all := r.Context().Value(key{}).(*[]string)
		u := *r.URL
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.Header().Set("Connection", "close")
			return
		}
		*all = append(*all, fmt.Sprintf("%q %q %#v %q %q %q %d %v %t %q %q %q", r.Method, r.RequestURI, u, r.Proto, r.Host, r.Header, r.ContentLength,
			r.TransferEncoding, r.Close, r.Trailer, body, r.RemoteAddr))
	})
	var list *[]string // of the connection that comes next: one talks at a time
	a, b := servers(t, h, func(hs *http.Server) {
		hs.MaxHeaderBytes = 4 << 10
		hs.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return context.WithValue(ctx, key{}, list) }
	})
	with := func(t talk) func(string, *rand.Rand) ([]string, string) {
		return func(in string, cuts *rand.Rand) ([]string, string) {
			all := []string{}
			list = &all
			out := t(in, cuts)
			return all, out
		}
	}
	return with(a), with(b)
}

// Requests are read as net/http reads them, to the same byte, however they arrive; or they are refused, which happens to all that
// net/http refuses.
func FuzzRequests(f *testing.F) {
	for _, s := range []string{
		get + get, post + "Content-Length: 3\r\n\r\nabc" + get, post + chunked + "\r\n" + abc + get, post + chunked + "Trailer: X, Y\r\n\r\n1;a=b\r\nx\r\n0\r\nX: 1\r\nZ: 2\r\n\r\n" + get,
		post + chunked + "Content-Length: 3\r\n\r\n" + abc, post + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc" + get, post + "Content-Length: 3, 3\r\n\r\nabc", post + "Content-Length: +3\r\n\r\nabc",
		"POST / HTTP/1.0\r\n" + chunked + "\r\n" + abc, "GET / HTTP/1.1\nHost: h\n\n", "\r\n" + get, post + "A: b\r\n c\r\n\r\n", post + "A : b\r\n\r\n", post + "A: b\rC: d\r\n\r\n", post + ": b\r\n\r\n",
		"GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + get, "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "GET / HTTP/1.1\r\nHost:\r\n\r\n" + get,
		"GET http://x/y HTTP/1.1\r\nHost: h\r\n\r\n" + get, "GET //x/y HTTP/1.1\r\nHost: h\r\n\r\n", "GET /%41%2f?%zz HTTP/1.1\r\nHost: h\r\n\r\n", "GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a? HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /a?? HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a?b#c HTTP/1.1\r\nHost: h\r\n\r\n", "GET a HTTP/1.1\r\nHost: h\r\n\r\n", "GET * HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n" + get, "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n" + get, "CONNECT /x HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET / HTTP/1.2\r\nHost: h\r\n\r\n", "GET / HTTP/2.0\r\nHost: h\r\n\r\n", "GET / HTTP/1.10\r\nHost: h\r\n\r\n", "GET /  HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.1 \r\nHost: h\r\n\r\n", "G@T / HTTP/1.1\r\nHost: h\r\n\r\n", "GET /\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01\x00",
		post + "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc" + get, post + "Expect: x\r\nContent-Length: 3\r\n\r\nabc", post + "Connection: close\r\n\r\n" + get, post + "Connection: x, Close\r\n\r\n" + get, post + "Pragma: no-cache\r\n\r\n", post + "pragma: no-cache\r\nCache-Control: x\r\n\r\n",
		post + "x-A: 1\r\nX-a: 2\r\nX-A:\t3 \r\n\r\n", post + "A: \x80\r\n\r\n", post + "A: \x00\r\n\r\n", post + "A: " + strings.Repeat("x", 2000) + "\r\n\r\n" + get, post + "A: " + strings.Repeat("x", 9000) + "\r\n\r\n", post + "Transfer-Encoding: gzip, chunked\r\n\r\n", post + chunked + chunked + "\r\n" + abc,
		post + chunked + "Trailer: Content-Length\r\n\r\n" + abc, post + "Trailer: X\r\n\r\n", post + chunked + "\r\n3\r\nab", post + chunked + "\r\n3\nabc\r\n0\r\n\r\n", post + chunked + "\r\n3\r\nabc\r\n0\r\nA: b\r\n c\r\n\r\n" + get, post + chunked + "\r\n3 \r\nabc\r\n0\r\n\r\n" + get, post + "Content-Length: 9\r\n\r\nabc",
	} {
		f.Add(s, uint64(1))
	}
	ours, theirs := heard(f)
	f.Fuzz(func(t *testing.T, in string, seed uint64) {
		if strings.Contains(in, "Upgrade") || len(in) > 64<<10 {
			return
		}
		got, out := ours(in, nil)
		cut, _ := ours(in, rand.New(rand.NewPCG(seed, 0)))
		require.Equal(t, got, cut, "cut otherwise")
		want, _ := theirs(in, nil)
		require.LessOrEqual(t, len(got), len(want), out)
		for i := range got {
			require.Equal(t, want[i], got[i])
		}
		if len(got) < len(want) { // it is not left out, but refused
			require.Regexp(t, `HTTP/1\.[01] (400|417|431|501|505) |Connection: close`, out)
		}
	})
}

// What is refused, how, and what is not handled then.
func TestRefusals(t *testing.T) {
	t.Parallel()
	ours, _ := heard(t)
	for about, tt := range map[string]struct {
		in     string
		status int
	}{
		"length and coding":          {post + "Content-Length: 3\r\n" + chunked + "\r\n" + abc, 400},
		"coding and length":          {post + chunked + "Content-Length: 3\r\n\r\n" + abc, 400},
		"equal lengths":              {post + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400},
		"a list of lengths":          {post + "Content-Length: 3, 3\r\n\r\nabc", 400},
		"a signed length":            {post + "Content-Length: +3\r\n\r\nabc", 400},
		"an empty length":            {post + "Content-Length:\r\n\r\nabc", 400},
		"a length beyond":            {post + "Content-Length: 9223372036854775808\r\n\r\nabc", 400},
		"coding in HTTP/1.0":         {"POST / HTTP/1.0\r\n" + chunked + "\r\n" + abc, 400},
		"another coding":             {post + "Transfer-Encoding: gzip, chunked\r\n\r\n" + abc, 501},
		"two codings":                {post + chunked + chunked + "\r\n" + abc, 501},
		"bare LF":                    {"GET / HTTP/1.1\nHost: h\r\n\r\n", 400},
		"bare LF at the end":         {"GET / HTTP/1.1\r\nHost: h\r\n\n", 400},
		"bare CR":                    {"GET / HTTP/1.1\r\nHost: h\r\nA: b\rC: d\r\n\r\n", 400},
		"bare CR in the first line":  {"GET /\r HTTP/1.1\r\nHost: h\r\n\r\n", 400},
		"a folded line":              {"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n", 400},
		"a folded first line":        {"GET / HTTP/1.1\r\n Host: h\r\n\r\n", 400},
		"an empty line before":       {"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400},
		"a space before the colon":   {"GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400},
		"no name":                    {"GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n", 400},
		"no colon":                   {"GET / HTTP/1.1\r\nHost: h\r\nx\r\n\r\n", 400},
		"a control character":        {"GET / HTTP/1.1\r\nHost: h\r\nA: \x01\r\n\r\n", 400},
		"no host":                    {"GET / HTTP/1.1\r\n\r\n", 400},
		"two hosts":                  {"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", 400},
		"a bad host":                 {"GET / HTTP/1.1\r\nHost: h/x\r\n\r\n", 400},
		"a bad target":               {"GET x HTTP/1.1\r\nHost: h\r\n\r\n", 400},
		"a bad method":               {"G@T / HTTP/1.1\r\nHost: h\r\n\r\n", 400},
		"two spaces":                 {"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400},
		"no version":                 {"GET /\r\nHost: h\r\n\r\n", 400},
		"HTTP/2":                     {"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505},
		"the preface of HTTP/2":      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
		"a record of TLS":            {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400},
		"a long field":               {"GET / HTTP/1.1\r\nHost: h\r\nA: " + strings.Repeat("x", 9<<10) + "\r\n\r\n", 431},
		"a long target":              {"GET /" + strings.Repeat("x", 9<<10) + " HTTP/1.1\r\nHost: h\r\n\r\n", 431},
		"a head without end":         {"GET / HTTP/1.1\r\n" + strings.Repeat("A: b\r\n", 5000), 431},
		"another expectation":        {post + "Expect: x\r\nContent-Length: 3\r\n\r\nabc", 417},
		"a trailer that would frame": {post + chunked + "Trailer: Content-Length\r\n\r\n" + abc, 400},
	} {
		for before, n := range map[string]int{"": 0, get: 1, get + post + "Content-Length: 3\r\n\r\nabc": 2} {
			handled, out := ours(before+tt.in+get, nil)
			require.Len(t, handled, n, about)
			methods := []string{"GET", "POST"}[:n]
			answer := told(t, out, append(methods, "GET")...)
			require.Contains(t, answer, fmt.Sprintf("GET: HTTP/1.1 %d ", tt.status), about)
			require.Contains(t, answer, "closes true", about)
			require.True(t, strings.HasSuffix(answer, "rest \"\"\n"), about)
		}
	}
}
