package canonical

import (
	"bytes"
	"net/url"
	"strings"
	"unicode/utf8"
)

// PathOptions choose what [Path] and [Literal] let through. The zero value is
// the strict one.
type PathOptions struct {
	// AllowEncodedSlash keeps an escaped slash (%2F) as data of its segment.
	// When false, a path that holds one is refused: many upstreams decode it
	// into a separator, and then see other segments than the policies saw.
	AllowEncodedSlash bool
}

// Reason codes of [PathError]. The set is closed: a new one is an addition to
// this list, never free text.
const (
	ReasonNUL              = "nul"                // a zero byte, raw or %00
	ReasonBackslash        = "backslash"          // a backslash, raw or %5C; some upstreams take it for a slash
	ReasonFragment         = "fragment"           // a raw '#': a path and a fragment to some, a path to others
	ReasonQuery            = "query"              // a raw '?' inside the path, which can only come from a configuration or a middleware
	ReasonControl          = "control"            // any other raw control byte
	ReasonInvalidUTF8      = "invalid_utf8"       // not UTF-8 once decoded, overlong forms included
	ReasonDotSemicolon     = "dot_semicolon"      // a segment such as "..;x": a parent directory to upstreams that strip parameters
	ReasonHiddenDotSegment = "hidden_dot_segment" // "." or ".." between escaped slashes
	ReasonEncodedSlash     = "encoded_slash"      // %2F without PathOptions.AllowEncodedSlash
	ReasonNotAbsolute      = "not_absolute"       // does not start with '/', or is no path at all (opaque, "*")
	ReasonBadEscape        = "bad_escape"         // a '%' without two hexadecimal digits
)

// PathError reports why a path has no canonical spelling. Its text names the
// reason code only and never repeats the path, so it may be logged as it is.
type PathError struct {
	Reason string // one of the Reason constants
}

// Error implements error.
func (e *PathError) Error() string { return "canonical: path refused: " + e.Reason }

// Path returns the canonical escaped path of u (RFC 3986 section 6.2.2):
//
//   - escapes of unreserved characters are decoded, all others are written in
//     upper case; bytes the grammar does not allow raw are escaped;
//   - "." and ".." segments, also when spelled with %2e, are resolved and never
//     lead above the root; repeated slashes are merged from left to right, as
//     the segments are read ("/a//../b" is "/b"); a slash at the end survives;
//   - everything else is data and stays as it was sent: %25, %23, %3F, %0D%0A,
//     a ';' and what follows it, and %2F when o allows it.
//
// The spelling is taken from u.RawPath when that is an escaping of u.Path, and
// otherwise from the default escaping of u.Path, because a middleware may have
// changed u.Path alone. An empty path with a host (http://example.com) is "/",
// RFC 9110 section 4.2.3.
//
// The error, when not nil, is a *[PathError]; the string is empty then. A nil u
// is not absolute. Path never changes u, is idempotent, and returns the very
// string held by u, without allocating, when that is canonical already.
func Path(u *url.URL, o PathOptions) (string, error) {
	if u == nil || u.Opaque != "" {
		// With an opaque part net/url would send that instead of the path.
		return refuse(ReasonNotAbsolute)
	}
	if u.Path == "" && u.RawPath == "" && u.Host != "" {
		return "/", nil
	}
	if u.RawPath != "" && decodesTo(u.RawPath, u.Path) {
		return path(u.RawPath, u.Path, true, o)
	}
	return path(u.Path, u.Path, false, o)
}

// Literal returns the canonical spelling of a path that a person wrote, by the
// rules of [Path]. It may hold raw UTF-8, spaces and escapes; '*' and ':' are
// ordinary bytes, so a caller that gives them a meaning takes them out first.
// The error, when not nil, is a *[PathError].
func Literal(s string, o PathOptions) (string, error) {
	for i := range len(s) {
		if s[i] == '%' && !escapeAt(s, i) {
			return refuse(ReasonBadEscape)
		}
	}
	return path(s, Unescape(s), true, o)
}

// Unescape decodes every %XX of escaped once. It is meant for canonical paths
// and parts of them: a '%' without two hexadecimal digits, which those do not
// hold, stays as it is. It returns escaped itself when there is nothing to
// decode.
func Unescape(escaped string) string {
	i := strings.IndexByte(escaped, '%')
	if i < 0 {
		return escaped
	}
	var b strings.Builder
	b.Grow(len(escaped))
	b.WriteString(escaped[:i])
	for ; i < len(escaped); i++ {
		if escaped[i] == '%' && escapeAt(escaped, i) {
			b.WriteByte(unescapeAt(escaped, i))
			i += 2
			continue
		}
		b.WriteByte(escaped[i])
	}
	return b.String()
}

// SetPath makes u carry the canonical path escaped, so that u.EscapedPath() is
// escaped and u.Path is what it decodes to. u.RawPath is left empty when
// net/url would choose the same spelling by itself, as net/url's own parser
// does. escaped must come from [Path] or [Literal], or be a part of what they
// gave; other fields of u are not touched.
func SetPath(u *url.URL, escaped string) {
	u.Path = Unescape(escaped)
	u.RawPath = ""
	if !defaultEscaping(escaped) {
		u.RawPath = escaped
	}
}

func refuse(reason string) (string, error) { return "", &PathError{Reason: reason} }

// path canonicalises s, whose decoded form is decoded. With raw set, s is
// escaped; otherwise s holds decoded bytes and every one of them is data.
func path(s, decoded string, raw bool, o PathOptions) (string, error) {
	if s == "" || s[0] != '/' {
		return refuse(ReasonNotAbsolute)
	}
	simple, ascii := inspect(s, raw)
	if simple && (ascii || utf8.ValidString(decoded)) {
		return s, nil
	}
	// Paths of ordinary length are rewritten on the stack; the one allocation
	// is the result, and none when the result is s after all.
	var stack [256]byte
	b := stack[:0]
	if len(s) > len(stack)/2 {
		b = make([]byte, 0, len(s)+len(s)/2)
	}
	b, reason := respell(b, s, raw)
	if reason == "" && !utf8.ValidString(decoded) {
		reason = ReasonInvalidUTF8
	}
	if reason == "" {
		b, reason = resolve(b, o)
	}
	switch {
	case reason != "":
		return refuse(reason)
	case string(b) == s:
		return s, nil
	}
	return string(b), nil
}

// inspect is the fast check. simple is true only when s is canonical and holds
// nothing that needs a second look; it may be false for a canonical path.
// ascii is false when s holds escapes of non-ASCII bytes.
func inspect(s string, raw bool) (simple, ascii bool) {
	ascii = true
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '/':
			if i+1 < len(s) && s[i+1] <= '/' && (s[i+1] == '/' || suspectDot(s[i+1:])) {
				return false, false
			}
		case plain(c):
		case raw && c == '%':
			// The caller made sure that two digits follow.
			d := unescapeAt(s, i)
			if lowerHex(s[i+1]) || lowerHex(s[i+2]) || unreserved(d) || d == 0 || d == '\\' || d == '/' {
				return false, false
			}
			ascii = ascii && d < utf8.RuneSelf
			i += 2
		case !raw || !pathByte(c):
			return false, false
		}
	}
	return true, ascii
}

// suspectDot reports whether the segment that starts rest may be a dot segment
// in some spelling. It errs to true.
func suspectDot(rest string) bool {
	if rest == "" || rest[0] != '.' {
		return false
	}
	if len(rest) == 1 {
		return true
	}
	switch rest[1] {
	case '.', '/', ';', '%':
		return true
	}
	return false
}

// respell appends s to b with every byte in its canonical spelling. The reason
// is empty unless a byte is refused.
func respell(b []byte, s string, raw bool) (_ []byte, reason string) {
	for i := 0; i < len(s); i++ {
		c := s[i]
		escaped := raw && c == '%'
		if escaped {
			c = unescapeAt(s, i)
			i += 2
		}
		var literal bool
		switch {
		case c == 0:
			return nil, ReasonNUL
		case c == '\\':
			return nil, ReasonBackslash
		case escaped:
			literal = unreserved(c)
		case !raw:
			literal = plain(c)
		case c < ' ' || c == 0x7f:
			return nil, ReasonControl
		case c == '#':
			return nil, ReasonFragment
		case c == '?':
			return nil, ReasonQuery
		default:
			literal = pathByte(c)
		}
		if literal {
			b = append(b, c)
			continue
		}
		b = append(b, '%', upperHex[c>>4], upperHex[c&15])
	}
	return b, ""
}

// resolve removes dot segments and repeated slashes from b, in place. b starts
// with '/' and is the outcome of respell.
func resolve(b []byte, o PathOptions) (_ []byte, reason string) {
	out := b[:0] // never overtakes the reading position
	slash := false
	for i := 0; i < len(b); {
		end := i + 1
		for end < len(b) && b[end] != '/' {
			end++
		}
		seg := b[i+1 : end]
		if reason := inspectSegment(seg, o); reason != "" {
			return nil, reason
		}
		switch {
		case len(seg) == 0 || string(seg) == ".":
			slash = true
		case string(seg) == "..":
			out = out[:max(bytes.LastIndexByte(out, '/'), 0)]
			slash = true
		default:
			out = append(out, b[i:end]...)
			slash = false
		}
		i = end
	}
	if slash {
		out = append(out, '/')
	}
	return out, ""
}

// inspectSegment returns the reason to refuse a respelled segment, or "". The
// pieces between escaped slashes are judged even where those are allowed: the
// upstream they are kept for may take them for separators.
func inspectSegment(seg []byte, o PathOptions) (reason string) {
	piece, rest, more := cutEncodedSlash(seg)
	encoded := more
	for {
		switch {
		case dotSemicolon(piece):
			return ReasonDotSemicolon
		case encoded && (string(piece) == "." || string(piece) == ".."):
			return ReasonHiddenDotSegment
		case !more && encoded && !o.AllowEncodedSlash:
			return ReasonEncodedSlash
		case !more:
			return ""
		}
		piece, rest, more = cutEncodedSlash(rest)
	}
}

// cutEncodedSlash cuts b around its first %2F.
func cutEncodedSlash(b []byte) (before, after []byte, found bool) {
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' && b[i+1] == '2' && b[i+2] == 'F' {
			return b[:i], b[i+3:], true
		}
	}
	return b, nil, false
}

// dotSemicolon reports whether b is a dot segment with a parameter behind it.
func dotSemicolon(b []byte) bool {
	if len(b) == 0 || b[0] != '.' {
		return false
	}
	b = b[1:]
	if len(b) > 0 && b[0] == '.' {
		b = b[1:]
	}
	return len(b) > 0 && b[0] == ';' || len(b) > 2 && b[0] == '%' && b[1] == '3' && b[2] == 'B'
}

// decodesTo reports whether escaped is well formed and decodes to decoded.
func decodesTo(escaped, decoded string) bool {
	k := 0
	for i := 0; i < len(escaped); i++ {
		c := escaped[i]
		if c == '%' {
			if !escapeAt(escaped, i) {
				return false
			}
			c = unescapeAt(escaped, i)
			i += 2
		}
		if k == len(decoded) || decoded[k] != c {
			return false
		}
		k++
	}
	return k == len(decoded)
}

// defaultEscaping reports whether net/url, given what the canonical path s
// decodes to, would escape it to s again.
func defaultEscaping(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '%' {
			if !plain(c) {
				return false
			}
			continue
		}
		if !escapeAt(s, i) || plain(unescapeAt(s, i)) {
			return false
		}
		i += 2
	}
	return true
}
