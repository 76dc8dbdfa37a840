package config_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/config"
)

// TestGetCertificate: the file's for its names, the default one for others, as it is on disk, and the last good one when
// what is there is none.
func TestGetCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	put := func(name, text string) { require.NoError(t, os.WriteFile(at(name), []byte(text), 0o600)) }
	put("kong.yml", "_format_version: \"3.0\"\n")
	cert, key := pemPair()
	put("cert.pem", cert)
	put("key.pem", key)
	c := config.ReloaderConfig{File: at("kong.yml"), CertFile: at("cert.pem"), KeyFile: at("key.pem"), Interval: -1}
	r, err := config.NewReloader(c)
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Gateway().Shutdown(t.Context()) })
	served := func(r *config.Reloader, name string) []byte {
		got, err := r.GetCertificate(&tls.ClientHelloInfo{ServerName: name})
		require.NoError(t, err)
		return got.Certificate[0]
	}
	first := served(r, "")
	require.Equal(t, first, served(r, "a.test"))
	changed, err := r.Reload()
	require.NoError(t, err)
	require.False(t, changed)

	next, nextKey := pemPair()
	put("cert.pem", next)
	_, err = r.Reload()
	require.ErrorContains(t, err, "key.pem")
	_, err = r.Reload()
	require.ErrorContains(t, err, "key.pem", "it still is")
	require.Equal(t, first, served(r, "a.test"), "half of it is replaced")
	put("key.pem", nextKey)
	_, err = r.Reload()
	require.NoError(t, err)
	second := served(r, "a.test")
	require.NotEqual(t, first, second)
	require.NoError(t, os.Remove(at("key.pem")))
	_, err = r.Reload()
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Equal(t, second, served(r, "a.test"))

	c.CertFile, c.KeyFile = "", ""
	self, err := config.NewReloader(c)
	require.NoError(t, err)
	t.Cleanup(func() { _ = self.Gateway().Shutdown(t.Context()) })
	require.Equal(t, served(self, ""), served(self, "a.test"), "it is made once")
	for _, names := range [][2]string{{at("cert.pem"), ""}, {"", at("key.pem")}, {at("none"), at("none")}, {at("kong.yml"), at("cert.pem")}} {
		c.CertFile, c.KeyFile = names[0], names[1]
		_, err = config.NewReloader(c)
		require.ErrorContains(t, err, "CertFile", names)
	}
}

// TestWatchCertificate: what is wrong with it is said once, and again to somebody who asks.
func TestWatchCertificate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		at := func(name string) string { return filepath.Join(dir, name) }
		cert, key := pemPair()
		for name, text := range map[string]string{"kong.yml": "_format_version: \"3.0\"\n", "cert.pem": cert, "key.pem": key} {
			require.NoError(t, os.WriteFile(at(name), []byte(text), 0o600))
		}
		log := &lockedBuffer{}
		r, err := config.NewReloader(config.ReloaderConfig{
			File: at("kong.yml"), CertFile: at("cert.pem"), KeyFile: at("key.pem"), Options: config.Options{Logger: slog.New(slog.NewTextHandler(log, nil))},
		})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		hangup := make(chan os.Signal, 1)
		var watching sync.WaitGroup
		watching.Go(func() { r.Watch(ctx, hangup) })
		tick := func() string {
			time.Sleep(config.DefaultInterval)
			synctest.Wait()
			return log.take()
		}
		require.Empty(t, tick())
		require.NoError(t, os.Remove(at("key.pem")))
		require.Empty(t, tick(), "it is being replaced")
		require.Contains(t, tick(), "no such file", "it is not")
		require.Empty(t, tick(), "it was said")
		require.NoError(t, os.Mkdir(at("key.pem"), 0o700)) // which nobody can read as a file
		require.Contains(t, tick(), "the default certificate is bad")
		require.Empty(t, tick(), "it was said")
		hangup <- syscall.SIGHUP
		synctest.Wait()
		require.Contains(t, log.take(), "the default certificate is bad")
		require.Empty(t, tick())
		require.NoError(t, os.Remove(at("key.pem")))
		_, other := pemPair()
		require.NoError(t, os.WriteFile(at("key.pem"), []byte(other), 0o600))
		require.Contains(t, tick(), "the default certificate is bad")
		require.Empty(t, tick(), "it was said")
		hangup <- syscall.SIGHUP
		synctest.Wait()
		require.Contains(t, log.take(), "private key does not match")
		require.NoError(t, os.WriteFile(at("key.pem"), []byte(key), 0o600))
		require.Contains(t, tick(), "read again")
		cancel()
		watching.Wait()
		require.NoError(t, r.Gateway().Shutdown(context.WithoutCancel(ctx)))
	})
}

// TestServerNamesOfCertificates: those that no client sends are refused, as they would stand for nothing.
func TestServerNamesOfCertificates(t *testing.T) {
	t.Parallel()
	cert, key := pemPair()
	load := func(name string) error {
		data, err := json.Marshal(map[string]any{"_format_version": "3.0", "certificates": []any{map[string]any{
			"cert": cert, "key": key, "snis": []any{map[string]any{"name": name}},
		}}})
		require.NoError(t, err)
		_, err = config.Load("kong.json", bytes.NewReader(data), config.Options{})
		return err
	}
	for _, name := range []string{"a.test", "b.a.test", "A.test.", "*", "*.a.test", "a.*", "b.a.*", "*.b.a.test", "localhost"} {
		require.NoError(t, load(name), name)
	}
	for _, name := range []string{
		"a.*.test", "*.a.*", "*.*.test", "*a.test", "*.a.test:443", "a.*:443", "a.test:443", "127.0.0.1", "::1", "[::1]", "a^test", ".*",
	} {
		require.ErrorContains(t, load(name), "is no server name that clients send", name)
	}
}
