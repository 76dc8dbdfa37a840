package gateway

import (
	"fmt"
	"slices"
	"strings"
)

// endless gathers which upstreams can hold a request for ever, by the timeouts that are in force below each route.
type endless struct {
	upstreams []*Upstream
	off       map[*Upstream][]string // timeouts that the upstream switches off
	said      map[string]bool        // of routes, which may reach an upstream twice
}

// check looks at one upstream of a route, and reports what the route switches off.
func (e *endless) check(u *Upstream, route Timeouts, label string, order int, r *collector) {
	b := u.bounds(route)
	if b.Total > 0 {
		return
	}
	var byRoute, byUpstream []string
	for _, t := range []struct {
		name       string
		off, route bool
	}{{"Connect", b.Connect < 0, route.Connect < 0}, {"FirstByte", b.FirstByte < 0, route.FirstByte < 0}, {"Idle", b.Idle < 0, route.Idle < 0}} {
		switch {
		case t.route:
			byRoute = append(byRoute, t.name)
		case t.off:
			byUpstream = append(byUpstream, t.name)
		}
	}
	if len(byRoute) > 0 {
		e.sayRoute(label, order, "Forward.Timeouts."+strings.Join(byRoute, ", ")+" is switched off", r)
	}
	switch {
	case len(byUpstream) == 0:
	case u.timeouts.Total > 0: // which makes up for them elsewhere
		e.sayRoute(label, order,
			fmt.Sprintf("Forward.Timeouts.Total is switched off, and Timeouts.%s of upstream %q, too", strings.Join(byUpstream, ", "), u.name), r)
	default:
		if e.off[u] == nil {
			e.upstreams = append(e.upstreams, u)
		}
		e.off[u] = append(e.off[u], byUpstream...)
	}
}

func (e *endless) sayRoute(label string, order int, what string, r *collector) {
	if text := label + ": " + what; !e.said[text] {
		e.said[text] = true
		r.addf(Finding{Kind: NoTimeout, Warning: true, Route: routeName(label), order: order},
			"%s, so that a target that hangs holds requests for ever; give a bound", text)
	}
}

// report reports what upstreams switch off, each once.
func (e *endless) report(r *collector) {
	for _, u := range e.upstreams {
		off := e.off[u]
		slices.Sort(off)
		r.addf(Finding{Kind: NoTimeout, Warning: true, order: -1},
			"upstream %q: Timeouts.%s is switched off, so that a target that hangs holds requests for ever; give a bound",
			u.name, strings.Join(slices.Compact(off), ", "))
	}
}
