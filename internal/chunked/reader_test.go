package chunked_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/chunked"
)

// slow is a source that gets one byte at a time.
type slow struct {
	all      []byte
	from, to int
}

func (s *slow) Buffered() []byte         { return s.all[s.from:s.to] }
func (s *slow) Take(n int)               { s.from += n }
func (s *slow) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func (s *slow) More() error {
	if s.to == len(s.all) {
		return io.ErrUnexpectedEOF
	}
	s.to++
	return nil
}

// Trailers that come byte by byte are looked through once.
func TestSlowTrailers(t *testing.T) {
	t.Parallel()
	for _, trailer := range []string{"", "\r\n", "X: y\r\n\r\n", "X: y\r\nZ: \r\n\r\n", "X: " + strings.Repeat("x", 1<<20) + "\r\n\r\n"} {
		r := chunked.Reader{MaxTrailer: 2 << 20}
		begun := time.Now()
		_, err := r.Read(&slow{all: []byte("0\r\n" + trailer)}, make([]byte, 1))
		require.Less(t, time.Since(begun), 10*time.Second)
		if trailer == "" {
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			continue
		}
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, strings.TrimPrefix(trailer, "\r\n"), r.Trailer())
	}
}
