package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/balancer/discovery"
)

// Defaults of [Config].
const (
	DefaultMinTTL   = time.Second
	DefaultMaxTTL   = 5 * time.Minute
	DefaultTimeout  = 2 * time.Second
	DefaultAttempts = 2
)

const (
	shortest    = 10 * time.Millisecond
	longest     = 24 * time.Hour
	mostServers = 16
	mostTries   = 10
	resolvConf  = "/etc/resolv.conf"
)

// Config says what to ask, and whom.
type Config struct {
	// URL is that of the service, with the name in the place of the host, such as http://users.internal:8080. Targets have its scheme,
	// port and path, and are asked for by its host. With SRV it may be empty: then targets are http, and are asked for by the names
	// that the records say.
	URL string
	// SRV is the name of SRV records, such as _http._tcp.users.internal. The targets' names, ports, weights and priorities are
	// those of the records; a weight of 0 is 1. Empty: the addresses of the host of URL are asked for.
	SRV string
	// Weight and Priority are those of each target; not with SRV. Zone is that of each target.
	Weight, Priority int
	Zone             string
	// Family says which addresses of a name are used. Default discovery.PreferIPv4, which asks for those of IPv6 only if there
	// are no others. Of AllFamilies both must be found out.
	Family discovery.Family
	// Servers are the addresses of the servers, such as 10.0.0.53, 10.0.0.53:5353 or [2001:db8::53]:53, at most 16. The first is asked
	// first, until another has answered where it did not. Default: those of ResolvConf, which is read again for each question.
	Servers []string
	// ResolvConf is a file as resolv.conf(5) has it, of which only the nameserver lines are used. Default /etc/resolv.conf.
	ResolvConf string
	// MinTTL and MaxTTL bound for how long an answer holds. It is asked again up to a tenth later than that, by chance, so that
	// gateways do not all ask at once. Defaults 1 s and 5 min; 10 ms to 24 h. After a failure it is MinTTL at first, and doubles up to
	// 30 s or MaxTTL; that there is nothing of a name holds for as long as the zone says, within the same bounds.
	MinTTL, MaxTTL time.Duration
	// Timeout is how long a server has for an answer. Default 2 s; at least 1 ms.
	Timeout time.Duration
	// Attempts is how often each server is asked before a question has failed. Default 2; at most 10. All but the first are without
	// EDNS, which some servers and firewalls do not bear.
	Attempts int
	// MissingIsEmpty takes the answer that a name does not exist (NXDOMAIN) to mean that there are no targets, as the servers of
	// registries say it of a service without healthy instances: see balancer.Discovery.AllowEmpty. By default it is an error, since
	// the name may be misspelled. That a name exists, but has no such records, always means that there are none.
	MissingIsEmpty bool
	// Dial makes the connections to servers; network is udp or tcp. Messages on a connection that is no net.PacketConn begin with
	// their length, as over TCP. Nil means a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// check returns what is wrong with c.
func (c *Config) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("dns: Config."+format, args...)) }
	if c.URL != "" || c.SRV == "" {
		if problem := checkURL(c.URL); problem != "" {
			bad("URL %q %s", c.URL, problem)
		}
	}
	if c.SRV != "" {
		if !isHost(c.SRV) {
			bad("SRV %q is no name; write it as _http._tcp.users.internal", c.SRV)
		}
		if c.Weight != 0 || c.Priority != 0 {
			bad("Weight %d and Priority %d are set beside SRV, whose records say them", c.Weight, c.Priority)
		}
	}
	if c.Weight < balancer.NoTraffic || c.Weight > balancer.MaxWeight {
		bad("Weight %d must be 1 to %d, 0 for the default, or balancer.NoTraffic", c.Weight, balancer.MaxWeight)
	}
	if c.Priority < 0 {
		bad("Priority %d is negative; 0 is the first tier", c.Priority)
	}
	if c.Family > discovery.AllFamilies {
		bad("Family %d is none; use discovery.PreferIPv4 or another constant", c.Family)
	}
	for _, f := range []struct {
		name  string
		d     time.Duration
		least time.Duration
	}{{"MinTTL", c.MinTTL, shortest}, {"MaxTTL", c.MaxTTL, shortest}, {"Timeout", c.Timeout, time.Millisecond}} {
		if f.d != 0 && (f.d < f.least || f.d > longest) {
			bad("%s %v must be %v to %v, or 0 for the default", f.name, f.d, f.least, longest)
		}
	}
	if low, high := cmp.Or(c.MinTTL, DefaultMinTTL), cmp.Or(c.MaxTTL, DefaultMaxTTL); low > high {
		bad("MinTTL %v is more than the MaxTTL of %v", low, high)
	}
	if c.Attempts < 0 || c.Attempts > mostTries {
		bad("Attempts %d must be 1 to %d, or 0 for the default of %d", c.Attempts, mostTries, DefaultAttempts)
	}
	if len(c.Servers) > mostServers {
		bad("Servers has %d entries, at most %d are asked", len(c.Servers), mostServers)
	}
	for i, s := range c.Servers {
		if _, ok := serverAddr(s); !ok {
			bad("Servers[%d] %q is no address; write it as 10.0.0.53 or 10.0.0.53:53", i, s)
		}
	}
	if len(c.Servers) > 0 {
		if c.ResolvConf != "" {
			bad("ResolvConf %q is set beside Servers; leave one of them out", c.ResolvConf)
		}
	} else if _, err := readServers(cmp.Or(c.ResolvConf, resolvConf)); err != nil {
		bad("ResolvConf %q: %w", cmp.Or(c.ResolvConf, resolvConf), err)
	}
	return errors.Join(errs...)
}

// checkURL returns what is wrong with the URL of a service.
func checkURL(s string) string {
	if (discovery.DNS{URL: s}).Validate() != nil {
		return "is not the URL of a service; write it as http://name:port"
	}
	u, err := url.Parse(s)
	if err != nil {
		return "is not a URL"
	}
	if _, err := netip.ParseAddr(u.Hostname()); err != nil && !isHost(u.Hostname()) {
		return "has a host that is no name in DNS"
	}
	return ""
}

// isHost tells whether s is a name that a host may have, with or without a dot at its end: letters, digits, hyphens and
// underscores.
func isHost(s string) bool {
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

// serverAddr returns where a server is.
func serverAddr(s string) (string, bool) {
	if a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")); err == nil {
		return netip.AddrPortFrom(a, 53).String(), true
	}
	a, err := netip.ParseAddrPort(s)
	return a.String(), err == nil && a.Port() != 0
}

// readServers returns the servers of a file.
func readServers(path string) ([]string, error) {
	c, err := mdns.ClientConfigFromFile(path)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, s := range c.Servers {
		if addr, ok := serverAddr(s); ok && len(all) < mostServers {
			all = append(all, addr)
		}
	}
	if len(all) == 0 { // as resolv.conf(5) has it
		all = []string{"127.0.0.1:53", "[::1]:53"}
	}
	return all, nil
}
