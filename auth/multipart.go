package auth

import (
	"bytes"
	"strings"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

// part is one part of a multipart/form-data body: the name of its field, its value, and where it stands, from the
// delimiter before it to the delimiter after it.
type part struct {
	name       string
	value      []byte
	start, end int
}

// splitMultipart returns the parts of a multipart/form-data body (RFC 7578). It reports false for everything on which
// readers differ: lines that begin like a delimiter and are none, line ends other than CRLF, text before the first
// delimiter or after the last, a missing end, parts without a plain name.
func splitMultipart(data []byte, boundary string) ([]part, bool) {
	delimiter := []byte("--" + boundary)
	if !bytes.HasPrefix(data, delimiter) {
		return nil, false
	}
	next := append([]byte("\r\n"), delimiter...)
	var parts []part
	for start := 0; ; {
		rest := data[start+len(delimiter):]
		if bytes.HasPrefix(rest, []byte("--")) {
			return parts, isEnd(rest[2:])
		}
		line := bytes.TrimLeft(rest, " \t")
		if !bytes.HasPrefix(line, []byte("\r\n")) {
			return nil, false
		}
		content := line[2:]
		length := bytes.Index(line, next)
		if length < 2 {
			return nil, false // no end, or no content
		}
		end := len(data) - len(line) + length + 2
		p := part{start: start, end: end}
		var ok bool
		if p.name, p.value, ok = parsePart(content[:length-2]); !ok {
			return nil, false
		}
		parts = append(parts, p)
		start = end
	}
}

// isEnd reports whether rest, which follows the last delimiter, ends its line and the body.
func isEnd(rest []byte) bool {
	rest = bytes.TrimLeft(rest, " \t")
	return len(rest) == 0 || string(rest) == "\r\n"
}

// parsePart returns the field name and the value of a part.
func parsePart(content []byte) (name string, value []byte, ok bool) {
	head, value, ok := bytes.Cut(content, []byte("\r\n\r\n"))
	if !ok {
		return "", nil, false
	}
	var disposition, encoding string
	for more := true; more; {
		var line []byte
		line, head, more = bytes.Cut(head, []byte("\r\n"))
		if bytes.ContainsFunc(line, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
			return "", nil, false
		}
		field, text, colon := bytes.Cut(line, []byte(":"))
		if !colon || !canonical.Token(string(field)) { // which a line that continues the one before is not, either
			return "", nil, false
		}
		switch {
		case bytes.EqualFold(field, []byte("Content-Disposition")):
			if disposition != "" {
				return "", nil, false
			}
			disposition = string(text)
		case bytes.EqualFold(field, []byte("Content-Transfer-Encoding")):
			if encoding != "" {
				return "", nil, false
			}
			encoding = strings.ToLower(string(bytes.TrimSpace(text)))
		}
	}
	switch encoding {
	case "", "7bit", "8bit", "binary":
	default:
		return "", nil, false // deprecated for forms, and decoded by some readers only (RFC 7578 section 4.7)
	}
	kind, params, ok := parseParameters(disposition)
	name, named := parameterNamed(params, "name")
	return name, value, ok && kind == "form-data" && named
}
