package router

import "slices"

// A Finding is something about a table that its author should know.
type Finding struct {
	// Kind says what it is.
	Kind FindingKind
	// Entry is the position in All of the entry that loses, Winner that of the one that takes the witness.
	Entry, Winner int
	// By are the routes that together take everything Entry would, in order of precedence; only of a Shadowed entry.
	By []int
	// Witness is a request of Entry's that Winner takes.
	Witness Witness
}

// A FindingKind is what a Finding is about.
type FindingKind uint8

const (
	// Shadowed: whatever request matches the entry, better ones take it.
	Shadowed FindingKind = iota
	// Ambiguous: there are requests that match both entries, and only the order in which they were written decides.
	Ambiguous
)

// Bounds on the work of Verify, far beyond what tables of thousands of routes need.
const (
	maxVisits    = 2 << 20
	maxPairs     = 1 << 19
	maxAmbiguous = 1000 // pairs of routes
)

// Verify looks for entries that no request reaches, and for pairs of which the order written decides. What it finds is
// true: each finding has a request that proves it, unless a predicate takes that request. No predicate is asked, and each
// counts as saying no. It does not find everything: expressions are compared by their text and by samples, and requests
// that repeat a header or a parameter are not considered.
// complete is false when it gave up looking in a table that is large and has the same paths very often.
func (t *Table) Verify() (findings []Finding, complete bool) {
	v := verifier{t: t, areas: make([]area, len(t.entries)), dead: make([]bool, len(t.entries)), visits: maxVisits, pairs: maxPairs}
	for i := range t.entries {
		v.areas[i] = areaOf(&t.entries[i])
	}
	for i := range t.entries {
		v.findShadow(i)
	}
	v.findAmbiguous()
	slices.SortStableFunc(v.findings, func(a, b Finding) int { return a.Entry - b.Entry })
	return v.findings, !v.gaveUp
}

type verifier struct {
	t        *Table
	areas    []area
	dead     []bool // entries that are shadowed
	visits   int    // left
	pairs    int    // left
	findings []Finding
	gaveUp   bool
}

func (v *verifier) demand(a, b int) demand {
	t := v.t
	return demand{
		hosts:    [2]host{t.listed[a].host, t.listed[b].host},
		areas:    [2]*area{&v.areas[a], &v.areas[b]},
		criteria: [2]*criteria{t.entries[a].detail.criteria, t.entries[b].detail.criteria},
	}
}

// findShadow looks for better entries that take all requests of entry i. Each of them also takes the path of i's witness,
// so that only those have to be compared that the index finds by it.
func (v *verifier) findShadow(i int) {
	d := v.demand(i, i)
	w, ok := d.witness()
	if !ok {
		return
	}
	t, c := v.t, d.criteria[0]
	n, by := c.need(), []int{}
	s := search{t: t, best: int32(i)}
	s.visit = func(rank int32) {
		if v.visits--; v.visits < 0 {
			v.gaveUp, s.best = true, -1
			return
		}
		e := &t.entries[rank]
		if !t.listed[rank].host.covers(d.hosts[0]) || !v.areas[rank].covers(&v.areas[i]) || !e.detail.criteria.covers(c) {
			return
		}
		if n.take(e.detail.criteria) {
			by = append(by, int(e.route))
		}
		if n.met() {
			s.best = -1
		}
	}
	q := t.keyed(w.Request())
	t.search(&s, &q)
	hidden := t.listed[i].hidden >= 0 // by an equal entry, in whose place it is not in the index
	if hidden {
		by = []int{int(t.listed[i].hidden)}
	}
	if !hidden && !n.met() {
		return
	}
	winner := t.winner(&q)
	if winner == t.none || winner == int32(i) {
		return // never claimed without proof
	}
	slices.Sort(by)
	v.dead[i] = true
	v.findings = append(v.findings, Finding{Kind: Shadowed, Entry: i, Winner: int(winner), By: slices.Compact(by), Witness: w})
}

// winner returns the entry that takes a request whose path is keyed; Table.none when none does. Predicates, which are the
// application's, are not asked and count as saying no.
func (t *Table) winner(q *Request) int32 {
	s := search{t: t, best: t.none}
	s.visit = func(rank int32) {
		e := &t.entries[rank]
		c := e.detail.criteria
		if c.fn == nil && c.allows(q.Method) && c.match(q) && (e.kind != Regexp || e.detail.path.re.MatchString(q.text())) {
			s.best = rank
		}
	}
	t.search(&s, q)
	return s.best
}

// Matches tells whether the entry at a position in All matches q. Its predicate, if it has one, is not asked.
func (t *Table) Matches(rank int, q *Request) bool {
	e := &t.entries[rank]
	a, c := areaOf(e), e.detail.criteria
	return t.listed[rank].host.covers(host{kind: hostExact, name: q.Host, port: q.Port}) && a.matches(q.Path) && c.allows(q.Method) && c.match(q)
}
