package gateway_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/gatewaytest"
)

// authority issues certificates.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	dir  string
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.sign(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, Subject: pkix.Name{CommonName: "authority"}})
	return a
}

func (a *authority) sign(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	c.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(a.t, err)
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	require.NoError(a.t, err)
	out, err := x509.ParseCertificate(der)
	require.NoError(a.t, err)
	return out, key
}

// file returns a file with the authority's certificate.
func (a *authority) file() string {
	a.t.Helper()
	name := filepath.Join(a.dir, "ca.pem")
	require.NoError(a.t, os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}), 0o600))
	return name
}

// issue writes a certificate for these names, and its key, over what the file holds.
func (a *authority) issue(file string, names ...string) gateway.CertificateFiles {
	a.t.Helper()
	c, key := a.sign(&x509.Certificate{DNSNames: names, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(a.t, err)
	name := filepath.Join(a.dir, file+".pem")
	data := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
	require.NoError(a.t, os.WriteFile(name, data, 0o600))
	return gateway.CertificateFiles{Cert: name, Key: name}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// shake makes a handshake. It returns what the client and the server see.
func shake(t *testing.T, client, server *tls.Config) (seen, served tls.ConnectionState, clientErr, serverErr error) {
	t.Helper()
	l := listen(t)
	near, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	require.NoError(t, err)
	defer near.Close()
	far, err := l.Accept()
	require.NoError(t, err)
	defer far.Close()
	_ = l.Close()
	c, s := tls.Client(near, client), tls.Server(far, server)
	done := make(chan error, 1)
	go func() {
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x")) // so that the client reads what comes behind: a refusal, or a ticket
		}
		if err != nil {
			_ = far.Close()
		}
		done <- err
	}()
	if clientErr = c.Handshake(); clientErr == nil {
		_, clientErr = c.Read(make([]byte, 1))
	}
	_ = near.Close()
	serverErr = <-done
	return c.ConnectionState(), s.ConnectionState(), clientErr, serverErr
}

func certificates(t *testing.T, c gateway.CertificatesConfig) *gateway.Certificates {
	t.Helper()
	s, err := gateway.NewCertificates(c)
	require.NoError(t, err)
	return s
}

func TestCertificatesByName(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	files := []gateway.CertificateFiles{
		ca.issue("default", "default.test"), ca.issue("a", "a.test", "www.a.test"), ca.issue("star", "*.a.test"), ca.issue("very", "x.a.test"),
	}
	for _, tt := range []struct {
		name, want string
		strict     string // "" for a refusal
	}{
		{"default.test", "default.test", "default.test"},
		{"a.test", "a.test", "a.test"},
		{"WWW.A.test", "a.test", "a.test"},
		{"b.a.test", "*.a.test", "*.a.test"},
		{"x.a.test", "x.a.test", "x.a.test"},
		{"c.b.a.test", "default.test", ""},
		{"unknown.test", "default.test", ""},
		{"", "default.test", ""},
	} {
		for _, strict := range []bool{false, true} {
			s := certificates(t, gateway.CertificatesConfig{Files: files, RejectUnknownNames: strict})
			cfg, err := gateway.NewServerTLS(gateway.ServerTLSConfig{Certificates: s})
			require.NoError(t, err)
			seen, _, clientErr, serverErr := shake(t, &tls.Config{ServerName: tt.name, InsecureSkipVerify: true}, cfg)
			want := tt.want
			if strict {
				want = tt.strict
			}
			if want == "" {
				require.Error(t, clientErr, tt.name)
				require.ErrorContains(t, serverErr, "no certificate is for the name")
				continue
			}
			require.NoError(t, clientErr, tt.name)
			require.NoError(t, serverErr, tt.name)
			require.Equal(t, want, seen.PeerCertificates[0].DNSNames[0], tt.name)
		}
	}
}

// replace issues anew, and makes sure that the file looks younger than any before.
func (a *authority) replace(file string, names ...string) {
	a.t.Helper()
	f := a.issue(file, names...)
	require.NoError(a.t, os.Chtimes(f.Cert, time.Now(), time.Now()))
}

func TestCertificatesAreReadAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := newAuthority(t)
		var log bytes.Buffer
		s := certificates(t, gateway.CertificatesConfig{
			Files: []gateway.CertificateFiles{ca.issue("a", "old.test")}, Interval: time.Minute, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		now := func() string {
			c, err := s.GetCertificate(&tls.ClientHelloInfo{})
			require.NoError(t, err)
			return c.Leaf.DNSNames[0]
		}
		ca.replace("a", "new.test")
		time.Sleep(time.Minute - time.Second)
		require.Equal(t, "old.test", now(), "it is not time to look")
		time.Sleep(time.Second)
		require.Equal(t, "new.test", now())
		require.Contains(t, log.String(), "were read again")
		log.Reset()

		name := filepath.Join(ca.dir, "a.pem")
		require.NoError(t, os.WriteFile(name, []byte("half a file"), 0o600))
		for range 3 {
			time.Sleep(time.Minute)
			require.Equal(t, "new.test", now(), "the last good one stays")
		}
		require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("level=ERROR")), "said once")
		require.NoError(t, os.Remove(name))
		time.Sleep(time.Minute)
		require.Equal(t, "new.test", now())
		ca.replace("a", "third.test")
		time.Sleep(time.Minute)
		require.Equal(t, "third.test", now())

		never := certificates(t, gateway.CertificatesConfig{Files: []gateway.CertificateFiles{{name, name}}, Interval: -1})
		ca.replace("a", "fourth.test")
		time.Sleep(time.Hour)
		c, err := never.GetCertificate(&tls.ClientHelloInfo{})
		require.NoError(t, err)
		require.Equal(t, "third.test", c.Leaf.DNSNames[0])
	})
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := newAuthority(t), newAuthority(t)
		server := certificates(t, gateway.CertificatesConfig{Files: []gateway.CertificateFiles{ours.issue("server", "s.test")}})
		cas := ours.file()
		for _, keys := range [][][32]byte{nil, {{1}, {2}}} {
			_ = ours.file()
			cfg := func(optional bool) *tls.Config {
				c, err := gateway.NewServerTLS(gateway.ServerTLSConfig{
					Certificates: server, ClientCAs: []string{cas}, ClientCertificateOptional: optional, TicketKeys: keys, Logger: slog.New(slog.DiscardHandler),
				})
				require.NoError(t, err)
				return c
			}
			client := func(a *authority) *tls.Config {
				c := &tls.Config{ServerName: "s.test", RootCAs: ours.pool(), ClientSessionCache: tls.NewLRUClientSessionCache(1), MinVersion: tls.VersionTLS12}
				if a != nil {
					c.GetClientCertificate = certificates(t, gateway.CertificatesConfig{Files: []gateway.CertificateFiles{a.issue("client", "c.test")}}).GetClientCertificate
				}
				return c
			}
			required, optional := cfg(false), cfg(true)
			for _, tt := range []struct {
				about          string
				client, server *tls.Config
				ok             bool
			}{
				{"ours", client(ours), required, true},
				{"ours, where none is needed", client(ours), optional, true},
				{"none, where none is needed", client(nil), optional, true},
				{"none", client(nil), required, false},
				{"somebody else's is not even sent", client(theirs), required, false},
			} {
				_, served, clientErr, serverErr := shake(t, tt.client, tt.server)
				require.Equal(t, tt.ok, clientErr == nil && serverErr == nil, "%s: %v, %v", tt.about, clientErr, serverErr)
				if tt.ok {
					require.Equal(t, tt.client.GetClientCertificate != nil, len(served.VerifiedChains) > 0, tt.about)
				}
			}

			// Once other authorities are in force, nobody resumes what the old ones let in.
			known := client(ours)
			for _, resumed := range []bool{false, true} {
				seen, _, clientErr, serverErr := shake(t, known, required)
				require.NoError(t, clientErr)
				require.NoError(t, serverErr)
				require.Equal(t, resumed, seen.DidResume)
			}
			data, err := os.ReadFile(theirs.file())
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(cas, data, 0o600))
			require.NoError(t, os.Chtimes(cas, time.Now(), time.Now().Add(time.Second)))
			time.Sleep(time.Minute)
			_, _, clientErr, serverErr := shake(t, known, required)
			require.False(t, clientErr == nil && serverErr == nil)
			_, served, clientErr, serverErr := shake(t, client(theirs), required)
			require.NoError(t, clientErr)
			require.NoError(t, serverErr)
			require.NotEmpty(t, served.VerifiedChains)
		}
	})
}

func TestServerTLSIsChecked(t *testing.T) {
	t.Parallel()
	_, err := gateway.NewCertificates(gateway.CertificatesConfig{})
	require.ErrorContains(t, err, "Files is empty")
	_, err = gateway.NewCertificates(gateway.CertificatesConfig{Files: []gateway.CertificateFiles{{"/nowhere/a.pem", "/nowhere/a.key"}, {"/nowhere/b.pem", "b.key"}}})
	require.ErrorContains(t, err, `Files[0]: Cert "/nowhere/a.pem", Key "/nowhere/a.key"`)
	require.ErrorContains(t, err, `Files[1]`)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	_, err = gateway.NewServerTLS(gateway.ServerTLSConfig{MinVersion: tls.VersionTLS11, ClientCAs: []string{"/nowhere/ca.pem", empty}})
	for _, want := range []string{"Certificates is nil", "MinVersion 0x0302", "ClientCAs[0]", "ClientCAs[1]"} {
		require.ErrorContains(t, err, want)
	}
	_, err = gateway.NewServerTLS(gateway.ServerTLSConfig{ClientCertificateOptional: true})
	require.ErrorContains(t, err, "ClientCertificateOptional is set without ClientCAs")
}

// A target may ask the gateway for a certificate, which may be replaced while it runs.
func TestTargetsThatAskForACertificate(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	serving := certificates(t, gateway.CertificatesConfig{Files: []gateway.CertificateFiles{ca.issue("server", "127.0.0.1.test")}})
	cfg, err := gateway.NewServerTLS(gateway.ServerTLSConfig{Certificates: serving, ClientCAs: []string{ca.file()}})
	require.NoError(t, err)
	target := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].DNSNames[0])
	}))
	target.Config.ErrorLog = log.New(io.Discard, "", 0)
	target.TLS = cfg
	target.StartTLS()
	defer target.Close()
	ask := func(own *tls.Config) (int, string) {
		up := upstream(t, gateway.UpstreamConfig{TLS: own}, target.URL)
		res := gatewaytest.Do(up, httptest.NewRequest(http.MethodGet, "/", nil))
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return res.StatusCode, string(body)
	}
	ours := certificates(t, gateway.CertificatesConfig{Files: []gateway.CertificateFiles{ca.issue("gateway", "gateway.test")}})
	status, body := ask(&tls.Config{RootCAs: ca.pool(), ServerName: "127.0.0.1.test", GetClientCertificate: ours.GetClientCertificate})
	require.Equal(t, 200, status)
	require.Equal(t, "gateway.test", body)
	for about, refused := range map[string]*tls.Config{
		"no certificate":        {RootCAs: ca.pool(), ServerName: "127.0.0.1.test"},
		"another name":          {RootCAs: ca.pool(), GetClientCertificate: ours.GetClientCertificate},
		"an unknown authority":  {ServerName: "127.0.0.1.test", GetClientCertificate: ours.GetClientCertificate},
		"another one's, at all": {RootCAs: newAuthority(t).pool(), ServerName: "127.0.0.1.test", GetClientCertificate: ours.GetClientCertificate},
	} {
		status, body = ask(refused)
		require.Equal(t, 502, status, about)
		require.NotContains(t, body, "gateway.test", about)
	}
}
