package ratelimit

import (
	"math"
	"sync"
)

// KeySize is the length of what stands for a key in tables and stores.
const KeySize = 16

// digest stands for a key: the first half of a SHA-256, so that nobody can make two keys share a counter, and so that
// what clients send is not kept.
type digest [KeySize]byte

// maxShards is how many locks share the work; each shard also has one overflow counter.
const maxShards = 32

// minShardKeys is the least a shard is made for: the fewer keys, the less evenly they fall on the shards.
const minShardKeys = 1024

// table keeps the counts of a bounded number of keys in memory.
//
// A key is live while it has something on its account; afterwards it counts like one never seen and may be forgotten
// without giving anything away. Only such keys are forgotten, when room is needed. A new key that finds its shard full
// of live ones shares the shard's overflow counter, which has the same limits, with all others in its place.
type table struct {
	shards []shard
	mask   byte
}

func newTable(maxKeys int, limits []Limit, a Algorithm, c clock) *table {
	n := 1
	for n < maxShards && maxKeys >= 2*n*minShardKeys {
		n *= 2
	}
	t := &table{shards: make([]shard, n), mask: byte(n - 1)}
	start := func() counters { return a.newCounters(limits, c) }
	for i := range t.shards {
		t.shards[i] = shard{capacity: (maxKeys + n - 1) / n, start: start, last: math.MinInt64}
	}
	return t
}

// take is counters.take for a key; cost is at most the capacity of every limit. overflow says that the key has no
// counter of its own.
func (t *table) take(k digest, now int64, cost int, commit bool, states []State) (admitted, overflow bool) {
	return t.shards[k[KeySize-1]&t.mask].take(k, now, cost, commit, states)
}

// size returns the number of keys and of the requests that used an overflow counter.
func (t *table) size() (keys int, overflowed uint64) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		keys += len(s.slots)
		overflowed += s.overflowed
		s.mu.Unlock()
	}
	return keys, overflowed
}

// Slots that no key has.
const (
	overflowSlot = iota // counts for the keys that found no room
	unusedSlot          // never counts, and so tells what a new key would find
	firstSlot
)

// shard is a part of the table. What a limiter that is never used would not need is allocated on first use.
type shard struct {
	mu       sync.Mutex
	capacity int
	start    func() counters

	last       int64 // the latest time seen: with several callers, and explicit times, time does not go back by itself
	overflowed uint64
	slots      map[digest]int32
	counters   counters
	entries    []entry // by slot
	free       []int32 // slots given back
	queue      []int32 // a heap of the used slots by entry.expires, the first to expire at the top

	_ [64]byte // two shards' locks do not share a cache line
}

type entry struct {
	key digest
	// expires was true when it was last looked at. It only moves to later, so that what is at the top of the queue and
	// still true is the first of all to expire.
	expires int64
}

func (s *shard) take(k digest, now int64, cost int, commit bool, states []State) (admitted, overflow bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now = max(now, s.last)
	if commit {
		s.last = now
	}
	slot, known := s.slots[k]
	if known {
		return s.counters.take(int(slot), now, cost, commit, states), false
	}
	if s.counters == nil {
		s.counters = s.start()
		s.counters.grow(firstSlot)
		s.entries = make([]entry, firstSlot)
		s.slots = make(map[digest]int32)
	}
	switch {
	case !s.reclaim(now):
		if commit {
			s.overflowed++
		}
		return s.counters.take(overflowSlot, now, cost, commit, states), true
	case !commit:
		return s.counters.take(unusedSlot, now, cost, false, states), false
	}
	slot = s.add(k)
	admitted = s.counters.take(int(slot), now, cost, true, states)
	s.entries[slot].expires = s.counters.expires(int(slot), now)
	s.push(slot)
	return admitted, false
}

// maxReclaim bounds the work of one call of reclaim, under the lock.
const maxReclaim = 32

// reclaim forgets a few keys that are no longer live and reports whether there is room for one more. It looks at keys in the
// order in which they expire as far as that is known, and corrects it where a key was used since.
func (s *shard) reclaim(now int64) bool {
	for range maxReclaim {
		if len(s.queue) == 0 || s.entries[s.queue[0]].expires > now {
			break
		}
		slot := s.queue[0]
		if at := s.counters.expires(int(slot), now); at > now {
			s.entries[slot].expires = at
			s.down()
		} else {
			s.remove()
		}
	}
	return len(s.slots) < s.capacity
}

// add gives k a slot that counts as never used: one that was given back counts the same as a new one, or its key would
// not have been forgotten.
func (s *shard) add(k digest) int32 {
	var slot int32
	if n := len(s.free); n > 0 {
		slot, s.free = s.free[n-1], s.free[:n-1]
	} else {
		slot = int32(len(s.entries))
		s.entries = append(s.entries, entry{})
		s.counters.grow(len(s.entries))
	}
	s.entries[slot].key = k
	s.slots[k] = slot
	return slot
}

// remove forgets the key at the top of the queue.
func (s *shard) remove() {
	slot := s.queue[0]
	n := len(s.queue) - 1
	s.queue[0], s.queue = s.queue[n], s.queue[:n]
	s.down()
	delete(s.slots, s.entries[slot].key)
	s.free = append(s.free, slot)
}

func (s *shard) push(slot int32) {
	s.queue = append(s.queue, slot)
	for i := len(s.queue) - 1; i > 0; {
		parent := (i - 1) / 2
		if !s.before(i, parent) {
			return
		}
		s.queue[i], s.queue[parent] = s.queue[parent], s.queue[i]
		i = parent
	}
}

// down moves the top of the queue to where it belongs.
func (s *shard) down() {
	for i := 0; ; {
		first := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(s.queue); child++ {
			if s.before(child, first) {
				first = child
			}
		}
		if first == i {
			return
		}
		s.queue[i], s.queue[first] = s.queue[first], s.queue[i]
		i = first
	}
}

func (s *shard) before(i, j int) bool {
	return s.entries[s.queue[i]].expires < s.entries[s.queue[j]].expires
}
