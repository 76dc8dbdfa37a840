package policy

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// peerAddr returns the address in an http.Request.RemoteAddr, without zone and never IPv6-mapped; the zero Addr when
// there is none, as on a Unix socket.
func peerAddr(remote string) netip.Addr {
	if ap, err := netip.ParseAddrPort(remote); err == nil {
		return plainAddr(ap.Addr())
	}
	if a, err := netip.ParseAddr(remote); err == nil {
		return plainAddr(a)
	}
	return netip.Addr{}
}

// plainAddr makes addresses comparable: a mapped or zoned one would match no prefix.
func plainAddr(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// fieldForwarded is the standard forwarding field (RFC 7239), beside which there is the family of X-Forwarded-*.
const fieldForwarded = "Forwarded"

// proxySet is the set of trusted proxies.
type proxySet []netip.Prefix

func (s proxySet) contains(a netip.Addr) bool {
	for _, p := range s {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// trusted returns the networks of c's proxies, and adds what is wrong with them to errs.
func (c EntryConfig) trusted(errs *[]error) proxySet {
	wrong := func(format string, args ...any) {
		*errs = append(*errs, fmt.Errorf("policy: EntryConfig."+format, args...))
	}
	var set proxySet
	everybody := false
	for i, written := range c.TrustedProxies {
		p := written
		if !p.IsValid() {
			wrong("TrustedProxies[%d] %q is not a network; use netip.ParsePrefix", i, written)
			continue
		}
		if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		if p.Bits() == 0 {
			everybody = true
			if !c.InsecureTrustAll {
				wrong("TrustedProxies[%d] %q is everybody, so that each client chooses its own address; "+
					"list the networks of the proxies, or set InsecureTrustAll where nobody else can connect", i, written)
			}
		}
		set = append(set, p.Masked())
	}
	if c.InsecureTrustAll && !everybody {
		wrong("InsecureTrustAll %t is without effect, because no network in TrustedProxies is everybody; leave it out, or list 0.0.0.0/0 and ::/0", true)
	}
	if c.ClientAddressHeader != "" && len(c.TrustedProxies) == 0 {
		wrong("ClientAddressHeader %q is set without TrustedProxies, so that it is never read; "+
			"list the networks of the proxies that send it, or leave it out", c.ClientAddressHeader)
	}
	switch {
	case c.MaxHops < 0:
		wrong("MaxHops %d is negative; 0 means %d", c.MaxHops, DefaultMaxHops)
	case c.MaxHops > 0 && len(c.TrustedProxies) == 0:
		wrong("MaxHops %d is set without TrustedProxies, so that no hop is looked at; list the networks of the proxies, or leave it out", c.MaxHops)
	}
	return set
}

// client finds the client's address from its trusted peer: it walks the hops from the nearest outwards and stops at the
// first that is not a trusted proxy, since everything beyond was written by somebody nobody vouches for. A hop that is
// no address ends the walk at the last hop known to be trusted, never at a forged one (RFC 7239 section 6 allows
// "unknown" and made-up names).
func (s proxySet) client(peer netip.Addr, h http.Header, name string, maxHops int) netip.Addr {
	var next func() (string, bool)
	if name == fieldForwarded {
		next = forwardedHops(h[name])
	} else {
		next = listHops(h[name])
	}
	last := peer
	for range maxHops {
		hop, ok := next()
		if !ok {
			return last
		}
		addr, ok := parseHop(hop)
		if !ok {
			return last
		}
		if last = addr; !s.contains(addr) {
			return addr
		}
	}
	return last
}

// listHops yields the elements of a comma-separated field from the last to the first, over all its lines.
func listHops(lines []string) func() (string, bool) {
	i := len(lines)
	rest, open := "", false
	return func() (string, bool) {
		for !open {
			if i--; i < 0 {
				return "", false
			}
			rest, open = lines[i], true
		}
		var hop string
		if c := strings.LastIndexByte(rest, ','); c >= 0 {
			rest, hop = rest[:c], rest[c+1:]
		} else {
			hop, open = rest, false
		}
		return strings.Trim(hop, " \t"), true
	}
}

// forwardedHops yields the "for" parameters of a Forwarded field (RFC 7239 section 4) from the last to the first.
// An element without one, or with a syntax error, yields "", which is no address.
func forwardedHops(lines []string) func() (string, bool) {
	i := len(lines)
	rest, open := "", false
	return func() (string, bool) {
		if !open {
			if i--; i < 0 {
				return "", false
			}
			rest, open = lines[i], true
		}
		var element string
		rest, element, open = cutLast(rest)
		return forwardedParam(element, "for"), true
	}
}

// lastForwarded returns a parameter of the last element of a Forwarded line.
func lastForwarded(line, param string) string {
	_, element, _ := cutLast(line)
	return forwardedParam(element, param)
}

// cutLast cuts the last element off a list. It is read from its end, because the proxy appended to what it got: a quote
// that was opened there and not closed must not swallow the proxy's own word.
func cutLast(list string) (before, element string, found bool) {
	quotes := 0
	for i := len(list) - 1; i >= 0; i-- {
		switch {
		case list[i] == '"':
			quotes++
		case list[i] == ',' && quotes%2 == 0:
			return list[:i], list[i+1:], true
		}
	}
	return "", list, false
}

// forwardedParam returns a parameter of one element, without quotes; "" when it is absent or there twice.
func forwardedParam(element, param string) string {
	found := ""
	for rest, more := element, true; more; {
		var pair string
		pair, rest, more = cutQuoted(rest, ';')
		name, value, ok := strings.Cut(strings.Trim(pair, " \t"), "=")
		if !ok || !strings.EqualFold(name, param) {
			continue
		}
		if found != "" {
			return "" // a parameter must not occur twice
		}
		if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
			value = value[1 : len(value)-1] // no escape occurs in an address or a scheme
		}
		found = value
	}
	return found
}

// cutQuoted cuts s at the first sep outside a quoted string.
func cutQuoted(s string, sep byte) (before, after string, found bool) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == sep && !quoted:
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// parseHop reads an address as proxies write it: 192.0.2.1, 192.0.2.1:80, 2001:db8::1, [2001:db8::1], [2001:db8::1]:80.
func parseHop(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return plainAddr(a), true
	}
	if host, ok := strings.CutPrefix(s, "["); ok && strings.HasSuffix(host, "]") {
		a, err := netip.ParseAddr(host[:len(host)-1])
		return plainAddr(a), err == nil && a.Is6()
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || port == "" {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(host)
	return plainAddr(a), err == nil
}
