package router

import (
	"errors"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

const (
	// maxSegments bounds the segments of a pattern with wildcards, because their positions are bits of one word.
	maxSegments = 64
	// maxPattern bounds the bytes of a literal. Longer paths are refused before they are routed.
	maxPattern = 8 << 10
)

// A Kind is the kind of a path pattern, in order of precedence.
type Kind uint8

const (
	// Exact is a path without wildcards, from Route.Paths.
	Exact Kind = iota
	// Regexp is one of Route.Regexps.
	Regexp
	// Parameters is a path with :names but without a star at its end.
	Parameters
	// Subtree is a path that ends in /*name.
	Subtree
	// Prefix is one of Route.Prefixes.
	Prefix
	// NoPath is the kind of the entries of a route without any path.
	NoPath
)

// String returns the kind's name in lower case.
func (k Kind) String() string {
	switch k {
	case Exact:
		return "exact"
	case Regexp:
		return "regexp"
	case Parameters:
		return "parameters"
	case Subtree:
		return "subtree"
	case Prefix:
		return "prefix"
	case NoPath:
		return "no path"
	default:
		return "kind " + strconv.Itoa(int(k))
	}
}

// A path is a parsed and canonicalised pattern.
type path struct {
	kind Kind
	// literal is an exact path, a raw prefix, or the text a regular expression's matches all begin with.
	literal string
	// shape is the pattern in the one spelling that equal patterns share: names of wildcards dropped, literal colons
	// and stars escaped. For prefixes and regular expressions it is the pattern itself.
	shape string

	segments int    // of Parameters and Subtree, without the star's
	wild     uint64 // which of them are parameters: bit 0 is the first
	literals int    // how many of them are literal
	text     int    // bytes of literal text, the measure of "longer pattern"

	re       *regexp.Regexp // anchored
	whole    bool           // it matches whatever begins with literal
	captures int
	priority int
	params   []param
}

// A fault is what is wrong with a value, and what to write instead.
type fault struct{ reason, remedy string }

// parsePath reads an element of Route.Paths.
func parsePath(written string, o Options) (*path, *fault) {
	if f := checkLiteral(written, "Prefixes or Regexps"); f != nil {
		return nil, f
	}
	if strings.ContainsAny(written, "{}") { // no canonical path has them, so that none is meant
		return nil, &fault{"has braces, which are not how wildcards are written here", bracesRemedy(written)}
	}
	clean, f := canonicalise(written, "", o)
	if f != nil {
		return nil, f
	}
	p := &path{kind: Exact, literal: clean}
	if !strings.Contains(clean, "/:") && !strings.Contains(clean, "/*") {
		p.text = len(clean)
		p.shape = escapeColons(clean)
		return p, nil
	}
	return parseWildcards(clean, p)
}

// parseWildcards reads a canonical pattern in which a segment begins with a colon or a star.
func parseWildcards(clean string, p *path) (*path, *fault) {
	p.kind, p.literal = Parameters, ""
	var shape strings.Builder
	segments := strings.Split(clean[1:], "/")
	for i, segment := range segments {
		shape.WriteByte('/')
		if segment == "" || segment[0] != ':' && segment[0] != '*' {
			p.literals++
			p.text += len(segment)
			shape.WriteString(escapeColons(segment))
			continue
		}
		name := segment[1:]
		if f := checkName(segment, name, p.params); f != nil {
			return nil, f
		}
		p.params = append(p.params, param{name: name, value: len(p.params)})
		shape.WriteByte(segment[0])
		if segment[0] == ':' {
			if i < maxSegments {
				p.wild |= 1 << i
			}
			continue
		}
		if i != len(segments)-1 {
			return nil, &fault{"has " + strconv.Quote(segment) + " before its end",
				"a star takes the rest of the path and may only be the last segment; use :" + name + " for one segment"}
		}
		p.kind = Subtree
		segments = segments[:i]
	}
	p.segments = len(segments)
	if p.segments > maxSegments {
		return nil, &fault{"has " + strconv.Itoa(p.segments) + " segments",
			"a pattern with wildcards may have at most " + strconv.Itoa(maxSegments) + "; use Prefixes or Regexps"}
	}
	p.shape = shape.String()
	return p, nil
}

func checkName(segment, name string, before []param) *fault {
	if !isName(name) {
		return &fault{"has the wildcard " + strconv.Quote(segment) + ", whose name is empty or has other characters than letters, digits and _",
			"name it as in /:id or /*rest, or write %3A or %2A for a literal colon or star"}
	}
	for _, p := range before {
		if p.name == name {
			return &fault{"has two wildcards named " + strconv.Quote(name), "give each its own name"}
		}
	}
	return nil
}

// bracesRemedy writes a pattern of net/http and other routers in our way, where that can be told.
func bracesRemedy(written string) string {
	segments := strings.Split(written, "/")
	for i, s := range segments {
		if len(s) < 2 || s[0] != '{' || s[len(s)-1] != '}' {
			continue
		}
		name, rest := strings.CutSuffix(s[1:len(s)-1], "...")
		switch {
		case !isName(name):
		case rest && i == len(segments)-1:
			segments[i] = "*" + name
		case !rest:
			segments[i] = ":" + name
		}
	}
	if ours := strings.Join(segments, "/"); !strings.ContainsAny(ours, "{}") {
		return "write " + strconv.Quote(ours)
	}
	return "write /:name for one segment, /*name for the rest, %7B and %7D for the braces themselves; use Regexps for anything else"
}

// parsePrefix reads an element of Route.Prefixes.
func parsePrefix(written string, o Options) (*path, *fault) {
	if f := checkLiteral(written, "Regexps"); f != nil {
		return nil, f
	}
	// A prefix may end in the middle of a segment, so that "/." is not the dot segment it looks like. With a letter
	// behind it, it is read as the beginning it is.
	clean, f := canonicalise(written, "x", o)
	if f != nil {
		return nil, f
	}
	clean = canonical.MatchKey(clean) // nothing is a wildcard in a prefix
	return &path{kind: Prefix, literal: clean, shape: clean, text: len(clean)}, nil
}

// parseRegexp reads an element of Route.Regexps.
func parseRegexp(written string, priority int) (*path, *fault) {
	if written == "" {
		return nil, &fault{"is empty and would match every path", "leave Regexps empty, or write /"}
	}
	if canonical.DecodedKey(written) != written {
		return nil, &fault{"has an escape that is decoded before expressions are matched", "write the character itself instead of %20 and the like"}
	}
	if i := lowerEscape(written); i >= 0 {
		return nil, &fault{"has the escape " + written[i:i+3] + " in lower case, and paths have them in upper case when they are matched",
			"write " + strings.ToUpper(written[i:i+3])}
	}
	// Parsed alone first: "a)(b" is an error, although it compiles inside the group that anchors it.
	tree, err := syntax.Parse(written, syntax.Perl)
	if err != nil {
		return nil, &fault{"is not a regular expression: " + err.Error(), "use RE2 syntax, as package regexp"}
	}
	re, err := regexp.Compile("^(?:" + written + ")")
	if err != nil {
		return nil, &fault{"does not compile: " + err.Error(), "use a simpler expression"}
	}
	p := &path{kind: Regexp, shape: written, priority: priority, re: re, captures: re.NumSubexp()}
	var x extent
	p.literal, x = literalPrefix(tree, true)
	p.whole = x != more
	if p.literal != "" && p.literal[0] != '/' {
		return nil, &fault{"can match no path", "begin it with a slash, as every path does"}
	}
	if strings.ContainsFunc(p.literal, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil, &fault{"can match no path", "write control characters percent-encoded, as paths arrive"}
	}
	for i, name := range re.SubexpNames()[1:] {
		p.params = append(p.params, param{name: strconv.Itoa(i + 1), value: i})
		if name == "" {
			continue
		}
		if !isName(name) {
			return nil, &fault{"has a capture named " + strconv.Quote(name),
				"use letters, digits and _, not beginning with a digit: numbers are the names of captures without one"}
		}
		p.params = append(p.params, param{name: name, value: i})
	}
	return p, nil
}

// lowerEscape returns where an expression has a percent-encoding with a lower-case letter, or -1.
func lowerEscape(s string) int {
	for i := 0; i+2 < len(s); i++ {
		if _, _, ok := escapeAt(s, i); s[i] == '%' && ok && strings.ToUpper(s[i+1:i+3]) != s[i+1:i+3] {
			return i
		}
	}
	return -1
}

// An extent is what an expression, which is anchored at its start only, matches beside the text all its matches begin with.
type extent uint8

const (
	more    extent = iota // there are conditions on what follows
	exactly               // the text itself, and nothing more: what follows in the expression follows the text
	begins                // the text and whatever follows: the rest of the expression may match nothing
)

// literalPrefix returns the text every match of an expression begins with, and what else it asks for. atStart says that
// nothing stands before it. Package regexp computes the text, but not for anchored expressions and not through captures.
func literalPrefix(re *syntax.Regexp, atStart bool) (string, extent) {
	switch re.Op {
	case syntax.OpEmptyMatch:
		return "", exactly
	case syntax.OpBeginText:
		if atStart {
			return "", exactly
		}
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase == 0 {
			return string(re.Rune), exactly
		}
	case syntax.OpCapture:
		return literalPrefix(re.Sub[0], atStart)
	case syntax.OpPlus, syntax.OpRepeat:
		if re.Op == syntax.OpRepeat && re.Min == 0 {
			break
		}
		prefix, x := literalPrefix(re.Sub[0], atStart)
		if x == more || re.Op == syntax.OpRepeat && re.Min > 1 {
			return prefix, more
		}
		return prefix, begins // once will do
	case syntax.OpConcat:
		return literalConcat(re.Sub, atStart)
	default:
	}
	if optional(re) {
		return "", begins
	}
	return "", more
}

func literalConcat(parts []*syntax.Regexp, atStart bool) (prefix string, x extent) {
	x = exactly
	for _, part := range parts {
		switch {
		case x == exactly:
			var text string
			text, x = literalPrefix(part, atStart && prefix == "")
			prefix += text
		case !optional(part):
			return prefix, more
		}
		if x == more {
			return prefix, more
		}
	}
	return prefix, x
}

// optional tells whether an expression matches nothing at all, wherever that is asked.
func optional(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpStar, syntax.OpQuest:
		return true
	case syntax.OpRepeat:
		return re.Min == 0 || optional(re.Sub[0])
	case syntax.OpPlus, syntax.OpCapture:
		return optional(re.Sub[0])
	case syntax.OpConcat:
		return !slices.ContainsFunc(re.Sub, func(sub *syntax.Regexp) bool { return !optional(sub) })
	case syntax.OpAlternate:
		return slices.ContainsFunc(re.Sub, optional)
	default: // among them what looks at where it stands: ^, $, \b
		return false
	}
}

// checkLiteral refuses what cannot be a path at all. other names the fields that could take what was meant.
func checkLiteral(written, other string) *fault {
	switch {
	case written == "":
		return &fault{"is empty", "leave the list empty to match every path, or write /"}
	case written[0] == '~':
		return &fault{"begins with ~ and not with a slash", "put regular expressions in Regexps, without the ~"}
	case hasMethod(written):
		return &fault{"begins with a method", "put the method into Methods and a host into Hosts, and write only the path"}
	case written[0] != '/':
		return &fault{"does not begin with a slash", "write " + strconv.Quote("/"+written)}
	case len(written) > maxPattern:
		return &fault{"is longer than " + strconv.Itoa(maxPattern) + " bytes", "shorten it"}
	case strings.ContainsAny(written, "?#"):
		return &fault{"has a query or a fragment", "write only the path; use Query for conditions on the query, " + other + " for patterns"}
	default:
		return nil
	}
}

// hasMethod tells whether a path is written as net/http's ServeMux has it: "GET /users".
func hasMethod(written string) bool {
	method, rest, ok := strings.Cut(written, " ")
	return ok && method != "" && strings.Trim(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "" && strings.Contains(rest, "/")
}

// canonicalise brings a literal into the spelling requests have when they are looked up. Escapes are respelled in
// silence; dot segments and repeated slashes are refused, because what was meant is not what was written. tail stands for
// what follows.
func canonicalise(written, tail string, o Options) (string, *fault) {
	clean, err := canonical.Literal(written+tail, canonical.PathOptions{AllowEncodedSlash: o.AllowEncodedSlash})
	if err != nil {
		return "", pathFault(err)
	}
	last := strings.HasSuffix(clean, "/") && !strings.HasSuffix(written+tail, "/")
	clean = strings.TrimSuffix(clean, tail)
	if last || strings.Count(clean, "/") != strings.Count(written, "/") {
		return "", &fault{"has dot segments or repeated slashes, which no request has when it is matched", "write " + strconv.Quote(clean)}
	}
	return canonical.MatchKeyExcept(clean, ":*"), nil // those two would become wildcards; index keys have them decoded
}

// pathFault puts the reason of canonical.Literal into words.
func pathFault(err error) *fault {
	var refused *canonical.PathError
	if !errors.As(err, &refused) {
		return &fault{"is not a path", "write the path as it arrives, percent-encoded"}
	}
	switch refused.Reason {
	case canonical.ReasonEncodedSlash:
		return &fault{"has an encoded slash, which requests may not have", "set AllowEncodedSlash, or leave the slash out"}
	case canonical.ReasonBadEscape:
		return &fault{"has a percent sign without two hexadecimal digits", "write %25 for the sign itself"}
	default:
		return &fault{"is a path no request can have when it is matched (" + refused.Reason + ")", "leave out what is refused at the entry"}
	}
}

// escapeColons spells literal colons and stars in one way.
func escapeColons(s string) string {
	if !strings.ContainsAny(s, ":*") {
		return s
	}
	return strings.NewReplacer(":", "%3A", "*", "%2A").Replace(s)
}

// isName tells whether a string can name a wildcard.
func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// segmentEnd returns the end of the segment of a path that begins at start.
func segmentEnd(path string, start int) int {
	if i := strings.IndexByte(path[start:], '/'); i >= 0 {
		return start + i
	}
	return len(path)
}
