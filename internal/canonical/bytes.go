package canonical

// Sets of ASCII bytes as bit masks: lo holds the bytes below 64, hi the rest.
const (
	digits  uint64 = (1<<10 - 1) << '0'
	letters uint64 = (1<<26-1)<<('A'-64) | (1<<26-1)<<('a'-64)

	// RFC 3986 section 2.3.
	unreservedLo = digits | 1<<'-' | 1<<'.'
	unreservedHi = letters | 1<<('_'-64) | 1<<('~'-64)

	// What net/url leaves alone when it escapes a path.
	plainLo = unreservedLo | 1<<'$' | 1<<'&' | 1<<'+' | 1<<',' | 1<<'/' | 1<<':' | 1<<';' | 1<<'='
	plainHi = unreservedHi | 1<<('@'-64)

	// pchar of RFC 3986 section 3.3, and the slash between segments.
	pathLo = plainLo | 1<<'!' | 1<<'\'' | 1<<'(' | 1<<')' | 1<<'*'
	pathHi = plainHi

	// What a host name may hold once it is in lower case.
	hostLo = digits | 1<<'-' | 1<<'.'
	hostHi = (1<<26-1)<<('a'-64) | 1<<('_'-64)
)

const upperHex = "0123456789ABCDEF"

func unreserved(c byte) bool { return member(c, unreservedLo, unreservedHi) }
func plain(c byte) bool      { return member(c, plainLo, plainHi) }
func pathByte(c byte) bool   { return member(c, pathLo, pathHi) }
func hostByte(c byte) bool   { return member(c, hostLo, hostHi) }

func member(c byte, lo, hi uint64) bool {
	if c < 64 {
		return lo>>c&1 != 0
	}
	return c < 128 && hi>>(c-64)&1 != 0
}

func upper(c byte) bool    { return 'A' <= c && c <= 'Z' }
func lowerHex(c byte) bool { return 'a' <= c && c <= 'f' }

// escapeAt reports whether s[i], a '%', is followed by two hexadecimal digits.
func escapeAt(s string, i int) bool {
	return i+2 < len(s) && hexByte(s[i+1]) && hexByte(s[i+2])
}

// unescapeAt decodes the well-formed escape at s[i].
func unescapeAt(s string, i int) byte { return nibble(s[i+1])<<4 | nibble(s[i+2]) }

func hexByte(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'F' || lowerHex(c)
}

func nibble(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}
