package config

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// entitiesKey is where a snapshot keeps what Diff compares.
const entitiesKey = "entities for Diff"

func (s *Snapshot) entities() []*entity {
	if s == nil {
		return nil
	}
	list, _ := s.state[entitiesKey].([]*entity)
	return list
}

// remember keeps what Diff compares. It is called before the builder takes the secrets out of what was read; of those it
// keeps digests, which never leave the package.
func (s *Snapshot) remember(l *linker) {
	m := memory{schemas: l.d.schemas, known: map[any]*entity{}, defaults: map[string]map[string]any{}}
	m.add(fileKind, &struct {
		Format string `kong:"_format_version"`
	}{l.doc.Format}, &node{})
	for _, v := range l.out.services {
		m.service(v)
	}
	for _, v := range l.out.routes {
		e := m.add(routeKind, v, v.node)
		e.local = e.text("name")
		e.name = e.local
		m.refer(e, "service", v.of)
		if e.local == "" {
			e.of = []*entity{m.known[v.of]}
			e.name = cmp.Or(e.id, describeRoute(e))
		}
	}
	for _, v := range l.out.upstreams {
		e := m.add(upstreamKind, v, v.node)
		e.local = e.text("name")
		e.name = e.local
		e.present(v.client)
		for _, t := range v.Targets {
			of := e
			e := m.add(targetKind, t, t.node)
			e.local, e.of = e.text("target"), []*entity{of}
			e.name = e.local + " of " + of.name
		}
	}
	for _, v := range l.doc.ConsumerGroups {
		e := m.add(consumerGroupKind, v, v.node)
		e.local = e.text("name")
		e.name = e.local
	}
	for _, v := range l.out.consumers {
		m.consumer(v)
	}
	for _, v := range l.out.certs {
		m.certificate(v)
	}
	for _, v := range l.out.cas {
		e := m.add(caCertificateKind, v, v.node)
		e.shortenPEM(v.Cert)
		e.name = cmp.Or(e.id, "without an id")
	}
	for _, v := range l.out.plugins {
		if v.schema != nil { // else it is left out
			m.plugin(v)
		}
	}
	s.state[entitiesKey] = m.list
}

// memory gathers the entities of a file.
type memory struct {
	schemas  *schemas
	list     []*entity
	known    map[any]*entity           // by the struct they were read into
	defaults map[string]map[string]any // by prefix and type
}

// add remembers an entity, v being a pointer to its struct and n where it stands.
func (m *memory) add(kind entityKind, v any, n *node) *entity {
	e := &entity{kind: kind}
	if id := n.get("id"); id != nil {
		e.id = id.text
	}
	m.fields(e, "", reflect.ValueOf(v).Elem(), n)
	m.known[v] = e
	m.list = append(m.list, e)
	return e
}

// refer has a field name another entity, of which v is the struct.
func (m *memory) refer(e *entity, field string, v any) {
	if other := m.known[v]; other != nil {
		e.set(fieldValue{name: field, shown: other.name, entity: other})
	}
}

func (m *memory) service(s *service) {
	v := *s
	// A url and its parts say the same. One that comes from the environment stays whole, for it is not to be shown.
	if n := v.node.get("url"); n != nil && !isVault(n) {
		if u, err := url.Parse(v.URL); err == nil && u.Host != "" {
			v.Protocol, v.Host, v.Path, v.URL, v.Port = u.Scheme, u.Hostname(), u.EscapedPath(), "", 80
			if u.Scheme == schemeHTTPS {
				v.Port = 443
			}
			if p, err := strconv.Atoi(u.Port()); err == nil {
				v.Port = p
			}
		}
	}
	e := m.add(serviceKind, &v, v.node)
	m.known[s] = e
	e.present(s.client)
	e.local = e.text("name")
	e.name = cmp.Or(e.local, e.id, e.text("host"), "without a name")
}

// text is a field of an entity as it may be shown.
func (e *entity) text(field string) string {
	text, _ := e.field(field).shown.(string)
	return text
}

// describeRoute names a route that has no name.
func describeRoute(e *entity) string {
	var words []string
	for _, field := range [...]string{"methods", "hosts", "paths"} {
		list, _ := e.field(field).shown.([]any)
		for _, v := range list {
			if text, ok := v.(string); ok {
				words = append(words, text)
			}
		}
	}
	if service := e.text("service"); service != "" {
		words = append(words, "of", service)
	}
	return strings.Join(words, " ")
}

func (m *memory) consumer(c *consumer) {
	e := m.add(consumerKind, c, c.node)
	e.local = cmp.Or(e.text("username"), e.text("custom_id"))
	e.name = e.local
	if len(c.in) > 0 {
		groups := make([]any, len(c.in))
		for i, g := range c.in {
			groups[i] = m.known[g].name
		}
		e.set(fieldValue{name: "groups", shown: groups})
	}
	for _, k := range c.KeyAuths {
		of := e
		e := m.add(keyAuthKind, k, k.node)
		e.of, e.name = []*entity{of}, "of "+of.name
		if e.id != "" {
			e.name = e.id + " of " + of.name
		}
	}
	for _, a := range c.ACLs {
		of := e
		e := m.add(aclKind, a, a.node)
		e.local, e.of = e.text("group"), []*entity{of}
		e.name = e.local + " of " + of.name
	}
}

// shortenPEM shows a sum of a certificate, as nobody reads PEM.
func (e *entity) shortenPEM(cert string) {
	if e.field("cert").digest == "" {
		sum := sha256.Sum256([]byte(strings.TrimSpace(cert)))
		e.set(fieldValue{name: "cert", shown: "sha256:" + hex.EncodeToString(sum[:8])})
	}
}

// present has an entity present a certificate, which has no other name than its id.
func (e *entity) present(c *certificate) {
	if c != nil {
		e.set(fieldValue{name: "client_certificate", shown: c.ID})
	}
}

// certificate is called by its names, which do not change when it is renewed.
func (m *memory) certificate(c *certificate) {
	e := m.add(certificateKind, c, c.node)
	e.shortenPEM(c.Cert)
	names := make([]string, 0, len(c.SNIs))
	snis := make([]*entity, 0, len(c.SNIs))
	for _, s := range c.SNIs {
		e := m.add(sniKind, s, s.node)
		e.local = e.text("name")
		e.name = e.local
		names, snis = append(names, e.name), append(snis, e)
	}
	slices.Sort(names)
	e.local = strings.Join(names, ", ")
	e.name = cmp.Or(e.local, e.id, "without snis")
	for _, s := range snis {
		m.refer(s, "certificate", c)
	}
}

func (m *memory) plugin(p *plugin) {
	e := m.add(pluginKind, p, p.node)
	m.fields(e, "config.", reflect.ValueOf(p.schema).Elem(), cmp.Or(p.Config.node, &node{kind: kindMap}))
	e.local = e.text("name")
	e.name = e.local
	e.of = []*entity{m.known[p.route], m.known[p.service], m.known[p.consumer], m.known[p.group]}
	var at []string
	for _, o := range e.of {
		if o != nil {
			at = append(at, o.kind.String()+" "+o.name)
		}
	}
	if len(at) > 0 {
		e.name += " at " + strings.Join(at, ", ")
	}
}

// fields remembers the fields of a struct that have not their defaults. n is where it stands in the file; what is not
// written there has its default, unless the field is one of those a url is taken apart into.
func (m *memory) fields(e *entity, prefix string, v reflect.Value, n *node) {
	e.defaults = append(e.defaults, m.defaultsOf(prefix, v.Type()))
	m.written(e, prefix, v, n)
}

func (m *memory) written(e *entity, prefix string, v reflect.Value, n *node) {
	defaults := m.defaultsOf(prefix, v.Type())
	derived := n.kind != kindMap || e.kind == serviceKind && n.get("url") != nil
	for _, f := range m.schemas.of(v.Type()) {
		at := n.get(f.name)
		if at == nil && !derived {
			continue
		}
		name, value := prefix+f.name, v.Field(f.index)
		if f.name == "updated_at" || f.unsupported || holdsEntities(f.typ) || isEmpty(value) && defaults[name] == nil {
			continue
		}
		if isRecord(f.typ) {
			if at != nil {
				m.written(e, name+".", value, at)
			}
			continue
		}
		s := showing{schemas: m.schemas, secret: f.secret}
		shown := s.value(value, at)
		out := fieldValue{name: name, shown: shown, secret: s.secret}
		if s.secret || s.vault {
			out.digest = digest(name, value.Interface())
		}
		if s.secret {
			out.shown = nil
		} else if !s.vault && reflect.DeepEqual(shown, defaults[name]) {
			continue
		}
		e.fields = append(e.fields, out)
	}
}

// defaultsOf returns the defaults of the fields of a struct, by name.
func (m *memory) defaultsOf(prefix string, t reflect.Type) map[string]any {
	key := prefix + t.String()
	if out, ok := m.defaults[key]; ok {
		return out
	}
	out := map[string]any{}
	for _, f := range m.schemas.of(t) {
		if isRecord(f.typ) && !f.unsupported {
			maps.Copy(out, m.defaultsOf(prefix+f.name+".", f.typ))
			continue
		}
		v := reflect.New(f.typ).Elem()
		if f.hasDefault {
			setDefault(v, f.def)
		}
		if !f.unsupported && !holdsEntities(f.typ) && (f.hasDefault || v.Kind() == reflect.Bool) {
			out[prefix+f.name] = (&showing{schemas: m.schemas}).value(v, nil)
		}
	}
	m.defaults[key] = out
	return out
}

// holdsEntities tells of fields that hold or name other entities, which are remembered apart.
func holdsEntities(t reflect.Type) bool {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t == reflect.TypeFor[ref]() || t == reflect.TypeFor[rawMap]() || t.Kind() == reflect.Struct && isEntity(t)
}

func isEmpty(v reflect.Value) bool {
	if v.Kind() == reflect.Slice || v.Kind() == reflect.Map {
		return v.Len() == 0
	}
	return v.IsZero()
}

// digest stands for a value that is not to be kept. It is keyed, so that nobody who sees it can try guesses, and the same in
// all snapshots of a process, so that Diff can compare them.
func digest(field string, v any) string {
	h := hmac.New(sha256.New, digestKey())
	_, _ = io.WriteString(h, field+"\x00"+jsonText(v)) // a hash takes everything
	return string(h.Sum(nil))
}

//nolint:gochecknoglobals // a constant of the process
var digestKey = sync.OnceValue(func() []byte {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails: see crypto/rand
	return key
})

func isVault(n *node) bool {
	return n != nil && n.kind == kindString && strings.HasPrefix(n.text, "{vault://")
}

// showing writes a value as JSON has it.
type showing struct {
	schemas *schemas
	secret  bool // there is a credential in it
	vault   bool // there is a reference in it, which stands for itself
}

// value shows v, which was read from n; n may be nil.
func (s *showing) value(v reflect.Value, n *node) any {
	if isVault(n) {
		s.vault = true
		return n.text
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return s.value(v.Elem(), n)
	case reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			var at *node
			if n != nil && len(n.items) == len(list) {
				at = n.items[i]
			}
			list[i] = s.value(v.Index(i), at)
		}
		return list
	case reflect.Map:
		out := make(map[string]any, v.Len())
		at := make(map[string]*node, v.Len()) // there may be many
		if n != nil {
			for _, f := range n.fields {
				at[f.name] = f.value
			}
		}
		for key, element := range v.Seq2() {
			out[key.String()] = s.value(element, at[key.String()])
		}
		return out
	case reflect.Struct:
		out := map[string]any{}
		for _, f := range s.schemas.of(v.Type()) {
			var at *node
			if n != nil {
				at = n.get(f.name)
			}
			s.secret = s.secret || f.secret && !v.Field(f.index).IsZero()
			out[f.name] = s.value(v.Field(f.index), at)
		}
		return out
	case reflect.Int, reflect.Int64:
		return v.Int()
	default:
		return v.Interface()
	}
}
