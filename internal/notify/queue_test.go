package notify_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/notify"
)

func TestQueue(t *testing.T) {
	t.Parallel()
	var q notify.Queue[int]
	q.Tell(func(int) { t.Error("there is nothing to tell") })
	var told []int
	q.Add(1)
	q.Tell(func(e int) {
		told = append(told, e)
		if e == 1 {
			q.Add(2)
			q.Tell(func(int) { t.Error("one at a time") })
		}
	})
	require.Equal(t, []int{1, 2}, told, "what is added meanwhile is told by who is about it")

	for e := range 20 {
		q.Add(e)
	}
	told = nil
	require.PanicsWithValue(t, "4", func() { q.Tell(func(int) { panic("4") }) })
	q.Tell(func(e int) { told = append(told, e) })
	require.Equal(t, []int{5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19}, told, "the oldest gave way, and a panic stops nothing")
}

func TestQueueOfMany(t *testing.T) {
	t.Parallel()
	var q notify.Queue[int]
	var mu sync.Mutex // gives the order
	next, last, n := 0, 0, 0
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				mu.Lock()
				next++
				q.Add(next)
				mu.Unlock()
				q.Tell(func(e int) {
					if e <= last {
						t.Errorf("%d behind %d", e, last)
					}
					last = e
					n++
				})
			}
		})
	}
	all.Wait()
	q.Tell(func(e int) { last = e })
	require.Equal(t, 8000, last)
	require.Positive(t, n)
}
