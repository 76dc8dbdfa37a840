package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The commands the program prints do what it says they do.
func TestSelftest(t *testing.T) {
	t.Parallel()
	require.NoError(t, run(t.Context(), "127.0.0.1:0", true))
}
