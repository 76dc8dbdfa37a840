package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/internal/proxy"
	"github.com/gatehouse-go/gateway/internal/router"
	"github.com/gatehouse-go/gateway/policy"
)

// Forward says how the request to an upstream is made; see [policy.Forward].
type Forward = policy.Forward

// Upgrade says to which protocols clients may switch, see [policy.Upgrade].
type Upgrade = policy.Upgrade

// Route sends the requests it matches through its plugins to its handler.
type Route struct {
	// Name names the route in logs, metrics and errors. It is required, unique, and has no control characters.
	Name string
	// Match says which requests the route takes. The zero Match takes all that no other route takes.
	Match Match
	// Plugins run in this order, the first outermost, inside those of the Config.
	Plugins []Plugin
	// Handler answers: an [*Upstream], a split.Split, or any handler of the application. It is required. One with the methods
	// Name() string and Contract() policy.Contract is held to that as the innermost plugin would be.
	Handler http.Handler
	// Forward says how the handler's request is made from the client's. Path and host apply to any Handler; Rewrite and
	// Timeouts apply where the request reaches an [*Upstream], also behind other handlers.
	Forward Forward
	// Public says that nobody need authenticate here, although they must on other routes of the same host; without it
	// that is an [UnauthenticatedRoute].
	Public bool
	// Streaming says that bodies of this route must pass as they come: a plugin that buffers is an error, and clients are
	// not held to [policy.EntryConfig.MinReadRate].
	Streaming bool
	// MaxBody bounds the request body in bytes: 413 beyond, before anything is read when the length is declared. 0 means
	// no bound while the body streams.
	MaxBody int64
	// Priority orders regular expressions: the higher goes first. It is an error where Match has no Regexps.
	Priority int
}

// Match holds the criteria of a route. All kinds that are set must hold; within a kind any of the listed values may.
//
// Which route wins when several match is decided when the table is built, by rules and not by the order written: the
// one with more kinds of criteria; then host over headers over query over path over method; a plain host over one with
// a wildcard; more header conditions, more query conditions; an exact path, then a regular expression (by Priority), a
// path with parameters, a subtree, a raw prefix; the longer pattern; and only then the order written. Each host and each
// path of a route competes on its own. Two routes that no request could tell apart are an error.
type Match struct {
	// Hosts are host names: exact, *.example.com or example.* (the star stands for one or more labels), each optionally
	// with a port.
	Hosts []string
	// Methods are request methods, in upper case. A route that lists GET also takes HEAD. Empty means all. TRACE and
	// CONNECT are refused before routing and so are errors here.
	Methods []string
	// Schemes are "http" and "https", as the client sees them. Empty means both. Schemes do not count as a criterion.
	Schemes []string
	// SNIs are TLS server names: exact, *.example.com or example.*.
	SNIs []string
	// Paths are patterns: /users matches exactly that, /users/:id one segment that becomes the path value id, and
	// /files/*rest the whole subtree, /files included, whose rest becomes the path value rest. A colon or star that does
	// not begin its segment stands for itself: /users:batch and /users/all:count match exactly that. Braces are an error;
	// where a path has them, write %7B and %7D.
	Paths []string
	// Prefixes are raw string prefixes without wildcards: /rou matches /route.
	Prefixes []string
	// Regexps are regular expressions (RE2) anchored at the start of the canonical path, which they see decoded: a space
	// is a space and é is é, only /, ?, #, ;, %, backslashes and control characters stay as escapes, in upper case (%2F).
	// Captures become path values, by name and by number.
	Regexps []string
	// Headers are header fields of which all must be present with any of the values listed; no values means any. Values
	// compare without case; one that begins with ~ is a regular expression.
	Headers map[string][]string
	// Query are query parameters, like Headers, but compared exactly.
	Query map[string][]string
	// Func decides last, when all else holds. It gets the request as handlers do, with its canonical path and its
	// [policy.Exchange], which knows the client's address. It must be quick, safe for concurrent use, and change nothing.
	Func func(*http.Request) bool
}

func (m Match) criteria(name string, priority int) router.Route {
	return router.Route{
		Name: name, Hosts: m.Hosts, Methods: m.Methods, Schemes: m.Schemes, SNIs: m.SNIs, Paths: m.Paths,
		Prefixes: m.Prefixes, Regexps: m.Regexps, Headers: m.Headers, Query: m.Query, Func: m.Func, Priority: priority,
	}
}

// route is a Route made ready to serve.
type route struct {
	name      string
	handler   http.Handler
	forward   *policy.Forward // nil when zero
	streaming bool
	maxBody   int64        // 0 for no bound
	plugins   []Plugin     // inside the gateway-wide ones
	target    http.Handler // as configured, for listings
}

// label is how errors call the route at index i of the Config.
func (rt Route) label(i int) string {
	if rt.Name == "" {
		return fmt.Sprintf("Routes[%d]", i)
	}
	return fmt.Sprintf("route %q", rt.Name)
}

// routeName is a label as findings have it: the name alone, or Routes[i].
func routeName(label string) string {
	if quoted, ok := strings.CutPrefix(label, "route "); ok {
		if name, err := strconv.Unquote(quoted); err == nil {
			return name
		}
	}
	return label
}

// checkForward reports what is wrong with rt.Forward, Retry apart.
func (rt Route) checkForward(bad func(format string, args ...any)) {
	if p := rt.Forward.Path; p != "" {
		if c, err := canonical.Literal(p, canonical.PathOptions{AllowEncodedSlash: true}); err != nil || c != p {
			bad("Forward.Path %q is not a canonical path; write it absolute, without dot segments or repeated slashes", p)
		}
	}
	if h := rt.Forward.Host; h != "" {
		if _, _, err := canonical.Host(h); err != nil {
			bad("Forward.Host %q is not a host with an optional port", h)
		}
	}
	for i, p := range rt.Forward.Upgrade.Protocols {
		if !proxy.ValidProtocol(p) {
			bad("Forward.Upgrade.Protocols[%d] %q is no protocol to switch to; write its name, such as \"websocket\" (HTTP/2 is spoken without that)", i, p)
		}
	}
	switch name := rt.Forward.TimeoutHeader; {
	case name == "":
	case !proxy.FreeField(name):
		bad("Forward.TimeoutHeader %q is no name of a field, or one of those that the gateway sets by itself", name)
	case slices.Contains(meaningful, http.CanonicalHeaderKey(name)):
		bad("Forward.TimeoutHeader %q is a field with a meaning of its own; use one such as X-Request-Timeout-Ms", name)
	}
}

// meaningful are fields of requests that say something else than how long there is, and that clients or targets go by.
var meaningful = []string{
	"Accept", "Accept-Encoding", "Accept-Language", "Authorization", "Content-Encoding", "Content-Range", "Content-Type", "Cookie", "Date", "Expect", "Host",
	"Idempotency-Key", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since", "Origin", "Range", "Referer", "User-Agent",
}

// compile checks rt and composes its handler; label is what errors call it, outer are the plugins of the Config.
func (rt Route) compile(label string, outer []Plugin, logger panicLogger) (route, error) {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("gateway: %s: "+format, append([]any{label}, args...)...))
	}
	rt.checkFields(bad)
	if isNil(rt.Handler) {
		bad("Handler is nil; set an *Upstream or any http.Handler")
	}
	if rt.MaxBody < 0 {
		bad("MaxBody %d is negative; 0 means no bound", rt.MaxBody)
	}
	rt.checkForward(bad)
	errs = append(errs, checkRetry("gateway: "+label+": Forward.Retry", rt.Forward.Retry)...)
	ok := checkPlugins("gateway: "+label+": Plugins", rt.Plugins, &errs)
	if !ok || len(errs) > 0 {
		return route{}, errors.Join(errs...)
	}

	out := route{name: rt.Name, target: rt.Handler, streaming: rt.Streaming, maxBody: rt.MaxBody, plugins: slices.Clone(rt.Plugins)}
	h := rt.Handler
	if f := rt.Forward; f.StripPath || f.Path != "" || f.Host != "" {
		h = &forwarder{next: h, forward: f}
	}
	if f := rt.Forward; !reflect.ValueOf(f).IsZero() {
		out.forward = &f
	}
	if rt.MaxBody > 0 {
		h = &bodyLimit{next: h, limit: rt.MaxBody}
	}
	h, err := chain("Plugins", rt.Plugins, h)
	if err == nil {
		h, err = chain("Config.Plugins", outer, &guard{next: h, log: logger})
	}
	if err != nil {
		bad("%w", err)
		return route{}, errors.Join(errs...)
	}
	out.handler = &guard{next: h, log: logger}
	return out, nil
}

// checkChain reports contracts that the plugins around the route break.
func (rt Route) checkChain(i int, outer []Plugin, compat Compat, r *collector) {
	if slices.ContainsFunc(rt.Plugins, isNilPlugin) {
		return
	}
	chain := slices.Concat(outer, rt.Plugins)
	if h, ok := rt.Handler.(innermost); ok && !isNil(h) {
		chain = append(chain, policy.Describe(h.Name(), h.Contract(), nil))
	}
	r.checkContracts(rt.label(i), i, chain, len(outer), compat)
	if !rt.Streaming {
		return
	}
	for _, p := range chain {
		if c, _ := policy.ContractOf(p); c.BuffersRequest || c.BuffersResponse {
			r.addf(Finding{Kind: BufferedStream, Route: routeName(rt.label(i)), order: i, Plugins: []string{policy.NameOf(p)}},
				"%s: is Streaming, but plugin %q buffers; take one of them away", rt.label(i), policy.NameOf(p))
		}
	}
}

// innermost is a handler that relies on the plugins around it, as one does that chooses by the consumer.
type innermost interface {
	Name() string
	Contract() policy.Contract
}

// checkFields reports the name of rt, and fields that contradict each other or are without effect.
func (rt Route) checkFields(bad func(format string, args ...any)) {
	switch {
	case rt.Name == "":
		bad("Name is empty; every route needs one for logs, metrics and errors")
	case !printable(rt.Name):
		bad("Name has control characters, or is not UTF-8; logs and metrics show it")
	}
	if rt.Forward.Host != "" && rt.Forward.PreserveHost {
		bad("Forward.Host %q and PreserveHost are both set; the target can be sent one host only, leave one out", rt.Forward.Host)
	}
	if m := rt.Match; rt.Forward.StripPath && len(m.Paths)+len(m.Prefixes)+len(m.Regexps) == 0 {
		bad("Forward.StripPath is set, but Match has no Paths, Prefixes or Regexps to strip; set one of them, or leave StripPath out")
	}
	if rt.Forward.ConcatPath && rt.Forward.Path == "" {
		bad("Forward.ConcatPath is set, but there is no Path to put before another; set Path, or leave ConcatPath out")
	}
	if rt.Priority != 0 && len(rt.Match.Regexps) == 0 {
		bad("Priority %d is set, but orders only Regexps, and Match has none; leave it 0", rt.Priority)
	}
}

// printable reports whether logs and metrics can show a name as it is.
func printable(name string) bool {
	return utf8.ValidString(name) && !strings.ContainsFunc(name, unicode.IsControl)
}

// checkPlugins reports nil plugins, which the unchecked result of a failed constructor is.
func checkPlugins(where string, plugins []Plugin, errs *[]error) bool {
	ok := true
	for i, p := range plugins {
		if isNilPlugin(p) {
			ok = false
			*errs = append(*errs, fmt.Errorf("%s[%d] is nil; check the error of its constructor", where, i))
		}
	}
	return ok
}

// forwarder gives its handler the path and the host that Forward asks for.
type forwarder struct {
	next    http.Handler
	forward policy.Forward
}

func (f *forwarder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out, err := f.request(r)
	if err != nil {
		policy.Refuse(w, r, "gateway", err)
		return
	}
	f.next.ServeHTTP(w, out)
}

// request returns r as the handler gets it.
func (f *forwarder) request(r *http.Request) (*http.Request, error) {
	path := r.URL.EscapedPath()
	stripped := false
	var rest string
	if f.forward.StripPath {
		// A plugin may have rewritten the path; then there is nothing of the pattern to strip.
		x := policy.ExchangeFrom(r.Context())
		// Nor is there where the pattern is /*rest, whose own part is empty.
		if matched := x.MatchedPath(); matched != "" {
			if rest, stripped = strings.CutPrefix(path, matched); stripped {
				x.SetStrippedPath(matched)
			}
		}
	}
	raw := rest
	if rest != "" {
		// Stripping a raw prefix may leave dot segments where there were none: /a is a prefix of /a../b. They are
		// resolved before Path is put in front, or a client could climb out of it.
		var err error
		if rest, err = canonical.Literal("/"+strings.TrimPrefix(rest, "/"), canonical.PathOptions{AllowEncodedSlash: true}); err != nil {
			return nil, &policy.Error{Status: http.StatusBadRequest, Code: "path_after_strip", Message: "Bad request", Err: err}
		}
	}
	u := &url.URL{RawQuery: r.URL.RawQuery, ForceQuery: r.URL.ForceQuery}
	if f.forward.ConcatPath {
		canonical.SetPath(u, concatPath(f.forward.Path, path, rest, stripped, strings.HasPrefix(raw, "/")))
	} else {
		canonical.SetPath(u, joinPath(f.forward.Path, path, rest, stripped))
	}
	out := new(http.Request)
	*out = *r
	out.URL = u
	if f.forward.Host != "" {
		out.Host = f.forward.Host
	}
	return out, nil
}

// joinPath puts base before path, or before rest when the pattern's part was stripped from path, with exactly one slash
// between them. A slash at the end of the client's path survives, one at the end of base does where nothing follows. A
// rest that is not empty begins with a slash.
func joinPath(base, path, rest string, stripped bool) string {
	base, slash := strings.CutSuffix(base, "/")
	switch {
	case !stripped && path == "/" && base != "" && !slash:
		return base
	case !stripped:
		return base + path
	case rest != "":
		return base + rest
	case base == "" || path[len(path)-1] == '/' && (slash || len(path) > 1):
		return base + "/"
	default:
		return base
	}
}

// concatPath puts base before path, or before rest when the pattern's part was stripped from path, with no slash between
// but those that are there: slash tells whether rest had its own. See joinPath.
func concatPath(base, path, rest string, stripped, slash bool) string {
	if base == "" {
		base = "/"
	}
	switch {
	case !stripped:
		return base + path[1:]
	case !slash || base[len(base)-1] == '/':
		return base + strings.TrimPrefix(rest, "/")
	default:
		return base + rest
	}
}

// bodyLimit refuses request bodies beyond its limit. What reads the body sees an *http.MaxBytesError there.
type bodyLimit struct {
	next  http.Handler
	limit int64
}

func (b *bodyLimit) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := bodyWithin(b.limit, r); err != nil {
		policy.Refuse(w, r, "gateway", err)
		return
	}
	if r.ContentLength < 0 && r.Body != nil && r.Body != http.NoBody {
		out := new(http.Request)
		*out = *r
		out.Body = http.MaxBytesReader(w, r.Body, b.limit)
		r = out
	}
	b.next.ServeHTTP(w, r)
}

// bodyWithin returns the refusal of a body that says itself that it is beyond the limit.
func bodyWithin(limit int64, r *http.Request) error {
	if r.ContentLength <= limit {
		return nil
	}
	return &policy.Error{Status: http.StatusRequestEntityTooLarge, Code: "body_too_large", Message: "Request body too large"}
}
