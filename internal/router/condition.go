package router

import (
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A Condition is what a route asks of one header or of one query parameter.
type Condition struct {
	// Name is the name, canonical for headers.
	Name string
	// Values are the values any of which satisfies the condition, sorted. One that begins with ~ is a regular
	// expression. None means that the name has to be there.
	Values []string
}

// criteria are the conditions of a route beside host and path. They are shared by all entries of the route, and by
// all routes that have the same, unless there is a predicate.
type criteria struct {
	methods methodSet
	schemes uint8    // schemeHTTP and schemeHTTPS; 0 is both
	snis    []string // exact names, or ".example.com" and "example." for wildcards
	headers []matcher
	query   []matcher
	fn      func(*http.Request) bool

	sniOfTLS bool // see Options.IgnoreSNIsWithoutTLS

	data     conditions
	identity string // equal for equal criteria
	detail   detail // of all entries that have no more than these
}

// conditions are the criteria as data, for listings.
type conditions struct {
	methods, schemes, snis []string
	headers, query         []Condition
}

const (
	schemeHTTP = 1 << iota
	schemeHTTPS
)

// empty tells whether every request satisfies the criteria.
func (c *criteria) empty() bool {
	return !c.methods.set() && c.schemes == 0 && c.snis == nil && c.headers == nil && c.query == nil && c.fn == nil
}

// kinds returns which kinds of criteria there are, as bits of kindHost and so on.
func (c *criteria) kinds() kindSet {
	var k kindSet
	if len(c.headers) > 0 {
		k |= kindHeaders
	}
	if len(c.query) > 0 {
		k |= kindQuery
	}
	if c.methods.set() {
		k |= kindMethod
	}
	if len(c.snis) > 0 {
		k |= kindSNI
	}
	if c.fn != nil {
		k |= kindPredicate
	}
	return k
}

// match tells whether everything but method and predicate holds. The order is that of cost.
func (c *criteria) match(q *Request) bool {
	if c.schemes != 0 && c.schemes&schemeBit(q.Scheme) == 0 {
		return false
	}
	if !c.matchSNI(q) {
		return false
	}
	if c.headers == nil && c.query == nil {
		return true
	}
	if q.HTTP == nil {
		return false
	}
	for i := range c.headers {
		if !c.headers[i].matchHeader(q.HTTP.Header) {
			return false
		}
	}
	if c.query == nil {
		return true
	}
	if q.HTTP.URL == nil {
		return false
	}
	for i := range c.query {
		if !c.query[i].matchQuery(q.HTTP.URL.RawQuery) {
			return false
		}
	}
	return true
}

func schemeBit(scheme string) uint8 {
	switch scheme {
	case "http":
		return schemeHTTP
	case "https":
		return schemeHTTPS
	default:
		return 0
	}
}

// matchSNI tells whether the condition on the server name holds.
func (c *criteria) matchSNI(q *Request) bool {
	return c.snis == nil || c.sniOfTLS && !q.TLS || matchSNI(c.snis, q.SNI)
}

// matchSNI compares a server name. The star of a wildcard is one or more labels, as in hosts.
func matchSNI(patterns []string, name string) bool {
	for _, p := range patterns {
		matched := p == name
		switch {
		case p[0] == '.':
			matched = len(name) > len(p) && strings.HasSuffix(name, p)
		case p[len(p)-1] == '.':
			matched = len(name) > len(p) && strings.HasPrefix(name, p)
		}
		if matched {
			return true
		}
	}
	return false
}

// A methodSet is a set of methods: bits for the standard ones, names for others. The empty set means all.
type methodSet struct {
	bits  uint16 // as written, and HEAD where GET is
	other []string
}

func (s methodSet) set() bool { return s.bits != 0 || s.other != nil }

func (s methodSet) has(bit uint16, method string) bool {
	if bit != 0 {
		return s.bits&bit != 0
	}
	return slices.Contains(s.other, method)
}

// methodBit returns the bit of a standard method, 0 for others.
func methodBit(method string) uint16 {
	switch method {
	case http.MethodGet:
		return 1 << 0
	case http.MethodHead:
		return 1 << 1
	case http.MethodPost:
		return 1 << 2
	case http.MethodPut:
		return 1 << 3
	case http.MethodPatch:
		return 1 << 4
	case http.MethodDelete:
		return 1 << 5
	case http.MethodConnect:
		return 1 << 6
	case http.MethodOptions:
		return 1 << 7
	case http.MethodTrace:
		return 1 << 8
	default:
		return 0
	}
}

// A matcher is a compiled Condition.
type matcher struct {
	name   string
	plain  []string
	regexp []*regexp.Regexp
	any    bool // the name only has to be there
}

// matchHeader reads the header map directly: names in it are canonical, and so is ours.
func (m *matcher) matchHeader(h http.Header) bool {
	values, ok := h[m.name]
	if m.any || !ok {
		return ok
	}
	return slices.ContainsFunc(values, m.matchField)
}

// matchField compares one value of a header field.
func (m *matcher) matchField(v string) bool {
	for _, p := range m.plain {
		if equalFold(v, p) {
			return true
		}
	}
	for _, re := range m.regexp {
		if re.MatchString(v) {
			return true
		}
	}
	return false
}

// matchQuery reads the raw query as url.ParseQuery does: pairs with a semicolon or a broken escape are not there. It
// allocates only to compare an escaped value with a regular expression.
func (m *matcher) matchQuery(query string) bool {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if pair == "" || strings.IndexByte(pair, ';') >= 0 {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		if equalDecoded(key, m.name) && m.matchValue(value) {
			return true
		}
	}
	return false
}

// matchValue compares one escaped value of the query.
func (m *matcher) matchValue(value string) bool {
	if m.any {
		return validEscapes(value)
	}
	for _, p := range m.plain {
		if equalDecoded(value, p) {
			return true
		}
	}
	if m.regexp == nil {
		return false
	}
	if strings.ContainsAny(value, "%+") {
		decoded, err := url.QueryUnescape(value)
		if err != nil {
			return false
		}
		value = decoded
	}
	for _, re := range m.regexp {
		if re.MatchString(value) {
			return true
		}
	}
	return false
}

// equalFold compares without regard to the case of ASCII letters. strings.EqualFold would also take the Kelvin sign
// for a k.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// equalDecoded tells whether a query-escaped string is well-formed and decodes to want.
func equalDecoded(escaped, want string) bool {
	n := 0
	for i := 0; i < len(escaped); i++ {
		c := escaped[i]
		switch c {
		case '+':
			c = ' '
		case '%':
			hi, lo, ok := escapeAt(escaped, i)
			if !ok {
				return false
			}
			c = hi<<4 | lo
			i += 2
		}
		if n >= len(want) || want[n] != c {
			return false
		}
		n++
	}
	return n == len(want)
}

// validEscapes tells whether every percent sign begins an escape.
func validEscapes(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			continue
		}
		if _, _, ok := escapeAt(s, i); !ok {
			return false
		}
		i += 2
	}
	return true
}

func escapeAt(s string, i int) (hi, lo byte, ok bool) {
	if i+2 >= len(s) {
		return 0, 0, false
	}
	hi, ok1 := unhex(s[i+1])
	lo, ok2 := unhex(s[i+2])
	return hi, lo, ok1 && ok2
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	default:
		return 0, false
	}
}

// parseCriteria reads everything of a route but hosts and paths. report is called for each problem.
func parseCriteria(r *Route, o Options, report func(field, value string, f *fault)) *criteria {
	c := &criteria{fn: r.Func, sniOfTLS: o.IgnoreSNIsWithoutTLS}
	c.detail.criteria = c
	c.parseMethods(r.Methods, report)
	c.parseSchemes(r.Schemes, report)
	c.parseSNIs(r.SNIs, report)
	c.headers, c.data.headers = parseConditions("Headers", r.Headers, true, report)
	c.query, c.data.query = parseConditions("Query", r.Query, false, report)
	if c.empty() {
		return c
	}
	var id strings.Builder
	part := func(kind byte, values ...string) {
		id.WriteByte(kind)
		for _, v := range values {
			id.WriteString(strconv.Itoa(len(v)))
			id.WriteByte(':')
			id.WriteString(v)
		}
	}
	part('m', c.data.methods...)
	part('s', c.data.schemes...)
	part('n', c.data.snis...)
	for _, h := range c.data.headers {
		part('h', h.Name)
		part('v', h.Values...)
	}
	for _, q := range c.data.query {
		part('q', q.Name)
		part('v', q.Values...)
	}
	c.identity = id.String()
	return c
}

func (c *criteria) parseMethods(methods []string, report func(field, value string, f *fault)) {
	for i, m := range methods {
		upper := strings.ToUpper(m)
		switch {
		case !isToken(m):
			report(indexed("Methods", i), m, &fault{"is not a method", "use a token such as GET"})
		case upper != m && methodBit(upper) != 0:
			report(indexed("Methods", i), m, &fault{"is not the method " + upper + ": methods are case-sensitive", "write " + upper})
		case m == http.MethodTrace || m == http.MethodConnect:
			report(indexed("Methods", i), m, &fault{"is refused before requests are matched, whatever the routes say", "leave it out"})
		case methodBit(m) == 0:
			c.methods.other = append(c.methods.other, m)
		default:
			c.methods.bits |= methodBit(m)
		}
	}
	c.data.methods = sorted(methods)
	if get := methodBit(http.MethodGet); c.methods.bits&get != 0 {
		c.methods.bits |= methodBit(http.MethodHead)
	}
}

func (c *criteria) parseSchemes(schemes []string, report func(field, value string, f *fault)) {
	for i, s := range schemes {
		bit := schemeBit(s)
		if bit == 0 {
			report(indexed("Schemes", i), s, &fault{"is not a scheme of this gateway", `use "http" or "https"`})
		}
		c.schemes |= bit
	}
	if c.schemes == schemeHTTP|schemeHTTPS {
		c.schemes = 0 // no restriction
		return
	}
	c.data.schemes = sorted(schemes)
}

func (c *criteria) parseSNIs(snis []string, report func(field, value string, f *fault)) {
	clean := make([]string, 0, len(snis))
	for i, s := range snis {
		h, f := parseHost(s)
		switch {
		case f != nil:
			report(indexed("SNIs", i), s, &fault{f.reason,
				"write a server name such as example.com or *.example.com, international names in their ASCII form (xn--...), or leave SNIs empty to match every one"})
			continue
		case isAddress(h.name):
			report(indexed("SNIs", i), s, &fault{"is an address, which no client sends as a server name (RFC 6066 section 3)",
				"write a name, or put the address into Hosts"})
			continue
		case h.port != "":
			report(indexed("SNIs", i), s, &fault{"has a port", "write the server name only"})
			continue
		case h.kind == hostPrefix:
			c.snis = append(c.snis, h.name+".")
		case h.kind == hostSuffix:
			c.snis = append(c.snis, "."+h.name)
		default:
			c.snis = append(c.snis, h.name)
		}
		clean = append(clean, h.String())
	}
	c.data.snis = sorted(clean)
}

func isAddress(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil
}

// parseConditions compiles the conditions on headers or on the query, in the order of their names.
func parseConditions(field string, conditions map[string][]string, header bool, report func(field, value string, f *fault)) ([]matcher, []Condition) {
	if len(conditions) == 0 {
		return nil, nil
	}
	matchers := make([]matcher, 0, len(conditions))
	data := make([]Condition, 0, len(conditions))
	seen := map[string]string{}
	for _, written := range sortedKeys(conditions) {
		values := conditions[written]
		name := written
		if header {
			name = textproto.CanonicalMIMEHeaderKey(written)
		}
		if f := checkConditionName(written, name, header, seen); f != nil {
			report(field, written, f)
			continue
		}
		seen[name] = written
		m := matcher{name: name, any: len(values) == 0}
		for i, v := range values {
			if f := m.add(v, header); f != nil {
				report(indexed(field+"["+strconv.Quote(written)+"]", i), v, f)
			}
		}
		if header { // plain values compare without case, so spell equal ones equally
			values = slices.Clone(values)
			for i, v := range values {
				if !strings.HasPrefix(v, "~") {
					values[i] = strings.Map(func(r rune) rune {
						if 'A' <= r && r <= 'Z' {
							return r + 'a' - 'A'
						}
						return r
					}, v)
				}
			}
		}
		matchers = append(matchers, m)
		data = append(data, Condition{Name: name, Values: sorted(values)})
	}
	return matchers, data
}

func checkConditionName(written, name string, header bool, seen map[string]string) *fault {
	other, twice := seen[name]
	switch {
	case header && !isToken(written):
		return &fault{"is not a header name", "use letters, digits and hyphens, as in X-Version"}
	case header && name == "Host":
		return &fault{"cannot be matched as a header", "use Hosts"}
	case !header && written == "":
		return &fault{"is not a parameter's name", "name the parameter of the query"}
	case twice:
		return &fault{"is the same header as " + strconv.Quote(other), "list the values of both under one name"}
	default:
		return nil
	}
}

// add compiles one value.
func (m *matcher) add(value string, header bool) *fault {
	expr, isRegexp := strings.CutPrefix(value, "~")
	if !isRegexp {
		if header && strings.Trim(value, " \t") != value {
			return &fault{"begins or ends with white space, which no header value has", "remove it"}
		}
		m.plain = append(m.plain, value)
		return nil
	}
	if expr == "" {
		return &fault{"is an empty regular expression", "leave the list of values empty to ask only that the name is there"}
	}
	// Compiled alone first, for the reason given in parseRegexp.
	re, err := regexp.Compile(expr)
	if err == nil && header {
		re, err = regexp.Compile("(?i:" + expr + ")")
	}
	if err != nil {
		return &fault{"is not a regular expression: " + err.Error(), "use RE2 syntax after the ~, as package regexp"}
	}
	m.regexp = append(m.regexp, re)
	return nil
}

// isToken tells whether a string is a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := lower(s[i])
		if ('a' > c || c > 'z') && ('0' > c || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

func indexed(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

// sorted returns the distinct values in order, in a slice of their own; nil for none.
func sorted(values []string) []string {
	if len(values) == 0 {
		return nil
	}
	values = slices.Clone(values)
	slices.Sort(values)
	return slices.Compact(values)
}

func sortedKeys(m map[string][]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
