package canonical

import (
	"net/http"
	"strings"
)

// tchar of RFC 9110 section 5.6.2.
const (
	tokenLo = digits | 1<<'!' | 1<<'#' | 1<<'$' | 1<<'%' | 1<<'&' | 1<<'\'' | 1<<'*' | 1<<'+' | 1<<'-' | 1<<'.'
	tokenHi = letters | 1<<('^'-64) | 1<<('_'-64) | 1<<('`'-64) | 1<<('|'-64) | 1<<('~'-64)
)

// Token reports whether s is a token, as methods and the names of fields are
// (RFC 9110 section 5.6.2).
func Token(s string) bool {
	for i := range len(s) {
		if !member(s[i], tokenLo, tokenHi) {
			return false
		}
	}
	return s != ""
}

// FieldValue reports whether s may stand in a header field (RFC 9110 section
// 5.5). Bytes beyond ASCII may.
func FieldValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// ExactFieldValue reports whether recipients will read s in a header field as
// s again: they drop white space at the ends.
func ExactFieldValue(s string) bool { return FieldValue(s) && s == strings.Trim(s, " \t") }

// HasOption reports whether a list of options, such as Connection in RFC 9110
// section 7.6.1, has one, in lines that may have several.
func HasOption(lines []string, option string) bool {
	for _, line := range lines {
		for o := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.Trim(o, " \t"), option) {
				return true
			}
		}
	}
	return false
}

// GRPC reports whether h is that of a gRPC message. gRPC-Web's is not: it is
// plain HTTP with a body of its own kind.
func GRPC(h http.Header) bool {
	const name = "application/grpc"
	v := h["Content-Type"]
	if len(v) != 1 || len(v[0]) < len(name) || !strings.EqualFold(v[0][:len(name)], name) {
		return false
	}
	rest := v[0][len(name):]
	return rest == "" || rest[0] == '+' || rest[0] == ';'
}

// IdentityHeaders returns the request fields that tell upstreams who the
// caller is. Nobody but a gateway sets them.
func IdentityHeaders() []string {
	return []string{
		"X-Consumer-Id", "X-Consumer-Custom-Id", "X-Consumer-Username", "X-Consumer-Groups", "X-Authenticated-Groups",
		"X-Credential-Identifier", "X-Credential-Username", "X-Anonymous-Consumer", "X-Authenticated-Scope", "X-Authenticated-Userid",
	}
}
