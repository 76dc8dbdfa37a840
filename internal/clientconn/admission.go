package clientconn

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Why a connection is not served.
var (
	ErrConns     = errors.New("gateway: too many connections")
	ErrAddrConns = errors.New("gateway: too many connections of one address")
)

// admission counts connections, all together and for each address. It remembers addresses only while they have connections.
type admission struct {
	most, mostOfAddr int // 0 for any number

	mu     sync.Mutex
	all    int
	byAddr map[netip.Addr]int
}

// hold is what a connection has of an admission.
type hold struct {
	in   *admission
	addr netip.Addr  // the zero Addr when it is not counted for one
	done atomic.Bool // it was given back
}

// network returns the addresses that are taken for one client: an IPv6 network of 64 bits, in which it may choose.
func network(a netip.Addr) netip.Addr {
	if a = a.Unmap().WithZone(""); a.Is6() {
		p, _ := a.Prefix(64)
		return p.Addr()
	}
	return a
}

// enter counts a connection, unless there are too many.
func (a *admission) enter() (*hold, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.most > 0 && a.all >= a.most {
		return nil, ErrConns
	}
	a.all++
	return &hold{in: a}, nil
}

// enterAs counts a connection that has entered for its client, unless there are too many.
func (a *admission) enterAs(h *hold, client netip.Addr) error {
	if a.mostOfAddr <= 0 || !client.IsValid() {
		return nil
	}
	client = network(client)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byAddr[client] >= a.mostOfAddr {
		return ErrAddrConns
	}
	a.byAddr[client]++
	h.addr = client
	return nil
}

// release gives back what h has. It may be called more than once.
func (h *hold) release() {
	if h == nil || h.done.Swap(true) {
		return
	}
	h.in.mu.Lock()
	defer h.in.mu.Unlock()
	h.in.all--
	if !h.addr.IsValid() {
		return
	}
	if h.in.byAddr[h.addr]--; h.in.byAddr[h.addr] <= 0 {
		delete(h.in.byAddr, h.addr)
	}
}

// addrOf returns the IP address in a, if it has one.
func addrOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
