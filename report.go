package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Report is what [Config.Validate] found, errors first, each group in the order of the routes.
type Report struct {
	Findings []Finding
}

// Finding is one thing about a Config that its author should know.
type Finding struct {
	// Kind says what it is. Its comment says whether it is an error or a warning.
	Kind FindingKind `json:"kind"`
	// Warning: the Config can be served all the same.
	Warning bool `json:"warning"`
	// Route is the name of the route it is about, Routes[i] when that has none; "" when it is about the Config as a whole.
	Route string `json:"route,omitempty"`
	// Others are the names of further routes that have to do with it, such as those that shadow Route.
	Others []string `json:"others,omitempty"`
	// Plugins are the names of the plugins that have to do with it.
	Plugins []string `json:"plugins,omitempty"`
	// Message says what is wrong and what to do, for people. It names route, field and value.
	Message string `json:"message"`
	// Witness is a request that proves it: [Gateway.Explain] gives it to the first of Others, although Route matches, its
	// Match.Func apart. UnreachableRoute, UnreachablePath and AmbiguousRoutes have one always, DuplicateRoute where one can
	// be made up that goes to the twin, and other kinds never. It belongs to the caller.
	Witness *http.Request `json:"-"`

	err   error // what Message is the text of
	order int   // of the route, -1 for the Config
}

// FindingKind is what a [Finding] is about.
type FindingKind string

// The kinds of findings.
const (
	// Invalid is an error: a field has a value that cannot be used.
	Invalid FindingKind = "invalid"
	// DuplicateRoute is an error: no request could tell two routes apart, or one path of the two. With
	// Compat.AllowIdenticalRoutes it is a warning, and the first written wins.
	DuplicateRoute FindingKind = "duplicate_route"
	// UnreachableRoute is an error: whatever request matches the route, others take it. It has a witness. With
	// Compat.AllowIdenticalRoutes it is a warning.
	UnreachableRoute FindingKind = "unreachable_route"
	// UnreachablePath is a warning: as UnreachableRoute, for some of the hosts and paths of a route. It has a witness.
	UnreachablePath FindingKind = "unreachable_path"
	// DeletedHeader is an error: a route asks for a header field that the entry deletes from every request. With
	// Compat.AllowIdenticalRoutes it is a warning.
	DeletedHeader FindingKind = "deleted_header"
	// AmbiguousRoutes is a warning: requests match two routes, and nothing but the order in which they are written
	// decides. It has a witness.
	AmbiguousRoutes FindingKind = "ambiguous_routes"
	// BrokenContract is an error: a plugin requires what no plugin around it provides, or precludes what one inside it
	// provides. With Compat.AllowBrokenContracts it is a warning.
	BrokenContract FindingKind = "broken_contract"
	// UnprovenContract is a warning: what a plugin requires might be provided by an opaque one around it, or is by one under
	// ReportOnly, which lets requests without it pass.
	UnprovenContract FindingKind = "unproven_contract"
	// BufferedStream is an error: a plugin around a Streaming route buffers.
	BufferedStream FindingKind = "buffered_stream"
	// UnauthenticatedRoute is a warning: nothing authenticates callers of a route, while another route of the same host
	// has authentication. Route.Public says that it is meant to be so.
	UnauthenticatedRoute FindingKind = "unauthenticated_route"
	// UnusedUpstream is a warning: Owns has an upstream that no route reaches. It is not looked for where a route's
	// handler is neither an upstream nor tells of those inside it by a method Handlers() []http.Handler.
	UnusedUpstream FindingKind = "unused_upstream"
	// UnsafeRetry is a warning: a handler that retries, whatever the method, is reached by methods that are not
	// idempotent (RFC 9110 section 9.2.2). Handlers say so by a method RetriesUnsafe() bool.
	UnsafeRetry FindingKind = "unsafe_retry"
	// NoTimeout is a warning: a timeout of an upstream is switched off, by itself or by one of its routes, and nothing else
	// bounds the requests of that route.
	NoTimeout FindingKind = "no_timeout"
	// NotAllChecked is a warning: the table is so large and its routes so alike that not all pairs were compared.
	NotAllChecked FindingKind = "not_all_checked"
)

// Err joins the errors of the report; nil when there are none.
func (r Report) Err() error {
	var errs []error
	for _, f := range r.Findings {
		if !f.Warning {
			errs = append(errs, f.err)
		}
	}
	return errors.Join(errs...)
}

// Warnings returns the findings that are no errors.
func (r Report) Warnings() []Finding {
	return slices.DeleteFunc(slices.Clone(r.Findings), func(f Finding) bool { return !f.Warning })
}

// String lists the findings, one on a line, with their witnesses.
func (r Report) String() string {
	var b strings.Builder
	for _, f := range r.Findings {
		level := "error: "
		if f.Warning {
			level = "warning: "
		}
		b.WriteString(level + f.String() + "\n")
	}
	return b.String()
}

// String returns the message, and the witness as one line.
func (f Finding) String() string {
	if f.Witness == nil {
		return f.Message
	}
	return f.Message + " (witness: " + requestLine(f.Witness) + ")"
}

// collector gathers the findings of one Config.
type collector struct{ findings []Finding }

// addf adds a finding. It fills in message and error.
func (r *collector) addf(f Finding, format string, args ...any) {
	f.err = fmt.Errorf("gateway: "+format, args...)
	f.Message = f.err.Error()
	r.findings = append(r.findings, f)
}

// addErrors adds what a constructor joined, each problem on its own.
func (r *collector) addErrors(route string, order int, err error) {
	if err == nil {
		return
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok { // the very value of errors.Join
		for _, e := range joined.Unwrap() {
			r.addErrors(route, order, e)
		}
		return
	}
	r.findings = append(r.findings, Finding{Kind: Invalid, Route: route, order: order, Message: err.Error(), err: err})
}

// report puts errors first and each group into the order of the routes.
func (r *collector) report() Report {
	slices.SortStableFunc(r.findings, func(a, b Finding) int {
		switch {
		case a.Warning != b.Warning && b.Warning:
			return -1
		case a.Warning != b.Warning:
			return 1
		default:
			return cmp.Compare(a.order, b.order)
		}
	})
	return Report{r.findings}
}
