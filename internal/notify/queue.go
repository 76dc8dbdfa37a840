package notify

import "sync"

// most is how many events wait while the callback is busy.
const most = 16

// Queue holds events until they are told. The zero Queue is empty and ready. It is safe for concurrent use.
type Queue[E any] struct {
	mu      sync.Mutex
	pending []E
	telling bool
}

// Add remembers an event. Who calls it under a lock of its own gives the events their order. While many wait the oldest give
// way.
func (q *Queue[E]) Add(e E) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.pending) == most {
		q.pending = q.pending[1:]
	}
	q.pending = append(q.pending, e)
}

// Tell calls f for the events that wait, unless another goroutine is about it, which then tells these, too. It is called
// without locks that f may need.
func (q *Queue[E]) Tell(f func(E)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.telling || len(q.pending) == 0 {
		return
	}
	q.telling = true
	defer func() { q.telling = false }() // also when f panics
	for len(q.pending) > 0 {
		e := q.pending[0]
		q.pending = q.pending[1:]
		func() {
			q.mu.Unlock()
			defer q.mu.Lock()
			f(e)
		}()
	}
	q.pending = nil
}
