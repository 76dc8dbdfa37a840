package gateway

import (
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"

	"github.com/gatehouse-go/gateway/policy"
)

// Explanation is what [Gateway.Explain] says. String lays it out for a terminal, and package json for a program. What a
// client wrote is cut where it is long.
type Explanation struct {
	// Version is that of the table; see [Status].
	Version string `json:"version,omitempty"`
	// Request is what was asked about, Client who would have asked, as the entry sees it.
	Request RequestSummary `json:"request"`
	Client  ClientSummary  `json:"client"`
	// Path is the canonical path, and PathChanges what was done to reach it; none when it was sent like that. Path is ""
	// when the entry refuses the request.
	Path        string   `json:"path,omitempty"`
	PathChanges []string `json:"path_changes,omitempty"`
	// Deleted are the names of header fields that are deleted because clients may not set them, sorted, and DeletedMore
	// how many further ones are not listed.
	Deleted     []string `json:"deleted,omitempty"`
	DeletedMore int      `json:"deleted_more,omitempty"`
	// Candidates are the routes whose path matches, in order of precedence, each host and path on its own.
	// CandidatesMore is how many further ones are not listed. Where no route takes the request, Nearest are the paths at
	// its host that are most like the one asked for.
	Candidates     []Candidate `json:"candidates,omitempty"`
	CandidatesMore int         `json:"candidates_more,omitempty"`
	Nearest        []Candidate `json:"nearest,omitempty"`
	// Route is the name of the route that takes the request, Pattern what it matched, Params the path values.
	Route   string  `json:"route,omitempty"`
	Pattern string  `json:"pattern,omitempty"`
	Params  []Param `json:"params,omitempty"`
	// Plugins are all plugins around the handler, the first outermost.
	Plugins []PluginExplanation `json:"plugins,omitempty"`
	// Refusal is set when the gateway itself refuses the request: the entry does, or no route takes it. Gateway-wide
	// plugins run around that, too.
	Refusal *Verdict `json:"refusal,omitempty"`
	// Handler is what answers when no plugin refuses, ForwardPath the path it gets and ForwardHost the host, where the
	// route's Forward says so.
	Handler     *HandlerExplanation `json:"handler,omitempty"`
	ForwardPath string              `json:"forward_path,omitempty"`
	ForwardHost string              `json:"forward_host,omitempty"`
	// Outcome says in a few words how the request would end: who refuses it and why, or what handles it. Plugins that
	// cannot tell are taken to let it pass.
	Outcome string `json:"outcome"`
}

// RequestSummary is the request that was asked about. Query values and header fields are not in it.
type RequestSummary struct {
	Method string `json:"method"`
	Host   string `json:"host"`
	Path   string `json:"path"` // as it was sent
}

// ClientSummary is the client as the entry sees it.
type ClientSummary struct {
	Address string `json:"address,omitempty"` // "" when it is not known
	Peer    string `json:"peer,omitempty"`    // of the connection
	Trusted bool   `json:"trusted,omitempty"` // Peer is a trusted proxy
	Scheme  string `json:"scheme"`
}

// Candidate is one host and one path of a route.
type Candidate struct {
	Route   string   `json:"route"`
	Host    string   `json:"host,omitempty"`    // "" for any
	Pattern string   `json:"pattern,omitempty"` // "" for any
	Methods []string `json:"methods,omitempty"` // none for all
	// Failed is the first condition that does not hold: path, host, method, scheme, SNI, header, query or predicate; ""
	// when all hold. Wants says what it asks for.
	Failed string `json:"failed,omitempty"`
	Wants  string `json:"wants,omitempty"`
	// Wins: this is the one. Others of which no condition failed come later in the order of precedence.
	Wins bool `json:"wins,omitempty"`
}

// Param is a path value.
type Param struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Verdict is a decision, without the cause that a log would have.
type Verdict struct {
	By      string `json:"by"`
	Verdict string `json:"verdict"` // as policy.Verdict prints
	Reason  string `json:"reason,omitempty"`
	Detail  string `json:"detail,omitempty"`
	Status  int    `json:"status,omitempty"` // of a refusal
}

// String returns the verdict as [policy.Decision] prints.
func (v Verdict) String() string {
	s := v.Verdict
	if v.Reason != "" {
		s += " " + v.Reason
	}
	if v.Status != 0 {
		s += " " + strconv.Itoa(v.Status)
	}
	if v.Detail != "" {
		s += " (" + v.Detail + ")"
	}
	return s
}

// Scopes of plugins.
const (
	scopeGateway = "gateway"
	scopeRoute   = "route"
)

// PluginExplanation is a plugin, its contract, and what it would decide.
type PluginExplanation struct {
	Name            string        `json:"name"`
	Scope           string        `json:"scope"` // gateway or route
	Opaque          bool          `json:"opaque,omitempty"`
	ReportOnly      bool          `json:"report_only,omitempty"`
	Requires        []policy.Fact `json:"requires,omitempty"`
	Provides        []policy.Fact `json:"provides,omitempty"`
	Precludes       []policy.Fact `json:"precludes,omitempty"`
	BuffersRequest  bool          `json:"buffers_request,omitempty"`
	BuffersResponse bool          `json:"buffers_response,omitempty"`
	// Reached: no plugin around it would refuse the request, or answer it. Preview is what it would decide; nil when it cannot tell.
	Reached bool     `json:"reached"`
	Preview *Verdict `json:"preview,omitempty"`
}

// HandlerExplanation is a handler, with the targets of an [Upstream], or with the handlers it has inside.
type HandlerExplanation struct {
	Name string `json:"name"`
	Type string `json:"type"`
	// Preview is what a handler that chooses, such as a split.Split, would decide: its Detail names the arm. Any handler may
	// have the method of [policy.Previewer]; nil without.
	Preview  *Verdict             `json:"preview,omitempty"`
	Targets  []TargetExplanation  `json:"targets,omitempty"`
	Handlers []HandlerExplanation `json:"handlers,omitempty"`
	More     bool                 `json:"more,omitempty"` // it has further handlers inside, which are not listed
}

// TargetExplanation is a target of an [Upstream] and its state.
type TargetExplanation struct {
	URL       string `json:"url"`
	Weight    int    `json:"weight"`
	InFlight  int64  `json:"in_flight,omitempty"`
	LastError string `json:"last_error,omitempty"`
	// Skipped says why it would not be picked; "" when it may be.
	Skipped string `json:"skipped,omitempty"`
}

// String lays the explanation out for a terminal.
func (e Explanation) String() string {
	var b strings.Builder
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(&b, format+"\n", args...) }
	line("%s %s://%s%s", e.Request.Method, e.Client.Scheme, e.Request.Host, e.Request.Path)
	line("outcome  %s", e.Outcome)
	line("client   %s", e.Client)
	if e.Path != "" {
		line("path     %s%s", e.Path, after(": ", strings.Join(e.PathChanges, ", ")))
	}
	if len(e.Deleted) > 0 {
		line("deleted  %s%s", strings.Join(e.Deleted, ", "), more(e.DeletedMore))
	}
	if e.Route != "" {
		line("route    %s, by %s%s", e.Route, e.Pattern, params(e.Params))
	}
	if len(e.Candidates) > 0 {
		line("\ncandidates in order of precedence%s", more(e.CandidatesMore))
		b.WriteString(candidates(e.Candidates))
	}
	if len(e.Nearest) > 0 {
		line("\nnearest paths at this host")
		b.WriteString(candidates(e.Nearest))
	}
	if len(e.Plugins) > 0 {
		line("\nplugins, the first outermost")
		b.WriteString(columns(e.Plugins, PluginExplanation.row))
	}
	if e.Handler != nil {
		line("\nhandler%s", after(" gets ", strings.TrimSpace(e.ForwardPath+after(" with host ", e.ForwardHost))))
		e.Handler.write(&b, "  ")
	}
	return b.String()
}

// String names the client, and the proxy it came by.
func (c ClientSummary) String() string {
	address := c.Address
	if address == "" {
		address = "unknown"
	}
	switch {
	case c.Trusted && c.Peer == c.Address:
		return address + ", a trusted proxy"
	case c.Trusted:
		return address + ", by the trusted proxy " + c.Peer
	case c.Peer != c.Address && c.Peer != "":
		return address + ", by " + c.Peer
	default:
		return address
	}
}

func candidates(list []Candidate) string { return columns(list, Candidate.row) }

func (c Candidate) row() []string {
	mark, why := " ", "matches too, but comes later"
	switch {
	case c.Wins:
		mark, why = ">", "takes it"
	case c.Failed == "predicate" && c.Wants != "":
		why = "its predicate panics"
	case c.Failed == "predicate":
		why = "its predicate says no"
	case c.Failed != "":
		why = c.Failed + " is not " + c.Wants
	}
	return []string{mark + " " + c.Route, or(c.Host, "*"), or(c.Pattern, "*"), or(strings.Join(c.Methods, ","), "*"), why}
}

func (p PluginExplanation) row() []string {
	name := p.Name
	if p.ReportOnly {
		name += ", report-only"
	}
	var contract []string
	add := func(what string, facts []policy.Fact) {
		if len(facts) > 0 {
			contract = append(contract, what+" "+strings.Join(texts(facts), ", "))
		}
	}
	add("requires", p.Requires)
	add("provides", p.Provides)
	add("precludes", p.Precludes)
	if p.BuffersRequest {
		contract = append(contract, "buffers requests")
	}
	if p.BuffersResponse {
		contract = append(contract, "buffers responses")
	}
	if p.Opaque {
		contract = []string{"opaque"}
	}
	what := "no preview"
	switch {
	case !p.Reached:
		what = "not reached"
	case p.Preview != nil:
		what = p.Preview.String()
	}
	return []string{"  " + name, p.Scope, or(strings.Join(contract, "; "), "-"), what}
}

func (h HandlerExplanation) write(b *strings.Builder, indent string) {
	name := h.Name
	if name != h.Type {
		name += ", a " + h.Type
	}
	if h.Preview != nil {
		name += ": " + h.Preview.String()
	}
	b.WriteString(indent + name + "\n")
	b.WriteString(columns(h.Targets, func(t TargetExplanation) []string {
		state := fmt.Sprintf("weight %d, %d in flight%s", t.Weight, t.InFlight, after(", last error ", t.LastError))
		if t.Skipped != "" {
			state = "skipped: " + t.Skipped
		}
		return []string{indent + "  " + t.URL, state}
	}))
	for _, inner := range h.Handlers {
		inner.write(b, indent+"  ")
	}
	if h.More {
		b.WriteString(indent + "  and more\n")
	}
}

// columns lays rows out.
func columns[T any](list []T, row func(T) []string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, x := range list {
		_, _ = fmt.Fprintln(w, strings.Join(row(x), "\t"))
	}
	_ = w.Flush()
	return b.String()
}

func texts(facts []policy.Fact) []string {
	out := make([]string, len(facts))
	for i, f := range facts {
		out[i] = string(f)
	}
	return out
}

func or(s, empty string) string {
	if s == "" {
		return empty
	}
	return s
}

// after puts prefix before a text that is not empty.
func after(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

func more(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(", and %d more", n)
}

func params(list []Param) string {
	var b strings.Builder
	for _, p := range list {
		fmt.Fprintf(&b, ", %s=%q", p.Name, p.Value)
	}
	return b.String()
}

// list writes alternatives.
func list(values []string) string { return strings.Join(values, " or ") }

// short cuts a text that a client wrote, and escapes what a terminal would not show.
func short(s string) string { return cut(s, maxText) }

func cut(s string, most int) string {
	s = shortened(s, most)
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) || !utf8.ValidString(s) {
		quoted := strconv.Quote(s)
		return quoted[1 : len(quoted)-1]
	}
	return s
}

func shortened(s string, most int) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

func requestSummary(r *http.Request) RequestSummary {
	return RequestSummary{Method: cut(or(r.Method, http.MethodGet), maxName), Host: short(r.Host), Path: short(sentPath(r))}
}

// sentPath is the path as the client spelled it, as far as net/http keeps that.
func sentPath(r *http.Request) string {
	if r.URL == nil {
		return ""
	}
	return r.URL.EscapedPath()
}

func clientSummary(x *policy.Exchange) ClientSummary {
	peer, trusted := x.PeerAddr()
	text := func(a netip.Addr) string {
		if !a.IsValid() {
			return ""
		}
		return a.String()
	}
	return ClientSummary{Address: text(x.ClientAddr()), Peer: text(peer), Trusted: trusted, Scheme: x.Scheme()}
}

// deleted lists the fields that are in before and not in now.
func deleted(before, now http.Header) (names []string, rest int) {
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, kept := now[name]; kept {
			continue
		}
		if len(names) == maxDeleted {
			rest++
			continue
		}
		names = append(names, cut(name, maxName))
	}
	return names, rest
}
