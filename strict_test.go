package gateway_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// message is a request or an answer as readStrictly has read it.
type message struct {
	start  string
	names  []string // in lower case, in the order of the lines
	values []string
	body   string
	ended  bool // by the end of the connection
}

// all returns the values of the lines with a name in lower case.
func (m *message) all(name string) []string {
	var found []string
	for i, n := range m.names {
		if n == name {
			found = append(found, m.values[i])
		}
	}
	return found
}

// readStrictly reads one message as RFC 9112 has it and allows for nothing else: it shares no code with what it checks. method
// is that of the request an answer belongs to; empty for a request. The error is io.EOF in front of a message, and wraps
// io.ErrUnexpectedEOF within one; any other is a message that is none.
func readStrictly(in *bufio.Reader, method string) (*message, error) {
	m, err := strictHead(in, method == "")
	if err == nil {
		m.body, err = m.strictBody(in, method)
	}
	return m, err
}

func strictHead(in *bufio.Reader, request bool) (*message, error) {
	m := &message{}
	line, err := strictLine(in)
	if err != nil {
		return nil, err
	}
	m.start = line
	if err := strictStart(line, request); err != nil {
		return nil, err
	}
	for {
		if line, err = strictLine(in); err != nil {
			return nil, within(err)
		}
		if line == "" {
			return m, nil
		}
		name, value, ok := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		if !ok || !isToken(name) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return nil, fmt.Errorf("field line %q", line)
		}
		m.names, m.values = append(m.names, strings.ToLower(name)), append(m.values, value)
	}
}

func (m *message) strictBody(in *bufio.Reader, method string) (string, error) {
	lengths, codings := m.all("content-length"), m.all("transfer-encoding")
	if len(lengths)+len(codings) > 1 {
		return "", fmt.Errorf("lengths %q beside codings %q", lengths, codings)
	}
	answer := method != ""
	if answer {
		status := m.start[len("HTTP/1.1 "):][:3]
		if bodiless := status[0] == '1' || status == "204"; bodiless && len(lengths)+len(codings) > 0 {
			return "", fmt.Errorf("%s has a length: %q %q", status, lengths, codings)
		} else if bodiless || status == "304" || method == http.MethodHead {
			return "", nil
		}
	}
	switch {
	case len(codings) == 1:
		if codings[0] != "chunked" || strings.HasPrefix(m.start, "HTTP/1.0") {
			return "", fmt.Errorf("coding %q in %q", codings, m.start)
		}
		return m.strictChunks(in)
	case len(lengths) == 1:
		n, err := strconv.ParseUint(lengths[0], 10, 31)
		if err != nil || strconv.FormatUint(n, 10) != lengths[0] {
			return "", fmt.Errorf("length %q", lengths[0])
		}
		b := make([]byte, n)
		if n, err := io.ReadFull(in, b); err != nil {
			return string(b[:n]), within(err)
		}
		return string(b), nil
	case answer:
		m.ended = true
		b, err := io.ReadAll(in)
		return string(b), err
	}
	return "", nil
}

// strictChunks reads a chunked body, and its trailers behind the fields.
func (m *message) strictChunks(in *bufio.Reader) (string, error) {
	var body strings.Builder
	for {
		line, err := strictLine(in)
		if err != nil {
			return body.String(), within(err)
		}
		n, err := strconv.ParseUint(line, 16, 31)
		if err != nil {
			return body.String(), fmt.Errorf("chunk size %q", line)
		}
		if n == 0 {
			break
		}
		if _, err = io.CopyN(&body, in, int64(n)); err != nil {
			return body.String(), within(err)
		}
		if line, err = strictLine(in); err != nil || line != "" {
			return body.String(), within(errors.Join(err, fmt.Errorf("%q behind a chunk", line)))
		}
	}
	for {
		line, err := strictLine(in)
		if err != nil {
			return body.String(), within(err)
		}
		if line == "" {
			return body.String(), nil
		}
		if name, _, ok := strings.Cut(line, ":"); !ok || !isToken(name) {
			return body.String(), fmt.Errorf("trailer %q", line)
		}
	}
}

// strictLine reads a line without its end.
func strictLine(in *bufio.Reader) (string, error) {
	line, err := in.ReadString('\n')
	switch {
	case err != nil && line != "":
		return "", within(err)
	case err != nil:
		return "", err
	}
	line, ok := strings.CutSuffix(line, "\r\n")
	if !ok || strings.ContainsAny(line, "\r\x00") {
		return "", fmt.Errorf("line %q", line)
	}
	return line, nil
}

func within(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func strictStart(line string, request bool) error {
	parts := strings.SplitN(line, " ", 3)
	ok := len(parts) == 3
	switch {
	case !ok:
	case request:
		ok = isToken(parts[0]) && strings.HasPrefix(parts[1], "/") && parts[2] == "HTTP/1.1" &&
			!strings.ContainsFunc(parts[1], func(r rune) bool { return r <= ' ' || r == 0x7f || r == '#' })
	default:
		status, err := strconv.Atoi(parts[1])
		ok = (parts[0] == "HTTP/1.1" || parts[0] == "HTTP/1.0") && err == nil && len(parts[1]) == 3 && status >= 100 && status <= 599
	}
	if !ok {
		return fmt.Errorf("start line %q", line)
	}
	return nil
}

func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
	})
}

// TestReadStrictly: the reader that other tests rely on says no where it should.
func TestReadStrictly(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ raw, method, body string }{
		{"GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n", "", ""},
		{"PUT / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab", "", "ab"},
		{"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", "", "ab"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", "GET", "ab"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "HEAD", ""},
		{"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nA: b\r\n\r\n", "GET", "ab"},
		{"HTTP/1.0 200 OK\r\n\r\nuntil the end", "GET", "until the end"},
		{"HTTP/1.1 304 Not Modified\r\n\r\n", "GET", ""},
	} {
		in := bufio.NewReader(strings.NewReader(tt.raw))
		m, err := readStrictly(in, tt.method)
		require.NoError(t, err, tt.raw)
		require.Equal(t, tt.body, m.body)
		_, err = readStrictly(in, tt.method)
		require.Equal(t, io.EOF, err, "read to its end")
	}
	for _, tt := range []struct{ raw, method string }{
		{"GET /a b HTTP/1.1\r\n\r\n", ""}, {"GET http://a/ HTTP/1.1\r\n\r\n", ""}, {"GET / HTTP/1.0\r\n\r\n", ""}, {"GET / HTTP/1.1\n\n", ""},
		{"GET / HTTP/1.1\r\nA : b\r\n\r\n", ""}, {"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", ""}, {"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", ""},
		{"PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", ""},
		{"PUT / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ""},
		{"PUT / HTTP/1.1\r\nContent-Length: +1\r\n\r\na", ""}, {"PUT / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\na", ""},
		{"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;a\r\na\r\n0\r\n\r\n", ""}, {"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", ""},
		{"PUT / HTTP/1.1\r\nContent-Length: 2\r\n\r\na", ""}, {"GET / HTTP/1.1\r\nA: b\r\n", ""},
		{"HTTP/1.1 99 X\r\n\r\n", "GET"}, {"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "GET"}, {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "GET"},
	} {
		_, err := readStrictly(bufio.NewReader(strings.NewReader(tt.raw)), tt.method)
		require.Error(t, err, tt.raw)
		require.NotEqual(t, io.EOF, err)
	}
}
