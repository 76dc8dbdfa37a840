package config

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/balancer/healthcheck"
)

// checkTCP is the type of active checks that is not called as a scheme or protocol of services.
const checkTCP = "tcp"

// healthChecks says how an upstream finds out which targets can take requests. Times are in seconds, and 0 switches off whatever
// it stands for.
type healthChecks struct {
	Active    activeChecks  `kong:"active"`
	Passive   passiveChecks `kong:"passive"`
	Threshold float64       `kong:"threshold,default=0,min=0,max=100"`
}

type activeChecks struct {
	Type        string              `kong:"type,default=http,oneof=tcp|http|https|grpc|grpcs"`
	Timeout     float64             `kong:"timeout,default=1,min=0,max=65535"`
	Concurrency int64               `kong:"concurrency,default=10,min=1,max=2147483648"`
	Path        string              `kong:"http_path,default=/"`
	SNI         string              `kong:"https_sni"`
	Verify      bool                `kong:"https_verify_certificate,default=true"`
	Headers     map[string][]string `kong:"headers,secret"`
	Healthy     struct {
		Interval  float64 `kong:"interval,default=0,min=0,max=65535"`
		Statuses  []int   `kong:"http_statuses,default=200 302,min=100,max=999"`
		Successes int     `kong:"successes,default=0,min=0,max=255"`
	} `kong:"healthy"`
	Unhealthy struct {
		Interval float64 `kong:"interval,default=0,min=0,max=65535"`
		Statuses []int   `kong:"http_statuses,default=429 404 500 501 502 503 504 505,min=100,max=999"`
		TCP      int     `kong:"tcp_failures,default=0,min=0,max=255"`
		Timeouts int     `kong:"timeouts,default=0,min=0,max=255"`
		HTTP     int     `kong:"http_failures,default=0,min=0,max=255"`
	} `kong:"unhealthy"`
}

type passiveChecks struct {
	Type    string `kong:"type,default=http,oneof=tcp|http|https|grpc|grpcs"`
	Healthy struct {
		Statuses  []int `kong:"http_statuses,default=200 201 202 203 204 205 206 207 208 226 300 301 302 303 304 305 306 307 308,min=100,max=999"`
		Successes int   `kong:"successes,default=0,min=0,max=255"`
	} `kong:"healthy"`
	Unhealthy struct {
		Statuses []int `kong:"http_statuses,default=429 500 503,min=100,max=999"`
		TCP      int   `kong:"tcp_failures,default=0,min=0,max=255"`
		Timeouts int   `kong:"timeouts,default=0,min=0,max=255"`
		HTTP     int   `kong:"http_failures,default=0,min=0,max=255"`
	} `kong:"unhealthy"`
}

// made reports whether there are active checks.
func (c *activeChecks) made() bool { return c.Healthy.Interval > 0 || c.Unhealthy.Interval > 0 }

// takeOut reports whether active checks can take a target out, and bringBack whether they can bring it back.
func (c *activeChecks) takeOut() bool {
	return c.Healthy.Interval > 0 && c.Unhealthy.TCP+c.Unhealthy.Timeouts+c.Unhealthy.HTTP > 0
}

func (c *activeChecks) bringBack() bool { return c.Unhealthy.Interval > 0 && c.Healthy.Successes > 0 }

// secure reports whether active checks speak TLS, whatever the services do.
func (c *activeChecks) secure() bool { return c.Type == schemeHTTPS || c.Type == protocolGRPCS }

// takeOut reports whether requests can take a target out.
func (c *passiveChecks) takeOut() bool {
	return c.Unhealthy.TCP+c.Unhealthy.Timeouts+c.Unhealthy.HTTP > 0
}

// health is how an upstream finds out about its targets, and what distinguishes that from other ways for a reload.
type health struct {
	config balancer.Health
	key    string
}

// healthOf reads the health checks of an upstream. What is wrong with them is reported.
func (b *builder) healthOf(up *upstream) health {
	if !b.checkHealth(up) {
		b.bad[up] = true
		return health{}
	}
	c := &up.HealthChecks
	b.warnAboutHealth(up)
	if !c.Active.made() && !c.Passive.takeOut() {
		return health{config: balancer.Health{Passive: balancer.Passive{Off: true}}}
	}
	h := balancer.Health{MaxEjected: 1, Panic: -1, MinHealthy: c.Threshold / wholeShare, Passive: b.passiveOf(up)}
	if c.Active.made() {
		h.Active = b.activeOf(up)
	}
	key := fmt.Sprintf("%#v", h) // as yet without functions
	h.OnChange = b.healthLog(up.Name)
	if c.Active.made() {
		h.Active.Dial = b.options.Dial
	}
	if c.Active.made() && c.Active.secure() {
		config, kind := b.checkTLSOf(up)
		h.Active.TLS = func() *tls.Config { return config }
		key += " " + kind
	}
	return health{h, key}
}

// passiveOf is what requests say about the targets of an upstream.
func (b *builder) passiveOf(up *upstream) balancer.Passive {
	c := &up.HealthChecks.Passive
	if !c.takeOut() {
		return balancer.Passive{Off: true}
	}
	good := b.statuses(up, c.Healthy.Statuses, "passive", "healthy", "http_statuses")
	bad := without(b.statuses(up, c.Unhealthy.Statuses, "passive", "unhealthy", "http_statuses"), good)
	p := balancer.Passive{Statuses: bad, SuccessStatuses: good, Failures: failures(c.Unhealthy.TCP, c.Unhealthy.Timeouts, c.Unhealthy.HTTP)}
	if len(good) == 0 { // nothing is a success, which an empty list does not say: no request ends with this
		p.SuccessStatuses = []int{http.StatusContinue}
	}
	if len(bad) == 0 {
		p.Failures.HTTP = -1
	}
	if up.HealthChecks.Active.bringBack() { // and nothing else does
		p.EjectionTime, p.MaxEjectionTime = shortestCheck, shortestCheck
	}
	return p
}

// failures reads counters: 0 is one that does not count. A refused connection is one that failed.
func failures(tcp, timeouts, answers int) balancer.Failures {
	counted := func(n int) int {
		if n == 0 {
			return -1
		}
		return n
	}
	return balancer.Failures{Refused: -1, TCP: counted(tcp), Timeouts: counted(timeouts), HTTP: counted(answers)}
}

// without returns what is not in other: a status in both lists is a good one, as Kong looks there first.
func without(list, other []int) []int {
	return slices.DeleteFunc(list, func(s int) bool { return slices.Contains(other, s) })
}

// statuses returns those that an answer can have; never nil, as no list may mean another one.
func (b *builder) statuses(up *upstream, list []int, way ...string) []int {
	const last = 599
	out := make([]int, 0, len(list))
	for _, s := range list {
		if s <= last {
			out = append(out, s)
			continue
		}
		b.warnf(up.healthNode(way...), "the status %d is not looked at, as no answer has it", s)
	}
	return out
}

const (
	wholeShare     = 100 // percent
	shortestCheck  = time.Millisecond
	mostConcurrent = 1 << 20
	// noTimeout is what is in force where Kong sets none.
	noTimeout = 60
)

// interval returns the time between two checks; negative for none.
func interval(n float64) time.Duration {
	if n == 0 {
		return -1
	}
	return max(seconds(n), shortestCheck)
}

// activeOf is how the targets of an upstream are checked, apart from how connections are made.
func (b *builder) activeOf(up *upstream) balancer.Active {
	c := &up.HealthChecks.Active
	a := balancer.Active{
		Interval: interval(c.Healthy.Interval), UnhealthyInterval: interval(c.Unhealthy.Interval),
		Timeout:     max(seconds(cmp.Or(c.Timeout, noTimeout)), shortestCheck),
		Concurrency: int(min(c.Concurrency, mostConcurrent)),
		Successes:   cmp.Or(c.Healthy.Successes, -1),
		Failures:    failures(c.Unhealthy.TCP, c.Unhealthy.Timeouts, c.Unhealthy.HTTP),
	}
	host, header := cmp.Or(c.host(), up.HostHead), c.header()
	scheme := schemeHTTP
	if c.secure() {
		scheme = schemeHTTPS
	}
	switch c.Type {
	case checkTCP:
		a.Checker = healthcheck.TCP{}
	case protocolGRPC, protocolGRPCS:
		a.Checker = healthcheck.GRPC{Scheme: scheme, Authority: host}
	default:
		good := b.statuses(up, c.Healthy.Statuses, "active", "healthy", "http_statuses")
		bad := without(b.statuses(up, c.Unhealthy.Statuses, "active", "unhealthy", "http_statuses"), good)
		a.Checker = healthcheck.HTTP{Path: c.Path, Scheme: scheme, Host: host, Header: header, Statuses: good, FailureStatuses: bad}
	}
	return a
}

// host returns the Host among the headers; "" when there is none.
func (c *activeChecks) host() string {
	for name, values := range c.Headers {
		if strings.EqualFold(name, "Host") && len(values) > 0 {
			return values[0]
		}
	}
	return ""
}

// header returns the headers as requests have them, without Host.
func (c *activeChecks) header() http.Header {
	out := http.Header{}
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		if !strings.EqualFold(name, "Host") {
			for _, v := range c.Headers[name] {
				out.Add(name, v)
			}
		}
	}
	return out
}

// checkTLSOf is how checks speak TLS, and what distinguishes that from other ways for a reload. They also trust whom the services do.
func (b *builder) checkTLSOf(up *upstream) (*tls.Config, string) {
	c := &up.HealthChecks.Active
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: !c.Verify, ServerName: c.SNI} //nolint:gosec // as the file says
	if config.ServerName == "" {
		config.ServerName, _ = splitPort(up.HostHead)
	}
	var trusted []string
	for _, s := range b.in.services {
		if s.Host != up.Name || !s.verifies() || !c.Verify {
			continue
		}
		for _, a := range s.authorities {
			if a.authority == nil {
				continue // reported
			}
			if config.RootCAs == nil {
				config.RootCAs = systemAuthorities()
			}
			config.RootCAs.AddCert(a.authority)
			trusted = append(trusted, fmt.Sprintf("%x", sha256.Sum256(a.authority.Raw)))
		}
	}
	slices.Sort(trusted)
	presented := ""
	if up.client != nil && up.client.pair != nil {
		pair := up.client.pair
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil } // as for requests
		presented = fmt.Sprintf("%x", sha256.Sum256(slices.Concat(pair.Certificate...)))
	}
	return config, fmt.Sprintf("%t %q %q %q", c.Verify, config.ServerName, slices.Compact(trusted), presented)
}

func systemAuthorities() *x509.CertPool {
	pool, err := x509.SystemCertPool()
	if err != nil { // it has none
		return x509.NewCertPool()
	}
	return pool
}

// healthLog returns what logs that targets go and come.
func (b *builder) healthLog(name string) func(balancer.HealthChange) {
	logger := b.options.Logger
	return func(ch balancer.HealthChange) {
		level := slog.LevelWarn
		if ch.To == balancer.Healthy {
			level = slog.LevelInfo
		}
		attrs := []slog.Attr{
			slog.String("upstream", name), slog.String("target", ch.Target), slog.String("state", ch.To.String()), slog.String("reason", ch.Reason),
			slog.String("change", ch.String()),
		}
		if ch.Err != nil {
			attrs = append(attrs, slog.String("error", ch.Err.Error()))
		}
		cmp.Or(logger, slog.Default()).LogAttrs(context.Background(), level, "health of a target", attrs...) // a change is no request's
	}
}

// healthNode returns where a field of the health checks stands, or what it would stand in.
func (up *upstream) healthNode(way ...string) *node {
	n := up.node
	for _, step := range append([]string{"healthchecks"}, way...) {
		next := n.get(step)
		if next == nil {
			break
		}
		n = next
	}
	return n
}

// checkHealth reports what is wrong with the health checks of an upstream.
func (b *builder) checkHealth(up *upstream) bool {
	c, good := &up.HealthChecks.Active, true
	bad := func(n *node, problem string) {
		good = false
		b.d.fail(n, problem)
	}
	if up.HealthChecks.Threshold >= wholeShare {
		bad(up.healthNode("threshold"), "is never exceeded, so that no request would be answered; use less than 100")
	}
	switch at := up.healthNode("active", "http_path"); {
	case !strings.HasPrefix(c.Path, "/"):
		bad(at, "should start with: /")
	case strings.Contains(c.Path, "//"):
		bad(at, "must not have empty segments")
	case healthcheck.HTTP{Path: c.Path}.Validate() != nil:
		bad(at, "is no path that can be asked for")
	}
	if c.SNI != "" && (strings.Contains(c.SNI, "*") || !isServerName(c.SNI)) {
		bad(up.healthNode("active", "https_sni"), "is no name of a server; write it without a port, and no address")
	}
	hosts := 0
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		at, values := up.healthNode("active", "headers", name), c.Headers[name]
		isHost := strings.EqualFold(name, "Host")
		if isHost {
			hosts += len(values)
		}
		switch {
		case !isHost && healthcheck.HTTP{Header: http.Header{name: nil}}.Validate() != nil:
			bad(at, "is no name of a field, or of one that is for the connection")
		case !isHost && healthcheck.HTTP{Header: http.Header{name: values}}.Validate() != nil:
			bad(at, "has a value that no field can have")
		case isHost && hosts > 1:
			bad(at, "a request has one Host")
		case isHost && len(values) > 0 && healthcheck.HTTP{Host: values[0]}.Validate() != nil:
			bad(at, "is no host, or host and port")
		}
	}
	return good
}

// warnAboutHealth says where health checks do other than they seem to.
func (b *builder) warnAboutHealth(up *upstream) {
	c := &up.HealthChecks
	active, passive := c.Active.made(), c.Passive.takeOut()
	remedy := "set active.unhealthy.interval and active.healthy.successes to have checks bring it back"
	switch {
	case !active && !passive:
		if c.Threshold > 0 {
			b.warnf(up.healthNode("threshold"), "threshold is without effect, as there are no health checks")
		}
		return
	case !passive && !c.Active.takeOut():
		b.warnf(up.healthNode("active"), "the health checks of upstream %q take nothing out: they count no failures of healthy targets", up.Name)
	case c.Active.bringBack():
	case c.Active.takeOut():
		b.warnf(up.healthNode("active"), "a target of upstream %q that its checks take out never comes back; %s", up.Name, remedy)
	default:
		b.warnf(up.healthNode("passive"), "a target of upstream %q that requests take out comes back after %v, and after up to %v the next times, as there is no Admin API to do it; %s",
			up.Name, balancer.DefaultEjectionTime, balancer.DefaultMaxEjectionTime, remedy)
	}
	if !active || c.Active.Type == schemeHTTP || c.Active.Type == schemeHTTPS {
		return
	}
	if c.Active.Path != "/" {
		b.warnf(up.healthNode("active", "http_path"), "http_path is without effect, as the type of the checks is %s", c.Active.Type)
	}
	if len(c.Active.Headers) > 0 && (c.Active.Type == checkTCP || len(c.Active.header()) > 0) {
		b.warnf(up.healthNode("active", "headers"), "headers are without effect, as the type of the checks is %s", c.Active.Type)
	}
}

// warnAboutScheme says where checks speak otherwise than services, as that is what the type says.
func (b *builder) warnAboutScheme(up *upstream, scheme string) {
	c := &up.HealthChecks.Active
	if !c.made() || c.Type == checkTCP || c.secure() == (scheme == schemeHTTPS) {
		return
	}
	b.warnf(up.healthNode("active", "type"), "the checks of upstream %q are made over %s, and a service of it is asked over %s", up.Name, c.Type, scheme)
}
