package standin

import (
	"crypto/sha256"
	"math/bits"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// NumKeys is how many keys there are: key-0, key-1, and so on, each of a consumer of its own.
	NumKeys = 10_000
	// PerSecond is what each consumer may do, at once or spread, which no load generator reaches.
	PerSecond = 1_000_000
	// Header is the field the transform adds to requests and answers, and Value what it says there.
	Header, Value = "X-Gateway", "bench"
)

// The fields that tell clients how their limit stands, and the upstream who calls, in canonical form. They are those that
// Gatehouse sends. Each key has its consumer's name.
const (
	LimitHeader      = "X-Ratelimit-Limit-Second"
	RemainingHeader  = "X-Ratelimit-Remaining-Second"
	ConsumerHeader   = "X-Consumer-Id"
	CredentialHeader = "X-Credential-Identifier"
)

// Key returns the key and the consumer of a number below NumKeys.
func Key(i int) (key, consumer string) {
	return "key-" + strconv.Itoa(i), "consumer-" + strconv.Itoa(i)
}

// A Consumer is who has a key.
type Consumer struct {
	ID   string
	next atomic.Int64 // the theoretical arrival time of GCRA, in nanoseconds since the limiter began
}

// Keys knows consumers by the digests of their keys.
type Keys struct {
	byDigest map[[sha256.Size]byte]*Consumer
}

// NewKeys returns NumKeys keys.
func NewKeys() *Keys {
	k := &Keys{byDigest: make(map[[sha256.Size]byte]*Consumer, NumKeys)}
	for i := range NumKeys {
		key, consumer := Key(i)
		k.byDigest[sha256.Sum256([]byte(key))] = &Consumer{ID: consumer}
	}
	return k
}

// Find returns the consumer of a key, or nil.
func (k *Keys) Find(key []byte) *Consumer { return k.byDigest[sha256.Sum256(key)] }

// A Limiter lets each consumer pass PerSecond times a second, counted with GCRA.
type Limiter struct {
	start time.Time
	burst int64
}

// NewLimiter returns a limiter that has counted nothing.
func NewLimiter() *Limiter { return &Limiter{start: time.Now(), burst: PerSecond} }

// Admit counts a request, and says how many more would pass now.
func (l *Limiter) Admit(c *Consumer) (left int64, ok bool) {
	const each = int64(time.Second) / PerSecond
	now := int64(time.Since(l.start))
	for {
		before := c.next.Load()
		next := max(before, now) + each
		left = l.burst - (next-now)/each
		if left < 0 {
			return 0, false
		}
		if c.next.CompareAndSwap(before, next) {
			return left, true
		}
	}
}

// Metrics counts answers by the first digit of their status and by time.
type Metrics struct {
	status  [6]atomic.Int64
	bytes   atomic.Int64
	buckets [16]atomic.Int64 // powers of two, from 64 µs
}

// Count counts an answer.
func (m *Metrics) Count(status int, bytes int64, took time.Duration) {
	m.status[min(max(status/100, 0), len(m.status)-1)].Add(1)
	m.bytes.Add(bytes)
	bucket := bits.Len64(uint64(took.Microseconds()) >> 6)
	m.buckets[min(bucket, len(m.buckets)-1)].Add(1)
}
