package clientconn

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/gatehouse-go/gateway/internal/proxyproto"
)

// ErrHeader is why a connection of a proxy was ended that sent no valid header in time.
var ErrHeader = errors.New("gateway: no valid PROXY header from a trusted proxy")

var errTLS = errors.New("gateway: NewListener was given a listener that speaks TLS; TLS belongs around it")

// Options say what a [Gate] lets through.
type Options struct {
	MaxConns, MaxConnsPerAddr int                   // 0 for any number
	Proxies                   []netip.Prefix        // who sends PROXY headers: masked, and none of IPv4 mapped to IPv6
	HeaderTimeout             time.Duration         // for such a header
	Framing                   bool                  // whether it is checked
	Refused                   func(net.Addr, error) // nil for nobody
}

// Gate is a listener that lets connections through. Where proxies send headers it has a goroutine that accepts, from the
// first Accept on, and one for each header that is awaited; Close ends them and waits for them.
type Gate struct {
	net.Listener

	o       Options
	counted admission

	start   sync.Once
	working sync.WaitGroup
	ready   chan accepted
	closing chan struct{}

	mu      sync.Mutex
	closed  bool
	waiting map[served]struct{} // for a header
}

// accepted is what Accept returns.
type accepted struct {
	c   net.Conn
	err error
}

// served is a connection as it is served.
type served interface {
	net.Conn
	NetConn() net.Conn
	guard() *guarded
}

// guarded is what a connection of a Gate has.
type guarded struct {
	stream stream
	hold   *hold    // nil when it is not counted
	remote net.Addr // that of the client, where a proxy has told it
	left   bool     // the connection is served by another than net/http
}

// LeaveFraming says, before anything is read, that whoever reads checks how requests are framed, and reports whether that is
// wanted. Reads are not looked at any more then.
func (g *guarded) LeaveFraming() bool {
	wanted := g.stream.checked
	g.stream.checked, g.left = false, wanted
	return wanted
}

func (g *guarded) guard() *guarded { return g }

// NewGate returns a Gate before l, which it owns.
func NewGate(l net.Listener, o Options) *Gate {
	return &Gate{
		Listener: l, o: o, counted: admission{most: o.MaxConns, mostOfAddr: o.MaxConnsPerAddr, byAddr: map[netip.Addr]int{}},
		ready: make(chan accepted), closing: make(chan struct{}), waiting: map[served]struct{}{},
	}
}

// Accept implements [net.Listener].
func (g *Gate) Accept() (net.Conn, error) {
	if len(g.o.Proxies) == 0 {
		for {
			c, err := g.next()
			if err != nil {
				return nil, err
			}
			if g.enter(c) && g.enterAs(c) {
				return c, nil
			}
		}
	}
	g.start.Do(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if !g.closed {
			g.working.Go(g.accept)
		}
	})
	select {
	case a := <-g.ready:
		return a.c, a.err
	case <-g.closing:
		return nil, &net.OpError{Op: "accept", Net: g.Addr().Network(), Addr: g.Addr(), Err: net.ErrClosed}
	}
}

// Close implements [net.Listener].
func (g *Gate) Close() error {
	err := g.Listener.Close()
	g.mu.Lock()
	if !g.closed {
		g.closed = true
		close(g.closing)
	}
	for c := range g.waiting {
		_ = c.NetConn().Close()
	}
	g.mu.Unlock()
	g.working.Wait()
	return err
}

// accept accepts until the listener is closed.
func (g *Gate) accept() {
	for {
		c, err := g.next()
		switch {
		case err != nil:
			if !g.hand(accepted{nil, err}) {
				return
			}
		case !g.enter(c):
		case g.isProxy(c):
			g.expect(c)
		case g.enterAs(c):
			g.hand(accepted{c, nil})
		}
	}
}

// hand gives Accept what was accepted. It reports false, and closes it, when nobody wants it any more.
func (g *Gate) hand(a accepted) bool {
	select {
	case g.ready <- a:
		return true
	case <-g.closing:
		if a.c != nil {
			_ = a.c.Close()
		}
		return false
	}
}

// next returns the next connection as it would be served.
func (g *Gate) next() (served, error) {
	raw, err := g.Listener.Accept()
	if err != nil {
		return nil, err
	}
	var c served
	switch raw := raw.(type) {
	case *tls.Conn:
		_ = raw.Close()
		return nil, errTLS
	case *net.TCPConn:
		c = New(raw)
	default:
		c = &other{Conn: raw}
	}
	s := &c.guard().stream
	s.checked, s.refused = g.o.Framing, g.o.Refused
	return c, nil
}

func (g *Gate) isProxy(c served) bool {
	peer := addrOf(c.RemoteAddr())
	return peer.IsValid() && slices.ContainsFunc(g.o.Proxies, func(p netip.Prefix) bool { return p.Contains(peer) })
}

// enter counts a connection, or ends it when there are too many.
func (g *Gate) enter(c served) bool {
	h, err := g.counted.enter()
	if err != nil {
		g.refuse(c, err)
		return false
	}
	c.guard().hold = h
	runtime.AddCleanup(c.guard(), (*hold).release, h) // somebody may close what is below it
	return true
}

// enterAs counts a connection for its client, or ends it when that has too many.
func (g *Gate) enterAs(c served) bool {
	err := g.counted.enterAs(c.guard().hold, addrOf(c.RemoteAddr()))
	if err != nil {
		g.refuse(c, err)
	}
	return err == nil
}

// expect waits for the header of a proxy on a goroutine of its own.
func (g *Gate) expect(c served) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		_ = c.Close()
		return
	}
	g.waiting[c] = struct{}{}
	g.working.Go(func() {
		from, err := g.header(c.NetConn())
		g.mu.Lock()
		delete(g.waiting, c)
		g.mu.Unlock()
		if err != nil {
			g.refuse(c, fmt.Errorf("%w: %w", ErrHeader, err))
			return
		}
		if from.IsValid() {
			c.guard().remote = net.TCPAddrFromAddrPort(from)
		}
		if g.enterAs(c) {
			g.hand(accepted{c, nil})
		}
	})
}

func (g *Gate) header(raw net.Conn) (netip.AddrPort, error) {
	if err := raw.SetReadDeadline(time.Now().Add(g.o.HeaderTimeout)); err != nil {
		return netip.AddrPort{}, err
	}
	from, err := proxyproto.Read(raw)
	if err != nil {
		return from, err
	}
	return from, raw.SetReadDeadline(time.Time{})
}

// refuse ends a connection at once, without a trace of it in the system's tables.
func (g *Gate) refuse(c served, err error) {
	if g.o.Refused != nil {
		g.o.Refused(c.RemoteAddr(), err)
	}
	if l, ok := c.NetConn().(interface{ SetLinger(sec int) error }); ok {
		_ = l.SetLinger(0)
	}
	_ = c.Close()
}
