package observe

import (
	"errors"
	"fmt"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of what is logged, in bytes.
const (
	maxPath      = 1024
	maxQuery     = 256
	maxQueryName = 40
	maxBareName  = 16
	maxValue     = 64
	maxAgent     = 256
	maxHost      = 255
	maxMethod    = 32
	maxName      = 128 // of routes, consumers, credentials, plugins
	maxError     = 512
	maxAttr      = 1024
)

const (
	redacted = "REDACTED"
	ellipsis = "..."
)

// visible returns s as it may stand in a log, in at most limit bytes. Bytes that are not UTF-8, and runes that are not
// printable (controls, ANSI escapes, line separators, marks that turn the direction of text), are escaped as
// strconv.Quote does, and so is the backslash, so that nothing can look escaped that is not. What looks like a JSON Web
// Token is replaced. A string that needed nothing is returned as it is.
func visible(s string, limit int) string {
	if len(s) <= limit && plain(s) {
		return s
	}
	b := make([]byte, 0, min(len(s)+16, limit+utf8.UTFMax*3))
	fits := 0 // how much of b can be kept when an ellipsis has to follow
	for i := 0; i < len(s); {
		n := tokenLength(s[i:])
		if n > 0 {
			b = append(b, redacted...)
		} else {
			b, n = appendVisible(b, s[i:])
		}
		i += n
		switch {
		case len(b) > limit:
			return string(append(b[:fits], ellipsis...))
		case len(b) <= limit-len(ellipsis):
			fits = len(b)
		}
	}
	return string(b)
}

// plain reports whether s is printable ASCII without backslashes and tokens.
func plain(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c > '~' || c == '\\':
			return false
		case c == 'e' && strings.HasPrefix(s[i:], tokenPrefix):
			return false
		}
	}
	return true
}

// appendVisible appends the first rune of s and returns its length.
func appendVisible(b []byte, s string) ([]byte, int) {
	c, n := utf8.DecodeRuneInString(s)
	switch {
	case c == utf8.RuneError && n == 1:
		const hex = "0123456789abcdef"
		return append(b, '\\', 'x', hex[s[0]>>4], hex[s[0]&0xf]), 1
	case c == '\\':
		return append(b, `\\`...), 1
	case strconv.IsPrint(c):
		return utf8.AppendRune(b, c), n
	default:
		quoted := strconv.QuoteRune(c)
		return append(b, quoted[1:len(quoted)-1]...), n
	}
}

// tokenPrefix begins the base64url form of every JSON object, and so every JSON Web Token.
const tokenPrefix = "eyJ"

// minToken is shorter than any token and longer than any word with that beginning.
const minToken = 16

// tokenLength returns the length of the token s begins with, 0 when it begins with none. A cut-off one counts.
func tokenLength(s string) int {
	if !strings.HasPrefix(s, tokenPrefix) {
		return 0
	}
	n := len(tokenPrefix)
	for n < len(s) && (alphanumeric(s[n]) || strings.IndexByte("-_.=", s[n]) >= 0) {
		n++
	}
	if n < minToken {
		return 0
	}
	return n
}

// queryNames returns the names in a raw query, with the values only of those in show. Names are as they were sent, not
// decoded. One too long to be a name is written as *, and so is, sooner, one without a value: it may be a bare token.
func queryNames(raw string, show []string) string {
	if raw == "" {
		return ""
	}
	return visible(bareQuery(raw, show), maxQuery)
}

func bareQuery(raw string, show []string) string {
	b := make([]byte, 0, 64)
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		if len(b) > maxQuery {
			break // more than will be shown
		}
		if len(b) > 0 {
			b = append(b, '&')
		}
		part, _, _ = strings.Cut(part, ";") // a separator to some, and what follows may be a secret of another name
		name, value, valued := strings.Cut(part, "=")
		if len(name) > maxQueryName || !valued && len(name) > maxBareName {
			b = append(b, '*')
			continue
		}
		b = append(b, name...)
		if valued && slices.Contains(show, name) {
			b = append(b, '=')
			if len(value) > maxValue {
				value = value[:maxValue] + ellipsis
			}
			b = append(b, value...)
		}
	}
	return string(b)
}

// errorText returns what an error says, as it may stand in a log. Errors quote what they tripped over: URLs lose their
// user information and their query values, lines of a malformed header are left out.
func errorText(err error) (text string) {
	defer func() {
		if v := recover(); v != nil {
			text = fmt.Sprintf("%T panicked in Error", err)
		}
	}()
	if err == nil {
		return ""
	}
	text = err.Error()
	var pe textproto.ProtocolError
	if errors.As(err, &pe) {
		if what, _, found := strings.Cut(string(pe), ":"); found {
			text = strings.ReplaceAll(text, string(pe), what)
		}
	}
	return scrub(text)
}

// separators end a word of free text.
const separators = " \t\r\n\"'<>()"

// scrub makes free text visible, having replaced what is secret in the URLs and authentication schemes it mentions.
func scrub(s string) string {
	if n := 4 * maxError; len(s) > n {
		// Whole words only: the end of a cut one could be what gives a secret away.
		s = s[:strings.LastIndexAny(s[:n], separators)+1] + ellipsis
	}
	if !strings.ContainsAny(s, "?@") && !strings.Contains(s, "earer ") && !strings.Contains(s, "asic ") {
		return visible(s, maxError)
	}
	b := make([]byte, 0, len(s))
	secretNext := false
	for s != "" {
		end := strings.IndexAny(s, separators)
		if end < 0 {
			end = len(s)
		}
		word := s[:end]
		switch {
		case secretNext && looksSecret(word):
			b = append(b, redacted...)
		default:
			b = append(b, scrubURL(word)...)
		}
		if word != "" {
			secretNext = strings.EqualFold(word, "Bearer") || strings.EqualFold(word, "Basic")
		}
		if end < len(s) {
			b = append(b, s[end])
			end++
		}
		s = s[end:]
	}
	return visible(string(b), maxError)
}

// looksSecret tells credentials from the words that follow "basic" in a sentence.
func looksSecret(word string) bool {
	return len(word) >= 8 && strings.ContainsAny(word, "0123456789=+/_ABCDEFGHIJKLMNOPQRSTUVWXYZ")
}

// scrubURL replaces the user information of a URL and drops its query values. Any other word is returned as it is.
func scrubURL(word string) string {
	path, query, asked := strings.Cut(word, "?")
	if scheme, rest, ok := strings.Cut(path, "://"); ok {
		end := strings.IndexAny(rest, "/#")
		if end < 0 {
			end = len(rest)
		}
		if at := strings.LastIndexByte(rest[:end], '@'); at >= 0 {
			path = scheme + "://" + redacted + rest[at:]
		}
	}
	if !asked {
		return path
	}
	return path + "?" + bareQuery(query, nil)
}

// targetText returns the URL of a target without user information.
func targetText(target string) string {
	if strings.ContainsAny(target, "@?") {
		if u, err := url.Parse(target); err == nil {
			u.User, u.RawQuery = nil, ""
			target = u.String()
		} else {
			target = scrubURL(target)
		}
	}
	return visible(target, maxHost)
}
