package config

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/mirror"
)

// buildPlugins makes one instance of each configuration.
func (b *builder) buildPlugins() {
	b.instances, b.at = map[*plugin]policy.Plugin{}, map[scope]map[string]*plugin{}
	b.variants, b.grouped = map[scope]map[string]*variants{}, map[scope]map[string]*variants{}
	for _, p := range b.plugins {
		built, err := b.instance(p)
		at := p.node
		if p.Config.node != nil {
			at = p.Config.node
		}
		if err != nil {
			b.pluginProblem(p, at, err)
			continue
		}
		b.instances[p] = built
		if m, ok := built.(*mirror.Mirror); ok {
			b.out.Gateway.Owns = append(b.out.Gateway.Owns, m)
		}
		if p.route != nil && p.service != nil && p.route.of != p.service {
			b.warnf(at, "plugin %q never runs: the route is not one of the service", p.Name)
		}
		s := scope{p.route, p.service}
		v := &variant{plugin: built}
		switch {
		case p.consumer != nil:
			variantsAt(b.variants, s, p.Name, nil).add(v, p.consumer.ID)
		case p.group != nil:
			variantsAt(b.grouped, s, p.Name, b.groups).add(v, p.group.ID)
		case b.at[s] == nil:
			b.at[s] = map[string]*plugin{p.Name: p}
		default:
			b.at[s][p.Name] = p
		}
	}
}

// pluginProblem reports what a constructor says at the field it means, if the schema tells its name in the file.
func (b *builder) pluginProblem(p *plugin, at *node, err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok { // the very value of errors.Join
		for _, e := range joined.Unwrap() {
			b.pluginProblem(p, at, e)
		}
		return
	}
	named, ok := p.schema.(interface{ Fields() map[string]string })
	_, text, prefixed := strings.Cut(err.Error(), ": ")
	end := strings.IndexFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && r != '.' })
	if !ok || !prefixed || end < 0 {
		b.problem(at, err)
		return
	}
	name := named.Fields()[text[:end]]
	if name == "" { // a field within one that is
		end = strings.IndexFunc(text, func(r rune) bool { return !unicode.IsLetter(r) })
		name = named.Fields()[text[:end]]
	}
	n := at.get(name)
	if name == "" || n == nil || strings.HasPrefix(text[end:], " and ") { // two fields are no one's
		b.problem(at, err)
		return
	}
	text = text[end:]
	if _, rest, ok := strings.Cut(text, "] "); ok && text[0] == '[' {
		text = rest
	}
	text = strings.TrimLeft(text, ": ")
	if value, quoteErr := strconv.QuotedPrefix(text); quoteErr == nil {
		text = strings.TrimPrefix(text[len(value):], " ")
		if value, quoteErr = strconv.Unquote(value); quoteErr == nil && n.kind == kindList {
			if i := slices.IndexFunc(n.items, func(item *node) bool { return item.text == value }); i >= 0 {
				n = n.items[i]
			}
		}
	}
	found := ""
	if n.kind < kindList {
		found = n.found()
	}
	b.d.problems.add(n, found, text, "")
}

// shared fills the tables, or those of the snapshot before when that is replaced.
func (b *builder) shared() (*shared, *tables) {
	t := &tables{service: make(map[string]string, len(b.in.routes)), group: map[string]string{}, routes: map[string]*matchedRoute{}}
	echoes := slices.ContainsFunc(b.plugins, func(p *plugin) bool {
		term, ok := p.schema.(*requestTermination)
		return ok && term.Echo
	})
	for _, r := range b.in.routes {
		name := label(r.Name, r.ID, r.node)
		if r.of != nil {
			t.service[name] = cmp.Or(r.of.ID, r.of.key)
		}
		if echoes {
			t.routes[name] = newMatchedRoute(r)
		}
	}
	for _, c := range b.in.consumers {
		if len(c.in) > 0 {
			t.group[c.ID] = c.in[0].ID
		}
	}
	s, ok := b.kept("shared").(*shared)
	if !ok {
		s = &shared{id: randomUUID()}
		s.tables.Store(t)
		b.keep("shared", s)
	}
	b.out.applied = append(b.out.applied, func() error {
		s.tables.Store(t)
		return nil
	})
	return s, t
}

// instance makes a plugin, or takes over the one of the snapshot before where it has a state to keep.
func (b *builder) instance(p *plugin) (policy.Plugin, error) {
	b.env.group = ""
	if p.group != nil {
		b.env.group = p.group.ID
	}
	stateful, ok := p.schema.(interface{ StateKey() string })
	if !ok {
		return p.schema.Build(b.env)
	}
	key := stateful.StateKey()
	if key == "" {
		return p.schema.Build(b.env)
	}
	var route, service, consumer string
	if p.route != nil {
		route = p.route.key
	}
	if p.service != nil {
		service = p.service.key
	}
	if p.consumer != nil {
		consumer = p.consumer.ID
	}
	key = fmt.Sprintf("plugin %q %q %q %q %q %s", p.Name, route, service, consumer, b.env.group, key)
	if kept, ok := b.kept(key).(policy.Plugin); ok {
		return kept, nil
	}
	built, err := p.schema.Build(b.env)
	if err == nil {
		b.keep(key, built)
	}
	return built, err
}

// chain writes out which configuration of each plugin runs on a route.
func (b *builder) chain(r *route) []policy.Plugin {
	var chain []policy.Plugin
	for _, t := range b.order {
		p := b.pick(t.Name, r)
		if _, isHandler := p.(*splitPlan); p != nil && !isHandler {
			chain = append(chain, p)
		}
	}
	return chain
}

// precedence is Kong's order of scopes: the first configuration that applies is the one that runs.
//
//nolint:gochecknoglobals // a constant table
var precedence = [...]struct{ route, service, consumer, group bool }{
	{route: true, service: true, consumer: true},
	{route: true, service: true, group: true},
	{route: true, consumer: true},
	{service: true, consumer: true},
	{route: true, group: true},
	{service: true, group: true},
	{route: true, service: true},
	{consumer: true},
	{group: true},
	{route: true},
	{service: true},
	{},
}

// pick returns the one plugin of a name that runs on a route, which may depend on the consumer; nil for none.
func (b *builder) pick(name string, r *route) policy.Plugin {
	var levels []*variants
	for _, p := range precedence {
		var s scope
		if p.service {
			if s.service = r.of; s.service == nil {
				continue
			}
		}
		if p.route {
			s.route = r
		}
		of := b.variants
		if p.group {
			of = b.grouped
		}
		if p.consumer || p.group {
			if v := of[s][name]; v != nil {
				levels = append(levels, v)
			}
		} else if found := b.at[s][name]; found != nil {
			if len(levels) == 0 {
				return b.instances[found]
			}
			return &scoped{name: name, def: b.instances[found], levels: levels}
		}
	}
	if len(levels) == 0 {
		return nil
	}
	return &scoped{name: name, levels: levels}
}

// variants are the configurations that consumers, or groups of them, have of a plugin at one scope. All routes of the scope
// share them.
type variants struct {
	per    map[string]*variant // by the id of the consumer, or of the group
	all    []*variant
	groups map[string][]string // where they are for groups: those of each consumer, the one that wins first

	once     sync.Once
	contract policy.Contract
}

// variant is one of these configurations.
type variant struct{ plugin policy.Plugin }

func variantsAt(all map[scope]map[string]*variants, s scope, name string, groups map[string][]string) *variants {
	if all[s] == nil {
		all[s] = map[string]*variants{}
	}
	v := all[s][name]
	if v == nil {
		v = &variants{per: map[string]*variant{}, groups: groups}
		all[s][name] = v
	}
	return v
}

func (v *variants) add(x *variant, id string) {
	v.per[id] = x
	v.all = append(v.all, x)
}

// of returns what a consumer has; nil for nothing.
func (v *variants) of(consumer string) *variant {
	if v.groups == nil {
		return v.per[consumer]
	}
	for _, g := range v.groups[consumer] {
		if x := v.per[g]; x != nil {
			return x
		}
	}
	return nil
}

// sum is the contract of all of them: what one asks for is asked for, what all provide is provided.
func (v *variants) sum() policy.Contract {
	v.once.Do(func() {
		for i, x := range v.all {
			c, _ := policy.ContractOf(x.plugin)
			v.contract = addContract(v.contract, c, i == 0)
		}
	})
	return v.contract
}

// addContract adds up two contracts of which either may hold.
func addContract(a, b policy.Contract, first bool) policy.Contract {
	union := func(x, y []policy.Fact) []policy.Fact {
		out := slices.Clone(x)
		for _, f := range y {
			if !slices.Contains(out, f) {
				out = append(out, f)
			}
		}
		return out
	}
	a.Requires, a.Precludes = union(a.Requires, b.Requires), union(a.Precludes, b.Precludes)
	a.BuffersRequest, a.BuffersResponse = a.BuffersRequest || b.BuffersRequest, a.BuffersResponse || b.BuffersResponse
	if first {
		a.Provides = slices.Clone(b.Provides)
		return a
	}
	a.Provides = slices.DeleteFunc(slices.Clone(a.Provides), func(f policy.Fact) bool { return !slices.Contains(b.Provides, f) })
	return a
}

// scoped is a plugin of which consumers have configurations of their own: which one runs is chosen when the request comes
// by, after authentication. What is inside is composed on first use, because routes times consumers may be many.
type scoped struct {
	name   string
	def    policy.Plugin // nil: only the listed consumers have one
	levels []*variants   // the most specific first
}

// Name returns the name of the plugin.
func (s *scoped) Name() string { return s.name }

// Contract adds up those of all configurations.
func (s *scoped) Contract() policy.Contract {
	var sum policy.Contract // of the callers it passes by
	if s.def != nil {
		c, _ := policy.ContractOf(s.def)
		sum = addContract(sum, c, true)
	}
	for _, v := range s.levels {
		sum = addContract(sum, v.sum(), false)
	}
	return sum
}

// variant returns what the caller has of its own; nil when there is nothing.
func (s *scoped) variant(r *http.Request) *variant {
	c := policy.ExchangeFrom(r.Context()).Consumer()
	if c == nil {
		return nil
	}
	for _, level := range s.levels {
		if v := level.of(c.ID); v != nil {
			return v
		}
	}
	return nil
}

// Preview asks the configuration for the caller.
func (s *scoped) Preview(r *http.Request) policy.Decision {
	p := s.def
	if v := s.variant(r); v != nil {
		p = v.plugin
	}
	if p != nil {
		if d, ok := policy.PreviewOf(p, r); ok {
			return d
		}
	}
	return policy.Decision{Policy: s.name, Verdict: policy.Skipped, Reason: "not_configured"}
}

// Wrap chooses for each request.
func (s *scoped) Wrap(next http.Handler) http.Handler {
	def := next
	if s.def != nil {
		def = s.def.Wrap(next)
	}
	var built sync.Map // by variant
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := s.variant(r)
		if v == nil {
			def.ServeHTTP(w, r)
			return
		}
		h, ok := built.Load(v)
		if !ok {
			h, _ = built.LoadOrStore(v, v.plugin.Wrap(next))
		}
		if h, ok := h.(http.Handler); ok {
			h.ServeHTTP(w, r)
		}
	})
}

// unmatched runs a plugin for requests that no route takes; the chains of routes have it themselves.
type unmatched struct{ plugin policy.Plugin }

// Name tells it from the plugin of a route.
func (u *unmatched) Name() string { return policy.NameOf(u.plugin) + " (no route)" }

// Unwrap returns the plugin.
func (u *unmatched) Unwrap() policy.Plugin { return u.plugin }

// Wrap passes requests with a route by the plugin.
func (u *unmatched) Wrap(next http.Handler) http.Handler {
	h := u.plugin.Wrap(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if policy.ExchangeFrom(r.Context()).Route() != "" {
			next.ServeHTTP(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}
