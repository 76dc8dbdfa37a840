package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/gatehouse-go/gateway/balancer/discovery"
)

const (
	// atOnce is how many questions of a round are under way at a time.
	atOnce = 8
	// mostNames is how many different names SRV records may say.
	mostNames = 1024
)

// asker is what one Watch remembers.
type asker struct {
	*Config

	first atomic.Int32            // the server that is asked first
	known map[string][]netip.Addr // what the names of the SRV records had
	conf  []string                // servers of ResolvConf when it could be read last
}

// question is what is asked for.
type question struct {
	name  string // canonical
	qtype uint16
}

// found is what is known of a name, or why nothing is.
type found struct {
	addrs []netip.Addr
	err   error
}

// round is one time of asking, a discovery.Resolver for one goroutine.
type round struct {
	*asker

	servers []string
	extra   map[question]answer // what came with the SRV records
	names   map[string]found    // what the SRV records say

	mu       sync.Mutex
	ttl      time.Duration // the shortest of the answers
	found    bool          // there is something of what was asked for
	failed   bool          // something could not be found out
	problems []error       // what could not, beside what could
}

func (a *asker) begin() *round {
	servers := a.Servers
	if len(servers) == 0 {
		// One that cannot be read now was good before.
		if all, err := readServers(a.ResolvConf); err == nil {
			a.conf = all
		}
		servers = a.conf
	}
	return &round{asker: a, servers: servers, ttl: a.MaxTTL}
}

// limit bounds a round: with many names, and servers that do not answer, it would go on for long.
func (r *round) limit() time.Duration {
	const share = 4
	return share * time.Duration(r.Attempts*len(r.servers)) * r.Timeout
}

// holds notes for how long an answer holds.
func (r *round) holds(ttl time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ttl = min(r.ttl, ttl)
}

// fails notes that something could not be found out.
func (r *round) fails() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
}

// LookupNetIP returns the addresses of a name, of those families that the Config wants.
func (r *round) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	name := mdns.CanonicalName(host)
	if f, ok := r.names[name]; ok {
		return f.addrs, f.err
	}
	addrs, err := r.addresses(ctx, name)
	var missing *net.DNSError
	if r.MissingIsEmpty && errors.As(err, &missing) && missing.IsNotFound {
		return nil, nil
	}
	r.found = len(addrs) > 0
	return addrs, err
}

// addresses asks for the addresses of a name.
func (r *round) addresses(ctx context.Context, name string) ([]netip.Addr, error) {
	types, all := []uint16{mdns.TypeA, mdns.TypeAAAA}, false
	switch r.Family {
	case discovery.PreferIPv4:
	case discovery.PreferIPv6:
		slices.Reverse(types)
	case discovery.OnlyIPv4:
		types = types[:1]
	case discovery.OnlyIPv6:
		types = types[1:]
	case discovery.AllFamilies:
		all = true
	}
	var addrs []netip.Addr
	for _, qtype := range types {
		a, err := r.lookup(ctx, question{name, qtype})
		if err != nil { // not the other family then: the targets would be others, and both is both
			return nil, err
		}
		if addrs = append(addrs, a.addrs...); len(addrs) > 0 && !all {
			break
		}
	}
	return addrs, nil
}

// LookupSRV returns the records of a name, and finds out about the names that they say.
func (r *round) LookupSRV(ctx context.Context, _, _, name string) (string, []*net.SRV, error) {
	a, err := r.lookup(ctx, question{mdns.CanonicalName(name), mdns.TypeSRV})
	var missing *net.DNSError
	if r.MissingIsEmpty && errors.As(err, &missing) && missing.IsNotFound {
		return name, nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	r.extra = a.extra
	r.names = map[string]found{}
	var records []*net.SRV
	bad := 0
	for _, s := range a.srv {
		target := mdns.CanonicalName(s.Target)
		if target != "." {
			_, known := r.names[target]
			if !isHost(target) || !known && len(r.names) == mostNames {
				bad++
				continue
			}
			r.names[target] = found{}
		}
		records = append(records, &net.SRV{Target: target, Port: s.Port, Priority: s.Priority, Weight: s.Weight})
	}
	if bad > 0 {
		err = fmt.Errorf("dns: %d of the SRV records of %s are not used: their names are no names of hosts, or of more than %d", bad, name, mostNames)
		if len(records) == 0 {
			return "", nil, err
		}
		r.problems = append(r.problems, err)
	}
	slices.SortFunc(records, func(a, b *net.SRV) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Target, b.Target), cmp.Compare(a.Port, b.Port))
	})
	r.resolve(ctx)
	r.found = len(records) > 0
	return name, records, nil
}

// resolve finds out about r.names.
func (r *round) resolve(ctx context.Context) {
	all := slices.Sorted(maps.Keys(r.names))
	results := make([]found, len(all))
	var next atomic.Int32
	var asking sync.WaitGroup
	for range min(atOnce, len(all)) {
		asking.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(all) {
					return
				}
				if _, err := netip.ParseAddr(all[i][:len(all[i])-1]); err == nil {
					continue // discovery.SRV takes it as it is
				}
				results[i].addrs, results[i].err = r.addresses(ctx, all[i])
			}
		})
	}
	asking.Wait()
	known := make(map[string][]netip.Addr, len(all))
	for i, name := range all {
		f := &results[i]
		var missing *net.DNSError
		if f.err != nil && (!errors.As(f.err, &missing) || !missing.IsNotFound) {
			if f.addrs = r.known[name]; len(f.addrs) > 0 {
				r.problems = append(r.problems, fmt.Errorf("dns: addresses of %q, which are those of before: %w", undotted(name), f.err))
				f.err = nil
			} else {
				r.problems = append(r.problems, fmt.Errorf("dns: addresses of %q: %w", undotted(name), f.err))
			}
		}
		known[name] = f.addrs
		r.names[name] = *f
	}
	r.known = known
}
