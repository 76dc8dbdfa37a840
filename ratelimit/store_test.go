package ratelimit_test

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/ratelimit"
)

var errDown = errors.New("dial tcp 10.1.2.3:6379: connection refused")

// shared is a Store that counts in windows that never end.
type shared struct {
	mu   sync.Mutex
	used map[string]int
	last ratelimit.Query
}

func (s *shared) Take(_ context.Context, q ratelimit.Query, dst []ratelimit.State) ([]ratelimit.State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used == nil {
		s.used = map[string]int{}
	}
	s.last = q
	key := q.Scope + "/" + string(q.Key[:])
	fits := true
	for _, l := range q.Limits {
		fits = fits && s.used[key]+q.Cost <= l.Requests
	}
	if fits && !q.Peek {
		s.used[key] += q.Cost
	}
	for _, l := range q.Limits {
		st := ratelimit.State{Remaining: l.Requests - s.used[key], Reset: l.Window}
		if !fits {
			st.Wait = l.Window
		}
		dst = append(dst, st)
	}
	return dst, nil
}

func withStore(s ratelimit.Store, n int) ratelimit.Config {
	return ratelimit.Config{Name: "shared", Limits: minute(n), Key: policy.ByHeader("K"), Store: s}
}

func TestStoreIsShared(t *testing.T) {
	t.Parallel()
	s := &shared{}
	one, two := limiter(t, withStore(s, 2)), limiter(t, withStore(s, 2))
	c := withStore(s, 2)
	c.Name = "another scope"
	other := limiter(t, c)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("K", "v")

	res, err := one.Take(r)
	require.NoError(t, err)
	require.Equal(t, 1, res.Limits[0].Remaining)
	require.Equal(t, "within_limit", res.Reason)
	_, err = two.Take(r)
	require.NoError(t, err)
	res, err = one.Take(r)
	require.ErrorIs(t, err, ratelimit.ErrExceeded)
	require.Equal(t, time.Minute, res.RetryAfter)
	_, err = other.Take(r)
	require.NoError(t, err)
	require.Zero(t, one.Stats().Keys, "nothing is counted twice")

	// Peek and what costs nothing do not count, nor what costs too much.
	res, err = other.Peek(r)
	require.NoError(t, err)
	require.True(t, s.last.Peek)
	require.Equal(t, 1, res.Limits[0].Remaining)
	res, err = other.TakeAt(t.Context(), time.Now(), []byte("x"), 3)
	require.ErrorIs(t, err, ratelimit.ErrExceeded)
	require.True(t, s.last.Peek)
	require.Equal(t, "cost_too_high", res.Reason)
	require.Equal(t, 2, s.last.Limits[0].Burst, "defaults are filled in")
}

// TestStoreKeys: what stands for a key is the same in every process and different for every name and value.
func TestStoreKeys(t *testing.T) {
	t.Parallel()
	seen := map[[ratelimit.KeySize]byte]string{}
	for _, tt := range [][2]string{{"a", "bc"}, {"ab", "c"}, {"abc", ""}, {"a", "b\x00c"}, {"a", "\x01bc"}, {"", ""}, {"header:K", "v"}, {"a", "BC"}, {"a\x01", "bc"}} {
		key := policy.ByFunc("k"+tt[0], func(*http.Request) string { return tt[1] })
		for range 2 {
			s := &shared{}
			c := withStore(s, 1)
			c.Key = key
			_, err := limiter(t, c).Take(httptest.NewRequest(http.MethodGet, "/", nil))
			require.NoError(t, err)
			what := tt[0] + "=" + tt[1]
			if first, taken := seen[s.last.Key]; taken {
				require.Equal(t, first, what)
			}
			seen[s.last.Key] = what
		}
	}
	require.Len(t, seen, 9)
}

func TestStoreDown(t *testing.T) {
	t.Parallel()
	down := storeFunc(func(context.Context, ratelimit.Query, []ratelimit.State) ([]ratelimit.State, error) {
		return nil, errDown
	})

	t.Run("FailOpen counts locally", func(t *testing.T) {
		t.Parallel()
		limit := limiter(t, withStore(down, 3))
		var seen []policy.Decision
		h := recording(&seen, limit.Wrap(ok))
		for range 3 {
			w := get(h)
			require.Equal(t, http.StatusOK, w.Code)
			require.NotContains(t, w.Body.String(), "10.1.2.3")
			require.Equal(t, policy.Allowed, seen[0].Verdict)
			require.Equal(t, "store_unavailable", seen[0].Reason)
			require.ErrorIs(t, seen[0].Err, errDown)
		}
		w := get(h)
		require.Equal(t, http.StatusTooManyRequests, w.Code, "open is not without a limit")
		require.Equal(t, "limit_exceeded", seen[0].Reason)
		require.EqualValues(t, 4, limit.Stats().StoreErrors)
	})
	t.Run("FailClosed refuses", func(t *testing.T) {
		t.Parallel()
		c := withStore(down, 3)
		c.OnError = ratelimit.FailClosed
		limit := limiter(t, c)
		var seen []policy.Decision
		w := get(recording(&seen, limit.Wrap(ok)))
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Equal(t, []string{"Retry-After: 1"}, limitFields(w.Header()))
		require.NotContains(t, w.Body.String(), "10.1.2.3")
		require.Equal(t, "store_unavailable", seen[0].Reason)
		require.ErrorIs(t, seen[0].Err, errDown)
		require.ErrorIs(t, seen[0].Err, ratelimit.ErrUnavailable)
		require.Equal(t, http.StatusServiceUnavailable, limit.Preview(httptest.NewRequest(http.MethodGet, "/", nil)).Status)
		require.Zero(t, limit.Stats().Keys)
		res, err := limit.Peek(httptest.NewRequest(http.MethodGet, "/", nil))
		require.ErrorIs(t, err, ratelimit.ErrUnavailable)
		require.Equal(t, ratelimit.Result{Reason: "store_unavailable", RetryAfter: time.Second}, res)
	})
}

func TestStoreTimeout(t *testing.T) {
	t.Parallel()
	hangs := storeFunc(func(ctx context.Context, _ ratelimit.Query, _ []ratelimit.State) ([]ratelimit.State, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	for _, tt := range []struct{ set, want time.Duration }{{0, ratelimit.DefaultStoreTimeout}, {7 * time.Millisecond, 7 * time.Millisecond}} {
		synctest.Test(t, func(t *testing.T) {
			c := withStore(hangs, 3)
			c.StoreTimeout = tt.set
			start := time.Now()
			w := get(limiter(t, c).Wrap(ok))
			require.Equal(t, http.StatusOK, w.Code)
			require.Equal(t, tt.want, time.Since(start))
		})
	}
}

// TestStoreIsLeftAlone: a store that fails again and again is not asked for a second, then by one request, until it answers.
func TestStoreIsLeftAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		var up atomic.Bool
		good := &shared{}
		limit := limiter(t, withStore(storeFunc(func(ctx context.Context, q ratelimit.Query, dst []ratelimit.State) ([]ratelimit.State, error) {
			calls.Add(1)
			if up.Load() {
				return good.Take(ctx, q, dst)
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}), 1_000_000))
		burst := func() {
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() { _, _ = limit.Take(httptest.NewRequest(http.MethodGet, "/", nil)) })
			}
			wg.Wait()
		}
		for range 5 {
			_, err := limit.Take(httptest.NewRequest(http.MethodGet, "/", nil))
			require.NoError(t, err)
		}
		require.EqualValues(t, 5, calls.Load())
		start := time.Now()
		burst()
		require.EqualValues(t, 5, calls.Load())
		require.Zero(t, time.Since(start), "nobody waits for a store that is down")
		for probe := range int64(3) {
			time.Sleep(time.Second)
			burst()
			require.Equal(t, 6+probe, calls.Load(), "one request tries")
		}
		up.Store(true)
		time.Sleep(time.Second)
		burst()
		res, err := limit.Take(httptest.NewRequest(http.MethodGet, "/", nil))
		require.NoError(t, err)
		require.Equal(t, "within_limit", res.Reason)
		require.EqualValues(t, 8, limit.Stats().StoreErrors)
	})
}

// TestStoreReplies: an answer that cannot be one to the question counts as none.
func TestStoreReplies(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string][]ratelimit.State{
		"none":         nil,
		"too many":     {{}, {}},
		"negative":     {{Remaining: -1}},
		"too much":     {{Remaining: 4}},
		"huge":         {{Remaining: math.MaxInt}},
		"reset passed": {{Reset: -1}},
		"wait passed":  {{Wait: -1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := withStore(storeFunc(func(_ context.Context, _ ratelimit.Query, dst []ratelimit.State) ([]ratelimit.State, error) {
				return append(dst, reply...), nil
			}), 3)
			c.OnError = ratelimit.FailClosed
			_, err := limiter(t, c).Take(httptest.NewRequest(http.MethodGet, "/", nil))
			require.ErrorIs(t, err, ratelimit.ErrUnavailable)
			require.ErrorContains(t, err, "makes no sense")
		})
	}
}

// TestClientsThatLeave do not make a store look broken.
func TestClientsThatLeave(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	limit := limiter(t, withStore(storeFunc(func(ctx context.Context, q ratelimit.Query, dst []ratelimit.State) ([]ratelimit.State, error) {
		calls.Add(1)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		return append(dst, make([]ratelimit.State, len(q.Limits))...), nil
	}), 100))
	gone, leave := context.WithCancel(t.Context())
	leave()
	for range 20 {
		_, err := limit.Take(httptest.NewRequest(http.MethodGet, "/", nil).WithContext(gone))
		require.NoError(t, err)
	}
	require.Zero(t, limit.Stats().StoreErrors)
	_, err := limit.Take(httptest.NewRequest(http.MethodGet, "/", nil))
	require.NoError(t, err)
	require.EqualValues(t, 21, calls.Load())
}
