package split

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// Digits of irrational numbers, odd.
const (
	golden = 0x9e3779b97f4a7c15
	root3  = 0xbb67ae8584caa73b
	root5  = 0x3c6ef372fe94f82b
	root7  = 0xa54ff53a5f1d36f1
)

// fold multiplies and keeps both halves.
func fold(x, by uint64) uint64 {
	high, low := bits.Mul64(x, by)
	return high ^ low
}

// mix spreads what distinguishes two numbers over all bits.
func mix(x uint64) uint64 { return fold(fold(x^root3, golden)^root7, root5) }

// hash is the same for the same bytes and seed in every process, on every machine.
func hash[T string | []byte](seed uint64, b T) uint64 {
	h := mix(seed ^ uint64(len(b))*root7)
	var word [8]byte
	for len(b) >= len(word) {
		copy(word[:], b)
		h = fold(h^binary.LittleEndian.Uint64(word[:]), golden) + root3
		b = b[len(word):]
	}
	word = [8]byte{}
	copy(word[:], b)
	return mix(h ^ binary.LittleEndian.Uint64(word[:]))
}

// wait is how long an arm of weight 1 takes to claim what has the hash h, in a race of which the winner gets it: a number of
// an exponential distribution, so that each of several arms wins as often as its weight says.
func wait(h uint64) float64 {
	const unit = 1.0 / (1 << 53)
	return -math.Log((float64(h>>11) + 0.5) * unit) // of a number between 0 and 1
}
