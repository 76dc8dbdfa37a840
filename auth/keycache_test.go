package auth_test

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/policy"
)

// remote is a store that counts questions and can be changed and broken.
type remote struct {
	mu    sync.Mutex
	keys  map[string]auth.Credential
	err   error
	asked int
	wait  func()
}

func (r *remote) Lookup(_ context.Context, key string) (auth.Credential, bool, error) {
	r.mu.Lock()
	r.asked++
	c, ok := r.keys[key]
	err, wait := r.err, r.wait
	r.mu.Unlock()
	if wait != nil {
		wait()
	}
	if err != nil {
		return auth.Credential{}, false, err
	}
	return c, ok, nil
}

func (r *remote) set(key, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keys == nil {
		r.keys = map[string]auth.Credential{}
	}
	if id == "" {
		delete(r.keys, key)
		return
	}
	r.keys[key] = auth.Credential{ID: id, Consumer: consumer(id)}
}

func (r *remote) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func (r *remote) questions() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

func TestKeyCacheTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &remote{}
		store.set("k", "1")
		c := policy.Must(auth.NewKeyCache(auth.KeyCacheConfig{Store: store}))
		for range 10 {
			got, ok := lookup(t, c, "k")
			require.True(t, ok)
			require.Equal(t, "1", got.ID)
		}
		require.Equal(t, 1, store.questions())

		store.set("k", "") // revoked: works for less than a minute
		time.Sleep(auth.DefaultKeyCacheTTL - time.Nanosecond)
		_, ok := lookup(t, c, "k")
		require.True(t, ok)
		time.Sleep(time.Nanosecond)
		_, ok = lookup(t, c, "k")
		require.False(t, ok)
		require.Equal(t, 2, store.questions())

		store.set("k", "2") // new: refused for less than five seconds
		time.Sleep(auth.DefaultKeyCacheNegativeTTL - time.Nanosecond)
		_, ok = lookup(t, c, "k")
		require.False(t, ok)
		require.Equal(t, 2, store.questions())
		time.Sleep(time.Nanosecond)
		got, ok := lookup(t, c, "k")
		require.True(t, ok)
		require.Equal(t, "2", got.ID)

		store.set("k", "")
		c.Purge()
		_, ok = lookup(t, c, "k")
		require.False(t, ok, "effective at once")
		require.Equal(t, 1, c.Len())
	})
}

func TestKeyCachePurgeDuringLookup(t *testing.T) {
	t.Parallel()
	store := &remote{}
	store.set("k", "1")
	c := policy.Must(auth.NewKeyCache(auth.KeyCacheConfig{Store: store}))
	store.wait = func() {
		store.set("k", "") // after the answer was made, before it arrives
		c.Purge()
	}
	_, ok := lookup(t, c, "k")
	require.True(t, ok, "this request came before")
	store.wait = nil
	_, ok = lookup(t, c, "k")
	require.False(t, ok, "what was purged meanwhile is not kept")
}

func TestKeyCacheErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &remote{}
		store.set("k", "1")
		store.fail(errDown)
		c := policy.Must(auth.NewKeyCache(auth.KeyCacheConfig{Store: store, NegativeTTL: -1}))
		_, ok, err := c.Lookup(t.Context(), "k")
		require.ErrorIs(t, err, errDown)
		require.False(t, ok)
		require.Zero(t, c.Len(), "an error is not kept")
		store.fail(nil)
		_, ok = lookup(t, c, "k")
		require.True(t, ok)
		store.fail(errDown)
		_, ok = lookup(t, c, "k")
		require.True(t, ok, "a valid key outlasts a short failure")
		time.Sleep(auth.DefaultKeyCacheTTL)
		_, _, err = c.Lookup(t.Context(), "k")
		require.ErrorIs(t, err, errDown, "and is not believed for ever")

		store.fail(nil)
		before := store.questions()
		for range 3 {
			_, ok = lookup(t, c, "unknown")
			require.False(t, ok)
		}
		require.Equal(t, before+3, store.questions(), "NegativeTTL is off")
		_, ok = lookup(t, c, "")
		require.False(t, ok)
		require.Equal(t, before+3, store.questions(), "what no store holds is not asked for")
	})
}

func TestKeyCacheIsBounded(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 2, 3, 10, 101} {
		store := &remote{}
		store.set("good", "1")
		c := policy.Must(auth.NewKeyCache(auth.KeyCacheConfig{Store: store, Size: size, TTL: time.Hour, NegativeTTL: time.Hour}))
		_, ok := lookup(t, c, "good")
		require.True(t, ok)
		for i := range 10 * size {
			_, ok = lookup(t, c, "bad-"+strconv.Itoa(i))
			require.False(t, ok)
		}
		require.LessOrEqual(t, c.Len(), size+1)
		before := store.questions()
		_, ok = lookup(t, c, "good")
		require.True(t, ok)
		require.Equal(t, before, store.questions(), "a flood of wrong keys pushes no valid one out")

		for i := range 10 * size {
			key := "good-" + strconv.Itoa(i)
			store.set(key, key)
			_, ok = lookup(t, c, key)
			require.True(t, ok)
		}
		require.LessOrEqual(t, c.Len(), 2*size)
	}
}

func TestKeyCacheKeepsWhatIsUsed(t *testing.T) {
	t.Parallel()
	store := &remote{}
	store.set("used", "1")
	c := policy.Must(auth.NewKeyCache(auth.KeyCacheConfig{Store: store, Size: 100}))
	for i := range 1000 {
		key := strconv.Itoa(i)
		store.set(key, key)
		lookup(t, c, key)
		lookup(t, c, "used")
	}
	require.Equal(t, 1001, store.questions())
}

func TestKeyCacheConcurrently(t *testing.T) {
	t.Parallel()
	store := &remote{}
	for i := range 20 {
		store.set(strconv.Itoa(i), strconv.Itoa(i))
	}
	c := policy.Must(auth.NewKeyCache(auth.KeyCacheConfig{Store: store, Size: 10}))
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 500 {
				key := strconv.Itoa((i + g) % 40)
				got, ok, err := c.Lookup(t.Context(), key)
				if err != nil || ok != ((i+g)%40 < 20) || ok && got.ID != key {
					t.Errorf("%s: %v %v %v", key, got, ok, err)
				}
				if i%100 == 0 {
					c.Purge()
				}
			}
		})
	}
	wg.Wait()
}

func TestNewKeyCacheErrors(t *testing.T) {
	t.Parallel()
	_, err := auth.NewKeyCache(auth.KeyCacheConfig{Size: -1, TTL: -time.Second})
	require.ErrorContains(t, err, "KeyCacheConfig.Store: auth: the key store is nil")
	require.ErrorContains(t, err, "KeyCacheConfig.Size -1")
	require.ErrorContains(t, err, `KeyCacheConfig.TTL "-1s"`)
	_, ok, err := new(auth.KeyCache).Lookup(t.Context(), "k")
	require.Error(t, err, "the zero value refuses")
	require.False(t, ok)
}
