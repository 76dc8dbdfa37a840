package canonical

import "strings"

// reserved are the characters RFC 3986 allows raw in a path segment beside the
// unreserved ones, without ';', which gives what follows another meaning.
const reserved = "!$&'()*+,:=@"

// MatchKey returns the spelling in which a canonical path is compared with
// others: escapes of !$&'()*+,:=@ are decoded too. RFC 3986 section 2.2 lets
// the two spellings differ, and so [Path] keeps them apart for the upstream;
// but servers decode both alike, and a client must not get around a route or a
// counter by choosing the other one. It does not allocate when there is nothing
// to decode.
func MatchKey(path string) string { return decode(path, reservedByte) }

// DecodedKey is MatchKey for regular expressions, which are written for what a
// path says and not for how it is spelled: all is decoded but what divides
// paths (slashes, question marks, hashes, semicolons, backslashes), percent signs
// and control characters.
func DecodedKey(path string) string { return decode(path, decodedByte) }

func decodedByte(c byte) bool {
	return c >= ' ' && c != 0x7f && strings.IndexByte(`/?#;\%`, c) < 0
}

func reservedByte(c byte) bool { return strings.IndexByte(reserved, c) >= 0 }

// MatchKeyExcept is MatchKey for patterns in which the bytes of keep have a
// meaning of their own: their escapes stay.
func MatchKeyExcept(path, keep string) string {
	return decode(path, func(c byte) bool { return reservedByte(c) && strings.IndexByte(keep, c) < 0 })
}

func decode(path string, set func(byte) bool) string {
	i := strings.IndexByte(path, '%')
	for i >= 0 && !escapeOf(path, i, set) {
		next := strings.IndexByte(path[i+1:], '%')
		if next < 0 {
			return path
		}
		i += 1 + next
	}
	if i < 0 {
		return path
	}
	b := append(make([]byte, 0, len(path)), path[:i]...)
	for ; i < len(path); i++ {
		if path[i] == '%' && escapeOf(path, i, set) {
			b = append(b, unescapeAt(path, i))
			i += 2
			continue
		}
		b = append(b, path[i])
	}
	return string(b)
}

func escapeOf(s string, i int, set func(byte) bool) bool {
	return escapeAt(s, i) && set(unescapeAt(s, i))
}

// FromKey returns how many bytes of path the first n bytes of its MatchKey
// stand for.
func FromKey(path string, n int) int { return from(path, n, reservedByte) }

// FromDecodedKey is FromKey for DecodedKey.
func FromDecodedKey(path string, n int) int { return from(path, n, decodedByte) }

func from(path string, n int, set func(byte) bool) int {
	i := 0
	for ; n > 0 && i < len(path); n-- {
		if path[i] == '%' && escapeOf(path, i, set) {
			i += 3
			continue
		}
		i++
	}
	return i
}
