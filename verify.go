package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/internal/router"
	"github.com/gatehouse-go/gateway/policy"
)

// Validate checks c as [New] does, and returns all it found: errors, for which New refuses c, and warnings. It serves
// nothing and closes nothing. Of plugins it calls Wrap, which composes the chains, and asks for names and contracts; of
// handlers Handlers and RetriesUnsafe. A Match.Func may be asked about requests that are made up to prove something: they
// passed the entry and have an Exchange, as those have that are served, and one for which it panics proves nothing.
//
// Whatever it says of which route takes what is true; see [Finding] for what has a witness. It does not see everything:
// regular expressions are compared by their text and by samples, and a Match.Func counts as one that might say no.
func (c Config) Validate() Report {
	_, r := c.compile()
	return r
}

// verify adds what can be said of the table as a whole.
func (c Config) verify(t *table, r *collector) {
	if t.index != nil && t.entry != nil { // witnesses have to pass the entry
		c.verifyTable(t, r)
	}
	c.checkHeaders(t, r)
	c.checkAuthentication(t, r)
	c.checkUpstreams(r)
	for i, rt := range c.Routes {
		rt.checkRetries(i, r)
	}
}

// verifyTable adds what the router can prove of its table.
func (c Config) verifyTable(t *table, r *collector) {
	findings, complete := t.index.Verify()
	if !complete {
		r.addf(Finding{Kind: NotAllChecked, Warning: true, order: len(c.Routes)},
			"Config.Routes: the table has so many routes with the same paths that not all pairs of them were compared")
	}
	entries := make([]int, len(c.Routes)) // of each route
	for e := range t.index.All() {
		entries[e.Route]++
	}
	twins := r.twins()
	dead := map[int][]router.Finding{}
	for _, f := range findings {
		e := t.index.Entry(f.Entry)
		switch {
		case f.Kind == router.Ambiguous:
			c.addAmbiguous(t, f, r)
		case e.Hidden >= 0 && !c.Compat.AllowIdenticalRoutes:
			// The router has reported it, and the witness is what is missing.
			if n, ok := twins[entryName{e.Route, e.Host, e.Kind, e.Pattern}]; ok {
				r.findings[n].Witness = c.proven(t, &f)
			}
		default:
			dead[e.Route] = append(dead[e.Route], f)
		}
	}
	for _, i := range slices.Sorted(maps.Keys(dead)) {
		c.addUnreachable(t, i, dead[i], len(dead[i]) == entries[i], r)
	}
}

// entryName is what tells the entries of a table apart that are not told apart by requests.
type entryName struct {
	route   int
	host    string
	kind    router.Kind
	pattern string
}

// twins returns which finding is about which entry, of those that the router refused because of an equal one.
func (r *collector) twins() map[entryName]int {
	twins := map[entryName]int{}
	for n := range r.findings {
		problem := (*router.Error)(nil)
		if f := &r.findings[n]; f.Kind == DuplicateRoute && errors.As(f.err, &problem) {
			twins[entryName{problem.Route, problem.Host, problem.Kind, problem.Pattern}] = n
		}
	}
	return twins
}

// addUnreachable reports entries of a route that are never reached: the route when they are all it has, otherwise each of
// them, unless it is the route itself that takes their requests.
func (c Config) addUnreachable(t *table, i int, findings []router.Finding, whole bool, r *collector) {
	label := c.Routes[i].label(i)
	var all []int // who takes something of the route
	for _, f := range findings {
		all = append(all, f.By...)
	}
	reported := false // the route as a whole, for which one witness will do
	for _, f := range findings {
		e := t.index.Entry(f.Entry)
		if whole && reported && e.Hidden < 0 {
			continue
		}
		out := Finding{Kind: UnreachablePath, Warning: true, Route: routeName(label), order: i, Witness: c.proven(t, &f)}
		switch {
		case e.Hidden >= 0:
			out.Kind = DuplicateRoute
			takers, _ := c.takers([]int{e.Hidden}, &out)
			r.addf(out, "%s: its %s cannot be told apart from %s, which is written first and takes it; remove one", label, describe(e), takers)
		case out.Witness == nil:
		case whole:
			reported = true
			takers, take := c.takers(firstOf(all, t.index.Entry(f.Winner).Route, i), &out)
			out.Kind, out.Warning = UnreachableRoute, c.Compat.AllowIdenticalRoutes
			r.addf(out, "%s: is never reached, because %s %s all its requests; remove it, or change the order or the conditions", label, takers, take)
		case t.index.Entry(f.Winner).Route != i:
			takers, take := c.takers(firstOf(f.By, t.index.Entry(f.Winner).Route, i), &out)
			r.addf(out, "%s: its %s is never reached, because %s %s all its requests; remove it, or change the order or the conditions",
				label, describe(e), takers, take)
		}
	}
}

// firstOf returns the distinct routes, first the one that takes the witness, and without the one they are about.
func firstOf(routes []int, winner, about int) []int {
	rest := slices.DeleteFunc(slices.Clone(routes), func(o int) bool { return o == winner || o == about })
	slices.Sort(rest)
	return append([]int{winner}, slices.Compact(rest)...)
}

// maxNamed bounds the routes that a message names.
const maxNamed = 5

// takers adds routes to the others of a finding and names them, with the verb for so many.
func (c Config) takers(routes []int, f *Finding) (names, take string) {
	labels := make([]string, len(routes))
	for n, o := range routes {
		labels[n] = c.Routes[o].label(o)
		f.Others = append(f.Others, routeName(labels[n]))
	}
	if len(labels) == 1 {
		return labels[0], "takes"
	}
	if len(labels) > maxNamed {
		labels = append(labels[:maxNamed-1], strconv.Itoa(len(labels)-maxNamed+1)+" others")
	}
	last := len(labels) - 1
	return strings.Join(labels[:last], ", ") + " and " + labels[last], "take"
}

// describe names host and path of an entry.
func describe(e router.Entry) string {
	switch {
	case e.Host == "" && e.Pattern == "":
		return "conditions"
	case e.Host == "":
		return "path " + quote(e.Pattern)
	case e.Pattern == "":
		return "host " + quote(e.Host)
	default:
		return "path " + quote(e.Pattern) + " at host " + quote(e.Host)
	}
}

func (c Config) addAmbiguous(t *table, f router.Finding, r *collector) {
	winner, loser := t.index.Entry(f.Winner), t.index.Entry(f.Entry)
	w := c.proven(t, &f)
	if w == nil {
		return
	}
	first, second := c.Routes[winner.Route].label(winner.Route), c.Routes[loser.Route].label(loser.Route)
	r.addf(Finding{
		Kind: AmbiguousRoutes, Warning: true, Route: routeName(second), Others: []string{routeName(first)}, order: loser.Route, Witness: w,
	}, "%s: there are requests that match its %s and %s of %s alike, and go to the latter because it is written first; "+
		"give one a further condition, if that is not meant", second, describe(loser), describe(winner), first)
}

// proven returns the witness of f as a request that a gateway with this table gives to f's winner although f's entry
// matches it, too; nil when it does not: the entry may refuse such requests, or delete what their conditions are about, or
// a predicate may take them.
func (c Config) proven(t *table, f *router.Finding) *http.Request {
	if f.Winner < 0 {
		return nil
	}
	r := witnessRequest(&f.Witness)
	if t.proves(r, f) {
		return r
	}
	if len(c.TrustedProxies) == 0 {
		return nil
	}
	r.RemoteAddr = net.JoinHostPort(c.TrustedProxies[0].Addr().String(), "1") // who may say what others may not
	if t.proves(r, f) {
		return r
	}
	return nil
}

// proves passes r through the entry and asks the index, and so predicates, who takes it. One that panics proves nothing.
func (t *table) proves(r *http.Request, f *router.Finding) (ok bool) {
	v := t.admit(r)
	defer v.leave()
	if v.err != nil {
		return false
	}
	defer func() { ok = recover() == nil && ok }()
	var m router.Match
	q := t.query(v.visit, v.r)
	return t.index.Matches(f.Entry, &q) && t.index.Lookup(&q, &m) == router.Found && m.Entry == f.Winner
}

// checkHeaders looks for conditions on header fields that no request has when it is routed.
func (c Config) checkHeaders(t *table, r *collector) {
	if t.entry == nil {
		return
	}
	survives := map[string]bool{} // a trusted proxy's request, if there is one
	for i, rt := range c.Routes {
		for _, name := range slices.Sorted(maps.Keys(rt.Match.Headers)) {
			if _, known := survives[name]; !known {
				survives[name] = c.survives(t, name)
			}
			if !survives[name] {
				r.addf(Finding{Kind: DeletedHeader, Warning: c.Compat.AllowIdenticalRoutes, Route: routeName(rt.label(i)), order: i},
					"%s: Headers %q is never there: the entry deletes it from every request; name the proxies that send it in TrustedProxies, "+
						"let it pass by PassHeaders, or use another field", rt.label(i), name)
			}
		}
	}
}

// survives reports whether a header field can pass the entry.
func (c Config) survives(t *table, name string) bool {
	w := router.Witness{Method: http.MethodGet, Host: "a.invalid", Path: "/", Header: http.Header{http.CanonicalHeaderKey(name): {"x"}}}
	req := witnessRequest(&w)
	if len(c.TrustedProxies) > 0 {
		req.RemoteAddr = net.JoinHostPort(c.TrustedProxies[0].Addr().String(), "1")
	}
	v := t.admit(req)
	defer v.leave()
	_, ok := v.r.Header[http.CanonicalHeaderKey(name)]
	return ok
}

// checkAuthentication looks for routes nobody authenticates on, where others of the same host have authentication.
func (c Config) checkAuthentication(t *table, r *collector) {
	authenticated := map[string]string{} // host to the label of a route
	open := make([]bool, len(c.Routes))
	for i, rt := range c.Routes {
		provides, opaque := authenticates(slices.Concat(t.plugins, rt.Plugins))
		open[i] = !provides && !opaque && !rt.Public
		if !provides {
			continue
		}
		for _, h := range hostsOf(rt) {
			if _, known := authenticated[h]; !known {
				authenticated[h] = rt.label(i)
			}
		}
	}
	for i, rt := range c.Routes {
		if !open[i] {
			continue
		}
		for _, h := range hostsOf(rt) {
			if other, ok := authenticated[h]; ok {
				at := "the same host"
				if h != "" {
					at = "host " + quote(h)
				}
				r.addf(Finding{Kind: UnauthenticatedRoute, Warning: true, Route: routeName(rt.label(i)), Others: []string{routeName(other)}, order: i},
					"%s: nothing authenticates its callers, while those of %s at %s are; add such a plugin, or set Public if that is meant",
					rt.label(i), other, at)
				break
			}
		}
	}
}

func hostsOf(rt Route) []string {
	if len(rt.Match.Hosts) == 0 {
		return []string{""}
	}
	hosts := make([]string, len(rt.Match.Hosts))
	for i, h := range rt.Match.Hosts {
		hosts[i] = strings.ToLower(h)
	}
	return hosts
}

// authenticates tells whether a chain enforces authentication, and whether an opaque plugin in it might.
func authenticates(chain []Plugin) (provides, opaque bool) {
	for _, p := range chain {
		if isNil(p) {
			continue
		}
		c, known := policy.ContractOf(p)
		opaque = opaque || !known
		provides = provides || slices.Contains(c.Provides, policy.Authenticated) && !policy.IsReportOnly(p)
	}
	return provides, opaque
}

// checkUpstreams looks for upstreams that are owned and not used, and for timeouts that are switched off.
func (c Config) checkUpstreams(r *collector) {
	used := map[*Upstream]bool{}
	opaque := false
	held := endless{off: map[*Upstream][]string{}, said: map[string]bool{}}
	for i, rt := range c.Routes {
		for h := range leavesOfRoute(rt.Handler, c.Plugins, rt.Plugins) {
			u, ok := h.(*Upstream)
			opaque = opaque || !ok
			if u != nil {
				used[u] = true
				held.check(u, rt.Forward.Timeouts, rt.label(i), i, r)
			}
		}
	}
	if !isNil(c.NotFound) {
		for h := range leavesOf(c.NotFound) {
			u, ok := h.(*Upstream)
			opaque, used[u] = opaque || !ok, true
		}
	}
	held.report(r)
	for i, o := range c.Owns {
		if u, ok := o.(*Upstream); ok && u != nil && !used[u] && !opaque {
			r.addf(Finding{Kind: UnusedUpstream, Warning: true, order: -1},
				"Config.Owns[%d] is the upstream %q, which no route reaches; add a route, or leave it out", i, u.name)
		}
	}
}

// checkRetries looks for handlers that repeat what must not be repeated.
func (rt Route) checkRetries(i int, r *collector) {
	unsafe := len(rt.Match.Methods) == 0 || slices.ContainsFunc(rt.Match.Methods, func(m string) bool {
		switch m {
		case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
			return false
		}
		return true
	})
	if !unsafe || isNil(rt.Handler) {
		return
	}
	for h := range leavesOf(rt.Handler) {
		if u, ok := h.(interface{ RetriesUnsafe() bool }); ok && u.RetriesUnsafe() {
			r.addf(Finding{Kind: UnsafeRetry, Warning: true, Route: routeName(rt.label(i)), order: i},
				"%s: its handler %s repeats requests whatever their method, also those that are not idempotent; "+
					"restrict Methods, or the retries", rt.label(i), handlerName(h))
		}
	}
}

// maxLogged bounds the warnings that one table logs.
const maxLogged = 50

// warnings returns what the table before did not have to be warned of.
func (t *table) warnings(r Report, before *table) []string {
	var fresh []string
	t.warned = map[string]bool{}
	for _, f := range r.Warnings() {
		text := f.Message // a witness has the values of conditions on header fields, which may be secrets
		if t.warned[text] = true; before == nil || !before.warned[text] {
			fresh = append(fresh, text)
		}
	}
	return fresh
}

func (t *table) logWarnings(warnings []string) {
	for i, text := range warnings {
		if i == maxLogged {
			t.log.get().LogAttrs(context.Background(), slog.LevelWarn, "further findings in the configuration are not logged",
				slog.Int("findings", len(warnings)-maxLogged))
			return
		}
		t.log.get().LogAttrs(context.Background(), slog.LevelWarn, "finding in the configuration", slog.String("finding", text))
	}
}

// witnessRequest makes a request of a router's witness, with which it can be replayed.
func witnessRequest(w *router.Witness) *http.Request {
	host := w.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if w.Port != "" {
		host += ":" + w.Port
	}
	u := &url.URL{RawQuery: w.Query}
	canonical.SetPath(u, w.Path)
	r := &http.Request{
		Method: w.Method, URL: u, Host: host, Header: w.Header.Clone(), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		RequestURI: u.RequestURI(), RemoteAddr: "192.0.2.1:1", // of TEST-NET-1 (RFC 5737)
	}
	if w.TLS() {
		r.TLS = &tls.ConnectionState{ServerName: w.SNI}
	}
	return r
}

// requestLine writes a witness on one line.
func requestLine(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	var b strings.Builder
	b.WriteString(r.Method + " " + scheme + "://" + r.Host + r.URL.RequestURI())
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(&b, " %s: %s", name, strings.Join(r.Header[name], ", "))
	}
	if r.TLS != nil && r.TLS.ServerName != "" {
		b.WriteString(" with SNI " + r.TLS.ServerName)
	}
	return b.String()
}

func quote(s string) string { return strconv.Quote(s) }
