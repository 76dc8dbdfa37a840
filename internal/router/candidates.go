package router

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

// A Criterion is a kind of condition of an entry, in the order in which Candidates looks at them.
type Criterion uint8

const (
	// Nothing: all conditions hold.
	Nothing Criterion = iota
	// ByPath: the pattern does not match.
	ByPath
	// ByHost: the host is another one.
	ByHost
	// ByMethod: the method is another one.
	ByMethod
	// ByScheme: the scheme is the other one.
	ByScheme
	// BySNI: the name in the TLS handshake is another one, or there is none.
	BySNI
	// ByHeader: a header field is not there or has another value.
	ByHeader
	// ByQuery: a parameter is not there or has another value.
	ByQuery
	// ByPredicate: Func says no.
	ByPredicate
)

// String names the criterion.
func (c Criterion) String() string {
	names := [...]string{"nothing", "path", "host", "method", "scheme", "SNI", "header", "query", "predicate"}
	if int(c) < len(names) {
		return names[c]
	}
	return "criterion " + strconv.Itoa(int(c))
}

// A Candidate is an entry that might have taken a request, and the first of its conditions that does not hold.
type Candidate struct {
	// Entry is its position in Table.All.
	Entry int
	// Failed says which condition does not hold, and Condition is it where it is one on a header or a parameter.
	Failed    Criterion
	Condition Condition
	// Panicked says that the predicate did not even say no.
	Panicked bool
}

// Candidates lists, in order of precedence, the entries whose path matches q, whatever their host, and total says how many
// there are. No more than limit are listed: those at the request's own host before others, and the one that takes the
// request in any case. Predicates are asked, those behind that one, too.
func (t *Table) Candidates(q *Request, limit int) (list []Candidate, total int) {
	k := t.keyed(q)
	q = &k
	var here, elsewhere []int32
	plain := host{kind: hostExact, name: q.Host, port: q.Port}
	t.eachByPath(q, func(rank int32) {
		if t.listed[rank].host.covers(plain) {
			here = append(here, rank)
		} else {
			elsewhere = append(elsewhere, rank)
		}
	})
	total = len(here) + len(elsewhere)
	slices.Sort(here)
	slices.Sort(elsewhere)
	rest := here[min(limit, len(here)):]
	here = here[:len(here)-len(rest)]
	here = append(here, elsewhere[:min(limit-len(here), len(elsewhere))]...)
	slices.Sort(here)
	won := false
	for _, rank := range here {
		c := t.candidate(rank, plain, q)
		won = won || c.Failed == Nothing
		list = append(list, c)
	}
	if won {
		return list, total
	}
	for _, rank := range rest {
		if c := t.candidate(rank, plain, q); c.Failed == Nothing {
			return append(list, c), total
		}
	}
	return list, total
}

// eachByPath calls f with the entries whose path matches q, in no order; q is keyed.
func (t *Table) eachByPath(q *Request, f func(rank int32)) {
	text := q.text()
	s := search{t: t, best: t.none}
	s.visit = func(rank int32) {
		if e := &t.entries[rank]; e.kind != Regexp || e.detail.path.re.MatchString(text) {
			f(rank)
		}
	}
	t.rest.search(&s, q)
	if t.hosts != nil {
		for index := range t.hosts.all() {
			index.search(&s, q)
		}
	}
}

// all yields the path indexes of all hosts, in no order.
func (x *hostIndex) all() func(yield func(*pathIndex) bool) {
	return func(yield func(*pathIndex) bool) {
		for _, nodes := range []map[string]*hostNode{x.exact, x.suffix.nodes, x.prefix.nodes} {
			for _, node := range nodes {
				if node.plain != nil && !yield(node.plain) {
					return
				}
				for _, index := range node.ports {
					if !yield(index) {
						return
					}
				}
			}
		}
	}
}

// candidate looks at all conditions but the path.
func (t *Table) candidate(rank int32, plain host, q *Request) Candidate {
	c := t.entries[rank].detail.criteria
	x := Candidate{Entry: int(rank)}
	switch {
	case !t.listed[rank].host.covers(plain):
		x.Failed = ByHost
	case !c.allows(q.Method):
		x.Failed = ByMethod
	case c.schemes != 0 && c.schemes&schemeBit(q.Scheme) == 0:
		x.Failed = ByScheme
	case !c.matchSNI(q):
		x.Failed = BySNI
	default:
		x.Failed, x.Condition, x.Panicked = c.firstFailed(q)
	}
	return x
}

// firstFailed looks at the conditions that are not the request line's.
func (c *criteria) firstFailed(q *Request) (failed Criterion, at Condition, panicked bool) {
	for i := range c.headers {
		if q.HTTP == nil || !c.headers[i].matchHeader(q.HTTP.Header) {
			return ByHeader, c.data.headers[i], false
		}
	}
	for i := range c.query {
		if q.HTTP == nil || q.HTTP.URL == nil || !c.query[i].matchQuery(q.HTTP.URL.RawQuery) {
			return ByQuery, c.data.query[i], false
		}
	}
	if c.fn == nil {
		return Nothing, Condition{}, false
	}
	defer func() {
		if recover() != nil {
			failed, at, panicked = ByPredicate, Condition{}, true
		}
	}()
	if q.HTTP == nil || !c.fn(q.HTTP) {
		return ByPredicate, Condition{}, false
	}
	return Nothing, Condition{}, false
}

// Nearest lists up to limit entries at the request's host whose path does not match and is most like the one asked for,
// the most alike first: what may have been meant by a request that no route takes.
func (t *Table) Nearest(q *Request, limit int) []Candidate {
	type near struct {
		rank, common, left int
	}
	var best []near
	path := canonical.MatchKey(q.Path)
	plain := host{kind: hostExact, name: q.Host, port: q.Port}
	matching := map[int]bool{}
	k := t.keyed(q)
	t.eachByPath(&k, func(rank int32) { matching[int(rank)] = true })
	for rank := range t.entries {
		e := &t.entries[rank]
		common := commonPrefix(e.pattern, path)
		if common < 2 || len(best) == limit && common < best[limit-1].common || e.kind == Regexp ||
			!t.listed[rank].host.covers(plain) || matching[rank] {
			continue
		}
		n := near{rank, common, len(e.pattern) - common}
		at, _ := slices.BinarySearchFunc(best, n, func(a, b near) int {
			return cmp.Or(cmp.Compare(b.common, a.common), cmp.Compare(a.left, b.left), cmp.Compare(a.rank, b.rank))
		})
		if best = slices.Insert(best, at, n); len(best) > limit {
			best = best[:limit]
		}
	}
	out := make([]Candidate, len(best))
	for i, n := range best {
		out[i] = Candidate{Entry: n.rank, Failed: ByPath}
	}
	return out
}

// commonPrefix returns how many bytes a pattern and a path have in common at their beginning; a parameter has its whole
// segment in common with any.
func commonPrefix(pattern, path string) int {
	n := 0
	for n < len(pattern) && n < len(path) && pattern[n] == path[n] {
		n++
	}
	at, rest := strings.LastIndexByte(pattern[:n], '/'), path
	if n < len(pattern) && at == n-1 && pattern[n] == ':' {
		rest = rest[n:]
		return n + segmentEnd(rest, 0)
	}
	return n
}
