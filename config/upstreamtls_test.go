package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/config"
)

// issuer is an authority.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	via  []byte // the certificates between it and who vouches for it, in PEM
}

func newIssuer() issuer { return issuer{}.sub(nil) }

// sub makes an authority that this one vouches for, or that vouches for itself, after change.
func (i issuer) sub(change func(*x509.Certificate)) issuer {
	c := &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotAfter: time.Now().Add(time.Hour)}
	if change != nil {
		change(c)
	}
	out := issuer{}
	out.cert, out.key = i.sign(c)
	if i.cert != nil {
		out.via = append([]byte(out.pem()), i.via...)
	}
	return out
}

func (i issuer) sign(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	c.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	must(err)
	c.Subject = pkix.Name{CommonName: "n" + c.SerialNumber.String()}
	parent, signer := i.cert, i.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	must(err)
	out, err := x509.ParseCertificate(der)
	must(err)
	return out, key
}

func (i issuer) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw}))
}

// issue makes a certificate for 127.0.0.1 and a name, with those between it and its root, and its key.
func (i issuer) issue(name string) (cert, key string) {
	c, k := i.sign(&x509.Certificate{
		DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})) + string(i.via),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// mutual is a server with a certificate of an authority that asks for one of another. It answers with whose it got.
func mutual(t *testing.T, own, clients issuer, must bool) string {
	t.Helper()
	pair, err := tls.X509KeyPair(func() (c, k []byte) { a, b := own.issue("target.test"); return []byte(a), []byte(b) }())
	require.NoError(t, err)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := r.Proto + " nobody"
		if c := r.TLS.PeerCertificates; len(c) > 0 {
			who = r.Proto + " " + c[0].DNSNames[0]
		}
		_, _ = io.WriteString(w, who)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.EnableHTTP2 = true
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, ClientCAs: x509.NewCertPool(), ClientAuth: tls.VerifyClientCertIfGiven}
	srv.TLS.ClientCAs.AddCert(clients.cert)
	if must {
		srv.TLS.ClientAuth = tls.RequireAndVerifyClientCert
	}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// loadWith loads a document, which may hold PEM.
func loadWith(t *testing.T, doc fields) (*config.Snapshot, error) {
	t.Helper()
	doc = maps.Clone(doc)
	doc["_format_version"] = "3.0"
	data, err := json.Marshal(doc)
	require.NoError(t, err)
	return config.Load("kong.json", strings.NewReader(string(data)), config.Options{Logger: quiet})
}

// TestUpstreamTLS: whom a gateway believes, and what it shows.
func TestUpstreamTLS(t *testing.T) {
	t.Parallel()
	const otherID, thirdID = "6f5d3f1e-0000-4000-8000-000000000002", "6f5d3f1e-0000-4000-8000-000000000003"
	ours, theirs := newIssuer(), newIssuer()
	inner := ours.sub(nil).sub(nil) // with two certificates between
	cert, key := theirs.issue("service.test")
	upCert, upKey := theirs.issue("upstream.test")
	wrongCert, wrongKey := ours.issue("wrong.test")
	asking, insisting, deep := mutual(t, ours, theirs, false), mutual(t, ours, theirs, true), mutual(t, inner, theirs, false)
	type list = []any
	for _, tt := range []struct {
		about, target string
		service, pool fields
		want          string // "" for a 502
		warned        string
	}{
		{"nobody vouches for it", asking, nil, nil, "HTTP/2.0 nobody", "are not verified, as is Kong's default"},
		{"nobody vouches for it, and that is known", asking, fields{"tls_verify": true}, nil, "", ""},
		{"it is not looked at", asking, fields{"tls_verify": false}, nil, "HTTP/2.0 nobody", "are not verified"},
		{"an authority of its own", asking, fields{"ca_certificates": list{someID}}, nil, "HTTP/2.0 nobody", "ca_certificates is without effect"},
		{"one of several", asking, fields{"ca_certificates": list{otherID, someID}, "tls_verify": true}, nil, "HTTP/2.0 nobody", ""},
		{"another authority", asking, fields{"ca_certificates": list{otherID}, "tls_verify": true}, nil, "", ""},
		{"another authority, which does not matter", asking, fields{"ca_certificates": list{otherID}, "tls_verify": false}, nil, "HTTP/2.0 nobody", "ca_certificates is without effect"},
		{"gRPC is verified, too", asking, fields{"protocol": "grpcs", "ca_certificates": list{otherID}, "tls_verify": true}, nil, "", ""},
		{"gRPC", asking, fields{"protocol": "grpcs", "ca_certificates": list{someID}, "tls_verify": true}, nil, "HTTP/2.0 nobody", ""},
		{"no certificate to show", insisting, fields{"tls_verify": false}, nil, "", ""},
		{"one to show", insisting, fields{"tls_verify": false, "client_certificate": someID}, nil, "HTTP/2.0 service.test", ""},
		{"one to show, by a map", insisting, fields{"tls_verify": false, "client_certificate": fields{"id": someID}}, nil, "HTTP/2.0 service.test", ""},
		{"one to show, over gRPC", insisting, fields{"protocol": "grpcs", "tls_verify": false, "client_certificate": someID}, nil, "HTTP/2.0 service.test", ""},
		{"another's is shown, as it is the one to show", insisting, fields{"tls_verify": false, "client_certificate": thirdID}, nil, "", ""},
		{"the upstream's", insisting, fields{"tls_verify": false}, fields{"client_certificate": otherID}, "HTTP/2.0 upstream.test", ""},
		{"the service's before the upstream's", insisting, fields{"tls_verify": false, "client_certificate": someID}, fields{"client_certificate": otherID}, "HTTP/2.0 service.test", ""},
		{"both ways", insisting, fields{"tls_verify": true, "ca_certificates": list{someID}, "client_certificate": someID}, nil, "HTTP/2.0 service.test", ""},
		{"the name of the upstream", asking, fields{"tls_verify": true, "ca_certificates": list{someID}}, fields{"host_header": "target.test"}, "HTTP/2.0 nobody", ""},
		{"another name", asking, fields{"tls_verify": true, "ca_certificates": list{someID}}, fields{"host_header": "other.test"}, "", ""},
		{"any number between", deep, fields{"tls_verify": true, "ca_certificates": list{someID}}, nil, "HTTP/2.0 nobody", ""},
		{"two between", deep, fields{"tls_verify": true, "ca_certificates": list{someID}, "tls_verify_depth": 2}, nil, "HTTP/2.0 nobody", ""},
		{"one too many", deep, fields{"tls_verify": true, "ca_certificates": list{someID}, "tls_verify_depth": 1}, nil, "", ""},
		{"none between", asking, fields{"tls_verify": true, "ca_certificates": list{someID}, "tls_verify_depth": 0}, nil, "HTTP/2.0 nobody", ""},
		{"depth without verifying", deep, fields{"tls_verify": false, "tls_verify_depth": 0}, nil, "HTTP/2.0 nobody", "tls_verify_depth is without effect"},
	} {
		host, port, err := net.SplitHostPort(tt.target)
		require.NoError(t, err)
		service := fields{"name": "s", "protocol": "https", "host": host, "port": json.Number(port), "routes": list{fields{"name": "r", "paths": list{"/"}}}}
		maps.Copy(service, tt.service)
		doc := fields{
			"services":        list{service},
			"ca_certificates": list{fields{"id": someID, "cert": ours.pem()}, fields{"id": otherID, "cert": theirs.pem()}},
			"certificates": list{
				fields{"id": someID, "cert": cert, "key": key}, fields{"id": otherID, "cert": upCert, "key": upKey}, fields{"id": thirdID, "cert": wrongCert, "key": wrongKey},
			},
		}
		if tt.pool != nil {
			service["host"] = "u"
			pool := fields{"name": "u", "targets": list{fields{"target": tt.target}}}
			maps.Copy(pool, tt.pool)
			doc["upstreams"] = list{pool}
		}
		s, err := loadWith(t, doc)
		require.NoError(t, err, tt.about)
		warned := strings.Join(s.Warnings, "\n")
		if tt.warned == "" {
			require.NotContains(t, warned, "are not verified, as is", tt.about)
		}
		require.Contains(t, warned, tt.warned, tt.about)
		gw, err := gateway.New(s.Gateway)
		require.NoError(t, err)
		res := ask(gw, http.MethodGet, "/")
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, gw.Shutdown(t.Context()))
		if tt.want == "" {
			require.Equal(t, http.StatusBadGateway, res.StatusCode, tt.about)
			require.NotContains(t, string(body), "test", tt.about)
			continue
		}
		require.Equal(t, tt.want, string(body), tt.about)
	}
}

// TestUpstreamTLSIsChecked: each mistake is reported at the field, with its value, and no key ever is.
func TestUpstreamTLSIsChecked(t *testing.T) {
	t.Parallel()
	ours := newIssuer()
	cert, key := ours.issue("a.test")
	_, other := ours.issue("b.test")
	type list = []any
	ca := func(text string) fields { return fields{"ca_certificates": list{fields{"id": someID, "cert": text}}} }
	with := func(f fields) fields {
		service := fields{"name": "s", "url": "https://s.test"}
		maps.Copy(service, f)
		return fields{
			"services": list{service}, "certificates": list{fields{"id": someID, "cert": cert, "key": key}}, "ca_certificates": list{fields{"id": someID, "cert": ours.pem()}},
		}
	}
	for _, tt := range []struct {
		about string
		doc   fields
		want  string
	}{
		{"no PEM", ca("hello"), `ca_certificates[0].cert: found "hello": has no certificate in PEM`},
		{"none at all", fields{"ca_certificates": list{fields{"id": someID}}}, `ca_certificates[0]: required field "cert" is missing`},
		{"a damaged one", ca(strings.Replace(ours.pem(), "\nM", "\nN", 1)), "ca_certificates[0].cert: found \"-----BEGIN CERTIFICATE-----"},
		{"two", ca(ours.pem() + newIssuer().pem()), "has more than one certificate, or a key"},
		{"a key", ca(key), `ca_certificates[0].cert: has a block of PEM of the type "PRIVATE KEY"`},
		{"a certificate and its key", ca(cert + key), "ca_certificates[0].cert: has more than one certificate, or a key"},
		{"no authority", ca(cert), "the certificate is not that of an authority: it lacks the basic constraint CA"},
		{"an expired one", ca(issuer{}.sub(func(c *x509.Certificate) { c.NotAfter = time.Unix(1_000_000_000, 0) }).pem()), "the certificate has expired, at 2001-09-09T01:46:40Z"},
		{"one twice", fields{"ca_certificates": list{fields{"id": "a", "cert": ours.pem()}, fields{"id": "b", "cert": "\n" + ours.pem()}}}, "another CA certificate, on line 1, is the same"},
		{"one id twice", fields{"ca_certificates": list{fields{"id": "a", "cert": ours.pem()}, fields{"id": "a", "cert": newIssuer().pem()}}}, `another CA certificate is called "a", too`},
		{"an unknown authority", with(fields{"ca_certificates": list{someID, "nobody"}}), `services[0].ca_certificates[1]: found "nobody": there is no CA certificate of that name or id`},
		{"no authority in the list", with(fields{"ca_certificates": list{}}), "services[0].ca_certificates: the list is empty"},
		{"an unknown certificate", with(fields{"client_certificate": "nobody"}), `services[0].client_certificate: found "nobody": there is no certificate of that name or id`},
		{"of an upstream", fields{"upstreams": list{fields{"name": "u", "client_certificate": "nobody"}}}, `upstreams[0].client_certificate: found "nobody": there is no certificate`},
		{"a depth that is none", with(fields{"tls_verify_depth": 65}), "services[0].tls_verify_depth: found 65: is out of range; use 0 to 64"},
		{"a negative one", with(fields{"tls_verify_depth": -1}), "services[0].tls_verify_depth: found -1: is out of range"},
		{"no TLS to verify", with(fields{"url": "http://s.test", "tls_verify": true}), "services[0].tls_verify: found true: tls_verify cannot be set where the protocol is http"},
		{"no TLS at a depth", with(fields{"url": "grpc://s.test", "tls_verify_depth": 1}), "services[0].tls_verify_depth: found 1: tls_verify_depth cannot be set where the protocol is grpc"},
		{"no TLS to present in", with(fields{"url": "http://s.test", "client_certificate": someID}), "services[0].client_certificate: found \"" + someID + `": client_certificate cannot be set`},
		{"no TLS to trust in", with(fields{"url": "http://s.test", "ca_certificates": list{someID}}), "services[0].ca_certificates: ca_certificates cannot be set"},
		{"a key of another", fields{"certificates": list{fields{"id": "c", "cert": cert, "key": other}}}, "certificates[0]: certificate and key do not make a pair: private key does not match public key"},
		{"a bad certificate that is presented", fields{
			"services":     list{fields{"name": "s", "url": "https://s.test", "client_certificate": "c", "routes": list{fields{"name": "r", "paths": list{"/"}}}}},
			"certificates": list{fields{"id": "c", "cert": "x", "key": other}},
		}, "certificates[0]: certificate and key do not make a pair: failed to find any PEM data in certificate input"},
	} {
		_, err := loadWith(t, tt.doc)
		require.ErrorContains(t, err, tt.want, tt.about)
		for _, secret := range []string{key, other} {
			require.NotContains(t, err.Error(), strings.Split(secret, "\n")[1][:20], tt.about)
		}
	}

	s, err := loadWith(t, fields{"ca_certificates": list{fields{"id": "a", "cert": "the authority\n" + ours.pem() + "\n"}}, "certificates": list{fields{"id": "c", "cert": cert, "key": key}}})
	require.NoError(t, err, "what stands around it is no part of it")
	require.Len(t, s.Warnings, 2)
	require.Contains(t, s.Warnings[0], "the certificate has no snis and is nobody's client_certificate")
	require.Contains(t, s.Warnings[1], "no service has the CA certificate among its ca_certificates")
	require.NoError(t, s.Close())
}

// TestReloadUpstreamTLS: a new file may have other authorities and certificates, and what stays the same keeps its connections.
func TestReloadUpstreamTLS(t *testing.T) {
	t.Parallel()
	ours, theirs := newIssuer(), newIssuer()
	cert, key := theirs.issue("first.test")
	second, secondKey := theirs.issue("second.test")
	target := mutual(t, ours, theirs, true)
	name := filepath.Join(t.TempDir(), "kong.json")
	write := func(ca issuer, cert, key string, more fields) {
		service := fields{
			"name": "s", "url": "https://" + target, "tls_verify": true, "ca_certificates": []any{someID}, "client_certificate": someID,
			"routes": []any{fields{"name": "r", "paths": []any{"/"}}},
		}
		maps.Copy(service, more)
		data, err := json.Marshal(fields{
			"_format_version": "3.0", "services": []any{service}, "ca_certificates": []any{fields{"id": someID, "cert": ca.pem()}},
			"certificates": []any{fields{"id": someID, "cert": cert, "key": key}},
		})
		require.NoError(t, err)
		replace(t, name, string(data))
	}
	write(ours, cert, key, nil)
	r, err := config.NewReloader(config.ReloaderConfig{File: name, Options: config.Options{Logger: quiet}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Gateway().Shutdown(t.Context()) })
	get := func() (int, string) {
		res := ask(r.Gateway(), http.MethodGet, "/")
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return res.StatusCode, strings.TrimPrefix(string(body), "HTTP/2.0 ")
	}
	reload := func() {
		changed, err := r.Reload()
		require.NoError(t, err)
		require.True(t, changed)
	}
	handler := func() http.Handler {
		return r.Snapshot().Gateway.Routes[0].Handler.(interface{ Handlers() []http.Handler }).Handlers()[0]
	}
	_, body := get()
	require.Equal(t, "first.test", body)
	before := handler()

	write(ours, second, secondKey, nil)
	reload()
	_, body = get()
	require.Equal(t, "second.test", body)
	require.NotSame(t, before, handler())

	before = handler()
	write(ours, second, secondKey, fields{"tags": []any{"x"}})
	reload()
	require.Same(t, before, handler(), "nothing about it has changed")

	write(theirs, second, secondKey, nil) // nobody the target's certificate is of
	reload()
	status, _ := get()
	require.Equal(t, http.StatusBadGateway, status, "no connection of before is used")

	write(ours, second, secondKey, fields{"tls_verify_depth": 0})
	reload()
	_, body = get()
	require.Equal(t, "second.test", body)
}

// TestDiffUpstreamTLS: certificates are shown as sums, and named by their ids.
func TestDiffUpstreamTLS(t *testing.T) {
	t.Parallel()
	ours, theirs := newIssuer(), newIssuer()
	cert, key := theirs.issue("a.test")
	load := func(ca issuer, id string, more fields) *config.Snapshot {
		service := fields{"name": "s", "url": "https://s.test"}
		maps.Copy(service, more)
		s, err := loadWith(t, fields{
			"services": []any{service}, "ca_certificates": []any{fields{"id": "ca", "cert": ca.pem()}}, "certificates": []any{fields{"id": id, "cert": cert, "key": key}},
			"upstreams": []any{fields{"name": "u", "client_certificate": id}},
		})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s
	}
	text := config.Diff(load(ours, "c", nil), load(theirs, "d", fields{"client_certificate": "d", "ca_certificates": []any{"ca"}, "tls_verify": true, "tls_verify_depth": 3})).String()
	for _, want := range []string{
		"~ service s\n    ca_certificates: none → [\"ca\"]\n    client_certificate: none → \"d\"\n    tls_verify: none → true\n    tls_verify_depth: none → 3\n",
		"~ upstream u\n    client_certificate: \"c\" → \"d\"\n",
		"~ ca_certificate ca\n    cert: \"sha256:",
	} {
		require.Contains(t, text, want)
	}
	require.NotContains(t, text, "BEGIN")
	require.Empty(t, config.Diff(load(ours, "c", nil), load(ours, "c", nil)))
}
