package consul

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway/balancer/discovery"
)

// Defaults of [Config].
const (
	DefaultAddress = "http://127.0.0.1:8500"
	DefaultWait    = time.Minute
)

const (
	shortestWait = time.Second
	longestWait  = 10 * time.Minute // which is Consul's own
	mostTags     = 64
)

// Config says what to ask, and whom.
type Config struct {
	// Address is the agent, such as https://consul.internal:8501, or unix:///run/consul.sock. Default http://127.0.0.1:8500.
	Address string
	// Service is the name of the service.
	Service string
	// Tags are those that an instance must have, all of them; at most 64.
	Tags []string
	// Filter is an expression of Consul's that an instance must match, such as `Service.Meta.version == "2"`.
	Filter string
	// Datacenter is where to look. Default: that of the agent.
	Datacenter string
	// Near has Consul begin its answer with what is near to a node, or to the agent ("_agent"). It changes only which of two
	// instances at one address is used. Namespace and Partition are those of Consul Enterprise. Empty: none is sent.
	Near, Namespace, Partition string
	// Token is sent as X-Consul-Token. It is in no error.
	Token string
	// Warning takes also instances whose checks warn, with the weight that they are registered with for that. Those with a check that is
	// critical, and those under maintenance, are never targets.
	Warning bool
	// URL is that of the service, such as https://users.internal/v1: its scheme and path are those of the targets, which are asked
	// for by its host. Default: http, and the addresses of the instances.
	URL string
	// ZoneMeta is the key in the metadata of a node that says its zone. Default, and for nodes without it: the zone of a target is its
	// datacenter.
	ZoneMeta string
	// Priority is that of each target.
	Priority int
	// Wait is for how long Consul may keep a question when nothing changes. It adds up to a sixteenth by chance. Default 1 min; 1 s
	// to 10 min. An agent that is gone without a word is noticed after that and 10 s more.
	Wait time.Duration
	// TLS is for https. Nil means the roots of this system. It is not changed.
	TLS *tls.Config
	// Dial makes the connections to the agent. Nil means a net.Dialer with a timeout of 5 s.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// check returns what is wrong with c.
func (c *Config) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("consul: Config."+format, args...)) }
	switch u, socket, err := parseAddress(c.Address); {
	case err != nil:
		bad("Address %q %w", c.Address, err)
	case c.TLS != nil && u.Scheme != "https":
		bad("TLS is set, and Address %q is not https", c.Address)
	case c.Dial != nil && socket != "":
		bad("Dial is set, and Address %q is a socket", c.Address)
	}
	if c.Service == "" {
		bad("Service is empty; name the service")
	}
	if len(c.Tags) > mostTags {
		bad("Tags has %d entries, at most %d are sent", len(c.Tags), mostTags)
	}
	for i, tag := range c.Tags {
		if tag == "" {
			bad("Tags[%d] is empty", i)
		}
	}
	for i := range len(c.Token) {
		if c.Token[i] <= ' ' || c.Token[i] > '~' {
			bad("Token holds a character at %d that no token has; is there a line break at its end?", i)
			break
		}
	}
	if c.URL != "" && serviceURL(c.URL) == nil {
		bad("URL %q is not the URL of a service; write it as https://name", c.URL)
	}
	if c.Priority < 0 {
		bad("Priority %d is negative; 0 is the first tier", c.Priority)
	}
	if c.Wait != 0 && (c.Wait < shortestWait || c.Wait > longestWait) {
		bad("Wait %v must be %v to %v, or 0 for the default of %v", c.Wait, shortestWait, longestWait, DefaultWait)
	}
	return errors.Join(errs...)
}

// parseAddress returns where an agent is: its URL, and the path of the socket if it is one.
func parseAddress(s string) (u *url.URL, socket string, err error) {
	if s == "" {
		s = DefaultAddress
	}
	if path, ok := strings.CutPrefix(s, "unix://"); ok {
		if !filepath.IsAbs(path) {
			return nil, "", errors.New("must have an absolute path, as unix:///run/consul.sock")
		}
		return &url.URL{Scheme: "http", Host: "localhost"}, path, nil
	}
	if u = serviceURL(s); u == nil {
		return nil, "", errors.New("is not the URL of an agent; write it as http://127.0.0.1:8500")
	}
	u.RawPath, u.Path = strings.TrimSuffix(u.EscapedPath(), "/"), strings.TrimSuffix(u.Path, "/")
	return u, "", nil
}

// serviceURL returns the URL of a service, nil if it is none.
func serviceURL(s string) *url.URL {
	if (discovery.DNS{URL: s}).Validate() != nil {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil
	}
	return u
}

// isHost tells whether s can be the host of a URL: an address without a zone, or a name.
func isHost(s string) bool {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Zone() == ""
	}
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}
