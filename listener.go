package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/gatehouse-go/gateway/internal/clientconn"
)

// Defaults of [ListenerConfig].
const (
	DefaultMaxConns           = 16384
	DefaultProxyHeaderTimeout = 5 * time.Second
)

// Why a listener of [NewListener] has ended a connection.
var (
	// ErrTooManyConns says that [ListenerConfig.MaxConns] was reached.
	ErrTooManyConns = clientconn.ErrConns
	// ErrTooManyAddrConns says that [ListenerConfig.MaxConnsPerAddr] was reached.
	ErrTooManyAddrConns = clientconn.ErrAddrConns
	// ErrProxyHeader says that a trusted proxy sent no valid header in time.
	ErrProxyHeader = clientconn.ErrHeader
	// ErrRequestFraming says that two servers could have read different requests.
	ErrRequestFraming = clientconn.ErrFraming
)

// ListenerConfig configures a listener of [NewListener]. The zero value bounds connections, trusts no proxy and checks
// framing.
type ListenerConfig struct {
	// MaxConns bounds the connections that are open at a time. One more is closed as soon as it is accepted, so that its
	// client, or a balancer in front, can go elsewhere at once. Default 16384, negative for no bound. The process needs as
	// many file descriptors, and more for upstreams.
	MaxConns int
	// MaxConnsPerAddr bounds those of one client's address, or of one IPv6 network of 64 bits; it is the address from the
	// header where a proxy sends one. Default a quarter of MaxConns, at least 1, so that no client alone can take all;
	// negative for no bound, which is right where a proxy in front has connections for everybody and sends no headers.
	MaxConnsPerAddr int
	// ProxyProtocol says which peers are proxies that say whose connections they pass on.
	ProxyProtocol ProxyProtocol
	// InsecureFraming leaves connections to net/http's server alone, also under [Gateway.Run]. It reads on where others would
	// read different requests: see [NewListener].
	InsecureFraming bool
	// Refused is told of each connection that is ended here, and why: the error wraps ErrTooManyConns,
	// ErrTooManyAddrConns, ErrProxyHeader or ErrRequestFraming. It is called by the goroutines that accept and read, so
	// that it must be quick and safe for concurrent use. Clients choose how often: count, or log a share. Nil for nobody.
	Refused func(peer net.Addr, err error)
}

// ProxyProtocol configures HAProxy's PROXY protocol, versions 1 and 2.
type ProxyProtocol struct {
	// TrustedProxies are the networks whose connections begin with a header: one without a valid header is closed. From
	// everybody else a header is not understood, and refused as what it is, no HTTP. Empty: nobody sends one. A network
	// that is everybody (0.0.0.0/0, ::/0) is an error without InsecureTrustAll.
	TrustedProxies []netip.Prefix
	// InsecureTrustAll allows TrustedProxies to hold 0.0.0.0/0 and ::/0. Every client then chooses its own address, unless
	// nobody but the proxies can reach the listener. Without such a network it is an error.
	InsecureTrustAll bool
	// HeaderTimeout is how long a header may take. Default 5 s. It is an error without TrustedProxies.
	HeaderTimeout time.Duration
}

// NewListener returns a listener that accepts from l, which it owns, what c lets through. [Gateway.Run] makes one with
// defaults when it listens itself. It belongs below TLS:
//
//	l, err := gateway.NewListener(tcp, gateway.ListenerConfig{})
//	…
//	err = gw.Run(ctx, srv, tls.NewListener(l, srv.TLSConfig)) // or l itself, for HTTP without TLS
//
// # Limits
//
// Each listener counts its own connections, those that were taken over (WebSockets) included, until they are closed. It
// remembers addresses only as long as they have connections.
//
// # The PROXY protocol
//
// The address a header names is what RemoteAddr of the connection and of its requests says, so that access rules, limits and
// logs see it; [policy.EntryConfig.TrustedProxies] then is about that address. Headers that say LOCAL, UNKNOWN or UNSPEC, or
// name a Unix socket, leave the proxy's own. Headers are read before Accept returns a connection, each on its own goroutine:
// a slow proxy delays nobody else, and those goroutines are at most MaxConns. At most 107 bytes of version 1 and 4 KiB of
// version 2 are taken; extensions are skipped and their checksums not compared. Accept starts a goroutine where there are
// TrustedProxies, which Close ends and waits for.
//
// # Framing
//
// What servers disagree about is where a request ends (RFC 9112 section 11.2): what one takes for its body, another takes for
// somebody else's request. net/http repairs such requests and no handler can see that. Here they are answered with 400, and
// the connection is closed: Content-Length beside Transfer-Encoding, Transfer-Encoding in HTTP/1.0, Content-Length twice or
// not a plain number, lines that do not end in CRLF, CR inside a line, field lines that go on in the next, empty lines before
// a request, and trailers or chunks with any of these. All else that is malformed net/http refuses itself.
//
// Nothing of such a request is handled, whatever was sent before it in the same bytes; requests before it are answered first.
// Where a request asks for an upgrade, what follows is checked only if the server goes on with HTTP, and not if a handler
// takes the connection over. Behind a CONNECT that nobody takes over nothing is read.
//
// Under [Gateway.Run] all of HTTP/1 is checked, over TLS, too, by the server itself. With another server the check follows HTTP/1
// without TLS. Connections that begin with TLS, or as HTTP/2 does, it leaves alone: it is below TLS, and net/http takes HTTP/2
// only from a [*tls.Conn] itself, which nothing can be put around. So requests that come as HTTP/1 over TLS are not checked
// there; HTTP/2 has no such framing. The check costs about 1 % of a small request and allocates nothing.
//
// The error joins all problems of c.
func NewListener(l net.Listener, c ListenerConfig) (net.Listener, error) {
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("gateway: ListenerConfig."+format, args...))
	}
	if l == nil {
		errs = append(errs, errors.New("gateway: NewListener needs a listener to accept from"))
	}
	o := clientconn.Options{MaxConns: max(0, c.MaxConns), MaxConnsPerAddr: max(0, c.MaxConnsPerAddr), Framing: !c.InsecureFraming, Refused: c.Refused}
	if c.MaxConns == 0 {
		o.MaxConns = DefaultMaxConns
	}
	switch {
	case c.MaxConnsPerAddr == 0 && o.MaxConns > 0:
		o.MaxConnsPerAddr = max(1, o.MaxConns/4)
	case c.MaxConnsPerAddr > o.MaxConns && o.MaxConns > 0:
		wrong("MaxConnsPerAddr %d is more than MaxConns %d, so that it is never reached; set less, or -1 for no bound", c.MaxConnsPerAddr, o.MaxConns)
	}
	o.Proxies = c.ProxyProtocol.networks(wrong)
	o.HeaderTimeout = c.ProxyProtocol.HeaderTimeout
	switch {
	case o.HeaderTimeout < 0:
		wrong("ProxyProtocol.HeaderTimeout %v is negative; 0 means %v", o.HeaderTimeout, DefaultProxyHeaderTimeout)
	case o.HeaderTimeout == 0:
		o.HeaderTimeout = DefaultProxyHeaderTimeout
	case len(c.ProxyProtocol.TrustedProxies) == 0:
		wrong("ProxyProtocol.HeaderTimeout %v is set without TrustedProxies, so that there is no header; list the networks of the proxies, or leave it out", o.HeaderTimeout)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return clientconn.NewGate(l, o), nil
}

// networks returns the networks of trusted proxies as addresses of peers are compared with them.
func (p ProxyProtocol) networks(wrong func(format string, args ...any)) []netip.Prefix {
	var all []netip.Prefix
	everybody := false
	for i, written := range p.TrustedProxies {
		n := written
		if !n.IsValid() {
			wrong("ProxyProtocol.TrustedProxies[%d] %q is not a network; use netip.ParsePrefix", i, written)
			continue
		}
		if a := n.Addr(); a.Is4In6() && n.Bits() >= 96 {
			n = netip.PrefixFrom(a.Unmap(), n.Bits()-96)
		}
		if n.Bits() == 0 {
			everybody = true
			if !p.InsecureTrustAll {
				wrong("ProxyProtocol.TrustedProxies[%d] %q is everybody, so that each client chooses its own address; "+
					"list the networks of the proxies, or set InsecureTrustAll where nobody else can connect", i, written)
			}
		}
		all = append(all, n.Masked())
	}
	if p.InsecureTrustAll && !everybody {
		wrong("ProxyProtocol.InsecureTrustAll %t is without effect, because no network in TrustedProxies is everybody; leave it out, or list 0.0.0.0/0 and ::/0", true)
	}
	return all
}
