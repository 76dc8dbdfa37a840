package gatewaytest

import (
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/policy"
)

// This file reads the rules of gateway.Match once more, from their description alone. It tries every host and every path
// of every route, the one that wins first; it is slow, allocates freely and has no index. What a gateway answers must be
// what it answers. How paths are spelled it leaves to package canonical, and the order that the description leaves open,
// as between two hosts with a star, is said where the rank is.

// naiveKind is the kind of a path, in order of precedence.
type naiveKind int

const (
	naiveExact naiveKind = iota
	naiveRegexp
	naiveParameters
	naiveSubtree
	naivePrefix
	naiveNoPath
)

// naiveEntry is one host and one path of a route, and all its other conditions.
type naiveEntry struct {
	route   *gateway.Route
	host    naiveHost
	kind    naiveKind
	pattern string // as it was written
	path    string // as it is compared, but for colons and stars
	re      *regexp.Regexp
	written []int // places of the route in the table, and of host and path in the route
}

// naiveTable are the entries of a table, the one that wins first.
type naiveTable []naiveEntry

// newNaive reads a table that a gateway has accepted.
func newNaive(routes []gateway.Route) naiveTable {
	var entries naiveTable
	for i := range routes {
		r := &routes[i]
		hosts := r.Match.Hosts
		if len(hosts) == 0 {
			hosts = []string{""}
		}
		for j, h := range hosts {
			for k, e := range naivePaths(&r.Match) {
				e.route, e.host, e.written = r, newNaiveHost(h), []int{i, j, k}
				entries = append(entries, e)
			}
		}
	}
	slices.SortFunc(entries, func(a, b naiveEntry) int { return slices.Compare(a.rank(), b.rank()) })
	return entries
}

// naivePaths returns an entry for each path, in the order written; one for none.
func naivePaths(m *gateway.Match) []naiveEntry {
	var out []naiveEntry
	for _, p := range m.Paths {
		e := naiveEntry{kind: naiveExact, pattern: p, path: naivePattern(p)}
		switch {
		case strings.Contains(e.path, "/*"):
			e.kind = naiveSubtree
		case strings.Contains(e.path, "/:"):
			e.kind = naiveParameters
		}
		out = append(out, e)
	}
	for _, p := range m.Prefixes {
		// It may end in the middle of a segment, which is only with a letter behind it not the dot segment it looks like.
		path := colonsAndStars(naivePattern(p + "x"))
		out = append(out, naiveEntry{kind: naivePrefix, pattern: p, path: path[:len(path)-1]})
	}
	for _, p := range m.Regexps {
		re, err := regexp.Compile("^(?:" + p + ")")
		if err != nil {
			continue // no gateway has accepted it
		}
		out = append(out, naiveEntry{kind: naiveRegexp, pattern: p, re: re})
	}
	if len(out) == 0 {
		out = []naiveEntry{{kind: naiveNoPath}}
	}
	return out
}

// naivePattern returns a pattern in the spelling in which paths are compared; escapes of colons and stars stay, since they
// tell them from wildcards.
func naivePattern(written string) string {
	clean, err := canonical.Literal(written, canonical.PathOptions{AllowEncodedSlash: true})
	if err != nil {
		return written
	}
	return unescape(clean, func(c byte) bool { return strings.IndexByte("!$&'()+,=@", c) >= 0 })
}

// comparedPath returns the spelling in which the paths of requests are compared with patterns: the canonical one, and of the
// characters that may stand in a path either way, plain.
func comparedPath(path string) string {
	return unescape(path, func(c byte) bool { return strings.IndexByte("!$&'()*+,:=@", c) >= 0 })
}

// expressionText returns the spelling of a path that regular expressions see: everything plain but what divides paths,
// percent signs and control characters.
func expressionText(path string) string {
	return unescape(path, func(c byte) bool { return c >= ' ' && c != 0x7f && strings.IndexByte(`/?#;\%`, c) < 0 })
}

// colonsAndStars spells those plain.
func colonsAndStars(s string) string {
	return unescape(s, func(c byte) bool { return c == ':' || c == '*' })
}

// unescape decodes the escapes of some bytes, once.
func unescape(s string, plain func(c byte) bool) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+3 <= len(s) {
			if c, err := url.PathUnescape(s[i : i+3]); err == nil && plain(c[0]) {
				b.WriteString(c)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// naiveHost is a host of a route. The zero naiveHost is any.
type naiveHost struct {
	name           string // without star
	port           string // "" for any
	suffix, prefix bool   // the star stands before, or behind
}

func newNaiveHost(written string) naiveHost {
	var h naiveHost
	h.name, h.port = hostAndPort(strings.ToLower(written))
	if literal, ok := strings.CutPrefix(h.name, "["); ok {
		h.name = strings.TrimSuffix(literal, "]")
		if a, err := netip.ParseAddr(h.name); err == nil {
			h.name = a.String()
		}
		return h
	}
	h.name = strings.TrimSuffix(h.name, ".")
	if h.name, h.suffix = strings.CutPrefix(h.name, "*."); !h.suffix {
		h.name, h.prefix = strings.CutSuffix(h.name, ".*")
	}
	return h
}

// rank returns numbers to compare one after the other; the smaller wins.
func (e *naiveEntry) rank() []int {
	m := &e.route.Match
	count, kinds := 0, []int{
		one(e.host != naiveHost{}), one(len(m.Headers) > 0), one(len(m.Query) > 0), one(e.kind != naiveNoPath), one(len(m.Methods) > 0),
		one(len(m.SNIs) > 0), one(m.Func != nil),
	}
	for i := range kinds {
		count += kinds[i]
		kinds[i] = -kinds[i]
	}
	star, length := e.host.suffix || e.host.prefix, 0
	if star {
		length = len(e.host.name)
	}
	priority, literals, text, segments := 0, 0, 0, 0
	switch e.kind {
	case naiveRegexp:
		priority = e.route.Priority
	case naiveParameters, naiveSubtree:
		for _, s := range strings.Split(e.path, "/")[1:] {
			segments++
			if !strings.HasPrefix(s, ":") && !strings.HasPrefix(s, "*") {
				literals++
				text += len(s)
			}
		}
	case naiveExact, naivePrefix:
		text = len(e.path)
	case naiveNoPath:
	}
	return slices.Concat(
		// More kinds of criteria, and then the kinds themselves.
		[]int{-count}, kinds,
		// A plain host before one with a star, and of these the longer; one with a port before one without.
		[]int{one(star), -length, -one(e.host.port != "")},
		// More conditions on header fields, and on the query.
		[]int{-len(m.Headers), -len(m.Query)},
		// The kind of the path, and then the longer pattern: of those with wildcards the one with more literal segments,
		// then with more text in them, then with more segments.
		[]int{int(e.kind), -priority, -literals, -text, -segments},
		// HEAD where it is listed, before where GET implies it; and only then the order written.
		[]int{-one(slices.Contains(m.Methods, http.MethodHead))}, e.written,
	)
}

func one(set bool) int {
	if set {
		return 1
	}
	return 0
}

// naiveAnswer is what a table says of a request.
type naiveAnswer struct {
	route   string // "" when none takes it
	pattern string // that it matched; "/" for a route without paths
	values  map[string]string
	allow   []string // methods with which a route would take it, when none does; sorted
}

// answer looks a request up that has passed an entry.
func (t naiveTable) answer(r *http.Request) naiveAnswer {
	q := newNaiveQuery(r)
	methods := map[string]bool{}
	for i := range t {
		e := &t[i]
		values, ok := e.matchPath(q)
		if !ok || !e.matchHost(q) || !e.matchRest(q) {
			continue
		}
		m := &e.route.Match
		if len(m.Methods) == 0 || slices.Contains(m.Methods, q.method) || q.method == http.MethodHead && slices.Contains(m.Methods, http.MethodGet) {
			a := naiveAnswer{route: e.route.Name, pattern: e.pattern, values: values}
			if e.kind == naiveNoPath {
				a.pattern = "/"
			}
			return a
		}
		for _, name := range m.Methods {
			methods[name] = true
			if name == http.MethodGet {
				methods[http.MethodHead] = true
			}
		}
	}
	var a naiveAnswer
	for name := range methods {
		a.allow = append(a.allow, name)
	}
	slices.Sort(a.allow)
	return a
}

// naiveQuery is what is asked about a request.
type naiveQuery struct {
	r                               *http.Request
	method, scheme, host, port, sni string
	path, text                      string // as patterns and as expressions see it
}

func newNaiveQuery(r *http.Request) naiveQuery {
	x := policy.ExchangeFrom(r.Context())
	q := naiveQuery{r: r, method: r.Method, scheme: x.Scheme(), path: comparedPath(x.Path()), text: expressionText(x.Path())}
	q.host, q.port = x.Host()
	if q.port == "" { // clients leave the scheme's own out
		q.port = map[string]string{"http": "80", "https": "443"}[q.scheme]
	}
	if q.method == "" {
		q.method = http.MethodGet
	}
	if r.TLS != nil {
		q.sni = strings.ToLower(r.TLS.ServerName)
	}
	return q
}

func (e *naiveEntry) matchHost(q naiveQuery) bool {
	h := e.host
	if h.port != "" && h.port != q.port {
		return false
	}
	labels, want := strings.Split(q.host, "."), strings.Split(h.name, ".")
	switch {
	case h == naiveHost{}:
		return true
	case !h.suffix && !h.prefix:
		return h.name == q.host
	case strings.Contains(q.host, ":") || len(labels) <= len(want): // no labels divide an IPv6 address; the star is one or more
		return false
	case h.suffix:
		return slices.Equal(labels[len(labels)-len(want):], want)
	default:
		return slices.Equal(labels[:len(want)], want)
	}
}

// matchPath returns the path values.
func (e *naiveEntry) matchPath(q naiveQuery) (values map[string]string, ok bool) {
	switch e.kind {
	case naiveNoPath:
		return nil, true
	case naiveExact:
		return nil, q.path == colonsAndStars(e.path)
	case naivePrefix:
		return nil, strings.HasPrefix(q.path, e.path)
	case naiveRegexp:
		return e.matchExpression(q.text)
	case naiveParameters, naiveSubtree:
	}
	values = map[string]string{}
	want, got := strings.Split(e.path, "/")[1:], strings.Split(q.path, "/")[1:]
	for i, w := range want {
		switch {
		case strings.HasPrefix(w, "*") && i == len(want)-1:
			values[w[1:]] = ""
			if i < len(got) {
				values[w[1:]] = canonical.Unescape(strings.Join(got[i:], "/"))
			}
			return values, true
		case i >= len(got):
			return nil, false
		case strings.HasPrefix(w, ":"):
			if got[i] == "" {
				return nil, false
			}
			values[w[1:]] = canonical.Unescape(got[i])
		case colonsAndStars(w) != got[i]:
			return nil, false
		}
	}
	return values, len(want) == len(got)
}

func (e *naiveEntry) matchExpression(text string) (values map[string]string, ok bool) {
	groups := e.re.FindStringSubmatch(text)
	if groups == nil {
		return nil, false
	}
	values = map[string]string{}
	for i, name := range e.re.SubexpNames() {
		if i == 0 {
			continue
		}
		values[strconv.Itoa(i)] = canonical.Unescape(groups[i])
		if name != "" {
			values[name] = canonical.Unescape(groups[i])
		}
	}
	return values, true
}

// matchRest looks at everything but host, path and method, at a predicate last.
func (e *naiveEntry) matchRest(q naiveQuery) bool {
	m := &e.route.Match
	if len(m.Schemes) > 0 && !slices.Contains(m.Schemes, q.scheme) {
		return false
	}
	if len(m.SNIs) > 0 && !slices.ContainsFunc(m.SNIs, func(written string) bool {
		name := strings.TrimSuffix(strings.ToLower(written), ".")
		suffix, star := strings.CutPrefix(name, "*")
		return name == q.sni || star && len(q.sni) > len(suffix) && strings.HasSuffix(q.sni, suffix)
	}) {
		return false
	}
	for name, values := range m.Headers {
		if !anyOf(values, q.r.Header.Values(name), true) {
			return false
		}
	}
	for name, values := range m.Query {
		if !anyOf(values, q.r.URL.Query()[name], false) {
			return false
		}
	}
	return m.Func == nil || m.Func(q.r)
}

// anyOf reports whether one of the values there is one of those asked for; any will do when none is.
func anyOf(want, there []string, fold bool) bool {
	for _, v := range there {
		if len(want) == 0 {
			return true
		}
		for _, w := range want {
			expr, isExpression := strings.CutPrefix(w, "~")
			if fold {
				expr = "(?i:" + expr + ")"
			}
			switch {
			case !isExpression && fold:
				if lower(v) == lower(w) {
					return true
				}
			case !isExpression:
				if v == w {
					return true
				}
			default:
				if re, err := regexp.Compile(expr); err == nil && re.MatchString(v) {
					return true
				}
			}
		}
	}
	return false
}

// lower spells the letters of ASCII in lower case. In header fields no other letters have a case.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
