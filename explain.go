package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/internal/proxy"
	"github.com/gatehouse-go/gateway/internal/router"
	"github.com/gatehouse-go/gateway/internal/transport"
	"github.com/gatehouse-go/gateway/policy"
)

// Bounds on an [Explanation], whatever is asked about.
const (
	maxCandidates = 50
	maxNearest    = 3
	maxText       = 512 // bytes of a text that a client wrote
	maxDeleted    = 32  // names of header fields
	maxName       = 64  // bytes of one
	maxHandlers   = 100
)

// Explain says what the gateway would do with r and why, without doing it: which route takes it and why no other does,
// what its plugins would decide, and which targets it could be sent to. Nothing is counted, logged, sent or changed, also
// not r; the predicates of routes and the Preview methods of plugins and handlers are called, and these may ask a store. When one
// panics, only its own say is missing. A body is looked at only where r.GetBody is set; without it, a plugin that reads
// bodies and finds nothing elsewhere cannot tell what it would decide.
//
// r is a request as it would arrive, with the context it would have. It is taken for that also when it has passed an entry
// already: then the explanation believes no more of what it says about its client than that entry did.
//
// Explain is for operators, tests and tools: an explanation names consumers, routes and targets. It holds no credentials,
// and no values of header fields or query parameters. Its size is bounded. It looks at every route whose host or path could
// be meant, so that in a large table it takes longer than serving r does.
func (g *Gateway) Explain(r *http.Request) Explanation {
	t := g.current()
	if t == nil {
		e := explainer{Explanation: Explanation{Request: requestSummary(r)}}
		e.refuse("gateway", &policy.Error{Status: http.StatusServiceUnavailable, Code: "shut_down"})
		return e.concluded()
	}
	defer t.release()
	return t.explain(r)
}

// visitor is a copy of a request that was taken in to be looked at.
type visitor struct {
	r     *http.Request
	x     *policy.Exchange
	err   error // of the entry
	visit policy.Visit
	blind bool // there is a body that cannot be looked at
	leave func()
}

// admit passes a copy of r through the entry, with an Exchange of its own.
func (t *table) admit(r *http.Request) visitor {
	ctx, cancel := context.WithCancel(r.Context())
	_, own := policy.NewExchange(r.Clone(ctx))
	v := visitor{r: own}
	if v.r.Header == nil {
		v.r.Header = http.Header{}
	}
	v.r.Body, v.blind = http.NoBody, r.Body != nil && r.Body != http.NoBody
	if r.GetBody != nil {
		if body, err := r.GetBody(); err == nil {
			v.r.Body, v.blind = body, false
		}
	}
	v.visit, v.err = t.entry.Enter(nowhere{http.Header{}}, v.r)
	v.x = v.visit.Exchange()
	v.leave = func() {
		v.visit.Leave(false)
		_ = v.r.Body.Close()
		cancel()
	}
	return v
}

// nowhere is the writer of requests that are not answered.
type nowhere struct{ h http.Header }

func (n nowhere) Header() http.Header       { return n.h }
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) WriteHeader(int)             {}

// explainer is an Explanation in the making.
type explainer struct {
	Explanation

	table *table
	blind bool     // see visitor
	ended *Verdict // by the first plugin that would not pass it on
}

func (t *table) explain(r *http.Request) Explanation {
	e := explainer{Explanation: Explanation{Version: t.version, Request: requestSummary(r)}, table: t}
	v := t.admit(r)
	defer v.leave()
	e.blind = v.blind
	e.Client = clientSummary(v.x)
	e.Deleted, e.DeletedMore = deleted(r.Header, v.r.Header)
	if v.err != nil {
		e.ask(scopeGateway, t.plugins, v.visit.Bind(v.r))
		e.refuse(t.entry.Name(), v.err)
		return e.concluded()
	}
	e.Path = short(v.x.Path())
	e.PathChanges = canonical.Changes(sentPath(r), v.x.Path())
	q := t.query(v.visit, v.r)
	entries := e.candidates(&q)
	m := router.Match{Entry: -1}
	_, err := t.lookup(v.visit, v.r, &m, panicLogger{slog.New(slog.DiscardHandler)})
	if i := slices.Index(entries, m.Entry); i >= 0 && err == nil {
		e.Candidates[i].Wins = true
	}
	in := v.visit.Bind(v.r)
	e.ask(scopeGateway, t.plugins, in)
	switch {
	case err != nil:
		e.refuse("gateway", err)
	case m.Route >= 0:
		e.route(&m, in)
	case t.custom != nil:
		e.nearest(&q)
		e.describe(t.custom, in)
	default:
		e.nearest(&q)
		e.refuse("gateway", errNoRoute())
	}
	return e.concluded()
}

// concluded returns the explanation with its outcome.
func (e *explainer) concluded() Explanation {
	switch {
	case e.ended != nil:
		e.Outcome = e.ended.By + ": " + e.ended.String()
	case e.Refusal != nil:
		e.Outcome = e.Refusal.By + ": " + e.Refusal.String()
	case e.Handler != nil:
		e.Outcome = "handled by " + e.Handler.Name
	}
	return e.Explanation
}

// candidates lists candidates, and returns their positions in the index.
func (e *explainer) candidates(q *router.Request) (entries []int) {
	list, total := e.table.index.Candidates(q, maxCandidates)
	for _, c := range list {
		e.Candidates = append(e.Candidates, e.table.candidate(c))
		entries = append(entries, c.Entry)
	}
	e.CandidatesMore = total - len(list)
	return entries
}

// candidate words what the router says.
func (t *table) candidate(c router.Candidate) Candidate {
	e := t.index.Entry(c.Entry)
	x := Candidate{Route: t.routes[e.Route].name, Host: e.Host, Pattern: e.Pattern, Methods: e.Methods}
	if c.Failed == router.Nothing {
		return x
	}
	x.Failed = c.Failed.String()
	switch c.Failed {
	case router.ByHost:
		x.Wants = e.Host
	case router.ByMethod:
		x.Wants = list(e.Methods)
	case router.ByScheme:
		x.Wants = list(e.Schemes)
	case router.BySNI:
		x.Wants = list(e.SNIs)
	case router.ByHeader, router.ByQuery:
		if x.Wants = c.Condition.Name; len(c.Condition.Values) > 0 {
			x.Wants += ": " + list(c.Condition.Values)
		}
	case router.ByPath:
		x.Wants = e.Pattern
	case router.ByPredicate:
		if c.Panicked {
			x.Wants = "not to panic"
		}
	case router.Nothing:
	}
	return x
}

// nearest adds what may have been meant by a request that no route takes.
func (e *explainer) nearest(q *router.Request) {
	for _, c := range e.table.index.Nearest(q, maxNearest) {
		e.Nearest = append(e.Nearest, e.table.candidate(c))
	}
}

// route goes on where a route took the request.
func (e *explainer) route(m *router.Match, r *http.Request) {
	rt := &e.table.routes[m.Route]
	e.Route, e.Pattern = rt.name, r.Pattern
	for i := range m.Len() {
		name, value := m.Param(i)
		e.Params = append(e.Params, Param{name, shortened(value, maxText)})
	}
	e.ask(scopeRoute, rt.plugins, r)
	if rt.maxBody > 0 {
		if err := bodyWithin(rt.maxBody, r); err != nil {
			e.refuse("gateway", err)
			return
		}
	}
	if rt.forward != nil {
		f := forwarder{forward: *rt.forward}
		out, err := f.request(r)
		if err != nil {
			e.refuse("gateway", err)
			return
		}
		e.ForwardPath, e.ForwardHost = short(out.URL.EscapedPath()), rt.forward.Host
	}
	if u, ok := rt.target.(*Upstream); ok && u.Status().Closed {
		e.refuse(refusedBy, proxy.Unavailable(transport.Closed, errClosed))
	}
	e.describe(rt.target, r)
}

// ask describes plugins and has each preview its decision, until one does not pass the request on: those inside it would
// not be reached.
func (e *explainer) ask(scope string, plugins []Plugin, r *http.Request) {
	for _, p := range plugins {
		x := describePlugin(p)
		x.Scope, x.Reached = scope, e.ended == nil
		if x.Reached {
			if d, ok := preview(p, r); ok && !(e.blind && x.BuffersRequest && d.Verdict == policy.Refused) {
				v := verdictOf(d)
				x.Preview = &v
				if d.Verdict == policy.Refused || d.Verdict == policy.Answered {
					e.ended = &v
				}
			}
		}
		e.Plugins = append(e.Plugins, x)
	}
}

// describePlugin asks a plugin for name and contract. It may be the application's, and may panic.
func describePlugin(p Plugin) PluginExplanation {
	x := PluginExplanation{Name: fmt.Sprintf("%T", p), Opaque: true}
	survives(func() { x.Name, x.ReportOnly = policy.NameOf(p), policy.IsReportOnly(p) })
	survives(func() {
		if c, known := policy.ContractOf(p); known {
			x.Opaque = false
			x.Requires, x.Provides, x.Precludes = c.Requires, c.Provides, c.Precludes
			x.BuffersRequest, x.BuffersResponse = c.BuffersRequest, c.BuffersResponse
		}
	})
	return x
}

// survives calls a function, and ends its panic.
func survives(f func()) {
	defer func() { _ = recover() }()
	f()
}

// preview asks a plugin, which may be the application's, and may panic.
func preview(p Plugin, r *http.Request) (d policy.Decision, ok bool) {
	defer func() {
		if v := recover(); v != nil {
			d, ok = policy.Decision{Policy: describePlugin(p).Name, Verdict: policy.Refused, Err: panicked(v)}, true
		}
	}()
	return policy.PreviewOf(p, r)
}

// verdictOf words a decision, whose reason and status may be in its error only.
func verdictOf(d policy.Decision) Verdict {
	v := Verdict{By: d.Policy, Verdict: d.Verdict.String(), Reason: d.Reason, Detail: short(d.Detail), Status: d.Status}
	var e *policy.Error
	if errors.As(d.Err, &e) && e != nil {
		if v.Reason == "" {
			v.Reason = e.Code
		}
		if v.Status == 0 {
			v.Status = e.Status
		}
	}
	return v
}

// refuse notes what the gateway itself refuses.
func (e *explainer) refuse(by string, err error) {
	v := verdictOf(policy.Decision{Policy: by, Verdict: policy.Refused, Err: err})
	e.Refusal = &v
}

// describe notes the handler that would answer r.
func (e *explainer) describe(h http.Handler, r *http.Request) {
	d := describer{left: maxHandlers, r: r}
	x := d.describe(h, maxHandlerDepth)
	e.Handler = &x
}

// describer describes handlers, so many at most.
type describer struct {
	left int
	r    *http.Request
}

// describe describes a handler, and those inside it. They may be the application's, and may panic.
func (d *describer) describe(h http.Handler, depth int) HandlerExplanation {
	d.left--
	x := HandlerExplanation{Name: typeName(h), Type: typeName(h)}
	survives(func() { x.Name = handlerName(h) })
	if p, ok := h.(interface {
		Preview(r *http.Request) policy.Decision
	}); ok {
		survives(func() {
			v := verdictOf(p.Preview(d.r))
			x.Preview = &v
		})
	}
	if u, ok := h.(*Upstream); ok {
		s := u.Status()
		for _, m := range s.Targets {
			target := TargetExplanation{URL: m.URL, Weight: m.Weight, InFlight: m.InFlight, LastError: m.LastError}
			switch {
			case s.Closed:
				target.Skipped = "the upstream is closed"
			case m.Draining:
				target.Skipped = "it was removed, and ends what it has in flight"
			case m.Weight == 0:
				target.Skipped = "its weight gives it no traffic"
			}
			x.Targets = append(x.Targets, target)
		}
		return x
	}
	var inside []http.Handler
	if m, ok := h.(interface{ Handlers() []http.Handler }); ok {
		survives(func() { inside = m.Handlers() })
	}
	for _, h := range inside {
		if depth == 0 || d.left <= 0 {
			x.More = true
			break
		}
		x.Handlers = append(x.Handlers, d.describe(h, depth-1))
	}
	return x
}
