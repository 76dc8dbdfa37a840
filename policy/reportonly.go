package policy

import (
	"context"
	"net/http"
	"sync/atomic"
)

// ReportOnly returns a plugin that runs p whole without enforcing it: when p refuses a request by [Refuse], the decision
// record gets the refusal with the verdict [WouldRefuse], and the request goes on to what is inside p as if p had let it
// pass. Refusals by plugins inside p stay real. It is for trying a limit or an access list on live traffic.
//
// What p does for requests it accepts it does as ever: it sets an identity, header fields and counters. For one it would
// have refused it does none of this, so that an authentication method under ReportOnly leaves callers without a valid
// credential unauthenticated, and their credential in the request. Name and contract are those of p. A p that answers
// by other means than Refuse still answers, and one that refuses after it has called what is inside it only reports: what
// is inside has answered by then.
//
// A nil p passes every request on. ReportOnly may be nested and starts nothing.
func ReportOnly(p Plugin) Plugin {
	if p == nil {
		p = PluginFunc(nil)
	}
	return &reportOnly{p}
}

// IsReportOnly reports whether p, or a plugin it wraps, is from [ReportOnly].
func IsReportOnly(p Plugin) bool {
	for ; p != nil; p = unwrap(p) {
		if _, ok := p.(*reportOnly); ok {
			return true
		}
	}
	return false
}

type reportOnly struct{ plugin Plugin }

// Unwrap returns the plugin that is not enforced.
func (o *reportOnly) Unwrap() Plugin { return o.plugin }

// Wrap puts the plugin around next, in a scope in which its refusals are records.
func (o *reportOnly) Wrap(next http.Handler) http.Handler {
	inner := leaveScope{next}
	h := o.plugin.Wrap(inner)
	if h == nil {
		return nil // which is the mistake of the plugin, for the gateway to report
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, r = Ensure(r)
		s := &reportScope{inner: inner, outer: reportScopeFrom(r.Context())}
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), scopeKey{}, s)))
	})
}

// reportScope is in the context of the request while a plugin under ReportOnly has it, and not while what is inside the
// plugin has it. It is in the context, not in the Exchange, because a plugin may run what is inside it on a goroutine of
// its own and refuse meanwhile.
type reportScope struct {
	inner   leaveScope
	outer   *reportScope // nil: refusals further out are real
	entered atomic.Bool  // what is inside was called
}

type scopeKey struct{}

func reportScopeFrom(ctx context.Context) *reportScope {
	s, _ := ctx.Value(scopeKey{}).(*reportScope)
	return s
}

// pass goes on with what is inside the plugin, unless that was called before.
func (s *reportScope) pass(w http.ResponseWriter, r *http.Request) {
	if !s.entered.Load() {
		s.inner.ServeHTTP(w, r)
	}
}

// leaveScope is what is inside the plugin, back in the scope around it.
type leaveScope struct{ next http.Handler }

func (l leaveScope) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s := reportScopeFrom(r.Context()); s != nil {
		s.entered.Store(true)
		r = r.WithContext(context.WithValue(r.Context(), scopeKey{}, s.outer))
	}
	l.next.ServeHTTP(w, r)
}
