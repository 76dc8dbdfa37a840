package http1

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

const (
	// sniffBytes is how much of a body a content type is guessed from.
	sniffBytes  = 512
	lengthField = "Content-Length"
	codingField = "Transfer-Encoding"
	// maxChunkHead is the room for the size of a chunk.
	maxChunkHead = 18
)

// composed is what the head of an answer has of the fields that are not written with the others.
type composed struct {
	coding      string   // Transfer-Encoding
	connection  []string // Connection
	hasType     bool
	hasDate     bool
	hasEncoding bool     // Content-Encoding
	trailers    []string // that are announced
	trails      bool     // there may be trailers
}

func appendStatusLine(b []byte, minor int, status int) []byte {
	b = append(b, "HTTP/1."...)
	b = append(b, byte('0'+minor), ' ')
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	if text := http.StatusText(status); text != "" {
		b = append(b, text...)
	} else {
		b = append(b, "status code "...)
		b = strconv.AppendInt(b, int64(status), 10)
	}
	return append(b, "\r\n"...)
}

func appendInt(b []byte, n int64) []byte { return strconv.AppendInt(b, n, 10) }

func appendHex(b []byte, n int) []byte { return strconv.AppendInt(b, int64(n), 16) }

// bodyAllowed tells whether an answer with this status may have a body (RFC 9110 section 6.4.1).
func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// commit fixes the status of the final head and its fields as they are now, unless that was done before.
func (x *exchange) commit(status int) {
	if x.committed {
		return
	}
	x.committed, x.status = true, status
	x.bodiless = !bodyAllowed(status)
	if x.stopContinue() {
		x.last = true // the client may send the body, or not
	}
	x.declareLength()
	minor := 1
	if x.old {
		minor = 0
	}
	c := x.c
	c.out = appendStatusLine(c.out, minor, status)
	var few [16]string
	names := few[:0]
	for name := range x.header {
		if !x.special(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range x.header[name] {
			c.out = appendField(c.out, name, value)
		}
	}
}

// declareLength takes the length of the body from the header.
func (x *exchange) declareLength() {
	lines := x.header[lengthField]
	if len(lines) == 0 || lines[0] == "" {
		return
	}
	n, ok := number(lines[0])
	if !ok {
		x.c.s.logf("http: invalid Content-Length of %q", lines[0])
		delete(x.header, lengthField)
		return
	}
	x.length = n
}

// special notes a field that is written later, or not at all, and reports whether it is one.
func (x *exchange) special(name string) bool {
	f := &x.fields
	switch name {
	case lengthField:
		return true
	case codingField:
		if v := x.header[name]; len(v) > 0 {
			f.coding = v[0]
		}
		return true
	case "Connection":
		f.connection = x.header[name]
		return true
	case "Content-Type":
		f.hasType = true
		return x.status == http.StatusNotModified
	case "Content-Encoding":
		f.hasEncoding = len(x.header[name]) > 0 && x.header[name][0] != ""
	case "Date":
		f.hasDate = true
	case "Trailer":
		f.trails = true
		for _, line := range x.header[name] {
			for announced := range strings.SplitSeq(line, ",") {
				if announced = http.CanonicalHeaderKey(strings.Trim(announced, " \t")); mayTrail(announced) {
					f.trailers = append(f.trailers, announced)
				}
			}
		}
	default:
		if strings.HasPrefix(name, http.TrailerPrefix) {
			f.trails = true
			return true
		}
	}
	return !canonical.Token(name)
}

// mayTrail reports whether a field may be a trailer (RFC 9110 section 6.5.1).
func mayTrail(name string) bool {
	if name == "" || strings.HasPrefix(name, "If-") {
		return false
	}
	switch name {
	case "Authorization", "Cache-Control", "Connection", "Content-Encoding", lengthField, "Content-Range", "Content-Type", "Expect", "Host",
		"Keep-Alive", "Max-Forwards", "Pragma", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Range", "Realm", "Te", "Trailer",
		codingField, "Www-Authenticate":
		return false
	}
	return true
}

// appendField appends a field line. What would end it is made a space.
func appendField(b []byte, name, value string) []byte {
	b = append(append(b, name...), ": "...)
	value = strings.Trim(value, " \t\r\n")
	start := len(b)
	b = append(b, value...)
	if strings.ContainsAny(value, "\r\n") {
		for i, v := range b[start:] {
			if v == '\r' || v == '\n' {
				b[start+i] = ' '
			}
		}
	}
	return append(b, "\r\n"...)
}

// appendInformational appends an informational head, without fields that would frame a body.
func (x *exchange) appendInformational(status int) {
	c := x.c
	c.out = appendStatusLine(c.out, 1, status)
	names := make([]string, 0, len(x.header))
	for name := range x.header {
		if name != lengthField && name != codingField && canonical.Token(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range x.header[name] {
			c.out = appendField(c.out, name, value)
		}
	}
	c.out = append(c.out, "\r\n"...)
}

// compose ends the head, of which the first bytes of the body are known, or all of them: then the handler has returned.
func (x *exchange) compose(body []byte, all bool) {
	x.composed = true
	c, f := x.c, &x.fields
	if x.length < 0 && all && !x.mayHaveTrailers() && f.coding == "" && !x.bodiless && (!x.head || x.written > 0) {
		x.length = x.written
	}
	if x.length >= 0 && f.coding != "" && f.coding != "identity" {
		c.s.logf("http: WriteHeader called with both Transfer-Encoding of %q and a Content-Length of %d", f.coding, x.length)
		x.length = -1
	}
	x.last = x.last || x.leavesRest() || x.connect // what follows may be no HTTP
	x.frame()
	x.composeConnection()
	if !f.hasType && !f.hasEncoding && f.coding == "" && !x.bodiless && len(body) > 0 {
		c.out = append(append(append(c.out, "Content-Type: "...), http.DetectContentType(body[:min(len(body), sniffBytes)])...), "\r\n"...)
	}
	if !f.hasDate {
		c.out = append(c.s.appendDate(append(c.out, "Date: "...), time.Now()), "\r\n"...)
	}
	switch {
	case x.chunked:
		c.out = append(c.out, "Transfer-Encoding: chunked\r\n"...)
	case x.length >= 0 && !x.bodiless:
		c.out = append(appendInt(append(c.out, "Content-Length: "...), x.length), "\r\n"...)
	}
	c.out = append(c.out, "\r\n"...)
}

// mayHaveTrailers reports whether trailers are announced, or there are some already.
func (x *exchange) mayHaveTrailers() bool {
	if x.fields.trails {
		return true
	}
	for name := range x.header { // it may have been set since
		if strings.HasPrefix(name, http.TrailerPrefix) {
			return true
		}
	}
	return false
}

// frame decides how the body is framed.
func (x *exchange) frame() {
	switch {
	case x.head, x.bodiless, x.length >= 0:
	case x.old, x.fields.coding == "identity":
		x.last = true
	default:
		x.chunked = true
	}
}

// composeConnection decides what becomes of the connection, and says so.
func (x *exchange) composeConnection() {
	c := x.c
	lines := x.fields.connection
	said, closes := len(lines) > 0, canonical.HasOption(lines[:min(1, len(lines))], "close")
	add := ""
	switch {
	case x.keep && (x.head || x.length >= 0 || x.bodiless):
		if !said {
			add = "keep-alive"
		}
	case x.old || x.close:
		x.last = true
	}
	keeps := !c.s.closing.Load()
	if said && lines[0] == "close" || !keeps {
		x.last = true
	}
	switched := x.status == http.StatusSwitchingProtocols && len(x.header["Upgrade"]) > 0
	if x.last && !switched && (!keeps || !closes) {
		lines = nil
		if add = ""; !x.old {
			add = "close"
		}
	}
	for _, v := range lines {
		c.out = appendField(c.out, "Connection", v)
	}
	if add != "" {
		c.out = appendField(c.out, "Connection", add)
	}
	x.last = x.last || x.status == http.StatusSwitchingProtocols // nobody has taken the connection over
}

// leavesRest reports whether too much of the request body is unread for the connection to be used again.
func (x *exchange) leavesRest() bool {
	if x.fullDuplex || !x.body.mu.TryLock() {
		return false
	}
	defer x.body.mu.Unlock()
	return x.body.err != nil || !x.body.ended && x.body.left > drainBytes
}

// sendTrailers ends a body in chunks.
func (x *exchange) sendTrailers() {
	x.send([]byte("0\r\n"))
	for _, name := range x.fields.trailers {
		x.sendTrailer(name, x.header[name])
	}
	for name, values := range x.header { // whatever was announced
		if after, ok := strings.CutPrefix(name, http.TrailerPrefix); ok && mayTrail(http.CanonicalHeaderKey(after)) {
			x.sendTrailer(after, values)
		}
	}
	x.send([]byte("\r\n"))
}

func (x *exchange) sendTrailer(name string, values []string) {
	if !canonical.Token(name) {
		return
	}
	for _, v := range values {
		x.send(appendField(nil, name, v))
	}
}
