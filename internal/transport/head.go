package transport

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

var (
	errStatusLine = errors.New("the answer has a malformed status line")
	errFieldLine  = errors.New("the answer has a malformed header line")
	errFieldName  = errors.New("the answer has a field whose name is not a token")
	errFieldValue = errors.New("the answer has a field with a control character")
	errLength     = errors.New("the answer has a malformed Content-Length, or several")
	errCoding     = errors.New("the answer has a Transfer-Encoding that is not chunked alone, or has a length beside")
)

// parseHead reads a head with the empty line at its end into c.res, and says in c.body where the body ends (RFC 9112 section
// 6.3). What is malformed or could be read otherwise by somebody else is an error, and nothing is repaired.
func (c *wire) parseHead(raw []byte, method string) error {
	res := &c.res
	text := string(raw)
	line, rest, _ := strings.Cut(text, "\n")
	if err := parseStatus(res, strings.TrimSuffix(line, "\r")); err != nil {
		return err
	}
	clear(res.Header)
	lines := strings.Count(rest, "\n")
	c.crowded = c.crowded || lines > 4*keptFields
	values := make([]string, 0, lines)
	if err := parseFields(rest, res.Header, values); err != nil {
		return err
	}
	if res.StatusCode < http.StatusOK {
		if res.StatusCode == http.StatusSwitchingProtocols {
			return errUnasked
		}
		return nil
	}
	return c.body.frame(res, method)
}

// version is how status lines begin.
const version = "HTTP/1."

// parseStatus reads a status line.
func parseStatus(res *http.Response, line string) error {
	if len(line) < len("HTTP/1.1 200") || line[:len(version)] != version || line[8] != ' ' {
		return errStatusLine
	}
	switch line[7] {
	case '0':
		res.Proto, res.ProtoMinor = "HTTP/1.0", 0
	case '1':
		res.Proto, res.ProtoMinor = "HTTP/1.1", 1
	default:
		return errVersion
	}
	res.ProtoMajor = 1
	status := line[9:]
	if len(status) > 3 && status[3] != ' ' || !canonical.FieldValue(status) {
		return errStatusLine
	}
	code := 0
	for i := range 3 {
		d := status[i]
		if d < '0' || d > '9' {
			return errStatusLine
		}
		code = code*10 + int(d-'0')
	}
	if code < http.StatusContinue || code > 599 {
		return fmt.Errorf("status %03d cannot be passed on", code)
	}
	res.Status, res.StatusCode = status, code
	return nil
}

// parseFields reads header lines up to the empty one. Single values are put into room while it lasts.
func parseFields(text string, h http.Header, room []string) error {
	for {
		end := strings.IndexByte(text, '\n')
		if end < 0 {
			return errFieldLine
		}
		line := text[:end]
		text = text[end+1:]
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		}
		if line == "" {
			return nil
		}
		colon := strings.IndexByte(line, ':')
		if colon < 0 {
			return errFieldLine
		}
		name := line[:colon]
		if !canonical.Token(name) { // also white space before the colon, and a line that continues the one before
			return errFieldName
		}
		value := trimSpace(line[colon+1:])
		if !canonical.FieldValue(value) {
			return errFieldValue
		}
		key := http.CanonicalHeaderKey(name)
		if before, twice := h[key]; twice {
			h[key] = append(before, value)
			continue
		}
		if len(room) == cap(room) {
			h[key] = []string{value}
			continue
		}
		room = append(room, value)
		n := len(room)
		h[key] = room[n-1 : n : n]
	}
}

// trimSpace removes white space at both ends of a value (RFC 9110 section 5.6.3), of which there is little.
func trimSpace(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// frame says where the body of res ends.
func (b *answer) frame(res *http.Response, method string) error {
	h := res.Header
	length := int64(-1)
	lengths := h["Content-Length"]
	for i, v := range lengths {
		n, err := strconv.ParseUint(v, 10, 63)
		if err != nil || v[0] == '+' || i > 0 && v != lengths[0] {
			return errLength
		}
		length = int64(n)
	}
	if len(lengths) > 1 {
		h["Content-Length"] = lengths[:1]
	}
	coding, coded := h["Transfer-Encoding"]
	if coded {
		if len(coding) != 1 || !strings.EqualFold(coding[0], "chunked") || length >= 0 || res.ProtoMinor == 0 {
			return errCoding
		}
	}
	bodiless := res.StatusCode == http.StatusNoContent || res.StatusCode == http.StatusNotModified
	res.ContentLength, res.TransferEncoding, res.Trailer = length, nil, nil
	switch {
	case method == http.MethodHead || bodiless:
		b.framing = empty
		// A target that sends what it announces all the same would answer the next request with it.
		b.last = method == http.MethodHead || coded || length > 0
		if bodiless {
			res.ContentLength = 0
		}
	case coded:
		b.framing = chunked
		b.c.transfers[0] = "chunked"
		res.TransferEncoding = b.c.transfers[:]
		res.Trailer = announcedTrailers(h["Trailer"])
		delete(h, "Transfer-Encoding")
	case length == 0:
		b.framing = empty
	case length > 0:
		b.framing, b.left = sized, length
	default:
		b.framing, b.last = untilClose, true
	}
	if b.last = b.last || res.ProtoMinor == 0 || hasOption(h["Connection"], "close"); b.last {
		res.Close = true
	}
	res.Body = b
	return nil
}

// announcedTrailers are the names of a Trailer field, without values yet.
func announcedTrailers(lines []string) http.Header {
	if len(lines) == 0 {
		return nil
	}
	h := make(http.Header)
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.Trim(name, " \t"); canonical.Token(name) && !frames(name) {
				h[http.CanonicalHeaderKey(name)] = nil
			}
		}
	}
	return h
}

// hasOption tells whether a Connection field has an option.
func hasOption(lines []string, option string) bool {
	for _, line := range lines {
		for o := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.Trim(o, " \t"), option) {
				return true
			}
		}
	}
	return false
}
