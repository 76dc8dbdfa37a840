package config

import (
	"net/http"
	"slices"
	"sync"

	"github.com/gatehouse-go/gateway/policy"
)

// chain writes out which configuration of each plugin runs on a route.
func (b *builder) chain(r *route) []policy.Plugin {
	var chain []policy.Plugin
	for _, t := range b.order {
		if p := b.pick(t.Name, r); p != nil {
			chain = append(chain, p)
		}
	}
	return chain
}

// precedence is Kong's order of scopes: the first configuration that applies is the one that runs.
//
//nolint:gochecknoglobals // a constant table
var precedence = [...]struct{ route, service, consumer bool }{
	{route: true, service: true, consumer: true},
	{route: true, consumer: true},
	{service: true, consumer: true},
	{route: true, service: true},
	{consumer: true},
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
		if p.consumer {
			if v := b.variants[s][name]; v != nil {
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

// variants are the configurations that consumers have of a plugin at one scope. All routes of the scope share them.
type variants struct {
	per map[string]policy.Plugin // by the consumer's id

	once     sync.Once
	contract policy.Contract
}

// sum is the contract of all of them: what one asks for is asked for, what all provide is provided.
func (v *variants) sum() policy.Contract {
	v.once.Do(func() {
		first := true
		for _, p := range v.per {
			c, _ := policy.ContractOf(p)
			v.contract = addContract(v.contract, c, first)
			first = false
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

// variant returns what the caller has of its own, and the id under which; nil when there is nothing.
func (s *scoped) variant(r *http.Request) (policy.Plugin, string) {
	c := policy.ExchangeFrom(r.Context()).Consumer()
	if c == nil {
		return nil, ""
	}
	for _, v := range s.levels {
		if p := v.per[c.ID]; p != nil {
			return p, c.ID
		}
	}
	return nil, ""
}

// Preview asks the configuration for the caller.
func (s *scoped) Preview(r *http.Request) policy.Decision {
	p, _ := s.variant(r)
	if p == nil {
		p = s.def
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
	var built sync.Map // by the consumer's id
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, id := s.variant(r)
		if p == nil {
			def.ServeHTTP(w, r)
			return
		}
		h, ok := built.Load(id)
		if !ok {
			h, _ = built.LoadOrStore(id, p.Wrap(next))
		}
		if h, ok := h.(http.Handler); ok {
			h.ServeHTTP(w, r)
		}
	})
}

// unmatched runs a plugin for requests that no route takes; the chains of routes have it themselves.
type unmatched struct{ plugin policy.Plugin }

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
