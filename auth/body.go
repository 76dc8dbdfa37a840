package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/policy"
)

// bodyKind is a format of bodies that have fields.
type bodyKind uint8

const (
	formBody bodyKind = iota + 1
	jsonBody
	multipartBody
)

// document is a whole request body with fields.
type document struct {
	kind     bodyKind
	boundary string // of a multipart body
	data     []byte
}

// bufferedBody is a request body that was read and is there to be read again.
type bufferedBody struct {
	bytes.Reader

	data  []byte
	under io.Closer
}

func newBufferedBody(data []byte, under io.Closer) *bufferedBody {
	b := &bufferedBody{data: data, under: under}
	b.Reset(data)
	return b
}

// Close closes the body that was read.
func (b *bufferedBody) Close() error { return b.under.Close() }

// partlyReadBody is a request body of which a part was read, from its beginning again.
type partlyReadBody struct {
	io.Reader
	io.Closer
}

// unreadableBody stands for a body in which a credential could not be hidden.
type unreadableBody struct {
	io.Closer

	err error
}

var errUnreadable = errors.New("auth: the request body may hold a credential and cannot be searched")

func (b unreadableBody) Read([]byte) (int, error) { return 0, b.err }

// maxAhead is how much of a declared length is made room for before any of it has arrived.
const maxAhead = 4 << 10

// readBody returns the body of r when it is one that has fields, and puts a buffer in its place. It returns nil when
// there is nothing to search.
func (s *Source) readBody(r *http.Request) (*document, error) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil, nil
	}
	d, err := documentOf(r.Header)
	if d == nil || err != nil {
		return nil, err
	}
	if r.ContentLength > s.maxBody {
		return nil, errLargeBody
	}
	if b, ok := r.Body.(*bufferedBody); ok && b.Len() == len(b.data) {
		// A method before has read it, and nobody since.
		if int64(len(b.data)) > s.maxBody {
			return nil, errLargeBody
		}
		d.data = b.data
		return d, nil
	}
	var buf bytes.Buffer
	// A client that declares much and sends nothing gets no room for it.
	buf.Grow(int(min(max(r.ContentLength, 0), maxAhead)) + bytes.MinRead)
	n, err := buf.ReadFrom(io.LimitReader(r.Body, s.maxBody+1))
	if err != nil || n > s.maxBody {
		// Refused, but where that is not enforced the body has to be whole for those inside.
		r.Body = &partlyReadBody{io.MultiReader(&buf, r.Body), r.Body}
	}
	if err != nil {
		return nil, unreadable(err)
	}
	if n > s.maxBody {
		return nil, errLargeBody
	}
	d.data = buf.Bytes()
	r.Body = newBufferedBody(d.data, r.Body)
	return d, nil
}

// unreadable is the refusal for a body that broke off.
func unreadable(err error) *policy.Error {
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) { // somebody outside has a smaller bound
		return errLargeBody
	}
	return &policy.Error{Status: http.StatusBadRequest, Code: "body_unreadable", Message: "Incomplete request body", Err: err}
}

// documentOf says what kind of body the header announces; nil for a kind without fields.
func documentOf(h http.Header) (*document, error) {
	if aliased(h) {
		return nil, errAmbiguousBody
	}
	types := h["Content-Type"]
	d := &document{}
	for _, t := range types {
		if d.kind = kindOf(t); d.kind != 0 {
			break
		}
	}
	if d.kind == 0 {
		return nil, nil
	}
	if len(types) > 1 {
		return nil, errAmbiguousBody // which of them counts is anybody's guess
	}
	_, params, ok := parseParameters(types[0])
	if !ok {
		return nil, errAmbiguousBody
	}
	if d.boundary, _ = parameterNamed(params, "boundary"); d.kind == multipartBody && d.boundary == "" {
		return nil, errAmbiguousBody
	}
	charset, _ := parameterNamed(params, "charset")
	switch strings.ToLower(charset) {
	case "", "utf-8", "us-ascii", "iso-8859-1":
	default:
		return nil, errUnsupportedBody // in UTF-16, say, the names look otherwise
	}
	for _, coding := range h["Content-Encoding"] {
		if !strings.EqualFold(coding, "identity") {
			return nil, errUnsupportedBody
		}
	}
	return d, nil
}

// aliased reports whether a body is described under a name that some upstreams take for another (Content_Type).
func aliased(h http.Header) bool {
	for name := range h {
		for _, field := range [...]string{"Content-Type", "Content-Encoding"} {
			if len(name) == len(field) && name != field && canonical.Fold(name) == canonical.Fold(field) {
				return true
			}
		}
	}
	return false
}

func kindOf(contentType string) bodyKind {
	t, _, _ := strings.Cut(contentType, ";")
	switch t = strings.ToLower(strings.TrimSpace(t)); {
	case t == "application/x-www-form-urlencoded":
		return formBody
	case t == "multipart/form-data":
		return multipartBody
	case t == "application/json", strings.HasPrefix(t, "application/") && strings.HasSuffix(t, "+json"):
		return jsonBody
	default:
		return 0
	}
}

// find collects the fields with one of the names. It reports false when another reader might find others.
func (d *document) find(f *finding, names []string) bool {
	switch d.kind {
	case formBody:
		return f.params(string(d.data), names)
	case jsonBody:
		list, ok := membersOf(d.data)
		for m, more := list.read(); more; m, more = list.read() {
			if !slices.Contains(names, m.name) {
				continue
			}
			var text string
			switch m.value[0] {
			case 'n': // null: the member is there, a credential is not
				continue
			case '[': // a list, as with a repeated parameter
				f.n++
			}
			if m.value[0] != '"' || json.Unmarshal(m.value, &text) != nil {
				f.malformed = true
			}
			f.add(text)
		}
		return ok
	case multipartBody:
		parts, ok := splitMultipart(d.data, d.boundary)
		for _, p := range parts {
			if slices.Contains(names, p.name) {
				f.add(string(p.value))
			}
		}
		return ok
	default:
		return false
	}
}

// without returns the body without the fields whose names match, and whether it is another one. It reports false when
// it cannot be sure to find them.
func (d *document) without(match func(name string) bool) (data []byte, changed, ok bool) {
	switch d.kind {
	case formBody:
		var f finding
		if ok = f.params(string(d.data), nil); !ok {
			return nil, false, false
		}
		left, changed := removeParams(string(d.data), match)
		return []byte(left), changed, true
	case jsonBody:
		return withoutMembers(d.data, match)
	case multipartBody:
		parts, ok := splitMultipart(d.data, d.boundary)
		if !ok {
			return nil, false, false
		}
		kept := 0
		for _, p := range parts {
			if match(p.name) {
				data = append(data, d.data[kept:p.start]...)
				kept = p.end
			}
		}
		return append(data, d.data[kept:]...), kept > 0, true
	default:
		return nil, false, false
	}
}

// hideFields removes the fields with one of the names from the body.
func (s *Source) hideFields(r *http.Request) {
	d, err := s.readBody(r)
	if err != nil {
		why := errUnreadable
		if errors.Is(err, errLargeBody) { // so that it is refused as that
			why = fmt.Errorf("%w: %w", errUnreadable, &http.MaxBytesError{Limit: s.maxBody})
		}
		r.Body = unreadableBody{r.Body, why}
		return
	}
	if d == nil {
		return
	}
	data, changed, ok := d.without(s.aliases.Contains)
	switch {
	case !ok:
		r.Body = unreadableBody{r.Body, errUnreadable}
	case changed:
		replaceBody(r, data)
	}
}

// replaceBody makes data the body of r. What described the old one goes (RFC 9530 section 2).
func replaceBody(r *http.Request, data []byte) {
	r.Body = newBufferedBody(data, r.Body)
	if len(data) == 0 {
		r.Body = http.NoBody
	}
	r.ContentLength = int64(len(data))
	r.TransferEncoding = nil
	if _, ok := r.Header["Content-Length"]; ok {
		r.Header["Content-Length"] = []string{strconv.Itoa(len(data))}
	}
	for _, name := range [...]string{"Content-Md5", "Digest", "Content-Digest", "Repr-Digest"} {
		delete(r.Header, name)
	}
}
