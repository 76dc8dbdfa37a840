package canonical_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

func TestEndToEnd(t *testing.T) {
	t.Parallel()
	require.True(t, canonical.EndToEnd("Authorization"))
	require.True(t, canonical.EndToEnd("Set-Cookie"))
	require.False(t, canonical.EndToEnd("X-Hop"))
	require.False(t, canonical.EndToEnd("Connection"))
}
