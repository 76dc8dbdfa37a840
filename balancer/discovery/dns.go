package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/internal/canonical"
)

// Defaults of [DNS] and [SRV].
const (
	DefaultInterval = 30 * time.Second
	DefaultTimeout  = 5 * time.Second
)

const (
	// afterFailure is how long after a question that failed the next is asked at first, as in Kong; it is doubled each time.
	afterFailure = time.Second

	shortest = 10 * time.Millisecond // of the intervals
	longest  = 24 * time.Hour
	// maxAddresses is how many addresses of a name are used.
	maxAddresses = 4096
)

// Resolver asks DNS. A *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupSRV(ctx context.Context, service, proto, name string) (cname string, records []*net.SRV, err error)
}

// Family says which addresses of a name are used.
type Family uint8

const (
	// PreferIPv4 uses the IPv4 addresses of a name, or those of IPv6 if it has no others: a server that has both is one target.
	PreferIPv4 Family = iota
	// PreferIPv6 is the other way round.
	PreferIPv6
	// OnlyIPv4 uses no others.
	OnlyIPv4
	// OnlyIPv6 uses no others.
	OnlyIPv6
	// AllFamilies uses all there are.
	AllFamilies
)

// DNS makes a target of each address of a name (A and AAAA records). It is asked about again and again; an answer that says
// nothing of use changes nothing.
type DNS struct {
	// URL is that of the service, with the name in the place of the host, such as http://users.internal:8080. Targets have its
	// scheme, port and path, and are asked for by its host. An address is a target without being asked for.
	URL string
	// Weight, Priority and Zone are those of each target.
	Weight, Priority int
	Zone             string
	// Interval is the time between two questions, up to a tenth shorter or longer by chance. Behind one that failed it is a second, and
	// twice that each time, as long as that is less. Default 30 s; at least 10 ms.
	Interval time.Duration
	// Timeout bounds a question. Default 5 s.
	Timeout time.Duration
	// Family says which addresses are used. Default PreferIPv4.
	Family Family
	// SRV asks for SRV records of the name when it has no addresses, as Kong does: they say the ports and weights then.
	SRV bool
	// Resolver answers. Nil means net.DefaultResolver.
	Resolver Resolver
}

// Validate returns what is wrong with d, each problem naming its field; nil if nothing is.
func (d DNS) Validate() error {
	errs := checkTimes("DNS", d.Interval, d.Timeout)
	if _, err := parseService(d.URL); err != nil {
		errs = append(errs, fmt.Errorf("DNS.URL %q %w", d.URL, err))
	}
	if d.Family > AllFamilies {
		errs = append(errs, fmt.Errorf("DNS.Family %d is none; use PreferIPv4 or another constant", d.Family))
	}
	return errors.Join(errs...)
}

// Watch implements [balancer.Source].
func (d DNS) Watch(ctx context.Context, deliver func([]balancer.Target, error)) error {
	u, err := parseService(d.URL)
	if err != nil {
		return fmt.Errorf("discovery: DNS.URL %q %w", d.URL, err)
	}
	return poll(ctx, d.Interval, d.Timeout, deliver, func(ctx context.Context) ([]balancer.Target, error) { return d.ask(ctx, u) })
}

// Ask returns the targets of now. Only ctx bounds it.
func (d DNS) Ask(ctx context.Context) ([]balancer.Target, error) {
	u, err := parseService(d.URL)
	if err != nil {
		return nil, fmt.Errorf("discovery: DNS.URL %q %w", d.URL, err)
	}
	return d.ask(ctx, u)
}

func (d DNS) ask(ctx context.Context, u *url.URL) ([]balancer.Target, error) {
	addrs, err := addressesOf(ctx, resolver(d.Resolver), u.Hostname(), d.Family)
	if d.SRV && (err == nil && len(addrs) == 0 || isUnknown(err)) {
		s := SRV{Name: u.Hostname(), Zone: d.Zone, Family: d.Family, Resolver: d.Resolver}
		if targets, failed := s.ask(ctx, u); failed == nil && len(targets) > 0 {
			return targets, nil
		}
	}
	if err != nil {
		return nil, err
	}
	targets := make([]balancer.Target, len(addrs))
	for i, a := range addrs {
		targets[i] = targetAt(u, a, u.Port())
		targets[i].Weight, targets[i].Priority, targets[i].Zone = d.Weight, d.Priority, d.Zone
	}
	return targets, nil
}

// SRV makes targets of SRV records (RFC 2782): each says a name and a port, how often it is to be chosen, and when. The priority
// becomes that of the target, the weight its weight, 0 as 1. The port 0 stands for that of URL; without one there is no target. A name with several addresses is as many targets of that weight.
type SRV struct {
	// Name is the name of the records, such as _http._tcp.users.internal.
	Name string
	// URL is that of the service, such as https://users.internal/v1: its scheme and path are those of the targets, which are asked
	// for by its host. Default: http, and the names that the records say.
	URL string
	// Zone is that of each target.
	Zone string
	// Interval, Timeout, Family and Resolver are as in DNS. Timeout is for the records and the names that they say together.
	Interval, Timeout time.Duration
	Family            Family
	Resolver          Resolver
}

// Validate returns what is wrong with s, each problem naming its field; nil if nothing is.
func (s SRV) Validate() error {
	errs := checkTimes("SRV", s.Interval, s.Timeout)
	if s.Name == "" {
		errs = append(errs, errors.New("SRV.Name is empty; write it as _http._tcp.users.internal"))
	}
	if s.URL != "" {
		if _, err := parseService(s.URL); err != nil {
			errs = append(errs, fmt.Errorf("SRV.URL %q %w", s.URL, err))
		}
	}
	if s.Family > AllFamilies {
		errs = append(errs, fmt.Errorf("SRV.Family %d is none; use PreferIPv4 or another constant", s.Family))
	}
	return errors.Join(errs...)
}

// Watch implements [balancer.Source].
func (s SRV) Watch(ctx context.Context, deliver func([]balancer.Target, error)) error {
	service, err := s.service()
	if err != nil {
		return err
	}
	return poll(ctx, s.Interval, s.Timeout, deliver, func(ctx context.Context) ([]balancer.Target, error) { return s.ask(ctx, service) })
}

// Ask returns the targets of now. Only ctx bounds it.
func (s SRV) Ask(ctx context.Context) ([]balancer.Target, error) {
	service, err := s.service()
	if err != nil {
		return nil, err
	}
	return s.ask(ctx, service)
}

// service returns the URL of the service; nil if there is none.
func (s SRV) service() (*url.URL, error) {
	if s.URL == "" {
		return nil, nil
	}
	u, err := parseService(s.URL)
	if err != nil {
		return nil, fmt.Errorf("discovery: SRV.URL %q %w", s.URL, err)
	}
	return u, nil
}

func (s SRV) ask(ctx context.Context, service *url.URL) ([]balancer.Target, error) {
	r := resolver(s.Resolver)
	_, records, err := r.LookupSRV(ctx, "", "", s.Name)
	if err != nil && len(records) == 0 { // net.Resolver leaves out records whose names are invalid, and says so
		return nil, fmt.Errorf("discovery: SRV records of %q: %w", s.Name, steady(err))
	}
	var targets []balancer.Target
	var errs []error
	seen := map[string]int{} // a URL to its place in targets
	for _, record := range records[:min(len(records), maxAddresses)] {
		if record == nil || record.Target == "" || record.Target == "." { // which says that there is no service
			continue
		}
		u, port := service, strconv.Itoa(int(record.Port))
		if record.Port == 0 {
			if u == nil || u.Port() == "" {
				continue
			}
			port = u.Port()
		}
		name := trimDot(record.Target)
		if u == nil {
			u = &url.URL{Scheme: "http", Host: net.JoinHostPort(name, port)}
		}
		addrs, err := addressesOf(ctx, r, name, s.Family)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, a := range addrs {
			t := targetAt(u, a, port)
			t.Weight, t.Priority, t.Zone = max(int(record.Weight), 1), int(record.Priority), s.Zone
			if at, ok := seen[t.URL]; ok { // as one with both weights, in the tier that comes first
				if t.Priority == targets[at].Priority {
					targets[at].Weight = min(targets[at].Weight+t.Weight, balancer.MaxWeight)
				}
				targets[at].Priority = min(targets[at].Priority, t.Priority)
				continue
			}
			seen[t.URL] = len(targets)
			if targets = append(targets, t); len(targets) > balancer.MaxTargets { // which the pool refuses
				return targets, nil
			}
		}
	}
	if len(targets) == 0 && len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return targets, nil
}

// isUnknown reports whether DNS says that there is nothing of the kind under a name.
func isUnknown(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

func resolver(r Resolver) Resolver {
	if r == nil {
		return net.DefaultResolver
	}
	return r
}

// parseService returns the URL of a service, or what is wrong with it.
func parseService(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("is not the URL of a service; write it as http://name:port")
	}
	if _, _, err := canonical.Host(u.Host); err != nil { // which no target could be asked for by
		return nil, errors.New("has no host with an optional port; write it as http://name:port, an internationalised name in its ASCII form")
	}
	return u, nil
}

// targetAt returns the target for a service at an address.
func targetAt(service *url.URL, a netip.Addr, port string) balancer.Target {
	u := *service
	host := a.String()
	if a.Is6() {
		host = "[" + host + "]"
	}
	if u.Host = host; port != "" {
		u.Host = net.JoinHostPort(a.String(), port)
	}
	t := balancer.Target{URL: u.String()}
	if _, err := netip.ParseAddr(service.Hostname()); err != nil {
		t.Host = service.Host
	}
	return t
}

// addressesOf returns the addresses of a name that can be a target's, in order.
func addressesOf(ctx context.Context, r Resolver, name string, f Family) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	network := "ip"
	switch f {
	case OnlyIPv4:
		network = "ip4"
	case OnlyIPv6:
		network = "ip6"
	case PreferIPv4, PreferIPv6, AllFamilies:
	}
	all, err := r.LookupNetIP(ctx, network, name)
	if err != nil {
		return nil, fmt.Errorf("discovery: addresses of %q: %w", name, steady(err))
	}
	var v4, v6 []netip.Addr
	for _, a := range all {
		switch a = a.Unmap(); {
		case !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || a.Zone() != "":
		case a.Is4():
			v4 = append(v4, a)
		default:
			v6 = append(v6, a)
		}
	}
	var addrs []netip.Addr
	switch f {
	case OnlyIPv4:
		addrs = v4
	case OnlyIPv6:
		addrs = v6
	case AllFamilies:
		addrs = slices.Concat(v4, v6)
	case PreferIPv6:
		if addrs = v6; len(addrs) == 0 {
			addrs = v4
		}
	case PreferIPv4:
		if addrs = v4; len(addrs) == 0 {
			addrs = v6
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare) // the order in which they came is another each time
	addrs = slices.Compact(addrs)
	return addrs[:min(len(addrs), maxAddresses)], nil
}

// steady returns err in words that are the same each time: those of package net have the port that a question was asked from, which
// is another each time, before an arrow.
func steady(err error) error {
	text := err.Error()
	arrow := strings.Index(text, "->")
	if arrow < 0 {
		return err
	}
	for ; arrow >= 0; arrow = strings.Index(text, "->") {
		text = text[:strings.LastIndexByte(text[:arrow], ' ')+1] + text[arrow+len("->"):]
	}
	return &reworded{text, err}
}

// reworded is an error in other words.
type reworded struct {
	text string
	err  error
}

// Error returns the words.
func (e *reworded) Error() string { return e.text }

// Unwrap returns the error as it was.
func (e *reworded) Unwrap() error { return e.err }

func trimDot(name string) string {
	if n := len(name); n > 1 && name[n-1] == '.' {
		return name[:n-1]
	}
	return name
}

// poll asks again and again until ctx ends.
func poll(ctx context.Context, interval, timeout time.Duration, deliver func([]balancer.Target, error), ask func(context.Context) ([]balancer.Target, error)) error {
	interval = cmp.Or(interval, DefaultInterval)
	again := afterFailure
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		asking, cancel := context.WithTimeout(ctx, cmp.Or(timeout, DefaultTimeout))
		targets, err := ask(asking)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		deliver(targets, err)
		wait := interval
		if err == nil {
			again = afterFailure
		} else {
			wait = min(interval, again)
			again = wait * 2
		}
		const shares = 10
		timer.Reset(wait - wait/shares + rand.N(2*wait/shares+1)) //nolint:gosec // G404: nothing depends on its being a secret
	}
}

func checkTimes(of string, interval, timeout time.Duration) []error {
	var errs []error
	for _, field := range []struct {
		name  string
		d     time.Duration
		least time.Duration
	}{{"Interval", interval, shortest}, {"Timeout", timeout, time.Millisecond}} {
		if field.d != 0 && (field.d < field.least || field.d > longest) {
			errs = append(errs, fmt.Errorf("%s.%s %v must be %v to %v, or 0 for the default", of, field.name, field.d, field.least, longest))
		}
	}
	return errs
}
