package http1

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

// refusal is why a request is not served, and how it is answered.
type refusal struct {
	status    int
	text      string // what the client is told beside the status; "" for nothing
	ambiguous bool   // two servers could have read different requests
}

func (r *refusal) Error() string { return "http1: " + r.text }

func bad(text string) *refusal { return &refusal{status: http.StatusBadRequest, text: text} }

func ambiguous(text string) *refusal {
	return &refusal{status: http.StatusBadRequest, text: text, ambiguous: true}
}

var (
	errBareLF    = ambiguous("a line does not end in CRLF")
	errEmptyLine = ambiguous("an empty line before the request")
	errFolded    = ambiguous("a field line goes on in the next")
	errBareCR    = ambiguous("CR within a line")
	errLength    = ambiguous("Content-Length is not one number")
	errBoth      = ambiguous("Content-Length beside Transfer-Encoding")
	errOldCoding = ambiguous("Transfer-Encoding in HTTP/1.0")

	errLine      = bad("malformed request line")
	errMethod    = bad("invalid method")
	errTarget    = bad("malformed request target")
	errVersion   = &refusal{status: http.StatusHTTPVersionNotSupported, text: "unsupported protocol version"}
	errName      = bad("invalid header name")
	errValue     = bad("invalid header value")
	errNoHost    = bad("missing required Host header")
	errHosts     = bad("too many Host headers")
	errHost      = bad("malformed Host header")
	errTrailers  = bad("malformed Trailer header")
	errCoding    = &refusal{status: http.StatusNotImplemented, text: "unsupported transfer encoding"}
	errTooLarge  = &refusal{status: http.StatusRequestHeaderFieldsTooLarge}
	errExpecting = &refusal{status: http.StatusExpectationFailed}
)

// headScan is how far a head was looked through.
type headScan struct{ seen, line, count int }

// end returns the length of the head that b begins with, with the empty line at its end; 0 when not all of it is there. It
// looks on from where it has looked before.
func (h *headScan) end(b []byte) (int, error) {
	for {
		i := bytes.IndexByte(b[h.seen:], '\n')
		if i < 0 {
			h.seen = len(b)
			return 0, nil
		}
		i += h.seen
		switch {
		case i == 0 || b[i-1] != '\r':
			return 0, errBareLF
		case i > h.line+1:
			h.count++
			h.line, h.seen = i+1, i+1
		case h.count == 0:
			return 0, errEmptyLine
		default:
			return i + 1, nil
		}
	}
}

// readRequest reads the head of a request, of which a first byte came at start. Its body is to be read yet.
func (c *conn) readRequest(h *head, start time.Time) error {
	var scan headScan
	most := c.s.maxHead()
	bounded := false
	for {
		b := c.in[c.from:c.to]
		if !canonical.Token(string(b[:1])) && b[0] != '\r' && b[0] != '\n' {
			return errLine
		}
		n, err := scan.end(b)
		switch {
		case err != nil:
			return err
		case n > most || n == 0 && len(b) >= most:
			return errTooLarge
		case n > 0:
			c.from += n
			return h.parse(b[:n], scan.count)
		}
		if !bounded {
			bounded = true
			by := time.Time{}
			if d := c.s.readHeaderTimeout(); d > 0 {
				by = start.Add(d)
			}
			_ = c.raw.SetReadDeadline(by) // it fails on a closed connection only
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
}

// head is the head of a request as it was read.
type head struct {
	r        http.Request
	chunked  bool
	close    bool // the client wants the connection closed
	keep     bool // a client of HTTP/1.0 wants it kept
	expects  bool // the client waits for 100 Continue
	expected bool // it expects something
}

// sharedHead is up to how long a head is that its fields share the memory of. Whoever keeps one of them keeps all that is shared.
const sharedHead = 1 << 10

// parse reads a head of count lines, the request line among them. What net/http reads it reads likewise; what could be read in
// two ways it refuses.
func (h *head) parse(raw []byte, count int) error {
	text := string(raw[:len(raw)-2])
	shared := len(raw) <= sharedHead
	line, text, _ := strings.Cut(text, "\r\n")
	if err := h.requestLine(line, shared); err != nil {
		return err
	}
	r := &h.r
	r.Header = make(http.Header, count-1)
	room := make([]string, 0, count-1)
	hosts, length, coding, codings := 0, "", "", 0
	lengths := 0
	for text != "" {
		if line, text, _ = strings.Cut(text, "\r\n"); line[0] == ' ' || line[0] == '\t' {
			return errFolded
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !canonical.Token(name) {
			return errName
		}
		value = strings.Trim(value, " \t")
		if !canonical.FieldValue(value) {
			if strings.IndexByte(value, '\r') >= 0 {
				return errBareCR
			}
			return errValue
		}
		if name = http.CanonicalHeaderKey(name); !shared {
			name, value = strings.Clone(name), strings.Clone(value)
		}
		switch name {
		case "Host":
			hosts++
			r.Host = value
			continue
		case lengthField:
			length = value
			lengths++
		case codingField:
			coding = value
			codings++
			continue
		}
		if had, ok := r.Header[name]; ok {
			r.Header[name] = append(had, value)
			continue
		}
		room = append(room, value)
		r.Header[name] = room[len(room)-1 : len(room) : len(room)]
	}
	if err := h.host(hosts); err != nil {
		return err
	}
	if pragma := r.Header["Pragma"]; len(pragma) > 0 && pragma[0] == "no-cache" {
		if _, ok := r.Header["Cache-Control"]; !ok {
			r.Header["Cache-Control"] = []string{"no-cache"}
		}
	}
	h.connection()
	return h.frame(length, lengths, coding, codings)
}

// requestLine reads the first line.
func (h *head) requestLine(line string, shared bool) error {
	r := &h.r
	method, rest, ok := strings.Cut(line, " ")
	target, version, ok2 := strings.Cut(rest, " ")
	switch {
	case strings.IndexByte(line, '\r') >= 0:
		return errBareCR
	case !ok || !ok2:
		return errLine
	case !canonical.Token(method):
		return errMethod
	}
	switch version {
	case "HTTP/1.1":
		r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	case "HTTP/1.0":
		r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.0", 1, 0
	default:
		major, minor, ok := http.ParseHTTPVersion(version)
		if !ok {
			return errLine
		}
		if major != 1 {
			return errVersion
		}
		r.Proto, r.ProtoMajor, r.ProtoMinor = version, major, minor
	}
	if !shared {
		method, target = strings.Clone(method), strings.Clone(target)
	}
	r.Method, r.RequestURI = method, target
	var err error
	if r.URL, err = parseTarget(method, target); err != nil {
		return errTarget
	}
	return nil
}

// parseTarget reads a request target (RFC 9112 section 3.2) as net/http does.
func parseTarget(method, target string) (*url.URL, error) {
	if u := plainTarget(target); u != nil {
		return u, nil
	}
	if method != http.MethodConnect || strings.HasPrefix(target, "/") {
		return url.ParseRequestURI(target)
	}
	u, err := url.ParseRequestURI("http://" + target)
	if err == nil {
		u.Scheme = ""
	}
	return u, err
}

// plainTarget reads a target that is a path in which nothing has to be decoded, and perhaps a query. It returns nil for any other.
func plainTarget(target string) *url.URL {
	if target == "" || target[0] != '/' {
		return nil
	}
	end := len(target)
	for i := range len(target) {
		b := target[i]
		if b == '?' {
			end = i
			break
		}
		if !plainByte(b) {
			return nil
		}
	}
	if end == len(target) {
		return &url.URL{Path: target}
	}
	query := target[end+1:]
	for i := range len(query) {
		if query[i] < ' ' || query[i] == 0x7f {
			return nil
		}
	}
	return &url.URL{Path: target[:end], RawQuery: query, ForceQuery: query == ""}
}

// plainByte reports whether b stands in a path for itself, encoded and not (see [url.URL.EscapedPath]).
func plainByte(b byte) bool {
	switch {
	case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '/' <= b && b <= '9':
		return true
	}
	switch b {
	case '-', '_', '.', '~', '$', '&', '+', ',', ':', ';', '=', '@':
		return true
	}
	return false
}

// host decides which host is meant: that of the target, if it names one (RFC 9112 section 3.2.2).
func (h *head) host(hosts int) error {
	r := &h.r
	switch {
	case hosts > 1:
		return errHosts
	case hosts == 0 && r.ProtoMinor > 0 && r.Method != http.MethodConnect:
		return errNoHost
	case hosts == 1 && !validHost(r.Host):
		return errHost
	}
	if r.URL.Host != "" {
		r.Host = r.URL.Host
	}
	return nil
}

// validHost reports whether s has only what may be in a host and port; whether it is one net/http does not ask, either.
func validHost(s string) bool {
	for i := range len(s) {
		b := s[i]
		if !('a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || strings.IndexByte("!$%&'()*+,-.:;=[]_~", b) >= 0) {
			return false
		}
	}
	return true
}

// connection reads what the client wants of the connection.
func (h *head) connection() {
	r := &h.r
	lines := r.Header["Connection"]
	h.close = canonical.HasOption(lines, "close")
	h.keep = r.ProtoMinor == 0 && canonical.HasOption(lines, "keep-alive")
	r.Close = h.close || r.ProtoMinor == 0 && !h.keep
	if expect := r.Header["Expect"]; len(expect) > 0 && expect[0] != "" {
		h.expected, h.expects = true, canonical.HasOption(expect[:1], "100-continue")
	}
}

// frame decides where the body ends (RFC 9112 section 6.3).
func (h *head) frame(length string, lengths int, coding string, codings int) error {
	r := &h.r
	n := int64(0)
	if lengths > 0 {
		var ok bool
		if n, ok = number(length); !ok || lengths > 1 {
			return errLength
		}
	}
	if codings > 0 {
		switch {
		case lengths > 0:
			return errBoth
		case r.ProtoMinor == 0:
			return errOldCoding
		case codings > 1 || !strings.EqualFold(coding, "chunked"):
			return errCoding
		}
		h.chunked = true
		r.TransferEncoding, r.ContentLength = []string{"chunked"}, -1
		return h.trailers()
	}
	r.ContentLength = n
	return nil
}

// number reads digits, and nothing but digits.
func number(s string) (int64, bool) {
	if s == "" {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		d := int64(s[i]) - '0'
		if d < 0 || d > 9 || n > (1<<63-1-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}

// trailers makes those that are announced known to the handler.
func (h *head) trailers() error {
	r := &h.r
	lines, ok := r.Header["Trailer"]
	if !ok {
		return nil
	}
	delete(r.Header, "Trailer")
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			name = http.CanonicalHeaderKey(strings.Trim(name, " \t"))
			switch name {
			case "":
			case codingField, "Trailer", lengthField:
				return errTrailers
			default:
				if r.Trailer == nil {
					r.Trailer = make(http.Header)
				}
				r.Trailer[name] = nil
			}
		}
	}
	return nil
}

// refuse answers what could not be read, and ends the connection; when nothing was read that could be answered, it is silent.
func (c *conn) refuse(why error) {
	var r *refusal
	if !errors.As(why, &r) {
		return
	}
	if r.ambiguous && c.origin != nil {
		c.origin.Ambiguous()
	}
	status := http.StatusText(r.status)
	c.useOut()
	b := appendStatusLine(c.out, 1, r.status)
	b = append(b, "Connection: close\r\nDate: "...)
	b = c.s.appendDate(b, time.Now())
	if r.text == "" || r.ambiguous {
		b = append(b, "\r\nContent-Length: 0\r\n\r\n"...)
	} else {
		body := []byte(status + ": " + r.text)
		b = append(b, "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: "...)
		b = appendInt(b, int64(len(body)))
		b = append(append(b, "\r\n\r\n"...), body...)
	}
	c.out = b
	_ = c.raw.SetWriteDeadline(time.Now().Add(refusalTimeout))
	if c.flush() == nil {
		c.linger()
	}
}

// refusalTimeout is for a client that does not take an answer of ours.
const refusalTimeout = time.Second
