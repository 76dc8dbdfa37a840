package config

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/policy"
)

// Schema is the configuration of a plugin as a file has it: a pointer to a struct with a kong tag on each field, which holds
// the field's name and, separated by commas, required, default=V, min=N, max=N, oneof=A|B, each=A|B, nonempty, secret and
// unsupported; of a list, min and max are for its elements. Fields are strings, booleans, ints, float64s, lists and maps of these,
// structs, which have their defaults where they are not written, and pointers to them for what may be absent. A Schema may also have Check(*Check), for rules about several fields, StateKey() string: a plugin that
// was built before for the same scope under the same key, which is not empty, is used again; and Fields() map[string]string,
// the fields of the file by the names of those that errors of Build begin with, behind a package's: "keyauth: Names[0] …", "concurrency: Adaptive.Min …".
type Schema interface {
	// Build makes the plugin, once for each configuration in a file. Its error is reported at the configuration.
	Build(e *Env) (policy.Plugin, error)
}

// Check is what a Schema's Check method reports to.
type Check struct {
	d    *decoder
	node *node
	at   map[string]*node
}

// Failf reports a problem of a field by its name in the file; "" means the configuration as a whole.
func (c *Check) Failf(field, format string, args ...any) {
	n := c.node
	if f := c.at[field]; f != nil {
		n = f
	}
	c.d.problems.add(n, "", fmt.Sprintf(format, args...), "")
}

// Unsupportedf reports a field that asks for something Kong does and this module does not.
func (c *Check) Unsupportedf(field, format string, args ...any) {
	n := c.node
	if f := c.at[field]; f != nil {
		n = f
	}
	c.d.notSupported(n, fmt.Sprintf(format, args...))
}

// Has reports whether the file sets a field.
func (c *Check) Has(field string) bool { return c.at[field] != nil }

// Env is what a Schema builds its plugin from, beside its own fields. It is valid during Build only.
type Env struct {
	// Keys are the API keys of all consumers of the file.
	Keys auth.KeyStore
	// Logger is Options.Logger.
	Logger *slog.Logger

	consumers map[string]*policy.Consumer // by id and by username
	shared    *shared
	tables    *tables // those of this file, for plugins that are not taken over
	shadow    func(name string) *shadowService
	group     string // the id of the group the configuration is for; "" for none
}

// Consumer returns the consumer with that id or username.
func (e *Env) Consumer(name string) (*policy.Consumer, bool) {
	c, ok := e.consumers[name]
	return c, ok
}

// ServiceOf returns the id of the service of a route; "" where it has none.
func (e *Env) ServiceOf(route string) string { return e.shared.serviceOf(route) }

// shared is what all snapshots of a gateway share, so that plugins may be taken over from one to the next: what they find in
// the tables is always that of the snapshot that is served.
type shared struct {
	id       string // of this process
	requests atomic.Uint64
	tables   atomic.Pointer[tables]
}

type tables struct {
	service map[string]string        // by the name of the route
	group   map[string]string        // the first one, by the id of the consumer
	routes  map[string]*matchedRoute // by name; only when somebody asks
}

func (s *shared) serviceOf(route string) string {
	if t := s.tables.Load(); t != nil {
		return t.service[route]
	}
	return ""
}

func (s *shared) groupOf(consumer string) string {
	if t := s.tables.Load(); t != nil {
		return t.group[consumer]
	}
	return ""
}

// PluginType is a plugin a file may name.
type PluginType struct {
	// Name is its name, Priority its place: the higher runs earlier, as Kong's.
	Name     string
	Priority int
	// New returns a new Schema.
	New func() Schema
	// Unmatched: a global configuration also runs around requests no route takes, as Kong's log plugins do.
	Unmatched bool
	// NoConsumer: it cannot be configured for consumers, as those cannot that find out who the consumer is.
	NoConsumer bool
}

// Registry holds the plugins a file may name. The zero Registry holds none. It is changed before it is used.
type Registry struct{ types map[string]PluginType }

// Add adds a plugin, or replaces the one of its name.
func (r *Registry) Add(t PluginType) {
	if r.types == nil {
		r.types = map[string]PluginType{}
	}
	r.types[t.Name] = t
}

// Types returns all plugins, in the order in which they run.
func (r *Registry) Types() []PluginType {
	return slices.SortedFunc(maps.Values(r.types), func(a, b PluginType) int {
		if a.Priority != b.Priority {
			return b.Priority - a.Priority
		}
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
}

// Builtin returns a new Registry with the plugins of this module: Kong's, and breaker, concurrency, mirror and split, which Kong
// has not.
func Builtin() *Registry {
	r := &Registry{}
	r.Add(PluginType{Name: "correlation-id", Priority: 100001, New: func() Schema { return &correlationID{} }, Unmatched: true})
	r.Add(PluginType{Name: "key-auth", Priority: 1250, New: func() Schema { return &keyAuth{} }, NoConsumer: true})
	r.Add(PluginType{Name: "acl", Priority: 950, New: func() Schema { return &accessList{} }, NoConsumer: true})
	r.Add(PluginType{Name: "rate-limiting", Priority: 910, New: func() Schema { return &rateLimiting{} }})
	r.Add(PluginType{Name: "request-termination", Priority: 2, New: func() Schema { return &requestTermination{} }})
	// Around what fails, inside all that refuses.
	r.Add(PluginType{Name: "breaker", Priority: 1, New: func() Schema { return &circuitBreaker{} }, NoConsumer: true})
	// Inside the breaker: nothing waits for a circuit that is open.
	r.Add(PluginType{Name: "concurrency", Priority: 0, New: func() Schema { return &loadShedding{} }, NoConsumer: true})
	// What is let through is copied.
	r.Add(PluginType{Name: "mirror", Priority: -1, New: func() Schema { return &mirrorTo{} }, NoConsumer: true})
	// In the place of the service.
	r.Add(PluginType{Name: "split", Priority: -2, New: func() Schema { return &trafficSplit{} }, NoConsumer: true})
	return r
}

// kongs are the plugins Kong has beside those of the registry. Those that guard what is behind them are never left out,
// whatever Options say: a route would be open that was not.
//
//nolint:gochecknoglobals // a constant table
var kongs = map[string]bool{
	"acme": false, "ai-prompt-decorator": false, "ai-prompt-guard": true, "ai-prompt-template": false, "ai-proxy": false,
	"ai-request-transformer": false, "ai-response-transformer": false, "aws-lambda": true, "azure-functions": true,
	"basic-auth": true, "bot-detection": true, "cors": true, "datadog": false, "file-log": false, "grpc-gateway": false,
	"grpc-web": false, "hmac-auth": true, "http-log": false, "ip-restriction": true, "jwt": true, "ldap-auth": true,
	"loggly": false, "oauth2": true, "opentelemetry": false, "post-function": true, "pre-function": true, "prometheus": false,
	"proxy-cache": false, "redirect": true, "request-size-limiting": true, "request-transformer": true,
	"response-ratelimiting": true, "response-transformer": true, "session": true, "standard-webhooks": true, "statsd": false,
	"syslog": false, "tcp-log": false, "udp-log": false, "zipkin": false,
}
