package config

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/mirror"
)

// mirrorTo is a plugin of ours that Kong has not. Times are in seconds.
type mirrorTo struct {
	Service       string   `kong:"service,required,nonempty"`
	Name          string   `kong:"name,default=mirror"`
	Share         float64  `kong:"share,min=0,max=1,default=1"`
	Methods       []string `kong:"methods"`
	DropHeaders   []string `kong:"drop_headers"`
	DropIdentity  bool     `kong:"drop_identity"`
	MaxBody       int      `kong:"max_body,min=0,max=1073741824,default=65536"`
	MaxBytes      int      `kong:"max_bytes,min=1,max=1073741824,default=33554432"`
	Workers       int      `kong:"workers,min=1,default=16"`
	Queue         int      `kong:"queue,min=0,default=256"`
	Timeout       float64  `kong:"timeout,min=0.001,default=10"`
	Compare       bool     `kong:"compare"`
	IgnoreHeaders []string `kong:"ignore_headers"`
	IgnorePaths   []string `kong:"ignore_paths"`
	Unordered     []string `kong:"unordered_paths"`
}

// Check implements the optional method of Schema.
func (m *mirrorTo) Check(c *Check) {
	for field, list := range map[string][]string{"ignore_headers": m.IgnoreHeaders, "ignore_paths": m.IgnorePaths, "unordered_paths": m.Unordered} {
		if len(list) > 0 && !m.Compare {
			c.Failf(field, "%s says how to compare; set compare, too", field)
		}
	}
}

// Fields implements the optional method of Schema.
func (*mirrorTo) Fields() map[string]string {
	return map[string]string{
		"Service": "service", "Methods": "methods", "DropHeaders": "drop_headers", "Workers": "workers", "Queue": "queue", "Timeout": "timeout",
	}
}

// Build implements [Schema].
func (m *mirrorTo) Build(e *Env) (policy.Plugin, error) {
	shadow := e.shadow(m.Service)
	if shadow == nil {
		return nil, fmt.Errorf("mirror: Service %q is no service of the file; write its name or id", m.Service)
	}
	if !shadow.of.Enabled {
		return nil, fmt.Errorf("mirror: Service %q is not enabled, and answers nothing", m.Service)
	}
	none := func(n int) int { // where 0 is not the default
		if n == 0 {
			return -1
		}
		return n
	}
	c := mirror.Config{
		Name: m.Name, Shadow: shadow, Share: m.Share, Methods: m.Methods, DropHeaders: m.DropHeaders, DropIdentity: m.DropIdentity,
		MaxBody: int64(none(m.MaxBody)), MaxBytes: int64(m.MaxBytes), Workers: m.Workers, Queue: none(m.Queue), Timeout: seconds(m.Timeout),
	}
	if m.Share == 0 {
		c.Share = -1
	}
	if m.Compare {
		c.Compare = &mirror.Compare{IgnoreHeaders: m.IgnoreHeaders, Ignore: m.IgnorePaths, Unordered: m.Unordered}
		if logger := e.Logger; logger != nil {
			c.Compare.OnDifference = func(d mirror.Difference) {
				logger.LogAttrs(context.Background(), slog.LevelInfo, "mirror", slog.String("mirror", d.Mirror), slog.String("difference", d.String()),
					slog.String("request_id", d.RequestID)) // the request has ended
			}
		}
	}
	return mirror.New(c)
}

// shadowService is the service that gets copies. Its upstream is made when all plugins are.
type shadowService struct {
	of       *service
	upstream *gateway.Upstream
}

// Handlers returns the upstream.
func (s *shadowService) Handlers() []http.Handler { return []http.Handler{s.upstream} }

// Name returns that of the upstream.
func (s *shadowService) Name() string { return s.upstream.Name() }

// ServeHTTP has the upstream answer; one that is not there answers 503.
func (s *shadowService) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.upstream.ServeHTTP(w, r) }

// shadow returns the service of that name or id as a shadow; nil when there is none.
func (b *builder) shadow(name string) *shadowService {
	i := slices.IndexFunc(b.in.services, func(s *service) bool { return s.Name == name || s.ID == name })
	if i < 0 {
		return nil
	}
	s := b.in.services[i]
	if b.shadows[s] == nil {
		b.shadows[s] = &shadowService{of: s}
	}
	return b.shadows[s]
}

// putMirror moves a mirror from the plugins of a route to its handler, around which its copies are what the service gets.
func (b *builder) putMirror(r *route, rt *gateway.Route) {
	i := slices.IndexFunc(rt.Plugins, func(p policy.Plugin) bool { _, is := p.(*mirror.Mirror); return is })
	if i < 0 {
		return
	}
	m := rt.Plugins[i]
	rt.Plugins = slices.Delete(rt.Plugins, i, i+1)
	base := func(s *service) string { return strings.TrimSuffix(strings.TrimRight(s.Path, " "), "/") }
	for p, built := range b.instances {
		to, is := p.schema.(*mirrorTo)
		if !is || built != m {
			continue
		}
		shadow := b.shadow(to.Service).of
		if r.of == nil || r.of == shadow {
			return // there is nothing to copy, or no point in it
		}
		rt.Handler = m.Wrap(rt.Handler)
		if base(shadow) != base(r.of) {
			n := p.Config.node.get("service")
			b.d.problems.add(n, n.found(), fmt.Sprintf("its path is %q, and that of the service of route %q is %q", shadow.Path, rt.Name, r.of.Path), "copies have the path of the service; give both the same")
		}
	}
}
