package config

import (
	"regexp"
	"strconv"
	"strings"
)

// routePlace is where the parts of a route stand in the file.
type routePlace struct {
	route             *route
	prefixes, regexps []int // indices in paths
}

// verify has the gateway check what was made of the file, and says where in the file its findings are.
func (b *builder) verify() {
	if len(b.d.problems.list) > 0 {
		return
	}
	field := regexp.MustCompile(fieldOfRoute)
	for _, f := range b.out.Gateway.Validate().Findings {
		n := &node{line: 1, column: 1}
		if place := b.places[f.Route]; place != nil {
			n = place.of(f.Message, field)
		}
		text := strings.TrimPrefix(f.String(), "gateway: ")
		if f.Warning {
			b.warnf(n, "%s", text)
			continue
		}
		found := ""
		if n.kind == kindString {
			found = n.found()
		}
		b.d.problems.add(n, found, text, "")
	}
}

// fieldOfRoute finds the field that a finding is about, behind the name of the route.
const fieldOfRoute = `": (Prefixes|Regexps|Hosts|Methods|SNIs)\[(\d+)\] |": Headers "([^"]+)"|": (Forward\.Path) `

// of returns the value that a finding is about; the route when the finding does not say.
func (p *routePlace) of(message string, field *regexp.Regexp) *node {
	whole := p.route.node
	m := field.FindStringSubmatch(message)
	if m == nil {
		return whole
	}
	var n *node
	switch {
	case m[3] != "":
		if headers := whole.get("headers"); headers != nil {
			n = headers.get(m[3])
		}
	case m[4] != "":
		if p.route.of != nil {
			if n = p.route.of.node.get("path"); n == nil {
				n = p.route.of.node.get("url")
			}
		}
	default:
		i, err := strconv.Atoi(m[2])
		name := strings.ToLower(m[1])
		switch list := p.prefixes; name {
		case "regexps":
			list = p.regexps
			fallthrough
		case "prefixes":
			if err != nil || i >= len(list) {
				return whole
			}
			name, i = "paths", list[i]
		}
		if list := whole.get(name); err == nil && list != nil && i < len(list.items) {
			n = list.items[i]
		}
	}
	if n == nil {
		return whole
	}
	return n
}
