package auth

import (
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
)

// A query and an urlencoded form are read as one: parameters between ampersands, name and value around the first equals
// sign. Servers differ on two points, and there a credential must not be seen by one and not by another: some take a
// semicolon for an ampersand, and each has its own way with escapes that are none.

// params collects the values of parameters with one of the names. It reports false when another reader might find
// others.
func (f *finding) params(raw string, names []string) bool {
	for piece := range strings.SplitSeq(raw, "&") {
		if strings.IndexByte(piece, ';') >= 0 {
			if mentions(piece, names) {
				return false
			}
			continue
		}
		name, value, _ := strings.Cut(piece, "=")
		name, ok := decodeParam(name)
		if !ok {
			return false
		}
		if !slices.Contains(names, name) {
			continue
		}
		if value, ok = decodeParam(value); !ok {
			return false
		}
		f.add(value)
	}
	return true
}

// mentions reports whether a reader who separates at semicolons finds, or may find, one of the names in piece.
func mentions(piece string, names []string) bool {
	for part := range strings.SplitSeq(piece, ";") {
		name, _, _ := strings.Cut(part, "=")
		if name, ok := decodeParam(name); !ok || slices.Contains(names, name) {
			return true
		}
	}
	return false
}

func decodeParam(s string) (string, bool) {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s, true
	}
	s, err := url.QueryUnescape(s)
	return s, err == nil
}

// removeParams returns raw without the parameters whose names match, between ampersands or semicolons, and whether there
// were any.
func removeParams(raw string, match func(name string) bool) (string, bool) {
	return removePieces(raw, "&;", func(piece string) bool {
		name, _, _ := strings.Cut(piece, "=")
		name, ok := decodeParam(name)
		return ok && match(name)
	})
}

// removePieces returns raw without the pieces that match, and whether there were any. The pieces stand between
// separators; one separator goes with each piece removed, and everything else stays as it is.
func removePieces(raw, separators string, match func(piece string) bool) (string, bool) {
	var b strings.Builder
	changed, first := false, true
	for start := 0; start <= len(raw); {
		end := len(raw)
		if n := strings.IndexAny(raw[start:], separators); n >= 0 {
			end = start + n
		}
		switch {
		case match(raw[start:end]):
			if !changed {
				b.WriteString(raw[:max(start-1, 0)])
			}
			changed = true
		case changed && first:
			b.WriteString(raw[start:end])
			first = false
		case changed:
			b.WriteString(raw[start-1 : end])
		default:
			first = false
		}
		start = end + 1
	}
	if !changed {
		return raw, false
	}
	return b.String(), true
}

// cookies collects the values of cookies with one of the names from a Cookie field (RFC 6265 section 4.2). A value is
// taken as it stands, quotes included.
func (f *finding) cookies(lines, names []string) {
	if len(names) == 0 {
		return
	}
	for _, line := range lines {
		for part := range strings.SplitSeq(line, ";") {
			if name, value, _ := strings.Cut(textproto.TrimString(part), "="); slices.Contains(names, textproto.TrimString(name)) {
				f.add(value)
			}
		}
	}
}

// removeCookies returns a Cookie field without the cookies whose names match, and whether there were any.
func removeCookies(line string, match func(name string) bool) (string, bool) {
	left, changed := removePieces(line, ";", func(part string) bool {
		name, _, _ := strings.Cut(part, "=")
		return match(textproto.TrimString(name))
	})
	if changed {
		left = strings.TrimLeft(left, " \t")
	}
	return left, changed
}

// hideCookies removes the cookies with one of the names; a field left empty goes, too.
func (s *Source) hideCookies(h http.Header) {
	changed := false
	var kept []string
	for i, line := range h["Cookie"] {
		left, removed := removeCookies(line, s.aliases.Contains)
		if removed && !changed {
			changed = true
			kept = append(kept, h["Cookie"][:i]...) // a new slice: the old one may be shared with a copy of the header
		}
		if changed && left != "" {
			kept = append(kept, left)
		}
	}
	switch {
	case !changed:
	case len(kept) == 0:
		delete(h, "Cookie")
	default:
		h["Cookie"] = kept
	}
}
