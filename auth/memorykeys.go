package auth

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-go/gateway/policy"
)

// MemoryKeys is a store of API keys in memory. It keeps no key, only SHA-256 digests under a random value of its own: a
// digest that leaks tells nothing, and only who has the whole memory of the process can try guesses, which random keys
// withstand.
//
// Keys may be added, disabled, revoked and replaced while traffic flows; a change holds for every lookup that begins
// after the method that made it has returned, so for the next request. Expiry needs no goroutine: an expired key is
// refused from that moment on, and its memory is taken back when a key is added near it.
//
// The zero MemoryKeys is an empty store, ready for use. It must not be copied. Lookups take no lock. A key takes
// about 70 bytes beside its consumer and its ID. It is not bounded: its keys are the operator's, not a client's.
type MemoryKeys struct {
	mu    sync.Mutex // one writer at a time
	table atomic.Pointer[keyTable]
}

// shardSize is how many keys a shard has at most, on average; a table with more of them gets twice the shards. Adding a
// key copies its shard.
const shardSize = 32

// A keyTable is one generation of a store. Each shard is a slice that never changes, sorted by digest. Digests are
// evenly spread, so that the first bits choose the shard and the next tell nearly where in it a digest stands.
type keyTable struct {
	pepper [32]byte
	bits   int
	shards []atomic.Pointer[[]keyRecord] // 1<<bits of them
	length atomic.Int64
}

// keyDigest stands for a key.
type keyDigest [sha256.Size]byte

// keyRecord is what is kept of a key, in one cache line.
type keyRecord struct {
	digest   keyDigest
	consumer *policy.Consumer
	id       string
	state    int64 // the expiry in Unix nanoseconds, 0 for none, rounded down to even; the lowest bit means disabled
}

const disabled = 1

// Lookup returns the credential that key is, unless it is unknown, expired or disabled; it does the same work for all
// three. It allocates nothing and returns no error.
func (m *MemoryKeys) Lookup(_ context.Context, key string) (Credential, bool, error) {
	t := m.table.Load()
	if t == nil || key == "" || len(key) > MaxKeyLength {
		return Credential{}, false, nil
	}
	digest := t.digest(key)
	records := t.records(t.shardOf(&digest))
	var none keyRecord
	for i := t.position(records, &digest); ; i++ {
		record := &none
		if i < len(records) {
			record = &records[i]
		}
		// The digest is keyed, so that even the search tells nothing about a key; the last word is constant-time anyway.
		same := subtle.ConstantTimeCompare(record.digest[:], digest[:]) == 1
		switch {
		case i >= len(records):
			return Credential{}, false, nil
		case same && record.refused():
			return Credential{}, false, nil
		case same:
			return Credential{ID: record.id, Consumer: record.consumer}, true, nil
		case prefix(&record.digest) != prefix(&digest):
			return Credential{}, false, nil
		}
	}
}

// refused reports whether the key is disabled or expired.
func (r *keyRecord) refused() bool {
	return r.state != 0 && (r.state&disabled != 0 || r.expired(time.Now()))
}

func (r *keyRecord) expired(now time.Time) bool {
	until := r.state &^ disabled
	return until != 0 && now.UnixNano() >= until
}

// Len returns the number of keys, disabled ones included, and expired ones whose memory was not taken back yet.
func (m *MemoryKeys) Len() int {
	t := m.table.Load()
	if t == nil {
		return 0
	}
	return int(t.length.Load())
}

// Add adds keys: all of them, or none and an error that joins all problems, naming the positions and consumers of keys
// and never the keys. A key that is stored already is a problem: revoke it first. So is one that has expired. Many keys
// are best added in one call.
func (m *MemoryKeys) Add(keys ...Key) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.table.Load()
	if t == nil {
		t = newKeyTable()
	}
	return m.fill(t, keys, time.Now())
}

// Replace makes keys the whole content of the store, at once: no lookup sees part of the old keys and part of the new.
// On an error nothing has changed. Made-up IDs of keys that were there before stay the same. Keys that have expired are
// taken and refused, so that a list may be loaded again as it is.
func (m *MemoryKeys) Replace(keys ...Key) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := newKeyTable()
	if old := m.table.Load(); old != nil {
		next.pepper = old.pepper
	}
	return m.fill(next, keys, time.Time{})
}

// fill adds keys to t, in place or in a larger copy of it, and makes it the table of the store. Keys that expired before
// since are a problem.
func (m *MemoryKeys) fill(t *keyTable, keys []Key, since time.Time) error {
	t = t.grown(int(t.length.Load()) + len(keys))
	if err := t.add(keys, since); err != nil {
		return err
	}
	m.table.Store(t)
	return nil
}

// Revoke forgets the keys with these IDs and returns how many there were. It looks at every key of the store: a list
// costs as much as one.
func (m *MemoryKeys) Revoke(ids ...string) int {
	return m.edit(ids, func(r *keyRecord) string { return r.id }, nil)
}

// RevokeConsumer forgets all keys of the consumers with these IDs and returns how many there were.
func (m *MemoryKeys) RevokeConsumer(ids ...string) int {
	return m.edit(ids, func(r *keyRecord) string { return r.consumer.ID }, nil)
}

// Disable has the keys with these IDs refused like unknown ones until they are enabled again. It returns how many keys
// have these IDs.
func (m *MemoryKeys) Disable(ids ...string) int {
	return m.edit(ids, func(r *keyRecord) string { return r.id }, func(r *keyRecord) { r.state |= disabled })
}

// Enable undoes Disable, and Key.Disabled. It returns how many keys have these IDs.
func (m *MemoryKeys) Enable(ids ...string) int {
	return m.edit(ids, func(r *keyRecord) string { return r.id }, func(r *keyRecord) { r.state &^= disabled })
}

// edit changes the records whose name is listed, or removes them when change is nil, and returns how many they were.
func (m *MemoryKeys) edit(names []string, name func(*keyRecord) string, change func(*keyRecord)) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.table.Load()
	if t == nil {
		return 0
	}
	listed := make(map[string]bool, len(names))
	for _, n := range names {
		listed[n] = true
	}
	total := 0
	for i := range t.shards {
		records := t.records(i)
		n := 0
		for j := range records {
			if listed[name(&records[j])] {
				n++
			}
		}
		if n == 0 {
			continue
		}
		total += n
		next := make([]keyRecord, 0, len(records))
		for j := range records {
			if !listed[name(&records[j])] {
				next = append(next, records[j])
			} else if change != nil {
				next = append(next, records[j])
				change(&next[len(next)-1])
			}
		}
		t.length.Add(int64(len(next) - len(records)))
		t.shards[i].Store(&next)
	}
	return total
}

// String returns the number of keys.
func (m *MemoryKeys) String() string { return fmt.Sprintf("auth.MemoryKeys(%d keys)", m.Len()) }

// Format prints String for every verb, so that no way of printing shows a digest.
func (m *MemoryKeys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, m.String()) }

// LogValue logs String.
func (m *MemoryKeys) LogValue() slog.Value { return slog.StringValue(m.String()) }

func newKeyTable() *keyTable {
	t := &keyTable{shards: make([]atomic.Pointer[[]keyRecord], 1)}
	// crypto/rand.Read never fails: it ends the program when the system has no randomness.
	_, _ = rand.Read(t.pepper[:])
	return t
}

// digest returns the SHA-256 of the table's random value and the key, which is at most MaxKeyLength bytes long. Nobody
// ever sees a digest, so that the plain construction does; HMAC would hash twice.
func (t *keyTable) digest(key string) keyDigest {
	var buf [len(t.pepper) + MaxKeyLength]byte
	n := copy(buf[:], t.pepper[:])
	n += copy(buf[n:], key)
	return sha256.Sum256(buf[:n])
}

func prefix(digest *keyDigest) uint64 { return binary.BigEndian.Uint64(digest[:8]) }

func (t *keyTable) shardOf(digest *keyDigest) int {
	return int(prefix(digest) >> (64 - t.bits))
}

func (t *keyTable) records(shard int) []keyRecord {
	if p := t.shards[shard].Load(); p != nil {
		return *p
	}
	return nil
}

// position returns the index of the first record of a shard whose digest has the same first 64 bits, or would stand
// behind it. It begins where the digest would be if they were spread evenly, and is off by two or three.
func (t *keyTable) position(records []keyRecord, digest *keyDigest) int {
	p := prefix(digest)
	guess, _ := bits.Mul64(p<<t.bits, uint64(len(records)))
	i := int(guess)
	for i > 0 && prefix(&records[i-1].digest) >= p {
		i--
	}
	for i < len(records) && prefix(&records[i].digest) < p {
		i++
	}
	return i
}

// grown returns a table for n keys with the content of t: t itself when it is large enough.
func (t *keyTable) grown(n int) *keyTable {
	b := t.bits
	for n > shardSize<<b {
		b++
	}
	if b == t.bits {
		return t
	}
	next := &keyTable{pepper: t.pepper, bits: b, shards: make([]atomic.Pointer[[]keyRecord], 1<<b)}
	next.length.Store(t.length.Load())
	for i := range t.shards {
		for records := t.records(i); len(records) > 0; {
			shard, n := next.shardOf(&records[0].digest), 1
			for n < len(records) && next.shardOf(&records[n].digest) == shard {
				n++
			}
			part := slices.Clone(records[:n])
			next.shards[shard].Store(&part)
			records = records[n:]
		}
	}
	return next
}

// add merges keys into the table, or changes nothing and returns all problems.
func (t *keyTable) add(keys []Key, since time.Time) error {
	var errs []error
	added := make([]keyRecord, 0, len(keys))
	for i, k := range keys {
		if err := k.check(); err != nil {
			errs = append(errs, prefixed(fmt.Sprintf("auth: key %d ", i), err)...)
			continue
		}
		if !k.Expires.IsZero() && !k.Expires.After(since) {
			errs = append(errs, fmt.Errorf("auth: key %d %shas expired: Expires is %s; leave the key out, or give it a later time",
				i, k.whose(), k.Expires.Format(time.RFC3339)))
			continue
		}
		added = append(added, t.record(k))
	}
	slices.SortFunc(added, compareRecords)
	type change struct {
		shard   int
		records []keyRecord
	}
	var changes []change
	length := int64(0)
	for len(added) > 0 {
		shard, n := t.shardOf(&added[0].digest), 1
		for n < len(added) && t.shardOf(&added[n].digest) == shard {
			n++
		}
		records := merge(t.records(shard), added[:n])
		for i := 1; i < len(records); i++ {
			if records[i].digest == records[i-1].digest {
				errs = append(errs, fmt.Errorf("auth: a key of consumer %q is stored already, for consumer %q",
					records[i].consumer.ID, records[i-1].consumer.ID))
			}
		}
		length += int64(len(records) - len(t.records(shard)))
		changes = append(changes, change{shard, records})
		added = added[n:]
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	for _, c := range changes {
		t.shards[c.shard].Store(&c.records)
	}
	t.length.Add(length)
	return nil
}

// merge returns a new sorted slice of the records that have not expired and the added ones.
func merge(old, added []keyRecord) []keyRecord {
	now := time.Now()
	records := make([]keyRecord, 0, len(old)+len(added))
	for i := range old {
		if !old[i].expired(now) {
			records = append(records, old[i])
		}
	}
	records = append(records, added...)
	slices.SortStableFunc(records, compareRecords)
	return records
}

func compareRecords(a, b keyRecord) int { return bytes.Compare(a.digest[:], b.digest[:]) }

// whose begins what is said about k.
func (k Key) whose() string {
	return fmt.Sprintf("of consumer %q (%q) ", k.Consumer.ID, k.Consumer.Username)
}

// check returns what is wrong with k, all problems joined, each to be read behind "key". It does not tell the value.
func (k Key) check() error {
	if k.Consumer == nil {
		return errors.New("has no Consumer; give it the one whose key it is")
	}
	var errs []error
	if err := k.Consumer.Validate(); err != nil {
		errs = prefixed(k.whose()+"has a bad Consumer: ", err)
	}
	if reason := checkKey(k.Value); reason != "" {
		errs = append(errs, errors.New(k.whose()+reason))
	}
	if id := (policy.Consumer{ID: "1", Username: k.ID}); id.Validate() != nil { // sent as a name is
		errs = append(errs, fmt.Errorf("%shas the ID %q, which no header field can carry; use no control characters, and no white space at the ends", k.whose(), k.ID))
	}
	return errors.Join(errs...)
}

func (t *keyTable) record(k Key) keyRecord {
	r := keyRecord{digest: t.digest(k.Value), consumer: k.Consumer, id: k.ID}
	if r.id == "" {
		r.id = hex.EncodeToString(r.digest[24:]) // tells nothing without the pepper
	}
	if !k.Expires.IsZero() && k.Expires.Before(time.Unix(0, math.MaxInt64)) { // beyond is the year 2262
		r.state = 2 // long ago
		if k.Expires.After(time.Unix(0, r.state)) {
			r.state = k.Expires.UnixNano() &^ disabled
		}
	}
	if k.Disabled {
		r.state |= disabled
	}
	return r
}
