package proxy_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/proxy"
	"github.com/gatehouse-go/gateway/policy"
)

// isValue tells of values that a field may have, and net/http's server lets in.
func isValue(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

const tokenChars = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// parseForwarded reads elements as RFC 7239 section 4 has them: lists of token "=" (token / quoted-string), without white space
// around ";" and "=", and none but around ",".
func parseForwarded(s string) (elements []map[string]string, err error) {
	for {
		element := map[string]string{}
		s = strings.TrimLeft(s, " \t")
		for {
			n := len(s) - len(strings.TrimLeft(s, tokenChars))
			name := strings.ToLower(s[:n])
			if n == 0 || !strings.HasPrefix(s[n:], "=") {
				return nil, fmt.Errorf("no parameter at %q", s)
			}
			if _, twice := element[name]; twice {
				return nil, fmt.Errorf("%s stands twice", name)
			}
			var value string
			if value, s, err = parseForwardedValue(s[n+1:]); err != nil {
				return nil, err
			}
			element[name] = value
			if !strings.HasPrefix(s, ";") {
				break
			}
			s = s[1:]
		}
		elements = append(elements, element)
		if s = strings.TrimLeft(s, " \t"); s == "" {
			return elements, nil
		}
		if !strings.HasPrefix(s, ",") {
			return nil, fmt.Errorf("%q behind an element", s)
		}
		s = s[1:]
	}
}

func parseForwardedValue(s string) (value, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		n := len(s) - len(strings.TrimLeft(s, tokenChars))
		if n == 0 {
			return "", "", fmt.Errorf("no value at %q", s)
		}
		return s[:n], s[n:], nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], nil
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", errors.New("a quoted string without an end")
}

// isNode tells of the addresses in for (RFC 7239 section 6), without a port.
func isNode(s string, peer netip.Addr) bool {
	switch {
	case !peer.IsValid():
		return s == "unknown"
	case peer.Is4():
		return s == peer.String()
	default:
		return s == "["+peer.String()+"]"
	}
}

// peerOf returns the address in a RemoteAddr, without a zone, which says nothing to anybody else; invalid when there is none.
func peerOf(remote string) netip.Addr {
	host, port, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	} else if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

// FuzzForwarded: whatever clients and proxies in front say about the way of a request, each field that the gateway writes about it
// has one line that is a valid value, the lists end with the peer, and the element of Forwarded is one.
func FuzzForwarded(f *testing.F) {
	f.Add("", "", "", "", "", "", "", "a.test", "192.0.2.1:1234", uint8(0))
	f.Add("10.0.0.1, \"x\n10.0.0.2", "h:1", "https", "8443", "/p/", "for=_a;by=\"[::1]:2\", for=b\nfor=c", "1.0 a (b, c)\n1.1 gatehouse", "a.test:8080", "[2001:db8::1]:1234", uint8(1))
	f.Add("unknown", "", "HTTPS", "", "", "for=\"a\\\"b;c, d\";proto=https", "", "[2001:db8::2]:80", "[fe80::1%eth0]:1", uint8(2))
	f.Add(",", "a, b", "ws", "x", "a", "for=\"", ",,", "A.TEST.", "@", uint8(1))
	f.Add("1.2.3.4:80,[::1]:5", "\xff", "http,https", "-1", "//", "=;,", "2.0 x", "192.0.2.9", "[::ffff:192.0.2.1]:80", uint8(2))
	f.Add("a", "b", "c", "d", "e", "f", "g", "h\"i", "1.2.3.4", uint8(1))
	f.Add("a", "b", "c", "d", "e", "f", "g", "", "/run/socket", uint8(0))
	everybody := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	entries := [...]*policy.Entry{
		policy.Must(policy.NewEntry(policy.EntryConfig{})),
		policy.Must(policy.NewEntry(policy.EntryConfig{TrustedProxies: everybody, InsecureTrustAll: true})),
		policy.Must(policy.NewEntry(policy.EntryConfig{TrustedProxies: everybody, InsecureTrustAll: true, ClientAddressHeader: "Forwarded"})),
	}
	p := proxy.New()
	target := mustURL("http://up.test")
	f.Fuzz(func(t *testing.T, xff, host, proto, port, prefix, forwarded, via, asked, remote string, entry uint8) {
		r := httptest.NewRequest(http.MethodGet, "/a", nil)
		r.Host, r.RemoteAddr = asked, remote
		for name, lines := range map[string]string{
			"X-Forwarded-For": xff, "X-Forwarded-Host": host, "X-Forwarded-Proto": proto, "X-Forwarded-Port": port, "X-Forwarded-Prefix": prefix, "X-Forwarded-Path": prefix,
			"X-Real-Ip": xff, "Forwarded": forwarded, "Via": via,
		} {
			if lines == "" {
				continue
			}
			for line := range strings.SplitSeq(lines, "\n") {
				if line = strings.Trim(line, " \t"); !isValue(line) {
					return
				}
				r.Header[name] = append(r.Header[name], line)
			}
		}
		e := entries[int(entry)%len(entries)]
		e.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, refused := p.Accept(w, r)
			if refused != nil {
				require.Equal(t, "loop_detected", refused.Code)
				return
			}
			defer c.Release()
			out, refused := c.Outgoing(target)
			require.Nil(t, refused)
			sameAsList(t, w, r, target, out, refused)
			checkForwarded(t, r.Header, out.Header, peerOf(remote), e != entries[0])
		})).ServeHTTP(httptest.NewRecorder(), r)
	})
}

// checkForwarded says that out, made of what the entry has left of in, tells of peer, and of nobody else where what came
// in is not believed.
func checkForwarded(t *testing.T, in, out http.Header, peer netip.Addr, believed bool) {
	t.Helper()
	for name, lines := range out {
		for _, line := range lines {
			require.True(t, isValue(line), "%s: %q", name, line)
		}
	}
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Path", "X-Real-Ip", "Forwarded", "Via"} {
		require.LessOrEqual(t, len(out[name]), 1, name)
		require.NotEqual(t, []string{""}, out[name], name)
	}
	require.True(t, strings.HasSuffix(out.Get("Via"), "1.1 gatehouse"))
	require.Contains(t, []string{"http", "https"}, out.Get("X-Forwarded-Proto"))
	list := strings.Split(out.Get("X-Forwarded-For"), ", ")
	if peer.IsValid() {
		require.Equal(t, peer.String(), list[len(list)-1])
	}
	if client := out.Get("X-Real-Ip"); client != "" {
		require.NotPanics(t, func() { netip.MustParseAddr(client) })
	}
	if !believed {
		require.Len(t, list, 1)
		require.NotContains(t, out, "Forwarded")
		require.NotContains(t, out, "X-Forwarded-Prefix")
		require.Equal(t, "/a", out.Get("X-Forwarded-Path"))
		return
	}
	kept := strings.Join(in["Forwarded"], ", ")
	if kept == "" {
		return
	}
	own, ok := strings.CutPrefix(out.Get("Forwarded"), kept+", ")
	require.True(t, ok)
	elements, err := parseForwarded(own)
	require.NoError(t, err)
	require.Len(t, elements, 1)
	require.True(t, isNode(elements[0]["for"], peer), "%q is not %v", own, peer)
	require.Equal(t, "http", elements[0]["proto"])
	if before, err := parseForwarded(kept); err == nil {
		all, err := parseForwarded(out.Get("Forwarded"))
		require.NoError(t, err)
		require.Equal(t, append(before, elements...), all)
	}
}
