package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	mdns "github.com/miekg/dns"
)

const (
	// mostAliases is how many CNAME records may lead to a name.
	mostAliases = 16
	// mostQuestions is how many questions may be needed to follow them.
	mostQuestions = 8
)

// answer is what DNS says of a question.
type answer struct {
	addrs []netip.Addr
	srv   []*mdns.SRV
	extra map[question]answer // addresses of the names in srv, where they came along
	ttl   time.Duration
}

// lookup asks a question, and follows the aliases that it meets. It notes for how long the answer holds.
func (r *round) lookup(ctx context.Context, q question) (answer, error) {
	if a, ok := r.extra[q]; ok {
		r.holds(a.ttl)
		return a, nil
	}
	asked := q
	seen := map[string]bool{q.name: true}
	for range mostQuestions {
		msg, err := r.query(ctx, q)
		if err != nil {
			r.fails()
			return answer{}, err
		}
		aliases := aliasesOf(msg)
		for next, ok := aliases[q.name]; ok; next, ok = aliases[q.name] {
			r.holds(next.ttl)
			if q.name = next.name; seen[q.name] || len(seen) > mostAliases {
				r.fails()
				return answer{}, fmt.Errorf("dns: the aliases (CNAME) of %s lead in a circle, or over more than %d names", undotted(asked.name), mostAliases)
			}
			seen[q.name] = true
		}
		a := read(msg, q)
		negative, said := negativeTTL(msg, q.name)
		switch {
		case len(a.addrs)+len(a.srv) > 0:
			r.holds(a.ttl)
			return a, nil
		case msg.Rcode == mdns.RcodeNameError:
			r.holds(negative)
			return answer{}, &net.DNSError{Err: "the name does not exist (NXDOMAIN)", Name: undotted(asked.name), IsNotFound: true}
		case said || aliases == nil || q.name == mdns.CanonicalName(msg.Question[0].Name):
			r.holds(negative)
			return answer{}, nil
		}
		// An alias of what the server does not know all about: what it leads to is a question of its own.
	}
	r.fails()
	return answer{}, fmt.Errorf("dns: it takes more than %d questions to follow the aliases (CNAME) of %s", mostQuestions, undotted(asked.name))
}

func undotted(name string) string { return strings.TrimSuffix(name, ".") }

// alias is where a CNAME record leads to.
type alias struct {
	name string
	ttl  time.Duration
}

// aliasesOf returns the aliases in an answer; nil if there are none.
func aliasesOf(msg *mdns.Msg) map[string]alias {
	var all map[string]alias
	for _, rr := range msg.Answer {
		c, ok := rr.(*mdns.CNAME)
		if !ok || c.Hdr.Class != mdns.ClassINET {
			continue
		}
		if all == nil {
			all = map[string]alias{}
		}
		if name := mdns.CanonicalName(c.Hdr.Name); all[name].name == "" { // a name has one
			all[name] = alias{mdns.CanonicalName(c.Target), ttlOf(c.Hdr.Ttl)}
		}
	}
	return all
}

// read returns the records of an answer that are of a name and type. Others are not looked at.
func read(msg *mdns.Msg, q question) answer {
	a := answer{ttl: longest}
	for _, rr := range msg.Answer {
		if h := rr.Header(); h.Rrtype != q.qtype || h.Class != mdns.ClassINET || mdns.CanonicalName(h.Name) != q.name {
			continue
		}
		if s, ok := rr.(*mdns.SRV); ok {
			a.srv = append(a.srv, s)
		} else if addr, ok := addrOf(rr); ok {
			a.addrs = append(a.addrs, addr)
		} else {
			continue
		}
		a.ttl = min(a.ttl, ttlOf(rr.Header().Ttl))
	}
	if len(a.srv) == 0 {
		return a
	}
	named := make(map[string]bool, len(a.srv))
	for _, s := range a.srv {
		named[mdns.CanonicalName(s.Target)] = true
	}
	a.extra = map[question]answer{}
	for _, rr := range msg.Extra {
		h := rr.Header()
		addr, ok := addrOf(rr)
		of := question{mdns.CanonicalName(h.Name), h.Rrtype}
		if !ok || h.Class != mdns.ClassINET || !named[of.name] {
			continue
		}
		x, ok := a.extra[of]
		if !ok {
			x.ttl = longest
		}
		x.addrs, x.ttl = append(x.addrs, addr), min(x.ttl, ttlOf(h.Ttl))
		a.extra[of] = x
	}
	return a
}

// addrOf returns the address that a record says.
func addrOf(rr mdns.RR) (netip.Addr, bool) {
	switch rr := rr.(type) {
	case *mdns.A:
		return netip.AddrFromSlice(rr.A.To4())
	case *mdns.AAAA:
		return netip.AddrFromSlice(rr.AAAA.To16())
	}
	return netip.Addr{}, false
}

// ttlOf returns how long a record holds (RFC 2181, section 8).
func ttlOf(seconds uint32) time.Duration {
	if seconds > 1<<31-1 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// negativeTTL returns for how long it holds that there is nothing, and whether the answer says that of a name (RFC 2308).
func negativeTTL(msg *mdns.Msg, name string) (ttl time.Duration, said bool) {
	for _, rr := range msg.Ns {
		if soa, ok := rr.(*mdns.SOA); ok && mdns.IsSubDomain(mdns.CanonicalName(soa.Hdr.Name), name) {
			return ttlOf(min(soa.Hdr.Ttl, soa.Minttl)), true
		}
	}
	return 0, false
}
