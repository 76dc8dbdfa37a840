package config

import (
	"cmp"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// A schema is a struct whose fields say in a tag how the file writes them:
//
//	`kong:"name,option,…"`
//
// with the options required, default=V (an element list is separated by spaces), min=N, max=N (of a list: for its elements),
// oneof=A|B, each=A|B (for the elements of a list), nonempty, secret (never shown), and unsupported (Kong knows it and this module
// does not: it must be absent, null, its default, or, with off=way.to|other.way:V, a map that has 0, or V, at the end of each way).
// A field without the tag is no part of the file. Pointers are fields that may be absent; structs have their defaults then.
type schemaField struct {
	index       int
	name        string
	typ         reflect.Type
	required    bool
	def         string
	hasDefault  bool
	min, max    float64
	hasMin      bool
	hasMax      bool
	oneOf, each []string
	nonempty    bool
	secret      bool
	unsupported bool
	off         []string // see isOff
}

// schemas holds what was read of the tags of a struct.
type schemas struct {
	mu    sync.Mutex
	known map[reflect.Type][]schemaField
}

func (s *schemas) of(t reflect.Type) []schemaField {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fields, ok := s.known[t]; ok {
		return fields
	}
	var fields []schemaField
	for i := range t.NumField() {
		f := t.Field(i)
		tag, ok := f.Tag.Lookup("kong")
		if !ok {
			continue
		}
		fields = append(fields, parseTag(i, f.Type, tag))
	}
	if s.known == nil {
		s.known = map[reflect.Type][]schemaField{}
	}
	s.known[t] = fields
	return fields
}

// holdSecret tells of entities, and lists of them, that have a field not to be shown.
func (s *schemas) holdSecret(t reflect.Type) bool {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Kind() == reflect.Struct && slices.ContainsFunc(s.of(t), func(f schemaField) bool { return f.secret })
}

func parseTag(index int, t reflect.Type, tag string) schemaField {
	name, rest, _ := strings.Cut(tag, ",")
	f := schemaField{index: index, name: name, typ: t}
	for option := range strings.SplitSeq(rest, ",") {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "required":
			f.required = true
		case "default":
			f.def, f.hasDefault = value, true
		case "min":
			f.min, _ = strconv.ParseFloat(value, 64)
			f.hasMin = true
		case "max":
			f.max, _ = strconv.ParseFloat(value, 64)
			f.hasMax = true
		case "oneof":
			f.oneOf = strings.Split(value, "|")
		case "each":
			f.each = strings.Split(value, "|")
		case "nonempty":
			f.nonempty = true
		case "secret":
			f.secret = true
		case "unsupported":
			f.unsupported = true
		case "off":
			f.off = strings.Split(value, "|")
		}
	}
	return f
}

// decoder fills structs from nodes.
type decoder struct {
	problems *problems
	schemas  *schemas
	// notSupported is told about what Kong knows and this module does not.
	notSupported func(n *node, what string)
	// resolve replaces a {vault://…} reference; false when it was reported.
	resolve func(n *node) (string, bool)
}

// decode fills v, a pointer to a struct, and returns the nodes of its fields by name. Defaults are set first.
func (d *decoder) decode(n *node, v any) map[string]*node {
	rv := reflect.ValueOf(v).Elem()
	fields := d.schemas.of(rv.Type())
	d.schemas.setDefaults(rv)
	if n.kind != kindMap {
		d.problems.add(n, n.found(), "expected a map", "")
		return nil
	}
	at := make(map[string]*node, len(n.fields))
	for _, written := range n.fields {
		i := slices.IndexFunc(fields, func(f schemaField) bool { return f.name == written.name })
		if i < 0 {
			d.unknown(n, written, fields)
			continue
		}
		f := fields[i]
		if written.value.kind == kindNull { // absent, as in Kong
			if written.value.bad {
				at[f.name] = written.value
			}
			if written.value.bad && f.secret {
				d.problems.hide(written.value)
			}
			continue
		}
		at[f.name] = written.value
		if f.secret {
			d.problems.secret[written.value] = true
		}
		if f.unsupported {
			if !isDefault(written.value, f) {
				d.notSupported(written.value, f.name)
			}
			continue
		}
		d.value(written.value, rv.Field(f.index), f)
	}
	for _, f := range fields {
		if f.required && at[f.name] == nil && !f.hasDefault {
			d.problems.add(n, "", "required field "+strconv.Quote(f.name)+" is missing", "")
		}
	}
	return at
}

// unknown reports a field no schema has. Two are the author's own.
func (d *decoder) unknown(n *node, f field, fields []schemaField) {
	switch {
	case f.name == "_comment", f.name == "_ignore":
		return
	case d.problems.full(): // without looking for the nearest name
		d.problems.more++
		return
	}
	names := make([]string, 0, len(fields))
	for _, s := range fields {
		names = append(names, s.name)
	}
	remedy := ""
	if near := nearest(f.name, names); near != "" {
		remedy = "did you mean " + strconv.Quote(near) + "?"
	} else if len(names) > 0 {
		slices.Sort(names)
		remedy = oneOf(names)
	}
	d.problems.add(f.key(n), "", "unknown field "+strconv.Quote(shorten(f.name, mostShown)), remedy)
}

// isDefault tells whether a value of an unsupported field asks for nothing: it is what Kong would take anyway.
func isDefault(n *node, f schemaField) bool {
	if n.kind == kindList && len(n.items) == 0 || n.kind == kindMap && len(n.fields) == 0 {
		return true
	}
	if n.kind == kindMap && f.off != nil {
		return isOff(n, f.off)
	}
	if n.kind == kindBool && f.typ.Kind() == reflect.Bool {
		return strconv.FormatBool(n.bool) == cmp.Or(f.def, "false")
	}
	return f.hasDefault && n.text == f.def
}

// isOff tells whether all values within n to which there are these ways are absent, or what the way says, or 0, and n has
// nothing but what they lead through. Kong writes such maps out in full.
func isOff(n *node, ways []string) bool {
	for _, way := range ways {
		at := n
		way, off, _ := strings.Cut(way, ":")
		for step := range strings.SplitSeq(way, ".") {
			if at != nil && at.kind != kindMap {
				return false
			}
			if at != nil {
				at = at.get(step)
			}
		}
		if at != nil && (at.kind >= kindList || at.text != cmp.Or(off, "0")) {
			return false
		}
	}
	return !slices.ContainsFunc(n.fields, func(f field) bool {
		return f.value.kind != kindNull && !slices.ContainsFunc(ways, func(way string) bool {
			rest, ok := strings.CutPrefix(way, f.name)
			return ok && (rest == "" || rest[0] == '.' || rest[0] == ':')
		})
	})
}

// isRecord tells of structs that are part of what they stand in, and have their defaults where they are not written.
func isRecord(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t != reflect.TypeFor[ref]() && t != reflect.TypeFor[rawMap]()
}

// setDefaults sets the fields of a struct, and of the records in it, to their defaults.
func (s *schemas) setDefaults(v reflect.Value) {
	for _, f := range s.of(v.Type()) {
		switch field := v.Field(f.index); {
		case f.hasDefault:
			setDefault(field, f.def)
		case isRecord(f.typ) && !f.unsupported:
			s.setDefaults(field)
		}
	}
}

// setDefault sets a field to the default of its tag.
func setDefault(v reflect.Value, def string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(def)
	case reflect.Bool:
		v.SetBool(def == "true")
	case reflect.Int, reflect.Int64:
		i, _ := strconv.ParseInt(def, 10, 64)
		v.SetInt(i)
	case reflect.Float64:
		f, _ := strconv.ParseFloat(def, 64)
		v.SetFloat(f)
	case reflect.Slice:
		elements := strings.Fields(def)
		list := reflect.MakeSlice(v.Type(), len(elements), len(elements))
		for i, e := range elements {
			setDefault(list.Index(i), e)
		}
		v.Set(list)
	default:
	}
}

// value fills one field.
func (d *decoder) value(n *node, v reflect.Value, f schemaField) bool {
	if n.kind == kindString && v.Kind() != reflect.Pointer && strings.HasPrefix(n.text, "{vault://") {
		text, ok := d.resolve(n)
		if !ok {
			return false
		}
		resolved := scalarOf(text, v.Kind())
		resolved.line, resolved.column = n.line, n.column
		resolved.parent, resolved.step, resolved.index, resolved.isItem = n.parent, n.step, n.index, n.isItem
		d.problems.secret[resolved] = true
		ok = d.fill(resolved, v, f)
		n.bad = n.bad || resolved.bad
		return ok
	}
	return d.fill(n, v, f)
}

// fill is value for what is no reference.
func (d *decoder) fill(n *node, v reflect.Value, f schemaField) bool {
	if n.kind < kindList && d.schemas.holdSecret(v.Type()) {
		d.problems.secret[n] = true // it stands where a credential with its fields should
	}
	switch x := v.Addr().Interface().(type) {
	case *ref:
		return d.ref(n, x)
	case *rawMap:
		if n.kind != kindMap {
			return d.expected(n, "a map", "") // also where nobody knows what it is for
		}
		x.node = n
		return true
	}
	switch v.Kind() {
	case reflect.Pointer:
		p := reflect.New(v.Type().Elem())
		if o, ok := reflect.TypeAssert[interface{ at(n *node) }](p); ok {
			o.at(n)
		}
		ok := d.value(n, p.Elem(), f)
		if ok || v.Type().Elem().Kind() == reflect.Struct {
			v.Set(p) // no entity is nil, also where parts of it are wrong
		}
		return ok
	case reflect.String:
		return d.text(n, v, f)
	case reflect.Bool:
		if n.kind != kindBool {
			return d.expected(n, "a boolean", "use true or false")
		}
		v.SetBool(n.bool)
	case reflect.Int, reflect.Int64, reflect.Float64:
		return d.number(n, v, f)
	case reflect.Slice:
		return d.list(n, v, f)
	case reflect.Map:
		return d.dict(n, v, f)
	case reflect.Struct:
		before := d.problems.count()
		d.decode(n, v.Addr().Interface())
		return d.problems.count() == before
	default:
		d.problems.add(n, "", "the schema's field is of type "+v.Type().String()+", which no file can fill", "see Schema for those that can be")
		return false
	}
	return true
}

// ref reads a reference to another entity.
func (d *decoder) ref(n *node, r *ref) bool {
	name := n
	if n.kind == kindMap {
		if name = n.get("name"); name == nil {
			name = n.get("id")
		}
		if name == nil {
			name = n.get("username")
		}
		if name == nil || len(n.fields) != 1 {
			return d.expected(n, "a name", "write a string, or a map with name or id")
		}
	}
	if name.kind != kindString || name.text == "" {
		return d.expected(name, "the name or the id of an entity", "")
	}
	r.name, r.node = name.text, name
	return true
}

// scalarOf reads the text behind a reference as a value of the wanted kind.
func scalarOf(text string, want reflect.Kind) *node {
	n := &node{kind: kindString, text: text}
	switch want {
	case reflect.Int, reflect.Int64, reflect.Float64:
		if i, err := strconv.ParseInt(text, 10, 64); err == nil {
			n.kind, n.int, n.float = kindInt, i, float64(i)
		} else if f, err := strconv.ParseFloat(text, 64); err == nil {
			n.kind, n.float = kindFloat, f
		}
	case reflect.Bool:
		if text == "true" || text == "false" {
			n.kind, n.bool = kindBool, text == "true"
		}
	default:
	}
	return n
}

func (d *decoder) expected(n *node, what, remedy string) bool {
	d.problems.add(n, n.found(), "expected "+what, remedy)
	return false
}

func rangeText(f schemaField) string {
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	switch {
	case f.hasMin && f.hasMax:
		return "use " + number(f.min) + " to " + number(f.max)
	case f.hasMin:
		return "use " + number(f.min) + " or more"
	case f.hasMax:
		return "use " + number(f.max) + " or less"
	default:
		return ""
	}
}

func (d *decoder) number(n *node, v reflect.Value, f schemaField) bool {
	isFloat := v.Kind() == reflect.Float64
	switch {
	case !isFloat && n.kind != kindInt:
		return d.expected(n, "an integer", rangeText(f))
	case n.kind != kindInt && n.kind != kindFloat:
		return d.expected(n, "a number", rangeText(f))
	case f.hasMin && n.float < f.min || f.hasMax && n.float > f.max:
		d.problems.add(n, n.found(), "is out of range", rangeText(f))
		return false
	case isFloat:
		v.SetFloat(n.float)
	default:
		v.SetInt(n.int)
	}
	return true
}

func (d *decoder) text(n *node, v reflect.Value, f schemaField) bool {
	if n.kind != kindString {
		if n.kind < kindList { // what is meant is clear, and others may name it
			v.SetString(n.text)
		}
		return d.expected(n, "a string", "put it into quotes")
	}
	if f.nonempty && n.text == "" {
		d.problems.add(n, n.found(), "is empty", "give it a value, or leave it out")
		return false
	}
	if f.oneOf != nil && !slices.Contains(f.oneOf, n.text) {
		remedy := oneOf(f.oneOf)
		if near := nearest(n.text, f.oneOf); near != "" {
			remedy = "did you mean " + strconv.Quote(near) + "? " + remedy
		}
		d.problems.add(n, n.found(), "is not a value of this field", remedy)
		return false
	}
	v.SetString(n.text)
	return true
}

func (d *decoder) list(n *node, v reflect.Value, f schemaField) bool {
	if n.kind != kindList && (n.kind != kindMap || len(n.fields) > 0) { // Lua knows no empty list
		return d.expected(n, "a list", "write [ … ]")
	}
	if f.nonempty && len(n.items) == 0 {
		d.problems.add(n, "", "the list is empty", "give it an element, or leave it out")
		return false
	}
	list := reflect.MakeSlice(v.Type(), len(n.items), len(n.items))
	element := schemaField{typ: v.Type().Elem(), oneOf: f.each, secret: f.secret, nonempty: true, min: f.min, max: f.max, hasMin: f.hasMin, hasMax: f.hasMax}
	ok := true
	for i, item := range n.items {
		if f.secret {
			d.problems.secret[item] = true
		}
		ok = d.value(item, list.Index(i), element) && ok
	}
	v.Set(list)
	return ok
}

func (d *decoder) dict(n *node, v reflect.Value, f schemaField) bool {
	if n.kind == kindList && len(n.items) == 0 {
		return true
	}
	if n.kind != kindMap {
		return d.expected(n, "a map", "")
	}
	m := reflect.MakeMapWithSize(v.Type(), len(n.fields))
	element := schemaField{typ: v.Type().Elem(), secret: f.secret}
	ok := true
	for _, written := range n.fields {
		e := reflect.New(v.Type().Elem()).Elem()
		if f.secret {
			d.problems.secret[written.value] = true
		}
		if d.value(written.value, e, element) {
			m.SetMapIndex(reflect.ValueOf(written.name), e)
		} else {
			ok = false
		}
	}
	v.Set(m)
	return ok
}

// fail reports a problem of a field of an entity.
func (d *decoder) fail(n *node, problem string) {
	if n == nil {
		return
	}
	d.problems.add(n, n.found(), problem, "")
}
