package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// nothing is an environment without variables.
func nothing(string) string { return "" }

// started runs the command until the test ends, and returns the addresses it says it listens on.
func started(t *testing.T, args ...string) []string {
	t.Helper()
	s, err := parse(args, nothing)
	require.NoError(t, err)
	out, in := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, s, in, io.Discard, nil)
		_ = in.CloseWithError(err)
		ended <- err
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended, "it drains and ends")
	})
	addrs, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	require.True(t, ok, line)
	return strings.Split(addrs, " and ")
}

// printed runs the command to its end.
func printed(t *testing.T, args ...string) (string, error) {
	t.Helper()
	s, err := parse(args, nothing)
	require.NoError(t, err)
	var out bytes.Buffer
	err = run(t.Context(), s, &out, io.Discard, nil)
	return out.String(), err
}

// file writes a configuration.
func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "kong.yml")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

func TestServe(t *testing.T) {
	t.Parallel()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s for %q", r.Method, r.URL, r.Header.Get("X-Consumer-Username"))
	}))
	t.Cleanup(backend.Close)
	name := file(t, `_format_version: "3.0"
services:
- name: users
  url: `+backend.URL+`/api
  routes: [{name: users, paths: [/users]}]
  plugins: [{name: key-auth}]
consumers: [{username: ann, keyauth_credentials: [{key: ann-key}]}]
`)
	cert, key, pool := certificate(t)
	addrs := started(t, "-config", name, "-listen", "127.0.0.1:0", "-tls-listen", "127.0.0.1:0", "-tls-cert", cert, "-tls-key", key)
	require.Len(t, addrs, 2)
	client := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	t.Cleanup(client.CloseIdleConnections)
	for i, addr := range addrs {
		for path, want := range map[string]string{
			"/users/42?apikey=ann-key": `200 GET /api/42?apikey=ann-key for "ann"`,
			"/users/42":                "401 ",
			"/none":                    "404 ",
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, addr+path, nil)
			require.NoError(t, err)
			res, err := client.Do(req)
			require.NoError(t, err)
			body, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			require.Equal(t, 1+i, res.ProtoMajor, "HTTP/2 with TLS")
			require.Contains(t, fmt.Sprintf("%d %s", res.StatusCode, body), want, path)
		}
	}
}

// TestProxyProtocol: as in Kong, proxies may name clients below HTTP.
func TestProxyProtocol(t *testing.T) {
	t.Parallel()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("X-Real-IP"))
	}))
	t.Cleanup(backend.Close)
	name := file(t, "_format_version: \"3.0\"\nservices: [{name: s, url: "+backend.URL+", routes: [{name: r, paths: [/]}]}]\n")
	addrs := started(t, "-config", name, "-listen", "127.0.0.1:0", "-trusted", "127.0.0.1", "-real-ip-header", "proxy_protocol")
	for header, want := range map[string]string{"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n": "192.0.2.1", "": ""} {
		c, err := net.Dial("tcp", strings.TrimPrefix(addrs[0], "http://"))
		require.NoError(t, err)
		_, err = fmt.Fprintf(c, "%sGET / HTTP/1.1\r\nHost: h\r\nX-Real-IP: 192.0.2.99\r\nConnection: close\r\n\r\n", header)
		require.NoError(t, err)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if want == "" {
			require.Error(t, err, "a trusted proxy has to say whose connection it is")
		} else {
			require.NoError(t, err)
			body, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			require.Equal(t, want, string(body))
		}
		require.NoError(t, c.Close())
	}
	_, err := printed(t, "-config", name, "-real-ip-header", "proxy_protocol")
	require.ErrorContains(t, err, "needs the networks")
}

// TestGRPC: clients without TLS reach a gRPC service where HTTP/2 is switched on for them.
func TestGRPC(t *testing.T) {
	t.Parallel()
	backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Proto, " ", r.URL)
	}))
	backend.Config.Protocols = new(http.Protocols)
	backend.Config.Protocols.SetUnencryptedHTTP2(true)
	backend.Start()
	t.Cleanup(backend.Close)
	name := file(t, `_format_version: "3.0"
services: [{name: s, url: "grpc://`+backend.Listener.Addr().String()+`", routes: [{name: r, paths: [/p.S/], protocols: [grpc]}]}]
`)
	client := &http.Client{Transport: &http.Transport{Protocols: backend.Config.Protocols}}
	t.Cleanup(client.CloseIdleConnections)
	call := func(addr string) (*http.Response, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, addr+"/p.S/M", strings.NewReader("x"))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/grpc")
		return client.Do(req)
	}
	res, err := call(started(t, "-config", name, "-listen", "127.0.0.1:0", "-listen-http2")[0])
	require.NoError(t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, "HTTP/2.0 /p.S/M", string(body))
	_, err = call(started(t, "-config", name, "-listen", "127.0.0.1:0")[0])
	require.Error(t, err)

	out, err := printed(t, "-config", name, "-explain", "POST http://a.test/p.S/M; Content-Type: application/grpc")
	require.NoError(t, err)
	require.Contains(t, out, "handled by s")
	out, err = printed(t, "-config", name, "-explain", "POST http://a.test/p.S/M")
	require.NoError(t, err)
	require.Contains(t, out, "grpc-only: refused grpc_required 415")
}

// TestSelfSigned: where there is no certificate at all, there is one nobody trusts.
func TestSelfSigned(t *testing.T) {
	t.Parallel()
	addrs := started(t, "-config", file(t, "_format_version: \"3.0\"\n"), "-listen", "", "-tls-listen", "[::1]:0")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	t.Cleanup(client.CloseIdleConnections)
	res, err := client.Get(addrs[0])
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, 404, res.StatusCode)
	require.Equal(t, "CN=localhost", res.TLS.PeerCertificates[0].Subject.String())
	_, err = http.Get(addrs[0])
	require.ErrorContains(t, err, "certificate")
}

// certificate makes one for 127.0.0.1 that signs itself.
func certificate(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool = x509.NewCertPool()
	pool.AddCert(parsed)
	return cert, key, pool
}

func TestCheck(t *testing.T) {
	t.Parallel()
	out, err := printed(t, "-config", "kong.yml", "-check")
	require.NoError(t, err)
	for _, want := range []string{"users", "profiles", "reports", "status", "/status"} {
		require.Contains(t, out, want)
	}
	bad := file(t, `_format_version: "3.0"
services:
- name: a
  url: http://127.0.0.1:1
  routes: [{name: r, pathz: [/]}]
  plugins: [{name: key-auht}]
`)
	_, err = printed(t, "-config", bad, "-check")
	require.ErrorContains(t, err, `pathz`)
	require.ErrorContains(t, err, `"key-auth"`, "the nearest name, and all problems at once")
	_, err = printed(t, "-config", filepath.Join(t.TempDir(), "none.yml"), "-check")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestExplain(t *testing.T) {
	t.Parallel()
	out, err := printed(t, "-config", "kong.yml", "-explain", "GET http://any.test/users/42; apikey: bob-key")
	require.NoError(t, err)
	require.Contains(t, out, "handled by users")
	require.Contains(t, out, `authenticated (consumer`)
	out, err = printed(t, "-config", "kong.yml", "-explain", "https://reports.example.com/x")
	require.NoError(t, err)
	require.Contains(t, out, "outcome  key-auth: refused no_credential 401")
	out, err = printed(t, "-config", "kong.yml", "-explain", "GET http://127.0.0.1/x; Host: reports.example.com")
	require.NoError(t, err)
	require.Contains(t, out, "outcome  key-auth: refused no_credential 401")
	for _, bad := range []string{"GET http://a b/", "bogus", "GET /path", "GET http:///path", "GET http://a.test/; apikey"} {
		_, err = printed(t, "-config", "kong.yml", "-explain", bad)
		require.ErrorContains(t, err, "-explain: ", bad)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	env := map[string]string{"KONG_TRUSTED_IPS": "10.0.0.0/8, ::1,0.0.0.0/0,unix:", "KONG_REAL_IP_HEADER": "X-Forwarded-For"}
	s, err := parse(nil, func(name string) string { return env[name] })
	require.NoError(t, err)
	e, _, err := s.trust()
	require.NoError(t, err)
	require.Equal(t, "[10.0.0.0/8 ::1/128 0.0.0.0/0]", fmt.Sprint(e.TrustedProxies))
	require.True(t, e.InsecureTrustAll)
	require.Equal(t, "X-Forwarded-For", e.ClientAddressHeader)
	require.Equal(t, 1, e.MaxHops)
	env["KONG_REAL_IP_RECURSIVE"] = "on"
	s, err = parse(nil, func(name string) string { return env[name] })
	require.NoError(t, err)
	e, _, err = s.trust()
	require.NoError(t, err)
	require.Zero(t, e.MaxHops)
	s.trusted = "nowhere"
	_, _, err = s.trust()
	require.ErrorContains(t, err, `-trusted: "nowhere"`)
	_, err = printed(t, "-config", "kong.yml", "-listen", "")
	require.ErrorContains(t, err, "neither -listen nor -tls-listen")
	_, err = printed(t, "-config", "kong.yml", "-listen", "127.0.0.1:0", "-tls-listen", "127.0.0.1:0", "-tls-cert", "none")
	require.ErrorContains(t, err, "CertFile")
	_, err = parse([]string{"-check", "kong.yml"}, os.Getenv)
	require.EqualError(t, err, `"kong.yml" is no flag; see -help`)
}
