package router

import (
	"errors"
	"strings"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

// A hostKind is the kind of a host pattern.
type hostKind uint8

const (
	hostExact  hostKind = iota // example.com
	hostSuffix                 // *.example.com
	hostPrefix                 // example.*
	hostAny                    // no condition
)

// A host is a parsed host pattern. It is comparable, and equal for patterns that match the same requests.
type host struct {
	kind hostKind
	name string // without the star and the dot next to it
	port string // empty for any
}

// String returns the pattern in its canonical form, empty for the one that matches every host.
func (h host) String() string {
	var s string
	switch h.kind {
	case hostAny:
		return ""
	case hostSuffix:
		s = "*." + h.name
	case hostPrefix:
		s = h.name + ".*"
	case hostExact:
		s = h.name
		if strings.Contains(s, ":") {
			s = "[" + s + "]"
		}
	}
	if h.port != "" {
		s += ":" + h.port
	}
	return s
}

// parseHost reads an element of Route.Hosts.
func parseHost(written string) (host, *fault) {
	h := host{kind: hostExact}
	authority := written
	// A star is replaced by a label, so that patterns are read by the rules requests are read by.
	switch name, _, _ := strings.Cut(written, ":"); {
	case strings.Contains(written, "://"):
		return h, &fault{"is a URL", "write only its host; schemes go into Schemes, paths into Paths"}
	case strings.Count(written, "*") > 1:
		return h, &fault{"has more than one star", "use one, as in *.example.com or example.*"}
	case name == "*":
		return h, &fault{"is a star alone", "leave Hosts empty to match every host, or name the hosts"}
	case strings.HasPrefix(written, "*."):
		h.kind = hostSuffix
		authority = "x" + written[1:]
	case strings.HasSuffix(strings.TrimSuffix(name, "."), ".*"):
		h.kind = hostPrefix
		authority = strings.Replace(written, "*", "x", 1)
	case strings.Contains(written, "*"):
		return h, &fault{"has a star inside a label", "the star stands for whole labels at the start or the end, as in *.example.com or example.*"}
	}
	name, port, err := canonical.Host(authority)
	if err != nil {
		return h, hostFault(written, err)
	}
	if h.kind != hostExact && strings.IndexByte(name, '.') < 0 {
		return h, &fault{"has nothing but a star", "name the labels before or behind it, as in *.example.com"}
	}
	h.name, h.port = name, port
	switch h.kind {
	case hostSuffix:
		h.name = name[2:]
	case hostPrefix:
		h.name = name[:len(name)-2]
	case hostExact, hostAny:
	}
	return h, nil
}

// hostFault puts the reason of canonical.Host into words.
func hostFault(written string, err error) *fault {
	f := &fault{"is not a host", "write a name such as example.com, *.example.com, example.com:8443 or [::1]"}
	var refused *canonical.HostError
	if !errors.As(err, &refused) {
		return f
	}
	switch refused.Reason {
	case canonical.HostEmpty:
		return &fault{"has no host name", "leave Hosts empty to match every host"}
	case canonical.HostTooLong:
		f.reason = "is longer than a host name can be"
	case canonical.HostUserinfo:
		return &fault{"has user information", "write only the host"}
	case canonical.HostBadByte:
		return &fault{"has a character no host name has", "write only the host, international names in their ASCII form (xn--...)"}
	case canonical.HostEmptyLabel:
		f.reason = "has an empty label"
	case canonical.HostBadLiteral:
		return &fault{"is not an IPv6 address in brackets", "write it as in [2001:db8::1], without a zone"}
	case canonical.HostBadPort:
		f.reason = "has a port that is not a number from 1 to 65535"
		if strings.Count(written, ":") > 1 {
			return &fault{"has more than one colon", "write IPv6 addresses in brackets, as in [2001:db8::1]"}
		}
	}
	return f
}

// A hostIndex finds the path indexes of all host patterns that match a host. The zero value holds none.
type hostIndex struct {
	exact  map[string]*hostNode
	suffix wildcards
	prefix wildcards
}

// A hostNode holds what is indexed below one host name, with and without ports.
type hostNode struct {
	best  int32
	plain *pathIndex
	ports map[string]*pathIndex
}

// wildcards are the host patterns with the star on one side, by their names.
type wildcards struct {
	nodes map[string]*hostNode
	// lengths tells which lengths the names have, so that a host made of dots costs a few look-ups and not one per dot.
	lengths [256]bool
	best    int32
}

// add returns the path index of a pattern, made on first use. Entries are added from the last rank to the first.
func (x *hostIndex) add(h host, rank int32) *pathIndex {
	var node *hostNode
	switch h.kind {
	case hostExact:
		node = nodeOf(&x.exact, h.name)
	case hostSuffix:
		node = nodeOf(&x.suffix.nodes, h.name)
		x.suffix.lengths[len(h.name)] = true
		x.suffix.best = rank
	case hostPrefix, hostAny:
		node = nodeOf(&x.prefix.nodes, h.name)
		x.prefix.lengths[len(h.name)] = true
		x.prefix.best = rank
	}
	node.best = rank
	if h.port == "" {
		if node.plain == nil {
			node.plain = new(pathIndex)
		}
		return node.plain
	}
	index := node.ports[h.port]
	if index == nil {
		index = new(pathIndex)
		if node.ports == nil {
			node.ports = map[string]*pathIndex{}
		}
		node.ports[h.port] = index
	}
	return index
}

func nodeOf(nodes *map[string]*hostNode, name string) *hostNode {
	if *nodes == nil {
		*nodes = map[string]*hostNode{}
	}
	node := (*nodes)[name]
	if node == nil {
		node = new(hostNode)
		(*nodes)[name] = node
	}
	return node
}

// of returns the path index of a pattern, nil when there is none.
func (x *hostIndex) of(h host) *pathIndex {
	var node *hostNode
	switch h.kind {
	case hostExact:
		node = x.exact[h.name]
	case hostSuffix:
		node = x.suffix.nodes[h.name]
	case hostPrefix:
		node = x.prefix.nodes[h.name]
	case hostAny:
	}
	switch {
	case node == nil:
		return nil
	case h.port != "":
		return node.ports[h.port]
	default:
		return node.plain
	}
}

// finish prepares all path indexes for look-ups.
func (x *hostIndex) finish() {
	for _, nodes := range []map[string]*hostNode{x.exact, x.suffix.nodes, x.prefix.nodes} {
		for _, node := range nodes {
			if node.plain != nil {
				node.plain.finish()
			}
			for _, index := range node.ports {
				index.finish()
			}
		}
	}
}

// search looks through all hosts that match, the most specific first, as those have the better ranks more often.
func (x *hostIndex) search(s *search, q *Request) {
	name := q.Host
	if node := x.exact[name]; node != nil {
		node.search(s, q)
	}
	if strings.IndexByte(name, ':') >= 0 {
		return // the dots in an IPv6 address do not divide labels
	}
	if x.suffix.nodes != nil && x.suffix.best < s.best {
		x.suffix.searchSuffixes(s, q, name)
	}
	if x.prefix.nodes != nil && x.prefix.best < s.best {
		x.prefix.searchPrefixes(s, q, name)
	}
}

// searchSuffixes goes through the names behind each dot but one at the start, the longest first: the star is at least
// one label.
func (w *wildcards) searchSuffixes(s *search, q *Request, name string) {
	for i := 1; i < len(name); i++ {
		if name[i] != '.' {
			continue
		}
		rest := name[i+1:]
		if len(rest) < len(w.lengths) && w.lengths[len(rest)] {
			if node := w.nodes[rest]; node != nil {
				node.search(s, q)
			}
		}
	}
}

// searchPrefixes goes through the names before each dot but one at the end, the longest first.
func (w *wildcards) searchPrefixes(s *search, q *Request, name string) {
	for i := len(name) - 2; i > 0; i-- {
		if name[i] != '.' {
			continue
		}
		if i < len(w.lengths) && w.lengths[i] {
			if node := w.nodes[name[:i]]; node != nil {
				node.search(s, q)
			}
		}
	}
}

func (n *hostNode) search(s *search, q *Request) {
	if n.best >= s.best {
		return
	}
	if n.ports != nil {
		if index := n.ports[q.Port]; index != nil {
			index.search(s, q)
		}
	}
	if n.plain != nil {
		n.plain.search(s, q)
	}
}
