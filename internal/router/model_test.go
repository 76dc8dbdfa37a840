package router_test

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/gatehouse-go/gateway/internal/router"
)

// This file reads the rules once more, from their description alone, and tries every host and path of every route in
// turn. It is slow, allocates freely and understands every kind of criterion but IPv6 hosts. The index must agree with
// it in all it answers.

// A modelKind is the kind of a path, the one that wins first.
type modelKind int

const (
	modelExact modelKind = iota
	modelRegexp
	modelParameters
	modelSubtree
	modelPrefix
	modelNone
)

// modelEntry is one host and one path of a route.
type modelEntry struct {
	r       router.Route
	route   int
	host    string
	kind    modelKind
	pattern string
	written []int // route, host, path

	sniOfTLS bool
}

// modelTable lists the entries, the one that wins first: the first that matches is the answer.
func modelTable(routes []router.Route, o router.Options) []modelEntry {
	var entries []modelEntry
	for i, r := range routes {
		hosts := r.Hosts
		if len(hosts) == 0 {
			hosts = []string{""}
		}
		for j, h := range hosts {
			k := 0
			add := func(kind modelKind, pattern string) {
				entries = append(entries, modelEntry{r, i, strings.ToLower(h), kind, pattern, []int{i, j, k}, o.IgnoreSNIsWithoutTLS})
				k++
			}
			for _, p := range r.Paths {
				switch {
				case strings.Contains(p, "/*"):
					add(modelSubtree, p)
				case strings.Contains(p, "/:"):
					add(modelParameters, p)
				default:
					add(modelExact, p)
				}
			}
			for _, p := range r.Prefixes {
				add(modelPrefix, p)
			}
			for _, p := range r.Regexps {
				add(modelRegexp, p)
			}
			if k == 0 {
				add(modelNone, "")
			}
		}
	}
	slices.SortFunc(entries, func(a, b modelEntry) int { return slices.Compare(a.rank(), b.rank()) })
	return entries
}

// rank returns numbers to compare one after the other, the smaller wins.
func (e modelEntry) rank() []int {
	kinds := []bool{
		e.host != "", len(e.r.Headers) > 0, len(e.r.Query) > 0, e.kind != modelNone,
		len(e.r.Methods) > 0, len(e.r.SNIs) > 0, e.r.Func != nil,
	}
	count := 0
	order := make([]int, len(kinds))
	for i, set := range kinds {
		if set {
			count--
			order[i] = -1
		}
	}
	rank := append([]int{count}, order...)

	name, port, _ := strings.Cut(e.host, ":")
	wild, length := 0, 0
	if strings.Contains(name, "*") {
		wild, length = 1, -len(name)
	}
	rank = append(rank, wild, length, unless(port != ""))
	rank = append(rank, -len(e.r.Headers), -len(e.r.Query), int(e.kind))

	priority, literals, text, segments := 0, 0, 0, 0
	switch e.kind {
	case modelRegexp:
		priority = -e.r.Priority
	case modelExact, modelPrefix:
		text = -len(e.pattern)
	case modelParameters, modelSubtree:
		for _, s := range strings.Split(e.pattern, "/")[1:] {
			segments--
			if !strings.HasPrefix(s, ":") && !strings.HasPrefix(s, "*") {
				literals--
				text -= len(s)
			}
		}
	case modelNone:
	}
	rank = append(rank, priority, literals, text, segments, unless(slices.Contains(e.r.Methods, http.MethodHead)))
	return append(rank, e.written...)
}

func unless(first bool) int {
	if first {
		return 0
	}
	return 1
}

func modelLookup(entries []modelEntry, q *router.Request) answer {
	methods := map[string]bool{}
	for _, e := range entries {
		matched, params, ok := e.matchPath(q.Path)
		if !ok || !e.matchHost(q) || !e.matchRest(q) {
			continue
		}
		if e.allows(q.Method) {
			return answer{outcome: router.Found, route: e.route, pattern: e.pattern, matched: matched, params: params}
		}
		for _, m := range e.r.Methods {
			methods[m] = true
			if m == http.MethodGet {
				methods[http.MethodHead] = true
			}
		}
	}
	if len(methods) == 0 {
		return answer{outcome: router.NotFound, route: -1}
	}
	a := answer{outcome: router.MethodNotAllowed, route: -1}
	for m := range methods {
		a.allow = append(a.allow, m)
	}
	slices.Sort(a.allow)
	return a
}

func (e modelEntry) allows(method string) bool {
	return len(e.r.Methods) == 0 || slices.Contains(e.r.Methods, method) ||
		method == http.MethodHead && slices.Contains(e.r.Methods, http.MethodGet)
}

func (e modelEntry) matchHost(q *router.Request) bool {
	name, port, _ := strings.Cut(e.host, ":")
	if port != "" && port != q.Port {
		return false
	}
	labels := strings.Split(q.Host, ".")
	switch {
	case e.host == "":
		return true
	case strings.HasPrefix(name, "*."):
		want := strings.Split(name[2:], ".")
		return len(labels) > len(want) && slices.Equal(labels[len(labels)-len(want):], want)
	case strings.HasSuffix(name, ".*"):
		want := strings.Split(name[:len(name)-2], ".")
		return len(labels) > len(want) && slices.Equal(labels[:len(want)], want)
	default:
		return name == q.Host
	}
}

// colons reads both spellings of colons and stars as one.
func colons(s string) string {
	return strings.NewReplacer("%3A", ":", "%2A", "*").Replace(s)
}

func (e modelEntry) matchPath(path string) (matched int, params []string, ok bool) {
	if e.kind == modelNone {
		return 0, nil, true
	}
	if !strings.HasPrefix(path, "/") {
		return 0, nil, false
	}
	switch e.kind {
	case modelExact:
		return len(path), nil, colons(path) == colons(e.pattern)
	case modelPrefix:
		return len(e.pattern), nil, strings.HasPrefix(path, e.pattern)
	case modelRegexp:
		return e.matchRegexp(path)
	case modelParameters, modelSubtree, modelNone:
	}
	want, got := strings.Split(e.pattern, "/")[1:], strings.Split(path, "/")[1:]
	for i, w := range want {
		switch {
		case strings.HasPrefix(w, "*"):
			rest := ""
			if i < len(got) {
				rest = strings.Join(got[i:], "/")
			}
			return matched, append(params, w[1:]+"="+unescaped(rest)), true
		case i >= len(got):
			return 0, nil, false
		case strings.HasPrefix(w, ":"):
			if got[i] == "" {
				return 0, nil, false
			}
			params = append(params, w[1:]+"="+unescaped(got[i]))
		case colons(w) != colons(got[i]):
			return 0, nil, false
		}
		matched += 1 + len(got[i])
	}
	return len(path), params, len(want) == len(got)
}

func (e modelEntry) matchRegexp(path string) (matched int, params []string, ok bool) {
	re := regexp.MustCompile("^(?:" + e.pattern + ")")
	decoded, ends := readable(path)
	groups := re.FindStringSubmatch(decoded)
	if groups == nil {
		return 0, nil, false
	}
	for i, name := range re.SubexpNames() {
		if i == 0 {
			continue
		}
		params = append(params, string(rune('0'+i))+"="+unescaped(groups[i]))
		if name != "" {
			params = append(params, name+"="+unescaped(groups[i]))
		}
	}
	return ends[len(groups[0])], params, true
}

// readable decodes what does not divide a path, and says where in path each byte of the outcome begins.
func readable(path string) (decoded string, begins []int) {
	for i := 0; i < len(path); {
		begins = append(begins, i)
		if path[i] == '%' && i+2 < len(path) {
			if c, err := url.PathUnescape(path[i : i+3]); err == nil && c[0] >= ' ' && c[0] != 0x7f && !strings.ContainsAny(c, `/?#;\%`) {
				decoded += c
				i += 3
				continue
			}
		}
		decoded += path[i : i+1]
		i++
	}
	return decoded, append(begins, len(path))
}

// unescaped decodes; what is no escape stays.
func unescaped(s string) string {
	out, err := url.PathUnescape(s)
	if err != nil {
		return s
	}
	return out
}

func (e modelEntry) matchRest(q *router.Request) bool {
	if len(e.r.Schemes) > 0 && !slices.Contains(e.r.Schemes, q.Scheme) {
		return false
	}
	sni := len(e.r.SNIs) == 0 || e.sniOfTLS && !q.TLS
	for _, s := range e.r.SNIs {
		suffix, wild := strings.CutPrefix(s, "*")
		sni = sni || s == q.SNI || wild && strings.HasSuffix(q.SNI, suffix) && len(q.SNI) > len(suffix)
		prefix, wild := strings.CutSuffix(s, "*")
		sni = sni || wild && strings.HasPrefix(q.SNI, prefix) && len(q.SNI) > len(prefix)
	}
	if !sni {
		return false
	}
	for name, values := range e.r.Headers {
		if !anyValue(values, q.HTTP.Header.Values(name), "(?i)") {
			return false
		}
	}
	for name, values := range e.r.Query {
		if !anyValue(values, q.HTTP.URL.Query()[name], "") {
			return false
		}
	}
	return e.r.Func == nil || e.r.Func(q.HTTP)
}

// anyValue tells whether any of the values there is any of those asked for. flags are of regular expressions, which
// plain values are made into.
func anyValue(want, there []string, flags string) bool {
	for _, v := range there {
		if len(want) == 0 {
			return true
		}
		for _, w := range want {
			expr, isRegexp := strings.CutPrefix(w, "~")
			if !isRegexp {
				expr = "^" + regexp.QuoteMeta(w) + "$"
			}
			if regexp.MustCompile(flags + expr).MatchString(v) {
				return true
			}
		}
	}
	return false
}
