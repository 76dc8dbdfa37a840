package balancer_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/policy"
)

// owners returns who gets each key.
func owners(tb testing.TB, p *balancer.Pool, requests []*http.Request) []string {
	tb.Helper()
	out := make([]string, len(requests))
	for i, r := range requests {
		out[i] = pickFor(tb, p, balancer.Query{Request: r}).Target()
	}
	return out
}

// moved counts the keys that have another owner, and those of them that were not lost by gone nor won by come.
func moved(before, after []string, gone, come string) (all, needless int) {
	for i := range before {
		if before[i] == after[i] {
			continue
		}
		all++
		if before[i] != gone && after[i] != come {
			needless++
		}
	}
	return all, needless
}

// When one of n targets leaves, at most 1.5/n of the keys move, and with Ring only those that were its own; so with one that
// comes.
func TestKeysStay(t *testing.T) {
	t.Parallel()
	byKey := keys(60_000)
	for name, strict := range map[string]bool{"Ring": true, "Maglev": false} {
		for _, n := range []int{2, 3, 5, 10, 20, 50, 100} {
			t.Run(fmt.Sprintf("%s/%d", name, n), func(t *testing.T) {
				t.Parallel()
				list := targets(make([]int, n)...)
				p := newPool(t, algorithms()[name], make([]int, n)...)
				all := owners(t, p, byKey)
				gone := list[n/2].URL
				require.NoError(t, p.SetTargets(slices.Concat(list[:n/2], list[n/2+1:])))
				without := owners(t, p, byKey)
				require.NoError(t, p.SetTargets(list))
				require.Equal(t, all, owners(t, p, byKey), "one that comes back gets back what it had")

				count, needless := moved(all, without, gone, "")
				require.LessOrEqual(t, float64(count), 1.5/float64(n)*float64(len(byKey)))
				require.NotContains(t, without, gone)
				if strict {
					require.Zero(t, needless)
				}
			})
		}
	}
}

// With any weights and names: of a ring nobody's keys move but those of the target that changes, and in whatever order targets
// are written, the table is the same.
func TestRingMovesNothingElse(t *testing.T) {
	t.Parallel()
	byKey := keys(2000)
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.SampledFrom([]int{3, 200, balancer.MaxWeight}).Draw(t, "limit")
		weights := rapid.SliceOfN(rapid.IntRange(1, limit), 2, 8).Draw(t, "weights")
		list := make([]balancer.Target, len(weights))
		first := rapid.IntRange(0, 1<<16).Draw(t, "name")
		for i, w := range weights {
			list[i] = balancer.Target{URL: fmt.Sprintf("http://%d.test", first+i), Weight: w}
		}
		algorithm := balancer.Ring{Key: policy.ByHeader("Key"), Slots: rapid.SampledFrom([]int{10, 1000, 10_000}).Draw(t, "slots")}
		p, err := balancer.NewPool(balancer.Config{Targets: list, Algorithm: algorithm})
		if err != nil {
			t.Fatal(err)
		}
		ask := func() []string {
			out := make([]string, len(byKey))
			for i, r := range byKey {
				m, err := p.Pick(balancer.Query{Request: r})
				if err != nil {
					t.Fatal(err)
				}
				p.Done(m, policy.Outcome{Status: 200})
				out[i] = m.Target()
			}
			return out
		}
		before := ask()
		i := rapid.IntRange(0, len(list)-1).Draw(t, "which")
		changed := slices.Clone(list)
		changed[i].Weight = rapid.IntRange(1, limit).Draw(t, "weight")
		for at, next := range map[string][]balancer.Target{"gone": slices.Delete(slices.Clone(list), i, i+1), "weight": changed} {
			if err := p.SetTargets(next); err != nil {
				t.Fatal(err)
			}
			if _, needless := moved(before, ask(), list[i].URL, list[i].URL); needless > 0 {
				t.Fatalf("%s: %d keys moved between others", at, needless)
			}
		}
		slices.Reverse(list)
		if err := p.SetTargets(list); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(before, ask()) {
			t.Fatal("the order counts")
		}
	})
}

// Many targets, as the comments on Slots say.
func TestManyTargets(t *testing.T) {
	t.Parallel()
	skipWithRace(t)
	byKey := keys(200_000)
	for _, tt := range []struct {
		name   string
		n      int
		a      balancer.Algorithm
		off    float64 // in the share, to which sampling adds
		factor float64 // in the keys moved
	}{
		{"ring of 200", 200, balancer.Ring{Key: policy.ByHeader("Key")}, 0.25, 1.1},
		{"ring of 1000", 1000, balancer.Ring{Key: policy.ByHeader("Key"), Slots: 1 << 20}, 0.4, 1.2},
		{"maglev of 200", 200, balancer.Maglev{Key: policy.ByHeader("Key")}, 0.2, 1.5},
		{"maglev of 200, more slots", 200, balancer.Maglev{Key: policy.ByHeader("Key"), Slots: 1 << 20}, 0.15, 1.3},
		{"maglev of 300", 300, balancer.Maglev{Key: policy.ByHeader("Key")}, 0.25, 1.5},
		{"maglev of 1000", 1000, balancer.Maglev{Key: policy.ByHeader("Key")}, 0.45, 1.5},
	} {
		p := newPool(t, tt.a, make([]int, tt.n)...)
		before := owners(t, p, byKey)
		count := map[string]float64{}
		for _, o := range before {
			count[o] += float64(tt.n) / float64(len(byKey))
		}
		worst := 0.0
		for _, c := range count {
			worst = max(worst, math.Abs(c-1))
		}
		require.Len(t, count, tt.n, tt.name)
		require.LessOrEqual(t, worst, tt.off, tt.name)
		require.NoError(t, p.SetTargets(targets(make([]int, tt.n-1)...)))
		all, _ := moved(before, owners(t, p, byKey), "", "")
		lost := 0
		for _, o := range before {
			if o == url(tt.n-1) {
				lost++
			}
		}
		t.Logf("%s: off by %.3f, moved %.2f/n, lost %.2f/n", tt.name, worst, float64(all*tt.n)/float64(len(byKey)), float64(lost*tt.n)/float64(len(byKey)))
		require.LessOrEqual(t, float64(all), tt.factor*float64(max(lost, len(byKey)/tt.n)), tt.name)
	}
}

// Each hash input keeps its requests together, keeps different ones apart, and lets those without it go round.
func TestHashInputs(t *testing.T) {
	t.Parallel()
	request := func(target string) (*policy.Exchange, *http.Request) {
		return policy.Ensure(httptest.NewRequest(http.MethodGet, target, nil))
	}
	for name, tt := range map[string]struct {
		key  policy.Key
		with func(i int) *http.Request
	}{
		"consumer": {policy.ByConsumer(), func(i int) *http.Request {
			x, r := request("/")
			x.SetIdentity(policy.Identity{Consumer: &policy.Consumer{ID: fmt.Sprint(i)}})
			return r
		}},
		"client address": {policy.ByClientAddress(), func(i int) *http.Request {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1234).String()
			return r
		}},
		"header": {policy.ByHeader("X-Tenant"), func(i int) *http.Request {
			_, r := request("/")
			r.Header.Set("X-Tenant", fmt.Sprint(i))
			return r
		}},
		"cookie": {policy.ByCookie("session"), func(i int) *http.Request {
			_, r := request("/")
			r.AddCookie(&http.Cookie{Name: "session", Value: fmt.Sprint(i)})
			return r
		}},
		"path": {policy.ByPath(), func(i int) *http.Request {
			_, r := request(fmt.Sprintf("/%d", i))
			return r
		}},
		"query": {policy.ByQuery("user"), func(i int) *http.Request {
			_, r := request(fmt.Sprintf("/?a=b&user=%d", i))
			return r
		}},
		"path parameter": {policy.ByPathValue("id"), func(i int) *http.Request {
			_, r := request("/users/x")
			r.SetPathValue("id", fmt.Sprint(i))
			return r
		}},
		"fallback": {policy.ByConsumer().Or(policy.ByQuery("user")), func(i int) *http.Request {
			_, r := request(fmt.Sprintf("/?user=%d", i))
			return r
		}},
	} {
		for _, a := range []balancer.Algorithm{balancer.Ring{Key: tt.key, Slots: 1000}, balancer.Maglev{Key: tt.key, Slots: 1000}} {
			p := newPool(t, a, 0, 0, 0, 0)
			used := map[string]int{}
			for i := range 40 {
				r := tt.with(i)
				m := pickFor(t, p, balancer.Query{Request: r})
				used[m.Target()]++
				for range 5 {
					require.Same(t, m, pickFor(t, p, balancer.Query{Request: tt.with(i)}), name)
				}
			}
			require.Len(t, used, 4, name)

			without := map[string]int{}
			for range 40 {
				r := &http.Request{RemoteAddr: "@", Header: http.Header{}}
				if name == "path" {
					r = nil // there is always one
				}
				without[pickFor(t, p, balancer.Query{Request: r}).Target()]++
			}
			require.Equal(t, map[string]int{url(0): 10, url(1): 10, url(2): 10, url(3): 10}, without, "%s: without a key requests go round", name)
		}
	}
}

// However popular a key is, no target has more in flight than LoadFactor times its share, and when all that has ended the key
// is back where it was.
func TestBoundedLoads(t *testing.T) {
	t.Parallel()
	for _, factor := range []float64{1, 1.25, 2} {
		for _, a := range []balancer.Algorithm{
			balancer.Ring{Key: policy.ByHeader("Key"), LoadFactor: factor, Slots: 5000}, balancer.Maglev{Key: policy.ByHeader("Key"), LoadFactor: factor, Slots: 5000},
		} {
			weights := []int{100, 100, 200, 100, 300}
			p := newPool(t, a, weights...)
			home := pickFor(t, p, balancer.Query{Request: asking("hot")})
			r := rand.New(rand.NewPCG(1, 1))
			var held []*balancer.Member
			for i := range 2000 {
				key := "hot"
				if r.IntN(4) == 0 {
					key = fmt.Sprint(i)
				}
				m, err := p.Pick(balancer.Query{Request: asking(key)})
				require.NoError(t, err)
				held = append(held, m)
				bound := math.Ceil(factor * float64(len(held)) * float64(m.Weight()) / 800)
				require.LessOrEqual(t, float64(m.InFlight()), bound, "factor %v, %d in flight", factor, len(held))
				if r.IntN(3) == 0 && len(held) > 1 {
					at := r.IntN(len(held))
					p.Done(held[at], policy.Outcome{Status: 200})
					held = slices.Delete(held, at, at+1)
				}
			}
			for _, m := range held {
				p.Done(m, policy.Outcome{Status: 200})
			}
			require.Same(t, home, pickFor(t, p, balancer.Query{Request: asking("hot")}))
		}
	}
}

// A client without a cookie gets one that leads to where it was sent, and keeps it.
func TestHashCookie(t *testing.T) {
	t.Parallel()
	for _, a := range []balancer.Algorithm{
		balancer.Ring{Cookie: &balancer.Cookie{Name: "sid", Path: "/app"}}, balancer.Maglev{Key: policy.ByHeader("Key"), Cookie: &balancer.Cookie{Name: "sid", Path: "/app"}},
	} {
		p := newPool(t, a, 0, 0, 0, 0, 0)
		used := map[string]int{}
		for range 50 {
			q := balancer.Query{Request: &http.Request{Header: http.Header{}}}
			m := pickFor(t, p, q)
			c := p.Cookie(q, m)
			require.Regexp(t, `^sid=[0-9a-f]{16}; Path=/app; HttpOnly; Secure; SameSite=Lax$`, c.String())
			used[m.Target()]++
			again := balancer.Query{Request: &http.Request{Header: http.Header{"Cookie": {"a=b; sid=" + c.Value}}}}
			for range 3 {
				require.Same(t, m, pickFor(t, p, again))
			}
			require.Nil(t, p.Cookie(again, m))
		}
		require.Equal(t, map[string]int{url(0): 10, url(1): 10, url(2): 10, url(3): 10, url(4): 10}, used)
	}
	p := newPool(t, balancer.Maglev{Key: policy.ByHeader("Key"), Cookie: &balancer.Cookie{Name: "sid"}}, 0, 0)
	q := balancer.Query{Request: asking("k")}
	require.Nil(t, p.Cookie(q, pickFor(t, p, q)), "the key goes before")
	p = newPool(t, balancer.Maglev{Key: policy.ByHeader("Key")}, 0, 0)
	q = balancer.Query{Request: &http.Request{}}
	require.Nil(t, p.Cookie(q, pickFor(t, p, q)))
}
