package config

import (
	"cmp"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // a name-based UUID, as RFC 9562 has it
	"fmt"
	"slices"
	"strings"
)

// linked is a file whose entities know each other.
type linked struct {
	services  []*service
	routes    []*route
	upstreams []*upstream
	consumers []*consumer
	plugins   []*plugin
	certs     []*certificate
	cas       []*caCertificate

	upstreamByName map[string]*upstream
}

// linker moves nested entities to where flat ones are, and resolves references.
type linker struct {
	d   *decoder
	doc *document
	out linked
}

// index finds entities of one kind by name and by id.
type index[T any] struct {
	what   string
	byName map[string]T
	names  []string
}

func (x *index[T]) add(d *decoder, n *node, v T, names ...string) {
	if x.byName == nil {
		x.byName = map[string]T{}
	}
	vault := isVault(n.get("name")) || isVault(n.get("username")) || isVault(n.get("id"))
	for i, name := range names {
		if name == "" {
			continue
		}
		if _, twice := x.byName[name]; twice {
			if i == 0 || name != names[0] {
				d.problems.add(n, "", fmt.Sprintf("another %s is called %q, too", x.what, name), "names and ids are unique")
			}
			continue
		}
		x.byName[name] = v
		if !vault { // what is proposed is shown
			x.names = append(x.names, name)
		}
	}
}

// find returns what a reference names, and reports one that dangles.
func (x *index[T]) find(d *decoder, r ref) (v T, ok bool) {
	if r.node == nil {
		return v, false
	}
	if v, ok = x.byName[r.name]; !ok {
		remedy := "write one into the file"
		if d.problems.mayCompare(len(x.names)) {
			if near := nearest(r.name, x.names); near != "" {
				remedy = fmt.Sprintf("did you mean %q?", near)
			}
		}
		d.problems.add(r.node, r.node.found(), fmt.Sprintf("there is no %s of that name or id", x.what), remedy)
	}
	return v, ok
}

func (l *linker) link() *linked {
	doc, out := l.doc, &l.out
	var services index[*service]
	var routes index[*route]
	var consumers index[*consumer]
	var groups index[*consumerGroup]
	services.what, routes.what, consumers.what, groups.what = "service", "route", "consumer", "consumer group"

	for _, s := range doc.Services {
		out.services = append(out.services, s)
		services.add(l.d, s.node, s, s.Name, s.ID)
		for _, r := range s.Routes {
			l.nested(r.Service, "service", s.Name, s.ID)
			r.of, r.Service = s, ref{}
			doc.Routes = append(doc.Routes, r)
		}
		for _, p := range s.Plugins {
			l.nested(p.Service, "service", s.Name, s.ID)
			p.service, p.Service = s, ref{}
			doc.Plugins = append(doc.Plugins, p)
		}
	}
	for _, r := range doc.Routes {
		out.routes = append(out.routes, r)
		routes.add(l.d, r.node, r, r.Name, r.ID)
		if s, ok := services.find(l.d, r.Service); ok {
			r.of = s
		}
		l.checkGRPC(r)
		for _, p := range r.Plugins {
			l.nested(p.Route, "route", r.Name, r.ID)
			p.route, p.Route = r, ref{}
			doc.Plugins = append(doc.Plugins, p)
		}
	}
	l.linkConsumers(&consumers)
	l.linkGroups(&groups, &consumers)
	l.linkUpstreams()
	l.linkCertificates()
	for _, p := range doc.Plugins {
		if r, ok := routes.find(l.d, p.Route); ok {
			p.route = r
		}
		if s, ok := services.find(l.d, p.Service); ok {
			p.service = s
		}
		if c, ok := consumers.find(l.d, p.Consumer); ok {
			p.consumer = c
		}
		if g, ok := groups.find(l.d, p.ConsumerGroup); ok {
			p.group = g
		}
		if p.consumer != nil && p.group != nil {
			l.d.problems.add(p.node, "", "a plugin is for a consumer or for a group of them, not for both", "leave one of consumer and consumer_group out")
		}
		out.plugins = append(out.plugins, p)
	}
	l.checkScopes()
	l.setKeys()
	return out
}

// linkCertificates gives certificates their names, and services what they present and trust.
func (l *linker) linkCertificates() {
	doc, out := l.doc, &l.out
	var certs index[*certificate]
	var cas index[*caCertificate]
	certs.what, cas.what = "certificate", "CA certificate"
	for _, c := range doc.Certificates {
		out.certs = append(out.certs, c)
		certs.add(l.d, c.node, c, c.ID)
		for _, s := range c.SNIs {
			l.nested(s.Certificate, "certificate", c.ID)
		}
	}
	for _, s := range doc.SNIs {
		if c, ok := certs.find(l.d, s.Certificate); ok {
			c.SNIs = append(c.SNIs, s)
		} else if s.Certificate.node == nil {
			l.d.problems.add(s.node, "", "the SNI has no certificate", "name one")
		}
	}
	for _, c := range doc.CACertificates {
		out.cas = append(out.cas, c)
		cas.add(l.d, c.node, c, c.ID)
	}
	presented := func(r ref) *certificate {
		c, ok := certs.find(l.d, r)
		if ok {
			c.presented = true
		}
		return c
	}
	for _, s := range doc.Services {
		s.client = presented(s.ClientCertificate)
		list := s.node.get("ca_certificates")
		for i, id := range s.CACertificates {
			if id == "" {
				continue // reported
			}
			if c, ok := cas.find(l.d, ref{id, list.items[i]}); ok {
				c.trusted = true
				s.authorities = append(s.authorities, c)
			}
		}
	}
	for _, u := range doc.Upstreams {
		u.client = presented(u.ClientCertificate)
	}
}

// linkConsumers gives consumers what is theirs.
func (l *linker) linkConsumers(consumers *index[*consumer]) {
	doc, out := l.doc, &l.out
	customs := map[string]*consumer{}
	for _, c := range doc.Consumers {
		if c.ID == "" && (c.Username != "" || c.CustomID != "") {
			name := c.Username + "\x00" // a custom_id may come and go
			if c.Username == "" {
				name += c.CustomID
			}
			c.ID = nameUUID("consumers", name)
		}
		if c.Username == "" && c.CustomID == "" && !c.node.bad {
			l.d.problems.add(c.node, "", "a consumer needs a username or a custom_id", "")
		}
		out.consumers = append(out.consumers, c)
		consumers.add(l.d, c.node, c, c.Username, c.ID)
		if c.CustomID != "" {
			if first := customs[c.CustomID]; first != nil {
				l.d.problems.add(c.node, "", fmt.Sprintf("another consumer, on line %d, has the custom_id %q, too", first.node.line, c.CustomID), "custom_ids are unique")
			} else {
				customs[c.CustomID] = c
			}
		}
		for _, k := range c.KeyAuths {
			l.nested(k.Consumer, "consumer", c.Username, c.ID)
		}
		for _, a := range c.ACLs {
			l.nested(a.Consumer, "consumer", c.Username, c.ID)
		}
		for _, p := range c.Plugins {
			l.nested(p.Consumer, "consumer", c.Username, c.ID)
			p.consumer, p.Consumer = c, ref{}
			doc.Plugins = append(doc.Plugins, p)
		}
	}
	for _, k := range doc.KeyAuths {
		if c, ok := consumers.find(l.d, k.Consumer); ok {
			c.KeyAuths = append(c.KeyAuths, k)
		} else if k.Consumer.node == nil {
			l.d.problems.add(k.node, "", "the credential belongs to nobody", "name its consumer")
		}
	}
	for _, a := range doc.ACLs {
		if c, ok := consumers.find(l.d, a.Consumer); ok {
			c.ACLs = append(c.ACLs, a)
		} else if a.Consumer.node == nil {
			l.d.problems.add(a.node, "", "the group belongs to nobody", "name its consumer")
		}
	}
}

// linkGroups puts consumers into their groups.
func (l *linker) linkGroups(groups *index[*consumerGroup], consumers *index[*consumer]) {
	type member struct {
		consumer *consumer
		group    *consumerGroup
	}
	joined := map[member]bool{}
	join := func(c *consumer, g *consumerGroup) {
		if m := (member{c, g}); !joined[m] {
			joined[m] = true
			c.in = append(c.in, g)
		}
	}
	for _, g := range l.doc.ConsumerGroups {
		if g.ID == "" && g.Name != "" {
			g.ID = nameUUID("consumer_groups", g.Name)
		}
		groups.add(l.d, g.node, g, g.Name, g.ID)
		for _, p := range g.Plugins {
			l.nested(p.ConsumerGroup, "consumer group", g.Name, g.ID)
			p.group, p.ConsumerGroup = g, ref{}
			l.doc.Plugins = append(l.doc.Plugins, p)
		}
	}
	for _, c := range l.out.consumers {
		for _, r := range c.Groups {
			if g, ok := groups.find(l.d, r); ok {
				join(c, g)
			}
		}
	}
	for _, g := range l.doc.ConsumerGroups {
		for _, r := range g.Consumers {
			if c, ok := consumers.find(l.d, r); ok {
				join(c, g)
			}
		}
	}
	for _, m := range l.doc.GroupMembers {
		c, known := consumers.find(l.d, m.Consumer)
		g, exists := groups.find(l.d, m.Group)
		switch {
		case known && exists:
			join(c, g)
		case (m.Consumer.node == nil || m.Group.node == nil) && !m.node.bad:
			l.d.problems.add(m.node, "", "the entry puts nobody into a group", "name a consumer and a consumer_group")
		}
	}
}

func (l *linker) linkUpstreams() {
	doc, out := l.doc, &l.out
	var upstreams index[*upstream]
	upstreams.what = "upstream"
	for _, u := range doc.Upstreams {
		out.upstreams = append(out.upstreams, u)
		upstreams.add(l.d, u.node, u, u.Name, u.ID)
		for _, t := range u.Targets {
			l.nested(t.Upstream, "upstream", u.Name, u.ID)
		}
	}
	for _, t := range doc.Targets {
		if u, ok := upstreams.find(l.d, t.Upstream); ok {
			u.Targets = append(u.Targets, t)
		} else if t.Upstream.node == nil {
			l.d.problems.add(t.node, "", "the target belongs to no upstream", "name its upstream")
		}
	}
	out.upstreamByName = map[string]*upstream{}
	for _, u := range out.upstreams {
		out.upstreamByName[u.Name] = u
	}
}

// nested reports a reference of an entity to another one than it stands in.
func (l *linker) nested(r ref, what string, names ...string) {
	if r.node != nil && !slices.Contains(names, r.name) {
		l.d.problems.add(r.node, r.node.found(), "the entity stands in another "+what, "leave the reference out, or move the entity")
	}
}

// checkScopes reports plugins that stand twice at one scope.
func (l *linker) checkScopes() {
	type scope struct {
		name     string
		route    *route
		service  *service
		consumer *consumer
		group    *consumerGroup
	}
	seen := map[scope]*plugin{}
	for _, p := range l.out.plugins {
		s := scope{p.Name, p.route, p.service, p.consumer, p.group}
		if first, twice := seen[s]; twice && p.Name != "" {
			l.d.problems.add(p.node, "", fmt.Sprintf("plugin %q is there already at this scope, on line %d", p.Name, first.node.line), "one configuration of a plugin runs at each scope")
			continue
		}
		seen[s] = p
	}
}

// setKeys says what services and routes are known by from one file to the next. Those without name and id may move.
func (l *linker) setKeys() {
	taken, count := map[string]bool{}, map[string]int{}
	unique := func(content string) string {
		key := content
		for ; taken[key]; key = fmt.Sprintf("%s #%d", content, count[content]+1) {
			count[content]++
		}
		taken[key] = true
		return key
	}
	for _, s := range l.out.services { // no other may be called as those with names are
		s.key = cmp.Or(s.Name, s.ID)
		taken[s.key] = true
	}
	for _, s := range l.out.services {
		if s.key != "" {
			continue
		}
		content := cmp.Or(s.URL, s.Protocol+"://"+hostPort(s.Host, s.Port)+s.Path)
		for _, field := range [...]string{"url", "host", "path"} {
			if isVault(s.node.get(field)) { // it may not be shown, and the key is the upstream's name
				content = fmt.Sprintf("service %x", digest("", content)[:8])
				break
			}
		}
		s.key = unique(content)
	}
	clear(taken)
	clear(count)
	for _, r := range l.out.routes {
		r.key = cmp.Or(r.Name, r.ID)
		taken[r.key] = true
	}
	for _, r := range l.out.routes {
		if r.key != "" {
			continue
		}
		service := ""
		if r.of != nil {
			service = r.of.key
		}
		r.key = unique(jsonText([]any{service, r.Protocols, r.Methods, r.Hosts, r.Paths, r.Headers, r.SNIs}))
	}
}

// label is what an entity is called in a gateway: its name, or its id, or its place in the file.
func label(name, id string, n *node) string {
	switch {
	case name != "":
		return name
	case id != "":
		return id
	default:
		return n.path()
	}
}

// nameUUID makes an id of a name, the same each time (RFC 9562 section 5.5).
func nameUUID(kind, name string) string {
	sum := sha1.Sum([]byte(kind + "\x00" + name)) //nolint:gosec // see the import
	return uuidOf([16]byte(sum[:16]), 5)
}

// randomUUID makes an id (RFC 9562 section 5.4).
func randomUUID() string {
	var u [16]byte
	_, _ = rand.Read(u[:]) // never fails: see crypto/rand
	return uuidOf(u, 4)
}

func uuidOf(u [16]byte, version byte) string {
	u[6], u[8] = u[6]&0x0f|version<<4, u[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

// decodePlugins reads the configurations of all plugins, now that it is known what they are. What is not supported is left
// out of the list it returns.
func (l *linker) decodePlugins(types map[string]PluginType) []*plugin {
	var out []*plugin
	names := make([]string, 0, len(types))
	for name := range types {
		names = append(names, name)
	}
	for name := range kongs {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, p := range l.out.plugins {
		t, ok := types[p.Name]
		at := p.node.get("name")
		if at == nil {
			continue // reported
		}
		if !ok {
			l.unknownPlugin(p, at, names)
			continue
		}
		if t.NoConsumer && (p.consumer != nil || p.group != nil) {
			l.d.problems.add(at, at.found(), "cannot be configured for a consumer or a group of them", "it runs before the consumer is known, or decides about all of them")
		}
		p.schema = t.New()
		config := p.Config.node
		if config == nil {
			config = &node{kind: kindMap, line: p.node.line, column: p.node.column, parent: p.node, step: "config"}
		}
		before := l.d.problems.count()
		fields := l.d.decode(config, p.schema)
		if c, ok := p.schema.(interface{ Check(c *Check) }); ok && l.d.problems.count() == before && !config.bad {
			c.Check(&Check{l.d, config, fields})
		}
		if p.Enabled && p.forHTTP() {
			out = append(out, p)
		}
	}
	return out
}

// forHTTP tells whether a plugin is one for requests. Kong does not ask further: one for https alone runs for http, too.
func (p *plugin) forHTTP() bool {
	return slices.ContainsFunc(p.Protocols, func(name string) bool {
		return name != "tcp" && name != "tls" && name != "udp" && name != "tls_passthrough"
	})
}

func (l *linker) unknownPlugin(p *plugin, at *node, names []string) {
	guards, known := kongs[p.Name]
	switch {
	case !known:
		remedy := oneOf(names)
		if near := nearest(p.Name, names); near != "" {
			remedy = fmt.Sprintf("did you mean %q?", near)
		}
		l.d.problems.add(at, at.found(), "is no plugin", remedy)
	case !p.Enabled:
	case guards:
		l.d.problems.add(at, at.found(), "is not supported, and is never left out because it guards what is behind it", "remove it from the file")
	default:
		l.d.notSupported(at, "plugin "+p.Name)
	}
}

// isRegex tells whether a path of a format before 3.0, which had no mark for them, is a regular expression.
func isRegex(path string) bool {
	return strings.ContainsFunc(path, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._~/%-", r)
	})
}
