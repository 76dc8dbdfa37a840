package router

import (
	"errors"
	"iter"
	"math"
	"net/http"
	"slices"
	"strconv"
)

// maxEntries bounds the table. It is far beyond what a gateway has, and catches hosts times paths out of hand before
// they take the memory.
const maxEntries = 1 << 22

// maxText bounds the paths of a table in bytes, for the same reason; see slot.at.
const maxText = 1 << 27

// A Route is the criteria of one route. The zero value matches every request. Criteria of different fields must all
// hold, and of the values in one field any.
type Route struct {
	// Name is used in messages only. Routes without one are called by their index.
	Name string

	// Hosts are example.com, *.example.com or example.*, each with or without :port. The star is one or more labels.
	// Case and one final dot do not count; IPv6 addresses stand in brackets.
	Hosts []string
	// Methods are compared exactly. GET also admits HEAD.
	Methods []string
	// Schemes are "http" and "https".
	Schemes []string
	// SNIs are names, *.example.com or example.*, compared with the server name of the TLS handshake.
	SNIs []string

	// Paths are exact paths, or patterns with /:name for one segment that is not empty, and with /*name at the end for
	// the path before it and everything below. A colon or star that stands for itself at the start of a segment is
	// written %3A or %2A; wherever these characters are in a pattern, both their spellings match.
	Paths []string
	// Prefixes are compared byte by byte with the beginning of the canonical path: /rou matches /roureq.
	Prefixes []string
	// Regexps are RE2 expressions, matched against the canonical path from its first byte on, not necessarily to its end.
	// They see it decoded, see canonical.DecodedKey.
	Regexps []string

	// Headers and Query say which values a header or a parameter of the query may have. All names must match, each
	// with any of its values, against any of the request's values of that name. A value that begins with ~ is an RE2
	// expression that may match anywhere. Header values compare without regard to case. An empty list of values asks
	// only that the name is there.
	Headers, Query map[string][]string

	// Func must return true for the request. It may be called more than once for a request, from many goroutines.
	Func func(*http.Request) bool

	// Priority decides among regular expressions, the higher first. Their length does not count.
	Priority int
}

// Options are the rules that can be bent. The zero value is the strict one.
type Options struct {
	// AllowIdentical lets several routes have identical entries: the first written wins. Otherwise they are an error.
	AllowIdentical bool
	// AllowEncodedSlash lets patterns hold %2F as data of a segment. Set it if and only if requests may.
	AllowEncodedSlash bool
	// IgnoreSNIsWithoutTLS has SNIs hold for every request without TLS.
	IgnoreSNIsWithoutTLS bool
}

// An Error is one problem of one route. New joins all of them.
type Error struct {
	Route  int    // index in the slice given to New, -1 for the table as a whole
	Name   string // the route's name
	Field  string // such as "Paths[1]", empty for the route as a whole
	Value  string // as written
	Reason string // what is wrong, to be read after field and value
	Remedy string // what to do
	Twin   int    // index of the route from which no request could tell this one apart, -1 when that is not the problem

	// Of the entry that has a twin, as Entry has them.
	Host    string
	Kind    Kind
	Pattern string
}

// Error names route, field, value, reason and remedy, in the terms of package gateway, whose users read it.
func (e *Error) Error() string {
	s := "gateway: " // whose fields the user wrote
	if e.Route >= 0 {
		s += routeLabel(e.Name, e.Route)
	}
	if e.Field != "" {
		s += ": " + e.Field + " " + strconv.Quote(e.Value)
	}
	return s + " " + e.Reason + "; " + e.Remedy
}

func routeLabel(name string, index int) string {
	if name == "" {
		return "Routes[" + strconv.Itoa(index) + "]"
	}
	return "route " + strconv.Quote(name)
}

// A Table is the compiled form of a list of routes. It never changes and is safe for concurrent use. Make one with New.
type Table struct {
	entries []entry // by rank
	nodes   []bucket
	hosts   *hostIndex // nil when no route has hosts
	rest    pathIndex  // entries without a host
	none    int32      // a rank worse than all

	expressions bool // there are regular ones

	names  []string // of the routes
	listed []listed // by rank, for All
}

// listed is the part of an entry that lookups do not need.
type listed struct {
	host   host
	hidden int32
}

// New compiles routes. Nothing of them is kept but strings and predicates. The error joins all problems, each an
// *Error.
func New(routes []Route, o Options) (*Table, error) {
	b := builder{
		options:    o,
		routes:     routes,
		criteria:   map[string]*criteria{},
		identities: make(map[identity]int32, len(routes)),
	}
	for i := range routes {
		b.addRoute(i)
	}
	if len(b.problems) > 0 {
		return nil, errors.Join(b.problems...)
	}
	return b.table(), nil
}

// All lists the entries in order of precedence: the first that matches a request is the one Lookup finds.
func (t *Table) All() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for rank := range t.entries {
			if !yield(t.Entry(rank)) {
				return
			}
		}
	}
}

// Len returns the number of entries.
func (t *Table) Len() int { return len(t.entries) }

// Entry returns the entry at a position in All, such as that of a Match.
func (t *Table) Entry(rank int) Entry {
	e, l := &t.entries[rank], &t.listed[rank]
	c := e.detail.criteria
	x := Entry{
		Route:   int(e.route),
		Name:    t.names[e.route],
		Host:    l.host.String(),
		Kind:    e.kind,
		Pattern: e.pattern,
		Hidden:  int(l.hidden),

		Methods: c.data.methods, Schemes: c.data.schemes, SNIs: c.data.snis,
		Headers: c.data.headers, Query: c.data.query,
		Predicate: c.fn != nil,
	}
	if p := e.detail.path; p != nil {
		x.Priority = p.priority
	}
	return x
}

// A builder collects the entries of all routes, and their problems.
type builder struct {
	options    Options
	routes     []Route
	problems   []error
	drafts     []draft
	criteria   map[string]*criteria
	identities map[identity]int32
	full       bool
	text       int
}

// An identity is equal for entries that match the same requests with the same precedence.
type identity struct {
	host     host
	criteria *criteria
	kind     Kind
	shape    string
	priority int
}

// A place is a parsed value and where it was written.
type place[T any] struct {
	value   T
	field   string
	written string
}

func (b *builder) report(route int, field, value string, f *fault) {
	b.problems = append(b.problems, &Error{
		Route: route, Name: b.routes[route].Name, Field: field, Value: value, Reason: f.reason, Remedy: f.remedy, Twin: -1,
	})
}

func (b *builder) addRoute(i int) {
	r := &b.routes[i]
	report := func(field, value string, f *fault) { b.report(i, field, value, f) }
	before := len(b.problems)
	c := parseCriteria(r, b.options, report)
	hosts := b.parseHosts(r, report)
	paths := b.parsePaths(r, report)
	if len(b.problems) > before || b.full {
		return
	}
	if len(b.drafts)+len(hosts)*len(paths) > maxEntries {
		b.full = true
		b.problems = append(b.problems, &Error{Route: i, Name: r.Name, Twin: -1,
			Reason: "makes the table larger than " + strconv.Itoa(maxEntries) + " entries, one for each host and path",
			Remedy: "use wildcard hosts or prefixes"})
		return
	}
	for _, p := range paths {
		if p.value != nil {
			b.text += len(hosts) * len(p.value.shape)
		}
	}
	if b.text > maxText {
		b.full = true
		b.problems = append(b.problems, &Error{Route: i, Name: r.Name, Twin: -1,
			Reason: "makes the paths of the table longer than " + strconv.Itoa(maxText) + " bytes, each counted for every host of its route",
			Remedy: "use wildcard hosts or prefixes"})
		return
	}
	c = b.intern(c)
	for hostAt, h := range hosts {
		for pathAt, p := range paths {
			e := entry{route: int32(i), kind: NoPath}
			if p.value != nil {
				e.pattern, e.kind, e.length = p.written, p.value.kind, uint16(len(p.value.literal))
			}
			e.plain = c.empty() && e.kind != Regexp
			d := newDraft(e, h.value, p.value, c)
			d.hostAt, d.pathAt = int32(hostAt), int32(pathAt)
			b.addDraft(d, c, h, p)
		}
	}
}

// intern returns the criteria every route shares that has the same. Predicates cannot be compared, so criteria with
// one are never shared.
func (b *builder) intern(c *criteria) *criteria {
	if c.fn != nil {
		return c
	}
	if shared, ok := b.criteria[c.identity]; ok {
		return shared
	}
	b.criteria[c.identity] = c
	return c
}

// addDraft adds an entry unless another one can never be told apart from it.
func (b *builder) addDraft(d draft, c *criteria, h place[host], p place[*path]) {
	id := identity{host: h.value, criteria: c, kind: d.kind}
	if d.path != nil {
		id.shape, id.priority = d.path.shape, d.path.priority
	}
	if c.fn != nil {
		b.drafts = append(b.drafts, d)
		return
	}
	first, twice := b.identities[id]
	if !twice {
		b.identities[id] = int32(len(b.drafts))
		b.drafts = append(b.drafts, d)
		return
	}
	other := &b.drafts[first]
	if b.options.AllowIdentical {
		d.hidden = other.route
		b.drafts = append(b.drafts, d)
		return
	}
	field, value, what := "", "", "has the same conditions as "
	switch {
	case p.field != "":
		field, value, what = p.field, p.written, "is the same path as "+strconv.Quote(other.pattern)+" of "
	case h.field != "":
		field, value, what = h.field, h.written, "is a host of "
	}
	if p.field != "" && h.field != "" {
		what = "at host " + strconv.Quote(h.value.String()) + " " + what
	}
	b.problems = append(b.problems, &Error{
		Route: int(d.route), Name: b.routes[d.route].Name, Field: field, Value: value, Twin: int(other.route),
		Host: h.value.String(), Kind: d.kind, Pattern: d.pattern,
		Reason: what + routeLabel(b.routes[other.route].Name, int(other.route)) + ", and no request could tell the two routes apart",
		Remedy: "remove one, or give one a further condition",
	})
}

// parseHosts returns the distinct hosts of a route, or the one that stands for none.
func (b *builder) parseHosts(r *Route, report func(field, value string, f *fault)) []place[host] {
	if len(r.Hosts) == 0 {
		return []place[host]{{value: host{kind: hostAny}}}
	}
	hosts := make([]place[host], 0, len(r.Hosts))
	seen := make(map[host]int, len(r.Hosts))
	for i, written := range r.Hosts {
		field := indexed("Hosts", i)
		h, f := parseHost(written)
		if f != nil {
			report(field, written, f)
			continue
		}
		if at, twice := seen[h]; twice {
			b.repeated(report, field, written, indexed("Hosts", at))
			continue
		}
		seen[h] = i
		hosts = append(hosts, place[host]{h, field, written})
	}
	return hosts
}

// parsePaths returns the distinct paths of a route, or the nil one that stands for none.
func (b *builder) parsePaths(r *Route, report func(field, value string, f *fault)) []place[*path] {
	n := len(r.Paths) + len(r.Prefixes) + len(r.Regexps)
	if n == 0 {
		return []place[*path]{{}}
	}
	type shape struct {
		kind  Kind
		shape string
	}
	paths := make([]place[*path], 0, n)
	seen := make(map[shape]string, n)
	parse := func(name string, list []string, f func(written string) (*path, *fault)) {
		for i, written := range list {
			field := indexed(name, i)
			p, problem := f(written)
			if problem != nil {
				report(field, written, problem)
				continue
			}
			if other, twice := seen[shape{p.kind, p.shape}]; twice {
				b.repeated(report, field, written, other)
				continue
			}
			seen[shape{p.kind, p.shape}] = field
			paths = append(paths, place[*path]{p, field, written})
		}
	}
	parse("Paths", r.Paths, func(written string) (*path, *fault) { return parsePath(written, b.options) })
	parse("Prefixes", r.Prefixes, func(written string) (*path, *fault) { return parsePrefix(written, b.options) })
	parse("Regexps", r.Regexps, func(written string) (*path, *fault) { return parseRegexp(written, r.Priority) })
	return paths
}

// repeated reports a value that stands twice in one route, which Options.AllowIdentical tolerates.
func (b *builder) repeated(report func(field, value string, f *fault), field, written, other string) {
	if !b.options.AllowIdentical {
		report(field, written, &fault{"is the same as " + other, "remove one"})
	}
}

// table gives every draft its rank and builds the index.
func (b *builder) table() *Table {
	order := make([]*draft, len(b.drafts))
	for i := range b.drafts {
		order[i] = &b.drafts[i]
	}
	slices.SortFunc(order, compare)
	t := &Table{
		entries: make([]entry, len(order)),
		nodes:   make([]bucket, 1),
		none:    math.MaxInt32,
		names:   make([]string, len(b.routes)),
		listed:  make([]listed, len(order)),
	}
	for i := range b.routes {
		t.names[i] = b.routes[i].Name
	}
	l := link{&t.nodes}
	shared := map[detailKey]*detail{}
	// From the last rank to the first: see pathIndex.
	for i := len(order) - 1; i >= 0; i-- {
		d, rank := order[i], int32(i)
		t.entries[i] = d.entry
		t.expressions = t.expressions || d.kind == Regexp
		t.entries[i].detail = d.keep(shared)
		t.listed[i] = listed{d.host, d.hidden}
		if d.hidden >= 0 {
			continue
		}
		index := &t.rest
		if d.host.kind != hostAny {
			if t.hosts == nil {
				t.hosts = new(hostIndex)
			}
			index = t.hosts.add(d.host, rank)
		}
		index.add(d.path, rank, l)
	}
	t.rest.finish()
	if t.hosts != nil {
		t.hosts.finish()
	}
	return t
}
