package router

import (
	"slices"
	"strings"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

// An area is the set of paths an entry matches, in a form in which two of them can be compared. Its text is that of
// canonical.MatchKey, or canonical.DecodedKey for regular expressions, as lookups have it; what the two spell differently is
// never taken for the same.
type area struct {
	kind     Kind
	segments []string // of Exact, Parameters and Subtree; what stands for a parameter is empty
	wild     uint64   // which of them are parameters
	text     string   // what all paths of Prefix and Regexp begin with
	expr     string   // of Regexp
	whole    bool     // all paths that begin with text are matched: so it is for Prefix, and for some Regexp

	path *path // parsed

	example             string // see sample
	hasExample, sampled bool
	marks               []uint64 // see mark
}

// areaOf returns what an entry matches. The pattern was accepted once, so it is read without looking for faults.
func areaOf(e *entry) area {
	a := area{kind: e.kind}
	switch e.kind {
	case NoPath:
	case Regexp:
		a.path = e.detail.path
		a.expr, a.text, a.whole = a.path.shape, a.path.literal, a.path.whole
		if a.text == "" {
			a.text = "/" // as every path
		}
	case Prefix:
		a.path, _ = parsePrefix(e.pattern, Options{AllowEncodedSlash: true})
		a.text, a.whole = a.path.literal, true
	case Exact, Parameters, Subtree:
		a.path, _ = parsePath(e.pattern, Options{AllowEncodedSlash: true})
		a.wild = a.path.wild
		a.segments = strings.Split(a.path.shape[1:], "/")
		if e.kind == Subtree {
			a.segments = a.segments[:len(a.segments)-1]
		}
		for i, s := range a.segments {
			if a.parameter(i) {
				a.segments[i] = ""
			} else {
				a.segments[i] = canonical.MatchKey(s)
			}
		}
	}
	return a
}

// parameter tells whether segment i is one.
func (a *area) parameter(i int) bool { return i < maxSegments && a.wild&(1<<i) != 0 }

// lead returns the text all paths of the area begin with.
func (a *area) lead() string {
	switch a.kind {
	case NoPath:
		return ""
	case Regexp, Prefix:
		return a.text
	case Exact, Parameters, Subtree:
	}
	for i := range a.segments {
		if a.parameter(i) {
			return "/" + strings.Join(append(a.segments[:i:i], ""), "/")
		}
	}
	return "/" + strings.Join(a.segments, "/")
}

// covers tells whether every path of b is one of a. It may miss that, but never claims it wrongly.
func (a *area) covers(b *area) bool {
	switch a.kind {
	case NoPath:
		return true
	case Exact, Parameters:
		return (b.kind == Exact || b.kind == Parameters) && len(a.segments) == len(b.segments) && a.begins(b, b.segments)
	case Subtree:
		switch b.kind {
		case NoPath:
			return len(a.segments) == 0
		case Exact, Parameters, Subtree:
			return a.begins(b, b.segments)
		case Regexp, Prefix:
			// Only segments with a slash behind them are known whole.
			known := strings.Split(b.text, "/")
			return a.begins(&area{}, known[1:len(known)-1])
		}
	case Regexp, Prefix:
		if a.whole {
			return strings.HasPrefix(b.lead(), a.text) || b.kind == NoPath && a.text == "/"
		}
		return b.kind == Regexp && a.expr == b.expr
	}
	return false
}

// begins tells whether the segments of a match the first ones of b.
func (a *area) begins(b *area, segments []string) bool {
	if len(segments) < len(a.segments) {
		return false
	}
	for i, s := range a.segments {
		switch {
		case a.parameter(i) && !b.parameter(i) && segments[i] == "": // a parameter is never empty
			return false
		case !a.parameter(i) && (b.parameter(i) || s != segments[i]):
			return false
		}
	}
	return true
}

// covers tells whether every host of b is one of h.
func (h host) covers(b host) bool {
	if h.port != "" && h.port != b.port {
		return false
	}
	switch h.kind {
	case hostAny:
		return true
	case hostExact:
		return b.kind == hostExact && h.name == b.name
	case hostSuffix:
		return b.kind == hostSuffix && b.name == h.name ||
			(b.kind == hostExact || b.kind == hostSuffix) && strings.HasSuffix(b.name, "."+h.name) && !strings.Contains(b.name, ":")
	case hostPrefix:
		return b.kind == hostPrefix && b.name == h.name ||
			(b.kind == hostExact || b.kind == hostPrefix) && strings.HasPrefix(b.name, h.name+".") && !strings.Contains(b.name, ":")
	}
	return false
}

// covers tells whether every request that satisfies b satisfies c, methods and schemes apart.
func (c *criteria) covers(b *criteria) bool {
	if c == b {
		return c.fn == nil
	}
	return c.fn == nil && coversSNI(c.snis, b.snis) && coversAll(c.data.headers, b.data.headers) && coversAll(c.data.query, b.data.query)
}

func coversSNI(patterns, others []string) bool {
	if patterns == nil {
		return true
	}
	for _, o := range others {
		if !slices.Contains(patterns, o) && !matchSNI(patterns, o) { // a wildcard is taken by a shorter one, as a name is
			return false
		}
	}
	return others != nil
}

// coversAll tells whether each condition follows from one of the others.
func coversAll(conditions, others []Condition) bool {
	for _, c := range conditions {
		follows := false
		for _, o := range others {
			follows = follows || o.Name == c.Name && (len(c.Values) == 0 || len(o.Values) > 0 && subset(o.Values, c.Values))
		}
		if !follows {
			return false
		}
	}
	return true
}

// subset tells whether all of the sorted values are among the sorted others.
func subset(values, others []string) bool {
	i := 0
	for _, v := range values {
		for i < len(others) && others[i] < v {
			i++
		}
		if i == len(others) || others[i] != v {
			return false
		}
	}
	return true
}

// need is the part of an entry's requests that no better entry takes, as methods for each scheme.
type need [2]struct {
	methods methodSet
	all     bool // every method
}

// need does not rely on a server name to come with https: what the scheme is may be said by a proxy in front.
func (c *criteria) need() need {
	var n need
	for i := range n {
		if c.schemes == 0 || c.schemes&(1<<i) != 0 {
			n[i].methods, n[i].all = methodSet{bits: c.methods.bits, other: append([]string{}, c.methods.other...)}, !c.methods.set()
		}
	}
	return n
}

// take takes off what other criteria match, and reports whether that was anything. What has no methods of its own can only
// be taken off by what has none either: there are more methods than can be listed.
func (n *need) take(c *criteria) (took bool) {
	for i := range n {
		if c.schemes != 0 && c.schemes&(1<<i) == 0 {
			continue
		}
		if !c.methods.set() {
			took = took || !n.empty(i)
			n[i].methods, n[i].all = methodSet{}, false
			continue
		}
		if n[i].all {
			continue
		}
		took = took || n[i].methods.bits&c.methods.bits != 0
		n[i].methods.bits &^= c.methods.bits
		rest := n[i].methods.other[:0]
		for _, m := range n[i].methods.other {
			if c.methods.has(0, m) {
				took = true
			} else {
				rest = append(rest, m)
			}
		}
		n[i].methods.other = rest
	}
	return took
}

func (n *need) empty(i int) bool {
	return !n[i].all && n[i].methods.bits == 0 && len(n[i].methods.other) == 0
}

func (n *need) met() bool { return n.empty(0) && n.empty(1) }
