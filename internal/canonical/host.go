package canonical

import (
	"net/netip"
	"strings"
)

// maxHost is the longest name DNS can carry, written without the final dot.
const maxHost = 253

// Reason codes of [HostError]. The set is closed.
const (
	HostEmpty      = "empty"       // no host
	HostTooLong    = "too_long"    // more than 253 bytes
	HostUserinfo   = "userinfo"    // an '@'
	HostBadByte    = "bad_byte"    // a byte no host name holds: spaces, control and non-ASCII bytes, '%', '/' and the rest
	HostEmptyLabel = "empty_label" // two dots in a row, or one at the start
	HostBadLiteral = "bad_literal" // brackets around something other than an IPv6 address without a zone
	HostBadPort    = "bad_port"    // not 1 to 65535 in plain decimal
)

// HostError reports why an authority is not usable as a host. Its text names
// the reason code only and never repeats the input.
type HostError struct {
	Reason string // one of the Host constants
}

// Error implements error.
func (e *HostError) Error() string { return "canonical: host refused: " + e.Reason }

// Host splits an authority, as it is sent in Host or :authority, and normalises
// its parts. host is in lower case and without one final dot; an IPv6 literal
// is given without its brackets, in the spelling of RFC 5952. port is "" when
// the authority has none; it is never completed from a scheme.
//
// The error, when not nil, is a *[HostError], and both strings are empty then.
// Refused are an empty host and empty labels, user information, names above
// 253 bytes, bytes other than letters, digits, '-', '_' and '.' (an
// internationalised name has to be sent in its ASCII form), zones, and ports
// other than 1 to 65535 written without sign or leading zeros; a colon with
// nothing behind it is such a port. A name that looks like a number stays a
// name: "127.1" is not turned into an address.
//
// Host returns parts of authority, without allocating, when they are canonical
// already.
func Host(authority string) (host, port string, err error) {
	if strings.IndexByte(authority, '@') >= 0 {
		return refuseHost(HostUserinfo)
	}
	if strings.HasPrefix(authority, "[") {
		return literalHost(authority)
	}
	host, port, found := strings.Cut(authority, ":")
	if found && !validPort(port) {
		return refuseHost(HostBadPort)
	}
	host = strings.TrimSuffix(host, ".")
	switch {
	case host == "":
		return refuseHost(HostEmpty)
	case len(host) > maxHost:
		return refuseHost(HostTooLong)
	}
	fold := false
	for i := range len(host) {
		c := host[i]
		switch {
		case c == '.':
			if i == 0 || i+1 == len(host) || host[i-1] == '.' {
				return refuseHost(HostEmptyLabel)
			}
		case upper(c):
			fold = true
		case !hostByte(c):
			return refuseHost(HostBadByte)
		}
	}
	if fold {
		host = strings.ToLower(host)
	}
	return host, port, nil
}

func literalHost(authority string) (host, port string, err error) {
	end := strings.IndexByte(authority, ']')
	if end < 0 || end > maxHost {
		return refuseHost(HostBadLiteral)
	}
	host = authority[1:end]
	if rest := authority[end+1:]; rest != "" {
		if rest[0] != ':' || !validPort(rest[1:]) {
			return refuseHost(HostBadPort)
		}
		port = rest[1:]
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || !addr.Is6() || addr.Zone() != "" {
		return refuseHost(HostBadLiteral)
	}
	var b [64]byte // longer than any IPv6 address without a zone
	if spelled := addr.AppendTo(b[:0]); string(spelled) != host {
		host = string(spelled)
	}
	return host, port, nil
}

func validPort(s string) bool {
	if s == "" || len(s) > 5 || s[0] == '0' {
		return false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n <= 65535
}

func refuseHost(reason string) (host, port string, err error) {
	return "", "", &HostError{Reason: reason}
}
