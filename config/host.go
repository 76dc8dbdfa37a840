package config

import (
	"cmp"
	"net"
	"strconv"
	"strings"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/internal/canonical"
)

// checkHost reports what is wrong with where a service is.
func (b *builder) checkHost(s *service) bool {
	if s.Port == 0 {
		b.d.fail(cmp.Or(s.node.get("port"), s.node.get("url")), "is no port to connect to")
		return false
	}
	if _, _, err := canonical.Host(hostPort(s.Host, s.Port)); err != nil {
		b.d.fail(cmp.Or(s.node.get("host"), s.node.get("url")), "is no host: a name of letters, digits, -, _ and dots, or an address")
		return false
	}
	return true
}

// checkHosts reports what is wrong with the names and addresses of an upstream.
func (b *builder) checkHosts(up *upstream) {
	bad := func(n *node, problem string) {
		b.d.fail(n, problem)
		b.bad[up] = true
	}
	if name, port, err := canonical.Host(up.Name); err != nil || port != "" || strings.Trim(name, "0123456789.") == "" || strings.Contains(name, ":") {
		bad(up.node.get("name"), "is no name of a host: letters, digits, -, _ and dots, without a port, and no address")
	}
	for _, t := range up.Targets {
		if host, port := splitTarget(t.Target); port == "" {
			bad(t.node.get("target"), "is no host, or host and port")
		} else if _, _, err := canonical.Host(net.JoinHostPort(host, port)); err != nil {
			bad(t.node.get("target"), "is no host, or host and port")
		}
	}
	if _, _, err := canonical.Host(up.HostHead); up.HostHead != "" && err != nil {
		bad(up.node.get("host_header"), "is no host, or host and port")
	}
}

func hostPort(host string, port int) string {
	return net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(port))
}

// splitPort is the other way round, and takes a host alone, too.
func splitPort(s string) (host, port string) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return strings.Trim(s, "[]"), ""
	}
	return host, port
}

// splitTarget is the host and the port of a target; without a port it is Kong's.
func splitTarget(s string) (host, port string) {
	host, port = splitPort(s)
	return host, cmp.Or(port, "8000")
}

// targetsOf lists the targets of an upstream for one scheme. The last one written under an address counts, as in Kong.
func targetsOf(up *upstream, scheme string) []balancer.Target {
	var targets []balancer.Target
	at := map[string]int{}
	for _, t := range up.Targets {
		host, port := splitTarget(t.Target)
		weight := t.Weight
		if weight == 0 {
			weight = balancer.NoTraffic
		}
		address := net.JoinHostPort(host, port)
		if name, port, err := canonical.Host(address); err == nil { // one spelling of an address
			address = net.JoinHostPort(strings.Trim(name, "[]"), port)
		}
		target := balancer.Target{URL: scheme + "://" + address, Weight: weight}
		if i, twice := at[target.URL]; twice {
			targets[i] = target
			continue
		}
		at[target.URL] = len(targets)
		targets = append(targets, target)
	}
	return targets
}
