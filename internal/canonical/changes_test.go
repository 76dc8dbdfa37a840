package canonical_test

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

func TestChanges(t *testing.T) {
	t.Parallel()
	for sent, want := range map[string][]string{
		"/a/b":          nil,
		"/a%2Fb":        nil,
		"/a//b":         {"repeated slashes merged"},
		"/a/../b/./c":   {"dot segments resolved"},
		"/%2e%2E/b":     {"dot segments resolved", "escapes of unreserved characters decoded"},
		"/%61":          {"escapes of unreserved characters decoded"},
		"/caf%c3%a9":    {"escapes written in upper case"},
		"/a|b":          {"characters escaped"},
		"//%7e/../a%3d": {"dot segments resolved", "repeated slashes merged", "escapes of unreserved characters decoded", "escapes written in upper case"},
	} {
		u := &url.URL{RawPath: sent}
		var err error
		u.Path, err = url.PathUnescape(sent)
		require.NoError(t, err)
		path, err := canonical.Path(u, canonical.PathOptions{AllowEncodedSlash: true})
		require.NoError(t, err)
		require.Equal(t, want, canonical.Changes(sent, path), sent)
	}
	require.Equal(t, []string{"respelled"}, canonical.Changes("/a", "/b"), "for a reason not foreseen")
}
