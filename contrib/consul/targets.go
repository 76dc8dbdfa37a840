package consul

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-go/gateway/balancer"
)

// state is what the checks of an instance say together: the worst of them.
type state uint8

const (
	passing state = iota
	warning
	critical
)

// state returns what the checks say. What they say that is not known is critical, also "maintenance".
func (i *instance) state() state {
	worst := passing
	for _, c := range i.Checks {
		switch c.Status {
		case "passing":
		case "warning":
			worst = max(worst, warning)
		default:
			return critical
		}
	}
	return worst
}

// targets returns the targets, ordered by URL, and what is wrong with instances that can be none.
func (s *Source) targets(list []instance) ([]balancer.Target, error) {
	targets := make([]balancer.Target, 0, len(list))
	var problems []string
	for n := range list {
		i := &list[n]
		state := i.state()
		if state == critical || state == warning && !s.c.Warning {
			continue
		}
		t, err := s.target(i, state)
		if err != nil {
			const most = 64
			problems = append(problems, fmt.Sprintf("%.*q %v", most, i.Service.ID, err))
			continue
		}
		targets = append(targets, t)
	}
	// The first at an address is the one: it is one server, that is registered twice.
	slices.SortStableFunc(targets, func(a, b balancer.Target) int { return cmp.Compare(a.URL, b.URL) })
	targets = slices.CompactFunc(targets, func(a, b balancer.Target) bool { return a.URL == b.URL })
	if len(problems) > 0 {
		return targets, fmt.Errorf("%d of %d instances are not used, such as %s", len(problems), len(list), slices.Min(problems))
	}
	return targets, nil
}

// target makes a target of an instance.
func (s *Source) target(i *instance, state state) (balancer.Target, error) {
	address := strings.TrimSuffix(strings.ToLower(cmp.Or(i.Service.Address, i.Node.Address)), ".")
	a, err := netip.ParseAddr(address)
	switch {
	case err == nil && (a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() || a.Unmap() == netip.AddrFrom4([4]byte{255, 255, 255, 255})), err != nil && !isHost(address):
		const most = 64
		return balancer.Target{}, fmt.Errorf("is at %.*q, which is no address", most, address)
	case err == nil:
		address = a.Unmap().String()
	}
	if i.Service.Port < 1 || i.Service.Port > 65535 {
		return balancer.Target{}, fmt.Errorf("has the port %d", i.Service.Port)
	}
	weight := 1
	if w := i.Service.Weights; w != nil {
		if weight = w.Passing; state == warning {
			weight = w.Warning
		}
	}
	switch {
	case weight < 0:
		return balancer.Target{}, errors.New("has a negative weight")
	case weight == 0:
		weight = balancer.NoTraffic
	}
	u := url.URL{Scheme: "http"}
	t := balancer.Target{Weight: min(weight, balancer.MaxWeight), Priority: s.c.Priority, Zone: i.Node.Datacenter}
	if s.c.ZoneMeta != "" {
		t.Zone = cmp.Or(i.Node.Meta[s.c.ZoneMeta], t.Zone)
	}
	if s.service != nil {
		u = *s.service
		if _, err := netip.ParseAddr(u.Hostname()); err != nil {
			t.Host = u.Host
		}
	}
	u.Host = net.JoinHostPort(address, strconv.Itoa(i.Service.Port))
	t.URL = u.String()
	return t, nil
}
