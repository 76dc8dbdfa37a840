package canonical_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

func TestMatchKey(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/a": "/a", "/%40a": "/@a", "/r%281%29": "/r(1)", "/a%2Fb%20c%25": "/a%2Fb%20c%25", "/%21%24%26%27%2A%2B%2C%3A%3D": "/!$&'*+,:=",
		"/a%3Bb": "/a%3Bb", "/%2540": "/%2540", "/%2": "/%2", "%": "%",
	} {
		key := canonical.MatchKey(path)
		require.Equal(t, want, key, path)
		require.Equal(t, len(path), canonical.FromKey(path, len(key)), path)
	}
	require.Equal(t, 4, canonical.FromKey("/%40a/b", 2))
	require.Equal(t, "/%3A@", canonical.MatchKeyExcept("/%3A%40", ":*"))
}

func TestMatchKeyAllocations(t *testing.T) {
	require.Zero(t, testing.AllocsPerRun(10, func() { canonical.MatchKey("/a%20b/c%2Fd") }))
}
