package auth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/policy"
)

// DefaultMaxBody is how much of a request body a [Source] searches unless told otherwise: 64 KiB.
const DefaultMaxBody = 64 << 10

// SourceConfig says where a credential may stand. Names are compared exactly, those of header fields without regard to
// case. At least one list must have a name.
type SourceConfig struct {
	// Headers are request header fields.
	Headers []string
	// Query are parameters of the URL's query. URLs end up in logs and browser histories; avoid it.
	Query []string
	// Cookies are cookies. Browsers send them by themselves, so state-changing routes need protection against forged
	// requests beside.
	Cookies []string
	// Fields are fields of a form (urlencoded or multipart) or top-level members of a JSON object in the request body.
	// With them the body of every such request is read before it is passed on.
	Fields []string
	// MaxBody bounds, in bytes, the bodies searched for Fields; larger ones are refused. Default [DefaultMaxBody].
	MaxBody int64
	// FirstPlace takes the credential of the first place that has one, for each name in turn a header field, a parameter, a
	// cookie and a body field, and looks at no other. Default: a request with several is refused wherever they stand.
	FirstPlace bool
}

// Source finds the one credential of a request and hides it. It is what policies with a credential in a header field,
// parameter, cookie or body field share. It is immutable and safe for concurrent use; the zero Source finds nothing.
//
// It takes the whole value of a field for the credential, and so is not for Authorization: it knows no schemes (Basic,
// Bearer), a comma, which the parameters of many schemes have, makes a list of it that is refused as a duplicate, and
// Hide would remove credentials of every other scheme too. A method that reads Authorization parses and hides it itself.
type Source struct {
	headers []string // canonical
	query   []string
	cookies []string
	fields  []string
	aliases canonical.NameSet // all of them, for hiding
	maxBody int64
	names   []string // in which order they are looked for, with FirstPlace
}

// NewSource checks c and returns a Source. The error joins all problems; each names the list and the position.
func NewSource(c SourceConfig) (*Source, error) {
	var errs []error
	s := &Source{
		query: slices.Clone(c.Query), cookies: slices.Clone(c.Cookies), fields: slices.Clone(c.Fields), maxBody: c.MaxBody,
	}
	var all []string
	lists := []struct {
		name  string
		names []string
	}{{"Headers", c.Headers}, {"Query", c.Query}, {"Cookies", c.Cookies}, {"Fields", c.Fields}}
	for _, list := range lists {
		for i, name := range list.names {
			if err := CheckName(name); err != nil {
				errs = append(errs, fmt.Errorf("auth: SourceConfig.%s[%d] %w", list.name, i, err))
			}
			all = append(all, name)
		}
	}
	for _, name := range c.Headers {
		if name = http.CanonicalHeaderKey(name); !slices.Contains(s.headers, name) {
			s.headers = append(s.headers, name) // two spellings of one field are not two credentials
		}
	}
	if len(all) == 0 {
		errs = append(errs, errors.New("auth: SourceConfig has no names; no credential could be found"))
	}
	if c.MaxBody < 0 {
		errs = append(errs, fmt.Errorf("auth: SourceConfig.MaxBody %d is negative; use 0 for %d", c.MaxBody, DefaultMaxBody))
	}
	if c.MaxBody == 0 {
		s.maxBody = DefaultMaxBody
	}
	if c.FirstPlace {
		for _, name := range all {
			if !slices.Contains(s.names, name) {
				s.names = append(s.names, name)
			}
		}
	}
	s.aliases = canonical.NewNameSet(all...)
	return s, errors.Join(errs...)
}

// CheckName returns why name cannot be the name of a credential, or nil: it must be a token (RFC 9110 section 5.6.2),
// which is what header fields and cookies are named by, and not one of the fields that hold a message together, because
// hiding it would break the message. The error begins with the quoted name.
func CheckName(name string) error {
	if !canonical.Token(name) {
		return fmt.Errorf("%q is not a header name; use letters, digits and hyphens", name)
	}
	switch canonical.Fold(name) {
	case "host", "cookie", "content-type", "content-encoding", "content-length", "transfer-encoding", "connection",
		"proxy-connection", "keep-alive", "te", "trailer", "upgrade", "expect":
		return fmt.Errorf("%q is a header field of the message itself; use a name of its own", name)
	}
	return nil
}

// Buffers reports whether the source reads request bodies.
func (s *Source) Buffers() bool { return len(s.fields) > 0 }

// Find returns the one credential in r. It looks at every place it was told, so that a request with a second credential
// is refused wherever that stands; with FirstPlace it ends at the first place that has one. The error is, or wraps,
//
//   - [ErrNoCredential] when there is none, or an empty one;
//   - [ErrDuplicateCredential] when there are several, the same one twice included, or a list in one header field;
//   - [ErrInvalidCredential] when it is a member of a JSON object and not a string;
//   - an [*policy.Error] for a request that cannot be searched with certainty:
//     400 ambiguous_query for a query whose names cannot be decoded, or in which a semicolon, which some servers take
//     for a separator, stands beside the name;
//     400 ambiguous_body, likewise, for a body that is not what its Content-Type says;
//     413 body_too_large for one beyond MaxBody; 415 unsupported_body for one that is compressed or not in UTF-8.
//
// When it looks at the body, it puts a buffer with the same bytes in its place. Bodies of other types than forms and
// JSON hold no fields and are not read.
func (s *Source) Find(r *http.Request) (string, error) {
	var f finding
	if len(s.names) == 0 {
		f.headers(r.Header, s.headers)
		if !f.query(r, s.query) {
			return "", errAmbiguousQuery
		}
		f.cookies(r.Header["Cookie"], s.cookies)
		if f.n <= 1 { // nothing is read for a request that is refused anyway
			if err := s.findField(&f, r, s.fields); err != nil {
				return "", err
			}
		}
	} else if err := s.findFirst(&f, r); err != nil {
		return "", err
	}
	switch {
	case f.n > 1:
		return "", ErrDuplicateCredential
	case f.malformed:
		return "", ErrInvalidCredential
	case f.value == "":
		return "", ErrNoCredential
	default:
		return f.value, nil
	}
}

// findFirst looks at one place after the other until there is something.
func (s *Source) findFirst(f *finding, r *http.Request) error {
	only := func(list []string, name string) []string { // name, if it is one of the list
		if i := slices.Index(list, name); i >= 0 {
			return list[i : i+1]
		}
		return nil
	}
	for _, name := range s.names {
		if f.headers(r.Header, only(s.headers, http.CanonicalHeaderKey(name))); f.n > 0 {
			return nil
		}
		if !f.query(r, only(s.query, name)) {
			return errAmbiguousQuery
		}
		if f.n > 0 {
			return nil
		}
		if f.cookies(r.Header["Cookie"], only(s.cookies, name)); f.n > 0 {
			return nil
		}
		if err := s.findField(f, r, only(s.fields, name)); err != nil || f.n > 0 || f.malformed {
			return err
		}
	}
	return nil
}

// findField collects the fields of the body with one of the names.
func (s *Source) findField(f *finding, r *http.Request, names []string) error {
	if len(names) == 0 {
		return nil
	}
	d, err := s.readBody(r)
	if err != nil {
		return err
	}
	if d != nil && !d.find(f, names) {
		return errAmbiguousBody
	}
	return nil
}

// Refusals of requests that two readers could read differently. They are answers to a client's mistake, not to a wrong
// credential, and so no method after it is asked.
var (
	errAmbiguousQuery = &policy.Error{Status: http.StatusBadRequest, Code: "ambiguous_query", Message: "Malformed query string"}
	errAmbiguousBody  = &policy.Error{Status: http.StatusBadRequest, Code: "ambiguous_body", Message: "Malformed request body"}
	errLargeBody      = &policy.Error{
		Status: http.StatusRequestEntityTooLarge, Code: "body_too_large", Message: "Request body too large",
	}
	errUnsupportedBody = &policy.Error{
		Status: http.StatusUnsupportedMediaType, Code: "unsupported_body", Message: "Unsupported encoding of the request body",
		Header: http.Header{"Accept-Encoding": {"identity"}},
	}
)

// finding collects the credentials of a request.
type finding struct {
	n         int
	value     string // the first
	malformed bool
}

func (f *finding) add(value string) {
	if f.n == 0 {
		f.value = value
	}
	f.n++
}

func (f *finding) headers(h http.Header, names []string) {
	for _, name := range names {
		for _, v := range h[name] {
			f.add(v)
			if strings.IndexByte(v, ',') >= 0 {
				f.n++ // a proxy may have joined two fields (RFC 9110 section 5.3)
			}
		}
	}
}

// query reports false when another reader might find other parameters.
func (f *finding) query(r *http.Request, names []string) bool {
	return len(names) == 0 || r.URL == nil || r.URL.RawQuery == "" || f.params(r.URL.RawQuery, names)
}

// Hide removes from r every header field, parameter and cookie with one of the names, wherever the source was told to
// look, and body fields if it has Fields: all repetitions, and all spellings that an upstream may take for the name, which
// differ in case or in characters that are neither letters nor digits (X-Api-Key, x_api_key, X.API.Key). What stays is
// not changed by a byte. A body that cannot be searched (see [Source.Find]) is replaced by one that cannot be read.
//
// It changes the header of r in place, and replaces its URL, RequestURI and Body. A changed body is given its new
// length, and the digests of the old one are removed.
func (s *Source) Hide(r *http.Request) {
	for name := range r.Header {
		if s.aliases.Contains(name) {
			delete(r.Header, name)
		}
	}
	s.hideCookies(r.Header)
	if r.URL != nil && r.URL.RawQuery != "" {
		if query, changed := removeParams(r.URL.RawQuery, s.aliases.Contains); changed {
			setQuery(r, query)
		}
	}
	if len(s.fields) > 0 {
		s.hideFields(r)
	}
	// What somebody before has parsed.
	for _, parsed := range []url.Values{r.Form, r.PostForm} {
		s.hideValues(parsed)
	}
	if r.MultipartForm != nil {
		s.hideValues(r.MultipartForm.Value)
	}
}

func (s *Source) hideValues(values map[string][]string) {
	for name := range values {
		if s.aliases.Contains(name) {
			delete(values, name)
		}
	}
}

func setQuery(r *http.Request, query string) {
	u := *r.URL // handlers outside may hold the old one
	u.RawQuery = query
	r.URL = &u
	if before, _, ok := strings.Cut(r.RequestURI, "?"); ok {
		if query != "" {
			before += "?" + query
		}
		r.RequestURI = before
	}
}
