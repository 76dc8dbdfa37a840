package proxyproto_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/proxyproto"
)

const signature = "\r\n\r\n\x00\r\nQUIT\n"

// binaryHeader is a header of version 2 whose length is that of body.
func binaryHeader(command, family byte, body string) string {
	return signature + string(binary.BigEndian.AppendUint16([]byte{command, family}, uint16(len(body)))) + body
}

const (
	addrs4 = "\xc0\x00\x02\x01\xc0\x00\x02\x02\x04\xd2\x01\xbb"
	addrs6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x04\xd2\x01\xbb"
	mapped6 = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x01" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x04\xd2\x01\xbb"
)

func TestRead(t *testing.T) {
	t.Parallel()
	const nobody = "invalid AddrPort"
	unix := strings.Repeat("/", 216)
	tests := []struct {
		about, header string
		want          string // "" when it is refused
	}{
		{"version 1, IPv4", "PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\r\n", "192.0.2.1:1234"},
		{"version 1, IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 1234 443\r\n", "[2001:db8::1]:1234"},
		{"version 1, IPv4 mapped", "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c000:202 1234 443\r\n", "192.0.2.1:1234"},
		{"version 1, shortest addresses", "PROXY TCP6 :: :: 0 0\r\n", "[::]:0"},
		{"version 1, highest port", "PROXY TCP4 192.0.2.1 192.0.2.2 65535 65535\r\n", "192.0.2.1:65535"},
		{"version 1, longest", "PROXY TCP6 " + strings.Repeat("ffff:", 7) + "ffff " + strings.Repeat("ffff:", 7) + "ffff 65535 65535\r\n",
			"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
		{"version 1, unknown", "PROXY UNKNOWN\r\n", nobody},
		{"version 1, unknown, with anything", "PROXY UNKNOWN ffff::1 what ever \r\n", nobody},
		{"version 1, unknown, as long as may be", "PROXY UNKNOWN " + strings.Repeat("x", 107-16) + "\r\n", nobody},
		{"version 1, one byte longer", "PROXY UNKNOWN " + strings.Repeat("x", 107-15) + "\r\n", ""},
		{"version 1, without an end", "PROXY TCP4 192.0.2.1 192.0.2.2 1234 443" + strings.Repeat(" ", 200), ""},
		{"version 1, bare LF", "PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\n", ""},
		{"version 1, bare LF, unknown", "PROXY UNKNOWN \n", ""},
		{"version 1, LF inside the shortest form", "PROXY UNKNO\n\r\n", ""},
		{"version 1, CR inside", "PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\r\r\n", ""},
		{"version 1, port beyond", "PROXY TCP4 192.0.2.1 192.0.2.2 65536 443\r\n", ""},
		{"version 1, long port", "PROXY TCP4 192.0.2.1 192.0.2.2 123456 443\r\n", ""},
		{"version 1, destination port beyond", "PROXY TCP4 192.0.2.1 192.0.2.2 1234 65536\r\n", ""},
		{"version 1, zero in front", "PROXY TCP4 192.0.2.1 192.0.2.2 01234 443\r\n", ""},
		{"version 1, zero in front of zero", "PROXY TCP4 192.0.2.1 192.0.2.2 00 443\r\n", ""},
		{"version 1, signed port", "PROXY TCP4 192.0.2.1 192.0.2.2 +123 443\r\n", ""},
		{"version 1, no port", "PROXY TCP4 192.0.2.1 192.0.2.2  443\r\n", ""},
		{"version 1, zero in front of an octet", "PROXY TCP4 192.0.02.1 192.0.2.2 1234 443\r\n", ""},
		{"version 1, octet beyond", "PROXY TCP4 192.0.256.1 192.0.2.2 1234 443\r\n", ""},
		{"version 1, three octets", "PROXY TCP4 192.0.2 192.0.2.2 1234 443\r\n", ""},
		{"version 1, other destination", "PROXY TCP4 192.0.2.1 nobody 1234 443\r\n", ""},
		{"version 1, IPv6 as IPv4", "PROXY TCP4 2001:db8::1 192.0.2.2 1234 443\r\n", ""},
		{"version 1, IPv4 as IPv6", "PROXY TCP6 192.0.2.1 2001:db8::1 1234 443\r\n", ""},
		{"version 1, zone", "PROXY TCP6 fe80::1%eth0 2001:db8::1 1234 443\r\n", ""},
		{"version 1, two spaces", "PROXY TCP4  192.0.2.1 192.0.2.2 1234 443\r\n", ""},
		{"version 1, space behind", "PROXY TCP4 192.0.2.1 192.0.2.2 1234 443 \r\n", ""},
		{"version 1, tab", "PROXY TCP4\t192.0.2.1 192.0.2.2 1234 443\r\n", ""},
		{"version 1, more", "PROXY TCP4 192.0.2.1 192.0.2.2 1234 443 1\r\n", ""},
		{"version 1, less", "PROXY TCP4 192.0.2.1 192.0.2.2 1234\r\n", ""},
		{"version 1, other protocol", "PROXY UDP4 192.0.2.1 192.0.2.2 1234 443\r\n", ""},
		{"version 1, lower case", "proxy TCP4 192.0.2.1 192.0.2.2 1234 443\r\n", ""},
		{"version 1, protocol in lower case", "PROXY tcp4 192.0.2.1 192.0.2.2 1234 443\r\n", ""},
		{"version 1, longer word", "PROXY UNKNOWNS\r\n", ""},
		{"a request", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", ""},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdef", ""},
		{"nothing", "", ""},

		{"version 2, IPv4", binaryHeader(0x21, 0x11, addrs4), "192.0.2.1:1234"},
		{"version 2, IPv4, datagrams", binaryHeader(0x21, 0x12, addrs4), "192.0.2.1:1234"},
		{"version 2, IPv6", binaryHeader(0x21, 0x21, addrs6), "[2001:db8::1]:1234"},
		{"version 2, IPv4 mapped", binaryHeader(0x21, 0x21, mapped6), "192.0.2.1:1234"},
		{"version 2, Unix", binaryHeader(0x21, 0x31, unix), nobody},
		{"version 2, unspecified", binaryHeader(0x21, 0x00, ""), nobody},
		{"version 2, unspecified, with anything", binaryHeader(0x21, 0x00, "anything"), nobody},
		{"version 2, local", binaryHeader(0x20, 0x00, ""), nobody},
		{"version 2, local, with an address", binaryHeader(0x20, 0x11, addrs4), nobody},
		{"version 2, local, with an unknown family", binaryHeader(0x20, 0xff, "x"), nobody},
		{"version 2, values behind", binaryHeader(0x21, 0x11, addrs4+"\x04\x00\x00\x03\x00\x04abcd"), "192.0.2.1:1234"},
		{"version 2, as long as may be", binaryHeader(0x21, 0x11, addrs4+"\x04\x0f\xf1"+strings.Repeat("x", 0xff1)), "192.0.2.1:1234"},
		{"version 2, one byte longer", binaryHeader(0x21, 0x11, addrs4+"\x04\x0f\xf2"+strings.Repeat("x", 0xff2)), ""},
		{"version 2, longest", binaryHeader(0x20, 0x00, strings.Repeat("x", 0xffff)), ""},
		{"version 2, half a value", binaryHeader(0x21, 0x11, addrs4+"\x04\x00"), ""},
		{"version 2, value beyond the end", binaryHeader(0x21, 0x11, addrs4+"\x04\x00\x01"), ""},
		{"version 2, IPv4, short", binaryHeader(0x21, 0x11, addrs4[1:]), ""},
		{"version 2, IPv6, short", binaryHeader(0x21, 0x21, addrs6[1:]), ""},
		{"version 2, IPv6 with addresses of IPv4", binaryHeader(0x21, 0x21, addrs4), ""},
		{"version 2, Unix, short", binaryHeader(0x21, 0x31, unix[1:]), ""},
		{"version 2, other family", binaryHeader(0x21, 0x41, addrs6), ""},
		{"version 2, other protocol", binaryHeader(0x21, 0x13, addrs4), ""},
		{"version 2, no protocol", binaryHeader(0x21, 0x10, addrs4), ""},
		{"version 2, protocol without a family", binaryHeader(0x21, 0x01, ""), ""},
		{"version 2, other command", binaryHeader(0x22, 0x11, addrs4), ""},
		{"version 2, other version", binaryHeader(0x11, 0x11, addrs4), ""},
		{"version 2, other signature", strings.Replace(binaryHeader(0x21, 0x11, addrs4), "QUIT", "QUIP", 1), ""},
	}
	for _, tt := range tests {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			const behind = "GET / HTTP/1.1\r\n"
			for _, wrap := range []func(io.Reader) io.Reader{iotest.OneByteReader, func(r io.Reader) io.Reader { return r }} {
				in := strings.NewReader(tt.header + behind)
				got, err := proxyproto.Read(wrap(in))
				if tt.want == "" {
					require.ErrorIs(t, err, proxyproto.ErrInvalid)
					require.False(t, got.IsValid())
					continue
				}
				require.NoError(t, err)
				require.Equal(t, tt.want, got.String())
				require.Equal(t, len(behind), in.Len(), "what follows is not touched")
			}
			if tt.want == "" {
				return
			}
			for n := range min(len(tt.header), 300) { // half a header is none
				_, err := proxyproto.Read(strings.NewReader(tt.header[:n]))
				require.ErrorIs(t, err, proxyproto.ErrInvalid, n)
			}
		})
	}
	other := errors.New("reset")
	_, err := proxyproto.Read(iotest.ErrReader(other))
	require.ErrorIs(t, err, other)
	require.NotErrorIs(t, err, proxyproto.ErrInvalid, "the connection's own fault")
}

// model reads a header by other means than the package: regular expressions and package net. It returns how long the header is,
// or 0 when it is none.
func model(b []byte) (string, int) {
	number := `(0|[1-9][0-9]{0,4})`
	if m := regexp.MustCompile(`(?s)^PROXY (UNKNOWN(?: [^\n]*?)?|TCP([46]) ([0-9a-fA-F:.]+) ([0-9a-fA-F:.]+) ` + number + ` ` + number + `)\r\n`).FindSubmatch(b); m != nil && len(m[0]) <= 107 {
		if len(m[2]) == 0 {
			return "", len(m[0])
		}
		var addr [2]net.IP
		for i := range addr {
			addr[i] = net.ParseIP(string(m[3+i]))
			port, err := strconv.Atoi(string(m[5+i]))
			if addr[i] == nil || err != nil || port > 65535 || strings.Contains(string(m[3+i]), ":") != (m[2][0] == '6') {
				return "", 0
			}
		}
		return net.JoinHostPort(addr[0].String(), string(m[5])), len(m[0])
	}
	if len(b) < 16 || !bytes.HasPrefix(b, []byte(signature)) || b[12] != 0x20 && b[12] != 0x21 {
		return "", 0
	}
	n := int(b[14])<<8 + int(b[15])
	if n > 4096 || len(b) < 16+n {
		return "", 0
	}
	body := b[16 : 16+n]
	if b[12] == 0x20 || b[13] == 0 {
		return "", 16 + n
	}
	size := map[byte]int{0x11: 4, 0x12: 4, 0x21: 16, 0x22: 16, 0x31: 106, 0x32: 106}[b[13]]
	rest := 2*size + 4
	if size == 106 {
		rest = 216
	}
	if size == 0 || n < rest {
		return "", 0
	}
	for i := rest; i != n; {
		if i+3 > n || i+3+int(body[i+1])<<8+int(body[i+2]) > n {
			return "", 0
		}
		i += 3 + int(body[i+1])<<8 + int(body[i+2])
	}
	if size == 106 {
		return "", 16 + n
	}
	return net.JoinHostPort(net.IP(body[:size]).String(), strconv.Itoa(int(body[2*size])<<8+int(body[2*size+1]))), 16 + n
}

func FuzzProxyHeader(f *testing.F) {
	for _, seed := range []string{
		"PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\r\nGET /", "PROXY TCP6 2001:db8::1 ::ffff:1.2.3.4 0 65535\r\n", "PROXY UNKNOWN a b\r\n",
		binaryHeader(0x21, 0x11, addrs4+"\x04\x00\x00"), binaryHeader(0x21, 0x21, addrs6) + "GET /", binaryHeader(0x20, 0, "x"),
		binaryHeader(0x21, 0x31, strings.Repeat("/", 216)), binaryHeader(0x21, 0x00, "x"), "\r\n", "GET / HTTP/1.1\r\n\r\n",
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, bytewise bool) {
		in := bytes.NewReader(b)
		var r io.Reader = in
		if bytewise {
			r = iotest.OneByteReader(in)
		}
		got, err := proxyproto.Read(r)
		want, n := model(b)
		if n == 0 {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		require.Equal(t, len(b)-n, in.Len())
		if want == "" {
			require.False(t, got.IsValid())
			return
		}
		w, err := netip.ParseAddrPort(want)
		require.NoError(t, err)
		require.Equal(t, w, got)
		require.False(t, got.Addr().Is4In6())
	})
}

func BenchmarkRead(b *testing.B) {
	for version, header := range []string{1: "PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\r\n", 2: binaryHeader(0x21, 0x11, addrs4)} {
		if header == "" {
			continue
		}
		b.Run(fmt.Sprintf("version %d", version), func(b *testing.B) {
			in := strings.NewReader(header)
			b.ReportAllocs()
			for b.Loop() {
				in.Reset(header)
				if _, err := proxyproto.Read(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
