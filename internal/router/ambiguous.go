package router

import (
	"math/bits"
	"strings"
)

// A rankKey is equal for entries between which only the order written decides.
type rankKey struct {
	kinds          kindSet
	wildcard       bool
	length         int // of the name of a wildcard host
	port           bool
	headers, query int
	kind           Kind
	priority       int
	literals, text int
	segments       int
	head           bool
}

func (v *verifier) rankKey(i int) rankKey {
	e, h, a := &v.t.entries[i], v.t.listed[i].host, &v.areas[i]
	c := e.detail.criteria
	d := newDraft(*e, h, a.path, c)
	k := rankKey{
		kinds: d.kinds, wildcard: h.kind != hostExact, port: h.port != "",
		headers: len(c.headers), query: len(c.query), kind: e.kind, head: d.head,
	}
	if k.wildcard {
		k.length = len(h.name)
	}
	if p := a.path; p != nil {
		k.priority, k.literals, k.text, k.segments = p.priority, p.literals, p.text, p.segments
	}
	return k
}

// findAmbiguous looks for pairs in each run of entries between which only the order written decides.
func (v *verifier) findAmbiguous() {
	seen := map[[2]int32]bool{}
	for start := 0; start < len(v.areas); {
		key, end := v.rankKey(start), start+1
		for end < len(v.areas) && v.rankKey(end) == key {
			end++
		}
		if end-start > 1 {
			v.findInRun(start, end, seen)
		}
		start = end
	}
}

// A meeting is what entries of a run must have in common to match one request: hosts without a wildcard, and the text of
// paths. Expressions and wildcard hosts have to be tried.
type meeting struct {
	host host
	path string
}

func (v *verifier) meeting(i int) meeting {
	k, a := meeting{host: v.t.listed[i].host}, &v.areas[i]
	if k.host.kind == hostSuffix || k.host.kind == hostPrefix {
		k.host = host{kind: hostSuffix}
	}
	switch a.kind {
	case Exact, Prefix:
		k.path = a.lead()
	case Parameters, Subtree:
		k.path = a.path.shape
	case Regexp, NoPath:
	}
	return k
}

// grouped is a map of lists that remembers the order of its keys.
type grouped[K comparable] struct {
	keys  []K
	lists map[K][]int
}

func (g *grouped[K]) add(k K, i int) {
	if g.lists == nil {
		g.lists = map[K][]int{}
	}
	if _, known := g.lists[k]; !known {
		g.keys = append(g.keys, k)
	}
	g.lists[k] = append(g.lists[k], i)
}

// A shapeKey is equal for patterns with the same number of segments and wildcards at the same positions, at hosts that
// may meet.
type shapeKey struct {
	host     host
	segments int
	wild     uint64
}

func (v *verifier) findInRun(start, end int, seen map[[2]int32]bool) {
	var meetings grouped[meeting]
	var shapes grouped[shapeKey]
	for i := start; i < end; i++ {
		if v.dead[i] || v.t.entries[i].detail.criteria.fn != nil {
			continue
		}
		k := v.meeting(i)
		meetings.add(k, i)
		if a := &v.areas[i]; a.kind == Parameters || a.kind == Subtree {
			shapes.add(shapeKey{k.host, len(a.segments), a.wild}, i)
		}
	}
	for _, k := range meetings.keys {
		list := meetings.lists[k]
		for n, a := range list {
			for _, b := range list[n+1:] {
				if !v.tryPair(a, b, seen) {
					return
				}
			}
		}
	}
	for n, s := range shapes.keys {
		for _, o := range shapes.keys[n+1:] {
			if s.host == o.host && !v.findAcross(shapes.lists[s], shapes.lists[o], s, o, seen) {
				return
			}
		}
	}
}

// findAcross looks for pairs of patterns of two shapes, such as /a/:x/b and /a/b/:y. They meet where they agree in the
// segments that are literal in both.
func (v *verifier) findAcross(list, others []int, s, o shapeKey, seen map[[2]int32]bool) bool {
	if v.pairs--; v.pairs < 0 {
		v.gaveUp = true
		return false
	}
	both := ^s.wild & ^o.wild & (1<<min(s.segments, o.segments) - 1)
	var byText grouped[string]
	for _, i := range list {
		byText.add(v.areas[i].literals(both), i)
	}
	for _, j := range others {
		for _, i := range byText.lists[v.areas[j].literals(both)] {
			if !v.tryPair(min(i, j), max(i, j), seen) {
				return false
			}
		}
	}
	return true
}

// literals returns the segments at these positions.
func (a *area) literals(at uint64) string {
	var b strings.Builder
	for ; at != 0; at &= at - 1 {
		b.WriteByte('/')
		b.WriteString(a.segments[bits.TrailingZeros64(at)])
	}
	return b.String()
}

// tryPair notes two entries, the better one first, when a request can be made up that matches both. It returns false when
// there has been enough.
func (v *verifier) tryPair(a, b int, seen map[[2]int32]bool) bool {
	if v.pairs--; v.pairs < 0 || len(seen) >= maxAmbiguous {
		v.gaveUp = true
		return false
	}
	t := v.t
	routes := [2]int32{t.entries[a].route, t.entries[b].route}
	if routes[0] == routes[1] || seen[routes] {
		return true
	}
	d := v.demand(a, b)
	w, ok := d.witness()
	if !ok || !v.matches(a, &w) || !v.matches(b, &w) {
		return true
	}
	q := t.keyed(w.Request())
	if t.winner(&q) != int32(a) {
		return true // a third one takes it
	}
	seen[routes] = true
	v.findings = append(v.findings, Finding{Kind: Ambiguous, Entry: b, Winner: a, Witness: w})
	return true
}

// matches tells whether an entry matches a request, as lookups have it.
func (v *verifier) matches(rank int, w *Witness) bool {
	q, c := w.Request(), v.t.entries[rank].detail.criteria
	plain := host{kind: hostExact, name: q.Host, port: q.Port}
	return v.t.listed[rank].host.covers(plain) && v.areas[rank].matches(q.Path) && c.allows(q.Method) && c.match(q)
}
