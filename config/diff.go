package config

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Changes are what one snapshot has otherwise than another, by kind and name.
type Changes []Change

// Change is an entity that was added, removed or changed.
type Change struct {
	// Action is "added", "removed" or "changed".
	Action string `json:"action"`
	// Kind is what the entity is, such as "service" or "keyauth_credential"; "file" is the file itself.
	Kind string `json:"kind"`
	// Name tells it from others of its kind: its name, what it belongs to where it has none of its own, or else its id.
	// It is the new one where the entity was renamed. Credentials are never part of it.
	Name string `json:"name,omitempty"`
	// Fields are those that changed, or for an added entity those that are set, by name. A removed entity has none.
	Fields []FieldChange `json:"fields,omitempty"`
}

// FieldChange is a field of a changed entity.
type FieldChange struct {
	// Field is its name in the file; those of a record have its name before them, such as those of a plugin's "config.".
	Field string `json:"field"`
	// Old and New are its values as JSON has them, with defaults filled in; nil where it has none, and where it is
	// Secret. References to the environment stand for themselves.
	Old any `json:"old,omitempty"`
	New any `json:"new,omitempty"`
	// Secret says that the field has another value now, and that neither may be shown: it is a credential, or comes from
	// the environment.
	Secret bool `json:"secret,omitempty"`
}

// Diff tells what a gateway would do otherwise with the new snapshot than with the old one; nil is a snapshot of an empty file.
//
// Entities are what is compared, and not text: where they stand in the file, nested or not, does not count, nor does
// whether a default is written out. What is left out (see [Options.AllowUnsupported]) is no part of it, nor are updated_at
// and the order of the file, which decides only between routes that nothing else distinguishes.
//
// An entity is the same one when the ids are, or else the names. One under another name whose fields are all the same
// is taken as renamed, if no other might be. Entities without a name are told apart by what they hold.
func Diff(before, after *Snapshot) Changes {
	p := pairing{partner: map[*entity]*entity{}, taken: map[*entity]bool{}}
	var was, is [len(kindNames)][]*entity
	for _, e := range before.entities() {
		was[e.kind] = append(was[e.kind], e)
	}
	for _, e := range after.entities() {
		is[e.kind] = append(is[e.kind], e)
	}
	out := make(Changes, 0, len(kindNames))
	for kind := range kindNames {
		out = append(out, p.pair(was[kind], is[kind])...)
	}
	return out
}

// String writes the changes for a terminal, each field on a line of its own; "no difference" when there are none.
func (c Changes) String() string {
	if len(c) == 0 {
		return "no difference\n"
	}
	var b strings.Builder
	for _, e := range c {
		sign := map[string]string{"added": "+", "removed": "-", "changed": "~"}[e.Action]
		b.WriteString(strings.TrimRight(sign+" "+e.Kind+" "+printable(e.Name), " ") + "\n")
		for _, f := range e.Fields {
			b.WriteString("    " + printable(f.Field) + ": ")
			switch {
			case f.Secret && e.Action == "added":
				b.WriteString("set")
			case f.Secret:
				b.WriteString("changed")
			case e.Action == "added":
				b.WriteString(brief(f.New))
			default:
				before, after := brief(f.Old), brief(f.New)
				if before == after { // they differ behind what is shown
					b.WriteString("changed")
					break
				}
				b.WriteString(before + " → " + after)
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// printable quotes what a terminal would take for more than text.
func printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// brief writes a value on one line, shortened.
func brief(v any) string {
	if v == nil {
		return "none"
	}
	data, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	const most = 200 // bytes
	text := printable(string(data))
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + fmt.Sprintf("… (%d bytes)", len(text))
	}
	return text
}

// pairing finds which entity of one snapshot is which of the other.
type pairing struct {
	partner map[*entity]*entity // of the old ones, among the new
	taken   map[*entity]bool    // new ones that are somebody's partner
}

// pair compares the entities of one kind. What they belong to was paired before.
func (p *pairing) pair(before, after []*entity) Changes {
	p.match(before, after, false, func(e *entity, _ bool) string { return e.id })
	p.match(before, after, false, func(e *entity, old bool) string {
		if e.local == "" {
			return "holds " + p.parents(e, old) + e.content()
		}
		return "called " + p.parents(e, old) + e.local
	})
	p.match(before, after, true, func(e *entity, old bool) string { // renamed
		if content := e.content(); e.local != "" && e.kind.renamed() && content != "" {
			return p.parents(e, old) + content
		}
		return ""
	})
	p.match(before, after, true, func(e *entity, old bool) string { // the only one without a name that is left there
		if e.local == "" {
			return "in " + p.parents(e, old)
		}
		return ""
	})
	var out Changes
	for _, e := range before {
		if now := p.partner[e]; now == nil {
			out = append(out, Change{Action: "removed", Kind: e.kind.String(), Name: e.name})
		} else if fields := p.compare(e, now); len(fields) > 0 {
			out = append(out, Change{Action: "changed", Kind: e.kind.String(), Name: now.name, Fields: fields})
		}
	}
	for _, e := range after {
		if !p.taken[e] {
			out = append(out, Change{Action: "added", Kind: e.kind.String(), Name: e.name, Fields: p.compare(nil, e)})
		}
	}
	slices.SortStableFunc(out, func(a, b Change) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Action, b.Action), strings.Compare(fmt.Sprint(a.Fields), fmt.Sprint(b.Fields)))
	})
	return out
}

// match makes partners of those that have the same key, which is not empty; with alone, only where nothing else has it.
func (p *pairing) match(before, after []*entity, alone bool, key func(e *entity, old bool) string) {
	byKey, count := map[string][]*entity{}, map[string]int{}
	for _, e := range after {
		if k := key(e, false); k != "" && !p.taken[e] {
			byKey[k] = append(byKey[k], e)
		}
	}
	keys := make([]string, len(before))
	for i, e := range before {
		if p.partner[e] == nil {
			keys[i] = key(e, true)
			count[keys[i]]++
		}
	}
	for i, e := range before {
		k := keys[i]
		if k == "" || len(byKey[k]) == 0 || alone && (count[k] > 1 || len(byKey[k]) > 1) {
			continue
		}
		now := byKey[k][0]
		byKey[k] = byKey[k][1:]
		p.partner[e], p.taken[now] = now, true
	}
}

// now returns what an old entity is in the new snapshot: itself when it is gone.
func (p *pairing) now(e *entity) *entity {
	if n := p.partner[e]; n != nil {
		return n
	}
	return e
}

// parents is the part of a key that says what an entity belongs to.
func (p *pairing) parents(e *entity, old bool) string {
	var b strings.Builder
	for _, o := range e.of {
		if old && o != nil {
			o = p.now(o)
		}
		fmt.Fprintf(&b, "%p ", o)
	}
	return b.String()
}

// compare lists the fields that differ; those that are set when there is no old entity.
func (p *pairing) compare(before, after *entity) []FieldChange {
	names := map[string]bool{}
	if before != nil {
		for _, f := range before.fields {
			names[f.name] = true
		}
	}
	for _, f := range after.fields {
		names[f.name] = true
	}
	var out []FieldChange
	for name := range names {
		f := FieldChange{Field: name}
		is := after.field(name)
		f.New, f.Secret = is.shown, is.secret
		if before != nil {
			was := before.field(name)
			if was.entity != nil && is.entity != nil && p.now(was.entity) == is.entity || was.same(is) {
				continue
			}
			// A value that has moved to the environment, or comes from there, was no less a secret before.
			f.Old, f.Secret = was.shown, f.Secret || was.secret || was.digest != is.digest && reflect.DeepEqual(was.shown, is.shown) ||
				(was.digest == "") != (is.digest == "")
		}
		if f.Secret {
			f.Old, f.New = nil, nil
		}
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b FieldChange) int { return strings.Compare(a.Field, b.Field) })
	return out
}

// entityKind is what an entity is, in the order in which they are compared: an entity comes after those it belongs to.
type entityKind int

const (
	fileKind entityKind = iota
	serviceKind
	routeKind
	upstreamKind
	targetKind
	consumerKind
	consumerGroupKind
	keyAuthKind
	aclKind
	certificateKind
	sniKind
	caCertificateKind
	pluginKind
)

// kindNames are the names of the kinds.
//
//nolint:gochecknoglobals // a constant table
var kindNames = [...]string{
	"file", "service", "route", "upstream", "target", "consumer", "consumer_group", "keyauth_credential", "acl", "certificate",
	"sni", "ca_certificate", "plugin",
}

func (k entityKind) String() string { return kindNames[k] }

// renamed tells whether one of that kind is taken as the same one under another name. Of others the name is all there is.
func (k entityKind) renamed() bool {
	return k == serviceKind || k == routeKind || k == upstreamKind || k == consumerKind
}

// entity is what a snapshot remembers of an entity.
type entity struct {
	kind entityKind
	id   string // as the file has it
	// local is its name among those that belong to the same entities; "" for one that is told apart by its content.
	local string
	name  string    // for people
	of    []*entity // what it belongs to; nil where it belongs to none
	// fields are those that are not what they would be anyway, by name; others are in defaults.
	fields   []fieldValue
	defaults []map[string]any
}

// fieldValue is the value of a field, without what may not be known.
type fieldValue struct {
	name   string
	shown  any
	digest string  // of the value, where shown is not all of it
	secret bool    // shown is nil
	entity *entity // what the field names, where it is another entity
}

func (v fieldValue) same(o fieldValue) bool {
	return v.digest == o.digest && v.secret == o.secret && reflect.DeepEqual(v.shown, o.shown)
}

// set gives a field a value.
func (e *entity) set(v fieldValue) {
	if i := slices.IndexFunc(e.fields, func(f fieldValue) bool { return f.name == v.name }); i >= 0 {
		e.fields[i] = v
		return
	}
	e.fields = append(e.fields, v)
}

// field returns a field, with its default when it has no value of its own.
func (e *entity) field(name string) fieldValue {
	for _, v := range e.fields {
		if v.name == name {
			return v
		}
	}
	for _, d := range e.defaults {
		if v, ok := d[name]; ok {
			return fieldValue{shown: v}
		}
	}
	return fieldValue{}
}

// content is a text of the fields that are not its name; "" when there are none.
func (e *entity) content() string {
	var b strings.Builder
	for _, v := range e.fields { // in the order of the schema
		if v.name == "name" || v.name == "username" || v.entity != nil {
			continue
		}
		fmt.Fprintf(&b, "%s=%s %s\n", v.name, jsonText(v.shown), v.digest)
	}
	return b.String()
}

func jsonText(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(data)
}
