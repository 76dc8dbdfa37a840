package ratelimit_test

import (
	"context"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/ratelimit"
)

// storeFunc is a Store made of a function.
type storeFunc func(ctx context.Context, q ratelimit.Query, dst []ratelimit.State) ([]ratelimit.State, error)

func (f storeFunc) Take(ctx context.Context, q ratelimit.Query, dst []ratelimit.State) ([]ratelimit.State, error) {
	return f(ctx, q, dst)
}

func minute(n int) []ratelimit.Limit { return []ratelimit.Limit{ratelimit.PerMinute(n)} }

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	admitAll := storeFunc(func(_ context.Context, q ratelimit.Query, dst []ratelimit.State) ([]ratelimit.State, error) {
		return append(dst, make([]ratelimit.State, len(q.Limits))...), nil
	})
	many := make([]ratelimit.Limit, 17)
	one := func(l ratelimit.Limit) ratelimit.Config { return ratelimit.Config{Limits: []ratelimit.Limit{l}} }
	tests := []struct {
		name string
		c    ratelimit.Config
		want string
	}{
		{"no limits", ratelimit.Config{}, "ratelimit: Limits is empty"},
		{"many limits", ratelimit.Config{Limits: many}, "Limits has 17 entries; use at most 16"},
		{"zero requests", one(ratelimit.PerMinute(0)), `ratelimit: Limits[0] "minute": Requests is 0; use 1 to`},
		{"negative requests", one(ratelimit.PerMinute(-5)), `Limits[0] "minute": Requests is -5`},
		{"huge requests", one(ratelimit.PerMinute(math.MaxInt)), `Requests is ` /* and the number */},
		{"no window", one(ratelimit.Limit{Name: "x", Requests: 1}), `Limits[0] "x": Window is 0s`},
		{"negative window", one(ratelimit.Limit{Name: "x", Requests: 1, Window: -time.Second}), `Limits[0] "x": Window is -1s`},
		{"endless window", one(ratelimit.Limit{Name: "x", Requests: 1, Window: math.MaxInt64}), `use 1ms to 87600h0m0s`},
		{"negative burst", one(ratelimit.Limit{Name: "x", Requests: 1, Window: time.Second, Burst: -1}), `Limits[0] "x": Burst is -1`},
		{"burst of windows", ratelimit.Config{Algorithm: ratelimit.FixedWindow, Limits: []ratelimit.Limit{{Requests: 1, Window: time.Second, Burst: 2}}},
			`Limits[0] "second": Burst is 2, but FixedWindow has no burst`},
		{"no name", one(ratelimit.Limit{Requests: 1, Window: time.Minute * 5}), `ratelimit: Limits[0] has no Name, and its Window of 5m0s gives it none; write one`},
		{"no unit", one(ratelimit.Limit{Name: "m", Requests: 1, Window: 60}), `ratelimit: Limits[0] "m": Window is 60ns; use 1ms to 87600h0m0s: write 60*time.Second for seconds`},
		{"no unit, no name", one(ratelimit.Limit{Requests: 1, Window: 60}), `ratelimit: Limits[0] has no Name, and its Window of 60ns gives it none`},
		{"short window", one(ratelimit.Limit{Name: "m", Requests: 1, Window: time.Millisecond - 1}), `Window is 999.999µs; use 1ms to`},
		{"bad name", one(ratelimit.Limit{Name: "a b\r\n", Requests: 1, Window: time.Second}), `Limits[0] "a b\r\n": Name may only have letters`},
		{"long name", one(ratelimit.Limit{Name: strings.Repeat("a", 65), Requests: 1, Window: time.Second}), `at most 64`},
		{"same names", ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerMinute(1), {Name: "Minute", Requests: 2, Window: time.Hour}}},
			`Limits[1] "Minute" has the name of Limits[0]`},
		{"longer allows less", ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerHour(10), ratelimit.PerMinute(60)}},
			`Limits[0] "hour": Requests is 10 in 1h0m0s, fewer than the 60 in 1m0s of Limits[1] "minute"`},
		{"algorithm", ratelimit.Config{Limits: minute(1), Algorithm: 7}, `Algorithm is 7; use TokenBucket`},
		{"key without name", ratelimit.Config{Limits: minute(1), Key: policy.Key{Of: policy.ByRoute().Of}}, `Key has no Name`},
		{"key of nothing", ratelimit.Config{Limits: minute(1), Key: policy.Key{Requires: []policy.Fact{"x"}}}, `Key requires ["x"] but has neither Name nor Of`},
		{"key of no function", ratelimit.Config{Limits: minute(1), Key: policy.ByFunc("x", nil)}, `ratelimit: Key: policy: ByFunc: the function of "x" is nil; give the function`},
		{"key of no header", ratelimit.Config{Limits: minute(1), Key: policy.ByHeader("")}, `ratelimit: Key: policy: ByHeader: "" is not a header name`},
		{"keys of nothing", ratelimit.Config{Limits: minute(1), Key: policy.ByHeader("a b").Or(policy.ByCookie("c d"))}, `ratelimit: Key: policy: ByCookie: "c d" is not a cookie's name`},
		{"headers and none", ratelimit.Config{Limits: minute(1), Headers: ratelimit.HeadersDraft, HideHeaders: true}, `Headers is 0x1 and HideHeaders is set, which sends none of them; leave one of the two out`},
		{"keys", ratelimit.Config{Limits: minute(1), MaxKeys: -1}, `MaxKeys is -1`},
		{"many keys", ratelimit.Config{Limits: minute(1), MaxKeys: math.MaxInt32}, `MaxKeys is 2147483647`},
		{"headers", ratelimit.Config{Limits: minute(1), Headers: 64}, `Headers is 0x40`},
		{"status", ratelimit.Config{Limits: minute(1), Status: 200}, `Status is 200; use 400 to 599`},
		{"store without name", ratelimit.Config{Limits: minute(1), Store: admitAll}, `Name is empty`},
		{"timeout", ratelimit.Config{Limits: minute(1), Name: "x", Store: admitAll, StoreTimeout: -1}, `StoreTimeout is -1ns`},
		{"timeout without store", ratelimit.Config{Limits: minute(1), StoreTimeout: 1}, `StoreTimeout is 1ns without a Store`},
		{"closed without store", ratelimit.Config{Limits: minute(1), OnError: ratelimit.FailClosed}, `OnError is FailClosed without a Store`},
		{"on error", ratelimit.Config{Limits: minute(1), Name: "x", Store: admitAll, OnError: 9}, `OnError is 9`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l, err := ratelimit.New(tt.c)
			require.ErrorContains(t, err, tt.want)
			require.Nil(t, l)
			for line := range strings.Lines(err.Error()) {
				require.True(t, strings.HasPrefix(line, "ratelimit: "), line)
			}
		})
	}
}

func TestNewReportsAllProblems(t *testing.T) {
	t.Parallel()
	_, err := ratelimit.New(ratelimit.Config{
		Limits: []ratelimit.Limit{{Name: "a", Requests: 0, Window: 0}, {Name: "a", Requests: -1, Window: time.Second, Burst: -1}},
		Status: 99, MaxKeys: -1, StoreTimeout: -1,
	})
	require.Error(t, err)
	require.Equal(t, 9, strings.Count(err.Error(), "ratelimit: "), err.Error())
}

func TestNewCopies(t *testing.T) {
	t.Parallel()
	limits := minute(1)
	l, err := ratelimit.New(ratelimit.Config{Limits: limits, Key: policy.Key{Name: "everyone"}})
	require.NoError(t, err)
	limits[0].Requests = 1000
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	_, err = l.Take(r)
	require.NoError(t, err)
	_, err = l.Take(r)
	require.ErrorIs(t, err, ratelimit.ErrExceeded)
}

func TestPeriods(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		limit  ratelimit.Limit
		name   string
		window time.Duration
	}{
		{ratelimit.PerSecond(7), "second", time.Second},
		{ratelimit.PerMinute(7), "minute", time.Minute},
		{ratelimit.PerHour(7), "hour", time.Hour},
		{ratelimit.PerDay(7), "day", 24 * time.Hour},
		{ratelimit.PerMonth(7), "month", 30 * 24 * time.Hour},
		{ratelimit.PerYear(7), "year", 365 * 24 * time.Hour},
	} {
		require.Equal(t, ratelimit.Limit{Name: tt.name, Requests: 7, Window: tt.window}, tt.limit)
		// The names are the default for these windows, and Requests that for the burst.
		l, err := ratelimit.New(ratelimit.Config{Limits: []ratelimit.Limit{{Requests: 7, Window: tt.window}}})
		require.NoError(t, err)
		res, err := l.TakeAt(t.Context(), time.Now(), nil, 0)
		require.NoError(t, err)
		tt.limit.Burst = 7
		require.Equal(t, tt.limit, res.Limits[0].Limit)
	}
	require.Equal(t, "SlidingWindow", ratelimit.SlidingWindow.String())
	require.Equal(t, "unknown", ratelimit.Algorithm(9).String())
}
