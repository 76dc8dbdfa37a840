package transport

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
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
	errTrailing   = errors.New("the answer announces a trailer that would say where it ends")
)

// parseHead reads a head with the empty line at its end into c.answer, and says in c.body where the body ends (RFC 9112 section
// 6.3). What is malformed or could be read otherwise by somebody else is an error, and nothing is repaired.
func (c *wire) parseHead(raw []byte, method string) error {
	a := &c.answer
	text := string(raw)
	line, rest, _ := strings.Cut(text, "\n")
	if err := parseStatus(a, strings.TrimSuffix(line, "\r")); err != nil {
		return err
	}
	var err error
	if a.Header, err = parseFields(a.Header[:0], rest, make([]string, 0, strings.Count(rest, "\n"))); err != nil {
		return err
	}
	if a.StatusCode < http.StatusOK {
		if a.StatusCode == http.StatusSwitchingProtocols {
			return errUnasked
		}
		return nil
	}
	return c.body.frame(a, method)
}

// version is how status lines begin.
const version = "HTTP/1."

// parseStatus reads a status line.
func parseStatus(a *Answer, line string) error {
	if len(line) < len("HTTP/1.1 200") || line[:len(version)] != version || line[8] != ' ' {
		return errStatusLine
	}
	switch line[7] {
	case '0':
		a.ProtoMinor = 0
	case '1':
		a.ProtoMinor = 1
	default:
		return errVersion
	}
	a.ProtoMajor = 1
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
	a.StatusCode = code
	return nil
}

// usualFields is up to how many fields those with the same name are looked for one by one.
const usualFields = 16

// parseFields reads header lines up to the empty one, and appends them to list. Single values are put into room while it
// lasts.
func parseFields(list Header, text string, room []string) (Header, error) {
	var index map[string]int // of the fields, when there are many
	for {
		end := strings.IndexByte(text, '\n')
		if end < 0 {
			return list, errFieldLine
		}
		line := text[:end]
		text = text[end+1:]
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		}
		if line == "" {
			return list, nil
		}
		colon := strings.IndexByte(line, ':')
		if colon < 0 {
			return list, errFieldLine
		}
		name := line[:colon]
		if !canonical.Token(name) { // also white space before the colon, and a line that continues the one before
			return list, errFieldName
		}
		value := trimSpace(line[colon+1:])
		if !canonical.FieldValue(value) {
			return list, errFieldValue
		}
		name = http.CanonicalHeaderKey(name)
		i := -1
		if index == nil && len(list) < usualFields {
			i = slices.IndexFunc(list, func(f HeaderField) bool { return f.Name == name })
		} else {
			if index == nil {
				index = make(map[string]int, 2*usualFields)
				for i, f := range list {
					index[f.Name] = i
				}
			}
			if at, known := index[name]; known {
				i = at
			} else {
				index[name] = len(list)
			}
		}
		switch {
		case i >= 0:
			list[i].Values = append(list[i].Values, value)
		case len(room) == cap(room):
			list = append(list, HeaderField{name, []string{value}})
		default:
			room = append(room, value)
			n := len(room)
			list = append(list, HeaderField{name, room[n-1 : n : n]})
		}
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

// frame says where the body of a ends.
func (b *wireBody) frame(a *Answer, method string) error {
	var coding, connection, trailer []string
	coded := false
	a.ContentLength = -1
	for i := range a.Header {
		f := &a.Header[i]
		switch f.Name {
		case "Content-Length":
			var err error
			if a.ContentLength, err = contentLength(f.Values); err != nil {
				return err
			}
		case "Transfer-Encoding":
			coding, coded = f.Values, true
		case "Connection":
			connection = f.Values
		case "Trailer":
			trailer = f.Values
		case "Keep-Alive":
			b.until = keptUntil(f.Values)
		}
	}
	if coded && (len(coding) != 1 || !strings.EqualFold(coding[0], "chunked") || a.ContentLength >= 0 || a.ProtoMinor == 0) {
		return errCoding
	}
	if coded {
		var err error
		if a.trailer, err = announcedTrailers(trailer); err != nil {
			return err
		}
	}
	bodiless := a.StatusCode == http.StatusNoContent || a.StatusCode == http.StatusNotModified
	switch {
	case method == http.MethodHead || bodiless:
		b.framing = empty
		b.doubt = method == http.MethodHead || coded || a.ContentLength > 0
		if bodiless {
			a.ContentLength = 0
		}
	case coded:
		b.framing = inChunks
		b.chunks.MaxTrailer = maxTrailer
	case a.ContentLength == 0:
		b.framing = empty
	case a.ContentLength > 0:
		b.framing, b.left = sized, a.ContentLength
	default:
		b.framing, b.last = untilClose, true
	}
	b.last = b.last || a.ProtoMinor == 0 || canonical.HasOption(connection, "close")
	a.Body = b
	return nil
}

// contentLength is what all values of Content-Length say.
func contentLength(values []string) (int64, error) {
	n, err := strconv.ParseUint(values[0], 10, 63)
	if err != nil || values[0][0] == '+' || slices.ContainsFunc(values, func(v string) bool { return v != values[0] }) {
		return 0, errLength
	}
	return int64(n), nil
}

// announcedTrailers are the names of a Trailer field, without values yet. A sender does not generate one that frames the message
// (RFC 9110 section 6.5.1), and a recipient may have believed it.
func announcedTrailers(lines []string) (http.Header, error) {
	if len(lines) == 0 {
		return nil, nil
	}
	h := make(http.Header)
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			switch name = http.CanonicalHeaderKey(strings.Trim(name, " \t")); {
			case name == "Host" || !canonical.Token(name):
			case frames(name):
				return nil, errTrailing
			default:
				h[name] = nil
			}
		}
	}
	return h, nil
}
