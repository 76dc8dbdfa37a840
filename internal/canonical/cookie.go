package canonical

import "strings"

// Cookie returns the value of the first cookie of that name in the lines of a Cookie field, as [net/http.Request.Cookie] would,
// without allocating: quotes around it are taken off, and a cookie with a byte that has no place in a value is passed over.
func Cookie(lines []string, name string) (value string, ok bool) {
	for _, line := range lines {
		for line != "" {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			key, v, _ := strings.Cut(trimBlanks(pair), "=")
			if trimBlanks(key) != name {
				continue
			}
			if n := len(v); n > 1 && v[0] == '"' && v[n-1] == '"' {
				v = v[1 : n-1]
			}
			if cookieValue(v) {
				return v, true
			}
		}
	}
	return "", false
}

// trimBlanks is what net/http trims cookies by.
func trimBlanks(s string) string { return strings.Trim(s, " \t\r\n") }

// cookieValue reports whether all bytes may stand in a cookie's value; blanks and commas may, as in net/http.
func cookieValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
