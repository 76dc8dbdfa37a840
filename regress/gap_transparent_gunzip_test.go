package regress_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/rawtest"
)

// net/http's Transport asks for gzip where the client did not, unpacks the answer and keeps its ETag: what the client gets is
// not what the target sent under that tag, and can be a thousand times as long.
func TestNothingIsUnpacked(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	_, err := zip.Write(make([]byte, 1<<20))
	require.NoError(t, err)
	require.NoError(t, zip.Close())
	r := rigged(t, nil, rawtest.Reply{Text: fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nETag: \"1\"\r\nContent-Length: %d\r\n\r\n%s", packed.Len(), &packed)})
	for _, accept := range []string{"", "\nAccept-Encoding: br", "\nAccept-Encoding: gzip"} {
		m := r.ask("GET /open/a HTTP/1.1" + accept)
		require.Equal(t, packed.String(), m.Body)
		require.Equal(t, []string{"gzip"}, m.Values("Content-Encoding"))
		require.Equal(t, []string{`"1"`}, m.Values("ETag"))
	}
	got := r.target.Requests()
	require.Empty(t, got[0].Values("Accept-Encoding"))
	require.Equal(t, []string{"br"}, got[1].Values("Accept-Encoding"))
}
