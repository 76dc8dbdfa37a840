package router

import (
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"slices"
	"strings"
)

// texts finds buckets by text. It is made once and never changed, and laid out so that a lookup in a large table waits
// for memory twice, for a slot and for the text, where a map waits four times.
type texts struct {
	seed  maphash.Seed // of this table, so that nobody can choose paths that collide
	slots []slot       // a power of two, probed one after the other; nil when there are no texts
	all   string       // the texts, each behind its length in lengthBytes
}

// A slot is one text. Sixteen bytes, so that four share a cache line.
type slot struct {
	hash uint32
	at   uint32 // of the text in texts.all; 0 marks a free slot
	bucket
}

const (
	lengthBytes = 4
	// fullest is the part of the slots that may be in use. Fewer free ones cost comparisons, more cost cache.
	fullest = 0.8
)

func newTexts(buckets map[string]bucket) texts {
	if len(buckets) == 0 {
		return texts{}
	}
	size := 2 // one is always free, where a search ends
	for float64(len(buckets)) > fullest*float64(size) {
		size *= 2
	}
	t := texts{seed: maphash.MakeSeed(), slots: make([]slot, size)}
	keys := make([]string, 0, len(buckets))
	length := 0
	for key := range buckets {
		keys = append(keys, key)
		length += lengthBytes + len(key)
	}
	// In the order of their home slots, so that a slot and its text tell the processor's prefetching the same story.
	slices.SortFunc(keys, func(a, b string) int { return cmp.Compare(t.home(a), t.home(b)) })
	var b strings.Builder
	b.Grow(length)
	for _, key := range keys {
		b.Write(binary.LittleEndian.AppendUint32(make([]byte, 0, lengthBytes), uint32(len(key))))
		at := uint32(b.Len())
		b.WriteString(key)
		hash := maphash.String(t.seed, key)
		i := t.start(hash)
		for t.slots[i].at != 0 {
			i = (i + 1) & (len(t.slots) - 1)
		}
		t.slots[i] = slot{hash: uint32(hash >> 32), at: at, bucket: buckets[key]}
	}
	t.all = b.String()
	return t
}

func (t *texts) home(key string) int { return t.start(maphash.String(t.seed, key)) }

func (t *texts) start(hash uint64) int { return int(uint32(hash)) & (len(t.slots) - 1) }

// find returns the bucket of a text.
func (t *texts) find(key string) (bucket, bool) {
	return lookupText(t, maphash.String(t.seed, key), key)
}

// findBytes is find for a text that is not a string yet. It does not allocate.
func (t *texts) findBytes(key []byte) (bucket, bool) {
	return lookupText(t, maphash.Bytes(t.seed, key), key)
}

func lookupText[T string | []byte](t *texts, hash uint64, key T) (bucket, bool) {
	tag := uint32(hash >> 32)
	for i := t.start(hash); ; i = (i + 1) & (len(t.slots) - 1) {
		s := &t.slots[i]
		if s.at == 0 {
			return bucket{}, false
		}
		if s.hash == tag && t.is(s.at, string(key)) {
			return s.bucket, true
		}
	}
}

// is reports whether the text at a place is key.
func (t *texts) is(at uint32, key string) bool {
	head := t.all[at-lengthBytes:]
	length := uint32(head[0]) | uint32(head[1])<<8 | uint32(head[2])<<16 | uint32(head[3])<<24
	return length == uint32(len(key)) && t.all[at:at+length] == key
}
