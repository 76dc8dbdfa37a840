package config

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/gatehouse-go/gateway/auth/acl"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/ratelimit"
)

// keyAuth is Kong's key-auth.
type keyAuth struct {
	KeyNames        []string         `kong:"key_names,default=apikey,nonempty"`
	KeyInHeader     bool             `kong:"key_in_header,default=true"`
	KeyInQuery      bool             `kong:"key_in_query,default=true"`
	KeyInBody       bool             `kong:"key_in_body"`
	HideCredentials bool             `kong:"hide_credentials"`
	Anonymous       string           `kong:"anonymous"`
	RunOnPreflight  bool             `kong:"run_on_preflight,default=true"`
	Realm           string           `kong:"realm"`
	IdentityRealms  []map[string]any `kong:"identity_realms,unsupported"`
}

// Check implements the optional method of Schema.
func (k *keyAuth) Check(c *Check) {
	if !k.KeyInHeader && !k.KeyInQuery && !k.KeyInBody {
		c.Failf("", "one of key_in_header, key_in_query and key_in_body has to be true")
	}
}

// Fields implements the optional method of Schema.
func (*keyAuth) Fields() map[string]string {
	return map[string]string{"Names": "key_names", "Realm": "realm"}
}

// Build implements [Schema].
func (k *keyAuth) Build(e *Env) (policy.Plugin, error) {
	c := keyauth.Config{
		Consumers: e.Keys, HideCredentials: k.HideCredentials, Realm: k.Realm,
		SkipOptions: !k.RunOnPreflight, FirstPlace: true,
	}
	for place, set := range map[keyauth.Location]bool{keyauth.Header: k.KeyInHeader, keyauth.Query: k.KeyInQuery, keyauth.Body: k.KeyInBody} {
		if set {
			c.In |= place
		}
	}
	seen := map[string]bool{}
	for _, n := range k.KeyNames {
		for _, n := range [...]string{n, strings.ReplaceAll(n, "_", "-")} { // Kong finds api-key under api_key, too
			if folded := strings.ToLower(n); !seen[folded] {
				seen[folded] = true
				c.Names = append(c.Names, n)
			}
		}
	}
	if k.Anonymous != "" {
		anonymous, ok := e.Consumer(k.Anonymous)
		if !ok {
			return nil, fmt.Errorf("anonymous %q is no consumer of the file", k.Anonymous)
		}
		c.Anonymous, c.AnonymousOnInvalid = anonymous, true
	}
	return keyauth.New(c)
}

// accessList is Kong's acl.
type accessList struct {
	Allow      []string `kong:"allow"`
	Deny       []string `kong:"deny"`
	HideGroups bool     `kong:"hide_groups_header"`
	Always     bool     `kong:"always_use_authenticated_groups"`
	Whitelist  []string `kong:"whitelist,unsupported"`
	Blacklist  []string `kong:"blacklist,unsupported"`
}

// Check implements the optional method of Schema.
func (a *accessList) Check(c *Check) {
	switch {
	case len(a.Allow) > 0 && len(a.Deny) > 0:
		c.Failf("deny", "allow and deny exclude each other; use one of them")
	case len(a.Allow) == 0 && len(a.Deny) == 0:
		c.Failf("", "allow or deny is required")
	}
}

// Fields implements the optional method of Schema.
func (*accessList) Fields() map[string]string {
	return map[string]string{"Allow": "allow", "Deny": "deny"}
}

// Build implements [Schema].
func (a *accessList) Build(*Env) (policy.Plugin, error) {
	return acl.New(acl.Config{Allow: distinct(a.Allow), Deny: distinct(a.Deny), HideGroups: a.HideGroups})
}

// rateLimiting is Kong's rate-limiting.
type rateLimiting struct {
	Second        *int           `kong:"second,min=1"`
	Minute        *int           `kong:"minute,min=1"`
	Hour          *int           `kong:"hour,min=1"`
	Day           *int           `kong:"day,min=1"`
	Month         *int           `kong:"month,min=1"`
	Year          *int           `kong:"year,min=1"`
	LimitBy       string         `kong:"limit_by,default=consumer,oneof=consumer|credential|ip|service|header|path|consumer-group"`
	HeaderName    string         `kong:"header_name"`
	Path          string         `kong:"path"`
	Policy        string         `kong:"policy,default=local,oneof=local|cluster|redis"`
	FaultTolerant bool           `kong:"fault_tolerant,default=true"`
	HideHeaders   bool           `kong:"hide_client_headers"`
	ErrorCode     int            `kong:"error_code,default=429,min=100,max=599"`
	ErrorMessage  string         `kong:"error_message,default="`
	SyncRate      float64        `kong:"sync_rate,default=-1"`
	Redis         map[string]any `kong:"redis,unsupported,off=host:null|port:6379|username:null|password:null|database:0|timeout:2000|ssl:false|ssl_verify:false|server_name:null"`

	// What was written before there was redis, and is exported beside it.
	RedisHost       string `kong:"redis_host,unsupported"`
	RedisPort       int    `kong:"redis_port,default=6379,unsupported"`
	RedisUsername   string `kong:"redis_username,unsupported"`
	RedisPassword   string `kong:"redis_password,secret,unsupported"`
	RedisDatabase   int    `kong:"redis_database,default=0,unsupported"`
	RedisTimeout    int    `kong:"redis_timeout,default=2000,unsupported"`
	RedisSSL        bool   `kong:"redis_ssl,unsupported"`
	RedisSSLVerify  bool   `kong:"redis_ssl_verify,unsupported"`
	RedisServerName string `kong:"redis_server_name,unsupported"`
}

// limits lists the periods that are set, the shortest first.
func (r *rateLimiting) limits() (limits []ratelimit.Limit, fields []string) {
	for _, p := range []struct {
		field string
		n     *int
		limit func(int) ratelimit.Limit
	}{
		{"second", r.Second, ratelimit.PerSecond},
		{"minute", r.Minute, ratelimit.PerMinute},
		{"hour", r.Hour, ratelimit.PerHour},
		{"day", r.Day, ratelimit.PerDay},
		{"month", r.Month, ratelimit.PerMonth},
		{"year", r.Year, ratelimit.PerYear},
	} {
		if p.n != nil {
			limits, fields = append(limits, p.limit(*p.n)), append(fields, p.field)
		}
	}
	return limits, fields
}

// Check implements the optional method of Schema.
func (r *rateLimiting) Check(c *Check) {
	limits, fields := r.limits()
	if len(limits) == 0 {
		c.Failf("", "at least one of second, minute, hour, day, month and year is required")
	}
	for i := 1; i < len(limits); i++ {
		if limits[i].Requests < limits[i-1].Requests {
			c.Failf(fields[i], "the limit for %s (%d) cannot be lower than the limit for %s (%d)", fields[i], limits[i].Requests, fields[i-1], limits[i-1].Requests)
		}
	}
	switch {
	case r.LimitBy == hashHeader && r.HeaderName == "":
		c.Failf("limit_by", "limit_by header needs a header_name")
	case r.LimitBy == hashHeader && policy.ByHeader(r.HeaderName).Err() != nil:
		c.Failf("header_name", "%q is not a header name; use letters, digits and hyphens, as in X-Tenant", r.HeaderName)
	case r.LimitBy == "path" && r.Path == "":
		c.Failf("limit_by", "limit_by path needs a path")
	}
	if r.Policy != "local" {
		c.Unsupportedf("policy", "policy %s", r.Policy)
	}
	if r.ErrorCode < http.StatusBadRequest {
		c.Failf("error_code", "error_code %d is no error; use 400 to 599", r.ErrorCode)
	}
}

// StateKey tells whether the counters of a configuration that was loaded before count on.
func (r *rateLimiting) StateKey() string {
	limits, _ := r.limits()
	return fmt.Sprintf("%v %q %q %q %d %q %t", limits, r.LimitBy, r.HeaderName, r.Path, r.ErrorCode, r.ErrorMessage, r.HideHeaders)
}

// Build implements [Schema].
func (r *rateLimiting) Build(e *Env) (policy.Plugin, error) {
	limits, _ := r.limits()
	address := policy.ByClientAddress()
	key := address
	switch r.LimitBy {
	case "consumer":
		key = policy.ByConsumer().Or(policy.ByCredential()).Or(address)
	case "credential":
		key = policy.ByCredential().Or(address)
	case hashHeader:
		key = policy.ByHeader(r.HeaderName).Or(address)
	case "path":
		path := r.Path
		key = policy.ByFunc("path:"+path, func(req *http.Request) string {
			if policy.ExchangeFrom(req.Context()).Path() == path {
				return path
			}
			return ""
		}).Or(address)
	case "service":
		shared := e.shared
		key = policy.ByFunc("service", func(req *http.Request) string {
			return shared.serviceOf(policy.ExchangeFrom(req.Context()).Route())
		}).Or(address)
	case "consumer-group":
		shared, group := e.shared, e.group
		key = policy.ByFunc("consumer-group", func(req *http.Request) string {
			c := policy.ExchangeFrom(req.Context()).Consumer()
			if c == nil || group != "" {
				return group
			}
			return shared.groupOf(c.ID)
		}).Or(policy.ByConsumer()).Or(policy.ByCredential()).Or(address)
	}
	c := ratelimit.Config{
		Limits: limits, Algorithm: ratelimit.FixedWindow, Key: key, HideHeaders: r.HideHeaders, HideRetryAfter: r.HideHeaders,
		Status: r.ErrorCode, Message: r.ErrorMessage,
	}
	if !r.HideHeaders {
		c.Headers = ratelimit.HeadersPeriod | ratelimit.HeadersReset // what Kong sends
	}
	return ratelimit.New(c)
}

// distinct returns the values without repetitions.
func distinct(values []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, v := range values {
		if !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}
