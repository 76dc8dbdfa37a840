package counters_test

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/bench/internal/counters"
)

func TestCountersGrow(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.ErrorContains(t, counters.Serve(t.Context(), addr), "in use")
	require.NoError(t, l.Close())
	require.NoError(t, counters.Serve(t.Context(), ""))
	require.NoError(t, counters.Serve(t.Context(), addr))
	first, err := counters.Read(t.Context(), addr)
	require.NoError(t, err)
	second, err := counters.Read(t.Context(), addr)
	require.NoError(t, err)
	require.Greater(t, second.Mallocs, first.Mallocs)
	require.Greater(t, second.Bytes, first.Bytes)

	live, err := counters.Collect(t.Context(), addr)
	require.NoError(t, err)
	require.Positive(t, live.Heap)
	require.Positive(t, live.Stacks)
	require.InDelta(t, 1.5, counters.Live{Heap: 1 << 20, Stacks: 1 << 19}.MiB(), 0)
	_, err = counters.Collect(t.Context(), "127.0.0.1:1")
	require.Error(t, err)
	_, err = counters.Read(t.Context(), "127.0.0.1:1")
	require.Error(t, err)
}
