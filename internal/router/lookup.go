package router

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

// An Outcome is the answer of a lookup.
type Outcome uint8

const (
	// NotFound means that no route matches, whatever the method.
	NotFound Outcome = iota
	// Found means that a route matches.
	Found
	// MethodNotAllowed means that no route matches, but one would with another method; Allow tells which.
	MethodNotAllowed
)

// Lookup finds the route with the best rank among those that match q, and describes it in m. It allocates nothing for
// static paths, subtrees and prefixes, nor for parameters unless a value has escapes, and once for the captures of a
// regular expression. The time it takes grows with the length of the path and never with its segments beyond those of
// the deepest pattern.
//
// Predicates are asked last and may be asked more than once for a request.
//
// Paths are compared by canonical.MatchKey, so that no client gets around a route by escaping a character, and with regular
// expressions by canonical.DecodedKey; a path that has such escapes costs an allocation for each.
func (t *Table) Lookup(q *Request, m *Match) Outcome {
	if strings.IndexByte(q.Path, '%') < 0 {
		return t.lookup(q, m)
	}
	k := t.keyed(q)
	outcome := t.lookup(&k, m)
	if outcome == Found && t.entries[m.Entry].kind == Regexp {
		m.Matched = canonical.FromDecodedKey(q.Path, m.Matched)
	} else {
		m.Matched = canonical.FromKey(q.Path, m.Matched)
	}
	return outcome
}

// keyed returns q with its path as it is compared.
func (t *Table) keyed(q *Request) Request {
	k := *q
	k.Path = canonical.MatchKey(q.Path)
	if t.expressions {
		k.decoded = canonical.DecodedKey(q.Path)
	}
	return k
}

func (t *Table) lookup(q *Request, m *Match) Outcome {
	s := search{t: t, best: t.none, bit: methodBit(q.Method)}
	t.search(&s, q)
	if s.best < t.none {
		m.fill(&t.entries[s.best], s.best, q)
		return Found
	}
	m.reset()
	if s.refused {
		s.anyMethod = true
		t.search(&s, q)
		if s.best < t.none {
			return MethodNotAllowed
		}
	}
	return NotFound
}

// Allow lists the methods with which a request that was answered MethodNotAllowed would be routed, sorted, for the
// Allow header. GET implies HEAD.
func (t *Table) Allow(q *Request) []string {
	k := t.keyed(q)
	q = &k
	s := search{t: t, best: t.none, anyMethod: true, collect: true}
	t.search(&s, q)
	names := s.allowed.other
	for _, name := range standardMethods() {
		if s.allowed.bits&methodBit(name) != 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func standardMethods() [9]string {
	return [...]string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace,
	}
}

// A search is the state of one walk through the index. The request goes beside it, not into it: held by a search, it
// would have to be on the heap.
type search struct {
	t    *Table
	bit  uint16 // of the request's method
	best int32  // rank of the best entry found, Table.none before

	refused   bool // an entry was passed over because of its methods
	anyMethod bool // methods do not count
	collect   bool // go through all entries that match and add up their methods in allowed
	allowed   methodSet

	// visit is called for all entries whose host and path match, and for expressions under whose text the path is: whether
	// they match is not looked at.
	visit func(rank int32)
}

func (t *Table) search(s *search, q *Request) {
	if t.hosts != nil {
		t.hosts.search(s, q)
	}
	t.rest.search(s, q)
}

// bucket looks for the first entry that matches. The list is in order of rank, so it ends where it cannot win any more.
func (s *search) bucket(b bucket, q *Request) {
	for b.rank < s.best {
		if e := &s.t.entries[b.rank]; s.visit != nil {
			s.visit(b.rank)
		} else if e.plain || s.matches(e, q) {
			if !s.collect {
				s.best = b.rank
				return
			}
			s.add(e)
		}
		if b.next == 0 {
			return
		}
		b = s.t.nodes[b.next]
	}
}

// matches looks at everything but host and path, cheap conditions first.
func (s *search) matches(e *entry, q *Request) bool {
	c := e.detail.criteria
	if c.methods.set() && !s.anyMethod && !c.methods.has(s.bit, q.Method) {
		s.refused = true
		return false
	}
	if !c.match(q) || e.kind == Regexp && !e.detail.path.re.MatchString(q.text()) {
		return false
	}
	return c.fn == nil || q.HTTP != nil && c.fn(q.HTTP)
}

// add notes the methods of an entry.
func (s *search) add(e *entry) {
	c := e.detail.criteria
	s.allowed.bits |= c.methods.bits
	s.allowed.other = append(s.allowed.other, c.methods.other...)
}
