package clientconn

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	getHead  = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
	postHead = "POST /a HTTP/1.1\r\nHost: h\r\n"
	chunked  = "Transfer-Encoding: chunked\r\n"
)

// What is in the text before a bar is handed on, then the event comes.
func TestFraming(t *testing.T) {
	t.Parallel()
	tests := []struct {
		about, stream string
		want          event
	}{
		{"no body", getHead + getHead + "GET", goesOn},
		{"a length", postHead + "Content-Length: 3\r\n\r\nabc" + getHead, goesOn},
		{"a length in odd case, with spaces", postHead + "cONTENT-lENGTH:\t 003 \t\r\n\r\n\n\n\n" + getHead, goesOn},
		{"a length of nothing", postHead + "Content-Length: 0\r\n\r\n" + getHead, goesOn},
		{"the highest length", postHead + "Content-Length: 9223372036854775807\r\n\r\n\n\n\n", goesOn},
		{"chunks", postHead + chunked + "\r\n3\r\n\n\n\n\r\n00a;x=\"y\"\r\n0123456789\r\nB \t\r\n0123456789a\r\n0\r\n\r\n" + getHead, goesOn},
		{"a trailer", postHead + chunked + "\r\n0\r\nX: y\r\nZ: \r\n\r\n" + getHead, goesOn},
		{"names that are longer, shorter or other ones", postHead + "Content-Lengths: x\r\nContent-Lengt: x\r\nC: \r\nContent_Length: 9\r\nTE: t\r\nUpgrades: 1\r\nConnection: x\r\n\r\n" + getHead, goesOn},
		{"HTTP/1.0", "GET / HTTP/1.0\r\n\r\n" + getHead, goesOn},
		{"HTTP/1.0 with a length", "GET / HTTP/1.0\r\nContent-Length: 3\r\n\r\n\n\n\n" + getHead, goesOn},
		{"methods that begin likewise", "CONNEC / HTTP/1.1\r\n\r\nCONNECTS / HTTP/1.1\r\n\r\nPRIO * HTTP/2.0\r\n\r\nP / HTTP/1.1\r\n\r\n" + getHead, goesOn},
		{"a record of TLS", "\x16\x03\x01\n\n\n\r", opened},
		{"one behind a request", getHead + "|\x16\x03\x01\n", badHead},
		{"the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\n\n", opened},
		{"the preface behind a request", getHead + "PRI * HTTP/2.0\r\n\r\n|SM\r\n\r\n", mustClose},
		{"the preface with a field", "PRI * HTTP/2.0\r\nHost: h\r\n\r\n|SM\r\n\r\n", mustClose},
		{"the preface with more on its line", "PRI * HTTP/2.0 \r\n\r\n|\r\n", badHead},

		{"length and chunked", getHead + "|" + postHead + "Content-Length: 3\r\n" + chunked + "\r\n", badHead},
		{"chunked and length", getHead + "|" + postHead + chunked + "Content-Length: 3\r\n\r\n", badHead},
		{"two lengths", "|" + postHead + "Content-Length: 3\r\nContent-Length: 3\r\n\r\n", badHead},
		{"a list of lengths", "|" + postHead + "Content-Length: 3, 3\r\n\r\n", badHead},
		{"a signed length", "|" + postHead + "Content-Length: +3\r\n\r\n", badHead},
		{"an empty length", "|" + postHead + "Content-Length:  \r\n\r\n", badHead},
		{"a length in two words", "|" + postHead + "Content-Length: 3 3\r\n\r\n", badHead},
		{"a length beyond", "|" + postHead + "Content-Length: 9223372036854775808\r\n\r\n", badHead},
		{"a length with a bare LF", "|" + postHead + "Content-Length: 3\n\r\n", badHead},
		{"chunked in HTTP/1.0", "|POST / HTTP/1.0\r\n" + chunked + "\r\n", badHead},
		{"bare LF behind the request line", "|GET / HTTP/1.1\nHost: h\r\n\r\n", badHead},
		{"bare LF behind a field", "|GET / HTTP/1.1\r\nHost: h\n\r\n", badHead},
		{"bare LF for the end", "|GET / HTTP/1.1\r\nHost: h\r\n\n", badHead},
		{"bare LF in a name that matters", "|GET / HTTP/1.1\r\nContent\n-Length: 3\r\n\r\n", badHead},
		{"bare CR in the request line", "|GET /\r HTTP/1.1\r\nHost: h\r\n\r\n", badHead},
		{"bare CR in a field", "|GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n", badHead},
		{"bare CR in a name that matters", "|GET / HTTP/1.1\r\nContent\rLength: 3\r\n\r\n", badHead},
		{"two CR", "|GET / HTTP/1.1\r\nHost: h\r\r\n\r\n", badHead},
		{"CR for the end", "|GET / HTTP/1.1\r\nHost: h\r\n\rX", badHead},
		{"a field that goes on", "|GET / HTTP/1.1\r\nHost: h\r\n x\r\n\r\n", badHead},
		{"a first field that goes on", "|GET / HTTP/1.1\r\n\tHost: h\r\n\r\n", badHead},
		{"an empty line before", "|\r\n" + getHead, badHead},
		{"an empty line behind a body", postHead + "Content-Length: 3\r\n\r\nabc|\r\n" + getHead, badHead},
		{"a bare LF behind a body", postHead + "Content-Length: 3\r\n\r\nabc|\n" + getHead, badHead},

		{"bare LF behind a size", postHead + chunked + "\r\n3|\nabc", badBody},
		{"bare LF behind an extension", postHead + chunked + "\r\n3;x|\nabc", badBody},
		{"CR in an extension", postHead + chunked + "\r\n3;x\r|y\r\nabc", badBody},
		{"no size", postHead + chunked + "\r\n|\r\nabc", badBody},
		{"0x", postHead + chunked + "\r\n0|x3\r\nabc", badBody},
		{"a size beyond", postHead + chunked + "\r\n0000000000000003|3\r\nabc", badBody},
		{"a chunk that is longer", postHead + chunked + "\r\n3\r\nabc|d\r\n", badBody},
		{"bare LF behind a chunk", postHead + chunked + "\r\n3\r\nabc|\n0\r\n\r\n", badBody},
		{"bare LF for the end of chunks", postHead + chunked + "\r\n0\r\n|\n", badBody},
		{"bare LF behind a trailer", postHead + chunked + "\r\n0\r\nX: y|\n\r\n", badBody},
		{"a trailer that goes on", postHead + chunked + "\r\n0\r\nX: y\r\n| z\r\n\r\n", badBody},
		{"a trailer with CR inside", postHead + chunked + "\r\n0\r\nX: y\r|z\r\n\r\n", badBody},
		{"CR for the end of chunks", postHead + chunked + "\r\n0\r\n\r|X", badBody},

		{"an upgrade", "GET / HTTP/1.1\r\nuPGRADE: x\r\n\r\n|anything\n", mayPause},
		{"an upgrade with a body", postHead + "Upgrade: x\r\nContent-Length: 3\r\n\r\nabc|anything\n", mayPause},
		{"an upgrade with chunks", postHead + "Upgrade: x\r\n" + chunked + "\r\n1\r\nx\r\n0\r\n\r\n|anything\n", mayPause},
		{"CONNECT", "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n|anything\n", mustClose},
	}
	for _, tt := range tests {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			before, after, _ := strings.Cut(tt.stream, "|")
			stream := []byte(before + after)
			pass := len(before)
			if tt.want == opened {
				pass = len(stream)
			}
			var f framing
			n, e := f.scan(stream)
			require.Equal(t, tt.want, e)
			require.Equal(t, pass, n)
			for range 200 { // however it is cut
				var f framing
				rest, passed, e := stream, 0, goesOn
				for len(rest) > 0 && e == goesOn {
					piece := rest[:1+rand.IntN(min(len(rest), 1+rand.IntN(40)))]
					rest = rest[len(piece):]
					var n int
					n, e = f.scan(piece)
					passed += n
				}
				require.Equal(t, tt.want, e)
				if e != badHead && e != opened { // else some of it has been handed on before
					require.Equal(t, pass, passed)
				}
			}
		})
	}
}

// told is a request as a reader tells it.
type told struct{ method, body string }

// strict reads requests by other means than framing, and from the whole of the bytes. It returns those that are whole, and
// whether it has found fault with what follows.
func strict(in string) (all []told, fault bool) {
	for in != "" {
		head, rest, ok := strings.Cut(in, "\r\n\r\n")
		if !ok {
			head = in
		}
		lines := strings.Split(head, "\r\n")
		if i := strings.LastIndex(head, "\r"); !ok && i == len(head)-1 { // half an end
			lines[len(lines)-1] = strings.TrimSuffix(lines[len(lines)-1], "\r")
		}
		for i, line := range lines {
			if strings.ContainsAny(line, "\r\n") || line == "" && i < len(lines)-1 || i == 0 && line == "" && ok || i > 0 && strings.Trim(line[:min(1, len(line))], " \t") != line[:min(1, len(line))] {
				return all, true
			}
		}
		if !ok {
			return all, false
		}
		length, chunks, ends := int64(-1), false, strings.HasPrefix(head, "CONNECT ") || strings.HasPrefix(head, "PRI * HTTP/2.0")
		for _, line := range lines[1:] {
			name, value, _ := strings.Cut(line, ":")
			value = strings.Trim(value, " \t")
			switch strings.ToLower(name) {
			case "content-length":
				n, err := strconv.ParseInt(value, 10, 63)
				if err != nil || length >= 0 || strings.Trim(value, "0123456789") != "" {
					return all, true
				}
				length = n
			case "transfer-encoding":
				chunks = true
			}
		}
		if chunks && (length >= 0 || strings.HasSuffix(lines[0], "0")) {
			return all, true
		}
		method, _, _ := strings.Cut(lines[0], " ")
		body := ""
		switch {
		case chunks:
			if body, rest, ok, fault = strictChunks(rest); fault || !ok {
				return all, fault
			}
		case length > int64(len(rest)):
			return all, false
		case length > 0:
			body, rest = rest[:length], rest[length:]
		}
		if all = append(all, told{method, body}); ends {
			return all, false
		}
		in = rest
	}
	return all, false
}

func strictChunks(in string) (body, rest string, whole, fault bool) {
	for {
		line, after, ok := strings.Cut(in, "\r\n")
		if !ok {
			return "", "", false, false
		}
		size, _, _ := strings.Cut(line, ";")
		size = strings.TrimRight(size, " \t")
		n, err := strconv.ParseUint(size, 16, 64)
		if err != nil || strings.ContainsAny(line, "\r\n") || strings.Trim(size, "0123456789abcdefABCDEF") != "" || len(size) > 16 {
			return "", "", false, true
		}
		if n == 0 {
			in = after
			break
		}
		if uint64(len(after)) < n+2 || n > 1<<40 {
			return "", "", false, false
		}
		body += after[:n]
		if after[n:n+2] != "\r\n" {
			return "", "", false, true
		}
		in = after[n+2:]
	}
	for {
		line, after, ok := strings.Cut(in, "\r\n")
		if !ok {
			return "", "", false, false
		}
		if in = after; line == "" {
			return body, in, true, false
		}
		if strings.ContainsAny(line, "\r\n") || line[0] == ' ' || line[0] == '\t' {
			return "", "", false, true
		}
	}
}

func BenchmarkFraming(b *testing.B) {
	head := []byte("GET /some/path?with=query HTTP/1.1\r\nHost: example.com\r\nUser-Agent: some agent or other/1.0\r\nAccept: */*\r\n" +
		"Accept-Encoding: gzip, deflate, br\r\nCookie: " + strings.Repeat("abcdefgh", 20) + "\r\nTraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n")
	bodies := append([]byte(postHead+chunked+"\r\n"), bytes.Repeat([]byte(fmt.Sprintf("1000\r\n%4096d\r\n", 1)), 8)...)
	bodies = append(bodies, "0\r\n\r\n"...)
	for about, in := range map[string][]byte{"head": head, "chunks": bodies} {
		b.Run(about, func(b *testing.B) {
			var f framing
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if n, e := f.scan(in); n != len(in) || e != goesOn {
					b.Fatal(n, e)
				}
			}
		})
	}
}
