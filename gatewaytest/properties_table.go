package gatewaytest

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/policy"
)

// Match draws criteria of a route: of each kind none, one or several, over the hosts, segments, methods, header fields and
// parameters of p. They are valid on their own, as far as p's hosts and names are.
func (p Properties) Match() *rapid.Generator[gateway.Match] {
	p = p.filled()
	return rapid.Custom(p.match)
}

// Routes draws tables of one to eight routes, named r0, r1, and so on, with the criteria that [Properties.Match] draws and
// priorities. handler returns the handler of the route with that name. A table is one that [gateway.New] accepts from a
// Config with nothing else: no two of its routes are the same, and none is hidden by another. Fields beyond name, match,
// priority and handler are left for the test to set.
func (p Properties) Routes(handler func(name string) http.Handler) *rapid.Generator[[]gateway.Route] {
	p = p.filled()
	return rapid.Custom(func(t *rapid.T) []gateway.Route {
		routes := make([]gateway.Route, rapid.IntRange(1, 8).Draw(t, "routes"))
		for i := range routes {
			routes[i] = gateway.Route{Match: p.match(t)}
			if i > 0 && rapid.Bool().Draw(t, "alike") { // or routes would seldom compete
				routes[i].Match = alike(t, routes[rapid.IntRange(0, i-1).Draw(t, "like")].Match, routes[i].Match)
			}
			if len(routes[i].Match.Regexps) > 0 {
				routes[i].Priority = rapid.IntRange(-1, 1).Draw(t, "priority")
			}
		}
		routes = accepted(routes)
		for i := range routes {
			routes[i].Handler = handler(routes[i].Name)
		}
		return routes
	})
}

// accepted names the routes and leaves out those for which a gateway would refuse the table.
func accepted(routes []gateway.Route) []gateway.Route {
	for {
		for i := range routes {
			routes[i].Name, routes[i].Handler = fmt.Sprint("r", i), http.NotFoundHandler()
		}
		report := gateway.Config{Routes: routes, Logger: slog.New(slog.DiscardHandler)}.Validate()
		if report.Err() == nil {
			return routes
		}
		refused := map[string]bool{}
		for _, f := range report.Findings {
			refused[f.Route] = refused[f.Route] || !f.Warning
		}
		var rest []gateway.Route
		for _, r := range routes {
			if !refused[r.Name] {
				rest = append(rest, r)
			}
		}
		if len(rest) == len(routes) || len(rest) == 0 {
			rest = make([]gateway.Route, 1)
		}
		routes = rest
	}
}

func (p Properties) match(t *rapid.T) gateway.Match {
	m := gateway.Match{
		Hosts:   some(t, "hosts", p.hostPatterns()),
		Methods: p.someMethods(t),
	}
	for range sample(t, "paths", 1, 0, 2, 3) {
		m.Paths = append(m.Paths, p.pattern(t))
	}
	m.Paths = distinct(m.Paths)
	if oneIn(t, 3, "prefixes") {
		m.Prefixes = some(t, "prefix", p.prefixes(t))
	}
	if oneIn(t, 3, "regexps") {
		m.Regexps = some(t, "regexp", p.expressions(t))
	}
	if oneIn(t, 4, "schemes") {
		m.Schemes = []string{sample(t, "scheme", "http", "https")}
	}
	if oneIn(t, 6, "snis") {
		m.SNIs = some(t, "sni", p.serverNames())
	}
	if oneIn(t, 3, "headers") {
		m.Headers = conditions(t, p.Headers)
	}
	if oneIn(t, 3, "query") {
		m.Query = conditions(t, p.Query)
	}
	if oneIn(t, 8, "predicate") {
		name := firstOf(names(p.Headers), "X-A")
		m.Func = sample(t, "func",
			func(r *http.Request) bool { return r.Header.Get(name) != "" },
			func(r *http.Request) bool { return policy.ExchangeFrom(r.Context()).ClientAddr().Is4() },
			func(r *http.Request) bool { return strings.HasSuffix(r.URL.EscapedPath(), "/") },
		)
	}
	return m
}

// someMethods draws methods of a route, often GET or HEAD alone, since these two have to do with each other.
func (p Properties) someMethods(t *rapid.T) []string {
	methods := p.methodsOfRoutes()
	if alone := sample(t, "methods alone", "", "", "GET", "HEAD"); slices.Contains(methods, alone) {
		return []string{alone}
	}
	return some(t, "methods", methods)
}

// alike returns the criteria of a route with one or two kinds of them replaced by those of another.
func alike(t *rapid.T, m, other gateway.Match) gateway.Match {
	for range sample(t, "differences", 1, 1, 2) {
		switch sample(t, "difference", "headers", "query", "methods", "paths", "hosts", "tls") {
		case "headers":
			m.Headers = other.Headers
		case "query":
			m.Query = other.Query
		case "methods":
			m.Methods = other.Methods
		case "paths":
			m.Paths, m.Prefixes, m.Regexps = other.Paths, other.Prefixes, other.Regexps
		case "hosts":
			m.Hosts = other.Hosts
		case "tls":
			m.Schemes, m.SNIs = other.Schemes, other.SNIs
		}
	}
	return m
}

// hostPatterns returns p's hosts as a route may name them: as they are, with a star for each end, and with a port.
func (p Properties) hostPatterns() []string {
	var out []string
	for _, written := range p.Hosts {
		host := strings.ToLower(written)
		name, port := hostAndPort(host)
		out = append(out, host)
		if strings.ContainsAny(name, "*[") || port != "" {
			continue
		}
		out = append(out, host+":81", host+":443")
		first, rest, ok := strings.Cut(name, ".")
		if ok {
			out = append(out, "*."+rest, first+".*", "*."+name+":81")
		}
	}
	return distinct(out)
}

// serverNames returns p's hosts as routes may name them for TLS.
func (p Properties) serverNames() []string {
	var out []string
	for _, written := range p.Hosts {
		name, _ := hostAndPort(strings.ToLower(written))
		if name = strings.TrimSuffix(name, ".*"); strings.ContainsAny(name, "[") || strings.Trim(name, "0123456789.") == "" {
			continue
		}
		out = append(out, name)
		if _, rest, ok := strings.Cut(name, "."); ok && !strings.HasPrefix(name, "*.") {
			out = append(out, "*."+rest)
		}
	}
	return distinct(out)
}

// pattern draws an element of Match.Paths. Parameters are named by their place, so that patterns that differ in nothing
// but names are one.
func (p Properties) pattern(t *rapid.T) string {
	segments := []string{""}
	for i := range rapid.IntRange(0, 3).Draw(t, "segments") {
		if oneIn(t, 3, "parameter") {
			segments = append(segments, fmt.Sprint(":p", i))
			continue
		}
		segments = append(segments, literal(sample(t, "segment", p.Segments...)))
	}
	pattern := strings.Join(segments, "/") + sample(t, "end", "", "", "/", "/*rest")
	return cmp.Or(pattern, "/")
}

// literal writes a segment so that it stands for itself in a pattern.
func literal(segment string) string {
	switch {
	case strings.HasPrefix(segment, ":"):
		return "%3A" + segment[1:]
	case strings.HasPrefix(segment, "*"):
		return "%2A" + segment[1:]
	default:
		return segment
	}
}

// prefixes draws what a route may have for Prefixes.
func (p Properties) prefixes(t *rapid.T) []string {
	first, second := sample(t, "first", p.Segments...), sample(t, "second", p.Segments...)
	out := []string{"/", "/" + first, "/" + first + "/", "/" + first + "/" + second}
	if !strings.Contains(first, "%") { // else an escape might be cut in two
		out = append(out, "/"+first[:(len(first)+1)/2])
	}
	return distinct(out)
}

// expressions draws what a route may have for Regexps.
func (p Properties) expressions(t *rapid.T) []string {
	quote := func(label string) string { return regexp.QuoteMeta(expressionText(sample(t, label, p.Segments...))) }
	first, second := quote("first"), quote("second")
	return distinct([]string{
		"/" + first, "/" + first + "$", "/" + first + "/" + second, "/(" + first + "|" + second + ")/(?P<n>[^/]+)", `/\w+`, "/" + first + ".*" + second,
		"(?i)/" + first + "/", ".*" + second, "/([^/]*)$", "/",
	})
}

// conditions draws what a route may ask of header fields or of parameters.
func conditions(t *rapid.T, set map[string][]string) map[string][]string {
	out := map[string][]string{}
	for _, name := range names(set) {
		if rapid.Bool().Draw(t, "asks "+name) {
			continue
		}
		var values []string
		for _, v := range set[name] {
			if v == strings.Trim(v, " \t") && !strings.HasPrefix(v, "~") {
				values = append(values, v, "~^"+regexp.QuoteMeta(v[:(len(v)+1)/2]))
			}
		}
		out[name] = some(t, "values", values)
	}
	return out
}

// describe writes criteria as they would be written in a program, those alone that are set.
func describe(m gateway.Match) string {
	var parts []string
	for _, list := range []struct {
		name   string
		values []string
	}{
		{"Hosts", m.Hosts},
		{"Methods", m.Methods},
		{"Schemes", m.Schemes},
		{"SNIs", m.SNIs},
		{"Paths", m.Paths},
		{"Prefixes", m.Prefixes},
		{"Regexps", m.Regexps},
	} {
		if len(list.values) > 0 {
			parts = append(parts, fmt.Sprintf("%s: %q", list.name, list.values))
		}
	}
	if len(m.Headers) > 0 {
		parts = append(parts, fmt.Sprintf("Headers: %q", m.Headers))
	}
	if len(m.Query) > 0 {
		parts = append(parts, fmt.Sprintf("Query: %q", m.Query))
	}
	if m.Func != nil {
		parts = append(parts, "Func")
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
