package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

// Defaults of [KeyCacheConfig].
const (
	DefaultKeyCacheSize        = 10_000
	DefaultKeyCacheTTL         = time.Minute
	DefaultKeyCacheNegativeTTL = 5 * time.Second
)

// KeyCacheConfig configures a [KeyCache].
type KeyCacheConfig struct {
	// Store is the store whose answers are kept. It must not be nil, and should be one that answers over a network:
	// nothing is gained with a [MemoryKeys].
	Store KeyStore
	// Size bounds the answers kept: this many valid keys, and as many invalid ones apart from them, so that no flood of
	// invalid keys can push a valid one out. Default 10,000. An answer takes about 200 bytes.
	Size int
	// TTL is how long a valid key is believed, and so how long a revoked key may still work. Default 1 min.
	TTL time.Duration
	// NegativeTTL is how long a key that the store did not know is refused without asking again, and so how long a new
	// key may have to wait. Default 5 s; negative: the store is asked every time.
	NegativeTTL time.Duration
}

// KeyCache is a [KeyStore] that remembers the answers of another one for a short time. It keeps digests, as
// [MemoryKeys] does. A revoked key works until TTL after it was last looked up in the store, or until [KeyCache.Purge].
//
// Beyond Size the answers that were not used for longest go, in batches. Errors are not kept: each is the answer to
// one request. Requests with the same unknown key that arrive together ask the store each. It is safe for concurrent
// use and starts no goroutine.
type KeyCache struct {
	store            KeyStore
	ttl, negativeTTL time.Duration
	hash             *keyTable // for its digests

	mu             sync.Mutex
	epoch          uint64 // counts purges
	known, unknown generations
}

// cachedKey is an answer of the store.
type cachedKey struct {
	credential Credential
	until      time.Time
}

// NewKeyCache checks c and returns a KeyCache. The error joins all problems.
func NewKeyCache(c KeyCacheConfig) (*KeyCache, error) {
	var errs []error
	store, err := OpenKeys(c.Store)
	if err != nil {
		errs = append(errs, fmt.Errorf("auth: KeyCacheConfig.Store: %w", err))
	}
	if c.Size < 0 {
		errs = append(errs, fmt.Errorf("auth: KeyCacheConfig.Size %d is negative; use 0 for %d", c.Size, DefaultKeyCacheSize))
	}
	if c.TTL < 0 {
		errs = append(errs, fmt.Errorf("auth: KeyCacheConfig.TTL %q is negative; use 0 for %q", c.TTL, DefaultKeyCacheTTL))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if c.Size == 0 {
		c.Size = DefaultKeyCacheSize
	}
	if c.TTL == 0 {
		c.TTL = DefaultKeyCacheTTL
	}
	if c.NegativeTTL == 0 {
		c.NegativeTTL = DefaultKeyCacheNegativeTTL
	}
	return &KeyCache{
		store: store, ttl: c.TTL, negativeTTL: c.NegativeTTL, hash: newKeyTable(),
		known: generations{size: c.Size}, unknown: generations{size: c.Size},
	}, nil
}

// Lookup returns what the store said about key, now or less than the time to live ago. It passes the store's errors on.
func (c *KeyCache) Lookup(ctx context.Context, key string) (Credential, bool, error) {
	if c.store == nil {
		return Credential{}, false, errNilStore
	}
	if key == "" || len(key) > MaxKeyLength {
		return Credential{}, false, nil
	}
	digest := c.hash.digest(key)
	now := time.Now()
	c.mu.Lock()
	epoch := c.epoch
	valid, ok := c.known.get(digest)
	invalid, refused := c.unknown.get(digest)
	c.mu.Unlock()
	if ok && now.Before(valid.until) {
		return valid.credential, true, nil
	}
	if refused && now.Before(invalid.until) {
		return Credential{}, false, nil
	}
	// Counted from before the question: the answer may be as old as that when it arrives.
	credential, ok, err := c.store.Lookup(ctx, key)
	if err != nil {
		return Credential{}, false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case epoch != c.epoch: // purged meanwhile: the answer may be one that was to be forgotten
	case ok:
		c.known.put(digest, cachedKey{credential: credential, until: now.Add(c.ttl)})
	default:
		c.known.remove(digest)
		if c.negativeTTL > 0 {
			c.unknown.put(digest, cachedKey{until: now.Add(c.negativeTTL)})
		}
	}
	return credential, ok, nil
}

// Purge forgets all answers, so that every revocation the store knows of is effective at once.
func (c *KeyCache) Purge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	c.known.clear()
	c.unknown.clear()
}

// Len returns how many answers are kept, outdated ones included.
func (c *KeyCache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known.len() + c.unknown.len()
}

// String returns the number of answers kept.
func (c *KeyCache) String() string { return fmt.Sprintf("auth.KeyCache(%d keys)", c.Len()) }

// Format prints String for every verb, so that no way of printing shows a digest.
func (c *KeyCache) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue logs String.
func (c *KeyCache) LogValue() slog.Value { return slog.StringValue(c.String()) }

// generations is a bounded map that forgets what was not used lately: entries go into the young half; when that is
// full it becomes the old half, and the old half is dropped. An entry found in the old half moves to the young one.
type generations struct {
	size       int
	young, old map[keyDigest]cachedKey
}

func (g *generations) get(d keyDigest) (cachedKey, bool) {
	if e, ok := g.young[d]; ok {
		return e, true
	}
	e, ok := g.old[d]
	if ok {
		delete(g.old, d)
		g.put(d, e)
	}
	return e, ok
}

func (g *generations) put(d keyDigest, e cachedKey) {
	delete(g.old, d)
	if _, ok := g.young[d]; !ok && len(g.young) >= max(g.size/2, 1) {
		g.old, g.young = g.young, nil
		if g.size == 1 {
			g.old = nil // of one there are no halves
		}
	}
	if g.young == nil {
		g.young = map[keyDigest]cachedKey{}
	}
	g.young[d] = e
}

func (g *generations) remove(d keyDigest) {
	delete(g.young, d)
	delete(g.old, d)
}

func (g *generations) clear()   { g.young, g.old = nil, nil }
func (g *generations) len() int { return len(g.young) + len(g.old) }
