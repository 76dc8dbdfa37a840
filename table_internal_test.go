package gateway

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// A table that has ended never serves again, however many requests come that still hold it, and ends once.
func TestEndedTableStaysEnded(t *testing.T) {
	t.Parallel()
	for range 2000 {
		var ended, late atomic.Int64
		tab := &table{onEnd: func(*table) { ended.Add(1) }}
		tab.refs.Store(1)
		var requests sync.WaitGroup
		for range 4 {
			requests.Go(func() {
				for range 5 {
					if tab.acquire() {
						if ended.Load() > 0 {
							late.Add(1)
						}
						tab.release()
					}
				}
			})
		}
		tab.release() // another one took its place
		requests.Wait()
		require.EqualValues(t, 1, ended.Load())
		require.Zero(t, late.Load())
		require.False(t, tab.acquire())
	}
}
