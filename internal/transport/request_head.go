package transport

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

var (
	errMethod = errors.New("the method is not a token")
	errHost   = errors.New("the host cannot be sent")
	errTarget = errors.New("the path or the query cannot be sent")
	errField  = errors.New("a header field cannot be sent")
)

// writeHead makes the head of a request in c.out. What decides where the message ends is written from what it is, and never
// from the header.
func (c *wire) writeHead(out *http.Request, fields []Field, streamed bool) error {
	b := c.out[:0]
	method := out.Method
	if method == "" {
		method = http.MethodGet
	}
	if !canonical.Token(method) {
		return errMethod
	}
	b = append(append(b, method...), ' ')
	var err error
	if b, err = appendTarget(b, out.URL); err != nil {
		return err
	}
	host := out.Host
	if host == "" {
		host = out.URL.Host
	}
	if !isHost(host) {
		return errHost
	}
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(append(b, host...), "\r\n"...)
	for name, values := range out.Header {
		for _, v := range values {
			if b, err = appendField(b, name, v); err != nil {
				return err
			}
		}
	}
	for i := range fields {
		if b, err = appendField(b, fields[i].Name, fields[i].Value); err != nil {
			return err
		}
	}
	switch {
	case streamed && out.ContentLength < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
		if b, err = appendAnnouncement(b, out.Trailer); err != nil {
			return err
		}
	case out.ContentLength > 0 && out.Body != nil && out.Body != http.NoBody:
		b = append(b, "Content-Length: "...)
		b = append(strconv.AppendInt(b, out.ContentLength, 10), "\r\n"...)
	case method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch:
		b = append(b, "Content-Length: 0\r\n"...) // RFC 9110 section 8.6
	}
	b = append(b, "\r\n"...)
	c.out = b
	return nil
}

// appendField writes a field, but not one that says where the message ends or goes.
func appendField(b []byte, name, value string) ([]byte, error) {
	if frames(name) {
		return b, nil
	}
	if !canonical.Token(name) || !canonical.FieldValue(value) {
		return b, errField
	}
	b = append(append(b, name...), ": "...)
	return append(append(b, trimSpace(value)...), "\r\n"...), nil
}

// appendAnnouncement writes a Trailer field with the names of trailers (RFC 9110 section 6.6.2).
func appendAnnouncement(b []byte, trailer http.Header) ([]byte, error) {
	if len(trailer) == 0 {
		return b, nil
	}
	if !validTrailer(trailer) {
		return b, errField
	}
	b = append(b, "Trailer: "...)
	b = append(b, strings.Join(slices.Sorted(maps.Keys(trailer)), ", ")...)
	return append(b, "\r\n"...), nil
}

// validTrailer reports whether trailers can be sent, as far as their values are there.
func validTrailer(trailer http.Header) bool {
	for name := range trailer {
		if frames(name) {
			return false
		}
	}
	return validHeader(trailer)
}

// appendTrailers writes the end of a chunked body (RFC 9112 section 7.1.2).
func appendTrailers(b []byte, trailer http.Header) ([]byte, error) {
	b = append(b, "0\r\n"...)
	var err error
	for name, values := range trailer {
		for _, v := range values {
			if b, err = appendField(b, name, v); err != nil {
				return b, err
			}
		}
	}
	return append(b, "\r\n"...), nil
}

// frames reports whether a field, in whatever spelling, says where a message ends or goes.
func frames(name string) bool {
	switch len(name) {
	case len("Host"):
		return strings.EqualFold(name, "Host")
	case len("Trailer"):
		return strings.EqualFold(name, "Trailer")
	case len("Content-Length"):
		return strings.EqualFold(name, "Content-Length")
	case len("Transfer-Encoding"):
		return strings.EqualFold(name, "Transfer-Encoding")
	}
	return false
}

// appendTarget writes path and query as they stand in a request line.
func appendTarget(b []byte, u *url.URL) ([]byte, error) {
	start := len(b)
	path := u.EscapedPath()
	if !strings.HasPrefix(path, "/") {
		b = append(b, '/')
	}
	b = append(b, path...)
	if u.RawQuery != "" || u.ForceQuery {
		b = append(b, '?')
		b = append(b, u.RawQuery...)
	}
	for _, c := range b[start:] {
		if c <= ' ' || c == 0x7f || c == '#' {
			return b, errTarget
		}
	}
	return b, nil
}

// isHost reports whether host can stand in a Host field without being taken for something else.
func isHost(host string) bool {
	if host == "" {
		return false
	}
	for i := range len(host) {
		switch c := host[i]; {
		case c <= ' ' || c >= 0x7f:
			return false
		case c == '/' || c == '\\' || c == '?' || c == '#' || c == '@' || c == ',':
			return false
		}
	}
	return true
}
