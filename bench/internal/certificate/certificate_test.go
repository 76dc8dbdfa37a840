package certificate_test

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/bench/internal/certificate"
)

func TestHandshake(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tls.pem")
	require.NoError(t, certificate.Write(file))
	server, err := certificate.Server(file, file)
	require.NoError(t, err)
	client, err := certificate.Client(file)
	require.NoError(t, err)

	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = tls.Server(c, server).HandshakeContext(t.Context()) }()
		}
	}()
	connect := func(cfg *tls.Config) (tls.ConnectionState, error) {
		d := tls.Dialer{Config: cfg}
		c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			return tls.ConnectionState{}, err
		}
		defer c.Close()
		return c.(*tls.Conn).ConnectionState(), nil
	}
	state, err := connect(client)
	require.NoError(t, err)
	require.NoError(t, certificate.Check(&state))
	_, err = connect(&tls.Config{MinVersion: tls.VersionTLS13})
	require.ErrorContains(t, err, "certificate")
	older := client.Clone()
	older.MinVersion, older.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	_, err = connect(older)
	require.Error(t, err)

	require.Error(t, certificate.Check(nil))
	for _, change := range []func(*tls.ConnectionState){
		func(s *tls.ConnectionState) { s.Version = tls.VersionTLS12 },
		func(s *tls.ConnectionState) { s.CipherSuite = tls.TLS_AES_256_GCM_SHA384 },
		func(s *tls.ConnectionState) { s.CurveID = tls.CurveP256 },
	} {
		other := state
		change(&other)
		require.ErrorContains(t, certificate.Check(&other), "want TLS 1.3")
	}
}

func TestFilesThatAreNone(t *testing.T) {
	t.Parallel()
	cfg, err := certificate.Server("", "")
	require.NoError(t, err)
	require.Nil(t, cfg)

	dir := t.TempDir()
	require.Error(t, certificate.Write(filepath.Join(dir, "no", "such")))
	empty := filepath.Join(dir, "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	for _, path := range []string{empty, filepath.Join(dir, "gone")} {
		_, err := certificate.Server(path, path)
		require.Error(t, err)
		_, err = certificate.Client(path)
		require.Error(t, err)
	}
	_, err = certificate.Server(empty, "")
	require.Error(t, err)
}
