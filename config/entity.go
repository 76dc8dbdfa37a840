package config

import (
	"crypto/tls"
	"crypto/x509"
)

// The entities of a file, with Kong's names, defaults and bounds. What has the option unsupported is known to Kong and does
// nothing here.

// document is the top level of a file.
type document struct {
	Format    string `kong:"_format_version,required,oneof=1.1|2.1|3.0"`
	Transform bool   `kong:"_transform,default=true"`
	Info      *info  `kong:"_info"`
	Workspace string `kong:"_workspace"`

	Services       []*service       `kong:"services"`
	Routes         []*route         `kong:"routes"`
	Upstreams      []*upstream      `kong:"upstreams"`
	Targets        []*target        `kong:"targets"`
	Consumers      []*consumer      `kong:"consumers"`
	ConsumerGroups []*consumerGroup `kong:"consumer_groups"`
	GroupMembers   []*groupMember   `kong:"consumer_group_consumers"`
	GroupPlugins   []map[string]any `kong:"consumer_group_plugins,unsupported"`
	Plugins        []*plugin        `kong:"plugins"`
	Certificates   []*certificate   `kong:"certificates"`
	SNIs           []*sni           `kong:"snis"`
	CACertificates []*caCertificate `kong:"ca_certificates"`

	KeyAuths   []*keyAuthCredential `kong:"keyauth_credentials"`
	ACLs       []*aclGroup          `kong:"acls"`
	BasicAuths []map[string]any     `kong:"basicauth_credentials,unsupported"`
	HMACAuths  []map[string]any     `kong:"hmacauth_credentials,unsupported"`
	JWTs       []map[string]any     `kong:"jwt_secrets,unsupported"`
	OAuth2s    []map[string]any     `kong:"oauth2_credentials,unsupported"`
	OAuth2Toks []map[string]any     `kong:"oauth2_tokens,unsupported"`

	Vaults       []map[string]any `kong:"vaults,unsupported"`
	Keys         []map[string]any `kong:"keys,unsupported"`
	KeySets      []map[string]any `kong:"key_sets,unsupported"`
	FilterChains []map[string]any `kong:"filter_chains,unsupported"`
	Workspaces   []map[string]any `kong:"workspaces,unsupported"`
	Parameters   []map[string]any `kong:"parameters,unsupported"`
}

// info is what decK notes in the files it writes.
type info struct {
	SelectTags []string       `kong:"select_tags"`
	Defaults   map[string]any `kong:"defaults,unsupported"`
}

// origin is where an entity stands.
type origin struct{ node *node }

func (o *origin) at(n *node) { o.node = n }

type service struct {
	origin

	ID                string   `kong:"id"`
	Name              string   `kong:"name,nonempty"`
	URL               string   `kong:"url,nonempty"`
	Protocol          string   `kong:"protocol,default=http,oneof=http|https|grpc|grpcs|tcp|tls|udp|tls_passthrough|ws|wss"`
	Host              string   `kong:"host,nonempty"`
	Port              int      `kong:"port,default=80,min=0,max=65535"`
	Path              string   `kong:"path"`
	Retries           int      `kong:"retries,default=5,min=0,max=32767"`
	ConnectTimeout    int      `kong:"connect_timeout,default=60000,min=1,max=2147483646"`
	WriteTimeout      int      `kong:"write_timeout,default=60000,min=1,max=2147483646"`
	ReadTimeout       int      `kong:"read_timeout,default=60000,min=1,max=2147483646"`
	Enabled           bool     `kong:"enabled,default=true"`
	Tags              []string `kong:"tags"`
	CreatedAt         int64    `kong:"created_at"`
	UpdatedAt         int64    `kong:"updated_at"`
	ClientCertificate ref      `kong:"client_certificate"`
	TLSVerify         *bool    `kong:"tls_verify"`
	TLSVerifyDepth    *int     `kong:"tls_verify_depth,min=0,max=64"`
	CACertificates    []string `kong:"ca_certificates,nonempty"`

	Routes  []*route  `kong:"routes"`
	Plugins []*plugin `kong:"plugins"`

	key         string           // its name, its id, or where it is: what it is known by from one file to the next
	client      *certificate     // what ClientCertificate names
	authorities []*caCertificate // what CACertificates names
}

type route struct {
	origin

	ID                string              `kong:"id"`
	Name              string              `kong:"name,nonempty"`
	Protocols         []string            `kong:"protocols,default=http https,nonempty,each=http|https|grpc|grpcs|tcp|tls|udp|tls_passthrough|ws|wss"`
	Methods           []string            `kong:"methods"`
	Hosts             []string            `kong:"hosts"`
	Paths             []string            `kong:"paths"`
	Headers           map[string][]string `kong:"headers"`
	SNIs              []string            `kong:"snis"`
	Sources           []map[string]any    `kong:"sources,unsupported"`
	Destinations      []map[string]any    `kong:"destinations,unsupported"`
	RedirectStatus    int                 `kong:"https_redirect_status_code,default=426,min=301,max=426"`
	RegexPriority     int                 `kong:"regex_priority,default=0"`
	StripPath         bool                `kong:"strip_path,default=true"`
	PathHandling      string              `kong:"path_handling,default=v0,oneof=v0|v1"`
	PreserveHost      bool                `kong:"preserve_host"`
	RequestBuffering  bool                `kong:"request_buffering,default=true"`
	ResponseBuffering bool                `kong:"response_buffering,default=true"`
	Tags              []string            `kong:"tags"`
	CreatedAt         int64               `kong:"created_at"`
	UpdatedAt         int64               `kong:"updated_at"`
	Expression        string              `kong:"expression,unsupported"`
	Priority          int                 `kong:"priority,default=0,unsupported"`
	Service           ref                 `kong:"service"`

	Plugins []*plugin `kong:"plugins"`

	of  *service // what Service names, or the one it is nested in
	key string   // its name, its id, or what it matches
}

type upstream struct {
	origin

	ID        string    `kong:"id"`
	Name      string    `kong:"name,required,nonempty"`
	Algorithm string    `kong:"algorithm,default=round-robin,oneof=round-robin|consistent-hashing|least-connections|latency"`
	Slots     int       `kong:"slots,default=10000,min=10,max=65536"`
	HostHead  string    `kong:"host_header"`
	Tags      []string  `kong:"tags"`
	CreatedAt int64     `kong:"created_at"`
	UpdatedAt int64     `kong:"updated_at"`
	Targets   []*target `kong:"targets"`

	HashOn             string       `kong:"hash_on,default=none,oneof=none|consumer|ip|header|cookie|path|query_arg|uri_capture"`
	HashFallback       string       `kong:"hash_fallback,default=none,oneof=none|consumer|ip|header|cookie|path|query_arg|uri_capture"`
	HashOnHeader       string       `kong:"hash_on_header"`
	HashFallbackHeader string       `kong:"hash_fallback_header"`
	HashOnCookie       string       `kong:"hash_on_cookie"`
	HashOnCookiePath   string       `kong:"hash_on_cookie_path,default=/"`
	HashOnQuery        string       `kong:"hash_on_query_arg"`
	HashFallbackQuery  string       `kong:"hash_fallback_query_arg"`
	HashOnCapture      string       `kong:"hash_on_uri_capture"`
	HashFallbackCapt   string       `kong:"hash_fallback_uri_capture"`
	ClientCertificate  ref          `kong:"client_certificate"`
	UseSRVName         bool         `kong:"use_srv_name,default=false,unsupported"`
	HealthChecks       healthChecks `kong:"healthchecks"`

	client *certificate // what ClientCertificate names
}

type target struct {
	origin

	ID        string   `kong:"id"`
	Target    string   `kong:"target,required,nonempty"`
	Weight    int      `kong:"weight,default=100,min=0,max=65535"`
	Upstream  ref      `kong:"upstream"`
	Tags      []string `kong:"tags"`
	CreatedAt float64  `kong:"created_at"`
	UpdatedAt float64  `kong:"updated_at"`
}

type consumer struct {
	origin

	ID        string   `kong:"id"`
	Username  string   `kong:"username,nonempty"`
	CustomID  string   `kong:"custom_id,nonempty"`
	Tags      []string `kong:"tags"`
	Groups    []ref    `kong:"groups"`
	CreatedAt int64    `kong:"created_at"`
	UpdatedAt int64    `kong:"updated_at"`

	KeyAuths   []*keyAuthCredential `kong:"keyauth_credentials"`
	ACLs       []*aclGroup          `kong:"acls"`
	BasicAuths []map[string]any     `kong:"basicauth_credentials,unsupported"`
	HMACAuths  []map[string]any     `kong:"hmacauth_credentials,unsupported"`
	JWTs       []map[string]any     `kong:"jwt_secrets,unsupported"`
	OAuth2s    []map[string]any     `kong:"oauth2_credentials,unsupported"`
	Plugins    []*plugin            `kong:"plugins"`

	in []*consumerGroup // in the order of the file, those that list consumers last
}

type consumerGroup struct {
	origin

	ID        string    `kong:"id"`
	Name      string    `kong:"name,required,nonempty"`
	Tags      []string  `kong:"tags"`
	CreatedAt int64     `kong:"created_at"`
	UpdatedAt int64     `kong:"updated_at"`
	Consumers []ref     `kong:"consumers"`
	Plugins   []*plugin `kong:"plugins"`
}

// groupMember puts a consumer into a group.
type groupMember struct {
	origin

	Consumer ref `kong:"consumer"`
	Group    ref `kong:"consumer_group"`
}

type keyAuthCredential struct {
	origin

	ID        string   `kong:"id"`
	Key       string   `kong:"key,nonempty,secret,required"`
	TTL       int      `kong:"ttl,min=0,unsupported"`
	Consumer  ref      `kong:"consumer"`
	Tags      []string `kong:"tags"`
	CreatedAt int64    `kong:"created_at"`
}

type aclGroup struct {
	origin

	ID        string   `kong:"id"`
	Group     string   `kong:"group,required,nonempty"`
	Consumer  ref      `kong:"consumer"`
	Tags      []string `kong:"tags"`
	CreatedAt int64    `kong:"created_at"`
}

type certificate struct {
	origin

	ID        string   `kong:"id"`
	Cert      string   `kong:"cert,required,nonempty"`
	Key       string   `kong:"key,required,nonempty,secret"`
	CertAlt   string   `kong:"cert_alt,unsupported"`
	KeyAlt    string   `kong:"key_alt,unsupported,secret"`
	SNIs      []*sni   `kong:"snis"`
	Tags      []string `kong:"tags"`
	CreatedAt int64    `kong:"created_at"`
	UpdatedAt int64    `kong:"updated_at"`

	pair      *tls.Certificate // once it was read; nil where it is bad
	presented bool             // to targets
}

// caCertificate is an authority whose word is taken for the certificates of targets.
type caCertificate struct {
	origin

	ID         string   `kong:"id"`
	Cert       string   `kong:"cert,required,nonempty"`
	CertDigest string   `kong:"cert_digest"`
	Tags       []string `kong:"tags"`
	CreatedAt  int64    `kong:"created_at"`
	UpdatedAt  int64    `kong:"updated_at"`

	authority *x509.Certificate // once it was read; nil where it is bad
	trusted   bool              // by a service
}

type sni struct {
	origin

	ID          string   `kong:"id"`
	Name        string   `kong:"name,required,nonempty"`
	Certificate ref      `kong:"certificate"`
	Tags        []string `kong:"tags"`
	CreatedAt   int64    `kong:"created_at"`
	UpdatedAt   int64    `kong:"updated_at"`
}

// plugin is a plugin entity: one configuration at one scope.
type plugin struct {
	origin

	ID            string   `kong:"id"`
	Name          string   `kong:"name,required,nonempty"`
	InstanceName  string   `kong:"instance_name"`
	Enabled       bool     `kong:"enabled,default=true"`
	Protocols     []string `kong:"protocols,default=grpc grpcs http https,nonempty,each=http|https|grpc|grpcs|tcp|tls|udp|tls_passthrough|ws|wss"`
	Route         ref      `kong:"route"`
	Service       ref      `kong:"service"`
	Consumer      ref      `kong:"consumer"`
	ConsumerGroup ref      `kong:"consumer_group"`
	Tags          []string `kong:"tags"`
	CreatedAt     int64    `kong:"created_at"`
	UpdatedAt     int64    `kong:"updated_at"`
	Config        rawMap   `kong:"config"`

	route    *route
	service  *service
	consumer *consumer
	group    *consumerGroup
	schema   Schema // Config, decoded
}

// ref names another entity, by its name or its id: as a string, or as a map with one of the two.
type ref struct {
	name string
	node *node // nil when there is none
}

// rawMap is a map of a file that is read later, when it is known what it is.
type rawMap struct{ node *node }
