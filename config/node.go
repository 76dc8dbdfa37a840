package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Bounds on a file, whoever wrote it.
const (
	// maxNodes bounds the values of a file, and maxAliased those its aliases stand for: a short file may stand for a long
	// one.
	maxNodes   = 1 << 20
	maxAliased = 1 << 19
	maxDepth   = 64
)

// kind is what a value is.
type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindInt
	kindFloat
	kindString
	kindList
	kindMap
)

// String names the kind for people.
func (k kind) String() string {
	return [...]string{"null", "a boolean", "an integer", "a number", "a string", "a list", "a map"}[k]
}

// node is a value of a file, and where it stands.
type node struct {
	kind   kind
	text   string // of a scalar, as written
	bool   bool
	int    int64
	float  float64
	items  []*node
	fields []field

	line, column int

	// The way to the value: a field of the parent, or an element. A path is written when a problem needs it; kept ones would
	// be larger than the file many times over.
	parent *node
	step   string
	index  int
	isItem bool

	bad bool // something about it, or in it, was reported when it was read
}

// in makes n the value of a field of parent.
func (n *node) in(parent *node, step string) *node {
	n.parent, n.step = parent, step
	return n
}

// path writes the way to a value, such as services[2].routes[0].paths[1].
func (n *node) path() string {
	var steps []string
	for ; n != nil && n.parent != nil; n = n.parent {
		switch {
		case n.isItem:
			steps = append(steps, "["+strconv.Itoa(n.index)+"]")
		case isPlain(n.step):
			steps = append(steps, "."+n.step)
		default:
			steps = append(steps, "["+strconv.Quote(shorten(n.step, mostShown))+"]")
		}
	}
	slices.Reverse(steps)
	return strings.TrimPrefix(strings.Join(steps, ""), ".")
}

// isPlain tells whether a field needs no quotes in a path.
func isPlain(name string) bool {
	return name != "" && len(name) <= mostShown && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
	})
}

// mostShown bounds what messages show of a value.
const mostShown = 64

// shorten cuts a text for people.
func shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

type field struct {
	name         string
	value        *node
	line, column int // of the name
}

// key returns the name as a value of the map it stands in.
func (f *field) key(n *node) *node {
	k := &node{kind: kindString, text: f.name, line: f.line, column: f.column}
	return k.in(n, f.name)
}

// get returns the value of a field; nil when there is none, or when it is null.
func (n *node) get(name string) *node {
	for i := range n.fields {
		if f := &n.fields[i]; f.name == name && f.value.kind != kindNull {
			return f.value
		}
	}
	return nil
}

// found describes a value for people, shortly.
func (n *node) found() string {
	switch n.kind {
	case kindNull:
		return "null"
	case kindBool, kindInt, kindFloat:
		return shorten(n.text, mostShown)
	case kindString:
		return strconv.Quote(shorten(n.text, mostShown))
	case kindList, kindMap:
	}
	return n.kind.String()
}

// parser turns a file into nodes.
type parser struct {
	problems *problems
	nodes    int
	aliased  int
	open     map[*yaml.Node]bool // aliases being written out
}

var errEmpty = errors.New("the file is empty; it needs at least _format_version")

// parse reads YAML, of which JSON is a part. It returns nil when there is nothing to go on with.
func parse(data []byte, p *problems) *node {
	values := 0 // at least, and before they take up memory
	for _, mark := range []string{",", ":", "\n", "[", "{"} {
		values += bytes.Count(data, []byte(mark))
	}
	if values > maxNodes {
		p.addText(1, fmt.Sprintf("the file has more than %d names, values and lines", maxNodes))
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(yamlEscapes(data)))
	var root yaml.Node
	if err := dec.Decode(&root); err != nil {
		if errors.Is(err, io.EOF) {
			err = errEmpty
		}
		p.addText(lineOf(err, data), yamlText(err))
		return nil
	}
	var second yaml.Node
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		line := second.Line
		if err != nil {
			line = lineOf(err, data)
		}
		p.addText(line, "the file has more than one document; put all of it into one")
		return nil
	}
	if len(root.Content) != 1 {
		p.addText(1, errEmpty.Error())
		return nil
	}
	ps := parser{problems: p, open: map[*yaml.Node]bool{}}
	return ps.node(root.Content[0], &node{}, 0)
}

// yamlEscapes writes what YAML lacks of JSON in YAML's words: the escaped slash, and the two escapes for a character beyond 16
// bits.
func yamlEscapes(data []byte) []byte {
	has := func(escape string) bool { return bytes.Contains(data, []byte(escape)) }
	if !has(`\ud`) && !has(`\uD`) && !has(`\/`) || !json.Valid(data) {
		return data
	}
	escape := func(at int) rune { // of four digits; -1 for none
		if at+6 > len(data) || data[at] != '\\' || data[at+1] != 'u' {
			return -1
		}
		n, err := strconv.ParseUint(string(data[at+2:at+6]), 16, 16)
		if err != nil {
			return -1
		}
		return rune(n)
	}
	out := make([]byte, 0, len(data))
	for i := 0; i < len(data); i++ {
		if data[i] != '\\' { // which JSON has in strings only
			out = append(out, data[i])
			continue
		}
		if r := utf16.DecodeRune(escape(i), escape(i+6)); r != utf8.RuneError {
			out = fmt.Appendf(out, `\U%08X`, r)
			i += 11
			continue
		}
		if i++; data[i] != '/' {
			out = append(out, '\\')
		}
		out = append(out, data[i])
	}
	return out
}

// lineOf finds the line in an error of package yaml, which has it in its text only.
func lineOf(err error, data []byte) int {
	if _, name, ok := strings.Cut(err.Error(), "unknown anchor '"); ok { // the only one without a line
		name, _, _ = strings.Cut(name, "'")
		before, _, _ := bytes.Cut(data, []byte("*"+name))
		return 1 + bytes.Count(before, []byte("\n"))
	}
	_, rest, ok := strings.Cut(err.Error(), "line ")
	if !ok {
		return 1
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	line, convErr := strconv.Atoi(rest[:max(end, 0)])
	if convErr != nil {
		return 1
	}
	return line
}

func yamlText(err error) string {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if _, rest, ok := strings.Cut(text, ": "); ok && strings.HasPrefix(text, "line ") {
		text = rest
	}
	return text
}

// node fills n, which knows where it belongs, and returns it; nil for what was reported.
func (p *parser) node(y *yaml.Node, n *node, depth int) *node {
	n.line, n.column = y.Line, y.Column
	if p.tooMany(n) {
		return nil
	}
	if depth > maxDepth {
		p.problems.add(n, "", fmt.Sprintf("the file is nested deeper than %d levels", maxDepth), "no entity is")
		return nil
	}
	switch y.Kind {
	case yaml.AliasNode:
		if p.open[y.Alias] {
			p.problems.add(n, "*"+y.Value, "the alias is inside what it stands for", "write the value out")
			return nil
		}
		p.open[y.Alias] = true
		defer delete(p.open, y.Alias)
		return p.node(y.Alias, n, depth)
	case yaml.SequenceNode:
		if !p.tag(n, y, "!!seq") {
			return nil
		}
		n.kind = kindList
		n.items = make([]*node, 0, len(y.Content))
		for i, item := range y.Content {
			if v := p.node(item, &node{parent: n, index: i, isItem: true}, depth+1); v != nil {
				n.items = append(n.items, v)
			}
		}
	case yaml.MappingNode:
		if !p.tag(n, y, "!!map") {
			return nil
		}
		n.kind = kindMap
		p.fields(n, y, depth)
	case yaml.ScalarNode:
		if !p.scalar(n, y) {
			return nil
		}
	case yaml.DocumentNode:
		return nil
	}
	return n
}

// tooMany counts a value, and reports once when there are more than a file may have.
func (p *parser) tooMany(n *node) bool {
	p.nodes++
	if len(p.open) > 0 {
		p.aliased++
	}
	switch {
	case p.nodes == maxNodes+1:
		p.problems.add(n, "", fmt.Sprintf("the file has more than %d values", maxNodes), "write less")
	case p.aliased == maxAliased+1:
		p.problems.add(n, "", fmt.Sprintf("the aliases of the file stand for more than %d values", maxAliased), "write less")
	}
	return p.nodes > maxNodes || p.aliased > maxAliased
}

// tag reports a value with a tag that makes something else of it.
func (p *parser) tag(n *node, y *yaml.Node, allowed ...string) bool {
	if y.Style&yaml.TaggedStyle == 0 || slices.Contains(allowed, y.ShortTag()) {
		return true
	}
	p.problems.add(n, shorten(y.Tag, mostShown), "the tag means nothing here", "leave it out")
	return false
}

func (p *parser) fields(n *node, y *yaml.Node, depth int) {
	seen := make(map[string]int, len(y.Content)/2)
	n.fields = make([]field, 0, len(y.Content)/2)
	var merged []field
	for i := 0; i+1 < len(y.Content); i += 2 {
		key, value := y.Content[i], y.Content[i+1]
		f := field{name: key.Value, line: key.Line, column: key.Column}
		switch {
		case key.Kind != yaml.ScalarNode:
			f.name = "?"
			p.problems.add(f.key(n), "", "a key that is not a string", "use a name")
			continue
		case key.ShortTag() == "!!merge":
			merged = append(merged, p.merge(f.key(n), n, value, depth)...)
			continue
		}
		if first, twice := seen[key.Value]; twice {
			p.problems.add(f.key(n), shorten(key.Value, mostShown), "the key is there already, on line "+strconv.Itoa(first), "leave one out")
			continue
		}
		seen[key.Value] = key.Line
		at := new(node).in(n, key.Value)
		if f.value = p.node(value, at, depth+1); f.value == nil { // reported, and absent for those who ask
			*at = node{line: at.line, column: at.column, parent: n, step: key.Value, bad: true}
			f.value = at
		}
		n.fields = append(n.fields, f)
	}
	for _, f := range merged { // what is written in place wins
		if _, there := seen[f.name]; !there {
			seen[f.name] = f.line
			n.fields = append(n.fields, f)
		}
	}
}

// merge returns the fields that a merge key brings into n: those of a map, or of a list of maps, the first first.
func (p *parser) merge(k, n *node, y *yaml.Node, depth int) []field {
	v := p.node(y, new(node).in(n, k.step), depth+1)
	if v == nil {
		return nil
	}
	maps := []*node{v}
	if v.kind == kindList {
		maps = v.items
	}
	var out []field
	for _, m := range maps {
		if m.kind != kindMap {
			p.problems.add(k, m.found(), "expected a map to merge, or a list of maps", "write <<: *anchor")
			continue
		}
		for _, f := range m.fields { // they are fields of n now
			f.value.parent = n
			out = append(out, f)
		}
	}
	return out
}

// scalar reads one value; false when it was reported.
func (p *parser) scalar(n *node, y *yaml.Node) bool {
	n.kind, n.text = kindString, y.Value
	if !p.tag(n, y, "!!null", "!!bool", "!!int", "!!float", "!!str", "!!timestamp") {
		return false
	}
	switch y.ShortTag() {
	case "!!null":
		n.kind = kindNull
		if y.Value != "" && y.Value != "~" && !strings.EqualFold(y.Value, "null") {
			return p.untrue(n, y)
		}
	case "!!bool":
		n.kind = kindBool
		n.bool = strings.EqualFold(y.Value, "true")
		if !n.bool && !strings.EqualFold(y.Value, "false") {
			return p.untrue(n, y)
		}
	case "!!int":
		var v int64
		if err := y.Decode(&v); err != nil {
			p.problems.add(n, n.found(), "is no integer of 64 bits", "use a smaller one, or put it into quotes")
			return false
		}
		n.kind, n.int, n.float = kindInt, v, float64(v)
	case "!!float":
		var v float64
		if err := y.Decode(&v); err != nil || math.IsInf(v, 0) || math.IsNaN(v) {
			n.kind = kindFloat
			p.problems.add(n, n.found(), "is no finite number", "use one, or put it into quotes")
			return false
		}
		n.kind, n.float = kindFloat, v
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			n.kind, n.int = kindInt, int64(v) // 1.0 and 1e3 are integers to Kong
		}
	}
	return true
}

// untrue reports a value that is not what its tag says.
func (p *parser) untrue(n *node, y *yaml.Node) bool {
	n.kind = kindString
	p.problems.add(n, n.found(), "is not what its tag says, "+y.ShortTag(), "leave the tag out")
	return false
}
