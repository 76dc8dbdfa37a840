package balancer

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

// Target is one server of an upstream.
type Target struct {
	// URL says where it is: http or https, a host, optionally a port and a path that goes before every request's own.
	// Nothing else: no user information, query or fragment.
	URL string
	// Host is what the target is asked for by, in Host and in a TLS handshake, whose certificate must be for it, where that is not the
	// host of URL, but the name of a service that is found at many addresses: a host and optionally a port. Targets with one host
	// and port in URL have one Host. When it changes, connections that are open stay in use. Empty means the host of URL.
	Host string
	// Socket is the path of a Unix socket to connect to. The host of URL then only names the target: in Host, in a TLS handshake
	// and in logs. A first "@" stands for a socket without a file (Linux). Targets with one host and port have one Socket. When it
	// changes, connections that are open stay in use. Empty means the host of URL.
	Socket string
	// Weight is its share of the traffic, relative to the other targets', 1 to 65535. 0 means DefaultWeight; NoTraffic
	// keeps the target in the pool without sending it anything. Other negative weights are errors.
	Weight int
	// Priority is the tier it belongs to: 0, the default, comes first. Targets of another tier get requests when all of those
	// before it are out, take no traffic or were tried, or in part, when more than 29 % of their weight is out. Negative
	// numbers are errors.
	Priority int
	// Zone is where the target is, such as a data centre; see Config.Zone. Default: nowhere.
	Zone string
}

const (
	// DefaultWeight is the weight of a target that has none, as in Kong.
	DefaultWeight = 100
	// NoTraffic is the weight of a target that gets no requests.
	NoTraffic = -1
	// MaxWeight is the largest weight.
	MaxWeight = 65535
	// MaxTargets is how many targets a pool can have.
	MaxTargets = 65535
)

// ConfigError is one problem of a [Config], or of the targets given to [Pool.SetTargets].
type ConfigError struct {
	// Field names the field, and the value where there is one: Targets[0].URL "ftp://x".
	Field string
	// Problem says what is wrong with it and what to do.
	Problem string
}

// Error implements error.
func (e *ConfigError) Error() string { return "balancer: Config." + e.Field + ": " + e.Problem }

// parsed is a target that was found good.
type parsed struct {
	target Target
	url    *url.URL
	key    string // two URLs with one key are one target
	weight int    // 0 for NoTraffic
	host   string // that requests ask for; "" for that of url
}

// parseTargets checks all targets and joins the problems.
func parseTargets(targets []Target) ([]parsed, error) {
	if len(targets) == 0 {
		return nil, &ConfigError{Field: "Targets", Problem: "is empty; list at least one target"}
	}
	if len(targets) > MaxTargets {
		return nil, &ConfigError{Field: "Targets", Problem: fmt.Sprintf("has %d entries, at most %d can be balanced", len(targets), MaxTargets)}
	}
	var errs []error
	seen, sockets, hosts := make(map[string]int, len(targets)), map[string]string{}, map[string]string{}
	out := make([]parsed, 0, len(targets))
	for i, t := range targets {
		p := parsed{target: t, weight: t.Weight}
		switch {
		case t.Weight == 0:
			p.weight = DefaultWeight
		case t.Weight == NoTraffic:
			p.weight = 0
		case t.Weight < 0 || t.Weight > MaxWeight:
			errs = append(errs, &ConfigError{
				Field:   fmt.Sprintf("Targets[%d].Weight %d", i, t.Weight),
				Problem: fmt.Sprintf("must be 1 to %d, 0 for the default of %d, or NoTraffic", MaxWeight, DefaultWeight),
			})
		}
		if t.Priority < 0 {
			errs = append(errs, &ConfigError{Field: fmt.Sprintf("Targets[%d].Priority %d", i, t.Priority), Problem: "is negative; 0 is the first tier"})
		}
		field := fmt.Sprintf("Targets[%d].URL %q", i, t.URL)
		u, key, problem := parseURL(t.URL)
		if problem != "" {
			errs = append(errs, &ConfigError{Field: field, Problem: problem})
			continue
		}
		if problem := checkSocket(t.Socket); problem != "" {
			errs = append(errs, &ConfigError{Field: fmt.Sprintf("Targets[%d].Socket %q", i, t.Socket), Problem: problem})
			continue
		}
		if socket, ok := sockets[address(u)]; ok && socket != t.Socket {
			errs = append(errs, &ConfigError{
				Field:   fmt.Sprintf("Targets[%d].Socket %q", i, t.Socket),
				Problem: fmt.Sprintf("differs from %q, the Socket of another target with the same host and port; give one of them another host", socket),
			})
			continue
		}
		sockets[address(u)] = t.Socket
		if problem := checkHost(t.Host); problem != "" {
			errs = append(errs, &ConfigError{Field: fmt.Sprintf("Targets[%d].Host %q", i, t.Host), Problem: problem})
			continue
		}
		if host, ok := hosts[address(u)]; ok && host != t.Host {
			errs = append(errs, &ConfigError{
				Field:   fmt.Sprintf("Targets[%d].Host %q", i, t.Host),
				Problem: fmt.Sprintf("differs from %q, the Host of another target at the same host and port; put them into pools of their own", host),
			})
			continue
		}
		hosts[address(u)] = t.Host
		if first, ok := seen[key]; ok {
			errs = append(errs, &ConfigError{Field: field, Problem: fmt.Sprintf("is the same target as Targets[%d]; give one of them the weight of both", first)})
			continue
		}
		seen[key] = i
		p.url, p.key, p.host = u, key, hostField(t, u.Scheme)
		out = append(out, p)
	}
	return out, errors.Join(errs...)
}

// checkHost returns what is wrong with the Host of a target.
func checkHost(host string) string {
	if host == "" {
		return ""
	}
	if _, _, err := canonical.Host(host); err != nil {
		return "is not a host with an optional port; an internationalised name is written in its ASCII form"
	}
	return ""
}

// hostField is the Host of a target as requests have it: without the port that goes without saying.
func hostField(t Target, scheme string) string {
	return strings.TrimSuffix(t.Host, ":"+defaultPort(scheme))
}

// serverName is the name for a TLS handshake.
func serverName(host string) string {
	name, _, err := canonical.Host(host)
	if err != nil {
		return ""
	}
	return name
}

// maxSocket is how long the path of a socket can be on the systems with the least room for it.
const maxSocket = 103

// checkSocket returns what is wrong with the path of a socket.
func checkSocket(path string) string {
	switch {
	case path == "":
		return ""
	case len(path) > maxSocket:
		return fmt.Sprintf("is longer than the %d bytes that every system takes", maxSocket)
	case path[0] != '/' && (path[0] != '@' || len(path) == 1):
		return "must be an absolute path, or a name behind @"
	case strings.ContainsRune(path, 0):
		return "holds a zero byte"
	}
	return ""
}

// address is the host and port of a URL, as dialers are asked for them.
func address(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = defaultPort(u.Scheme)
	}
	return strings.ToLower(net.JoinHostPort(u.Hostname(), port))
}

// parseURL returns the URL of a target and what identifies it, or what is wrong with it.
func parseURL(s string) (u *url.URL, key, problem string) {
	if s == "" {
		return nil, "", "is empty; write http://host:port"
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, "", "is not a URL (RFC 3986)" + withScheme(s) // the error would repeat the whole text
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, "", "scheme must be http or https" + withScheme(s)
	case u.Opaque != "" || u.Host == "":
		return nil, "", "has no host; write " + u.Scheme + "://host:port"
	case u.User != nil:
		return nil, "", "must not hold user information; set an Authorization field instead"
	case u.RawQuery != "" || u.ForceQuery:
		return nil, "", "must not have a query"
	case u.Fragment != "" || strings.Contains(s, "#"):
		return nil, "", "must not have a fragment"
	}
	host, port, err := canonical.Host(u.Host)
	if err != nil {
		return nil, "", "has no valid host and port; an internationalised name is written in its ASCII form, a port is 1 to 65535"
	}
	path, err := canonical.Path(u, canonical.PathOptions{AllowEncodedSlash: true})
	if err != nil || u.Path != "" && path != u.EscapedPath() {
		return nil, "", "has a path that is not in canonical form; write it without dot segments, repeated slashes or needless escapes"
	}
	if port == "" {
		port = defaultPort(u.Scheme)
	}
	key = u.Scheme + "://" + host + ":" + port + strings.TrimSuffix(path, "/")
	return u, key, ""
}

// withScheme is the remedy for what is a target but for its scheme, such as 10.0.0.1:8080 or localhost:8080, which
// looks like the scheme localhost.
func withScheme(s string) string {
	if strings.Contains(s, "://") || s[0] == '/' {
		return ""
	}
	if _, _, problem := parseURL("http://" + s); problem != "" {
		return ""
	}
	return "; write http://" + s
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}
