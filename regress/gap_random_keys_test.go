package regress_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/ratelimit"
)

// Tables of limiters and of caches for keys had an entry for whatever clients made up, without end; in others a flood of new keys
// threw out those in use, and with them the count of who was being limited.
func TestMadeUpKeysFillNothing(t *testing.T) { //nolint:paralleltest // it measures the heap
	limit := must(ratelimit.New(ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerHour(2)}, Key: policy.ByHeader("X-Tenant"), MaxKeys: 1000}))
	cache := must(auth.NewKeyCache(auth.KeyCacheConfig{Store: must(auth.Static{"k": {ID: "1"}}.Digest()), Size: 1000}))
	gw := must(gateway.New(gateway.Config{Routes: []gateway.Route{{
		Name: "all", Handler: handlerOf("up"), Plugins: []gateway.Plugin{limit, must(keyauth.New(keyauth.Config{Consumers: cache}))},
	}}}))
	ask := func(tenant, key string) int {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["X-Tenant"], r.Header["Apikey"] = []string{tenant}, []string{key}
		return gatewaytest.Do(gw, r).StatusCode
	}
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	long := strings.Repeat("x", 400)
	flood := func(from, to int) {
		for i := from; i < to; i++ {
			ask(fmt.Sprint(long, i), fmt.Sprint(long, i))
		}
	}
	require.Equal(t, 200, ask("ann", "k"))
	require.Equal(t, 200, ask("ann", "k"))
	flood(0, 5000)
	before := heap()
	flood(5000, 20_000)
	require.Less(t, heap(), before+1<<20)
	require.Equal(t, 429, ask("ann", "k"), "who is limited stays so")
	require.LessOrEqual(t, cache.Len(), 1001)
	runtime.KeepAlive(gw)
}
