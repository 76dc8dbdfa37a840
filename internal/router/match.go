package router

import (
	"iter"
	"net/http"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

// A Request is what a lookup looks at. The caller resolved all of it once, so that the router and everything after it
// see the same spelling. A Request is only read, and not kept.
type Request struct {
	// Method is the request's method, as sent.
	Method string
	// Scheme is "http" or "https", as the caller decided it (from TLS or from a trusted proxy).
	Scheme string
	// Host is the host in the form canonical.Host gives: lower case, no port, no trailing dot, IPv6 without brackets.
	Host string
	// Port is the port hosts of the form name:port are compared with. The caller decides what it is when the client
	// named none: the scheme's default port, or nothing.
	Port string
	// SNI is the server name of the TLS handshake in lower case, empty without TLS.
	SNI string
	// TLS: the connection is one of TLS. Only Options.IgnoreSNIsWithoutTLS asks.
	TLS bool
	// Path is the canonical, escaped path. A path that does not begin with a slash matches only routes without paths.
	Path string
	// HTTP is read for headers and the query and handed to predicates. With nil, conditions of those kinds fail.
	HTTP *http.Request

	decoded string // Path as regular expressions see it, where that is another
}

// text is what regular expressions are compared with.
func (q *Request) text() string {
	if q.decoded != "" {
		return q.decoded
	}
	return q.Path
}

// inlineValues is how many wildcards or captures a Match holds without allocating. Patterns beyond are rare.
const inlineValues = 8

// A Match is what a lookup found. The zero value is ready for use, and a Match may be used for any number of lookups,
// one after the other; it keeps the strings of the last one alive. A copy shares storage with its original when a
// pattern has more than eight wildcards.
type Match struct {
	// Route is the index of the route in the slice given to New; -1 when nothing was found.
	Route int
	// Entry is the position in Table.All of the entry that matched; -1 when nothing was found.
	Entry int
	// Pattern is the path pattern as it was written, empty for a route without paths.
	Pattern string
	// Matched is how many bytes of the request's path the pattern consumed, which is what stripping the path removes:
	// all for exact paths and parameters, "/files" for /files/*rest, the prefix for a prefix, the length of the match
	// for a regular expression, and 0 for a route without paths.
	Matched int

	names  []param
	values [inlineValues]string
	more   []string // values beyond the inline ones
	n      int
}

// A param is one name a matched pattern gives and the number of the value that belongs to it. Captures of regular
// expressions have up to two names for one value.
type param struct {
	name  string
	value int
}

// Len returns the number of path parameters.
func (m *Match) Len() int { return len(m.names) }

// Param returns the name and the decoded value of parameter i, in the order of the pattern. A capture of a regular
// expression is there under its number, counted from 1, and then under its name if it has one; a capture that took no
// part in the match is empty.
func (m *Match) Param(i int) (name, value string) {
	p := m.names[i]
	return p.name, m.value(p.value)
}

// Params lists all parameters, as Param does.
func (m *Match) Params() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, p := range m.names {
			if !yield(p.name, m.value(p.value)) {
				return
			}
		}
	}
}

func (m *Match) value(i int) string {
	if i < inlineValues {
		return m.values[i]
	}
	return m.more[i-inlineValues]
}

// reset forgets what an earlier lookup found, except for the storage.
func (m *Match) reset() {
	m.Route, m.Entry, m.Pattern, m.Matched = -1, -1, "", 0
	m.names, m.more, m.n = nil, m.more[:0], 0
}

// add stores the next value, decoded. Decoding allocates only where there is an escape.
func (m *Match) add(escaped string) {
	value := canonical.Unescape(escaped)
	if m.n < inlineValues {
		m.values[m.n] = value
	} else {
		m.more = append(m.more, value)
	}
	m.n++
}

// fill records the winner of a lookup. In a large table every new cache line costs more than all the rest of a lookup,
// so the pattern itself is left alone where the entry is enough.
func (m *Match) fill(e *entry, rank int32, q *Request) {
	path := q.Path
	m.reset()
	m.Route, m.Entry, m.Pattern = int(e.route), int(rank), e.pattern
	switch e.kind {
	case Exact:
		m.Matched = len(path)
	case Prefix:
		m.Matched = int(e.length)
	case Regexp:
		m.names = e.detail.path.params
		m.fillCaptures(e.detail.path, q.text())
	case Parameters, Subtree:
		m.names = e.detail.path.params
		m.fillSegments(e.detail.path, path)
	case NoPath:
	}
}

// fillCaptures runs the winning expression a second time: during the search only whether it matches is asked, because
// reading out captures allocates and most candidates lose.
func (m *Match) fillCaptures(p *path, path string) {
	if p.captures == 0 {
		m.Matched = len(p.re.FindString(path))
		return
	}
	loc := p.re.FindStringSubmatchIndex(path)
	if loc == nil {
		return // cannot be: it matched a moment ago
	}
	m.Matched = loc[1]
	for i := 2; i+1 < len(loc); i += 2 {
		if loc[i] < 0 {
			m.add("")
			continue
		}
		m.add(path[loc[i]:loc[i+1]])
	}
}

// fillSegments cuts the values of parameters out of a path known to have the pattern's shape.
func (m *Match) fillSegments(p *path, path string) {
	start := 1
	for i := range p.segments {
		end := segmentEnd(path, start)
		if p.wild&(1<<i) != 0 {
			m.add(path[start:end])
		}
		start = end + 1
	}
	m.Matched = len(path)
	if p.kind != Subtree {
		return
	}
	m.Matched = start - 1
	if start >= len(path) {
		m.add("")
		return
	}
	m.add(path[start:])
}
