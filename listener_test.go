package gateway_test

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/internal/rawtest"
	"github.com/gatehouse-go/gateway/policy"
)

func TestNewListenerRefuses(t *testing.T) {
	t.Parallel()
	l := listen(t)
	defer l.Close()
	everybody := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	tests := []struct {
		about string
		c     gateway.ListenerConfig
		want  []string // none when it is right
	}{
		{"nothing", gateway.ListenerConfig{}, nil},
		{"no bounds", gateway.ListenerConfig{MaxConns: -1, MaxConnsPerAddr: -1, InsecureFraming: true}, nil},
		{"no bound for all", gateway.ListenerConfig{MaxConns: -1, MaxConnsPerAddr: 1 << 20}, nil},
		{"one", gateway.ListenerConfig{MaxConns: 1}, nil},
		{"more for one than for all", gateway.ListenerConfig{MaxConns: 10, MaxConnsPerAddr: 11}, []string{"gateway: ListenerConfig.MaxConnsPerAddr 11 is more than MaxConns 10"}},
		{"more for one than by default", gateway.ListenerConfig{MaxConnsPerAddr: 1 << 20}, []string{"MaxConnsPerAddr 1048576 is more than MaxConns 16384"}},
		{"everybody", gateway.ListenerConfig{ProxyProtocol: gateway.ProxyProtocol{TrustedProxies: everybody}}, []string{`ProxyProtocol.TrustedProxies[0] "0.0.0.0/0" is everybody`}},
		{"everybody, mapped", gateway.ListenerConfig{ProxyProtocol: gateway.ProxyProtocol{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("::ffff:0.0.0.0/96")}}}, []string{"is everybody"}},
		{"everybody by name", gateway.ListenerConfig{ProxyProtocol: gateway.ProxyProtocol{TrustedProxies: everybody, InsecureTrustAll: true}}, nil},
		{"nobody by name", gateway.ListenerConfig{ProxyProtocol: gateway.ProxyProtocol{InsecureTrustAll: true}}, []string{"ProxyProtocol.InsecureTrustAll true is without effect"}},
		{"a time for nothing", gateway.ListenerConfig{ProxyProtocol: gateway.ProxyProtocol{HeaderTimeout: time.Second}}, []string{"ProxyProtocol.HeaderTimeout 1s is set without TrustedProxies"}},
		{
			"several", gateway.ListenerConfig{MaxConns: 1, MaxConnsPerAddr: 2, ProxyProtocol: gateway.ProxyProtocol{HeaderTimeout: -1, TrustedProxies: []netip.Prefix{{}}}},
			[]string{"MaxConnsPerAddr 2", "ProxyProtocol.HeaderTimeout -1ns is negative", `ProxyProtocol.TrustedProxies[0] "invalid Prefix" is not a network`},
		},
	}
	for _, tt := range tests {
		got, err := gateway.NewListener(l, tt.c)
		if tt.want == nil {
			require.NoError(t, err, tt.about)
			require.Equal(t, l.Addr(), got.Addr())
			continue
		}
		require.Nil(t, got, tt.about)
		for _, want := range tt.want {
			require.ErrorContains(t, err, want, tt.about)
		}
	}
	_, err := gateway.NewListener(nil, gateway.ListenerConfig{})
	require.ErrorContains(t, err, "needs a listener")
}

// What a client's proxy says is what a gateway knows of the client, and what it counts.
func TestListenerOfProxies(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"127.0.0.0/8", "::ffff:127.0.0.0/104"} {
		refused := make(chan error, 10)
		l, err := gateway.NewListener(listen(t), gateway.ListenerConfig{
			MaxConnsPerAddr: 1,
			ProxyProtocol:   gateway.ProxyProtocol{TrustedProxies: []netip.Prefix{netip.MustParsePrefix(network)}},
			Refused:         func(_ net.Addr, err error) { refused <- err },
		})
		require.NoError(t, err)
		gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{{
			Name: "who", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = w.Write([]byte(policy.ExchangeFrom(r.Context()).ClientAddr().String()))
			}),
		}}}))
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- gw.Run(ctx, gateway.NewServer("", gw), l) }()

		const get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
		c := rawtest.Dial(t, l.Addr().String())
		c.Send("PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n" + get)
		require.Equal(t, "2001:db8::1", c.ReadAnswer(http.MethodGet).Body)
		other := rawtest.Dial(t, l.Addr().String())
		other.Send("PROXY TCP6 2001:db8::ff 2001:db8::2 1 2\r\n")
		other.ExpectEnd()
		require.ErrorIs(t, <-refused, gateway.ErrTooManyAddrConns)
		c = rawtest.Dial(t, l.Addr().String())
		c.Send(get)
		c.ExpectEnd()
		require.ErrorIs(t, <-refused, gateway.ErrProxyHeader)
		cancel()
		require.NoError(t, <-ran)
	}
}

// Run listens as NewListener does by default.
func TestRunListensStrictly(t *testing.T) {
	t.Parallel()
	gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{{Name: "r", Handler: say("")}}}))
	srv := gateway.NewServer("127.0.0.1:0", gw)
	addr := make(chan string, 1)
	srv.BaseContext = func(l net.Listener) context.Context {
		addr <- l.Addr().String()
		return context.Background()
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- gw.Run(ctx, srv) }()
	c := rawtest.Dial(t, <-addr)
	c.Send("GET / HTTP/1.1\nHost: h\n\n")
	require.Equal(t, 400, c.ReadAnswer(http.MethodGet).Status())
	c.ExpectEnd()
	cancel()
	require.NoError(t, <-ran)
}
