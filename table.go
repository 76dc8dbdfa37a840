package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gatehouse-go/gateway/internal/router"
	"github.com/gatehouse-go/gateway/policy"
)

// table is one Config made ready to serve. It is immutable but for the count of who uses it.
type table struct {
	entry      *policy.Entry
	index      *router.Table
	routes     []route
	notFound   http.Handler
	custom     http.Handler // Config.NotFound; nil when that is
	refusing   http.Handler // answers with the error in the request's context
	compat     Compat
	plugins    []Plugin // gateway-wide
	owns       []io.Closer
	onApply    func()
	drain      time.Duration
	log        panicLogger
	version    string
	ending     context.Context //nolint:containedctx // the gateway's
	predicates bool            // a route has one
	warned     map[string]bool // findings, by their text; guarded by the gateway's lock

	refs  atomic.Int64 // requests in flight, and one for the gateway while the table is current
	onEnd func(*table) // called once, when refs reached zero
}

// compile checks c whole and builds its table, which is nil when the report has errors.
func (c Config) compile() (*table, Report) {
	var r collector
	t := &table{compat: c.Compat, log: panicLogger{c.Logger}, drain: c.DrainTimeout, onApply: c.OnApply}
	if t.drain == 0 {
		t.drain = DefaultDrainTimeout
	}
	if c.DrainTimeout < 0 {
		r.addf(Finding{Kind: Invalid, order: -1}, "Config.DrainTimeout %v is negative; use 0 for %v, or more", c.DrainTimeout, DefaultDrainTimeout)
	}
	var err error
	t.entry, err = policy.NewEntry(c.EntryConfig)
	r.addErrors("", -1, err)
	outer := slices.Clone(c.Plugins)
	var nils []error
	if !checkPlugins("gateway: Config.Plugins", outer, &nils) {
		outer = nil // reported; the routes are still worth checking
	}
	r.addErrors("", -1, errors.Join(nils...))
	t.plugins = outer
	r.checkContracts("", -1, outer, len(outer), c.Compat)
	if err = t.answers(c.NotFound, outer); err != nil {
		r.addErrors("", -1, err)
		outer = nil // reported once, not for each route
	}
	c.compileRoutes(t, outer, &r)
	t.owns, err = checkOwns(c.Owns)
	r.addErrors("", -1, err)
	c.verify(t, &r)
	report := r.report()
	if report.Err() != nil {
		return nil, report
	}
	t.refs.Store(1)
	return t, report
}

// compileRoutes makes the routes and the index of t; t.index is nil when there can be none.
func (c Config) compileRoutes(t *table, outer []Plugin, r *collector) {
	criteria := make([]router.Route, len(c.Routes))
	t.routes = make([]route, len(c.Routes))
	names := make(map[string]int, len(c.Routes))
	for i, rt := range c.Routes {
		name := routeName(rt.label(i))
		if first, ok := names[rt.Name]; ok && rt.Name != "" {
			r.addf(Finding{Kind: Invalid, Route: name, order: i}, "Routes[%d] and Routes[%d] are both named %q; names are unique", first, i, rt.Name)
		} else {
			names[rt.Name] = i
		}
		criteria[i] = rt.Match.criteria(rt.Name, rt.Priority)
		t.predicates = t.predicates || rt.Match.Func != nil
		var err error
		t.routes[i], err = rt.compile(rt.label(i), outer, t.log)
		r.addErrors(name, i, err)
		rt.checkChain(i, outer, c.Compat, r)
	}
	options := router.Options{AllowIdentical: c.Compat.AllowIdenticalRoutes, AllowEncodedSlash: c.AllowEncodedSlash,
		IgnoreSNIsWithoutTLS: c.Compat.IgnoreSNIsWithoutTLS}
	index, err := router.New(criteria, options)
	r.addRouterErrors(c.Routes, err)
	if err != nil && onlyTwins(err) {
		options.AllowIdentical = true // reported; the rest of the table is still worth checking
		index, err = router.New(criteria, options)
	}
	if err == nil {
		t.index = index
	}
}

// addRouterErrors adds the problems the router found in the routes.
func (r *collector) addRouterErrors(routes []Route, err error) {
	start := len(r.findings)
	r.addErrors("", -1, err)
	for i := start; i < len(r.findings); i++ {
		f := &r.findings[i]
		problem := (*router.Error)(nil)
		if !errors.As(f.err, &problem) || problem.Route < 0 {
			continue
		}
		f.Route, f.order = routeName(routes[problem.Route].label(problem.Route)), problem.Route
		if problem.Twin >= 0 {
			f.Kind, f.Others = DuplicateRoute, []string{routeName(routes[problem.Twin].label(problem.Twin))}
		}
	}
}

// onlyTwins tells whether a table could be built but for routes that cannot be told apart.
func onlyTwins(err error) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok { // the very value of errors.Join
		return !slices.ContainsFunc(joined.Unwrap(), func(e error) bool { return !onlyTwins(e) })
	}
	var problem *router.Error
	return errors.As(err, &problem) && (problem.Twin >= 0 || strings.HasPrefix(problem.Reason, "is the same as "))
}

// answers composes the handlers of what no route answers.
func (t *table) answers(notFound http.Handler, outer []Plugin) error {
	if isNil(notFound) {
		notFound = http.HandlerFunc(noRoute)
	} else {
		t.custom = notFound
	}
	for _, x := range []struct {
		to   *http.Handler
		from http.Handler
	}{{&t.notFound, notFound}, {&t.refusing, http.HandlerFunc(refuseFromContext)}} {
		h, err := chain("Config.Plugins", outer, &guard{next: x.from, log: t.log})
		if err != nil {
			return fmt.Errorf("gateway: %w", err)
		}
		*x.to = &guard{next: h, log: t.log}
	}
	return nil
}

// checkOwns reports what cannot be owned, and copies the rest.
func checkOwns(owns []io.Closer) ([]io.Closer, error) {
	var errs []error
	seen := make(map[io.Closer]int, len(owns))
	out := make([]io.Closer, 0, len(owns))
	for i, c := range owns {
		switch {
		case isNil(c):
			errs = append(errs, fmt.Errorf("gateway: Config.Owns[%d] is nil; check the error of its constructor", i))
		case !reflect.TypeOf(c).Comparable():
			errs = append(errs, fmt.Errorf("gateway: Config.Owns[%d] is a %T, which cannot be compared; use a pointer", i, c))
		default:
			if first, twice := seen[c]; twice {
				errs = append(errs, fmt.Errorf("gateway: Config.Owns[%d] is Owns[%d] again, a %T; list it once", i, first, c))
				continue
			}
			seen[c] = i
			out = append(out, c)
		}
	}
	return out, errors.Join(errs...)
}

// acquire takes part in the table, and reports false when it has ended.
func (t *table) acquire() bool {
	for {
		n := t.refs.Load()
		if n == 0 {
			return false // ended: a count that was zero never rises again
		}
		if t.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (t *table) release() {
	if t.refs.Add(-1) == 0 {
		t.onEnd(t)
	}
}

// query is what the router is asked about a request that passed the entry. Predicates, which a table has or has not, look
// at the request as handlers will see it.
func (t *table) query(v policy.Visit, r *http.Request) router.Request {
	x := v.Exchange()
	if t.predicates {
		r = v.Bind(r)
	}
	host, port := x.Host()
	if port == "" { // clients leave the default out
		port = "80"
		if x.Scheme() == "https" {
			port = "443"
		}
	}
	q := router.Request{Method: r.Method, Scheme: x.Scheme(), Host: host, Port: port, Path: x.Path(), HTTP: r}
	if q.Method == "" {
		q.Method = http.MethodGet
	}
	if r.TLS != nil {
		q.TLS, q.SNI = true, strings.ToLower(r.TLS.ServerName)
	}
	return q
}

// misread reports whether a server that drops the parameters from paths (/admin;x is /admin to it) would serve what another
// route than that of m is for. A pattern that has parameters itself was written for servers that know them.
func (t *table) misread(q router.Request, m *router.Match, outcome router.Outcome) bool {
	forwarded := outcome == router.Found || outcome == router.NotFound && t.custom != nil
	if t.compat.AllowPathParameters || !forwarded || outcome == router.Found && strings.ContainsAny(m.Pattern, ";") {
		return false
	}
	q.Path = withoutParameters(q.Path)
	var other router.Match
	return t.index.Lookup(&q, &other) == router.Found && (outcome != router.Found || other.Route != m.Route)
}

// withoutParameters returns a canonical path as a server that drops parameters, and what is empty then, has it.
func withoutParameters(path string) string {
	segments := strings.Split(path, "/")
	kept := segments[:0]
	for i, s := range segments {
		bare, _, _ := strings.Cut(s, ";")
		bare, _, _ = strings.Cut(bare, "%3B")
		if bare != "" || i == 0 || i == len(segments)-1 {
			kept = append(kept, bare)
		}
	}
	return strings.Join(kept, "/")
}

// lookup finds the handler for a request that passed the entry, and tells the request and its Exchange. m describes what
// was found. That a predicate panics is logged.
func (t *table) lookup(v policy.Visit, r *http.Request, m *router.Match, log panicLogger) (_ http.Handler, err error) {
	defer func() {
		// A predicate is the application's code.
		if p := recover(); p != nil {
			log.log(r.Context(), p)
			err = panicked(p)
		}
	}()
	x, q := v.Exchange(), t.query(v, r)
	outcome := t.index.Lookup(&q, m)
	if strings.Contains(q.Path, ";") || strings.Contains(q.Path, "%3B") {
		if t.misread(q, m, outcome) {
			return nil, &policy.Error{
				Status: http.StatusBadRequest, Code: "path_parameters", Message: "Bad request",
				Err: errors.New("gateway: to servers that drop parameters the path is one of another route"),
			}
		}
	}
	switch outcome {
	case router.Found:
		rt := &t.routes[m.Route]
		pattern := m.Pattern
		if pattern == "" {
			pattern = "/" // as net/http calls what takes every path
		}
		// On the caller's own request, so that what stands outside the gateway sees it too.
		r.Pattern = pattern
		for i := range m.Len() {
			r.SetPathValue(m.Param(i))
		}
		x.SetRoute(rt.name, pattern, q.Path[:m.Matched])
		x.SetForward(rt.forward) // also nil: below another gateway the outer route's must not stay in force
		if rt.streaming {
			x.SetStreaming()
		}
		return rt.handler, nil
	case router.MethodNotAllowed:
		if t.compat.NotFoundForMethod {
			return t.notFound, nil
		}
		return nil, &policy.Error{
			Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Message: "Method not allowed",
			Header: http.Header{"Allow": {strings.Join(t.index.Allow(&q), ", ")}},
		}
	default:
		return t.notFound, nil
	}
}

func noRoute(w http.ResponseWriter, r *http.Request) {
	policy.Refuse(w, r, "gateway", errNoRoute())
}

func errNoRoute() *policy.Error {
	return &policy.Error{Status: http.StatusNotFound, Code: "no_route", Message: "no Route matched with those values"}
}

// refusal is how the error of the entry, or of routing, reaches the innermost handler through the gateway-wide plugins.
type refusal struct {
	by  string
	err error
}

type refusalKey struct{}

func withRefusal(r *http.Request, by string, err error) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), refusalKey{}, refusal{by, err}))
}

func refuseFromContext(w http.ResponseWriter, r *http.Request) {
	v, _ := r.Context().Value(refusalKey{}).(refusal)
	policy.Refuse(w, r, v.by, v.err)
}

func versionString(n uint64) string { return strconv.FormatUint(n, 10) }
