package gatewaytest

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

// Properties draws what property tests with pgregory.net/rapid need: [Properties.Request], [Properties.Match],
// [Properties.Routes] and [Properties.Script] are generators. Its oracles check what has to hold whatever is drawn:
// [Properties.CheckLimiter], [Properties.CheckRoutes] and [Properties.CheckExchange]. They are called in a
// [rapid.Check], as often as that likes.
//
// The zero Properties is ready: it draws from small sets of its own, in which things often meet. A field that is set
// replaces one of these sets, so that what is drawn fits what is tested: its hosts, its paths, the credentials it knows.
// A value that a request or a route cannot have is left out where it cannot. What the fields hold is only read; it must not
// change while a generator of theirs is in use. Any number of tests may share a Properties.
type Properties struct {
	// Hosts are hosts, each optionally with a port. Of *.example.com and example.*, as routes have them, requests ask for
	// hosts that match.
	Hosts []string
	// Segments are segments of paths, each escaped as a path has it. Those that hold a slash or have another meaning than
	// their own in every path, such as "..", are left out.
	Segments []string
	// Methods are request methods.
	Methods []string
	// Headers and Query are the names of header fields and of parameters, each with values it may have; a request has one
	// or two of these, or the field not at all. Credentials, right and wrong ones, are a case for Headers. What only a
	// gateway may set need not be listed: requests have some of that as it is, forged.
	Headers, Query map[string][]string
	// Peers are where requests come from, as RemoteAddr has it: an address and a port. List those of trusted proxies, if
	// there are any.
	Peers []string
	// Keys are the keys that CheckLimiter counts by.
	Keys []string
}

// The sets of the zero Properties. The first value of each is the plainest, which is where rapid ends when it looks for
// the simplest example.
var (
	defaultHosts    = []string{"a.test", "b.test", "x.a.test", "a.org", "c"}
	defaultSegments = []string{"a", "b", "users", "42", "a:b", "caf%C3%A9", "b%20c", "a%2Bb", ":x"}
	defaultMethods  = []string{"GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PURGE"}
	defaultHeaders  = map[string][]string{"X-A": {"1", "2", "one"}, "X-B": {"1", "one two"}}
	defaultQuery    = map[string][]string{"p": {"1", "2", "one"}, "q q": {"1", "o n+e"}}
	defaultPeers    = []string{"192.0.2.1:1234", "198.51.100.7:4711", "[2001:db8::1]:443"}
	defaultKeys     = []string{"a", "b", ""}
)

// filled returns p with its own sets where none is given, and without what cannot be used.
func (p Properties) filled() Properties {
	p.Hosts = orElse(p.Hosts, defaultHosts)
	p.Segments = orElse(plainSegments(p.Segments), defaultSegments)
	p.Methods = orElse(slices.DeleteFunc(slices.Clone(p.Methods), func(m string) bool { return !canonical.Token(m) }), defaultMethods)
	p.Headers = orElseMap(p.Headers, defaultHeaders)
	p.Query = orElseMap(p.Query, defaultQuery)
	p.Peers = orElse(p.Peers, defaultPeers)
	p.Keys = orElse(p.Keys, defaultKeys)
	return p
}

func orElse(set, instead []string) []string {
	if len(set) == 0 {
		return instead
	}
	return set
}

func orElseMap(set, instead map[string][]string) map[string][]string {
	if len(set) == 0 {
		return instead
	}
	return set
}

// plainSegments returns the segments that are one segment in any path, each in its canonical spelling and once, however it
// is spelled.
func plainSegments(segments []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, s := range segments {
		clean, err := canonical.Literal("/"+s, canonical.PathOptions{})
		if err != nil || len(clean) < 2 || strings.Count(clean, "/") > 1 || seen[comparedPath(clean)] {
			continue
		}
		seen[comparedPath(clean)] = true
		out = append(out, clean[1:])
	}
	return out
}

// sample draws one of the values.
func sample[T any](t *rapid.T, label string, values ...T) T {
	return rapid.SampledFrom(values).Draw(t, label)
}

// oneIn draws true once in n times or so.
func oneIn(t *rapid.T, n int, label string) bool { return rapid.IntRange(0, n-1).Draw(t, label) == n-1 }

// some draws one or two of the values, none half of the time.
func some(t *rapid.T, label string, values []string) []string {
	values = distinct(values)
	if len(values) == 0 || rapid.Bool().Draw(t, label+" any") {
		return nil
	}
	return rapid.SliceOfNDistinct(rapid.SampledFrom(values), 1, min(2, len(values)), rapid.ID).Draw(t, label)
}

// distinct returns the values without repetitions, in their order.
func distinct(values []string) []string {
	var out []string
	for _, v := range values {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// names returns the keys of a set, in an order that is always the same: what is drawn hangs on it.
func names(set map[string][]string) []string { return slices.Sorted(maps.Keys(set)) }

// hostAndPort cuts the port off a host as it is written; an IPv6 address keeps its brackets.
func hostAndPort(host string) (name, port string) {
	i := strings.LastIndexByte(host, ':')
	if i < strings.LastIndexByte(host, ']') || i < 0 {
		return host, ""
	}
	return host[:i], host[i+1:]
}

// methodsOfRoutes returns the methods that a route may list.
func (p Properties) methodsOfRoutes() []string {
	return slices.DeleteFunc(slices.Clone(p.Methods), func(m string) bool {
		upper := strings.ToUpper(m)
		return m == http.MethodTrace || m == http.MethodConnect || m != upper && slices.Contains(defaultMethods, upper)
	})
}

// firstOf returns the first value of a set's name, or instead.
func firstOf(values []string, instead string) string {
	if len(values) == 0 {
		return instead
	}
	return cmp.Or(values[0], instead)
}
