package gateway_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/balancer/healthcheck"
	"github.com/gatehouse-go/gateway/policy"
)

// Checks of an upstream reach its targets in whatever way its requests do, and fail where those would.
func TestChecksConnectLikeRequests(t *testing.T) {
	t.Parallel()
	ca, stranger := newAuthority(t), newAuthority(t)
	ours := certificates(t, gateway.CertificatesConfig{Files: []gateway.CertificateFiles{ca.issue("gateway", "gateway.test")}})
	authorities := func(t *testing.T, a *authority) *gateway.Authorities {
		t.Helper()
		known, err := gateway.NewAuthorities(gateway.AuthoritiesConfig{Files: []string{a.file()}})
		require.NoError(t, err)
		return known
	}
	serving := certificates(t, gateway.CertificatesConfig{Files: []gateway.CertificateFiles{ca.issue("target", "target.test")}})
	const local = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
	type way struct {
		about   string
		secure  bool
		asks    bool // for a certificate
		socket  bool
		http2   bool
		version gateway.ProxyHeader
		with    func(*testing.T, *gateway.UpstreamConfig)
		preface string
		fails   bool
	}
	ways := []way{
		{about: "as they are"},
		{about: "PROXY, version 1", version: gateway.ProxyHeaderV1, preface: "PROXY UNKNOWN\r\n"},
		{about: "PROXY, version 2", version: gateway.ProxyHeaderV2, preface: local},
		{about: "PROXY below TLS", version: gateway.ProxyHeaderV2, preface: local, secure: true, with: func(_ *testing.T, c *gateway.UpstreamConfig) {
			c.TLS = &tls.Config{RootCAs: ca.pool(), MinVersion: tls.VersionTLS12}
		}},
		{about: "TLS", secure: true, with: func(_ *testing.T, c *gateway.UpstreamConfig) {
			c.TLS = &tls.Config{RootCAs: ca.pool(), MinVersion: tls.VersionTLS12}
		}},
		{about: "TLS, and nobody knows the authority", secure: true, fails: true, with: func(_ *testing.T, c *gateway.UpstreamConfig) {
			c.TLS = &tls.Config{RootCAs: stranger.pool(), MinVersion: tls.VersionTLS12}
		}},
		{about: "Authorities", secure: true, with: func(t *testing.T, c *gateway.UpstreamConfig) {
			t.Helper()
			c.Authorities = authorities(t, ca)
		}},
		{about: "other Authorities", secure: true, fails: true, with: func(t *testing.T, c *gateway.UpstreamConfig) {
			t.Helper()
			c.Authorities = authorities(t, stranger)
		}},
		{about: "a certificate of ours", secure: true, asks: true, with: func(t *testing.T, c *gateway.UpstreamConfig) {
			t.Helper()
			c.TLS, c.Authorities = &tls.Config{GetClientCertificate: ours.GetClientCertificate, MinVersion: tls.VersionTLS12}, authorities(t, ca)
		}},
		{about: "no certificate of ours", secure: true, asks: true, fails: true, with: func(_ *testing.T, c *gateway.UpstreamConfig) {
			c.TLS = &tls.Config{RootCAs: ca.pool(), MinVersion: tls.VersionTLS12}
		}},
		{about: "HTTP/2 over TLS", secure: true, http2: true, with: func(_ *testing.T, c *gateway.UpstreamConfig) {
			c.TLS = &tls.Config{RootCAs: ca.pool(), MinVersion: tls.VersionTLS12}
		}},
		{about: "HTTP/2 without TLS", http2: true, with: func(_ *testing.T, c *gateway.UpstreamConfig) { c.UnencryptedHTTP2 = true }},
		{about: "a socket", socket: true},
		{about: "a socket, which the application does not dial", socket: true, with: func(_ *testing.T, c *gateway.UpstreamConfig) {
			c.Dial = dialError(errors.New("not here"))
		}},
		{about: "a socket with PROXY", socket: true, version: gateway.ProxyHeaderV1, preface: "PROXY UNKNOWN\r\n"},
		{about: "the application dials", with: func(_ *testing.T, c *gateway.UpstreamConfig) {
			at := strings.TrimPrefix(c.Targets[0].URL, "http://")
			c.Targets[0].URL = "http://elsewhere.test"
			c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				if address != "elsewhere.test:80" {
					return nil, errors.New("asked for " + address)
				}
				return new(net.Dialer).DialContext(ctx, network, at)
			}
		}},
	}
	for _, tt := range ways {
		for _, shared := range []bool{false, true} {
			if shared && (tt.secure || tt.version != 0 || tt.with != nil) {
				continue // a shared pool's checks connect as its own configuration says
			}
			name := tt.about
			if shared {
				name += ", of a pool that is given"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				var well atomic.Bool
				well.Store(true)
				s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/healthz" && !well.Load() {
						w.WriteHeader(http.StatusServiceUnavailable)
					}
					_, _ = io.WriteString(w, r.Proto)
				}))
				s.Config.ErrorLog = log.New(io.Discard, "", 0)
				s.Config.Protocols = new(http.Protocols)
				s.Config.Protocols.SetHTTP1(!tt.http2)
				s.Config.Protocols.SetHTTP2(tt.http2 || tt.secure)
				s.Config.Protocols.SetUnencryptedHTTP2(tt.http2)
				c := gateway.UpstreamConfig{ProxyHeader: tt.version}
				target := balancer.Target{}
				if tt.socket {
					_ = s.Listener.Close()
					target.Socket = t.TempDir() + "/s"
					l, err := new(net.ListenConfig).Listen(t.Context(), "unix", target.Socket)
					require.NoError(t, err)
					s.Listener = l
				}
				p := &prefaced{Listener: s.Listener, v2: tt.version == gateway.ProxyHeaderV2}
				if tt.version != 0 {
					s.Listener = p
				}
				if tt.secure {
					secure := gateway.ServerTLSConfig{Certificates: serving}
					if tt.asks {
						secure.ClientCAs = []string{ca.file()}
					}
					cfg, err := gateway.NewServerTLS(secure)
					require.NoError(t, err)
					s.TLS = cfg
					s.EnableHTTP2 = true
					s.StartTLS()
					_, port, err := net.SplitHostPort(s.Listener.Addr().String())
					require.NoError(t, err)
					target.URL = "https://127.0.0.1:" + port
				} else {
					s.Start()
					target.URL = s.URL
				}
				if tt.socket {
					target.URL = "http://socket.test"
				}
				t.Cleanup(s.Close)
				c.Targets = []balancer.Target{target}
				changes := make(chan balancer.HealthChange, 100)
				c.Health = balancer.Health{
					Active: balancer.Active{
						Checker: healthcheck.HTTP{Path: "/healthz", HTTP2: tt.http2}, Interval: 5 * time.Millisecond, Timeout: 5 * time.Second,
						Failures: balancer.Failures{TCP: 1, HTTP: 1}, Successes: 1,
					},
					OnChange: func(change balancer.HealthChange) { changes <- change },
				}
				if tt.with != nil {
					tt.with(t, &c)
				}
				if tt.secure {
					if c.TLS == nil {
						c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
					}
					c.TLS.ServerName = "target.test"
				}
				if shared {
					pool, err := balancer.NewPool(balancer.Config{Targets: c.Targets, Health: c.Health})
					require.NoError(t, err)
					t.Cleanup(func() { require.NoError(t, pool.Close()) })
					c.Targets, c.Health, c.Pool = nil, balancer.Health{}, pool
				}
				up := retrying(t, c)
				status := func() balancer.MemberStatus { return up.Status().Targets[0] }
				require.Eventually(t, func() bool { return !status().CheckedAt.IsZero() }, 10*time.Second, time.Millisecond)
				w := httptest.NewRecorder()
				if tt.fails {
					change := <-changes
					require.Equal(t, balancer.Failing, change.To)
					require.Error(t, change.Err)
					up.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
					require.Equal(t, 502, w.Code)
					return
				}
				require.NoError(t, status().CheckError)
				require.Equal(t, balancer.Healthy, status().Health)
				x, r := policy.Ensure(httptest.NewRequest(http.MethodGet, "/", nil))
				up.ServeHTTP(w, r)
				require.Equal(t, 200, w.Code, "requests get there, too: %v", x.Tries())
				if tt.preface != "" {
					require.Equal(t, tt.preface, p.prefaces()[0])
				}
				well.Store(false)
				change := <-changes
				require.Equal(t, balancer.Failing, change.To)
				require.Equal(t, 503, change.Status)
				well.Store(true)
				require.Equal(t, balancer.Healthy, (<-changes).To)
			})
		}
	}
}

// An upstream that is not made leaves no checks behind, and Close ends those of one that is.
func TestChecksEnd(t *testing.T) { //nolint:paralleltest // it looks at all goroutines
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var checks atomic.Int64
	check := checkerOf(func(ctx context.Context, _ balancer.Check) error {
		checks.Add(1)
		<-ctx.Done()
		return ctx.Err()
	})
	config := func() gateway.UpstreamConfig {
		return gateway.UpstreamConfig{
			Name: "up", Targets: []balancer.Target{{URL: "http://a.test"}, {URL: "http://b.test"}},
			Health: balancer.Health{Active: balancer.Active{Checker: check, Interval: time.Millisecond, Timeout: time.Hour}},
		}
	}
	nothing := func(http.RoundTripper) http.RoundTripper { return nil }
	for about, spoil := range map[string]func(*gateway.UpstreamConfig){
		"Name":              func(c *gateway.UpstreamConfig) { c.Name = "" },
		"Outbound[0]":       func(c *gateway.UpstreamConfig) { c.Outbound = []func(http.RoundTripper) http.RoundTripper{nothing} },
		"HedgeBudget.Share": func(c *gateway.UpstreamConfig) { c.HedgeBudget.Share = 2 },
		"Admission[0]":      func(c *gateway.UpstreamConfig) { c.Admission = append(c.Admission, nil) },
		"Targets":           func(c *gateway.UpstreamConfig) { c.Targets[0].URL = "ftp://a" },
	} {
		c := config()
		spoil(&c)
		_, err := gateway.NewUpstream(c)
		require.ErrorContains(t, err, about)
	}
	c := config()
	c.Outbound = []func(http.RoundTripper) http.RoundTripper{func(http.RoundTripper) http.RoundTripper { panic("outbound") }}
	require.Panics(t, func() { _, _ = gateway.NewUpstream(c) })
	before := checks.Load()
	time.Sleep(300 * time.Millisecond) // within which the first checks are made
	require.Equal(t, before, checks.Load())

	up, err := gateway.NewUpstream(config())
	require.NoError(t, err)
	require.Eventually(t, func() bool { return checks.Load() > before }, 10*time.Second, time.Millisecond)
	inTime(t, func() { require.NoError(t, up.Close()) })
}

type checkerOf func(context.Context, balancer.Check) error

func (f checkerOf) Check(ctx context.Context, c balancer.Check) error { return f(ctx, c) }

// A target that refuses connections is left out at once: the request goes elsewhere, and so do those that follow.
func TestRefusingTargetIsLeftOut(t *testing.T) {
	t.Parallel()
	for _, hedge := range []time.Duration{0, time.Minute} {
		all, targets := mishaps(t, "refused", "", "")
		var dialled atomic.Int64
		up := retrying(t, gateway.UpstreamConfig{
			Targets: targets, MaxIdleConns: -1, Retry: policy.Retry{Hedge: hedge},
			Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				if "http://"+address == all[0].url {
					dialled.Add(1)
				}
				return new(net.Dialer).DialContext(ctx, network, address)
			},
		})
		for range 20 {
			w := httptest.NewRecorder()
			up.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
			require.Equal(t, 200, w.Code)
			require.Equal(t, balancer.Ejected, up.Status().Targets[0].Health)
			require.EqualValues(t, 1, dialled.Load())
		}
		require.EqualValues(t, 20, all[1].got.Load()+all[2].got.Load())
	}
}
