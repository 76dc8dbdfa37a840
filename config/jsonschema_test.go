package config_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/gatehouse-go/gateway/config"
	"github.com/gatehouse-go/gateway/internal/race"
	"github.com/gatehouse-go/gateway/policy"
)

func jsonSchema(t *testing.T) map[string]any {
	t.Helper()
	data, err := config.JSONSchema(nil)
	require.NoError(t, err)
	var out map[string]any
	require.NoError(t, json.Unmarshal(data, &out))
	return out
}

func TestJSONSchemaGolden(t *testing.T) {
	t.Parallel()
	const golden = "testdata/schema.json"
	data, err := config.JSONSchema(config.Builtin())
	require.NoError(t, err)
	if os.Getenv("GATEHOUSE_GOLDEN") != "" {
		require.NoError(t, os.MkdirAll("testdata", 0o750))
		require.NoError(t, os.WriteFile(golden, data, 0o600))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	before, after := strings.Split(string(want), "\n"), strings.Split(string(data), "\n")
	for i := range min(len(before), len(after)) {
		require.Equal(t, before[i], after[i], "%s:%d: the schema has changed: run the test with GATEHOUSE_GOLDEN=1, and look at what changed", golden, i+1)
	}
	require.Len(t, after, len(before))
}

// What the decoder knows is in the schema, and no more: the decoder lists its fields when it meets another.
func TestJSONSchemaFields(t *testing.T) {
	t.Parallel()
	schema := jsonSchema(t)
	for kind, p := range places() {
		var inSchema []string
		for name := range p.properties(t, schema) {
			inSchema = append(inSchema, name)
		}
		slices.Sort(inSchema)
		require.Equal(t, inSchema, p.known(t), kind)
	}
}

func TestJSONSchemaAcceptsExample(t *testing.T) {
	t.Parallel()
	schema := jsonSchema(t)
	data, err := os.ReadFile("../examples/gateway/kong.yml")
	require.NoError(t, err)
	doc := fromYAML(t, string(data))
	require.Empty(t, validate(schema, schema, doc, ""))

	// And it would notice what is wrong.
	for about, change := range map[string][2]string{
		"unknown field": {"key_names:", "key_namez:"}, "unknown plugin": {"name: acl", "name: alc"},
		"type": {"minute: 60,", "minute: x,"}, "range": {"minute: 60,", "minute: 0,"},
		"value": {"generator: uuid", "generator: uid"}, "element": {"protocols: [http,", "protocols: [htp,"},
		"required": {"- group: staff", "- tags: [staff]"}, "version": {`"3.0"`, `"4.0"`},
		"unsupported": {"preserve_host: true", "expression: x"},
	} {
		changed := strings.Replace(string(data), change[0], change[1], 1)
		require.NotEqual(t, string(data), changed, about)
		require.NotEmpty(t, validate(schema, schema, fromYAML(t, changed), ""), about)
	}
}

// What the schema refuses Load refuses, too: an editor never complains about a file that works.
func TestJSONSchemaIsNotStricter(t *testing.T) {
	t.Parallel()
	if race.Enabled || testing.Short() {
		t.Skip("a single goroutine, and many documents")
	}
	schema := jsonSchema(t)
	values := []any{
		nil, true, false, 0, 1, -1, 1.5, 1e9, "", "x", "http", "{vault://env/N}", "{vault://conf/N}", []any{}, []any{"x"}, []any{1}, []any{nil},
		map[string]any{"a": "b"}, map[string]any{"name": "x"}, map[string]any{"_comment": 1},
	}
	refused := 0
	for kind, p := range places() {
		for name := range p.properties(t, schema) {
			for _, v := range append(values, p.sample(t, schema, kind, name)) {
				doc := p.document(name, v)
				if problems := validate(schema, schema, asJSON(t, doc), ""); len(problems) > 0 {
					refused++
					if v == false && strings.Contains(fmt.Sprint(p.properties(t, schema)[name]), "Kong knows this field") {
						continue // it asks for nothing
					}
					list, isList := v.([]any)
					if object, isMap := v.(map[string]any); isList && len(list) == 0 || isMap && len(object) == 0 {
						continue
					}
					_, err := loadDocument(t, doc)
					require.Error(t, err, "%s.%s = %#v: %v", kind, name, v, problems)
				}
			}
		}
	}
	require.Greater(t, refused, 1000)
}

type oddSchema struct {
	policyless
	Channel chan int `kong:"channel"`
}

type endlessSchema struct {
	policyless
	Inner *endlessSchema `kong:"inner"`
}

type policyless struct{}

func (policyless) Build(*config.Env) (policy.Plugin, error) { return transparent{}, nil }

type textSchema string

func (textSchema) Build(*config.Env) (policy.Plugin, error) { return transparent{}, nil }

func TestJSONSchemaErrors(t *testing.T) {
	t.Parallel()
	r := &config.Registry{}
	r.Add(config.PluginType{Name: "odd", New: func() config.Schema { return &oddSchema{} }})
	r.Add(config.PluginType{Name: "endless", New: func() config.Schema { return &endlessSchema{} }})
	r.Add(config.PluginType{Name: "text", New: func() config.Schema { return textSchema("") }})
	_, err := config.JSONSchema(r)
	require.ErrorContains(t, err, "schema field odd.channel has type chan int, which no file can fill")
	require.ErrorContains(t, err, "schema of endless.inner")
	require.ErrorContains(t, err, `schema of plugin "text" is no pointer to a struct`)
	data, err := config.JSONSchema(&config.Registry{})
	require.NoError(t, err)
	require.True(t, json.Valid(data))
}

// asJSON is a value as JSON has it.
func asJSON(t *testing.T, v any) any {
	t.Helper()
	data, err := json.Marshal(v)
	require.NoError(t, err)
	var out any
	require.NoError(t, json.Unmarshal(data, &out))
	return out
}

func fromYAML(t *testing.T, text string) any {
	t.Helper()
	var v any
	require.NoError(t, yaml.Unmarshal([]byte(text), &v))
	return asJSON(t, v)
}

// validate is a validator for the part of JSON Schema that is used. A keyword it does not know is a problem, too.
func validate(root map[string]any, schema any, v any, path string) []string {
	if schema == true {
		return nil
	}
	s, ok := schema.(map[string]any)
	if !ok {
		return []string{path + ": is not allowed"}
	}
	var out []string
	fail := func(format string, args ...any) { out = append(out, path+": "+fmt.Sprintf(format, args...)) }
	object, _ := v.(map[string]any)
	list, _ := v.([]any)
	text, isText := v.(string)
	number, isNumber := v.(float64)
	for _, keyword := range slices.Sorted(maps.Keys(s)) {
		arg := s[keyword]
		bound, _ := arg.(float64)
		args, _ := arg.([]any)
		switch keyword {
		case "$schema", "$defs", "title", "description", "default", "writeOnly", "then", "patternProperties", "additionalProperties":
		case "$ref":
			name := strings.TrimPrefix(fmt.Sprint(arg), "#/$defs/")
			defs, _ := root["$defs"].(map[string]any)
			if defs[name] == nil {
				fail("%s leads nowhere", arg)
			}
			out = append(out, validate(root, defs[name], v, path)...)
		case "type":
			if args == nil {
				args = []any{arg}
			}
			if !slices.Contains(args, any(typeOf(v))) && (typeOf(v) != "integer" || !slices.Contains(args, any("number"))) {
				fail("is %s, not %v", typeOf(v), args)
			}
		case "enum":
			if !slices.Contains(args, v) {
				fail("is not one of %v", args)
			}
		case "const":
			if arg != v {
				fail("is not %v", arg)
			}
		case "minimum":
			if isNumber && number < bound {
				fail("is less than %v", bound)
			}
		case "maximum":
			if isNumber && number > bound {
				fail("is more than %v", bound)
			}
		case "minLength":
			if isText && float64(len(text)) < bound {
				fail("is too short")
			}
		case "pattern":
			if isText && !regexp.MustCompile(fmt.Sprint(arg)).MatchString(text) {
				fail("does not match %v", arg)
			}
		case "minItems":
			if list != nil && float64(len(list)) < bound {
				fail("has too few elements")
			}
		case "maxItems":
			if float64(len(list)) > bound {
				fail("has too many elements")
			}
		case "minProperties":
			if object != nil && float64(len(object)) < bound {
				fail("has too few fields")
			}
		case "maxProperties":
			if float64(len(object)) > bound {
				fail("has too many fields")
			}
		case "items":
			for i, item := range list {
				out = append(out, validate(root, arg, item, fmt.Sprintf("%s[%d]", path, i))...)
			}
		case "required":
			for _, name := range args {
				if _, ok := object[fmt.Sprint(name)]; object != nil && !ok {
					fail("lacks %v", name)
				}
			}
		case "properties":
			known, _ := arg.(map[string]any)
			patterns, _ := s["patternProperties"].(map[string]any)
			for name, value := range object {
				switch field, ok := known[name]; {
				case ok:
					out = append(out, validate(root, field, value, path+"."+name)...)
				case slices.ContainsFunc(slices.Collect(maps.Keys(patterns)), func(p string) bool { return regexp.MustCompile(p).MatchString(name) }):
				case s["additionalProperties"] == false:
					fail("has an unknown field %q", name)
				}
			}
		case "anyOf":
			if !slices.ContainsFunc(args, func(one any) bool { return len(validate(root, one, v, path)) == 0 }) {
				fail("is none of what is allowed")
			}
		case "allOf":
			for _, one := range args {
				out = append(out, validate(root, one, v, path)...)
			}
		case "if":
			if len(validate(root, arg, v, path)) == 0 {
				out = append(out, validate(root, s["then"], v, path)...)
			}
		default:
			fail("keyword %q is unknown to this test", keyword)
		}
	}
	if rest, ok := s["additionalProperties"].(map[string]any); ok { // a map
		for name, value := range object {
			out = append(out, validate(root, rest, value, path+"."+name)...)
		}
	}
	return out
}

// typeOf is the most special type of JSON Schema that a value has.
func typeOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64:
		if v == float64(int64(v)) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	}
	return reflect.TypeOf(v).String()
}
