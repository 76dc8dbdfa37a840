package proxy

import (
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
)

// setForwarded writes the fields that tell the upstream about the client's side.
//
// The entry deleted what an untrusted peer sent under these names. What is there all the same comes from a trusted proxy,
// or was let through by configuration: lists are appended to, and single values, which describe the client's own request
// to the outermost proxy, stay. The scheme and the client's address are what the entry made of all that.
func (c *Call) setForwarded(f *fields) {
	x, in := c.Exchange, c.In.Header
	peer, _ := x.PeerAddr()
	client := x.ClientAddr()
	peerText := peerText(c.In.RemoteAddr, peer)
	clientText := peerText
	if client != peer {
		clientText = addrText(client)
	}
	switch kept := in["X-Forwarded-For"]; {
	case len(kept) > 0 && peerText != "":
		f.set("X-Forwarded-For", joinLines(kept)+", "+peerText)
	case len(kept) > 0:
		f.set("X-Forwarded-For", joinLines(kept)) // the peer has no address: a Unix socket
	default:
		f.setOrDelete("X-Forwarded-For", peerText)
	}
	f.setOrDelete("X-Real-Ip", clientText)

	scheme := x.Scheme()
	host, port := x.Host()
	f.setOrDelete("X-Forwarded-Proto", scheme)
	asked := c.In.Host
	if !isHostPort(asked, host, port) {
		asked = hostPort(host, port)
	}
	kongs := c.Forward.KongForwarded
	if kongs {
		asked, port = hostPort(host, ""), c.listenerPort(port)
	}
	keep(f, in, "X-Forwarded-Host", asked)
	if port == "" {
		port = defaultPort(scheme)
	}
	keep(f, in, "X-Forwarded-Port", port)
	keep(f, in, "X-Forwarded-Path", x.Path())
	prefix := x.StrippedPath()
	switch kept := in["X-Forwarded-Prefix"]; {
	case len(kept) == 0 || kept[0] == "":
	case kongs:
		prefix = kept[0]
	default:
		prefix = strings.TrimSuffix(kept[0], "/") + prefix // both were taken off, that of the proxy in front first
	}
	f.setOrDelete("X-Forwarded-Prefix", prefix)

	if kept := in["Forwarded"]; len(kept) > 0 {
		hop := "http"
		if c.In.TLS != nil {
			hop = "https"
		}
		f.set("Forwarded", joinLines(kept)+", "+forwardedElement(peer, hostPort(x.Host()), hop))
	} else {
		f.remove("Forwarded")
	}
}

// listenerPort returns the port of the listener the client reached, or else asked.
func (c *Call) listenerPort(asked string) string {
	if a, ok := c.In.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok && a != nil {
		return strconv.Itoa(a.Port)
	}
	return asked
}

// keep sets a field to what came in, or else to value.
func keep(f *fields, in map[string][]string, name, value string) {
	if kept := in[name]; len(kept) > 0 && kept[0] != "" {
		value = kept[0]
	}
	f.setOrDelete(name, value)
}

// peerText returns the address of the peer: as it stands in RemoteAddr, where that is how we would write it.
func peerText(remote string, peer netip.Addr) string {
	if i := strings.LastIndexByte(remote, ':'); i > 0 && peer.Is4() && remote[0] != '[' {
		return remote[:i]
	}
	return addrText(peer)
}

// isHostPort tells whether text is hostPort(host, port).
func isHostPort(text, host, port string) bool {
	if port == "" || host == "" || strings.IndexByte(host, ':') >= 0 {
		return text == host && strings.IndexByte(host, ':') < 0
	}
	n := len(host)
	return len(text) == n+1+len(port) && text[:n] == host && text[n] == ':' && text[n+1:] == port
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func hostPort(host, port string) string {
	if strings.IndexByte(host, ':') >= 0 {
		host = "[" + host + "]"
	}
	if port == "" || host == "" {
		return host
	}
	return host + ":" + port
}

func defaultPort(scheme string) string {
	switch scheme {
	case "http":
		return "80"
	case "https":
		return "443"
	default:
		return ""
	}
}

// forwardedElement describes the last hop as RFC 7239 has it.
func forwardedElement(peer netip.Addr, host, proto string) string {
	s := "for=unknown"
	switch {
	case peer.Is6():
		s = `for="[` + peer.String() + `]"`
	case peer.IsValid():
		s = "for=" + peer.String()
	}
	if host != "" {
		s += `;host="` + host + `"` // a host that passed the entry holds no quote and no backslash
	}
	return s + ";proto=" + proto
}
