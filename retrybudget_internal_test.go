package gateway

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What a budget allows when n requests come in that time, each of which would be repeated as often as it may, once or, as long as
// that fails, twice.
func spend(b *retryBudget, from time.Time, n int, over time.Duration, fails bool) (repeated int) {
	for i := range n {
		now := from.Add(time.Duration(i) * over / time.Duration(n))
		b.request(now)
		for range 2 {
			if !b.repeat(now) {
				break
			}
			repeated++
			if !fails {
				break
			}
			b.wasted()
		}
	}
	return repeated
}

func TestRetryBudgetShares(t *testing.T) {
	t.Parallel()
	begin := time.Now().Add(time.Second)
	after := begin.Add(10 * time.Second)
	for name, tt := range map[string]struct {
		b        RetryBudget
		before   int // requests in the ten seconds before, of which none was repeated
		n        int
		over     time.Duration
		fails    bool
		from, to int
	}{
		"a fifth":                             {RetryBudget{Min: -1}, 0, 1000, 10 * time.Second, true, 195, 200},
		"a fifth, at once":                    {RetryBudget{Min: -1}, 0, 1000, 0, true, 195, 200},
		"and the minimum":                     {RetryBudget{}, 0, 1000, 5 * time.Second, true, 205, 210},
		"the minimum, which comes back":       {RetryBudget{Share: -1, Min: 5}, 0, 1000, 30 * time.Second, true, 15, 20},
		"nothing":                             {RetryBudget{Share: -1, Min: -1}, 0, 1000, time.Second, true, 0, 0},
		"all":                                 {RetryBudget{Share: 1, Min: -1}, 0, 1000, time.Second, true, 950, 1000},
		"what was saved, where it helps":      {RetryBudget{Min: -1}, 3000, 500, time.Second, false, 500, 500},
		"what was saved, where it helps, all": {RetryBudget{Min: -1}, 3000, 1000, time.Second, false, 740, 800},
		"what was saved, where it does not":   {RetryBudget{Min: -1}, 3000, 1000, time.Second, true, 195, 210},
		"what was saved long ago":             {RetryBudget{Min: -1}, 3000, 100, time.Hour, false, 0, 45},
	} {
		b := newRetryBudget(tt.b, defaultRetryShare)
		for i := range tt.before {
			b.request(begin.Add(time.Duration(i) * 10 * time.Second / time.Duration(tt.before)))
		}
		got := spend(b, after, tt.n, tt.over, tt.fails)
		require.GreaterOrEqual(t, got, tt.from, name)
		require.LessOrEqual(t, got, tt.to, name)
	}
	b := newRetryBudget(RetryBudget{Min: -1}, defaultRetryShare)
	for range 10 {
		b.request(begin)
	}
	b.spend()
	require.True(t, b.repeat(begin))
	require.False(t, b.repeat(begin), "what is repeated in any case counts")
	b.spend()
	for range 5 {
		b.request(begin)
	}
	require.True(t, b.repeat(begin), "and leaves no debt")
}
