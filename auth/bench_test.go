package auth_test

import (
	"math/rand/v2"
	"runtime"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/policy"
)

func keyName(i int) string { return "0123456789abcdef-" + strconv.Itoa(i) }

// manyKeys fills a store with n keys of 1,000 consumers, and tells how many bytes of heap it holds per key: those of the
// store and the IDs, not of the consumers.
func manyKeys(tb testing.TB, n int) (m *auth.MemoryKeys, bytesPerKey float64) {
	tb.Helper()
	m = &auth.MemoryKeys{}
	consumers := make([]*policy.Consumer, 1000)
	for i := range consumers {
		consumers[i] = consumer(strconv.Itoa(i))
	}
	before := heap()
	keys := make([]auth.Key, n)
	for i := range keys {
		keys[i] = auth.Key{Value: keyName(i), Consumer: consumers[i%len(consumers)]}
	}
	require.NoError(tb, m.Add(keys...))
	return m, float64(heap()-before) / float64(n)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

func TestMemoryKeysMany(t *testing.T) {
	t.Parallel()
	const n = 100_000
	m, _ := manyKeys(t, n)
	require.Equal(t, n, m.Len())
	ids := map[string]bool{}
	for i := range n {
		c, ok := lookup(t, m, keyName(i))
		require.True(t, ok, i)
		require.Equal(t, strconv.Itoa(i%1000), c.Consumer.ID)
		ids[c.ID] = true
		_, ok = lookup(t, m, keyName(i+n))
		require.False(t, ok)
	}
	require.Len(t, ids, n, "made-up IDs tell keys apart")
}

func BenchmarkMemoryKeys(b *testing.B) {
	for _, n := range []int{1, 1000, 1_000_000} {
		m, size := manyKeys(b, n)
		names := make([]string, 1<<16)
		for i := range names {
			names[i] = keyName(rand.IntN(n))
		}
		b.Run("known/"+strconv.Itoa(n), func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if _, ok, _ := m.Lookup(b.Context(), names[i%len(names)]); !ok {
					b.Fatal(names[i%len(names)])
				}
				i++
			}
			if n == 1_000_000 { // fewer are lost among what else is on the heap
				b.ReportMetric(size, "B/key")
			}
		})
		b.Run("unknown/"+strconv.Itoa(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, ok, _ := m.Lookup(b.Context(), "0123456789abcdef-unknown"); ok {
					b.Fatal()
				}
			}
		})
		b.Run("parallel/"+strconv.Itoa(n), func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := rand.Int(); pb.Next(); i++ {
					_, _, _ = m.Lookup(b.Context(), names[uint(i)%uint(len(names))])
				}
			})
		})
		b.Run("add and revoke/"+strconv.Itoa(n), func(b *testing.B) {
			b.ReportAllocs()
			k := auth.Key{Value: "new", ID: "new", Consumer: consumer("1")}
			for b.Loop() {
				if err := m.Add(k); err != nil {
					b.Fatal(err)
				}
				if m.Revoke("new") != 1 {
					b.Fatal()
				}
			}
		})
	}
}

func BenchmarkMemoryKeysFill(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		manyKeys(b, 100_000)
	}
}

func BenchmarkKeyCache(b *testing.B) {
	m, _ := manyKeys(b, 1000)
	c := policy.Must(auth.NewKeyCache(auth.KeyCacheConfig{Store: m}))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		_, _, _ = c.Lookup(b.Context(), keyName(i%1000))
		i++
	}
}

func BenchmarkFind(b *testing.B) {
	s := everywhere(b)
	for name, r := range map[string]struct {
		target string
		header []string
	}{
		"header": {"/?a=1&b=2", []string{"apikey: k"}},
		"query":  {"/?a=1&b=2&apikey=k", nil},
		"cookie": {"/", []string{"Cookie: a=1; b=2; apikey=k"}},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			r := request(r.target, "", r.header...)
			for b.Loop() {
				if _, err := s.Find(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
