package proxy

import (
	"errors"
	"io"
	"net/http"
	"slices"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

// maxTrailers bounds the trailers of a request, names and values together. net/http's HTTP/1 server bounds them so, its
// HTTP/2 server as it bounds headers.
const maxTrailers = 4 << 10

var (
	errTrailersTooLarge = errors.New("proxy: the request has too many trailers, or too large ones")
	errTrailer          = errors.New("proxy: a trailer has a value that no field can carry")
)

// trailers are those of a request that are sent on.
type trailers struct {
	in    http.Header // net/http's: it puts the values there when it reads the end of the body
	names []string    // announced, and fit to be sent
	out   http.Header // the outgoing request's
}

// announced notes which of the trailers in announces are sent on. It is called before the body is read.
func (u *Upload) announced(in http.Header) error {
	var names []string
	size := 0
	for name := range in {
		if canonical.Token(name) && !framing(name) && !untrailedRequest.Contains(name) {
			names = append(names, name)
			size += len(name)
		}
	}
	switch {
	case size > maxTrailers:
		return errTrailersTooLarge
	case names != nil:
		slices.Sort(names)
		u.trailers = &trailers{in: in, names: names}
	}
	return nil
}

// outgoing returns the Trailer of an outgoing request: the announced names, to which Read gives their values when it
// returns the end of the body. It is nil when there are none.
func (u *Upload) outgoing() http.Header {
	if u.trailers == nil {
		return nil
	}
	h := make(http.Header, len(u.trailers.names))
	for _, name := range u.trailers.names {
		h[name] = nil
	}
	u.trailers.out = h
	return h
}

// take passes the values on. It returns [io.EOF] when they are in order.
func (t *trailers) take() error {
	size := 0
	for _, name := range t.names {
		for _, v := range t.in[name] {
			if size += len(name) + len(v); size > maxTrailers {
				return errTrailersTooLarge
			}
			if !canonical.FieldValue(v) {
				return errTrailer
			}
		}
	}
	for _, name := range t.names {
		t.out[name] = slices.Clone(t.in[name])
	}
	return io.EOF
}
