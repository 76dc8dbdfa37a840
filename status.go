package gateway

import (
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/gatehouse-go/gateway/policy"
)

// Status is a snapshot of what a gateway serves.
type Status struct {
	// Version counts the tables applied, from 1; "" after Shutdown.
	Version string
	// Routes are the routes in order of precedence.
	Routes RouteTable
	// Upstreams are the upstreams that routes and their plugins reach, each once, in the order of the routes.
	Upstreams []UpstreamStatus
	// InFlight is the number of requests being served by the current table.
	InFlight int
}

// RouteInfo is one line of the route table: one host and one path of a route, which compete on their own.
type RouteInfo struct {
	// Name is the route's name, Host and Pattern what it asks for; "" means any.
	Name, Host, Pattern string
	// Methods are the methods it takes; none means all.
	Methods []string
	// Plugins are the names of all plugins around the handler, the first outermost.
	Plugins []string
	// Handler says what answers: the name of an upstream, or the Go type of a handler.
	Handler string
}

// RouteTable is a list of routes in order of precedence.
type RouteTable []RouteInfo

// String lays the table out for a terminal.
func (t RouteTable) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "ROUTE\tHOST\tPATH\tMETHODS\tPLUGINS\tHANDLER")
	for _, r := range t {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, or(r.Host, "*"), or(r.Pattern, "*"),
			or(strings.Join(r.Methods, ","), "*"), or(strings.Join(r.Plugins, " > "), "-"), r.Handler)
	}
	_ = w.Flush()
	return b.String()
}

// Status returns a snapshot of the gateway: its routes, and every upstream with the state of its targets.
func (g *Gateway) Status() Status {
	t := g.current()
	if t == nil {
		return Status{}
	}
	defer t.release()
	s := Status{Version: t.version, Routes: t.list(), InFlight: int(max(t.refs.Load()-2, 0))}
	seen := map[*Upstream]bool{}
	for i := range t.routes {
		for h := range leavesOfRoute(t.routes[i].target, t.plugins, t.routes[i].plugins) {
			if u, ok := h.(*Upstream); ok && !seen[u] {
				seen[u] = true
				s.Upstreams = append(s.Upstreams, u.Status())
			}
		}
	}
	return s
}

// Routes returns the compiled route table in order of precedence; nil after Shutdown.
func (g *Gateway) Routes() RouteTable {
	t := g.current()
	if t == nil {
		return nil
	}
	defer t.release()
	return t.list()
}

// list gives the compiled table as data.
func (t *table) list() RouteTable {
	out := make(RouteTable, 0, len(t.routes))
	for e := range t.index.All() {
		rt := &t.routes[e.Route]
		out = append(out, RouteInfo{
			Name: rt.name, Host: e.Host, Pattern: e.Pattern, Methods: e.Methods,
			Plugins: pluginNames(t.plugins, rt.plugins), Handler: handlerName(rt.target),
		})
	}
	return out
}

func pluginNames(chains ...[]Plugin) []string {
	names := []string{}
	for _, chain := range chains {
		for _, p := range chain {
			names = append(names, policy.NameOf(p))
		}
	}
	return names
}

func handlerName(h http.Handler) string {
	if n, ok := h.(interface{ Name() string }); ok {
		return n.Name()
	}
	return typeName(h)
}

func typeName(h http.Handler) string { return fmt.Sprintf("%T", h) }

// maxHandlerDepth bounds the walk through handlers that hide others, which an application may have tied into a cycle.
const maxHandlerDepth = 16

// leavesOf yields the handlers behind h: h itself, or, where it has a method Handlers() []http.Handler, those behind these.
func leavesOf(h http.Handler) iter.Seq[http.Handler] {
	return func(yield func(http.Handler) bool) { walkLeaves(h, maxHandlerDepth, yield) }
}

// leavesOfRoute yields the handlers behind h, and those behind the plugins around it that have such a method, as a mirror does.
func leavesOfRoute(h http.Handler, chains ...[]Plugin) iter.Seq[http.Handler] {
	return func(yield func(http.Handler) bool) {
		if !walkLeaves(h, maxHandlerDepth, yield) {
			return
		}
		for _, p := range slices.Concat(chains...) {
			for _, h := range handlersOf(p) {
				if !walkLeaves(h, maxHandlerDepth, yield) {
					return
				}
			}
		}
	}
}

// handlersOf returns the handlers that a plugin, or one inside it, asks beside the one it stands around.
func handlersOf(p Plugin) []http.Handler {
	for range maxHandlerDepth {
		if isNilPlugin(p) {
			return nil
		}
		if m, ok := p.(interface{ Handlers() []http.Handler }); ok {
			return m.Handlers()
		}
		u, ok := p.(interface{ Unwrap() Plugin })
		if !ok {
			return nil
		}
		p = u.Unwrap()
	}
	return nil
}

func walkLeaves(h http.Handler, depth int, yield func(http.Handler) bool) bool {
	inner, ok := h.(interface{ Handlers() []http.Handler })
	if !ok || depth == 0 {
		return yield(h)
	}
	for _, h := range inner.Handlers() {
		if !walkLeaves(h, depth-1, yield) {
			return false
		}
	}
	return true
}

var _ Plugin = (*policy.Entry)(nil)
