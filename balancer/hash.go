package balancer

import (
	"encoding/binary"
	"math/bits"
)

// Odd constants with about as many ones as zeroes, from the fractional parts of the golden section and of the square roots of 3,
// 5 and 7.
const (
	golden = 0x9e3779b97f4a7c15
	root3  = 0xbb67ae8584caa73b
	root5  = 0x3c6ef372fe94f82b
	root7  = 0xa54ff53a5f1d36f1
)

// fold multiplies to 128 bits and adds the halves without carry, so that each bit of the result depends on most of x.
func fold(x, by uint64) uint64 {
	high, low := bits.Mul64(x, by)
	return high ^ low
}

// mix spreads what distinguishes two numbers over all bits.
func mix(x uint64) uint64 { return fold(fold(x^root3, golden)^root7, root5) }

// hash is the same for the same bytes and seed in every process, on every machine. Who knows the seed can make bytes that
// collide.
func hash(seed uint64, b []byte) uint64 {
	h := mix(seed ^ uint64(len(b))*root7)
	for len(b) >= 8 {
		h = fold(h^binary.LittleEndian.Uint64(b), golden) + root3
		b = b[8:]
	}
	var tail uint64
	for i, c := range b {
		tail |= uint64(c) << (8 * i)
	}
	return mix(h ^ tail)
}

// below maps a hash to 0 to n-1.
func below(h uint64, n int) int {
	high, _ := bits.Mul64(h, uint64(n))
	return int(high)
}

// unit maps a hash to [0, 1).
func unit(h uint64) float64 { return float64(h>>11) / (1 << 53) }
