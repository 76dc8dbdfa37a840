package config

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// vaultPattern is what a reference to the environment looks like. It may stand where a scalar may.
const vaultPattern = `^\{vault://env/[^/?]+\}$`

// Words of JSON Schema.
const (
	refKeyword  = "$ref"
	typeKeyword = "type"
	typeString  = "string"
	typeObject  = "object"
	typeNull    = "null"
)

// JSONSchema describes the format as a JSON Schema (2020-12), for editors; nil means [Builtin]. It is made of what [Load]
// reads by: fields, types, bounds, defaults and values, with the plugins of the registry and their configurations. In a file,
//
//	# yaml-language-server: $schema=./kong.schema.json
//
// on the first line has an editor complete and check it. Load knows more than a schema can say, such as which fields exclude
// each other and what references lead to; what the schema refuses, Load refuses too, but for an empty map in place of an empty
// list and the reverse, for disabled plugins that are not in the registry, and for what [Options.AllowUnsupported] leaves out.
//
// The same registry gives the same bytes. An error means that the Schema of a plugin has a field of a type no file can fill.
func JSONSchema(r *Registry) ([]byte, error) {
	if r == nil {
		r = Builtin()
	}
	w := schemaWriter{defs: map[string]any{}}
	root := w.object(reflect.TypeFor[document](), "file")
	w.defs["reference"] = keywords{
		"description": "The name or the id of another entity.",
		"anyOf": []any{
			keywords{typeKeyword: typeString, "minLength": 1},
			keywords{
				typeKeyword: typeObject, "minProperties": 1, "maxProperties": 1, "additionalProperties": false,
				"properties": keywords{
					"name":     keywords{typeKeyword: typeString, "minLength": 1},
					"id":       keywords{typeKeyword: typeString, "minLength": 1},
					"username": keywords{typeKeyword: typeString, "minLength": 1},
				},
			},
			keywords{typeKeyword: typeNull},
		},
	}
	w.defs["vault"] = keywords{"description": "A reference to the environment.", typeKeyword: typeString, "pattern": vaultPattern}
	w.plugins(r)
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "Declarative configuration in Kong's format, as package config reads it"
	root["$defs"] = w.defs
	if err := errors.Join(w.errs...); err != nil {
		return nil, err
	}
	data, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	return append(data, '\n'), nil
}

// keywords are those of one schema, or its properties.
type keywords = map[string]any

// schemaWriter writes the structs a file is read into as schemas.
type schemaWriter struct {
	schemas schemas
	defs    keywords
	depth   int
	errs    []error
}

// isEntity tells whether a struct is an entity, which has a definition of its own, from a part of a plugin's configuration.
func isEntity(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[interface{ at(n *node) }]())
}

// object describes a struct. where is what it is called in errors.
func (w *schemaWriter) object(t reflect.Type, where string) keywords {
	const deepest = 16 // a struct that holds itself would never end
	if w.depth++; w.depth > deepest {
		w.depth--
		w.errs = append(w.errs, fmt.Errorf("config: schema of %s is nested deeper than %d levels", where, deepest))
		return keywords{}
	}
	defer func() { w.depth-- }()
	properties, required := keywords{}, []string{}
	for _, f := range w.schemas.of(t) {
		properties[f.name] = w.property(f, where+"."+f.name)
		if f.required && !f.hasDefault {
			required = append(required, f.name)
		}
	}
	out := keywords{
		typeKeyword: typeObject, "properties": properties, "additionalProperties": false,
		"patternProperties": keywords{"^_(comment|ignore)$": true}, // the author's own
	}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

// property describes a field. Null counts as absent.
func (w *schemaWriter) property(f schemaField, where string) keywords {
	var out keywords
	if f.unsupported {
		out = unsupportedProperty(f)
	} else {
		out = w.value(f, where, !f.required)
	}
	if f.hasDefault {
		v := reflect.New(f.typ).Elem()
		setDefault(v, f.def)
		out["default"] = v.Interface()
	}
	if f.secret {
		out["writeOnly"] = true
	}
	return out
}

// unsupportedProperty allows what asks for nothing; see isDefault.
func unsupportedProperty(f schemaField) keywords {
	out := keywords{"description": "Kong knows this field. This gateway does not, and refuses any other value."}
	switch {
	case f.off != nil:
		out[typeKeyword], out["maxItems"], out["additionalProperties"] = []string{"array", typeObject, typeNull}, 0, false
		for _, way := range f.off {
			way, off, _ := strings.Cut(way, ":")
			var value any
			if json.Unmarshal([]byte(cmp.Or(off, "0")), &value) != nil {
				value = off
			}
			switchedOff(out, strings.Split(way, "."), value)
		}
	case f.typ.Kind() == reflect.Slice || f.typ.Kind() == reflect.Map:
		out[typeKeyword], out["maxItems"], out["maxProperties"] = []string{"array", typeObject, typeNull}, 0, 0
	case f.hasDefault:
		v := reflect.New(f.typ).Elem()
		setDefault(v, f.def)
		out["enum"] = []any{v.Interface(), nil}
	default:
		out[typeKeyword] = typeNull
	}
	return out
}

// switchedOff has a schema allow nothing but off at the end of a way; see isOff.
func switchedOff(schema keywords, way []string, off any) {
	if len(way) == 0 {
		schema["enum"] = []any{nil}
		if off != nil {
			schema["enum"] = []any{off, nil}
		}
		return
	}
	properties, ok := schema["properties"].(keywords)
	if !ok {
		properties = keywords{}
		schema["properties"] = properties
	}
	inner, ok := properties[way[0]].(keywords)
	if !ok {
		inner = keywords{}
		properties[way[0]] = inner
	}
	switchedOff(inner, way[1:], off)
}

// value describes what may stand in a field, or in an element of a list.
func (w *schemaWriter) value(f schemaField, where string, null bool) keywords {
	types := func(names ...string) any {
		if null {
			names = append(names, typeNull)
		}
		if len(names) == 1 {
			return names[0]
		}
		return names
	}
	switch f.typ {
	case reflect.TypeFor[ref]():
		return keywords{refKeyword: "#/$defs/reference"}
	case reflect.TypeFor[rawMap]():
		return keywords{typeKeyword: types(typeObject)}
	}
	out := keywords{}
	switch f.typ.Kind() {
	case reflect.Pointer:
		f.typ = f.typ.Elem()
		return w.value(f, where, null)
	case reflect.String:
		if f.oneOf != nil {
			values := make([]any, 0, len(f.oneOf)+1)
			for _, v := range f.oneOf {
				values = append(values, v)
			}
			if null {
				values = append(values, nil)
			}
			return keywords{"anyOf": []any{keywords{"enum": values}, keywords{refKeyword: "#/$defs/vault"}}}
		}
		out[typeKeyword] = types(typeString)
		if f.nonempty {
			out["minLength"] = 1
		}
	case reflect.Bool:
		out[typeKeyword], out["pattern"] = types("boolean", typeString), vaultPattern
	case reflect.Int, reflect.Int64, reflect.Float64:
		out[typeKeyword], out["pattern"] = types("integer", typeString), vaultPattern
		if f.typ.Kind() == reflect.Float64 {
			out[typeKeyword] = types("number", typeString)
		}
		if f.hasMin {
			out["minimum"] = f.min
		}
		if f.hasMax {
			out["maximum"] = f.max
		}
	case reflect.Slice:
		element := schemaField{typ: f.typ.Elem(), oneOf: f.each, min: f.min, max: f.max, hasMin: f.hasMin, hasMax: f.hasMax}
		out[typeKeyword], out["items"] = types("array"), w.value(element, where+"[]", false)
		if f.nonempty {
			out["minItems"] = 1
		}
	case reflect.Map:
		out[typeKeyword], out["additionalProperties"] = types(typeObject), w.value(schemaField{typ: f.typ.Elem()}, where+".*", false)
	case reflect.Struct:
		if isEntity(f.typ) {
			return w.entity(f.typ)
		}
		out = w.object(f.typ, where)
		out[typeKeyword] = types(typeObject)
	default:
		w.errs = append(w.errs, fmt.Errorf("config: schema field %s has type %s, which no file can fill", where, f.typ))
	}
	return out
}

// entity refers to the definition of an entity, and writes it the first time.
func (w *schemaWriter) entity(t reflect.Type) keywords {
	if _, ok := w.defs[t.Name()]; !ok {
		w.defs[t.Name()] = nil // it may hold itself
		w.defs[t.Name()] = w.object(t, t.Name())
	}
	return keywords{refKeyword: "#/$defs/" + t.Name()}
}

// plugins describes the configurations of the plugins, and has the entity choose by name.
func (w *schemaWriter) plugins(r *Registry) {
	entity := w.object(reflect.TypeFor[plugin](), "plugin")
	names, choices := []any{}, []any{}
	for _, t := range r.Types() {
		def := "plugin." + t.Name
		schema := reflect.TypeOf(t.New())
		if schema == nil || schema.Kind() != reflect.Pointer || schema.Elem().Kind() != reflect.Struct {
			w.errs = append(w.errs, fmt.Errorf("config: schema of plugin %q is no pointer to a struct", t.Name))
			continue
		}
		config := w.object(schema.Elem(), t.Name)
		config[typeKeyword] = []string{typeObject, typeNull}
		w.defs[def] = config
		names = append(names, t.Name)
		choices = append(choices, keywords{
			"if":   keywords{"properties": keywords{"name": keywords{"const": t.Name}}, "required": []string{"name"}},
			"then": keywords{"properties": keywords{"config": keywords{refKeyword: "#/$defs/plugin." + t.Name}}},
		})
	}
	if properties, ok := entity["properties"].(keywords); ok {
		properties["name"] = keywords{"anyOf": []any{keywords{"enum": names}, keywords{refKeyword: "#/$defs/vault"}}}
	}
	if len(choices) > 0 {
		entity["allOf"] = choices
	}
	w.defs["plugin"] = entity
}
