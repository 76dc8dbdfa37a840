package integration_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/ratelimit"
)

const (
	pingMe  = "ping me"
	closeMe = "close me"

	byClient, byServer = 4001, 4002
)

// A host is a server of WebSockets.
type host struct {
	url     string
	reached chan *http.Request
	ended   chan error // why each of its sockets ended
}

// serve has l send back what it gets, and do what it is asked for.
func serve(t *testing.T, l library, compress, secure bool) *host {
	t.Helper()
	s := &host{reached: make(chan *http.Request, 100), ended: make(chan error, 100)}
	ctx := bounded(t)
	var open sync.WaitGroup
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		open.Add(1)
		defer open.Done()
		s.reached <- r
		c, err := l.accept(w, r, compress)
		if err != nil {
			s.ended <- err
			return
		}
		s.ended <- answer(ctx, c)
	}))
	if secure {
		srv.EnableHTTP2 = true
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	t.Cleanup(open.Wait)
	s.url = srv.URL
	return s
}

// answer is the server's part of a conversation.
func answer(ctx context.Context, c socket) error {
	defer c.drop()
	var asked sync.WaitGroup // what it does while it reads
	defer asked.Wait()
	for {
		m, err := c.read(ctx)
		if err != nil {
			return err
		}
		switch string(m.data) {
		case pingMe:
			asked.Go(func() {
				if c.ping(ctx) == nil {
					_ = c.write(ctx, true, []byte("there"))
				}
			})
		case closeMe:
			asked.Go(func() { _ = c.close(byServer, "enough") })
		default:
			if err := c.write(ctx, m.text, inPieces(m.data)...); err != nil {
				return err
			}
		}
	}
}

// tunnels is a plugin that looks at what went over connections that switched.
type tunnels chan policy.Tunnel

// Wrap implements [gateway.Plugin].
func (ts tunnels) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x, r := policy.Ensure(r)
		x.OnTry(ts)
		next.ServeHTTP(w, r)
	})
}

// BeginTry implements [policy.TryHook].
func (tunnels) BeginTry(ctx context.Context, _ *policy.Try) context.Context { return ctx }

// EndTry implements [policy.TryHook].
func (ts tunnels) EndTry(_ context.Context, t *policy.Try) {
	if t.Tunnel != nil {
		ts <- *t.Tunnel
	}
}

// webSockets is the configuration of a gateway for them before target.
func webSockets(t *testing.T, target string, allowed gateway.Upgrade, more ...gateway.Plugin) (gateway.Config, *journal) {
	t.Helper()
	log := new(journal)
	allowed.Protocols = []string{"websocket"}
	return gateway.Config{
		Plugins: append(policies(t, log, ratelimit.PerMinute(6000)), more...),
		Routes: []gateway.Route{{
			Name: "ws", Match: gateway.Match{Paths: []string{"/ws/*rest"}},
			Handler: upstream(t, gateway.UpstreamConfig{}, target),
			Forward: gateway.Forward{StripPath: true, Upgrade: allowed},
		}},
	}, log
}

// owning has the gateway close the upstreams of its routes.
func owning(c gateway.Config) gateway.Config {
	for _, r := range c.Routes {
		if u, ok := r.Handler.(*gateway.Upstream); ok {
			c.Owns = append(c.Owns, u)
		}
	}
	return c
}

func withKey(fields ...string) http.Header {
	h := http.Header{"Apikey": {"ann-key"}}
	for i := 0; i+1 < len(fields); i += 2 {
		h.Set(fields[i], fields[i+1])
	}
	return h
}

// pairs runs a test with either library as the client and as the server.
func pairs(t *testing.T, test func(t *testing.T, client, server library)) {
	t.Helper()
	for _, client := range libraries() {
		for _, server := range libraries() {
			t.Run(client.name+" to "+server.name, func(t *testing.T) {
				t.Parallel()
				test(t, client, server)
			})
		}
	}
}

// opened opens a WebSocket that must come to be.
func opened(t *testing.T, l library, url string, h http.Header, compress bool) (socket, *http.Response) {
	t.Helper()
	c, res, err := l.dial(bounded(t), url, h, compress)
	require.NoError(t, err)
	t.Cleanup(c.drop)
	return c, res
}

func TestWebSockets(t *testing.T) {
	t.Parallel()
	for _, way := range []struct {
		about            string
		secure, compress bool
	}{{"plain", false, false}, {"TLS", true, false}, {"compressed", false, true}, {"compressed over TLS", true, true}} {
		t.Run(way.about, func(t *testing.T) {
			t.Parallel()
			pairs(t, func(t *testing.T, client, server library) {
				t.Helper()
				target := serve(t, server, way.compress, way.secure)
				seen := make(tunnels, 1)
				c, log := webSockets(t, target.url, gateway.Upgrade{}, seen)
				front, scheme := plain, "ws"
				if way.secure {
					front, scheme = nil, "wss"
				}
				gw := run(t, owning(c), front)
				s, res := opened(t, client, scheme+"://"+gw.addr+"/ws/echo?q=1", withKey(), way.compress)
				require.Equal(t, http.StatusSwitchingProtocols, res.StatusCode)
				require.Equal(t, "chat", res.Header.Get("Sec-Websocket-Protocol"))
				require.Equal(t, way.compress, strings.Contains(res.Header.Get("Sec-Websocket-Extensions"), "permessage-deflate"))
				require.NotEmpty(t, res.Header.Get("X-Request-Id"))
				r := receive(t, target.reached, "handshake")
				require.Equal(t, []string{"/echo?q=1", "ann", "", res.Header.Get("X-Request-Id")},
					[]string{r.RequestURI, r.Header.Get("X-Consumer-Username"), r.Header.Get("Apikey"), r.Header.Get("X-Request-Id")})

				sent := converse(t, s)
				require.NoError(t, s.close(byClient, "bye"))
				requireClosed(t, server, receive(t, target.ended, "end"), byClient, "bye")
				_, err := s.read(bounded(t))
				require.Error(t, err)
				s.drop()

				went := receive(t, seen, "tunnel")
				require.Equal(t, "websocket", went.Protocol)
				require.EqualValues(t, sent, went.FromClient.Messages)
				require.EqualValues(t, sent, went.ToClient.Messages)
				require.Equal(t, way.compress, went.FromClient.Bytes < 1<<20, went.FromClient.Bytes)
				require.Equal(t, way.compress, went.ToClient.Bytes < 1<<20, went.ToClient.Bytes)
				gw.stop()
				require.Contains(t, log.String(), "101")
				require.Contains(t, log.String(), "ann")
			})
		})
	}
}

// converse sends messages of all kinds and returns how many.
func converse(t *testing.T, s socket) (sent int) {
	t.Helper()
	ctx := bounded(t)
	for _, m := range [][]byte{{}, []byte("a"), []byte("ünïcode"), bytes.Repeat([]byte("0123456789abcdef"), 1<<16), bytes.Repeat([]byte("part"), 9<<10)} {
		for _, text := range []bool{true, false} {
			for _, parts := range [][][]byte{{m}, inPieces(m)} {
				if text && len(m) < 10 && len(parts) > 1 {
					continue // no need to cut a letter in two
				}
				if len(m) >= 1<<20 && text == (len(parts) == 1) {
					continue // half of these do
				}
				require.NoError(t, s.write(ctx, text, parts...))
				got, err := s.read(ctx)
				require.NoError(t, err)
				require.Equal(t, text, got.text)
				require.True(t, bytes.Equal(m, got.data), "%d bytes, %d came back", len(m), len(got.data))
				sent++
			}
		}
	}

	// A ping from either side; who waits for a pong needs somebody to read it.
	got := make(chan message, 1)
	go func() {
		m, _ := s.read(ctx)
		got <- m
	}()
	require.NoError(t, s.ping(ctx))
	require.NoError(t, s.write(ctx, true, []byte(pingMe)))
	require.Equal(t, "there", string(receive(t, got, "word that the server's ping was answered").data))
	return sent + 1
}

func TestWebSocketsThatTheServerCloses(t *testing.T) {
	t.Parallel()
	pairs(t, func(t *testing.T, client, server library) {
		t.Helper()
		target := serve(t, server, false, false)
		c, _ := webSockets(t, target.url, gateway.Upgrade{})
		gw := run(t, owning(c), plain)
		s, _ := opened(t, client, "ws://"+gw.addr+"/ws/", withKey(), false)
		require.NoError(t, s.write(bounded(t), true, []byte(closeMe)))
		_, err := s.read(bounded(t))
		requireClosed(t, client, err, byServer, "enough")
		code, _ := server.closed(receive(t, target.ended, "end"))
		require.Equal(t, byServer, code, "the client has confirmed it")
	})
}

// What a gateway refuses never reaches the server.
func TestWebSocketsThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		about  string
		header http.Header
		status int
	}{
		{"no key", http.Header{}, http.StatusUnauthorized},
		{"a wrong key", http.Header{"Apikey": {"no-key"}}, http.StatusUnauthorized},
		{"a page of another site", withKey("Origin", "https://evil.test"), http.StatusForbidden},
		{"too often", withKey("Origin", "https://app.test"), http.StatusTooManyRequests},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			pairs(t, func(t *testing.T, client, server library) {
				t.Helper()
				target := serve(t, server, false, false)
				c, log := webSockets(t, target.url, gateway.Upgrade{Origins: []string{"https://app.test"}})
				if tt.status == http.StatusTooManyRequests {
					c.Plugins = policies(t, log, ratelimit.PerHour(1))
				}
				gw := run(t, owning(c), plain)
				url := "ws://" + gw.addr + "/ws/"
				if tt.status == http.StatusTooManyRequests {
					opened(t, client, url, tt.header, false)
					receive(t, target.reached, "handshake")
				}
				_, res, err := client.dial(bounded(t), url, tt.header, false)
				require.Error(t, err)
				require.Equal(t, tt.status, res.StatusCode)
				_ = res.Body.Close()
				require.Empty(t, target.reached)
			})
		})
	}
}

func TestTooManyWebSockets(t *testing.T) {
	t.Parallel()
	pairs(t, func(t *testing.T, client, server library) {
		t.Helper()
		target := serve(t, server, false, false)
		c, _ := webSockets(t, target.url, gateway.Upgrade{})
		c.Routes[0].Handler = upstream(t, gateway.UpstreamConfig{MaxUpgrades: 1}, target.url)
		seen := make(tunnels, 2)
		c.Plugins = append(c.Plugins, seen)
		gw := run(t, owning(c), plain)
		url := "ws://" + gw.addr + "/ws/"
		s, _ := opened(t, client, url, withKey(), false)
		receive(t, target.reached, "handshake")
		_, res, err := client.dial(bounded(t), url, withKey(), false)
		require.Error(t, err)
		require.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
		_ = res.Body.Close()
		require.Empty(t, target.reached)

		require.NoError(t, s.close(byClient, ""))
		s.drop()
		receive(t, seen, "end of the first")
		require.Eventually(t, func() bool { // the place is free a moment later
			again, res, err := client.dial(bounded(t), url, withKey(), false)
			if err != nil {
				_ = res.Body.Close()
				return false
			}
			again.drop()
			return true
		}, patience, 10*time.Millisecond)
	})
}

// A gateway that goes, or has waited for long enough, says so to both sides.
func TestWebSocketsThatTheGatewayCloses(t *testing.T) {
	t.Parallel()
	for about, allowed := range map[string]gateway.Upgrade{
		"shutdown": {}, "idle": {Idle: 100 * time.Millisecond}, "lifetime": {Lifetime: 100 * time.Millisecond},
	} {
		t.Run(about, func(t *testing.T) {
			t.Parallel()
			pairs(t, func(t *testing.T, client, server library) {
				t.Helper()
				target := serve(t, server, false, false)
				c, _ := webSockets(t, target.url, allowed)
				gw := run(t, owning(c), plain)
				s, _ := opened(t, client, "ws://"+gw.addr+"/ws/", withKey(), false)
				receive(t, target.reached, "handshake")
				var stopped sync.WaitGroup
				if about == "shutdown" {
					require.NoError(t, s.write(bounded(t), true, []byte("hello")))
					got, err := s.read(bounded(t))
					require.NoError(t, err)
					require.Equal(t, "hello", string(got.data))
					stopped.Go(gw.stop)
				}
				_, err := s.read(bounded(t))
				const goingAway = 1001
				requireClosed(t, client, err, goingAway, "")
				requireClosed(t, server, receive(t, target.ended, "end"), goingAway, "")
				s.drop()
				stopped.Wait()
			})
		})
	}
}

// Where a route allows no switch, the handshake arrives as the plain request it is without one.
func TestWebSocketsWhereNoneAreAllowed(t *testing.T) {
	t.Parallel()
	pairs(t, func(t *testing.T, client, server library) {
		t.Helper()
		target := serve(t, server, false, false)
		c, _ := webSockets(t, target.url, gateway.Upgrade{})
		c.Routes[0].Forward.Upgrade = gateway.Upgrade{}
		gw := run(t, owning(c), plain)
		_, res, err := client.dial(bounded(t), "ws://"+gw.addr+"/ws/", withKey(), false)
		require.Error(t, err)
		require.GreaterOrEqual(t, res.StatusCode, 400, fmt.Sprint(res.Header))
		_ = res.Body.Close()
		r := receive(t, target.reached, "request")
		require.Empty(t, r.Header.Get("Upgrade"))
		receive(t, target.ended, "refusal")
	})
}
