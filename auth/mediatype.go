package auth

import (
	"strings"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

const (
	// maxParameters and maxParameterText bound what a body's description may cost to read.
	maxParameters    = 8
	maxParameterText = 1 << 10
)

// parameter is one of a Content-Type or Content-Disposition, its name in lower case.
type parameter struct{ name, value string }

// parseParameters reads a value such as `form-data; name="a"` (RFC 9110 section 5.6.6). It reports false for what readers
// understand differently: repeated names, names with a star (RFC 8187) other than filename*, backslashes, and for what is
// longer than a browser would write it. Package mime understands continuations (RFC 2231), which few others do, at a
// cost of a map each.
func parseParameters(s string) (kind string, params []parameter, ok bool) {
	if len(s) > maxParameterText {
		return "", nil, false
	}
	kind, rest, more := strings.Cut(s, ";")
	kind = strings.ToLower(strings.Trim(kind, " \t"))
	for more {
		rest = strings.TrimLeft(rest, " \t")
		if rest == "" {
			break // a semicolon at the end
		}
		name, tail, assigned := strings.Cut(rest, "=")
		p := parameter{name: strings.ToLower(name)}
		if !assigned || !canonical.Token(name) || strings.Contains(name, "*") && p.name != "filename*" || len(params) == maxParameters {
			return "", nil, false
		}
		if p.value, rest, more, ok = parameterValue(tail); !ok {
			return "", nil, false
		}
		for _, q := range params {
			if q.name == p.name {
				return "", nil, false
			}
		}
		params = append(params, p)
	}
	return kind, params, true
}

// parameterValue reads a token or a quoted string, and the semicolon behind it.
func parameterValue(s string) (value, rest string, more, ok bool) {
	if strings.HasPrefix(s, `"`) {
		end := strings.IndexByte(s[1:], '"')
		if end < 0 || strings.IndexByte(s[1:end+1], '\\') >= 0 {
			return "", "", false, false
		}
		value, rest = s[1:end+1], strings.TrimLeft(s[end+2:], " \t")
		if rest != "" && rest[0] != ';' {
			return "", "", false, false
		}
		if rest != "" {
			return value, rest[1:], true, true
		}
		return value, "", false, true
	}
	value, rest, more = strings.Cut(s, ";")
	value = strings.TrimRight(value, " \t")
	return value, rest, more, canonical.Token(value)
}

// parameterNamed returns the value of a parameter.
func parameterNamed(params []parameter, name string) (value string, ok bool) {
	for _, p := range params {
		if p.name == name {
			return p.value, true
		}
	}
	return "", false
}
