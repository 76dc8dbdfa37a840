package gateway_test

import (
	"net"
	"net/http"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/internal/rawtest"
	"github.com/gatehouse-go/gateway/policy"
)

// A target learns the client's address before anything else, on a connection that serves nobody else.
func TestProxyHeaderToTargets(t *testing.T) {
	t.Parallel()
	trusted := policy.EntryConfig{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
	const signature = "\r\n\r\n\x00\r\nQUIT\n"
	for _, tt := range []struct {
		about   string
		version gateway.ProxyHeader
		entry   policy.EntryConfig
		field   string
		want    func(port string) string
	}{
		{"version 1", gateway.ProxyHeaderV1, policy.EntryConfig{}, "", func(port string) string { return "PROXY TCP4 127.0.0.1 127.0.0.1 0 " + port + "\r\n" }},
		{"who a trusted proxy speaks for", gateway.ProxyHeaderV1, trusted, "192.0.2.7", func(port string) string { return "PROXY TCP4 192.0.2.7 127.0.0.1 0 " + port + "\r\n" }},
		{"another family", gateway.ProxyHeaderV1, trusted, "2001:db8::1", func(port string) string { return "PROXY TCP6 2001:db8::1 ::ffff:127.0.0.1 0 " + port + "\r\n" }},
		{"who nobody trusts", gateway.ProxyHeaderV1, policy.EntryConfig{}, "192.0.2.7", func(port string) string { return "PROXY TCP4 127.0.0.1 127.0.0.1 0 " + port + "\r\n" }},
		{"version 2", gateway.ProxyHeaderV2, trusted, "192.0.2.7", func(port string) string {
			n := netip.MustParseAddrPort("127.0.0.1:" + port).Port()
			return signature + "\x21\x11\x00\x0c\xc0\x00\x02\x07\x7f\x00\x00\x01\x00\x00" + string([]byte{byte(n >> 8), byte(n)})
		}},
		{"version 2, another family", gateway.ProxyHeaderV2, trusted, "2001:db8::1", func(port string) string {
			n := netip.MustParseAddrPort("127.0.0.1:" + port).Port()
			return signature + "\x21\x21\x00\x24\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" +
				"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x7f\x00\x00\x01\x00\x00" + string([]byte{byte(n >> 8), byte(n)})
		}},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			target := rawtest.Listen(t, false)
			up := upstream(t, gateway.UpstreamConfig{ProxyHeader: tt.version}, target.URL)
			addr := front(t, policy.Must(policy.NewEntry(tt.entry)).Wrap(up)).Listener.Addr().String()
			_, port, err := net.SplitHostPort(addr)
			require.NoError(t, err)
			client := rawtest.Dial(t, addr)
			for range 2 {
				request := "GET / HTTP/1.1\r\nHost: h\r\n"
				if tt.field != "" {
					request += "X-Forwarded-For: " + tt.field + "\r\n"
				}
				client.Send(request + "\r\n")
				c := target.Accept()
				c.Expect(tt.want(port))
				require.Equal(t, "GET / HTTP/1.1", c.ReadHead().Start)
				c.Send(answerUp)
				require.Equal(t, 200, client.ReadAnswer(http.MethodGet).Status())
				c.ExpectEnd()
			}
		})
	}
	_, err := gateway.NewUpstream(gateway.UpstreamConfig{Name: "up", ProxyHeader: 3})
	require.ErrorContains(t, err, "ProxyHeader 3 is no version")
}

// The header comes below TLS, and where the client's address is unknown it says so.
func TestProxyHeaderBelowTLS(t *testing.T) {
	t.Parallel()
	l := listen(t)
	defer l.Close()
	got := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		b := make([]byte, 18)
		n, _ := c.Read(b)
		got <- string(b[:n])
	}()
	up := upstream(t, gateway.UpstreamConfig{ProxyHeader: gateway.ProxyHeaderV1}, "https://"+l.Addr().String())
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	require.NoError(t, err)
	up.ServeHTTP(&discard{h: http.Header{}}, r)
	require.Contains(t, <-got, "PROXY UNKNOWN\r\n")
}
