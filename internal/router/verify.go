package router

import (
	"net/http"
	"slices"
)

// A Finding is something about a table that its author should know.
type Finding struct {
	// Kind says what it is.
	Kind FindingKind
	// Entry is the position in All of the entry that loses, Winner that of the one that takes the witness. Winner is -1 and
	// there is no witness when Entry is hidden and no request was found that goes to the one in its place.
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

// Bounds on the work of Verify, far beyond what ordinary tables of a hundred thousand routes need. Work is counted in units
// of about 20 ns, as it is expected to be: the fewer things have something in common, the cheaper they are told apart.
const (
	maxVisits    = 1 << 24 // for shadowed entries
	maxWork      = 1 << 25 // for ambiguous pairs
	maxAmbiguous = 1000    // pairs of routes

	costPath       = 8   // of comparing an area with a path
	costExpression = 32  // of matching an expression, more or less
	costValue      = 2   // of comparing a value with a condition
	costLookup     = 200 // of making a request and finding its entry
)

// Verify looks for entries that no request reaches, and for pairs of which the order written decides. What it finds is
// true: each finding has a request that proves it, unless a predicate takes that request. No predicate is asked, and each
// counts as saying no. It does not find everything: expressions are compared by their text and by samples, and requests
// that repeat a header or a parameter are not considered.
// complete is false when it gave up looking in a table that is large and has the same paths very often.
func (t *Table) Verify() (findings []Finding, complete bool) {
	v := t.verifier()
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
	samples  []*samples // of the criteria; both by rank
	dead     []bool     // entries that are shadowed
	anyDead  bool
	visits   int // left of maxVisits
	work     int // left of maxWork
	findings []Finding
	gaveUp   bool
}

func (t *Table) verifier() *verifier {
	n := len(t.entries)
	v := &verifier{t: t, areas: make([]area, n), samples: make([]*samples, n), dead: make([]bool, n), visits: maxVisits, work: maxWork}
	shared := map[*criteria]*samples{}
	for i := range t.entries {
		v.areas[i] = areaOf(&t.entries[i])
		c := t.entries[i].detail.criteria
		if shared[c] == nil {
			shared[c] = newSamples(c)
		}
		v.samples[i] = shared[c]
	}
	return v
}

// spend takes off what is left for ambiguous pairs, and reports whether that was enough.
func (v *verifier) spend(cost int) bool {
	v.work -= cost
	v.gaveUp = v.gaveUp || v.work < 0
	return v.work >= 0
}

func (v *verifier) demand(a, b int) demand {
	t := v.t
	return demand{
		hosts:    [2]host{t.listed[a].host, t.listed[b].host},
		areas:    [2]*area{&v.areas[a], &v.areas[b]},
		criteria: [2]*criteria{t.entries[a].detail.criteria, t.entries[b].detail.criteria},
		samples:  [2]*samples{v.samples[a], v.samples[b]},
	}
}

// findShadow looks for better entries that take all requests of entry i. Each of them also takes the path of i's witness,
// so that only those have to be compared that the index finds by it.
func (v *verifier) findShadow(i int) {
	d := v.demand(i, i)
	w, ok := d.witness()
	if v.t.listed[i].hidden >= 0 {
		v.addHidden(i, &w, ok)
		return
	}
	if v.visits -= v.searchCost(i, &w); v.visits < 0 {
		v.gaveUp = true
		return
	}
	if !ok {
		return
	}
	t, c := v.t, d.criteria[0]
	var takers []int32
	n, dead := c.need(), false // whether such entries count: they are named only where others do not suffice
	s := search{t: t}
	s.visit = func(rank int32) {
		if v.dead[rank] != dead {
			return
		}
		other := t.entries[rank].detail.criteria
		if v.visits -= 1 + len(c.snis)*len(other.snis)/8 + (v.samples[i].weight+v.samples[rank].weight)/8; v.visits < 0 {
			v.gaveUp, s.best = true, -1
			return
		}
		if !t.listed[rank].host.covers(d.hosts[0]) || !v.areas[rank].covers(&v.areas[i]) || !other.covers(c) {
			return
		}
		if n.take(other) {
			takers = append(takers, rank)
		}
		if n.met() {
			s.best = -1
		}
	}
	q := t.keyed(w.Request())
	for _, dead = range []bool{false, true} {
		if !n.met() && (!dead || v.anyDead) {
			s.best = int32(i)
			t.search(&s, &q)
		}
	}
	if !n.met() {
		return
	}
	var by []int
	slices.Sort(takers)
	n = c.need()
	for _, rank := range takers {
		if n.take(t.entries[rank].detail.criteria) { // else better ones do
			by = append(by, int(t.entries[rank].route))
		}
	}
	winner, _ := t.winner(&q)
	if winner == t.none || winner == int32(i) {
		return // never claimed without proof
	}
	slices.Sort(by)
	v.dead[i], v.anyDead = true, true
	v.findings = append(v.findings, Finding{Kind: Shadowed, Entry: i, Winner: int(winner), By: slices.Compact(by), Witness: w})
}

// searchCost is that of a search for a request of entry i, beside the entries looked at.
func (v *verifier) searchCost(i int, w *Witness) int {
	n := v.t.rest.width()
	if v.t.hosts != nil {
		if x := v.t.hosts.of(v.t.listed[i].host); x != nil {
			n += x.width()
		}
	}
	return n * (8 + len(w.Path)/64) / 64
}

// addHidden notes an entry in whose place an equal one is in the index, with a request which that one takes, if there is a
// method that has nobody else take it.
func (v *verifier) addHidden(i int, w *Witness, ok bool) {
	t := v.t
	twin := t.listed[i].hidden
	f := Finding{Kind: Shadowed, Entry: i, Winner: -1, By: []int{int(twin)}}
	methods := t.entries[i].detail.criteria.data.methods
	if methods == nil {
		methods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}
	}
	for _, m := range methods {
		if !ok || v.visits < 0 {
			break
		}
		w.Method = m
		q := t.keyed(w.Request())
		winner, cost := t.winner(&q)
		v.visits -= cost
		if winner != t.none && t.entries[winner].route == twin {
			f.Winner, f.Witness = int(winner), *w
			break
		}
	}
	v.dead[i] = true // and not in the index, where it could take something
	v.findings = append(v.findings, f)
}

// winner returns the entry that takes a request whose path is keyed; Table.none when none does. Predicates, which are the
// application's, are not asked and count as saying no. cost is that of the search.
func (t *Table) winner(q *Request) (rank int32, cost int) {
	s := search{t: t, best: t.none}
	s.visit = func(rank int32) {
		cost++
		e := &t.entries[rank]
		c := e.detail.criteria
		if c.fn != nil || !c.allows(q.Method) || !c.match(q) {
			return
		}
		if e.kind == Regexp {
			if cost += costExpression + len(q.Path); !e.detail.path.re.MatchString(q.text()) {
				return
			}
		}
		s.best = rank
	}
	t.search(&s, q)
	return s.best, cost
}

// Matches tells whether the entry at a position in All matches q. Its predicate, if it has one, is not asked.
func (t *Table) Matches(rank int, q *Request) bool {
	e := &t.entries[rank]
	a, c := areaOf(e), e.detail.criteria
	return t.listed[rank].host.covers(host{kind: hostExact, name: q.Host, port: q.Port}) && a.matches(q.Path) && c.allows(q.Method) && c.match(q)
}
