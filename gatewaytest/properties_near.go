package gatewaytest

import (
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway"
)

// neighbourhood is a table, and the sets from which requests near it are drawn.
type neighbourhood struct {
	Properties

	routes []gateway.Route
}

// near adds what a table is about to the sets of p.
func (p Properties) near(c gateway.Config) neighbourhood {
	p.Hosts, p.Methods, p.Peers = slices.Clone(p.Hosts), slices.Clone(p.Methods), slices.Clone(p.Peers)
	p.Query = maps.Clone(p.Query)
	for i := range c.Routes {
		m := &c.Routes[i].Match
		p.Hosts = append(p.Hosts, m.Hosts...)
		p.Methods = append(p.Methods, m.Methods...)
		for name, values := range m.Query {
			for _, v := range values {
				if !strings.HasPrefix(v, "~") && len(p.Query[name]) < 10 {
					p.Query[name] = distinct(append(slices.Clip(p.Query[name]), v))
				}
			}
		}
	}
	for _, network := range c.TrustedProxies {
		p.Peers = append(p.Peers, net.JoinHostPort(network.Addr().String(), "1"))
	}
	p.Hosts, p.Methods = distinct(p.Hosts), distinct(p.Methods)
	return neighbourhood{p, c.Routes}
}

// draw draws a request that meets most of what one of the routes asks for.
func (n neighbourhood) draw(t *rapid.T) *http.Request {
	a := n.ask(t)
	if len(n.routes) > 0 {
		r := rapid.IntRange(0, len(n.routes)-1).Draw(t, "route")
		n.meet(t, &a, n.routes[r].Match)
		if oneIn(t, 2, "second") { // where two routes compete, a request often has what both ask for
			m := n.routes[rapid.IntRange(0, len(n.routes)-1).Draw(t, "second route")].Match
			n.meet(t, &a, gateway.Match{Headers: m.Headers, Query: m.Query, SNIs: m.SNIs})
		}
	}
	return a.request()
}

// meet makes a what m asks for, but for a part of it now and then.
func (n neighbourhood) meet(t *rapid.T, a *asked, m gateway.Match) {
	most := func(label string) bool { return !oneIn(t, 8, "other "+label) }
	if len(m.Hosts) > 0 && most("host") {
		a.host = n.host(t, m.Hosts)
	}
	if len(m.Methods) > 0 && most("method") {
		a.method = sample(t, "method", m.Methods...)
	}
	if len(m.SNIs) > 0 && most("sni") {
		a.tls = &tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true, ServerName: unstarred(t, sample(t, "server name", m.SNIs...))}
	}
	if len(m.Schemes) > 0 && most("scheme") {
		switch scheme := sample(t, "scheme", m.Schemes...); {
		case scheme == "http":
			a.tls = nil
		case a.tls == nil:
			a.tls = n.tls(t, a.host)
		}
	}
	if path := n.along(t, m); path != "" && most("path") {
		a.path = respell(t, path)
	}
	for _, name := range names(m.Headers) {
		if most(name) {
			a.header.Add(name, n.value(t, m.Headers[name], n.Headers[name], true))
		}
	}
	for _, name := range names(m.Query) {
		if most(name) {
			a.query.Add(name, n.value(t, m.Query[name], n.Query[name], false))
		}
	}
}

// value draws a value that satisfies a condition.
func (n neighbourhood) value(t *rapid.T, asked, known []string, header bool) string {
	if len(asked) == 0 {
		return sample(t, "any value", append([]string{"1"}, known...)...)
	}
	value := sample(t, "value", asked...)
	if expr, ok := strings.CutPrefix(value, "~"); ok {
		value = matching(t, expr)
	}
	if header && oneIn(t, 3, "case") {
		value = strings.ToUpper(value)
	}
	if header {
		value = strings.Trim(strings.Map(func(c rune) rune {
			if c < ' ' || c == 0x7f {
				return -1
			}
			return c
		}, value), " \t")
	}
	return value
}

// along draws a path along one of the patterns of m; "" when it has none.
func (n neighbourhood) along(t *rapid.T, m gateway.Match) string {
	count := len(m.Paths) + len(m.Prefixes) + len(m.Regexps)
	if count == 0 {
		return ""
	}
	i := rapid.IntRange(0, count-1).Draw(t, "pattern")
	if i < len(m.Paths) {
		return n.fill(t, naivePattern(m.Paths[i]))
	}
	if i -= len(m.Paths); i < len(m.Prefixes) {
		return sendable(m.Prefixes[i] + sample(t, "behind", "", "", "x", "/x"))
	}
	return sendable(matching(t, m.Regexps[i-len(m.Prefixes)]) + sample(t, "behind", "", "", "x", "/x"))
}

// fill puts segments in place of the wildcards of a pattern.
func (n neighbourhood) fill(t *rapid.T, pattern string) string {
	segments := strings.Split(pattern, "/")[1:]
	for i, s := range segments {
		switch {
		case strings.HasPrefix(s, "*"):
			segments[i] = strings.TrimPrefix(n.path(t), "/")
			if segments[i] == "" && oneIn(t, 2, "no rest") {
				segments = segments[:i]
			}
		case strings.HasPrefix(s, ":"):
			segments[i] = sample(t, "parameter", n.Segments...)
		}
	}
	return sendable("/" + strings.Join(segments, "/"))
}

// matching draws a text that an expression matches, or "" for one of which none is found.
func matching(t *rapid.T, expr string) string {
	// Not drawn from the generator itself: it gives the whole test case up where it finds nothing in a few tries.
	found := []string{""}
	for seed := range 6 {
		if s, ok := exampleOf(expr, seed); ok {
			found = append(found, s)
		}
	}
	return sample(t, "matching "+expr, found[min(1, len(found)-1):]...)
}

func exampleOf(expr string, seed int) (s string, ok bool) {
	defer func() {
		if recover() != nil { // which is how rapid says that it found nothing
			ok = false
		}
	}()
	return rapid.StringMatching(expr).Example(seed), true
}

// sendable escapes what cannot stand in a path, and leaves escapes alone.
func sendable(path string) string {
	var b strings.Builder
	for i := range len(path) {
		c := path[i]
		_, err := url.PathUnescape(path[i:min(i+3, len(path))])
		switch {
		case c == '%' && err == nil, c > ' ' && c < 0x7f && strings.IndexByte("\"#<>?[\\]^`{|}%", c) < 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	if path = b.String(); !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return path
}
