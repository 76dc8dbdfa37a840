package mirror

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// kind is what a segment of a path stands for.
type kind uint8

const (
	member     kind = iota // the member of that name
	anyMember              // *
	element                // [n]
	anyElement             // [*]
	anyDepth               // **
)

type segment struct {
	kind  kind
	name  string
	index int
}

const (
	maxPath     = 1 << 10 // bytes
	maxSegments = 32
	maxRules    = 256
)

// parsePath parses a path as [Compare] describes it.
func parsePath(s string) ([]segment, error) {
	if s == "" {
		return nil, errors.New("is empty; write $ for the body as a whole")
	}
	if len(s) > maxPath {
		return nil, fmt.Errorf("is longer than %d bytes", maxPath)
	}
	var out []segment
	rest, whole := strings.CutPrefix(s, "$")
	if whole && rest != "" && rest[0] != '.' && rest[0] != '[' { // a name that begins with it
		rest, whole = s, false
	}
	for first := !whole; rest != ""; first = false {
		var seg segment
		var err error
		switch {
		case rest[0] == '[':
			seg, rest, err = bracket(rest[1:])
		case first:
			seg, rest, err = name(rest)
		case rest[0] == '.':
			seg, rest, err = name(rest[1:])
		default:
			err = fmt.Errorf("goes on with %q where there should be a dot or a bracket", shorten(rest))
		}
		if err != nil {
			return nil, err
		}
		if out = append(out, seg); len(out) > maxSegments {
			return nil, fmt.Errorf("has more than %d parts", maxSegments)
		}
	}
	return out, nil
}

// name parses a name up to the next dot or bracket.
func name(s string) (segment, string, error) {
	end := strings.IndexAny(s, ".[")
	if end < 0 {
		end = len(s)
	}
	text, rest := s[:end], s[end:]
	switch {
	case text == "":
		return segment{}, "", errors.New("has an empty name; write it as [\"\"] if it is one")
	case text == "*":
		return segment{kind: anyMember}, rest, nil
	case text == "**":
		return segment{kind: anyDepth}, rest, nil
	case !plain(text):
		return segment{}, "", fmt.Errorf("has the name %q; write it as a JSON string in brackets", shorten(text))
	}
	return segment{name: text}, rest, nil
}

// plain reports whether a name needs no quotes.
func plain(s string) bool {
	return s != "" && s != "*" && s != "**" && !strings.ContainsFunc(s, func(r rune) bool {
		return r == '.' || r == '[' || r == ']' || r == '"' || r == '*' || r == '\uFFFD' || unicode.IsSpace(r) || unicode.IsControl(r)
	})
}

// bracket parses what is behind an opening bracket.
func bracket(s string) (segment, string, error) {
	if strings.HasPrefix(s, `"`) {
		end := 1
		for ; end < len(s) && s[end] != '"'; end++ {
			if s[end] == '\\' {
				end++
			}
		}
		var text string
		if end >= len(s) || json.Unmarshal([]byte(s[:end+1]), &text) != nil || !strings.HasPrefix(s[end+1:], "]") {
			return segment{}, "", errors.New(`has a bracket with a quote that is no JSON string and a closing bracket, as in ["a.b"]`)
		}
		return segment{name: text}, s[end+2:], nil
	}
	text, rest, found := strings.Cut(s, "]")
	if text == "*" && found {
		return segment{kind: anyElement}, rest, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || !found || n < 0 || text[0] == '+' || text[0] == '-' {
		return segment{}, "", errors.New("has a bracket that holds neither * nor the number of an element, from 0")
	}
	return segment{kind: element, index: n}, rest, nil
}

// rule is a path, and what it means.
type rule struct {
	path      []segment
	ignore    bool
	unordered bool
	tolerance Tolerance
}

// rules are those of a Compare.
type rules struct {
	list    []rule
	start   []place
	show    bool
	details int
	tell    func(Difference)
}

// place is how much of a rule's path has been gone along.
type place struct{ rule, done int }

// compile parses the paths of c.
func compile(c *Compare) (*rules, error) {
	var p problems
	rs := &rules{show: c.InsecureShowValues, tell: c.OnDifference}
	parse := func(field, path string, r rule) {
		var err error
		if r.path, err = parsePath(path); err != nil {
			p.addf("Compare.%s %q %w", field, shorten(path), err)
		}
		rs.list = append(rs.list, r)
	}
	for i, path := range c.Ignore {
		parse(fmt.Sprintf("Ignore[%d]", i), path, rule{ignore: true})
	}
	for i, path := range c.Unordered {
		parse(fmt.Sprintf("Unordered[%d]", i), path, rule{unordered: true})
	}
	for i, t := range c.Tolerances {
		if !(t.Absolute >= 0 && t.Relative >= 0) || t.Absolute+t.Relative == 0 || math.IsInf(t.Absolute, 0) || t.Relative > 1 {
			p.addf("Compare.Tolerances[%d] allows %v and a share of %v; use a positive number, or a share up to 1, or both", i, t.Absolute, t.Relative)
		}
		parse(fmt.Sprintf("Tolerances[%d].Path", i), t.Path, rule{tolerance: t})
	}
	if len(rs.list) > maxRules {
		p.addf("Compare has %d paths, at most %d", len(rs.list), maxRules)
	}
	for i := range rs.list {
		rs.start = rs.arrive(rs.start, place{i, 0})
	}
	return rs, errors.Join(p...)
}

// arrive adds a place, and those that are the same since any depth may be none.
func (rs *rules) arrive(to []place, at place) []place {
	if slices.Contains(to, at) {
		return to
	}
	to = append(to, at)
	if path := rs.list[at.rule].path; at.done < len(path) && path[at.done].kind == anyDepth {
		to = rs.arrive(to, place{at.rule, at.done + 1})
	}
	return to
}

// below returns the places at a member, or at an element where isElement.
func (rs *rules) below(at []place, isElement bool, name string, index int) []place {
	var to []place
	for _, p := range at {
		path := rs.list[p.rule].path
		if p.done == len(path) {
			continue
		}
		s := path[p.done]
		switch {
		case s.kind == anyDepth:
			to = rs.arrive(to, p)
		case !isElement && (s.kind == anyMember || s.kind == member && s.name == name),
			isElement && (s.kind == anyElement || s.kind == element && s.index == index):
			to = rs.arrive(to, place{p.rule, p.done + 1})
		}
	}
	return to
}

// here returns what the rules say of the value at these places. Tolerances hold below, too.
func (rs *rules) here(at []place, t Tolerance) (ignore, unordered bool, _ Tolerance) {
	for _, p := range at {
		r := &rs.list[p.rule]
		if p.done < len(r.path) {
			continue
		}
		ignore, unordered = ignore || r.ignore, unordered || r.unordered
		t.Absolute, t.Relative = max(t.Absolute, r.tolerance.Absolute), max(t.Relative, r.tolerance.Relative)
	}
	return ignore, unordered, t
}

// step is one from a value to one inside it.
type step struct {
	name    string
	index   int
	element bool
}

// pathText writes a path as the rules have it.
func pathText(steps []step) string {
	var b strings.Builder
	for i, s := range steps {
		switch {
		case s.element:
			if i == 0 {
				b.WriteByte('$')
			}
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
		case plain(s.name) && len(s.name) <= maxShown && (i > 0 || s.name[0] != '$'):
			if i > 0 {
				b.WriteByte('.')
			}
			b.WriteString(s.name)
		default:
			if i == 0 {
				b.WriteByte('$')
			}
			text, _ := json.Marshal(shorten(s.name)) //nolint:errchkjson // a string
			b.WriteString("[" + string(text) + "]")
		}
		if b.Len() > maxPath {
			return b.String()[:maxPath]
		}
	}
	if len(steps) == 0 {
		return "$"
	}
	return b.String()
}
