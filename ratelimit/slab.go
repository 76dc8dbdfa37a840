package ratelimit

// chunkSlots is how many slots are allocated together: few, since many limiters see only a handful of keys.
const chunkSlots = 16

// slab holds width values for each slot. It grows in chunks, so that memory follows the number of keys and no value
// moves: a rate.Limiter must not be copied.
type slab[T any] struct {
	width  int
	chunks [][]T
}

// size returns the number of slots there is room for.
func (s *slab[T]) size() int { return len(s.chunks) * chunkSlots }

// extend adds a chunk and reports true, unless there is room for n slots already.
func (s *slab[T]) extend(n int) bool {
	if s.size() >= n {
		return false
	}
	s.chunks = append(s.chunks, make([]T, chunkSlots*s.width))
	return true
}

// slot returns the values of one slot.
func (s *slab[T]) slot(slot int) []T {
	from := slot % chunkSlots * s.width
	return s.chunks[slot/chunkSlots][from : from+s.width]
}
