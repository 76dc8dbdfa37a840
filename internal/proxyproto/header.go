package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
)

// ErrInvalid is wrapped by the errors about a header that is none, or not a valid one.
var ErrInvalid = errors.New("proxyproto: invalid header")

const (
	signature = "\r\n\r\n\x00\r\nQUIT\n"

	maxLine    = 107 // of version 1, with its end
	shortest   = len("PROXY UNKNOWN\r\n")
	fixed      = 16 // of version 2
	maxLength  = 4 << 10
	maxPort    = 65535
	portDigits = 5
)

// What the bytes of version 2 mean.
const (
	version2 = 0x2
	local    = 0x0
	proxied  = 0x1

	unspec    = 0x0
	inet      = 0x1
	inet6     = 0x2
	unix      = 0x3
	datagram  = 0x2
	sizeInet  = 12
	sizeInet6 = 36
	sizeUnix  = 216
	sizeTLV   = 3 // without its value
)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

// Read reads a header from r and returns the client's address and port; the zero AddrPort when the header says that the
// connection is the proxy's own, or that it does not know, or names no IP address. Of version 2 it takes 4 KiB at most.
func Read(r io.Reader) (netip.AddrPort, error) {
	var b [maxLine]byte
	if _, err := io.ReadFull(r, b[:len(signature)]); err != nil {
		return netip.AddrPort{}, cut(err)
	}
	switch {
	case string(b[:len(signature)]) == signature:
		return readBinary(r)
	case string(b[:6]) == "PROXY ":
		return readText(r, b[:])
	}
	return netip.AddrPort{}, invalid("it begins with %q", b[:len(signature)])
}

// cut makes the end of a connection within a header an error of its own.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return invalid("the connection ends within it")
	}
	return err
}

// readText reads version 1, whose beginning is in line. Behind its shortest form each byte may be the last.
func readText(r io.Reader, line []byte) (netip.AddrPort, error) {
	n := len(signature)
	for more := shortest - n; ; more = 1 {
		if _, err := io.ReadFull(r, line[n:n+more]); err != nil {
			return netip.AddrPort{}, cut(err)
		}
		n += more
		if end := bytes.IndexByte(line[:n], '\n'); end >= 0 {
			if end != n-1 || line[n-2] != '\r' {
				return netip.AddrPort{}, invalid("line %q", line[:n])
			}
			return parseText(string(line[:n-2]))
		}
		if n == len(line) {
			return netip.AddrPort{}, invalid("no end of the line in %d bytes", n)
		}
	}
}

func parseText(line string) (netip.AddrPort, error) {
	f := strings.Split(line, " ")
	if f[1] == "UNKNOWN" {
		return netip.AddrPort{}, nil // whatever follows
	}
	if len(f) != 6 || f[1] != "TCP4" && f[1] != "TCP6" {
		return netip.AddrPort{}, invalid("line %q", line)
	}
	var ends [2]netip.AddrPort
	for i := range ends {
		a, err := netip.ParseAddr(f[2+i])
		port, ok := parsePort(f[4+i])
		if err != nil || !ok || a.Is4() != (f[1] == "TCP4") || a.Zone() != "" {
			return netip.AddrPort{}, invalid("line %q", line)
		}
		ends[i] = netip.AddrPortFrom(a.Unmap(), port)
	}
	return ends[0], nil
}

// parsePort reads a decimal number without leading zeros.
func parsePort(s string) (uint16, bool) {
	if s == "" || len(s) > portDigits || s[0] == '0' && s != "0" {
		return 0, false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return uint16(n), n <= maxPort
}

// readBinary reads version 2 behind its signature.
func readBinary(r io.Reader) (netip.AddrPort, error) {
	var head [fixed - len(signature)]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return netip.AddrPort{}, cut(err)
	}
	length := int(binary.BigEndian.Uint16(head[2:]))
	command, family, protocol := head[0]&0xf, head[1]>>4, head[1]&0xf
	switch {
	case head[0]>>4 != version2 || command > proxied:
		return netip.AddrPort{}, invalid("version and command %#02x", head[0])
	case length > maxLength:
		return netip.AddrPort{}, invalid("%d bytes, which is more than %d", length, maxLength)
	case command == proxied && (family > unix || protocol > datagram || (family == unspec) != (protocol == unspec)):
		return netip.AddrPort{}, invalid("family and protocol %#02x", head[1])
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return netip.AddrPort{}, cut(err)
	}
	if command == local || family == unspec {
		return netip.AddrPort{}, nil // whatever follows
	}
	size := [...]int{inet: sizeInet, inet6: sizeInet6, unix: sizeUnix}[family]
	if length < size {
		return netip.AddrPort{}, invalid("%d bytes for addresses of the family %d", length, family)
	}
	if !isTLVs(body[size:]) {
		return netip.AddrPort{}, invalid("the values behind the addresses do not end with it")
	}
	switch family {
	case inet:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(body)), binary.BigEndian.Uint16(body[8:])), nil
	case inet6:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(body)).Unmap(), binary.BigEndian.Uint16(body[32:])), nil
	}
	return netip.AddrPort{}, nil
}

// isTLVs reports whether b is a sequence of types, lengths and values.
func isTLVs(b []byte) bool {
	for len(b) > 0 {
		if len(b) < sizeTLV {
			return false
		}
		n := sizeTLV + int(binary.BigEndian.Uint16(b[1:]))
		if n > len(b) {
			return false
		}
		b = b[n:]
	}
	return true
}
