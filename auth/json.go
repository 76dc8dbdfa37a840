package auth

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// member is one member of a JSON object: its name, its value, and where it stands, from the end of what is before it
// (a brace or a comma) to the end of its value.
type member struct {
	name       string
	value      []byte
	start, end int
}

// members reads the members of an object one by one, without copying or decoding more than their names.
type members struct {
	data []byte // known to be well-formed, which leaves nothing to check
	next int    // where the next member begins; -1 at the end
}

// membersOf returns the members of the object that data is. Data that is JSON but no object has none. It reports false
// for what is not one JSON text in UTF-8 (RFC 8259).
func membersOf(data []byte) (members, bool) {
	if !utf8.Valid(data) || !json.Valid(data) {
		return members{next: -1}, false
	}
	i := skipSpace(data, 0)
	if data[i] != '{' || data[skipSpace(data, i+1)] == '}' {
		return members{next: -1}, true
	}
	return members{data: data, next: i + 1}, true
}

// read returns the next member, if there is one.
func (l *members) read() (m member, ok bool) {
	if l.next < 0 {
		return member{}, false
	}
	m.start = l.next
	begin := skipSpace(l.data, m.start)
	end := skipValue(l.data, begin)
	m.name = unquote(l.data[begin:end])
	begin = skipSpace(l.data, skipSpace(l.data, end)+1) // behind the colon
	m.end = skipValue(l.data, begin)
	m.value = l.data[begin:m.end]
	if l.next = skipSpace(l.data, m.end) + 1; l.data[l.next-1] == '}' {
		l.next = -1
	}
	return m, true
}

// withoutMembers returns data without the members for which drop reports true, and whether there were any. What stays
// keeps its bytes.
func withoutMembers(data []byte, drop func(name string) bool) (out []byte, changed, ok bool) {
	list, ok := membersOf(data)
	kept := 0 // members so far
	end := 0  // of the last member
	for m, more := list.read(); more; m, more = list.read() {
		end = m.end
		if drop(m.name) {
			if !changed {
				out = append(make([]byte, 0, len(data)), data[:m.start]...)
				if kept > 0 {
					out = out[:m.start-1] // without the comma that led here
				}
			}
			changed = true
			continue
		}
		if changed {
			if kept > 0 {
				out = append(out, ',')
			}
			out = append(out, data[m.start:m.end]...)
		}
		kept++
	}
	if !changed {
		return data, false, ok
	}
	return append(out, data[end:]...), true, ok
}

func skipSpace(data []byte, i int) int {
	for data[i] == ' ' || data[i] == '\t' || data[i] == '\n' || data[i] == '\r' {
		i++
	}
	return i
}

// skipValue returns where the value that begins at i ends. Inside of an object or an array only strings matter.
func skipValue(data []byte, i int) int {
	depth := 0
	for ; i < len(data); i++ {
		switch data[i] {
		case '"':
			for i++; data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		default:
			if depth > 0 {
				continue
			}
			if n := bytes.IndexAny(data[i:], " \t\r\n,]}"); n >= 0 {
				return i + n
			}
			return len(data)
		}
		if depth == 0 {
			return i + 1
		}
	}
	return i
}

// unquote returns the text of a string.
func unquote(quoted []byte) string {
	plain := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(plain, '\\') < 0 {
		return string(plain)
	}
	var text string
	_ = json.Unmarshal(quoted, &text) // it is known to be one
	return text
}
