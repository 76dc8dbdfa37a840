package config

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-go/gateway"
)

// routePlace is where the parts of a route stand in the file.
type routePlace struct {
	route             *route
	prefixes, regexps []int // indices in paths
	vault             bool  // messages about it may quote what a reference stands for
}

func (p *routePlace) holdsVault() bool { return p != nil && p.vault }

// verify has the gateway check what was made of the file, and says where in the file its findings are, in the file's words.
func (b *builder) verify() {
	field := regexp.MustCompile(fieldOfRoute)
	words := strings.NewReplacer("Hosts", "hosts", "Methods", "methods", "SNIs", "snis", "Regexps", "expressions after ~", "Prefixes", "paths")
	for _, f := range b.out.Gateway.Validate().Findings {
		n, text, place := &node{line: 1, column: 1}, f.String(), b.places[f.Route]
		vault := place.holdsVault() || slices.ContainsFunc(f.Others, func(name string) bool { return b.places[name].holdsVault() })
		if vault {
			text = f.Message // the witness is made of the conditions, and quotes nothing
		}
		text = strings.TrimPrefix(text, "gateway: ")
		if place != nil {
			n, text = place.of(text, field)
		}
		if vault {
			text = unquoted(text)
		}
		if f.Warning {
			if f.Kind == gateway.UnauthenticatedRoute {
				text = strings.Replace(text, "set Public if that is meant", `tag it "public" if that is meant`, 1)
			}
			b.warnf(n, "%s", text)
			continue
		}
		found := ""
		if n.kind == kindString {
			found = n.found()
		}
		b.d.problems.add(n, found, words.Replace(text), "")
	}
}

// fieldOfRoute finds the field that a finding is about, behind the name of the route.
const fieldOfRoute = `^route "(?:[^"\\]|\\.)*": ` +
	`(?:(Prefixes|Regexps|Hosts|Methods|SNIs)\[(\d+)\] |Headers(?: |\[)"([^"]+)"(?:\]\[(\d+)\])? |(Forward\.Path) )`

// of returns the value that a finding is about, and what is said of it; the route when the finding does not say.
func (p *routePlace) of(message string, field *regexp.Regexp) (*node, string) {
	whole := p.route.node
	m := field.FindStringSubmatch(message)
	if m == nil {
		return whole, message
	}
	var n *node
	index := func(list *node, digits string) {
		if i, err := strconv.Atoi(digits); err == nil && list != nil && i < len(list.items) {
			n = list.items[i]
		}
	}
	switch {
	case m[3] != "":
		if headers := whole.get("headers"); headers != nil {
			if n = headers.get(m[3]); n != nil && m[4] != "" {
				index(n, m[4])
			}
		}
	case m[5] != "":
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
				return whole, message
			}
			name, i = "paths", list[i]
		}
		index(whole.get(name), strconv.Itoa(i))
	}
	if n == nil {
		return whole, message
	}
	// The value is shown beside.
	text := message[len(m[0]):]
	if value, err := strconv.QuotedPrefix(text); err == nil && n.kind == kindString {
		text = strings.TrimPrefix(text[len(value):], " ")
	}
	return n, text
}
