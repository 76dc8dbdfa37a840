package auth_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/policy"
)

func consumer(id string) *policy.Consumer { return &policy.Consumer{ID: id} }

func TestMemoryKeysZero(t *testing.T) {
	t.Parallel()
	var m auth.MemoryKeys
	_, ok := lookup(t, &m, "k")
	require.False(t, ok)
	require.Zero(t, m.Len())
	require.Zero(t, m.Revoke("x")+m.RevokeConsumer("x")+m.Disable("x")+m.Enable("x"))
	require.NoError(t, m.Add())
	require.NoError(t, m.Replace())
	require.Zero(t, m.Len())
}

func TestMemoryKeysLifecycle(t *testing.T) {
	t.Parallel()
	var m auth.MemoryKeys
	require.NoError(t, m.Add(
		auth.Key{Value: "a1", ID: "id-a1", Consumer: consumer("a")},
		auth.Key{Value: "a2", Consumer: consumer("a")},
		auth.Key{Value: "b1", ID: "id-b", Consumer: consumer("b")},
		auth.Key{Value: "b2", ID: "id-b", Consumer: consumer("b")},
		auth.Key{Value: "c1", ID: "id-c", Consumer: consumer("c"), Disabled: true},
	))
	require.Equal(t, 5, m.Len())
	valid := func(keys ...string) {
		t.Helper()
		var got []string
		for _, k := range []string{"a1", "a2", "b1", "b2", "c1"} {
			if _, ok := lookup(t, &m, k); ok {
				got = append(got, k)
			}
		}
		require.Equal(t, keys, got)
	}
	valid("a1", "a2", "b1", "b2")
	c, _ := lookup(t, &m, "a1")
	require.Equal(t, auth.Credential{ID: "id-a1", Consumer: consumer("a")}, c)
	c, _ = lookup(t, &m, "a2")
	require.Len(t, c.ID, 16, "made up, since none was given")
	made := c.ID

	require.Equal(t, 1, m.Enable("id-c"))
	valid("a1", "a2", "b1", "b2", "c1")
	require.Equal(t, 2, m.Disable("id-b", "unknown"))
	valid("a1", "a2", "c1")
	require.Equal(t, 5, m.Len())
	require.Equal(t, 2, m.Enable("id-b"))
	require.Equal(t, 2, m.Revoke("id-b"))
	valid("a1", "a2", "c1")
	require.Equal(t, 3, m.Len())
	require.Zero(t, m.Revoke("id-b"))
	require.NoError(t, m.Add(auth.Key{Value: "b1", Consumer: consumer("b")}), "a revoked key may come back")
	valid("a1", "a2", "b1", "c1")
	require.Equal(t, 2, m.RevokeConsumer("a"))
	valid("b1", "c1")
	require.Equal(t, 2, m.Len())

	require.NoError(t, m.Replace(auth.Key{Value: "a2", Consumer: consumer("z")}))
	valid("a2")
	c, _ = lookup(t, &m, "a2")
	require.Equal(t, "z", c.Consumer.ID)
	require.Equal(t, made, c.ID, "the same key has the same made-up ID")
}

func TestMemoryKeysErrors(t *testing.T) {
	t.Parallel()
	var m auth.MemoryKeys
	require.NoError(t, m.Add(auth.Key{Value: "k1", Consumer: consumer("1")}))
	tests := []struct {
		name string
		keys []auth.Key
		want string
	}{
		{"stored already", []auth.Key{{Value: "k2", Consumer: consumer("2")}, {Value: "k1", Consumer: consumer("2")}}, `a key of consumer "2" is stored already, for consumer "1"`},
		{"twice in one call", []auth.Key{{Value: "k2", Consumer: consumer("2")}, {Value: "k2", Consumer: consumer("3")}}, "is stored already"},
		{"no consumer", []auth.Key{{Value: "k2"}}, "key 0 has no Consumer"},
		{"no id", []auth.Key{{Value: "k2", Consumer: &policy.Consumer{Username: "ann"}}}, `key 0 of consumer "" ("ann") has a bad Consumer: policy: Consumer.ID is empty`},
		{"a name no header can carry", []auth.Key{{Value: "k2", Consumer: &policy.Consumer{ID: "2", Username: "a\nb"}}}, `key 0 of consumer "2" ("a\nb") has a bad Consumer: policy: Consumer.Username "a\nb" cannot be sent in a header field`},
		{"a group with a comma", []auth.Key{{Value: "k2", Consumer: &policy.Consumer{ID: "2", Groups: []string{"a,b"}}}}, `policy: Consumer.Groups[0] "a,b" has a comma`},
		{"an ID no header can carry", []auth.Key{{Value: "k2", ID: "a\r", Consumer: consumer("2")}}, `key 0 of consumer "2" ("") has the ID "a\r", which no header field can carry; use no control characters`},
		{"empty", []auth.Key{{Value: "k2", Consumer: consumer("2")}, {Consumer: consumer("2")}}, `key 1 of consumer "2" ("") is empty`},
	}
	for _, tt := range tests {
		err := m.Add(tt.keys...)
		require.ErrorContains(t, err, tt.want, tt.name)
		require.Equal(t, 1, m.Len(), "all or none")
		_, ok := lookup(t, &m, "k2")
		require.False(t, ok)
		if tt.name != "stored already" {
			require.Error(t, m.Replace(tt.keys...), tt.name)
		}
		_, ok = lookup(t, &m, "k1")
		require.True(t, ok, "a failed Replace changes nothing")
	}
	err := m.Add(auth.Key{Value: "x"}, auth.Key{Consumer: consumer("1")})
	require.ErrorContains(t, err, "key 0")
	require.ErrorContains(t, err, "key 1", "all problems at once")
}

func TestMemoryKeysExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m auth.MemoryKeys
		now := time.Now()
		keys := []auth.Key{
			{Value: "hour", Consumer: consumer("1"), Expires: now.Add(time.Hour)},
			{Value: "off", ID: "off", Consumer: consumer("1"), Expires: now.Add(time.Hour), Disabled: true},
			{Value: "2400", Consumer: consumer("1"), Expires: time.Date(2400, 1, 1, 0, 0, 0, 0, time.UTC)},
		}
		past := []auth.Key{
			{Value: "past", Consumer: consumer("1"), Expires: now.Add(-time.Second)},
			{Value: "1960", Consumer: consumer("1"), Expires: time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC)},
			{Value: "now", Consumer: consumer("1"), Expires: now},
		}
		err := m.Add(append(past, keys...)...)
		require.ErrorContains(t, err, `auth: key 0 of consumer "1" ("") has expired: Expires is 1999-12-31T23:59:59Z; leave the key out, or give it a later time`)
		require.ErrorContains(t, err, `key 1 of consumer "1" ("") has expired: Expires is 1960-01-01T00:00:00Z`)
		require.ErrorContains(t, err, `key 2 of consumer "1" ("") has expired`)
		require.Zero(t, m.Len(), "all or none")
		require.NoError(t, m.Replace(append(past, keys...)...), "a list that is loaded again may have keys that expired meanwhile")
		check := func(want map[string]bool) {
			t.Helper()
			for key, ok := range want {
				_, got := lookup(t, &m, key)
				require.Equal(t, ok, got, key)
			}
		}
		check(map[string]bool{"hour": true, "off": false, "past": false, "1960": false, "now": false, "2400": true})
		m.Enable("off")
		check(map[string]bool{"off": true})
		time.Sleep(time.Hour - time.Nanosecond)
		check(map[string]bool{"hour": true, "off": true})
		time.Sleep(time.Nanosecond)
		check(map[string]bool{"hour": false, "off": false, "2400": true})

		require.NoError(t, m.Add(auth.Key{Value: "hour", Consumer: consumer("2")}), "an expired key does not stand in the way")
		check(map[string]bool{"hour": true})
	})
}

// TestMemoryKeysAgainstMap compares the store with a map through random changes.
func TestMemoryKeysAgainstMap(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	var m auth.MemoryKeys
	want := map[string]string{} // key -> consumer
	for range 300 {
		switch rnd.IntN(6) {
		case 0:
			id := strconv.Itoa(rnd.IntN(50))
			n := 0
			for k, c := range want {
				if c == id {
					delete(want, k)
					n++
				}
			}
			require.Equal(t, n, m.RevokeConsumer(id))
		case 1:
			var keys []auth.Key
			if rnd.IntN(10) == 0 {
				want = map[string]string{}
				require.NoError(t, m.Replace())
			}
			for range rnd.IntN(500) {
				k, c := strconv.Itoa(rnd.IntN(100_000)), strconv.Itoa(rnd.IntN(50))
				if _, ok := want[k]; !ok {
					want[k] = c
					keys = append(keys, auth.Key{Value: k, ID: "id-" + k, Consumer: consumer(c)})
				}
			}
			require.NoError(t, m.Add(keys...))
		default:
			k := strconv.Itoa(rnd.IntN(100_000))
			_, ok := want[k]
			delete(want, k)
			require.Equal(t, ok, m.Revoke("id-"+k) == 1)
		}
		require.Equal(t, len(want), m.Len())
		for range 50 {
			k := strconv.Itoa(rnd.IntN(100_000))
			c, ok := lookup(t, &m, k)
			id, known := want[k]
			require.Equal(t, known, ok)
			if ok {
				require.Equal(t, auth.Credential{ID: "id-" + k, Consumer: consumer(id)}, c)
			}
		}
	}
	for k := range want {
		_, ok := lookup(t, &m, k)
		require.True(t, ok)
	}
}

// TestMemoryKeysUnderTraffic changes keys while lookups run: one that is always there is always found, Replace shows no
// mixture, and a change holds when the method has returned.
func TestMemoryKeysUnderTraffic(t *testing.T) {
	t.Parallel()
	var m auth.MemoryKeys
	generation := func(i int) []auth.Key {
		c := consumer(strconv.Itoa(i))
		keys := []auth.Key{{Value: "always", Consumer: c}, {Value: "twin", Consumer: c}}
		for j := range 50 {
			keys = append(keys, auth.Key{Value: fmt.Sprintf("k%d", j), ID: strconv.Itoa(j), Consumer: c})
		}
		return keys
	}
	require.NoError(t, m.Replace(generation(0)...))
	var stop atomic.Bool
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			last := 0
			for !stop.Load() {
				a, ok, _ := m.Lookup(t.Context(), "always")
				b, okB, _ := m.Lookup(t.Context(), "twin")
				if !ok || !okB {
					t.Error("a key that is always there was not found")
					return
				}
				first, _ := strconv.Atoi(a.Consumer.ID)
				second, _ := strconv.Atoi(b.Consumer.ID)
				if first < last || second < first {
					t.Errorf("went back in time: %d, %d, %d", last, first, second)
					return
				}
				last = second
				runtime.Gosched() // also where there is one processor
			}
		})
	}
	for i := 1; i < 200; i++ {
		require.NoError(t, m.Replace(generation(i)...))
		require.Equal(t, 1, m.Revoke("7"))
		_, ok := lookup(t, &m, "k7")
		require.False(t, ok)
		require.NoError(t, m.Add(auth.Key{Value: "k7", ID: "7", Consumer: consumer("x")}))
		_, ok = lookup(t, &m, "k7")
		require.True(t, ok)
		require.Equal(t, 1, m.Disable("8"))
		_, ok = lookup(t, &m, "k8")
		require.False(t, ok)
	}
	stop.Store(true)
	readers.Wait()
}

func TestMemoryKeysAllocatesNothing(t *testing.T) {
	var m auth.MemoryKeys
	expires := time.Now().Add(time.Hour)
	require.NoError(t, m.Add(
		auth.Key{Value: "known", Consumer: consumer("1")},
		auth.Key{Value: "expiring", Consumer: consumer("1"), Expires: expires},
		auth.Key{Value: "disabled", Consumer: consumer("1"), Disabled: true},
	))
	for key, want := range map[string]bool{"known": true, "expiring": true, "disabled": false, "unknown": false} {
		require.Zero(t, testing.AllocsPerRun(100, func() {
			if _, ok, _ := m.Lookup(t.Context(), key); ok != want {
				t.Error(key)
			}
		}), key)
	}
}
