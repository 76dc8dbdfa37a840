package router

import (
	"cmp"
	"math/bits"
	"net/http"
	"slices"
	"strings"
)

// An Entry is one way to reach a route: one of its hosts with one of its paths, and all its other conditions. It is
// data, for listings and for explaining a decision; its slices must not be changed.
type Entry struct {
	Route    int    // index in the slice given to New
	Name     string // of the route
	Host     string // host pattern in canonical form, empty for any
	Kind     Kind
	Pattern  string // path pattern as it was written
	Priority int    // of regular expressions

	Methods, Schemes, SNIs []string    // sorted; empty for any
	Headers, Query         []Condition // sorted by name
	Predicate              bool        // Route.Func is set

	// Hidden is the index of the route that has an identical entry with a better rank, so that this one is never
	// found; -1 if there is none. It is only other than -1 with Options.AllowIdentical.
	Hidden int
}

// An entry is what the index refers to by rank, which is its position. It is kept small: a lookup in a large table
// pays for every cache line.
type entry struct {
	pattern string
	detail  *detail
	route   int32
	length  uint16 // of a prefix
	kind    Kind
	plain   bool // host and literal path are all there is to match
}

// A detail is what most lookups need not look at.
type detail struct {
	path     *path     // the expression, or any path with the same wildcards; nil for kinds without
	criteria *criteria // never nil
}

// A kindSet says which kinds of criteria an entry has, the highest bit for the one that counts most.
type kindSet uint8

const (
	kindPredicate kindSet = 1 << iota
	kindSNI
	kindMethod
	kindPath
	kindQuery
	kindHeaders
	kindHost
)

// A draft is an entry before it has a rank, with what decides the rank.
type draft struct {
	entry
	path     *path     // nil for NoPath
	criteria *criteria // never nil
	host     host
	kinds    kindSet
	headers  int32
	query    int32
	head     bool  // HEAD is listed, not only implied by GET
	hidden   int32 // see Entry.Hidden

	hostAt, pathAt int32 // the order written within the route
}

// compare orders drafts by precedence, the one that wins first. Only the order written is left to decide between
// entries that are equal in everything else, so the order is total.
func compare(a, b *draft) int {
	if c := cmp.Compare(bits.OnesCount8(uint8(b.kinds)), bits.OnesCount8(uint8(a.kinds))); c != 0 {
		return c
	}
	if c := cmp.Compare(b.kinds, a.kinds); c != 0 {
		return c
	}
	if c := compareHosts(a.host, b.host); c != 0 {
		return c
	}
	if c := cmp.Compare(b.headers, a.headers); c != 0 {
		return c
	}
	if c := cmp.Compare(b.query, a.query); c != 0 {
		return c
	}
	if c := cmp.Compare(a.kind, b.kind); c != 0 {
		return c
	}
	if c := comparePaths(a.path, b.path); c != 0 {
		return c
	}
	if a.head != b.head {
		if a.head {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(a.route, b.route), cmp.Compare(a.hostAt, b.hostAt), cmp.Compare(a.pathAt, b.pathAt))
}

// compareHosts puts plain hosts before wildcards. A port makes a plain host more specific; among wildcards the longer
// name is, and a port decides between equals.
func compareHosts(a, b host) int {
	wildA, wildB := a.kind != hostExact, b.kind != hostExact
	switch {
	case wildA && !wildB:
		return 1
	case !wildA && wildB:
		return -1
	case wildA && len(a.name) != len(b.name):
		return cmp.Compare(len(b.name), len(a.name))
	case a.port != "" && b.port == "":
		return -1
	case a.port == "" && b.port != "":
		return 1
	default:
		return 0
	}
}

// comparePaths orders two paths of the same kind.
func comparePaths(a, b *path) int {
	if a == nil || b == nil {
		return 0
	}
	return cmp.Or(
		cmp.Compare(b.priority, a.priority),
		cmp.Compare(b.literals, a.literals),
		cmp.Compare(b.text, a.text),
		cmp.Compare(b.segments, a.segments),
	)
}

// newDraft completes an entry with what decides its rank.
func newDraft(e entry, h host, p *path, c *criteria) draft {
	d := draft{entry: e, path: p, criteria: c, host: h, hidden: -1}
	d.kinds = c.kinds()
	if h.kind != hostAny {
		d.kinds |= kindHost
	}
	if p != nil {
		d.kinds |= kindPath
	}
	d.headers, d.query = int32(len(c.headers)), int32(len(c.query))
	d.head = slices.Contains(c.data.methods, http.MethodHead)
	return d
}

// A detailKey is equal for drafts that can share a detail.
type detailKey struct {
	criteria *criteria
	segments int
	wild     uint64
	kind     Kind
	names    string
}

// keep returns what a lookup or a listing may need of a draft beside the entry. Many patterns differ in literal text
// only, and that is in the index: they share one detail, which stays in the processor's cache however many there are.
func (d *draft) keep(shared map[detailKey]*detail) *detail {
	switch d.kind {
	case Exact, Prefix, NoPath:
		return &d.criteria.detail
	case Regexp:
		return &detail{d.path, d.criteria}
	case Parameters, Subtree:
	}
	var names strings.Builder
	for _, p := range d.path.params {
		names.WriteString(p.name)
		names.WriteByte('/') // no name has one
	}
	key := detailKey{d.criteria, d.path.segments, d.path.wild, d.kind, names.String()}
	if _, ok := shared[key]; !ok {
		shared[key] = &detail{d.path, d.criteria}
	}
	return shared[key]
}
