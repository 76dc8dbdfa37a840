package policy

import (
	"context"
	"net/http"
	"reflect"
	"sync/atomic"

	"github.com/gatehouse-go/gateway/internal/respw"
)

// ReportOnly returns a plugin that runs p whole without enforcing it: when p refuses a request by [Refuse], the decision
// record gets the refusal with the verdict [WouldRefuse], and the request goes on to what is inside p as if p had let it
// pass. Refusals by plugins inside p stay real. It is for trying a limit or an access list on live traffic.
//
// What p does for requests it accepts it does as ever: it sets an identity, header fields and counters. For one it would
// have refused it does none of this, so that an authentication method under ReportOnly leaves callers without a valid
// credential unauthenticated, and their credential in the request. In a p that is made of several plugins, those inside
// the one that would have refused are left out. Name and contract are those of p; a gateway takes a fact that only p
// provides for unproven.
//
// Some refusals stay real: answers by other means than Refuse and [RefuseWith]; refusals of a request that p makes of its
// own, with a header and a writer of its own, in order to ask somebody; and refusals when what is inside p was called
// already and nothing of its answer was sent, as by a p that gives up waiting for it. If something was sent, p only reports.
// What is inside p has to get the context that p got, or one made from it, or is not known to have been called.
//
// A nil p passes every request on; a gateway refuses it, as it does a nil plugin. ReportOnly may be nested and starts nothing.
func ReportOnly(p Plugin) Plugin {
	if p == nil {
		p = PluginFunc(nil)
	}
	return &reportOnly{p}
}

// IsReportOnly reports whether p, or a plugin it wraps, is from [ReportOnly].
func IsReportOnly(p Plugin) bool {
	for p := range layers(p) {
		if _, ok := p.(*reportOnly); ok {
			return true
		}
	}
	return false
}

// IsReported reports whether the plugin that has r is under [ReportOnly], so that what it refuses goes on all the same. One that
// has requests wait should not let them wait then.
func IsReported(r *http.Request) bool { return reportScopeFrom(r.Context()) != nil }

type reportOnly struct{ plugin Plugin }

// Unwrap returns the plugin that is not enforced.
func (o *reportOnly) Unwrap() Plugin { return o.plugin }

// Wrap puts the plugin around next, in a scope in which its refusals are records.
func (o *reportOnly) Wrap(next http.Handler) http.Handler {
	inner := leaveScope{next}
	h := o.plugin.Wrap(inner)
	if v := reflect.ValueOf(h); h == nil || (v.Kind() == reflect.Pointer || v.Kind() == reflect.Func) && v.IsNil() {
		return nil // which is the mistake of the plugin, for the gateway to report
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, r = Ensure(r)
		s := &reportScope{inner: inner, outer: reportScopeFrom(r.Context()), writer: w, header: r.Header}
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

	// Of the request, as the plugin got it.
	writer http.ResponseWriter
	header http.Header
}

type scopeKey struct{}

func reportScopeFrom(ctx context.Context) *reportScope {
	s, _ := ctx.Value(scopeKey{}).(*reportScope)
	return s
}

// concerns reports whether a refusal, which would be written to w, is one that is only to be reported. A nil reportScope
// has none.
func (s *reportScope) concerns(w http.ResponseWriter, r *http.Request) bool {
	if s == nil {
		return false
	}
	ours, sent := false, true // where no writer knows
	for w := range below(w) {
		// A writer that cannot be compared is no pointer, and so not one of a server.
		ours = ours || reflect.ValueOf(w).Comparable() && w == s.writer
		if rw, ok := w.(*respw.Writer); ok {
			sent = rw.HeaderSent() || rw.Hijacked()
		}
	}
	// Writers such as that of http.TimeoutHandler hide the one below, but the request is the same: it has this very header.
	if !ours && reflect.ValueOf(r.Header).Pointer() != reflect.ValueOf(s.header).Pointer() {
		return false
	}
	return sent || !s.entered.Load()
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
