package split_test

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/internal/race"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/split"
)

func made(tb testing.TB, c split.Config) *split.Split {
	tb.Helper()
	s, err := split.New(c)
	require.NoError(tb, err)
	return s
}

func get() *http.Request { return httptest.NewRequest(http.MethodGet, "/", nil) }

// say answers with a text.
func say(text string) http.Handler { return gatewaytest.Respond(200, text) }

// two are the arms of most tests.
func two(stable, canary int) []split.Arm {
	return []split.Arm{{Name: "stable", Weight: stable, Handler: say("v1")}, {Name: "canary", Weight: canary, Handler: say("v2")}}
}

func keyed(key string) *http.Request {
	r := get()
	r.Header.Set("X-Key", key)
	return r
}

// decided is what s decides about r, as it is recorded.
func decided(tb testing.TB, s http.Handler, r *http.Request) policy.Decision {
	tb.Helper()
	x, r := policy.Ensure(r)
	gatewaytest.Do(s, r)
	d := x.Decisions()
	require.NotEmpty(tb, d)
	return d[0]
}

// serve runs h and swallows its panic, which it returns.
func serve(h http.Handler, w http.ResponseWriter, r *http.Request) (panicked any) {
	defer func() { panicked = recover() }()
	h.ServeHTTP(w, r)
	return nil
}

// counter is an arm that does nothing but count.
type counter struct{ n atomic.Int64 }

func (c *counter) ServeHTTP(http.ResponseWriter, *http.Request) { c.n.Add(1) }

// TestInTurn: without keys any number of requests in a row is spread as the weights say.
func TestInTurn(t *testing.T) {
	t.Parallel()
	requests := 1_000_000
	if race.Enabled {
		requests /= 20
	}
	for _, weights := range [][]int{{95, 5}, {1, 1}, {99, 1}, {90, 5, 5}, {1, 2, 3, 4}, {0, 7, 0, 3}, {1 << 20, 1}} {
		t.Run(fmt.Sprint(weights), func(t *testing.T) {
			t.Parallel()
			var arms []split.Arm
			var seen []*counter
			sum := 0
			for i, w := range weights {
				seen = append(seen, &counter{})
				arms = append(arms, split.Arm{Name: fmt.Sprint("a", i), Weight: w, Handler: seen[i]})
				sum += w
			}
			run := rig(t, made(t, split.Config{Arms: arms}), get())
			worst := 0.0
			for n := 1; n <= requests; n++ {
				run()
				if n > 1000 && n%97 != 0 {
					continue
				}
				for i, w := range weights {
					worst = max(worst, math.Abs(float64(seen[i].n.Load())-float64(n)*float64(w)/float64(sum)))
				}
			}
			t.Logf("of %d requests, and of any number before, an arm had %.1f more or less than its share", requests, worst)
			require.Less(t, worst, 5.0)
			for i, w := range weights {
				require.False(t, w == 0 && seen[i].n.Load() > 0)
			}
		})
	}
}

// TestStickyShares: keys are spread as the weights say, whatever they look like.
func TestStickyShares(t *testing.T) {
	t.Parallel()
	keys := 1_000_000
	if race.Enabled {
		keys /= 20
	}
	for _, weights := range [][]int{{95, 5}, {90, 5, 5}, {1, 2, 3, 4}} {
		t.Run(fmt.Sprint(weights), func(t *testing.T) {
			t.Parallel()
			var arms []split.Arm
			var seen []*counter
			sum := 0
			for i, w := range weights {
				seen = append(seen, &counter{})
				arms = append(arms, split.Arm{Name: fmt.Sprint("a", i), Weight: w, Handler: seen[i]})
				sum += w
			}
			n := 0
			key := policy.Key{Name: "number", Of: func(dst []byte, _ *http.Request) ([]byte, bool) { return fmt.Appendf(dst, "user-%d", n), true }}
			run := rig(t, made(t, split.Config{Arms: arms, Sticky: key}), get())
			for n = range keys {
				run()
			}
			for i, w := range weights {
				p := float64(w) / float64(sum)
				deviations := (float64(seen[i].n.Load()) - float64(keys)*p) / math.Sqrt(float64(keys)*p*(1-p))
				t.Logf("arm %d of weight %d had %d of %d keys: %.1f standard deviations", i, w, seen[i].n.Load(), keys, deviations)
				require.Less(t, math.Abs(deviations), 4.0)
			}
		})
	}
}

// TestSticky: a key stays in its arm, and moves only to one whose weight has grown by a larger factor.
func TestSticky(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 5).Draw(t, "arms")
		draw := func(label string) []int {
			w := rapid.SliceOfN(rapid.IntRange(0, 100), n, n).Draw(t, label)
			w[rapid.IntRange(0, n-1).Draw(t, label+" of")]++
			return w
		}
		before, after := draw("before"), draw("after")
		arms := make([]split.Arm, n)
		weights := map[string]int{}
		index := map[string]int{}
		for i := range arms {
			arms[i] = split.Arm{Name: fmt.Sprint("a", i), Weight: before[i], Handler: &counter{}}
			weights[arms[i].Name], index[arms[i].Name] = after[i], i
		}
		c := split.Config{Arms: arms, Sticky: policy.ByHeader("X-Key"), Seed: rapid.Uint64().Draw(t, "seed")}
		s, err := split.New(c)
		if err != nil {
			t.Fatal(err)
		}
		elsewhere, _ := split.New(c)
		for key := range 50 {
			r := keyed(fmt.Sprint(key))
			first := s.Preview(r).Detail
			if second := elsewhere.Preview(r).Detail; second != first {
				t.Fatalf("%s in one process, %s in another", first, second)
			}
		}
		keys := make([]string, 50)
		for key := range keys {
			keys[key] = s.Preview(keyed(fmt.Sprint(key))).Detail
		}
		if err := s.SetWeights(weights); err != nil {
			t.Fatal(err)
		}
		for key, was := range keys {
			is := s.Preview(keyed(fmt.Sprint(key))).Detail
			from, to := index[was], index[is]
			if from != to && after[to]*before[from] <= after[from]*before[to] {
				t.Fatalf("%v to %v moves a key from arm %d to %d", before, after, from, to)
			}
			if after[to] == 0 {
				t.Fatalf("arm %d has no weight", to)
			}
		}
	})
}

// TestNobodyLeavesTheCanary: from 5 to 10, 50 and 100 percent, and back.
func TestNobodyLeavesTheCanary(t *testing.T) {
	t.Parallel()
	s := made(t, split.Config{Arms: two(95, 5), Sticky: policy.ByHeader("X-Key")})
	canaries := func() map[int]bool {
		in := map[int]bool{}
		for key := range 10_000 {
			d := s.Preview(keyed(fmt.Sprint("user-", key)))
			require.Equal(t, "sticky", d.Reason)
			if d.Detail == "canary" {
				in[key] = true
			}
		}
		return in
	}
	first := canaries()
	before := first
	for _, percent := range []int{10, 50, 100, 50, 10, 5} {
		require.NoError(t, s.SetWeights(map[string]int{"stable": 100 - percent, "canary": percent}))
		now := canaries()
		require.InDelta(t, percent*100, len(now), 200)
		small, large := before, now
		if len(now) < len(before) {
			small, large = now, before
		}
		for key := range small {
			require.True(t, large[key])
		}
		before = now
	}
	require.Equal(t, first, before)

	other := made(t, split.Config{Arms: two(95, 5), Sticky: policy.ByHeader("X-Key"), Seed: 1})
	both := 0
	for key := range first {
		if other.Preview(keyed(fmt.Sprint("user-", key))).Detail == "canary" {
			both++
		}
	}
	require.Less(t, both, len(first)/10, "another seed chooses others")
}

// TestKeys: what has no value goes in turn, and a fallback is used.
func TestKeys(t *testing.T) {
	t.Parallel()
	s := made(t, split.Config{Arms: two(1, 1), Sticky: policy.ByConsumer().Or(policy.ByHeader("X-Key"))})
	require.Equal(t, "sticky", decided(t, s, keyed("a")).Reason)
	require.Equal(t, "weight", decided(t, s, get()).Reason)
	arms := map[string]int{}
	for range 1000 {
		arms[decided(t, s, get()).Detail]++
	}
	require.InDelta(t, 500, arms["canary"], 3)
	long := keyed(strings.Repeat("x", 10_000))
	first := decided(t, s, long)
	require.Equal(t, first, decided(t, s, long))
	require.Empty(t, s.Contract().Requires, "a fallback makes it a preference")
	require.Equal(t, []policy.Fact{policy.Authenticated}, made(t, split.Config{Arms: two(1, 1), Sticky: policy.ByConsumer()}).Contract().Requires)
}

// TestCookie: a client without one gets one that keeps it where it is.
func TestCookie(t *testing.T) {
	t.Parallel()
	s := made(t, split.Config{Arms: two(50, 50), Cookie: split.Cookie{Name: "arm", MaxAge: time.Hour, InsecureHTTP: true}, Sticky: policy.ByHeader("X-Key")})
	arms := map[string]int{}
	for range 400 {
		res := gatewaytest.Do(s, get())
		text, err := gatewaytest.Text(res)
		require.NoError(t, err)
		arms[text]++
		require.Len(t, res.Cookies(), 1)
		c := res.Cookies()[0]
		require.Equal(t, []any{"arm", "/", 3600, true, false, http.SameSiteLaxMode}, []any{c.Name, c.Path, c.MaxAge, c.HttpOnly, c.Secure, c.SameSite})
		require.Len(t, c.Value, 16)
		again := get()
		again.AddCookie(c)
		res = gatewaytest.Do(s, again)
		require.Empty(t, res.Cookies())
		same, err := gatewaytest.Text(res)
		require.NoError(t, err)
		require.Equal(t, text, same)
	}
	require.InDelta(t, 200, arms["v1"], 60)
	require.Empty(t, gatewaytest.Do(s, keyed("a")).Cookies(), "it is known already")
	require.Equal(t, "weight", s.Preview(get()).Reason, "nobody can tell")
	require.Equal(t, "stable 50, canary 50", s.Preview(get()).Detail)

	secure := made(t, split.Config{Arms: two(0, 1), Cookie: split.Cookie{Name: "arm", Path: "/app", Domain: "example.com", SameSite: http.SameSiteStrictMode}})
	for range 2 { // whatever is left of the first
		line := gatewaytest.Do(secure, get()).Header.Get("Set-Cookie")
		require.Regexp(t, `^arm=[0-9a-f]{16}; Path=/app; Domain=example.com; HttpOnly; Secure; SameSite=Strict$`, line)
	}
	w := httptest.NewRecorder()
	made(t, split.Config{Arms: []split.Arm{{Name: "mute", Weight: 1, Handler: &counter{}}}, Header: "x-arm", Cookie: split.Cookie{Name: "arm"}}).ServeHTTP(w, get())
	require.Equal(t, "mute", w.Header().Get("X-Arm"), "who says nothing has a head, too")
	require.NotEmpty(t, w.Header().Get("Set-Cookie"))
}

// TestOverrides: in their order, before everything else, and only those that are allowed.
func TestOverrides(t *testing.T) {
	t.Parallel()
	arms := append(two(100, 0), split.Arm{Name: "next", Handler: say("v3")})
	s := made(t, split.Config{Arms: arms, Sticky: policy.ByHeader("X-Key"), Header: "X-Arm", Overrides: []split.Override{
		{Header: "x-version", Arm: "canary"},
		{Group: "beta", Arm: "next"},
		{Cookie: "version", Value: "2", Arm: "canary"},
		{Header: "X-Version", Value: "v3", Arm: "next"},
	}})
	require.Equal(t, []policy.Fact{policy.Authenticated}, s.Contract().Requires)
	header := func(values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header["X-Version"] = values }
	}
	cookie := func(v string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Cookie", "a=b; version="+v) }
	}
	group := func(g string) func(*http.Request) {
		return func(r *http.Request) {
			policy.ExchangeFrom(r.Context()).SetIdentity(policy.Identity{Consumer: &policy.Consumer{ID: "1", Groups: []string{"a", g}}})
		}
	}
	for name, c := range map[string]struct {
		set  []func(*http.Request)
		want string
	}{
		"nothing":              {nil, "split allowed weight (stable)"},
		"header":               {[]func(*http.Request){header("canary")}, "split allowed override_header (canary)"},
		"its last value":       {[]func(*http.Request){header("v3")}, "split allowed override_header (next)"},
		"an arm not allowed":   {[]func(*http.Request){header("stable")}, "split allowed weight (stable)"},
		"no arm":               {[]func(*http.Request){header("nonsense")}, "split allowed weight (stable)"},
		"not quite":            {[]func(*http.Request){header("Canary")}, "split allowed weight (stable)"},
		"repeated":             {[]func(*http.Request){header("canary", "canary")}, "split allowed weight (stable)"},
		"empty":                {[]func(*http.Request){header("")}, "split allowed weight (stable)"},
		"cookie":               {[]func(*http.Request){cookie("2")}, "split allowed override_cookie (canary)"},
		"another cookie":       {[]func(*http.Request){cookie("canary")}, "split allowed weight (stable)"},
		"group":                {[]func(*http.Request){group("beta")}, "split allowed override_group (next)"},
		"another group":        {[]func(*http.Request){group("alpha")}, "split allowed weight (stable)"},
		"group before cookie":  {[]func(*http.Request){cookie("2"), group("beta")}, "split allowed override_group (next)"},
		"header before group":  {[]func(*http.Request){group("beta"), header("canary")}, "split allowed override_header (canary)"},
		"group before header":  {[]func(*http.Request){group("beta"), header("v3")}, "split allowed override_group (next)"},
		"override before keys": {[]func(*http.Request){func(r *http.Request) { r.Header.Set("X-Key", "a") }, cookie("2")}, "split allowed override_cookie (canary)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x, r := policy.Ensure(get())
			for _, f := range c.set {
				f(r)
			}
			require.Equal(t, c.want, s.Preview(r).String())
			res := gatewaytest.Do(s, r)
			require.Equal(t, 200, res.StatusCode)
			require.Equal(t, c.want, x.Decisions()[0].String())
			require.Equal(t, x.Decisions()[0].Detail, res.Header.Get("X-Arm"))
		})
	}
}

// TestChanges: live weights, switch and revert, and what they say.
func TestChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := made(t, split.Config{Arms: two(95, 5)})
		require.Equal(t, map[string]int{"stable": 95, "canary": 5}, s.Weights())
		began := time.Now()
		require.Equal(t, []any{began, "", uint64(0)}, []any{s.Status().Since, s.Status().Reason, s.Status().Changes})
		require.ErrorIs(t, s.Revert(), split.ErrNothingToRevert)

		time.Sleep(time.Second)
		require.NoError(t, s.SetWeights(map[string]int{"stable": 50, "canary": 50}))
		require.NoError(t, s.SetWeights(map[string]int{"stable": 50, "canary": 50}), "the same again is no step")
		require.Equal(t, []any{began.Add(time.Second), "weights", uint64(2)}, []any{s.Status().Since, s.Status().Reason, s.Status().Changes})
		require.NoError(t, s.Revert())
		require.Equal(t, map[string]int{"stable": 95, "canary": 5}, s.Weights())
		require.ErrorIs(t, s.Revert(), split.ErrNothingToRevert, "once")

		require.NoError(t, s.Switch("canary"))
		require.Equal(t, "switch", s.Status().Reason)
		for range 100 {
			require.Equal(t, "canary", decided(t, s, get()).Detail)
		}
		require.NoError(t, s.Revert())
		require.Equal(t, "revert", s.Status().Reason)
		require.Equal(t, map[string]int{"stable": 95, "canary": 5}, s.Weights())

		before := s.Status()
		require.EqualError(t, s.Switch("v3"), `split: Switch: "v3" is no arm; there are "stable", "canary"`)
		for text, weights := range map[string]map[string]int{
			`split: SetWeights: "b" is no arm; there are "stable", "canary"
split: SetWeights: "v3" is no arm; there are "stable", "canary"
split: SetWeights: the arm "canary" is left out; give a weight for each, 0 for no traffic`: {"stable": 1, "v3": 0, "b": 1},
			`split: SetWeights: all weights are 0; give one arm at least some of the traffic`: {"stable": 0, "canary": 0},
			`split: SetWeights: the weight of "stable" is -1; use 0 to 1048576`:               {"stable": -1, "canary": 1},
			`split: SetWeights: the weight of "canary" is 1048577; use 0 to 1048576`:          {"stable": 1, "canary": 1<<20 + 1},
		} {
			require.EqualError(t, s.SetWeights(weights), text)
		}
		require.Equal(t, before, s.Status(), "nothing has changed")
	})
}

// TestInFlight: requests end in the arm they began in, and one can see when the last has.
func TestInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		s := made(t, split.Config{Arms: []split.Arm{
			{Name: "blue", Weight: 1, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { <-end; _, _ = w.Write([]byte("blue")) })},
			{Name: "green", Handler: say("green")},
		}})
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				text, _ := gatewaytest.Text(gatewaytest.Do(s, get()))
				if text != "blue" {
					t.Error(text)
				}
			})
		}
		synctest.Wait()
		require.NoError(t, s.Switch("green"))
		require.Equal(t, "green", decided(t, s, get()).Detail)
		require.Equal(t, []int{3, 0}, []int{s.Status().Arms[0].InFlight, s.Status().Arms[1].InFlight})
		close(end)
		all.Wait()
		require.Zero(t, s.Status().Arms[0].InFlight)
		require.EqualValues(t, 3, s.Status().Arms[0].Requests)
	})
}

// TestTogether: everything at once, for the race detector.
func TestTogether(t *testing.T) {
	t.Parallel()
	s := made(t, split.Config{
		Arms: two(50, 50), Sticky: policy.ByHeader("X-Key"), Cookie: split.Cookie{Name: "arm"}, Header: "X-Arm",
		Overrides: []split.Override{{Header: "X-Arm", Arm: "canary"}},
		Rollback:  split.Rule{Arm: "canary", Against: "stable", Minimum: 1, ErrorRatio: 1.5, LatencyRatio: 1.5, OnRollback: func(split.Rollback) {}},
	})
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for n := range 500 {
				r := get()
				if n%2 == 0 {
					r = keyed(fmt.Sprint(n))
				}
				if n%7 == 0 {
					r.Header.Set("X-Arm", "canary")
				}
				gatewaytest.Do(s, r)
				switch {
				case n%50 == i:
					_ = s.SetWeights(map[string]int{"stable": n, "canary": 500 - n})
				case n%50 == 10+i:
					_ = s.Switch("canary")
				case n%50 == 20+i:
					_ = s.Revert()
				case n%50 == 30+i:
					_, _, _ = s.Status(), s.Weights(), s.Preview(r)
				}
			}
		})
	}
	all.Wait()
	st := s.Status()
	require.EqualValues(t, 2000, st.Arms[0].Requests+st.Arms[1].Requests)
	require.Zero(t, st.Arms[0].InFlight+st.Arms[1].InFlight)
}

// TestNested: a Split in an arm of another decides for itself.
func TestNested(t *testing.T) {
	t.Parallel()
	inner := made(t, split.Config{Name: "inner", Sticky: policy.ByHeader("X-Key"), Header: "X-Inner", Arms: []split.Arm{
		{Name: "stable", Weight: 50, Handler: say("v2")}, {Name: "canary", Weight: 50, Handler: say("v3")},
	}})
	outer := made(t, split.Config{
		Name: "outer", Sticky: policy.ByHeader("X-Key"), Header: "X-Outer",
		Arms: []split.Arm{{Name: "stable", Weight: 50, Handler: say("v1")}, {Name: "canary", Weight: 50, Handler: inner}},
	})
	require.Equal(t, []http.Handler{inner}, outer.Handlers()[1:])
	consumers := made(t, split.Config{Name: "consumers", Arms: []split.Arm{{Name: "a", Weight: 1, Handler: inner}}, Overrides: []split.Override{{Group: "g", Arm: "a"}}})
	around := made(t, split.Config{Arms: []split.Arm{{Name: "a", Weight: 1, Handler: outer}, {Name: "b", Handler: consumers}}})
	require.Equal(t, []policy.Fact{policy.Authenticated}, around.Contract().Requires, "of an arm of an arm")
	seen := map[string]int{}
	for key := range 2000 {
		x, r := policy.Ensure(keyed(fmt.Sprint(key)))
		res := gatewaytest.Do(outer, r)
		inside := map[string]string{"stable": "v1", "canary": "v2"}[res.Header.Get("X-Inner")]
		seen[res.Header.Get("X-Outer")+" "+inside]++
		require.Len(t, x.Decisions(), map[string]int{"stable": 1, "canary": 2}[res.Header.Get("X-Outer")])
	}
	require.InDelta(t, 1000, seen["stable "], 100)
	require.InDelta(t, 500, seen["canary v1"], 80, "the name keeps keys apart")
	require.InDelta(t, 500, seen["canary v2"], 80)
}

// TestNotMade: what New did not make answers 503.
func TestNotMade(t *testing.T) {
	t.Parallel()
	for _, s := range []*split.Split{nil, {}} {
		require.Equal(t, "split", s.Name())
		require.Equal(t, policy.Contract{}, s.Contract())
		require.Equal(t, split.Status{}, s.Status())
		require.Nil(t, s.Weights())
		require.Nil(t, s.Handlers())
		require.Error(t, s.SetWeights(nil))
		require.Error(t, s.Switch("a"))
		require.Error(t, s.Revert())
		require.Equal(t, "split refused not_configured 503", s.Preview(get()).String())
		require.Equal(t, 503, gatewaytest.Do(s, get()).StatusCode)
	}
}
