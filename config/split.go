package config

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"sync"

	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/split"
)

// trafficSplit is a plugin of ours that Kong has not: it puts a split.Split in the place of the service of a route. Times are in
// seconds.
type trafficSplit struct {
	Name         string          `kong:"name,default=split,nonempty"`
	Arms         []splitArm      `kong:"arms,required,nonempty"`
	Sticky       string          `kong:"sticky,default=none,oneof=none|consumer|credential|ip"`
	StickyHeader string          `kong:"sticky_header"`
	StickyCookie string          `kong:"sticky_cookie"`
	SetCookie    string          `kong:"set_cookie"`
	Seed         int             `kong:"seed,default=0"`
	Overrides    []splitOverride `kong:"overrides"`
	Header       string          `kong:"header"`

	Watch         string  `kong:"watch"`
	Against       string  `kong:"against"`
	ErrorShare    float64 `kong:"error_share,min=0,max=1,default=0"`
	ErrorRatio    float64 `kong:"error_ratio,min=0,default=0"`
	Latency       float64 `kong:"latency,min=0,default=0"`
	LatencyRatio  float64 `kong:"latency_ratio,min=0,default=0"`
	Window        float64 `kong:"window,min=0.01,max=604800,default=60"`
	Minimum       int     `kong:"minimum,min=1,max=1048576,default=20"`
	KeepOverrides bool    `kong:"keep_overrides"`
}

// Words of a trafficSplit.
const (
	splitByConsumer = "consumer"
	splitHeader     = "header"
)

// splitArm is an arm: the service of that name or id, or that of the route.
type splitArm struct {
	Name    string `kong:"name,required,nonempty"`
	Weight  int    `kong:"weight,min=0,max=1048576,default=0"`
	Service string `kong:"service,nonempty"`
}

type splitOverride struct {
	Header string `kong:"header,nonempty"`
	Cookie string `kong:"cookie,nonempty"`
	Group  string `kong:"group,nonempty"`
	Value  string `kong:"value,nonempty"`
	Arm    string `kong:"arm,required,nonempty"`
}

// Check implements the optional method of Schema.
func (s *trafficSplit) Check(c *Check) {
	names := map[string]bool{}
	sum := 0
	for i, a := range s.Arms {
		if names[a.Name] {
			c.Failf("arms", "arms[%d]: another arm is named %q, too; names are unique", i, a.Name)
		}
		names[a.Name] = true
		sum += a.Weight
	}
	if sum == 0 {
		c.Failf("arms", "all weights are 0; give one arm at least some of the traffic")
	}
	for _, f := range [...]struct {
		field string
		err   error
	}{{"sticky_header", byHeader(s.StickyHeader).Err()}, {"sticky_cookie", byCookie(s.StickyCookie).Err()}} {
		if f.err != nil {
			c.Failf(f.field, "is no name; use letters, digits and hyphens, as in X-Session")
		}
	}
	for i, o := range s.Overrides {
		if !names[o.Arm] {
			c.Failf("overrides", "overrides[%d]: there is no arm %q", i, o.Arm)
		}
	}
	for _, f := range [...]struct{ field, name string }{{"watch", s.Watch}, {"against", s.Against}} {
		switch {
		case f.name != "" && !names[f.name]:
			c.Failf(f.field, "there is no arm %q", f.name)
		case f.name == "" && s.Watch+s.Against != "":
			c.Failf("", "watch and against need each other; set both, or none")
		}
	}
	if s.Watch == "" && (s.ErrorShare > 0 || s.ErrorRatio > 0 || s.Latency > 0 || s.LatencyRatio > 0 || s.KeepOverrides) {
		c.Failf("", "there is a rule, and no arm that is watched; set watch and against")
	}
	if s.Watch != "" && s.Watch == s.Against {
		c.Failf("against", "an arm is compared with another")
	}
	for _, f := range [...]struct {
		field string
		v     float64
	}{{"error_ratio", s.ErrorRatio}, {"latency_ratio", s.LatencyRatio}} {
		if f.v != 0 && f.v <= 1 {
			c.Failf(f.field, "%s is how many times as much; use more than 1, or 0 for no such rule", f.field)
		}
	}
}

// Fields implements the optional method of Schema.
func (*trafficSplit) Fields() map[string]string {
	return map[string]string{"Arms": "arms", "Cookie": "set_cookie", "Overrides": "overrides", "Header": splitHeader}
}

func byHeader(name string) policy.Key {
	if name == "" {
		return policy.Key{}
	}
	return policy.ByHeader(name)
}

func byCookie(name string) policy.Key {
	if name == "" {
		return policy.Key{}
	}
	return policy.ByCookie(name)
}

// key is what tells requests apart: the best of what the file has that a request has.
func (s *trafficSplit) key() policy.Key {
	var keys [4]policy.Key
	switch s.Sticky {
	case splitByConsumer:
		keys[0] = policy.ByConsumer().Or(policy.ByCredential())
	case "credential":
		keys[0] = policy.ByCredential()
	case "ip":
		keys[3] = policy.ByClientAddress()
	}
	keys[1], keys[2] = byHeader(s.StickyHeader), byCookie(s.StickyCookie)
	var key policy.Key
	for _, k := range keys {
		switch {
		case k.Of == nil:
		case key.Of == nil:
			key = k
		default:
			key = key.Or(k)
		}
	}
	return key
}

func (s *trafficSplit) rule() split.Rule {
	return split.Rule{
		Arm: s.Watch, Against: s.Against, ErrorShare: s.ErrorShare, ErrorRatio: s.ErrorRatio, Latency: seconds(s.Latency),
		LatencyRatio: s.LatencyRatio, Window: seconds(s.Window), Minimum: s.Minimum, KeepOverrides: s.KeepOverrides,
	}
}

// config returns the configuration, with a handler for each arm.
func (s *trafficSplit) config(handlers []http.Handler) split.Config {
	c := split.Config{Name: s.Name, Sticky: s.key(), Seed: uint64(s.Seed), Header: s.Header, Rollback: s.rule()}
	if s.SetCookie != "" {
		c.Cookie = split.Cookie{Name: s.SetCookie, InsecureHTTP: true}
	}
	if s.Watch == "" {
		c.Rollback = split.Rule{Window: c.Rollback.Window}
	}
	for i, a := range s.Arms {
		c.Arms = append(c.Arms, split.Arm{Name: a.Name, Weight: a.Weight, Handler: handlers[i]})
	}
	for _, o := range s.Overrides {
		c.Overrides = append(c.Overrides, split.Override{Header: o.Header, Cookie: o.Cookie, Group: o.Group, Value: o.Value, Arm: o.Arm})
	}
	return c
}

func (s *trafficSplit) weights() map[string]int {
	out := make(map[string]int, len(s.Arms))
	for _, a := range s.Arms {
		out[a.Name] = a.Weight
	}
	return out
}

// Build implements [Schema]. What it builds does nothing by itself: a route that has it gets another handler.
func (s *trafficSplit) Build(*Env) (policy.Plugin, error) {
	handlers := make([]http.Handler, len(s.Arms))
	for i := range handlers {
		handlers[i] = http.HandlerFunc(noService)
	}
	if _, err := split.New(s.config(handlers)); err != nil {
		return nil, err
	}
	return &splitPlan{schema: s}, nil
}

// splitPlan stands for a Split until the services are there.
type splitPlan struct {
	schema         *trafficSplit
	route, service string // where it is configured
}

// Wrap implements [policy.Plugin].
func (*splitPlan) Wrap(next http.Handler) http.Handler { return next }

// splits makes the Splits of a file.
type splits struct {
	names []string // of plugins that are one
	made  map[*splitPlan]*split.Split
	bad   map[*splitPlan]bool // reported
}

// keptSplit is a Split that goes on when the file is read again, with its counters and its rollback.
type keptSplit struct {
	split *split.Split

	mu      sync.Mutex
	weights map[string]int // of the file that is served
}

// set has the weights of a file hold. Where they are those of the file before, what has become of them since stays.
func (k *keptSplit) set(weights map[string]int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if maps.Equal(k.weights, weights) {
		return nil
	}
	k.weights = weights
	return k.split.SetWeights(weights)
}

func (b *builder) newSplits() {
	b.splits = splits{made: map[*splitPlan]*split.Split{}, bad: map[*splitPlan]bool{}}
	for _, t := range b.order {
		if _, ok := t.New().(*trafficSplit); ok {
			b.splits.names = append(b.splits.names, t.Name)
		}
	}
}

// planOf returns the split that a route with a service has; nil for none.
func (b *builder) planOf(r *route) *splitPlan {
	for _, name := range b.splits.names {
		if plan, ok := b.pick(name, r).(*splitPlan); ok {
			return plan
		}
	}
	return nil
}

// servicesOf returns the services that a route needs.
func (b *builder) servicesOf(r *route) []*service {
	plan := b.planOf(r)
	if plan == nil {
		return []*service{r.of}
	}
	var out []*service
	for _, a := range plan.schema.Arms {
		out = append(out, b.serviceOf(a, r.of))
	}
	return out
}

// serviceOf returns the service of an arm, nil where there is none of that name.
func (b *builder) serviceOf(a splitArm, own *service) *service {
	if a.Service == "" {
		return own
	}
	for _, s := range b.in.services {
		if s.Name == a.Service || s.ID == a.Service {
			return s
		}
	}
	return nil
}

// checkSplits reports what a Split cannot be.
func (b *builder) checkSplits() {
	for _, p := range b.plugins {
		plan, ok := b.instances[p].(*splitPlan)
		if !ok {
			continue
		}
		if p.service != nil {
			plan.service = p.service.key
		}
		if p.route != nil {
			plan.route = p.route.key
		}
		at := cmp.Or(p.Config.node, p.node)
		bad := func(format string, args ...any) {
			b.splits.bad[plan] = true
			b.d.problems.add(at, "", fmt.Sprintf(format, args...), "")
		}
		own := p.service
		if p.route != nil {
			own = p.route.of
		}
		switch {
		case p.route == nil && p.service == nil:
			bad("a split stands in the place of a service; configure it at one, or at a route")
			continue
		case own == nil:
			bad("a split stands in the place of a service, and the route has none; name one")
			continue
		}
		for i, a := range plan.schema.Arms {
			s := b.serviceOf(a, own)
			switch {
			case s == nil:
				bad("arms[%d]: there is no service %q", i, a.Service)
			case !s.Enabled:
				bad("arms[%d]: the service %q is not enabled", i, a.Service)
			case s.Path != own.Path:
				bad("arms[%d]: the service %q has the path %q, and that of the route %q; arms have the same", i, a.Service, s.Path, own.Path)
			case isGRPC(s.Protocol) != isGRPC(own.Protocol):
				bad("arms[%d]: the service %q has the protocol %s, and that of the route %s; either all arms speak gRPC, or none", i, a.Service, s.Protocol, own.Protocol)
			case b.hostHead(s) != b.hostHead(own):
				bad("arms[%d]: the upstream of the service %q has another host_header than that of the route; arms have the same", i, a.Service)
			}
		}
	}
}

func (b *builder) hostHead(s *service) string {
	if up := b.in.upstreamByName[s.Host]; up != nil {
		return up.HostHead
	}
	return ""
}

// splitOf returns the Split that a route has in the place of its service; nil for none, and where it was reported.
func (b *builder) splitOf(r *route) *split.Split {
	plan := b.planOf(r)
	if plan == nil || b.splits.bad[plan] {
		return nil
	}
	if s := b.splits.made[plan]; s != nil {
		return s
	}
	schema := plan.schema
	handlers, key := make([]http.Handler, len(schema.Arms)), []byte(nil)
	key = fmt.Appendf(key, "split %q %q ", plan.route, plan.service)
	key = fmt.Appendf(key, "%q %q %q %q %q %d %v %q %+v", schema.Name, schema.Sticky, schema.StickyHeader, schema.StickyCookie, schema.SetCookie, schema.Seed, schema.Overrides, schema.Header, schema.rule())
	for i, a := range schema.Arms {
		u := b.handlers[b.serviceOf(a, r.of)]
		if u == nil {
			return nil // reported
		}
		handlers[i] = u
		key = fmt.Appendf(key, " %q %p", a.Name, u)
	}
	weights := schema.weights()
	if before, ok := b.kept(string(key)).(*keptSplit); ok {
		b.out.applied = append(b.out.applied, func() error { return before.set(weights) })
		b.splits.made[plan] = before.split
		return before.split
	}
	c := schema.config(handlers)
	if logger := b.options.Logger; logger != nil && c.Rollback.Arm != "" {
		c.Rollback.OnRollback = func(r split.Rollback) {
			attrs := []slog.Attr{
				slog.String("split", r.Name), slog.String("arm", r.Arm), slog.String("reason", r.Reason), slog.String("rollback", r.String()),
			}
			if r.Err != nil {
				attrs = append(attrs, slog.String("error", r.Err.Error()))
			}
			logger.LogAttrs(context.Background(), slog.LevelError, "rolled back", attrs...) // it is no request's
		}
	}
	s, err := split.New(c)
	if err != nil { // the same was made before
		b.problem(r.node, err)
		return nil
	}
	made := &keptSplit{split: s, weights: weights}
	b.keep(string(key), made)
	b.out.applied = append(b.out.applied, func() error { return made.set(weights) })
	b.splits.made[plan] = s
	return s
}
