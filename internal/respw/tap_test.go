package respw_test

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/respw"
)

// failingWriter takes so many bytes.
type failingWriter struct {
	plainWriter

	left int
}

var errFull = errors.New("full")

func (w *failingWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.left)
	w.left -= n
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

// TestTap: what goes out is seen, however it is written, and nothing else.
func TestTap(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "text")
	text := strings.Repeat("0123456789abcdef", 10_000)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	for _, limit := range []time.Duration{0, time.Minute} {
		under := &failingWriter{plainWriter{h: http.Header{}}, 1 << 20}
		w := respw.Wrap(under)
		w.LimitWrites(limit)
		_, _ = io.WriteString(w, "before")
		var seen strings.Builder
		var failed error
		require.Nil(t, w.Tap(func(p []byte, err error) {
			seen.Write(p)
			failed = err
		}))
		_, _ = w.Write([]byte("bytes"))
		_, _ = w.WriteString("string")
		f, err := os.Open(file)
		require.NoError(t, err)
		_, err = w.ReadFrom(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.Equal(t, "bytesstring"+text, seen.String())
		require.NoError(t, failed)
		under.left = 2
		_, err = w.Write([]byte("cut"))
		require.ErrorIs(t, err, errFull)
		require.ErrorIs(t, failed, errFull)
		require.True(t, strings.HasSuffix(seen.String(), "cu"))
		before := w.Tap(nil)
		require.NotNil(t, before)
		_, _ = w.Write([]byte("after"))
		require.True(t, strings.HasSuffix(seen.String(), "cu"))
	}
}
