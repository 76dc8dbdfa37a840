package ratelimit

// chunkSlots is how many slots are allocated together: few, since many limiters see only a handful of keys.
const chunkSlots = 16

// slab holds width values for each slot. It grows in chunks, so that memory follows the number of keys and no value
// moves: a rate.Limiter must not be copied.
type slab[T any] struct {
	width  int
	chunks [][]T
}

// grow makes room for slots 0 to n-1; their values are zero.
func (s *slab[T]) grow(n int) {
	for len(s.chunks)*chunkSlots < n {
		s.chunks = append(s.chunks, make([]T, chunkSlots*s.width))
	}
}

// slot returns the values of one slot.
func (s *slab[T]) slot(slot int) []T {
	from := slot % chunkSlots * s.width
	return s.chunks[slot/chunkSlots][from : from+s.width]
}
