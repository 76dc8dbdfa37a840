package config

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/policy"
)

// builder makes a gateway.Config of a linked file.
type builder struct {
	d       *decoder
	doc     *document
	in      *linked
	options Options
	types   map[string]PluginType
	out     *Snapshot

	env       *Env
	instances map[*plugin]policy.Plugin
	plugins   []*plugin                      // enabled and supported
	at        map[scope]map[string]*plugin   // those for everybody, by name
	variants  map[scope]map[string]*variants // those for consumers, by name
	grouped   map[scope]map[string]*variants // those for groups of consumers, by name
	groups    map[string][]string            // the ids of a consumer's groups, by its id
	order     []PluginType
	handlers  map[*service]*gateway.Upstream
	shadows   map[*service]*shadowService
	pools     map[poolKey]*balancer.Pool
	bad       map[*upstream]bool // reported
	balancing map[*upstream]balancing
	health    map[*upstream]health
	places    map[string]*routePlace // by the name of the route
	splits    splits
}

// scope is where a configuration is looked for, apart from the consumer: at a route, at a service, at both, or everywhere.
type scope struct {
	route   *route
	service *service
}

type poolKey struct {
	upstream *upstream
	scheme   string
}

func (b *builder) build() {
	b.out.Gateway.EntryConfig = b.options.Entry
	e := &b.out.Gateway.EntryConfig
	e.AllowEncodedSlash, e.InsecureAppendForwardedFor = true, true
	if e.ErrorHandler == nil {
		e.ErrorHandler = answer
	}
	b.out.Gateway.Compat = gateway.Compat{NotFoundForMethod: true, AllowIdenticalRoutes: true, AllowBrokenContracts: true, IgnoreSNIsWithoutTLS: true}
	b.out.Gateway.Logger, b.out.Gateway.DrainTimeout = b.options.Logger, b.options.DrainTimeout

	b.order = b.options.Registry.Types()
	b.buildConsumers()
	b.buildPlugins()
	b.newSplits()
	b.buildCertificates()
	b.buildAuthorities()
	b.buildServices()
	b.buildRoutes()
	b.buildUnmatched()
}

// buildConsumers makes the consumers and the store of their keys, which holds digests.
func (b *builder) buildConsumers() {
	b.env = &Env{consumers: map[string]*policy.Consumer{}, Logger: b.options.Logger}
	b.env.shared, b.env.tables = b.shared()
	b.shadows, b.env.shadow = map[*service]*shadowService{}, b.shadow
	keys := &auth.MemoryKeys{}
	seen := map[string]*node{}
	b.groups = map[string][]string{}
	var all []auth.Key
	for _, c := range b.in.consumers {
		for _, g := range c.in {
			b.groups[c.ID] = append(b.groups[c.ID], g.ID)
		}
		pc := &policy.Consumer{ID: c.ID, Username: c.Username, CustomID: c.CustomID, Tags: c.Tags}
		for _, a := range c.ACLs {
			pc.Groups = append(pc.Groups, a.Group)
		}
		pc.Groups = distinct(pc.Groups)
		if err := pc.Validate(); err != nil {
			b.problem(c.node, err)
			pc = &policy.Consumer{ID: c.ID, Username: c.Username} // its keys are looked at, too
		}
		b.env.consumers[c.ID] = pc
		if c.Username != "" {
			b.env.consumers[c.Username] = pc
		}
		for i, k := range c.KeyAuths {
			if first := seen[k.Key]; first != nil {
				b.d.problems.add(k.node, "", fmt.Sprintf("another credential, on line %d, has the same key", first.line), "keys are unique")
				continue
			}
			seen[k.Key] = k.node
			id := k.ID
			if id == "" {
				id = nameUUID("keyauth_credentials", c.ID+"\x00"+strconv.Itoa(i)) // whatever others have
			}
			if err := new(auth.MemoryKeys).Add(auth.Key{Value: k.Key, ID: id, Consumer: pc}); err != nil {
				b.problem(k.node, err)
				continue
			}
			all = append(all, auth.Key{Value: k.Key, ID: id, Consumer: pc})
			k.Key = "" // digests are what is kept
		}
	}
	if err := keys.Add(all...); err != nil {
		b.problem(b.in.firstConsumer(), err)
	}
	b.env.Keys = keys
}

func (l *linked) firstConsumer() *node {
	if len(l.consumers) > 0 {
		return l.consumers[0].node
	}
	return &node{line: 1, column: 1}
}

// problem reports what a constructor of this module says.
func (b *builder) problem(n *node, err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok { // the very value of errors.Join
		for _, e := range joined.Unwrap() {
			b.problem(n, e)
		}
		return
	}
	b.d.problems.add(n, "", err.Error(), "")
}

// buildServices makes an upstream of each service that has a route.
func (b *builder) buildServices() {
	b.handlers, b.pools, b.bad = map[*service]*gateway.Upstream{}, map[poolKey]*balancer.Pool{}, map[*upstream]bool{}
	b.balancing, b.health = map[*upstream]balancing{}, map[*upstream]health{}
	services := slices.DeleteFunc(slices.Clone(b.in.services), func(s *service) bool { return !s.readURL(b.d) })
	used := map[*service]bool{}
	for s := range b.shadows {
		used[s] = true
	}
	for _, r := range b.in.routes {
		if r.of != nil {
			for _, s := range b.servicesOf(r) {
				used[s] = true
			}
		}
	}
	for _, up := range b.in.upstreams {
		b.balancing[up] = b.balancingOf(up)
		b.health[up] = b.healthOf(up)
		b.checkHosts(up)
	}
	for _, s := range services {
		b.checkTLS(s)
		if !b.checkHost(s) || !s.Enabled || !used[s] || b.bad[b.in.upstreamByName[s.Host]] {
			continue
		}
		u, err := b.upstreamOf(s)
		if err != nil {
			b.problem(s.node, err)
			continue
		}
		b.handlers[s] = u
		if shadow := b.shadows[s]; shadow != nil {
			shadow.upstream = u
		}
		b.out.Gateway.Owns = append(b.out.Gateway.Owns, u)
	}
}

// readURL takes a service's url apart.
func (s *service) readURL(d *decoder) bool {
	if s.URL != "" {
		n := s.node.get("url")
		u, err := url.Parse(s.URL)
		if err != nil || u.Scheme == "" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			d.fail(n, "is not the URL of a service; write it as http://host:port/path")
			return false
		}
		s.Protocol, s.Host, s.Path = u.Scheme, u.Hostname(), u.EscapedPath()
		s.Port = 80
		if u.Scheme == schemeHTTPS { // and no other, as in Kong
			s.Port = 443
		}
		if p := u.Port(); p != "" {
			if s.Port, err = strconv.Atoi(p); err != nil || s.Port > 65535 {
				d.fail(n, "the port is not one of 0 to 65535")
				return false
			}
		}
	}
	if s.Path != "" && !strings.HasPrefix(s.Path, "/") {
		d.fail(s.node.get("path"), "should start with: /")
		return false
	}
	switch {
	case strings.ContainsAny(s.Host, "/?#@"):
		d.fail(s.node.get("host"), "is no host; a path goes into path")
		return false
	case s.Host == "":
		d.problems.add(s.node, "", "a service needs a url or a host", "")
		return false
	case s.scheme() == "":
		d.notSupported(cmp.Or(s.node.get("protocol"), s.node), "protocol "+s.Protocol)
		return false
	case s.Path != "" && isGRPC(s.Protocol):
		n := cmp.Or(s.node.get("path"), s.node.get("url"))
		d.problems.add(n, n.found(), "there can be no path where the protocol is grpc or grpcs", "leave it out; the path of a call names its method")
		return false
	}
	return true
}

func milliseconds(n int) time.Duration { return time.Duration(n) * time.Millisecond }

func (b *builder) upstreamOf(s *service) (*gateway.Upstream, error) {
	c := gateway.UpstreamConfig{
		Name: s.key,
		Dial: b.options.Dial,
		// Kong sends none, and its clients may compare answers.
		HideProxyStatus: true,
		Timeouts: gateway.Timeouts{
			Connect: milliseconds(s.ConnectTimeout), FirstByte: milliseconds(s.ReadTimeout), Idle: milliseconds(s.ReadTimeout),
		},
	}
	c.Retry = policy.Retry{Tries: s.Retries + 1}
	if c.Timeouts.FirstByte <= time.Hour { // else no client is there any more
		c.Retry.PerTry = c.Timeouts.FirstByte // nginx goes on after a timeout, too
	}
	if n := s.node.get("write_timeout"); n != nil {
		b.warnf(n, "write_timeout is not looked at; a target that takes nothing is given up after read_timeout")
	}
	up := b.in.upstreamByName[s.Host]
	c.TLS, c.UnencryptedHTTP2 = b.tlsOf(s, up), s.Protocol == protocolGRPC
	target := s.scheme() + "://" + hostPort(s.Host, s.Port)
	if up != nil {
		pool, err := b.sharedPool(up, s.scheme())
		if err != nil {
			return nil, err
		}
		c.Pool, target = pool, fmt.Sprintf("%p", pool)
	} else {
		c.Targets = []balancer.Target{{URL: target}}
		if b.options.Resolver != nil && isNamed(c.Targets[0]) && b.d.problems.count() == 0 {
			c.Discovery.Source = newNames(b.options.Resolver, c.Targets, nil)
		}
		c.Health.Passive.Off = true // as in Kong, where upstreams alone have checks
	}
	// The same service as before keeps its connections and counters.
	key := fmt.Sprintf("%q %q %+v %t %d", c.Name, target, c.Timeouts, c.UnencryptedHTTP2, s.Retries)
	if c.TLS != nil {
		key += s.tlsKey(c.TLS)
	}
	if u, ok := b.kept(key).(*gateway.Upstream); ok {
		return u, nil
	}
	u, err := gateway.NewUpstream(c)
	if err != nil {
		return nil, err
	}
	b.keep(key, u)
	return u, nil
}

// kept returns what the snapshot before had under that key, which is then part of this one, too.
func (b *builder) kept(key string) any {
	if b.options.Previous == nil {
		return nil
	}
	v, ok := b.options.Previous.state[key]
	if ok {
		b.out.state[key] = v
	}
	return v
}

// keep remembers what was made, for the snapshot after this one.
func (b *builder) keep(key string, v any) {
	b.out.state[key] = v
	if c, ok := v.(io.Closer); ok {
		b.out.made = append(b.out.made, c)
	}
}

func (b *builder) warnf(n *node, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if n.holdsVault() { // what it stands for may be quoted
		text = unquoted(text)
	}
	b.out.Warnings = append(b.out.Warnings, fmt.Sprintf("%s:%d:%d: ", b.d.problems.file, n.line, n.column)+onOneLine(text))
}

// buildRoutes makes the routes, the oldest first, as the last thing Kong decides by.
func (b *builder) buildRoutes() {
	b.checkSplits()
	b.places = make(map[string]*routePlace, len(b.in.routes))
	b.out.Gateway.Routes = make([]gateway.Route, 0, len(b.in.routes))
	routes := slices.Clone(b.in.routes)
	slices.SortStableFunc(routes, func(x, y *route) int { return cmp.Compare(x.CreatedAt, y.CreatedAt) })
	for _, r := range routes {
		if r.of != nil && (!r.of.Enabled || b.handlers[r.of] == nil && b.planOf(r) == nil && b.d.problems.count() == 0) {
			continue
		}
		if rt, ok := b.route(r); ok {
			b.out.Gateway.Routes = append(b.out.Gateway.Routes, rt)
		}
	}
}

func (b *builder) route(r *route) (gateway.Route, bool) {
	rt := gateway.Route{Name: label(r.Name, r.ID, r.node), Public: r.public()}
	if len(r.Paths)+len(r.Hosts)+len(r.Methods)+len(r.Headers)+len(r.SNIs) == 0 {
		b.d.problems.add(r.node, "", "a route needs at least one of methods, hosts, headers, paths and snis", "")
		return rt, false
	}
	for _, p := range r.Protocols {
		if p != schemeHTTP && p != schemeHTTPS && !isGRPC(p) {
			b.d.notSupported(r.node.get("protocols"), "protocol "+p)
			return rt, false
		}
	}
	place := &routePlace{route: r, vault: r.node.holdsVault()}
	b.places[rt.Name] = place
	m := &rt.Match
	m.Hosts, m.Methods, m.SNIs, m.Headers = hostConditions(r.Hosts), r.Methods, r.SNIs, headerConditions(r.Headers)
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		if strings.Contains(name, "_") {
			b.warnf(r.node.get("headers"), "the condition on %q does not look at the field %q, as Kong does; write it as clients do", name, strings.ReplaceAll(name, "_", "-"))
		}
	}
	b.paths(r, m, place)
	if len(m.Regexps) > 0 {
		rt.Priority = r.RegexPriority
	}
	f := &rt.Forward
	f.StripPath, f.PreserveHost, f.KongForwarded = r.StripPath && len(m.Prefixes)+len(m.Regexps) > 0, r.PreserveHost, true
	if !r.ResponseBuffering || r.streams() {
		f.FlushInterval = -1
	}
	rt.Handler = http.HandlerFunc(noService)
	if s := r.of; s != nil {
		if h := b.handlers[s]; h != nil { // else it is reported
			rt.Handler = h
		}
		if h := b.splitOf(r); h != nil {
			rt.Handler = h
		}
		f.Path = strings.TrimRight(s.Path, " ")
		if f.Path == "/" {
			f.Path = ""
		}
		f.ConcatPath = r.PathHandling == "v1" && f.Path != ""
		if !r.streams() {
			f.Upgrade = gateway.Upgrade{Protocols: []string{"websocket"}, Idle: milliseconds(s.ReadTimeout)}
		}
		if up := b.in.upstreamByName[s.Host]; up != nil && up.HostHead != "" && !f.PreserveHost {
			f.Host = up.HostHead
			place.vault = place.vault || isVault(up.node.get("host_header"))
		}
	}
	if r.RequestBuffering && !r.streams() {
		rt.Handler = &bufferedRequests{next: rt.Handler}
	}
	if !slices.Contains([]int{426, 301, 302, 307, 308}, r.RedirectStatus) {
		b.d.fail(r.node.get("https_redirect_status_code"), "is not one of 426, 301, 302, 307, 308")
	}
	rt.Plugins = append(r.guard(), b.chain(r)...)
	b.putMirror(r, &rt)
	return rt, true
}

// paths makes conditions of the paths of a route.
func (b *builder) paths(r *route, m *gateway.Match, place *routePlace) {
	for i, p := range r.Paths {
		n := r.node.get("paths").items[i]
		switch expr, isExpr := strings.CutPrefix(p, "~"); {
		case isExpr:
			m.Regexps, place.regexps = append(m.Regexps, expr), append(place.regexps, i)
		case b.doc.Format != "3.0" && isRegex(p):
			m.Regexps, place.regexps = append(m.Regexps, p), append(place.regexps, i)
		case !strings.HasPrefix(p, "/"):
			b.d.fail(n, "should start with: / (fixed path) or ~/ (regex path)")
		case strings.Contains(p, "//"):
			b.d.fail(n, "must not have empty segments")
		default:
			m.Prefixes, place.prefixes = append(m.Prefixes, p), append(place.prefixes, i)
		}
	}
}

// public tells whether somebody has said that nobody need authenticate here, which saves a warning.
func (r *route) public() bool {
	return slices.Contains(r.Tags, "public") || r.of != nil && slices.Contains(r.of.Tags, "public")
}

// hostConditions puts the IPv6 addresses among hosts in brackets, without which Kong takes them, too.
func hostConditions(hosts []string) []string {
	out := slices.Clone(hosts)
	for i, h := range hosts {
		if a, err := netip.ParseAddr(h); err == nil && a.Is6() {
			out[i] = "[" + h + "]"
		}
	}
	return out
}

// headerConditions writes Kong's conditions on headers as ours: an expression begins with ~*, and any other value stands for
// itself.
func headerConditions(headers map[string][]string) map[string][]string {
	if len(headers) == 0 {
		return nil
	}
	out := make(map[string][]string, len(headers))
	for name, values := range headers {
		for _, v := range values {
			switch expr, isExpr := strings.CutPrefix(v, "~*"); {
			case isExpr:
				v = "~" + expr
			case strings.HasPrefix(v, "~"):
				v = "~^" + regexp.QuoteMeta(v) + "$"
			}
			out[name] = append(out[name], v)
		}
		if len(values) == 0 {
			out[name] = nil
		}
	}
	return out
}

// buildUnmatched puts the plugins that run on a 404, too, around everything, for requests that no route takes.
func (b *builder) buildUnmatched() {
	b.out.Gateway.Plugins = append(b.out.Gateway.Plugins, &kongHeaders{b.options.Headers})
	for _, t := range b.order {
		if p := b.at[scope{}][t.Name]; t.Unmatched && p != nil {
			b.out.Gateway.Plugins = append(b.out.Gateway.Plugins, &unmatched{b.instances[p]})
		}
	}
}

// buildCertificates reads the certificates and gives each to its names.
func (b *builder) buildCertificates() {
	b.out.certificates = map[string]*tls.Certificate{}
	for _, c := range b.in.certs {
		cert, err := tls.X509KeyPair([]byte(c.Cert), []byte(c.Key))
		c.Key = ""
		if err != nil {
			b.d.problems.add(c.node, "", "certificate and key do not make a pair: "+errText(err), "")
			continue
		}
		for _, s := range c.SNIs {
			name := strings.ToLower(strings.TrimSuffix(s.Name, "."))
			if !isServerName(name) {
				b.d.fail(s.node.get("name"), "is no server name that clients send; write it as example.com, *.example.com or example.*, or * for all")
				continue
			}
			if b.out.certificates[name] != nil {
				b.d.problems.add(s.node, "", fmt.Sprintf("another certificate has the SNI %q, too", s.Name), "")
				continue
			}
			b.out.certificates[name] = &cert
		}
		c.pair = &cert
		if len(c.SNIs) == 0 && !c.presented {
			b.warnf(c.node, "the certificate has no snis and is nobody's client_certificate, and so is never used")
		}
	}
}

// errText is the text of an error of package tls, which quotes nothing of the key.
func errText(err error) string { return strings.TrimPrefix(err.Error(), "tls: ") }

// closeAll closes what was made for a file that is not used.
func closeAll(list []io.Closer) {
	for _, c := range list {
		_ = c.Close()
	}
}
