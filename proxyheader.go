package gateway

import (
	"context"
	"encoding/binary"
	"net"
	"net/http"
	"net/netip"
	"strconv"

	"github.com/gatehouse-go/gateway/policy"
)

// ProxyHeader is a version of the PROXY protocol, by which a target learns the client's address below HTTP.
type ProxyHeader uint8

const (
	// NoProxyHeader sends nothing.
	NoProxyHeader ProxyHeader = iota
	// ProxyHeaderV1 sends a line of text.
	ProxyHeaderV1
	// ProxyHeaderV2 sends bytes.
	ProxyHeaderV2
)

// proxySignature begins a header of version 2.
const proxySignature = "\r\n\r\n\x00\r\nQUIT\n"

// preface returns what to send to a target for the request in ctx; nil for nothing ever.
func (p ProxyHeader) preface() func(ctx context.Context) []byte {
	switch p {
	case ProxyHeaderV1:
		return func(ctx context.Context) []byte { return proxyV1(ends(ctx)) }
	case ProxyHeaderV2:
		return func(ctx context.Context) []byte { return proxyV2(ends(ctx)) }
	default:
		return nil
	}
}

// ends returns the addresses of the client of the request in ctx, and of ours that it reached. Neither is valid where one is
// unknown. The client's port is not known.
func ends(ctx context.Context) (client, own netip.AddrPort) {
	addr := policy.ExchangeFrom(ctx).ClientAddr()
	local, ok := ctx.Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !addr.IsValid() || !ok || local == nil {
		return client, own
	}
	to := local.AddrPort()
	toAddr := to.Addr().Unmap().WithZone("")
	if addr.Is4() != toAddr.Is4() { // both have one family
		addr, toAddr = netip.AddrFrom16(addr.As16()), netip.AddrFrom16(toAddr.As16())
	}
	return netip.AddrPortFrom(addr, 0), netip.AddrPortFrom(toAddr, to.Port())
}

func proxyV1(client, own netip.AddrPort) []byte {
	if !client.IsValid() {
		return []byte("PROXY UNKNOWN\r\n")
	}
	family := " TCP4 "
	if client.Addr().Is6() {
		family = " TCP6 "
	}
	return []byte("PROXY" + family + client.Addr().String() + " " + own.Addr().String() + " " +
		strconv.Itoa(int(client.Port())) + " " + strconv.Itoa(int(own.Port())) + "\r\n")
}

func proxyV2(client, own netip.AddrPort) []byte {
	const (
		local = "\x20\x00" // of ourselves: the receiver takes the addresses of the connection
		tcp4  = "\x21\x11"
		tcp6  = "\x21\x21"
	)
	if !client.IsValid() {
		return []byte(proxySignature + local + "\x00\x00")
	}
	kind := tcp4
	if client.Addr().Is6() {
		kind = tcp6
	}
	from, to := client.Addr().AsSlice(), own.Addr().AsSlice()
	b := append([]byte(proxySignature), kind...)
	b = binary.BigEndian.AppendUint16(b, uint16(2*len(from)+4))
	b = append(append(b, from...), to...)
	b = binary.BigEndian.AppendUint16(b, client.Port())
	return binary.BigEndian.AppendUint16(b, own.Port())
}
