package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/race"
)

// errorsOf takes the problems of a file apart.
func errorsOf(t *testing.T, err error) []*Error {
	t.Helper()
	require.Error(t, err)
	joined, ok := err.(interface{ Unwrap() []error })
	require.True(t, ok, "%v", err)
	var out []*Error
	for _, e := range joined.Unwrap() {
		if one, ok := errAs(e); ok {
			out = append(out, one)
		}
	}
	return out
}

// wrongFor returns values of types that a field does not have.
func wrongFor(f schemaField) []any {
	list, dict := []any{[]any{7}}, map[string]any{"zz": 7}
	t := f.typ
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var wrong []any
	switch {
	case t == reflect.TypeFor[ref]():
		wrong = []any{5, true, 1.5, "", list, dict, map[string]any{"name": 5}}
	case t == reflect.TypeFor[rawMap]() || t.Kind() == reflect.Struct || t.Kind() == reflect.Map:
		wrong = []any{5, true, 1.5, "x", list}
	case t.Kind() == reflect.Bool:
		wrong = []any{5, 1.5, "true", "x", list, dict}
	case t.Kind() == reflect.Int || t.Kind() == reflect.Int64:
		wrong = []any{true, 1.5, "5", "x", list, dict, json.Number("99999999999999999999")}
		if f.hasMin {
			wrong = append(wrong, f.min-1)
		}
		if f.hasMax {
			wrong = append(wrong, f.max+1)
		}
	case t.Kind() == reflect.Float64:
		wrong = []any{true, "5", "x", list, dict}
		if f.hasMin {
			wrong = append(wrong, f.min-1)
		}
		if f.hasMax {
			wrong = append(wrong, f.max+0.5)
		}
	case t.Kind() == reflect.String:
		wrong = []any{5, true, 1.5, list, dict, []any{}, map[string]any{}}
		if f.nonempty || f.oneOf != nil {
			wrong = append(wrong, "")
		}
		if f.oneOf != nil {
			wrong = append(wrong, "zz")
		}
	case t.Kind() == reflect.Slice:
		wrong = []any{5, true, 1.5, "x", dict, list}
		if t.Elem().Kind() != reflect.Slice {
			wrong = append(wrong, []any{nil})
		}
		if f.each != nil {
			wrong = append(wrong, []any{"zz"})
		}
		if f.hasMin {
			wrong = append(wrong, []any{f.min - 1})
		}
		if f.hasMax {
			wrong = append(wrong, []any{f.max, f.max + 1})
		}
	}
	if f.unsupported { // anything that asks for something
		wrong = []any{5, true, "x", 1.5, list, dict}
	}
	return wrong
}

// wrongTypes is a case for each value of a wrong type at each field below a type: the file, and the path the problem has.
func wrongTypes(t reflect.Type, path string, within func(v any) any, each func(file any, path string)) {
	for _, f := range new(schemas).of(t) {
		at := join(path, f.name)
		field := func(v any) any { return within(map[string]any{f.name: v}) }
		for _, wrong := range wrongFor(f) {
			each(field(wrong), at)
		}
		switch e := f.typ; {
		case f.unsupported:
		case isRecord(e):
			wrongTypes(e, at, field, each)
		case e.Kind() == reflect.Pointer && e.Elem().Kind() == reflect.Struct:
			wrongTypes(e.Elem(), at, field, each)
		case e.Kind() == reflect.Slice && e.Elem().Kind() == reflect.Pointer:
			wrongTypes(e.Elem().Elem(), at+"[0]", func(v any) any { return field([]any{v}) }, each)
		case e.Kind() == reflect.Map && e.Elem().Kind() == reflect.Slice:
			for _, wrong := range []any{5, true, "x", []any{5}} {
				each(field(map[string]any{"zz": wrong}), at+".zz")
			}
		}
	}
}

func join(path, name string) string { return strings.TrimPrefix(path+"."+name, ".") }

// TestWrongTypes: every field of every entity and of every plugin refuses every value of another type, and the problem names
// its path and its line.
func TestWrongTypes(t *testing.T) {
	t.Parallel()
	if race.Enabled || testing.Short() {
		t.Skip("a single goroutine, and many documents")
	}
	count := 0
	check := func(file any, path string) {
		count++
		doc := file.(map[string]any)
		if doc["_format_version"] == nil {
			doc["_format_version"] = "3.0"
		}
		text, err := json.MarshalIndent(doc, "", " ")
		require.NoError(t, err)
		for _, allow := range []bool{false, true} {
			s, err := Load("kong.json", strings.NewReader(string(text)), Options{AllowUnsupported: allow})
			if allow { // some are left out then; it is enough that nothing breaks
				if err == nil {
					require.NotEmpty(t, s.Unsupported, "%s", text)
					require.NoError(t, s.Close())
				}
				continue
			}
			found := false
			for _, e := range errorsOf(t, err) {
				require.Positive(t, e.Line)
				require.Positive(t, e.Column)
				require.Equal(t, "kong.json", e.File)
				require.NotEmpty(t, e.Problem)
				if e.Path == path || strings.HasPrefix(e.Path, path+".") || strings.HasPrefix(e.Path, path+"[") {
					found = true
					require.Contains(t, e.Error(), fmt.Sprintf("kong.json:%d:%d: %s", e.Line, e.Column, e.Path))
				}
			}
			require.True(t, found, "no problem at %s:\n%v\nof\n%s", path, err, text)
		}
	}
	wrongTypes(reflect.TypeFor[document](), "", func(v any) any { return v }, check)
	require.Greater(t, count, 1000, "of the entities")
	before := count
	for _, p := range Builtin().Types() {
		wrongTypes(reflect.TypeOf(p.New()).Elem(), "plugins[0].config", func(v any) any {
			return map[string]any{"plugins": []any{map[string]any{"name": p.Name, "config": v}}}
		}, check)
		for _, wrong := range []any{5, true, "x", []any{1}} {
			check(map[string]any{"plugins": []any{map[string]any{"name": p.Name, "config": wrong}}}, "plugins[0].config")
		}
	}
	require.Greater(t, count-before, 150, "of the plugins")
}

// TestSchemaTags: every tag of a schema says something the decoder knows, and defaults are values of the field.
func TestSchemaTags(t *testing.T) {
	t.Parallel()
	known := map[string]bool{
		"required": true, "default": true, "min": true, "max": true, "oneof": true, "each": true, "nonempty": true,
		"secret": true, "unsupported": true, "off": true, "": true,
	}
	seen := map[reflect.Type]bool{}
	var check func(typ reflect.Type)
	check = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || seen[typ] {
			return
		}
		seen[typ] = true
		names := map[string]bool{}
		for i := range typ.NumField() {
			sf := typ.Field(i)
			tag, ok := sf.Tag.Lookup("kong")
			if !ok {
				continue
			}
			name, options, _ := strings.Cut(tag, ",")
			require.NotEmpty(t, name)
			require.False(t, names[name], "%s.%s twice", typ, name)
			names[name] = true
			for o := range strings.SplitSeq(options, ",") {
				key, _, _ := strings.Cut(o, "=")
				require.True(t, known[key], "%s.%s: option %q", typ, name, key)
			}
			f := parseTag(i, sf.Type, tag)
			if f.oneOf != nil && f.hasDefault {
				require.Contains(t, f.oneOf, f.def, "%s.%s", typ, name)
			}
			check(sf.Type)
		}
	}
	check(reflect.TypeFor[document]())
	for _, p := range Builtin().Types() {
		check(reflect.TypeOf(p.New()))
	}
}

func errAs(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}
