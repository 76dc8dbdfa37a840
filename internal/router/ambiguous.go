package router

import (
	"math/bits"
	"slices"
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

// A meeting is what entries of a run must have in common to match one request: their hosts, and the text of paths.
// Expressions have to be tried, and so have hosts with wildcards at different ends.
type meeting struct {
	host host
	path string
}

// meetingHost is equal for entries of a run whose hosts may have one in common. Names with the star at the same end are as
// long as each other in a run, so that they have nothing in common unless they are equal.
func (v *verifier) meetingHost(i int, mixed bool) host {
	h := v.t.listed[i].host
	if mixed && (h.kind == hostSuffix || h.kind == hostPrefix) {
		return host{kind: hostSuffix, port: h.port}
	}
	return h
}

// meetingPath is equal for entries of a run whose paths may have one in common, patterns of different shapes apart.
func (a *area) meetingPath() string {
	switch a.kind {
	case Exact, Prefix:
		return a.lead()
	case Parameters, Subtree:
		return a.path.shape
	case Regexp, NoPath:
	}
	return ""
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

// A shapeKey is equal for patterns with the same number of segments and wildcards at the same positions.
type shapeKey struct {
	segments int
	wild     uint64
}

func (v *verifier) findInRun(start, end int, seen map[[2]int32]bool) {
	var ends [hostAny + 1]bool // of the wildcards there are
	for i := start; i < end; i++ {
		ends[v.t.listed[i].host.kind] = true
	}
	mixed := ends[hostSuffix] && ends[hostPrefix]
	var meetings grouped[meeting]
	var patterns grouped[host]
	for i := start; i < end; i++ {
		if v.dead[i] || v.t.entries[i].detail.criteria.fn != nil {
			continue
		}
		a, h := &v.areas[i], v.meetingHost(i, mixed)
		meetings.add(meeting{h, a.meetingPath()}, i)
		if a.kind == Parameters || a.kind == Subtree {
			patterns.add(h, i)
		}
	}
	for _, k := range meetings.keys {
		if !v.findInList(meetings.lists[k], seen) {
			return
		}
	}
	for _, k := range patterns.keys {
		if !v.findAcrossShapes(patterns.lists[k], seen) {
			return
		}
	}
}

// findAcrossShapes looks for pairs of patterns of different shapes, such as /a/:x/b and /a/b/:y. They meet where they agree
// in the segments that are literal in both.
func (v *verifier) findAcrossShapes(list []int, seen map[[2]int32]bool) bool {
	var shapes grouped[shapeKey]
	for _, i := range list {
		shapes.add(shapeKey{len(v.areas[i].segments), v.areas[i].wild}, i)
	}
	if len(shapes.keys) == 1 {
		return true
	}
	for _, i := range list {
		v.areas[i].mark()
	}
	var c chains
	for n, s := range shapes.keys {
		for _, o := range shapes.keys[n+1:] {
			both := ^s.wild & ^o.wild & (1<<min(s.segments, o.segments) - 1)
			few, many := shapes.lists[s], shapes.lists[o]
			if len(few) > len(many) {
				few, many = many, few
			}
			if !v.spend(1 + (len(few)+len(many))*(1+bits.OnesCount64(both)/8)) {
				return false
			}
			c.reset(len(few))
			for n, i := range few {
				c.add(v.areas[i].marked(both), n)
			}
			for _, j := range many {
				for n := range c.all(v.areas[j].marked(both)) {
					if !v.tryPair(min(few[n], j), max(few[n], j), seen) {
						return false
					}
				}
			}
		}
	}
	return true
}

// tryPair notes two entries, the better one first, when a request can be made up that matches both. It returns false when
// there has been enough.
func (v *verifier) tryPair(a, b int, seen map[[2]int32]bool) bool {
	if len(seen) >= maxAmbiguous {
		v.gaveUp = true
		return false
	}
	if !v.spend(2 + (v.samples[a].weight+v.samples[b].weight)/8) {
		return false
	}
	t := v.t
	routes := [2]int32{t.entries[a].route, t.entries[b].route}
	if routes[0] == routes[1] || !v.mayMeet(a, b) || seen[routes] {
		return true
	}
	d := v.demand(a, b)
	w, ok := d.witness()
	if v.work -= d.cost; !ok || !v.matches(a, &w) || !v.matches(b, &w) {
		return true
	}
	q := t.keyed(w.Request())
	winner, cost := t.winner(&q)
	if v.work -= costLookup + cost + v.searchCost(a, &w); winner != int32(a) {
		return true // a third one takes it
	}
	seen[routes] = true
	v.findings = append(v.findings, Finding{Kind: Ambiguous, Entry: b, Winner: a, Witness: w})
	return true
}

// mayMeet is false for most entries that cannot match one request, and cheap.
func (v *verifier) mayMeet(a, b int) bool {
	t := v.t
	x, y := t.entries[a].detail.criteria, t.entries[b].detail.criteria
	h, o := &t.listed[a].host, &t.listed[b].host
	if h.kind == o.kind && len(h.name) == len(o.name) && h.name != o.name {
		return false
	}
	return x == y || schemes(x)&schemes(y) != 0 && x.methods.meets(y.methods) &&
		!disjoint(x.headers, y.headers, x.data.headers, y.data.headers) && !disjoint(x.query, y.query, x.data.query, y.data.query)
}

// meets tells whether there is a method in both sets.
func (s methodSet) meets(o methodSet) bool {
	return !s.set() || !o.set() || s.bits&o.bits != 0 || slices.ContainsFunc(s.other, func(m string) bool { return slices.Contains(o.other, m) })
}

// disjoint tells whether there is a name for which both sides want other plain values.
func disjoint(a, b []matcher, dataA, dataB []Condition) bool {
	for i := range a {
		if !a[i].listed() {
			continue
		}
		for j := range b {
			if b[j].name == a[i].name && b[j].listed() && !overlap(dataA[i].Values, dataB[j].Values) {
				return true
			}
		}
	}
	return false
}

// listed tells whether the values that satisfy a condition are a list.
func (m *matcher) listed() bool { return !m.any && m.regexp == nil }

// overlap tells whether two sorted lists have a value in common.
func overlap(a, b []string) bool {
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case a[i] == b[j]:
			return true
		case a[i] < b[j]:
			i++
		default:
			j++
		}
	}
	return false
}

// matches tells whether an entry matches a request, as lookups have it.
func (v *verifier) matches(rank int, w *Witness) bool {
	q, c := w.Request(), v.t.entries[rank].detail.criteria
	plain := host{kind: hostExact, name: q.Host, port: q.Port}
	return v.t.listed[rank].host.covers(plain) && v.areas[rank].matches(q.Path) && c.allows(q.Method) && c.match(q)
}
