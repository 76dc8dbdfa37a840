package canonical

import "strings"

// Changes says, for people, what makes a path differ from its canonical
// spelling. It is empty when nothing does.
func Changes(escaped, canonicalPath string) []string {
	if escaped == canonicalPath {
		return nil
	}
	var dots, needless, lower, raw bool
	for segment := range strings.SplitSeq(escaped, "/") {
		plain := strings.NewReplacer("%2e", ".", "%2E", ".").Replace(segment)
		dots = dots || plain == "." || plain == ".."
	}
	for i := range len(escaped) {
		switch c := escaped[i]; {
		case c == '%' && escapeAt(escaped, i):
			if unreserved(unescapeAt(escaped, i)) {
				needless = true
			} else if hex := escaped[i+1 : i+3]; hex != strings.ToUpper(hex) {
				lower = true
			}
		case c != '%' && !pathByte(c):
			raw = true
		}
	}
	var out []string
	for _, x := range [...]struct {
		is   bool
		what string
	}{
		{dots, "dot segments resolved"},
		{strings.Contains(escaped, "//"), "repeated slashes merged"},
		{needless, "escapes of unreserved characters decoded"},
		{lower, "escapes written in upper case"},
		{raw, "characters escaped"},
	} {
		if x.is {
			out = append(out, x.what)
		}
	}
	if out == nil {
		out = []string{"respelled"}
	}
	return out
}
