package config_test

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/gatehouse-go/gateway/config"
)

const (
	someID     = "6f5d3f1e-0000-4000-8000-000000000001"
	noSuchName = "zzzzzzzzzzzzzzzz"
)

// place is where the fields of an entity, or of a plugin's configuration, stand in a file.
type place struct {
	def     string                    // in the JSON Schema; "" is the file itself
	record  string                    // a field of it, of which the fields are meant, at whatever depth
	base    map[string]any            // fields without which nothing loads
	with    map[string]map[string]any // what a field needs beside it; nil takes a field of base away
	samples map[string]any            // values for fields, where one cannot be made of the schema
	around  func(fields map[string]any) map[string]any
}

type fields = map[string]any

// places lists them, by what docs/from-kong.md calls them.
func places() map[string]place {
	one := func(v any) []any { return []any{v} }
	cert, key := pemPair()
	ca := newIssuer().pem()
	service := fields{"name": "s", "host": "h.x", "routes": one(fields{"name": "r", "paths": one("/")})}
	consumer := fields{"username": "ann"}
	all := map[string]place{
		"file": {
			samples: fields{
				"_format_version": "2.1", "_transform": false, "_info": fields{"select_tags": one("t")}, "services": one(service), "routes": one(fields{"paths": one("/")}),
				"upstreams": one(fields{"name": "u.x"}), "targets": []any{}, "consumers": one(consumer), "consumer_groups": one(fields{"name": "g"}),
				"plugins": one(fields{"name": "correlation-id"}), "certificates": one(fields{"cert": cert, "key": key}), "snis": []any{}, "ca_certificates": one(fields{"cert": ca}),
				"keyauth_credentials": []any{}, "acls": []any{}, "consumer_group_consumers": []any{},
			},
			around: func(f fields) map[string]any { return f },
		},
		"service": {
			def: "service", base: fields{"name": "s", "host": "h.x"},
			with: map[string]fields{
				"url": {"host": nil}, "tls_verify": {"protocol": "https"}, "tls_verify_depth": {"protocol": "https"},
				"ca_certificates": {"protocol": "https"}, "client_certificate": {"protocol": "https"},
			},
			samples: fields{
				"ca_certificates": one(someID), "client_certificate": someID, "url": "https://h.x/p", "protocol": "https", "path": "/p", "routes": one(fields{"paths": one("/")}),
				"plugins": one(fields{"name": "correlation-id"}),
			},
			around: func(f fields) map[string]any {
				return fields{
					"services": one(f), "ca_certificates": one(fields{"id": someID, "cert": ca}), "certificates": one(fields{"id": someID, "cert": cert, "key": key}),
				}
			},
		},
		"route": {
			def: "route", base: fields{"paths": one("/a"), "service": "s"},
			samples: fields{
				"paths": one("/b"), "methods": one("POST"), "hosts": one("h.x"), "snis": one("a.x"), "headers": fields{"x-a": one("b")},
				"protocols": one("https"), "service": "s", "https_redirect_status_code": 301, "path_handling": "v0",
				"plugins": one(fields{"name": "correlation-id"}),
			},
			around: func(f fields) map[string]any { return fields{"services": one(service), "routes": one(f)} },
		},
		"upstream": {
			def: "upstream", base: fields{"name": "u.x", "targets": one(fields{"target": "a.x:1"})},
			with: map[string]fields{
				"hash_on":       {"hash_on_header": "x-a", "hash_on_cookie": "c", "hash_on_query_arg": "q", "hash_on_uri_capture": "u"},
				"hash_fallback": {"hash_on": "header", "hash_on_header": "x-a", "hash_fallback_header": "x-b", "hash_on_cookie": "c", "hash_fallback_query_arg": "q", "hash_fallback_uri_capture": "u"},
			},
			samples: fields{"healthchecks": fields{"threshold": 1}, "client_certificate": someID, "name": "u.x", "hash_on_cookie_path": "/p", "host_header": "h.x", "targets": one(fields{"target": "b.x:1"})},
			around: func(f fields) map[string]any {
				return fields{
					"services": one(fields{"name": "s", "host": "u.x", "routes": one(fields{"paths": one("/")})}), "upstreams": one(f),
					"certificates": one(fields{"id": someID, "cert": cert, "key": key}),
				}
			},
		},
		recordSection("healthchecks"): {
			def: "upstream", record: "healthchecks", base: fields{"name": "u.x", "targets": one(fields{"target": "a.x:1"})},
			samples: fields{
				"active.http_path": "/p", "active.https_sni": "h.x", "active.headers": fields{"x-a": one("b")}, "active.healthy.http_statuses": one(204),
				"active.unhealthy.http_statuses": one(404), "passive.healthy.http_statuses": one(204), "passive.unhealthy.http_statuses": one(404),
			},
			around: func(f fields) map[string]any {
				return fields{"services": one(fields{"name": "s", "host": "u.x", "routes": one(fields{"paths": one("/")})}), "upstreams": one(f)}
			},
		},
		"target": {
			def: "target", base: fields{"target": "a.x:1", "upstream": "u.x"}, samples: fields{"target": "b.x", "upstream": "u.x"},
			around: func(f fields) map[string]any {
				return fields{"upstreams": one(fields{"name": "u.x"}), "targets": one(f)}
			},
		},
		"consumer": {
			def: "consumer", base: consumer,
			samples: fields{
				"keyauth_credentials": one(fields{"key": "k"}), "acls": one(fields{"group": "g"}), "groups": one("g"),
				"plugins": one(fields{"name": "correlation-id"}),
			},
			around: func(f fields) map[string]any {
				return fields{"consumers": one(f), "consumer_groups": one(fields{"name": "g"})}
			},
		},
		"consumer_group": {
			def: "consumerGroup", base: fields{"name": "g"},
			samples: fields{"consumers": one("ann"), "plugins": one(fields{"name": "correlation-id"})},
			around: func(f fields) map[string]any {
				return fields{"consumers": one(consumer), "consumer_groups": one(f)}
			},
		},
		"consumer_group_consumer": {
			def: "groupMember", base: fields{"consumer": "ann", "consumer_group": "g"}, samples: fields{"consumer": "ann", "consumer_group": "g"},
			around: func(f fields) map[string]any {
				return fields{"consumers": one(consumer), "consumer_groups": one(fields{"name": "g"}), "consumer_group_consumers": one(f)}
			},
		},
		"keyauth_credential": {
			def: "keyAuthCredential", base: fields{"key": "k", "consumer": "ann"}, samples: fields{"consumer": "ann"},
			around: func(f fields) map[string]any {
				return fields{"consumers": one(consumer), "keyauth_credentials": one(f)}
			},
		},
		"acl": {
			def: "aclGroup", base: fields{"group": "g", "consumer": "ann"}, samples: fields{"consumer": "ann"},
			around: func(f fields) map[string]any { return fields{"consumers": one(consumer), "acls": one(f)} },
		},
		"certificate": {
			def: "certificate", base: fields{"cert": cert, "key": key, "snis": one(fields{"name": "a.x"})},
			samples: fields{"cert": cert, "key": key, "snis": one(fields{"name": "b.x"})},
			around:  func(f fields) map[string]any { return fields{"certificates": one(f)} },
		},
		"ca_certificate": {
			def: "caCertificate", base: fields{"cert": ca}, samples: fields{"cert": ca},
			around: func(f fields) map[string]any { return fields{"ca_certificates": one(f)} },
		},
		"sni": {
			def: "sni", base: fields{"name": "a.x", "certificate": someID}, samples: fields{"certificate": someID, "id": "6f5d3f1e-0000-4000-8000-000000000002"},
			around: func(f fields) map[string]any {
				return fields{"certificates": one(fields{"id": someID, "cert": cert, "key": key}), "snis": one(f)}
			},
		},
		"plugin": {
			def: "plugin", base: fields{"name": "correlation-id"},
			samples: fields{"name": "key-auth", "route": "r", "service": "s", "consumer": "ann", "consumer_group": "g", "protocols": one("http"), "config": fields{}},
			around: func(f fields) map[string]any {
				return fields{"services": one(service), "consumers": one(consumer), "consumer_groups": one(fields{"name": "g"}), "plugins": one(f)}
			},
		},
	}
	twoArms := []any{fields{"name": "a", "weight": 1}, fields{"name": "b", "weight": 1}}
	rule := fields{"arms": twoArms, "watch": "a", "against": "b"}
	configs := map[string]place{
		"key-auth": {samples: fields{"anonymous": "ann"}},
		"acl":      {base: fields{"allow": one("g")}, with: map[string]fields{"deny": {"allow": nil}}},
		"rate-limiting": {
			base:    fields{"minute": 60, "header_name": "x-a", "path": "/p"},
			samples: fields{"second": 1, "hour": 100, "day": 100, "month": 100, "year": 100, "policy": "local"},
		},
		"breaker": {
			with:    map[string]fields{"slow_rate": {"slow_after": 1}, "slow_after": {"slow_rate": 0.5}},
			samples: fields{"failure_statuses": []any{429}},
		},
		"split": {
			base: fields{"arms": one(fields{"name": "a", "weight": 1})},
			with: map[string]fields{
				"watch": {"arms": twoArms, "against": "b"}, "against": {"arms": twoArms, "watch": "a"},
				"error_share": rule, "error_ratio": rule, "latency": rule, "latency_ratio": rule, "keep_overrides": rule,
			},
			samples: fields{
				"arms": one(fields{"name": "a", "weight": 2}), "overrides": one(fields{"header": "x-arm", "arm": "a"}), "sticky": "ip",
				"watch": "a", "against": "b", "error_share": 0.5, "error_ratio": 2, "latency_ratio": 2,
			},
			around: func(f fields) map[string]any {
				at := maps.Clone(service)
				at["plugins"] = one(fields{"name": "split", "config": f})
				return fields{"services": one(at)}
			},
		},
		"concurrency": {
			samples: fields{"overload_statuses": []any{429}, "initial_limit": 5, "class_groups": one("g")},
		},
		"mirror": {
			base:    fields{"service": "s"},
			with:    map[string]fields{"ignore_headers": {"compare": true}, "ignore_paths": {"compare": true}, "unordered_paths": {"compare": true}},
			samples: fields{"methods": []any{"GET"}, "drop_headers": []any{"Cookie"}, "ignore_headers": []any{"Server"}, "ignore_paths": []any{"a.b"}, "unordered_paths": []any{"a"}, "service": "s"},
		},
		"request-termination": {with: map[string]fields{"content_type": {"body": "b"}}, samples: fields{"content_type": "text/plain"}},
	}
	for _, t := range config.Builtin().Types() {
		p := configs[t.Name]
		p.def = "plugin." + t.Name
		if p.around == nil {
			p.around = func(f fields) map[string]any {
				return fields{"services": one(service), "consumers": one(consumer), "plugins": one(fields{"name": t.Name, "config": f})}
			}
		}
		all[pluginSection(t.Name)] = p
	}
	return all
}

func pluginSection(name string) string { return "plugin " + name }

func recordSection(name string) string { return "record " + name }

// document is a file that sets one field.
func (p place) document(name string, v any) map[string]any {
	f := maps.Clone(p.base)
	if f == nil {
		f = fields{}
	}
	if p.record == "" {
		f[name] = v
	} else {
		for _, step := range slices.Backward(strings.Split(p.record+"."+name, ".")) {
			v = fields{step: v}
		}
		maps.Copy(f, v.(fields))
	}
	for other, value := range p.with[name] {
		if f[other] = value; value == nil {
			delete(f, other)
		}
	}
	doc := maps.Clone(p.around(f))
	if _, ok := doc["_format_version"]; !ok {
		doc["_format_version"] = "3.0"
	}
	return doc
}

// properties are the fields in the schema.
func (p place) properties(t *testing.T, schema map[string]any) map[string]any {
	t.Helper()
	if p.def != "" {
		defs, ok := schema["$defs"].(map[string]any)
		require.True(t, ok)
		schema, ok = defs[p.def].(map[string]any)
		require.True(t, ok, p.def)
	}
	out, ok := schema["properties"].(map[string]any)
	require.True(t, ok, p.def)
	if p.record == "" {
		return out
	}
	all := fields{}
	var flatten func(way string, v any)
	flatten = func(way string, v any) {
		inner, _ := v.(map[string]any)["properties"].(map[string]any)
		if inner == nil {
			all[way] = v
		}
		for name, v := range inner {
			flatten(strings.TrimPrefix(way+"."+name, "."), v)
		}
	}
	flatten("", out[p.record])
	return all
}

// known are the fields that the decoder knows, as it lists them when it meets one that it does not know.
func (p place) known(t *testing.T) []string {
	t.Helper()
	if p.record == "" {
		_, err := loadDocument(t, p.document(noSuchName, 1))
		return allowed(t, err)
	}
	var names []string
	var look func(way string)
	look = func(way string) {
		_, err := loadDocument(t, p.document(way+noSuchName, 1))
		for _, name := range allowed(t, err) {
			if _, err := loadDocument(t, p.document(way+name, fields{noSuchName: 1})); strings.Contains(err.Error(), "unknown field") {
				look(way + name + ".")
			} else {
				names = append(names, way+name)
			}
		}
	}
	look("")
	slices.Sort(names)
	return names
}

// allowed finds what is allowed in the place of noSuchName.
func allowed(t *testing.T, err error) []string {
	t.Helper()
	require.Error(t, err)
	joined, ok := err.(interface{ Unwrap() []error })
	require.True(t, ok)
	for _, e := range joined.Unwrap() {
		var problem *config.Error
		if errors.As(e, &problem) && strings.Contains(problem.Error(), noSuchName) {
			names, ok := strings.CutPrefix(problem.Remedy, "use one of ")
			require.True(t, ok, problem)
			return strings.Split(names, ", ")
		}
	}
	require.Fail(t, "nobody misses it", err)
	return nil
}

// sample is a value of a field that is not its default.
func (p place) sample(t *testing.T, schema map[string]any, kind, name string) any {
	t.Helper()
	if v, ok := p.samples[name]; ok {
		return v
	}
	if name == "id" {
		return someID
	}
	s, ok := p.properties(t, schema)[name].(map[string]any)
	require.True(t, ok, kind+"."+name)
	if values := enum(s); values != nil {
		for _, v := range values {
			if v != s["default"] {
				return v
			}
		}
	}
	types, _ := s["type"].([]any)
	if one, ok := s["type"].(string); ok {
		types = []any{one}
	}
	has := func(name string) bool { return slices.Contains(types, any(name)) }
	number := func(name string, otherwise float64) float64 {
		if v, ok := s[name].(float64); ok {
			return v
		}
		return otherwise
	}
	switch {
	case has("boolean"):
		return s["default"] != true
	case has("integer") || has("number"):
		return min(max(number("default", 6)+1, number("minimum", 1)), number("maximum", 1e6))
	case has("array"):
		return []any{"x"}
	case has("object"):
		return fields{"x": "y"}
	default:
		return "x"
	}
}

// enum lists the values a supported field may have.
func enum(s map[string]any) []any {
	choices, _ := s["anyOf"].([]any)
	if len(choices) == 0 {
		return nil
	}
	first, _ := choices[0].(map[string]any)
	values, _ := first["enum"].([]any)
	return slices.DeleteFunc(slices.Clone(values), func(v any) bool { return v == nil })
}

// loadDocument loads a document without leaving anything out.
func loadDocument(t *testing.T, doc any) (*config.Snapshot, error) {
	t.Helper()
	data, err := json.Marshal(doc)
	require.NoError(t, err)
	s, err := config.Load("kong.json", strings.NewReader(string(data)), config.Options{
		Getenv: func(string) (string, bool) { return "1", true },
	})
	if err == nil {
		_ = s.Close()
	}
	return s, err
}

// row is one of the page: a field, or one value of it.
type row struct {
	field, value string
	status       string
}

const pagePath = "../docs/from-kong.md"

var heading = regexp.MustCompile("^### (?:Entity|Plugin|Record) `([^`]+)`$") //nolint:gochecknoglobals // fixed

// page reads the tables about fields.
func page(t *testing.T) map[string][]row {
	t.Helper()
	data, err := os.ReadFile(pagePath)
	require.NoError(t, err)
	out, section := map[string][]row{}, ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		switch m := heading.FindStringSubmatch(line); {
		case m != nil:
			section = m[1]
			if strings.HasPrefix(line, "### Plugin") {
				section = pluginSection(section)
			}
			if strings.HasPrefix(line, "### Record") {
				section = recordSection(section)
			}
			out[section] = nil
		case strings.HasPrefix(line, "#"):
			section = ""
		case section != "" && strings.HasPrefix(line, "| `"):
			cells := strings.Split(strings.Trim(line, "|"), "|")
			require.Len(t, cells, 3, line)
			for name := range strings.SplitSeq(cells[0], ",") {
				name, value, _ := strings.Cut(strings.Trim(name, " `"), ": ")
				out[section] = append(out[section], row{name, value, strings.TrimSpace(cells[1])})
			}
		}
	}
	return out
}

// Everything the loader knows is on the page, once; and what the page says of it is so.
func TestFromKongFields(t *testing.T) {
	t.Parallel()
	schema, sections := jsonSchema(t), page(t)
	for kind, p := range places() {
		rows, ok := sections[kind]
		require.True(t, ok, "%s has no section for %s", pagePath, kind)
		delete(sections, kind)
		var onPage []string
		for _, r := range rows {
			if r.value == "" {
				onPage = append(onPage, r.field)
			}
		}
		slices.Sort(onPage)
		require.Equal(t, p.known(t), onPage, "fields of %s in %s", kind, pagePath)
		for _, r := range rows {
			about := kind + "." + r.field + " " + r.value
			v := p.sample(t, schema, kind, r.field)
			if r.value != "" {
				require.NoError(t, yaml.Unmarshal([]byte(r.value), &v), about)
			}
			_, err := loadDocument(t, p.document(r.field, v))
			switch r.status {
			case "same", "different":
				require.NoError(t, err, about)
			case "not supported":
				require.ErrorContains(t, err, "not supported", about)
			default:
				require.Fail(t, "unknown status", "%s: %q", about, r.status)
			}
		}
		for name, s := range p.properties(t, schema) {
			prop, _ := s.(map[string]any)
			for _, v := range enum(prop) {
				refused := slices.ContainsFunc(rows, func(r row) bool { return r.field == name && r.value == v && r.status == "not supported" })
				_, err := loadDocument(t, p.document(name, v))
				if kind == "plugin" && name == "name" { // each wants a configuration of its own
					continue
				}
				require.Equal(t, refused, err != nil, "%s.%s: %v: %v", kind, name, v, err)
			}
		}
	}
	require.Empty(t, sections, "%s is about what there is not", pagePath)
}

// The plugins that are not there are on the page, with what becomes of them.
func TestFromKongPlugins(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(pagePath)
	require.NoError(t, err)
	_, list, ok := strings.Cut(string(data), "\n## Plugins that are not there yet\n")
	require.True(t, ok)
	list, _, _ = strings.Cut(list, "\n## ")
	onPage := map[string]string{}
	for line := range strings.Lines(list) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 2 || !strings.HasPrefix(line, "| `") {
			continue
		}
		for name := range strings.SplitSeq(cells[0], ",") {
			onPage[strings.Trim(name, " `")] = strings.TrimSpace(cells[1])
		}
	}
	_, err = loadDocument(t, fields{"_format_version": "3.0", "plugins": []any{fields{"name": noSuchName}}})
	var want []string
	for _, name := range allowed(t, err) {
		if !slices.ContainsFunc(config.Builtin().Types(), func(p config.PluginType) bool { return p.Name == name }) {
			want = append(want, name)
		}
	}
	require.ElementsMatch(t, want, slices.Collect(maps.Keys(onPage)))
	for name, fate := range onPage {
		doc := `{"_format_version": "3.0", "plugins": [{"name": "` + name + `", "config": {"x": 1}}]}`
		_, err := config.Load("kong.json", strings.NewReader(doc), config.Options{})
		require.Error(t, err, name)
		s, err := config.Load("kong.json", strings.NewReader(doc), config.Options{AllowUnsupported: true})
		switch fate {
		case "left out":
			require.NoError(t, err, name)
			require.Len(t, s.Unsupported, 1, name)
		case "always an error":
			require.Error(t, err, name)
		default:
			require.Fail(t, "unknown fate", "%s: %q", name, fate)
		}
	}
}
