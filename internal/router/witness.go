package router

import (
	"net/http"
	"net/url"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

// A Witness is a request that proves what a [Finding] says.
type Witness struct {
	Method, Scheme string
	Host, Port     string // Port is empty for the scheme's own
	SNI            string
	Path           string // canonical
	Query          string
	Header         http.Header
}

// something stands where any value will do. No pattern that is not meant to should match it.
const something = "anything"

// TLS tells whether the request comes over a connection with TLS.
func (w *Witness) TLS() bool { return w.SNI != "" || w.Scheme == "https" }

// Request returns the request as lookups take it.
func (w *Witness) Request() *Request {
	q := &Request{
		Method: w.Method, Scheme: w.Scheme, Host: w.Host, Port: w.Port, SNI: w.SNI, TLS: w.TLS(), Path: w.Path,
		HTTP: &http.Request{Method: w.Method, Header: w.Header, URL: &url.URL{Path: w.Path, RawQuery: w.Query}},
	}
	if q.Port == "" {
		q.Port = "80"
		if q.Scheme == "https" {
			q.Port = "443"
		}
	}
	return q
}

// A demand is what a witness has to satisfy: one entry, or two that may both match one request.
type demand struct {
	hosts    [2]host
	areas    [2]*area
	criteria [2]*criteria
	samples  [2]*samples
	cost     int // of what was tried, see verifier.spend
}

// samples are the values to try for the conditions of criteria, one list for each: plain values, and a text for each
// expression, which is made up once.
type samples struct {
	headers, query [][]string
	weight         int // how many values there are in all conditions
}

func newSamples(c *criteria) *samples {
	s := &samples{weight: len(c.snis) + len(c.data.methods)}
	for _, x := range []struct {
		to   *[][]string
		from []Condition
	}{{&s.headers, c.data.headers}, {&s.query, c.data.query}} {
		for _, condition := range x.from {
			*x.to = append(*x.to, sampleValues(condition.Values))
			s.weight += len(condition.Values)
		}
	}
	return s
}

func sampleValues(values []string) []string {
	out := make([]string, 0, len(values))
	for _, v := range values {
		if expr, ok := strings.CutPrefix(v, "~"); ok {
			tree, err := syntax.Parse(expr, syntax.Perl)
			if err != nil {
				continue
			}
			v = sampleText(tree)
		}
		out = append(out, v)
	}
	return out
}

// witness returns a request that satisfies both sides, as far as one can be made up; predicates are not asked.
func (d *demand) witness() (w Witness, ok bool) {
	if w.SNI, ok = d.sni(); !ok {
		return w, false
	}
	if w.Method, w.Scheme, ok = d.methodAndScheme(w.SNI != ""); !ok {
		return w, false
	}
	if w.Host, w.Port, ok = mergeHosts(d.hosts[0], d.hosts[1]); !ok {
		return w, false
	}
	if w.Path, ok = d.path(); !ok {
		return w, false
	}
	a, b := d.criteria[0], d.criteria[1]
	headers, ok := d.values(a.headers, b.headers, d.samples[0].headers, d.samples[1].headers, takesHeader)
	if !ok {
		return w, false
	}
	query, ok := d.values(a.query, b.query, d.samples[0].query, d.samples[1].query, takesQuery)
	if !ok {
		return w, false
	}
	w.Header = make(http.Header, len(headers))
	for _, h := range headers {
		w.Header[h.name] = []string{h.value}
	}
	if len(query) > 0 {
		params := make(url.Values, len(query))
		for _, q := range query {
			params.Set(q.name, q.value)
		}
		w.Query = params.Encode()
	}
	return w, true
}

func (d *demand) methodAndScheme(tls bool) (method, scheme string, ok bool) {
	a, b := d.criteria[0], d.criteria[1]
	switch both := schemes(a) & schemes(b); {
	case tls && both&schemeHTTPS == 0:
		return "", "", false // a server name comes with TLS
	case !tls && both&schemeHTTP != 0:
		scheme = "http"
	case both != 0:
		scheme = "https"
	default:
		return "", "", false
	}
	candidates := slices.Concat(a.data.methods, b.data.methods)
	if len(candidates) == 0 {
		return http.MethodGet, scheme, true
	}
	for _, m := range candidates {
		if a.allows(m) && b.allows(m) {
			return m, scheme, true
		}
	}
	return "", "", false
}

func schemes(c *criteria) uint8 {
	if c.schemes == 0 {
		return schemeHTTP | schemeHTTPS
	}
	return c.schemes
}

func (c *criteria) allows(method string) bool {
	return !c.methods.set() || c.methods.has(methodBit(method), method)
}

func mergeHosts(a, b host) (name, port string, ok bool) {
	if a.kind == hostAny {
		a, b = b, a
	}
	port = a.port
	if port == "" {
		port = b.port
	}
	if a.port != "" && b.port != "" && a.port != b.port {
		return "", "", false
	}
	switch {
	case a.kind == hostSuffix && b.kind == hostPrefix:
		name = b.name + "." + a.name
	case a.kind == hostPrefix && b.kind == hostSuffix:
		name = a.name + "." + b.name
	case len(b.name) > len(a.name):
		name = sampleHost(b)
	default:
		name = sampleHost(a)
	}
	plain := host{kind: hostExact, name: name, port: port}
	return name, port, a.covers(plain) && b.covers(plain)
}

func sampleHost(h host) string {
	switch h.kind {
	case hostExact:
		return h.name
	case hostSuffix:
		return something + "." + h.name
	case hostPrefix:
		return h.name + "." + something
	case hostAny:
	}
	return something + ".invalid"
}

// path returns a canonical path of both areas.
func (d *demand) path() (string, bool) {
	a, b := d.areas[0], d.areas[1]
	if path, ok := a.sample(); ok && (a == b || d.takesPath(b, path)) {
		return path, true
	}
	if path, ok := b.sample(); ok && a != b && d.takesPath(a, path) {
		return path, true
	}
	if a.segments == nil || b.segments == nil {
		return "", false
	}
	// Neither one's sample has the other's literals.
	long, short := a, b
	if len(short.segments) > len(long.segments) {
		long, short = short, long
	}
	segments := slices.Clone(long.segments)
	for i := range segments {
		if long.parameter(i) {
			segments[i] = something
			if i < len(short.segments) && !short.parameter(i) {
				segments[i] = short.segments[i]
			}
		}
	}
	path := "/" + strings.Join(segments, "/")
	return path, d.takesPath(a, path) && d.takesPath(b, path)
}

func (d *demand) takesPath(a *area, path string) bool {
	if d.cost += costPath; a.kind == Regexp {
		d.cost += costExpression + len(path)
	}
	return a.matches(path)
}

// sample returns a canonical path of the area. It is made up once.
func (a *area) sample() (path string, ok bool) {
	if !a.sampled {
		a.sampled = true
		a.example, a.hasExample = a.makeUp()
	}
	return a.example, a.hasExample
}

func (a *area) makeUp() (string, bool) {
	path := ""
	switch a.kind {
	case NoPath:
		return "/" + something, true
	case Prefix:
		path = a.text + something
	case Regexp:
		tree, err := syntax.Parse(a.expr, syntax.Perl)
		if err != nil {
			return "", false
		}
		path = sampleText(tree)
		if !strings.HasPrefix(path, "/") {
			path = "/" + path
		}
	case Exact, Parameters, Subtree:
		segments := slices.Clone(a.segments)
		for i := range segments {
			if a.parameter(i) {
				segments[i] = something
			}
		}
		if a.kind == Subtree {
			segments = append(segments, something)
		}
		path = "/" + strings.Join(segments, "/")
	}
	path, err := canonical.Literal(path, canonical.PathOptions{AllowEncodedSlash: true})
	return path, err == nil && a.matches(path)
}

// matches tells whether a canonical path is one of the area.
func (a *area) matches(path string) bool {
	if a.kind == Regexp {
		return a.path.re.MatchString(canonical.DecodedKey(path))
	}
	return a.covers(&area{kind: Exact, segments: strings.Split(canonical.MatchKey(path)[1:], "/")})
}

// sni returns a server name that satisfies both sides.
func (d *demand) sni() (string, bool) {
	a, b := d.criteria[0].snis, d.criteria[1].snis
	x, y := d.criteria[0], d.criteria[1]
	if a == nil && b == nil || x.sniOfTLS && schemes(x)&schemes(y)&schemeHTTP != 0 {
		return "", true
	}
	for _, p := range slices.Concat(a, b) {
		d.cost += (len(a) + len(b)) / 8
		switch {
		case p[0] == '.':
			p = something + p
		case p[len(p)-1] == '.':
			p += something
		}
		if (a == nil || matchSNI(a, p)) && (b == nil || matchSNI(b, p)) {
			return p, true
		}
	}
	return "", false
}

// A setting is the value of a header field or a parameter.
type setting struct{ name, value string }

// values returns one value for each name that either side has a condition on.
func (d *demand) values(a, b []matcher, samplesA, samplesB [][]string, takes func(m *matcher, v string) bool) ([]setting, bool) {
	var out []setting
	add := func(x, y *matcher, wanted ...[]string) bool {
		if y != nil && x.listed() && y.listed() {
			wanted = [][]string{common(wanted[0], wanted[1])}
		}
		for _, list := range append(wanted, []string{something}) {
			for _, v := range list {
				d.cost += x.cost()
				if !takes(x, v) {
					continue
				}
				if y != nil {
					if d.cost += y.cost(); !takes(y, v) {
						continue
					}
				}
				out = append(out, setting{x.name, v})
				return true
			}
		}
		return false
	}
	same := len(a) > 0 && len(b) > 0 && &a[0] == &b[0] // those of one entry, or shared
	for i := range a {
		j := -1
		if !same {
			j = slices.IndexFunc(b, func(o matcher) bool { return o.name == a[i].name })
		}
		if j < 0 && !add(&a[i], nil, samplesA[i]) || j >= 0 && !add(&a[i], &b[j], samplesA[i], samplesB[j]) {
			return nil, false
		}
	}
	for j := range b {
		if !same && !slices.ContainsFunc(a, func(o matcher) bool { return o.name == b[j].name }) && !add(&b[j], nil, samplesB[j]) {
			return nil, false
		}
	}
	return out, true
}

// common returns what two sorted lists of values have in common.
func common(a, b []string) (both []string) {
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case a[i] == b[j]:
			both = append(both, a[i])
			i++
			j++
		case a[i] < b[j]:
			i++
		default:
			j++
		}
	}
	return both
}

// cost is that of comparing one value.
func (m *matcher) cost() int { return costValue + len(m.plain)/8 + costExpression*len(m.regexp) }

func takesHeader(m *matcher, v string) bool {
	return canonical.ExactFieldValue(v) && (m.any || m.matchField(v))
}

func takesQuery(m *matcher, v string) bool { return m.matchValue(url.QueryEscape(v)) }

// sampleText returns a text that an expression is likely to match. Whether it does has to be tried.
func sampleText(re *syntax.Regexp) string {
	switch re.Op {
	case syntax.OpLiteral:
		return string(re.Rune)
	case syntax.OpCharClass:
		return string(sampleRune(re.Rune))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return "a"
	case syntax.OpCapture, syntax.OpPlus, syntax.OpAlternate:
		return sampleText(re.Sub[0])
	case syntax.OpRepeat:
		const most = 64 // what is asked for more often than that is not made up
		return strings.Repeat(sampleText(re.Sub[0]), min(re.Min, most))
	case syntax.OpConcat:
		var b strings.Builder
		for _, sub := range re.Sub {
			b.WriteString(sampleText(sub))
		}
		return b.String()
	default: // what matches the empty text, or nothing at all
		return ""
	}
}

// sampleRune returns a character of a class, a letter or digit where there is one.
func sampleRune(class []rune) rune {
	for _, r := range "a0A-_" {
		for i := 0; i+1 < len(class); i += 2 {
			if class[i] <= r && r <= class[i+1] {
				return r
			}
		}
	}
	for i := 0; i+1 < len(class); i += 2 {
		for r := class[i]; r <= class[i+1] && r < unicode.MaxASCII; r++ {
			if r > ' ' {
				return r
			}
		}
	}
	if len(class) == 0 {
		return 'a'
	}
	return class[0]
}
