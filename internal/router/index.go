package router

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

// keyBuffer is how long a key of a shape may be without allocating. Only patterns with more literal text need longer
// ones.
const keyBuffer = 256

// A pathIndex finds the entries of one host pattern by path. Each kind of pattern has its own part, and every part
// knows the best rank in it, so that a search skips what can no longer win.
//
// Entries are added from the last rank to the first, so that the rank added last is always the best.
type pathIndex struct {
	best     int32
	any      bucket // entries without a path, if hasAny
	exact    keyed
	regexps  byLength
	shapes   []*shape
	prefixes byLength

	hasAny  bool
	deepest int // segments of the shape with most of them
}

// A bucket is the entries with one key, a list by rank: the first one, and the rest in Table.nodes, where 0 is none.
// Nearly all buckets have one entry, which needs no node.
type bucket struct{ rank, next int32 }

// keyed is entries by an exact key.
type keyed struct {
	best    int32
	buckets map[string]bucket // while entries are added
	texts   texts             // afterwards
}

// byLength is entries by a beginning of the path, one map per length, the longest first.
type byLength struct {
	best    int32
	lengths []*lengthMap
}

type lengthMap struct {
	keyed
	length int
}

// A shape is the patterns with the same number of segments and wildcards at the same positions. Such patterns never
// contend for the same text: with the wildcards cut out, the literal text is the key of a map.
type shape struct {
	keyed
	segments int
	wild     uint64
	subtree  bool
	// leading is the number of literal segments before the first parameter if only parameters follow, or -1. Then the
	// key is a beginning of the path and needs no copying.
	leading int
	// shortest and longest bound the keys, so that a long path is not copied in vain.
	shortest, longest int
}

// A link adds buckets to the lists of Table.nodes.
type link struct{ nodes *[]bucket }

// push puts an entry before those of a bucket.
func (l link) push(old bucket, present bool, rank int32) bucket {
	if !present {
		return bucket{rank: rank}
	}
	*l.nodes = append(*l.nodes, old)
	return bucket{rank: rank, next: int32(len(*l.nodes) - 1)}
}

func (k *keyed) add(key string, rank int32, l link) {
	if k.buckets == nil {
		k.buckets = map[string]bucket{}
	}
	old, present := k.buckets[key]
	k.buckets[key] = l.push(old, present, rank)
	k.best = rank
}

func (k *keyed) finish() { k.texts, k.buckets = newTexts(k.buckets), nil }

func (b *byLength) finish() {
	for _, m := range b.lengths {
		m.finish()
	}
}

func (b *byLength) add(key string, rank int32, l link) {
	b.best = rank
	at, found := slices.BinarySearchFunc(b.lengths, len(key), func(m *lengthMap, length int) int {
		return cmp.Compare(length, m.length)
	})
	if !found {
		b.lengths = slices.Insert(b.lengths, at, &lengthMap{length: len(key)})
	}
	b.lengths[at].add(key, rank, l)
}

// add puts an entry into the part for its kind of path.
func (x *pathIndex) add(p *path, rank int32, l link) {
	x.best = rank
	if p == nil {
		x.any, x.hasAny = l.push(x.any, x.hasAny, rank), true
		return
	}
	switch p.kind {
	case Exact:
		x.exact.add(canonical.MatchKey(p.shape), rank, l)
	case Regexp:
		x.regexps.add(p.literal, rank, l)
	case Prefix:
		x.prefixes.add(p.literal, rank, l)
	case Parameters, Subtree:
		x.addShape(p, rank, l)
	case NoPath:
	}
}

func (x *pathIndex) addShape(p *path, rank int32, l link) {
	leading := leadingLiterals(p)
	at := slices.IndexFunc(x.shapes, func(sh *shape) bool {
		return sh.segments == p.segments && sh.wild == p.wild && sh.subtree == (p.kind == Subtree)
	})
	if at < 0 {
		at = len(x.shapes)
		sh := &shape{segments: p.segments, wild: p.wild, subtree: p.kind == Subtree, leading: leading}
		x.shapes = append(x.shapes, sh)
		x.deepest = max(x.deepest, p.segments)
	}
	sh := x.shapes[at]
	key := canonical.MatchKey(patternKey(p, leading))
	if sh.buckets == nil || len(key) < sh.shortest {
		sh.shortest = len(key)
	}
	sh.longest = max(sh.longest, len(key))
	sh.add(key, rank, l)
}

// finish ends the adding of entries. It orders the shapes, the one with the best entry first.
func (x *pathIndex) finish() {
	x.exact.finish()
	x.regexps.finish()
	x.prefixes.finish()
	for _, sh := range x.shapes {
		sh.finish()
	}
	slices.SortFunc(x.shapes, func(a, b *shape) int { return cmp.Compare(a.best, b.best) })
}

// width is how many keys a search asks for.
func (x *pathIndex) width() int {
	return len(x.regexps.lengths) + len(x.shapes) + len(x.prefixes.lengths)
}

// leadingLiterals returns how many literal segments a pattern begins with if only parameters follow, and otherwise -1.
func leadingLiterals(p *path) int {
	leading := 0
	for leading < p.segments && p.wild&(1<<leading) == 0 {
		leading++
	}
	for i := leading; i < p.segments; i++ {
		if p.wild&(1<<i) == 0 {
			return -1
		}
	}
	return leading
}

// patternKey returns the key of a pattern in the map of its shape, as shape.key makes it from a path.
func patternKey(p *path, leading int) string {
	var b strings.Builder
	segments := strings.Split(p.shape[1:], "/")
	for i, segment := range segments[:p.segments] {
		if i == leading {
			break
		}
		b.WriteByte('/')
		if p.wild&(1<<i) == 0 {
			b.WriteString(segment)
		}
	}
	return b.String()
}

// search looks through all entries whose path matches, kind by kind in their order of precedence.
func (x *pathIndex) search(s *search, q *Request) {
	if x.best >= s.best {
		return
	}
	if q.Path != "" && q.Path[0] == '/' {
		x.exact.search(s, q, q.Path)
		x.regexps.search(s, q, q.text())
		if len(x.shapes) > 0 && x.shapes[0].best < s.best {
			x.searchShapes(s, q)
		}
		x.prefixes.search(s, q, q.Path)
	}
	if x.hasAny {
		s.bucket(x.any, q)
	}
}

func (k *keyed) search(s *search, q *Request, key string) {
	if k.texts.slots == nil || k.best >= s.best {
		return
	}
	if b, ok := k.texts.find(key); ok {
		s.bucket(b, q)
	}
}

func (b *byLength) search(s *search, q *Request, text string) {
	if b.best >= s.best {
		return
	}
	for _, m := range b.lengths {
		if m.length <= len(text) {
			m.search(s, q, text[:m.length])
		}
	}
}

// searchShapes divides the path into segments, no more than the deepest shape needs, and asks each shape.
func (x *pathIndex) searchShapes(s *search, q *Request) {
	var at ends
	n := 0
	for end := 0; n <= x.deepest && end < len(q.Path); {
		end = segmentEnd(q.Path, end+1)
		n++
		at[n] = int32(end)
	}
	for _, sh := range x.shapes {
		if sh.best >= s.best {
			return
		}
		if n == sh.segments || n > sh.segments && sh.subtree {
			sh.search(s, q, &at)
		}
	}
}

// ends says where the segments of a path end, counted from 1; ends[0] is where the first slash is. There is room for one
// segment more than a pattern may have, which tells a longer path from one that fits.
type ends [maxSegments + 2]int32

func (sh *shape) search(s *search, q *Request, at *ends) {
	size := int(at[sh.segments])
	for wild := sh.wild; wild != 0; wild &= wild - 1 {
		i := bits.TrailingZeros64(wild)
		length := int(at[i+1]-at[i]) - 1
		if length == 0 {
			return // a parameter is never empty
		}
		size -= length
	}
	if sh.leading >= 0 {
		size = int(at[sh.leading])
	}
	switch {
	case size < sh.shortest || size > sh.longest:
	case sh.leading >= 0:
		sh.keyed.search(s, q, q.Path[:size])
	default:
		sh.searchCopied(s, q, at)
	}
}

// searchCopied builds the key of a path whose literal segments do not stand together.
func (sh *shape) searchCopied(s *search, q *Request, at *ends) {
	var buffer [keyBuffer]byte
	key := buffer[:0]
	start := int32(0)
	for wild := sh.wild; wild != 0; wild &= wild - 1 {
		i := bits.TrailingZeros64(wild)
		key = append(key, q.Path[start:at[i]+1]...)
		start = at[i+1]
	}
	key = append(key, q.Path[start:at[sh.segments]]...)
	if b, ok := sh.texts.findBytes(key); ok {
		s.bucket(b, q)
	}
}
