package config

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReplacedWhileRead: a file that is replaced by a bad one between two looks at it is not taken for the bad one when it
// comes back.
func TestReplacedWhileRead(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "kong.yml")
	put := func(text string) { require.NoError(t, os.WriteFile(name, []byte(text), 0o600)) }
	put("_format_version: \"3.0\"\n")
	r, err := NewReloader(ReloaderConfig{File: name, Options: Options{Logger: slog.New(slog.DiscardHandler)}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Gateway().Shutdown(t.Context()) })
	put("bad")
	_, err = r.load() // as after a look at the good one below
	require.Error(t, err)
	bad, err := versionOf(name, 0)
	require.NoError(t, err)
	require.Equal(t, bad, r.failed)
	put("_format_version: \"3.0\"\nroutes: []\n")
	r.look(t.Context(), false)
	good, err := versionOf(name, 0)
	require.NoError(t, err)
	require.Equal(t, good, r.Snapshot().Version)
}
