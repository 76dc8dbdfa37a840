package gateway_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/internal/rawtest"
	"github.com/gatehouse-go/gateway/policy"
)

// switching serves an upstream whose clients may switch to u's protocols.
func switching(t testing.TB, c gateway.UpstreamConfig, u policy.Upgrade, target string) (addr string, left <-chan seen) {
	t.Helper()
	up := upstream(t, c, target)
	h, left := watched(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		policy.ExchangeFrom(r.Context()).SetForward(&policy.Forward{Upgrade: u})
		up.ServeHTTP(w, r)
	}))
	return front(t, h).Listener.Addr().String(), left
}

func TestTunnelsAreCounted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		about, asks, answers, says, hears string
		want                              policy.Tunnel
	}{
		{
			"WebSocket", wsAsks, wsAnswers, "\x81\x85\x00\x00\x00\x00hello\x89\x80\x00\x00\x00\x00", frame(1, "a") + frame(2, "bc") + frame(1, ""),
			policy.Tunnel{Protocol: "websocket", FromClient: policy.Traffic{Bytes: 17, Messages: 1}, ToClient: policy.Traffic{Bytes: 9, Messages: 3}},
		},
		{
			"another protocol", echoAsks, echoAnswers, "hello", "\x81\x00",
			policy.Tunnel{Protocol: "echo/2", FromClient: policy.Traffic{Bytes: 5}, ToClient: policy.Traffic{Bytes: 2}},
		},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			up := rawtest.Listen(t, false)
			addr, left := switching(t, gateway.UpstreamConfig{}, policy.Upgrade{Protocols: []string{"websocket", "echo/2"}}, up.URL)
			client := rawtest.Dial(t, addr)
			client.Send(tt.asks)
			target := up.Accept()
			target.ReadHead()
			target.Send(tt.answers)
			require.Equal(t, 101, client.ReadAnswer(http.MethodGet).Status())
			client.Send(tt.says)
			target.Expect(tt.says)
			target.Send(tt.hears)
			client.Expect(tt.hears)
			client.Close()
			target.ExpectEnd()
			target.Close()
			try := (<-left).tries[0]
			require.Equal(t, &tt.want, try.Tunnel)
			require.Equal(t, 101, try.Status)
			require.NoError(t, try.Err)
			require.False(t, try.Canceled)
		})
	}
}

func TestUpgradesAreBounded(t *testing.T) {
	t.Parallel()
	up := rawtest.Listen(t, false)
	addr, left := switching(t, gateway.UpstreamConfig{MaxUpgrades: 1, MaxConns: 1}, policy.Upgrade{Protocols: []string{"echo/2"}}, up.URL)
	open := func() (client, target *rawtest.Conn) {
		client = rawtest.Dial(t, addr)
		client.Send(echoAsks)
		target = up.Accept()
		target.ReadHead()
		target.Send(echoAnswers)
		require.Equal(t, 101, client.ReadAnswer(http.MethodGet).Status())
		return client, target
	}
	for range 3 { // each gives its place back
		client, target := open()
		second := rawtest.Dial(t, addr)
		second.Send(echoAsks)
		m := second.ReadAnswer(http.MethodGet)
		require.Equal(t, 503, m.Status())
		require.Equal(t, []string{"gatehouse; error=connection_limit_reached"}, m.Values("Proxy-Status"))
		second.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n") // MaxConns is for requests
		plain := up.Accept()
		plain.ReadHead()
		plain.Send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
		require.Equal(t, 204, second.ReadAnswer(http.MethodGet).Status())
		plain.Close()
		client.Close()
		target.ExpectEnd()
		target.Close()
		second.Close()
		for over := false; !over; {
			was := <-left
			over = len(was.tries) > 0 && was.tries[0].Tunnel != nil
		}
	}
}

func TestTunnelsThatLastTooLong(t *testing.T) {
	t.Parallel()
	for about, u := range map[string]policy.Upgrade{
		"nothing is said": {Protocols: []string{"echo/2"}, Idle: 50 * time.Millisecond},
		"a lifetime":      {Protocols: []string{"echo/2"}, Lifetime: 50 * time.Millisecond},
	} {
		t.Run(about, func(t *testing.T) {
			t.Parallel()
			up := rawtest.Listen(t, true)
			addr, left := switching(t, gateway.UpstreamConfig{TLS: up.TLS}, u, up.URL)
			client := rawtest.Dial(t, addr)
			client.Send(echoAsks)
			target := up.Accept()
			target.ReadHead()
			target.Send(echoAnswers)
			require.Equal(t, 101, client.ReadAnswer(http.MethodGet).Status())
			client.ExpectEnd()
			target.ExpectEnd()
			require.NotNil(t, (<-left).tries[0].Tunnel)
		})
	}
}

// An upstream that is closed takes its tunnels with it.
func TestTunnelsEndWithTheirUpstream(t *testing.T) {
	t.Parallel()
	target := rawtest.Listen(t, false)
	up := upstream(t, gateway.UpstreamConfig{}, target.URL)
	srv := front(t, policy.Must(policy.NewEntry(policy.EntryConfig{})).Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		policy.ExchangeFrom(r.Context()).SetForward(&policy.Forward{Upgrade: policy.Upgrade{Protocols: []string{"echo/2"}}})
		up.ServeHTTP(w, r)
	})))
	client := rawtest.Dial(t, srv.Listener.Addr().String())
	client.Send(echoAsks)
	c := target.Accept()
	c.ReadHead()
	c.Send(echoAnswers)
	require.Equal(t, 101, client.ReadAnswer(http.MethodGet).Status())
	require.NoError(t, up.Close())
	client.ExpectEnd()
	c.ExpectEnd()
}

// A writer whose connection cannot be taken over gets an ordinary answer.
func TestUpgradeWithoutAConnection(t *testing.T) {
	t.Parallel()
	backend := gatewaytest.NewUpstream("up.test")
	defer backend.Close()
	up := upstream(t, gateway.UpstreamConfig{Dial: backend.Dial}, backend.URL())
	gw, err := gateway.New(gateway.Config{Routes: []gateway.Route{{
		Name: "all", Public: true, Match: gateway.Match{Prefixes: []string{"/"}}, Handler: up,
		Forward: gateway.Forward{Upgrade: gateway.Upgrade{Protocols: []string{"websocket"}}},
	}}})
	require.NoError(t, err)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}
	require.Equal(t, 200, gatewaytest.Do(gw, r).StatusCode)
	require.NotContains(t, backend.Last().Header, "Upgrade")
}

func TestProtocolsToSwitchToAreChecked(t *testing.T) {
	t.Parallel()
	_, err := gateway.New(gateway.Config{Routes: []gateway.Route{{
		Name: "all", Public: true, Match: gateway.Match{Prefixes: []string{"/"}}, Handler: http.NotFoundHandler(),
		Forward: gateway.Forward{Upgrade: gateway.Upgrade{Protocols: []string{"websocket", "h2c", "HTTP/2.0", "TLS/1.2", "a b", "", "x/"}}},
	}}})
	for i, p := range []string{"h2c", "HTTP/2.0", "TLS/1.2", "a b", "", "x/"} {
		require.ErrorContains(t, err, `Forward.Upgrade.Protocols[`+string(rune('1'+i))+`] "`+p+`" is no protocol to switch to`)
	}
	require.NotContains(t, err.Error(), `"websocket" is no`)
}

// A handler whose answer has no end may end it when the gateway begins to shut down.
func TestEnding(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{})
	gw, err := gateway.New(gateway.Config{Routes: []gateway.Route{{
		Name: "events", Public: true, Match: gateway.Match{Prefixes: []string{"/"}}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "data: 1\n\n")
			_ = http.NewResponseController(w).Flush()
			close(begun)
			<-policy.ExchangeFrom(r.Context()).Ending().Done()
			_, _ = io.WriteString(w, "data: bye\n\n")
		}),
	}}})
	require.NoError(t, err)
	l := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- gw.Run(ctx, gateway.NewServer("", gw), l) }()
	client := rawtest.Dial(t, l.Addr().String())
	client.Send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	<-begun
	cancel()
	require.Equal(t, "data: 1\n\ndata: bye\n\n", client.ReadAnswer(http.MethodGet).Body)
	require.NoError(t, <-ran)
	x, _ := policy.Ensure(httptest.NewRequest(http.MethodGet, "/", nil))
	require.NoError(t, x.Ending().Err(), "without a gateway it never ends")
	require.NoError(t, (*policy.Exchange)(nil).Ending().Err())
}
