package transport

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// chunksByTheBook reads a chunked body as RFC 9112 section 7.1 has it, without white space where it is bad. It returns the data
// and what follows the body, and shares no code with what it checks.
func chunksByTheBook(raw string) (data, rest string, ok bool) {
	for {
		line, after, found := strings.Cut(raw, "\r\n")
		digits, extension, _ := strings.Cut(line, ";")
		n, err := strconv.ParseUint(digits, 16, 63)
		if !found || err != nil || len(digits) > 16 || !visible(extension) {
			return "", "", false
		}
		raw = after
		if n == 0 {
			break
		}
		if uint64(len(raw)) < n+2 || raw[n:n+2] != "\r\n" {
			return "", "", false
		}
		data, raw = data+raw[:n], raw[n+2:]
	}
	for {
		line, after, found := strings.Cut(raw, "\r\n")
		if raw = after; !found {
			return "", "", false
		}
		if line == "" {
			return data, raw, true
		}
		name, value, found := strings.Cut(line, ":")
		if !found || name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" || !visible(value) {
			return "", "", false
		}
	}
}

func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return (r < ' ' && r != '\t') || r >= 0x7f })
}

// FuzzChunked: a chunked body that is taken for whole is the one net/http reads, to the same byte, however it arrives and is
// read; and one that is written by the book is taken.
func FuzzChunked(f *testing.F) {
	const last = "0\r\n\r\n"
	for _, s := range []string{
		last, "2\r\nok\r\n" + last, "2\r\nok\r\n0\r\nX-T: v\r\n\r\nHTTP/1.1 200 OK\r\n", "A\r\n0123456789\r\n1\r\nx\r\n" + last, "2;a=b;c=\"d\"\r\nok\r\n0;e\r\n\r\n",
		"2 \r\nok\r\n" + last, "2 ;a\r\nok\r\n" + last, "2\t; a\r\nok\r\n" + last, " 2\r\nok\r\n" + last, "00002\r\nok\r\n000\r\n\r\n", "2\nok\n0\n\n", "2\r\nok\n" + last, "2\r\r\nok\r\n" + last,
		"2;\n\r\nok\r\n" + last, "2;\r\n\r\nok\r\n" + last, "2;a\rb\r\nok\r\n" + last, "2;\x00\r\nok\r\n" + last, "+2\r\nok\r\n" + last, "-2\r\nok\r\n" + last, "0x2\r\nok\r\n" + last, "2_0\r\nok\r\n" + last,
		"ffffffffffffffff\r\nok", "fffffffffffffff\r\nok", "\r\n" + last, "2\r\nokx\r\n" + last, "2\r\nokxx" + last, "3\r\nok\r\n" + last, "2\r\nok\r\n0\r\n", "2\r\nok\r\n0\r\nX\r\n\r\n", "0\r\nX: a\n\r\n\r\n", "0\r\nX : a\r\n\r\n",
		"0\r\nX: a\r\n b\r\n\r\n", "0\r\n\nX: a\r\n\r\n", "0\r\n\r\r\n\r\n", "0\r\nX: \x00\r\n\r\n", "0\r\nContent-Length: 3\r\n\r\nabc", strings.Repeat("1;"+strings.Repeat("x", 90)+"\r\na\r\n", 20) + last,
	} {
		for _, step := range []int{0, 2, 4095} {
			f.Add([]byte(s), step, step)
		}
	}
	const head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	f.Fuzz(func(t *testing.T, raw []byte, step, size int) {
		got, _, failed := hearIn(http.MethodGet, []byte(head+string(raw)), 1+step&0xfff, 1+size&0xfff)
		if data, rest, ok := chunksByTheBook(string(raw)); ok && len(raw) < maxTrailer { // below all bounds
			require.NoError(t, failed)
			require.Equal(t, data, got.body)
			require.Equal(t, rest, got.rest)
		}
		if failed != nil {
			return
		}
		in := bufio.NewReader(strings.NewReader(head + string(raw)))
		res, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Equal(t, string(body), got.body)
		rest, err := io.ReadAll(in)
		require.NoError(t, err)
		require.Equal(t, string(rest), got.rest)
		for name, values := range got.trailer {
			require.Equal(t, values, res.Trailer[name], name)
		}
	})
}

// FuzzAsChunk: a request body comes out of its chunks as it went in.
func FuzzAsChunk(f *testing.F) {
	f.Add([]byte("a"), 1)
	f.Add(bytes.Repeat([]byte("0123456789abcdef"), 2048), maxUpload)
	f.Fuzz(func(t *testing.T, data []byte, size int) {
		size = 1 + size&(maxUpload-1)
		var sent strings.Builder
		buf := new(uploadBuffer)
		for left := data; len(left) > 0; {
			n := copy(buf[chunkRoom:chunkRoom+size], left)
			left = left[n:]
			sent.Write(asChunk(buf[:], n))
		}
		got, rest, ok := chunksByTheBook(fmt.Sprint(sent.String(), "0\r\n\r\n"))
		require.True(t, ok)
		require.Empty(t, rest)
		require.Equal(t, string(data), got)
	})
}
