package gateway_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/gatewaytest"
)

// bundle is a file of authorities that changes.
type bundle struct {
	t    *testing.T
	name string
	when time.Time
}

func newBundle(t *testing.T, of ...*authority) *bundle {
	t.Helper()
	b := &bundle{t: t, name: filepath.Join(t.TempDir(), "ca.pem"), when: time.Now()}
	b.hold(of...)
	return b
}

// hold writes the certificates of these.
func (b *bundle) hold(of ...*authority) {
	b.t.Helper()
	var text []byte
	for _, a := range of {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})...)
	}
	b.write(string(text))
}

// write replaces what the file holds, so that nobody sees a part of it or takes it for what it was.
func (b *bundle) write(text string) {
	b.t.Helper()
	b.when = b.when.Add(time.Second)
	require.NoError(b.t, os.WriteFile(b.name+".new", []byte(text), 0o600))
	require.NoError(b.t, os.Chtimes(b.name+".new", b.when, b.when))
	require.NoError(b.t, os.Rename(b.name+".new", b.name))
}

// always has files looked at for each request.
const always = time.Nanosecond

func (b *bundle) authorities(log *slog.Logger) *gateway.Authorities {
	b.t.Helper()
	a, err := gateway.NewAuthorities(gateway.AuthoritiesConfig{Files: []string{b.name}, Interval: always, Logger: log})
	require.NoError(b.t, err)
	return a
}

// rotating is a target whose certificate changes, and which counts connections.
type rotating struct {
	*httptest.Server

	pair   atomic.Pointer[tls.Certificate]
	opened atomic.Int64
	closed chan struct{} // has one for each that was closed
}

func newRotating(t *testing.T, h2 bool, from *authority, h http.HandlerFunc) *rotating {
	t.Helper()
	r := &rotating{Server: httptest.NewUnstartedServer(h), closed: make(chan struct{}, 1000)}
	r.use(from)
	r.EnableHTTP2 = h2
	r.Config.ErrorLog = log.New(io.Discard, "", 0)
	r.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateActive: // behind the handshake
		case http.StateNew:
			r.opened.Add(1)
		case http.StateClosed:
			r.closed <- struct{}{}
		case http.StateIdle, http.StateHijacked:
		}
	}
	r.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return r.pair.Load(), nil }}
	r.StartTLS()
	t.Cleanup(r.Close)
	return r
}

// use has it take a certificate of an authority.
func (r *rotating) use(from *authority) {
	from.t.Helper()
	files := from.issue(fmt.Sprint("target", r.opened.Load()), "target.test")
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	require.NoError(from.t, err)
	r.pair.Store(&pair)
}

func both(t *testing.T, test func(t *testing.T, h2 bool)) {
	t.Helper()
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/%d", map[bool]int{false: 1, true: 2}[h2]), func(t *testing.T) {
			t.Parallel()
			test(t, h2)
		})
	}
}

// soon waits for a moment that has to come.
func soon[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(30 * time.Second):
		require.Fail(t, what)
	}
	panic("unreachable")
}

// What is in the file is what counts for each request, whatever connection there is; what cannot be read changes nothing.
func TestAuthoritiesThatChange(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, h2 bool) {
		t.Helper()
		first, second := newAuthority(t), newAuthority(t)
		target := newRotating(t, h2, first, func(http.ResponseWriter, *http.Request) {})
		file := newBundle(t, first)
		var logged bytes.Buffer
		up := upstream(t, gateway.UpstreamConfig{
			TLS: &tls.Config{ServerName: "target.test"}, Authorities: file.authorities(slog.New(slog.NewTextHandler(&logged, nil))),
		}, target.URL)
		var opened int64
		ask := func(status int, more int64, why string) {
			t.Helper()
			opened += more
			require.Equal(t, status, gatewaytest.Do(up, httptest.NewRequest(http.MethodGet, "/", nil)).StatusCode, why)
			require.Equal(t, opened, target.opened.Load(), why)
		}
		ask(200, 1, "the first connection")
		ask(200, 0, "is kept")
		file.write("the same\n" + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: first.cert.Raw})))
		ask(200, 0, "the same in other words")
		require.Contains(t, logged.String(), "read again")

		file.hold(first, second)
		ask(200, 1, "another set is another connection")
		soon(t, target.closed, "the one before is closed")
		target.use(second)
		ask(200, 0, "a certificate is looked at once")
		file.hold(second)
		ask(200, 1, "the new one counts")
		soon(t, target.closed, "the one before is closed")

		good := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: first.cert.Raw}))
		for _, bad := range []string{"", good + good[:300]} {
			logged.Reset()
			file.write(bad)
			ask(200, 0, "the last good ones stay")
			require.Contains(t, logged.String(), "cannot be read again", bad)
		}
		file.hold(first)
		ask(502, 1, "who vouched for it is no authority any more")
		soon(t, target.closed, "neither the old connection is used, nor the new")
		soon(t, target.closed, "neither the old connection is used, nor the new")
		target.use(first)
		ask(200, 1, "and it is not remembered")
	})
}

// What is in flight when authorities are removed ends where it is, and then so does its connection.
func TestAuthoritiesThatChangeInFlight(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, h2 bool) {
		t.Helper()
		first, second := newAuthority(t), newAuthority(t)
		release := make(chan struct{})
		target := newRotating(t, h2, first, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/slow" {
				return
			}
			_, _ = io.WriteString(w, "begun, ")
			_ = http.NewResponseController(w).Flush()
			<-release
			_, _ = io.WriteString(w, "done")
		})
		file := newBundle(t, first)
		up := upstream(t, gateway.UpstreamConfig{
			TLS: &tls.Config{ServerName: "target.test"}, Authorities: file.authorities(slog.New(slog.DiscardHandler)),
		}, target.URL)
		gw := front(t, up)
		slow, err := gw.Client().Get(gw.URL + "/slow")
		require.NoError(t, err)
		defer slow.Body.Close()
		status := func() int { return gatewaytest.Do(up, httptest.NewRequest(http.MethodGet, "/", nil)).StatusCode }
		require.Equal(t, 200, status())

		file.hold(second)
		for range 3 {
			require.Equal(t, 502, status(), "also over HTTP/2, where the connection is in use")
		}
		file.hold(first)
		require.Equal(t, 200, status(), "over a connection of its own")
		release <- struct{}{}
		body, err := io.ReadAll(slow.Body)
		require.NoError(t, err)
		require.Equal(t, "begun, done", string(body))
		opened := target.opened.Load()
		for range opened - 1 {
			soon(t, target.closed, "all connections but the last are closed")
		}
		require.Equal(t, 200, status(), "which is used")
		require.Equal(t, opened, target.opened.Load())
		require.Empty(t, target.closed)
	})
}

// A request to switch protocols has a connection of its own, for which the same holds.
func TestAuthoritiesOfUpgrades(t *testing.T) {
	t.Parallel()
	first, second := newAuthority(t), newAuthority(t)
	target := newRotating(t, false, first, func(http.ResponseWriter, *http.Request) {})
	file := newBundle(t, first)
	gw := handlerOf(t, gateway.Route{
		Name: "r", Match: gateway.Match{Prefixes: []string{"/"}}, Forward: gateway.Forward{Upgrade: gateway.Upgrade{Protocols: []string{"chat"}}},
		Handler: upstream(t, gateway.UpstreamConfig{TLS: &tls.Config{ServerName: "target.test"}, Authorities: file.authorities(slog.New(slog.DiscardHandler))}, target.URL),
	})
	ask := func() int {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "chat")
		return gatewaytest.Do(gw, r).StatusCode
	}
	require.Equal(t, 200, ask(), "the target does not switch")
	file.hold(second)
	require.Equal(t, 502, ask())
	file.hold(first)
	require.Equal(t, 200, ask())
}

// handlerOf is a gateway with one route.
func handlerOf(t *testing.T, rt gateway.Route) http.Handler {
	t.Helper()
	gw, err := gateway.New(gateway.Config{Routes: []gateway.Route{rt}, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, gw.Shutdown(context.WithoutCancel(t.Context()))) })
	return gw
}

// Authorities and certificates of both sides change while requests pass, as a rotation has it, and none of them fails.
func TestRotationUnderLoad(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, h2 bool) {
		t.Helper()
		old, next := newAuthority(t), newAuthority(t)
		clients := newBundle(t, old)
		target := newRotating(t, h2, old, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].DNSNames[0])
		})
		// The target asks for certificates, and knows the same authorities.
		serving := certificates(t, gateway.CertificatesConfig{Files: []gateway.CertificateFiles{old.issue("unused", "unused.test")}})
		asks, err := gateway.NewServerTLS(gateway.ServerTLSConfig{
			Certificates: serving, ClientCAs: []string{clients.name}, Interval: always, Logger: slog.New(slog.DiscardHandler),
		})
		require.NoError(t, err)
		target.TLS.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			c, err := asks.GetConfigForClient(hello)
			if err != nil {
				return nil, err
			}
			c = c.Clone()
			c.GetCertificate, c.NextProtos = target.TLS.GetCertificate, target.TLS.NextProtos
			return c, nil
		}
		file := newBundle(t, old)
		own := old.issue("gateway", "old.test")
		presented := certificates(t, gateway.CertificatesConfig{
			Files: []gateway.CertificateFiles{own}, Interval: always, Logger: slog.New(slog.DiscardHandler),
		})
		up := upstream(t, gateway.UpstreamConfig{
			TLS:         &tls.Config{ServerName: "target.test", GetClientCertificate: presented.GetClientCertificate},
			Authorities: file.authorities(slog.New(slog.DiscardHandler)),
		}, target.URL)
		get := func() (string, error) {
			res := gatewaytest.Do(up, httptest.NewRequest(http.MethodGet, "/", nil))
			body, err := io.ReadAll(res.Body)
			if err == nil && res.StatusCode != 200 {
				err = fmt.Errorf("answered %s: %s", res.Status, body)
			}
			return string(body), err
		}
		stop := make(chan struct{})
		failed := make(chan error, 4)
		var running sync.WaitGroup
		for range cap(failed) {
			running.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if _, err := get(); err != nil {
						failed <- err
						return
					}
				}
			})
		}
		after := func(step func()) { // each step is in force for some requests before the next one
			step()
			for range 5 {
				_, err := get()
				require.NoError(t, err)
			}
		}
		cert := bundle{t: t, name: own.Cert, when: time.Now()}
		for range 6 {
			after(func() {
				clients.hold(old, next)
				file.hold(old, next)
			})
			after(func() { target.use(next) })
			name := fmt.Sprintf("%p.test", next)
			after(func() {
				data, err := os.ReadFile(next.issue("own", name).Cert)
				require.NoError(t, err)
				cert.write(string(data))
				asked := &tls.CertificateRequestInfo{Version: tls.VersionTLS13, SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}}
				require.Eventually(t, func() bool { // while a handshake reads the file, others go on with what there was
					c, err := presented.GetClientCertificate(asked)
					return err == nil && c.Leaf != nil && c.Leaf.DNSNames[0] == name
				}, 10*time.Second, time.Millisecond)
			})
			after(func() { file.hold(next) })
			require.Eventually(t, func() bool { // likewise, over a connection of before
				body, err := get()
				return err == nil && body == name
			}, 10*time.Second, time.Millisecond, "a new connection presents the new certificate")
			after(func() { clients.hold(next) })
			old, next = next, old
		}
		close(stop)
		running.Wait()
		close(failed)
		for err := range failed {
			require.NoError(t, err)
		}
	})
}

func TestAuthoritiesAreChecked(t *testing.T) {
	t.Parallel()
	_, err := gateway.NewAuthorities(gateway.AuthoritiesConfig{})
	require.ErrorContains(t, err, "AuthoritiesConfig.Files is empty")
	ca := newAuthority(t)
	dir := t.TempDir()
	put := func(name, text string) string {
		name = filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		return name
	}
	good, err := os.ReadFile(ca.file())
	require.NoError(t, err)
	key, err := os.ReadFile(ca.issue("a", "a.test").Key)
	require.NoError(t, err)
	files := []string{
		filepath.Join(dir, "missing.pem"), put("empty.pem", ""), put("good.pem", string(good)), put("key.pem", string(key)),
		put("cut.pem", string(good)+string(good)[:200]), put("bad.pem", string(good)+"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
	}
	_, err = gateway.NewAuthorities(gateway.AuthoritiesConfig{Files: files})
	for i, want := range map[int]string{
		0: "no such file", 1: "has no certificate in PEM", 3: `has a block of the type "PRIVATE KEY"`, 4: "ends in the middle of a certificate",
		5: "has as number 2 what is no certificate",
	} {
		require.ErrorContains(t, err, fmt.Sprintf("AuthoritiesConfig.Files[%d]", i))
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, err.Error(), "Files[2]")
	require.NotContains(t, err.Error(), strings.Split(string(key), "\n")[1])

	known, err := gateway.NewAuthorities(gateway.AuthoritiesConfig{Files: files[2:3]})
	require.NoError(t, err)
	c := gateway.UpstreamConfig{
		Name: "up", Targets: []balancer.Target{{URL: "https://a.test"}}, Authorities: known,
		TLS: &tls.Config{RootCAs: ca.pool(), InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1)},
	}
	_, err = gateway.NewUpstream(c)
	for _, want := range []string{"Authorities and TLS.RootCAs are both set", "Authorities is without effect where TLS.InsecureSkipVerify", "Authorities and TLS.ClientSessionCache are both set"} {
		require.ErrorContains(t, err, "gateway: UpstreamConfig."+want)
	}
	c.TLS, c.Authorities = nil, &gateway.Authorities{}
	_, err = gateway.NewUpstream(c)
	require.ErrorContains(t, err, "UpstreamConfig.Authorities is the zero Authorities")
	c.Authorities = known
	up, err := gateway.NewUpstream(c)
	require.NoError(t, err)
	require.NoError(t, up.Close())
}
