package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Store keeps counters that several processes share. A [Limiter] without one counts in its own memory.
//
// Implementations are safe for concurrent use.
type Store interface {
	// Take finds out whether each of q.Limits admits q.Cost for q.Key and, only if all of them do and q.Peek is not
	// set, counts q.Cost against all of them: one atomic step, also among processes. It appends the outcome to dst,
	// one State for each limit in their order, and returns it; the cost is admitted when every Wait is 0.
	//
	// It returns as soon as ctx ends, with ctx's error. After an error the cost may or may not have been counted.
	// q.Limits is read-only and dst must not be kept.
	Take(ctx context.Context, q Query, dst []State) ([]State, error)
}

// Query is what a [Limiter] asks of a [Store].
type Query struct {
	// Scope is the Name of the Limiter. Counters of different scopes are different.
	Scope string
	// Key stands for the key, the same in every process whose Config.Key has the same Name.
	Key [KeySize]byte
	// Algorithm is how to count. Counts made by another algorithm, or for other limits, need not be understood.
	Algorithm Algorithm
	// Limits are the limits of the Limiter, every Name and, for TokenBucket, every Burst set.
	Limits []Limit
	// Cost is how much to count: from 0, which is always admitted, to the least capacity (Burst or Requests) of Limits.
	Cost int
	// Peek asks without counting.
	Peek bool
}

// State is how one limit stands for one key.
type State struct {
	// Remaining is how much the limit still admits at this moment. Never negative.
	Remaining int
	// Reset is how long it takes until nothing is used of the limit any more: the bucket is full, or the window ends.
	// 0 where nothing is used of a bucket.
	Reset time.Duration
	// Wait is how long it takes until the limit admits the cost that was asked for, when nothing else is counted
	// meanwhile. 0 means that it does.
	Wait time.Duration
}

// OnError is what becomes of requests while the [Store] gives no valid answer in time.
type OnError int

const (
	// FailOpen counts with the Limiter's own counters meanwhile, so that each process enforces the limits on its own.
	FailOpen OnError = iota
	// FailClosed refuses with 503.
	FailClosed
)

// DefaultStoreTimeout bounds one call of a [Store].
const DefaultStoreTimeout = 50 * time.Millisecond

// ErrUnavailable is wrapped by the error of a request that is refused because the store gave no answer; see [FailClosed].
var ErrUnavailable = errors.New("ratelimit: the store is not available")

var (
	errPaused = errors.New("ratelimit: the store failed repeatedly and is left alone for a moment")
	errReply  = errors.New("ratelimit: the store's answer makes no sense")
)

const (
	storeTries = 5           // failures in a row after which a store is left alone
	storePause = time.Second // for how long; then one request tries it
)

// remote asks a store, for no longer than timeout, and not at all for a moment after it failed several times in a row.
type remote struct {
	store   Store
	timeout time.Duration

	failed   atomic.Int32  // in a row
	pause    atomic.Int64  // 0, or when the next try is due, in time since the clock's zero
	failures atomic.Uint64 // ever
}

// take asks the store. It returns an error when there is no answer that makes sense.
func (s *remote) take(ctx context.Context, now int64, q Query, dst []State) ([]State, error) {
	// Of all the requests that find the pause over, the one that sets the next pause tries.
	if until := s.pause.Load(); until != 0 && (now < until || !s.pause.CompareAndSwap(until, now+int64(storePause))) {
		return nil, errPaused
	}
	limited, cancel := context.WithTimeout(ctx, s.timeout)
	states, err := s.store.Take(limited, q, dst[:0])
	cancel()
	if err == nil {
		err = checkReply(q, states)
	}
	switch {
	case err == nil:
		s.failed.Store(0)
		s.pause.Store(0)
	case ctx.Err() != nil:
		// The client left. That says nothing about the store, be it good or bad.
	default:
		s.failures.Add(1)
		if s.failed.Add(1) >= storeTries {
			s.pause.Store(now + int64(storePause))
		}
	}
	return states, err
}

// checkReply guards against answers to other questions, which a client library whose connections got out of step gives.
func checkReply(q Query, states []State) error {
	if len(states) != len(q.Limits) {
		return fmt.Errorf("%w: %d states for %d limits", errReply, len(states), len(q.Limits))
	}
	for i, s := range states {
		if s.Remaining < 0 || s.Remaining > q.Limits[i].capacity() || s.Reset < 0 || s.Wait < 0 {
			return fmt.Errorf("%w: limit %q: %+v", errReply, q.Limits[i].Name, s)
		}
	}
	return nil
}
