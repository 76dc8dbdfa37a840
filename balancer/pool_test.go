package balancer_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/internal/race"
	"github.com/gatehouse-go/gateway/policy"
)

func url(i int) string { return fmt.Sprintf("http://10.%d.%d.%d:8080", i>>16, i>>8&255, i&255) }

func pool(tb testing.TB, weights ...int) *balancer.Pool {
	tb.Helper()
	p, err := balancer.NewPool(balancer.Config{Targets: targets(weights...)})
	require.NoError(tb, err)
	return p
}

func targets(weights ...int) []balancer.Target {
	out := make([]balancer.Target, len(weights))
	for i, w := range weights {
		out[i] = balancer.Target{URL: url(i), Weight: w}
	}
	return out
}

func pick(tb testing.TB, p *balancer.Pool, tried ...*balancer.Member) *balancer.Member {
	tb.Helper()
	m, err := p.Pick(balancer.Query{Tried: tried})
	require.NoError(tb, err)
	p.Done(m, policy.Outcome{Status: 200})
	return m
}

func TestConfigErrors(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, url, want string }{
		{"empty", "", "is empty"},
		{"not a URL", "http://a b", "is not a URL"},
		{"no scheme", "10.0.0.1:8080", "is not a URL (RFC 3986); write http://10.0.0.1:8080"},
		{"no scheme, name", "localhost:8080", "scheme must be http or https; write http://localhost:8080"},
		{"no scheme, base", "a.test:80/base", "scheme must be http or https; write http://a.test:80/base"},
		{"host only", "example.com", "scheme must be http or https; write http://example.com"},
		{"scheme", "ftp://x", "scheme must be http or https"},
		{"opaque", "http:x", "has no host"},
		{"no host", "http://", "has no host"},
		{"path only", "/a", "scheme must be http or https"},
		{"user", "http://u:p@x", "must not hold user information"},
		{"query", "http://x/?a=b", "must not have a query"},
		{"empty query", "http://x/?", "must not have a query"},
		{"fragment", "http://x/#f", "must not have a fragment"},
		{"empty fragment", "http://x/#", "must not have a fragment"},
		{"port 0", "http://x:0", "no valid host and port"},
		{"big port", "http://x:70000", "no valid host and port"},
		{"empty port", "http://x:", "no valid host and port"},
		{"host byte", "http://x_é", "no valid host and port"},
		{"literal", "http://[::1", "is not a URL"},
		{"zone", "http://[fe80::1%25eth0]", "no valid host and port"},
		{"dot segment", "http://x/a/../b", "not in canonical form"},
		{"double slash", "http://x//a", "not in canonical form"},
		{"needless escape", "http://x/%61", "not in canonical form"},
		{"backslash", `http://x/a%5Cb`, "not in canonical form"},
	}
	for _, tt := range tests {
		_, err := balancer.NewPool(balancer.Config{Targets: []balancer.Target{{URL: tt.url}}})
		require.Error(t, err, tt.name)
		require.True(t, strings.HasPrefix(err.Error(), fmt.Sprintf("balancer: Config.Targets[0].URL %q: ", tt.url)), "%s: %v", tt.name, err)
		require.ErrorContains(t, err, tt.want, tt.name)
		var c *balancer.ConfigError
		require.ErrorAs(t, err, &c, tt.name)
	}
	for _, good := range []string{
		"http://x", "https://x/", "http://x:80/base", "http://x/base/", "http://[::1]:8080", "http://X.example", "http://x/a%20b", "http://x/a%2Fb",
	} {
		_, err := balancer.NewPool(balancer.Config{Targets: []balancer.Target{{URL: good}}})
		require.NoError(t, err, good)
	}
}

func TestConfigErrorsAreJoined(t *testing.T) {
	t.Parallel()
	_, err := balancer.NewPool(balancer.Config{Targets: []balancer.Target{
		{URL: "http://a"},
		{URL: "ftp://b", Weight: 70000},
		{URL: "http://A.:80/", Weight: -2},
		{URL: "https://a"},
	}})
	require.Equal(t, strings.Join([]string{
		`balancer: Config.Targets[1].Weight 70000: must be 1 to 65535, 0 for the default of 100, or NoTraffic`,
		`balancer: Config.Targets[1].URL "ftp://b": scheme must be http or https`,
		`balancer: Config.Targets[2].Weight -2: must be 1 to 65535, 0 for the default of 100, or NoTraffic`,
		`balancer: Config.Targets[2].URL "http://A.:80/": is the same target as Targets[0]; give one of them the weight of both`,
	}, "\n"), err.Error())

	_, err = balancer.NewPool(balancer.Config{Targets: targets(balancer.NoTraffic, balancer.NoTraffic)})
	require.EqualError(t, err, "balancer: Config.Targets: all have the weight NoTraffic, so that no request could be answered; give one another weight, or take it away later with SetTargets")
	_, err = balancer.NewPool(balancer.Config{Targets: []balancer.Target{{URL: "ftp://a", Weight: balancer.NoTraffic}}})
	require.ErrorContains(t, err, "scheme must be")
	require.ErrorContains(t, err, "all have the weight NoTraffic")
	require.NoError(t, pool(t, 1).SetTargets(targets(balancer.NoTraffic)), "a pool may pause")

	_, err = balancer.NewPool(balancer.Config{})
	require.EqualError(t, err, "balancer: Config.Targets: is empty; list at least one target")
	_, err = balancer.NewPool(balancer.Config{Targets: make([]balancer.Target, balancer.MaxTargets+1)})
	require.ErrorContains(t, err, "has 65536 entries")
}

type brokenAlgorithm struct{ err error }

func (b brokenAlgorithm) NewPicker([]*balancer.Member) (balancer.Picker, error) { return nil, b.err }

func TestAlgorithmErrors(t *testing.T) {
	t.Parallel()
	_, err := balancer.NewPool(balancer.Config{Targets: targets(1), Algorithm: brokenAlgorithm{errors.New("K must be positive")}})
	require.EqualError(t, err, "balancer: Config.Algorithm: K must be positive")
	_, err = balancer.NewPool(balancer.Config{Targets: targets(1), Algorithm: brokenAlgorithm{}})
	require.EqualError(t, err, "balancer: Config.Algorithm: NewPicker returned no picker")
}

// ownAlgorithm is what a user can write: the first member with the fewest requests in flight.
type ownAlgorithm struct{}

type ownPicker []*balancer.Member

func (ownAlgorithm) NewPicker(m []*balancer.Member) (balancer.Picker, error) {
	return ownPicker(m), nil
}

func (p ownPicker) Pick(q balancer.Query) *balancer.Member {
	if q.Request != nil && q.Request.Header.Get("Refuse") != "" {
		return nil
	}
	var best *balancer.Member
	for _, m := range p {
		if !q.HasTried(m) && (best == nil || m.InFlight() < best.InFlight()) {
			best = m
		}
	}
	return best
}

func TestOwnAlgorithm(t *testing.T) {
	t.Parallel()
	p, err := balancer.NewPool(balancer.Config{Targets: targets(1, 1), Algorithm: ownAlgorithm{}})
	require.NoError(t, err)
	a, err := p.Pick(balancer.Query{})
	require.NoError(t, err)
	b, err := p.Pick(balancer.Query{})
	require.NoError(t, err)
	require.NotSame(t, a, b)
	p.Done(a, policy.Outcome{})
	require.Same(t, a, pick(t, p))
	_, err = p.Pick(balancer.Query{Request: &http.Request{Header: http.Header{"Refuse": {"1"}}}})
	require.ErrorIs(t, err, balancer.ErrNoTarget)
}

func TestStatus(t *testing.T) {
	t.Parallel()
	p := pool(t, 0, balancer.NoTraffic, 7)
	outcomes := []policy.Outcome{
		{Status: 200},
		{Status: 503},
		{Err: &policy.Error{Status: 502, Code: "connect_refused"}},
		{Err: errors.New("dial tcp 10.0.0.1:80: refused")},
		{Err: errors.New("left"), Canceled: true},
	}
	var first *balancer.Member
	for _, o := range outcomes {
		for {
			m, err := p.Pick(balancer.Query{})
			require.NoError(t, err)
			require.EqualValues(t, 1, m.InFlight())
			if m.Weight() == balancer.DefaultWeight {
				first = m
				p.Done(m, o)
				break
			}
			p.Done(m, policy.Outcome{Status: 200})
		}
	}
	s := p.Status()
	require.Len(t, s, 3)
	require.Equal(t, url(0), s[0].URL)
	require.Equal(t, []int{100, 0, 7}, []int{s[0].Weight, s[1].Weight, s[2].Weight})
	require.EqualValues(t, 5, s[0].Requests)
	require.EqualValues(t, 2, s[0].Failed)
	require.EqualValues(t, 1, s[0].ServerErrors)
	require.EqualValues(t, 1, s[0].Canceled)
	require.Equal(t, "error", s[0].LastError, "the text of a foreign error may hold addresses")
	require.False(t, s[0].LastErrorAt.IsZero())
	require.Zero(t, s[0].InFlight)
	require.Zero(t, s[1].Requests)
	p.Done(first, policy.Outcome{Err: &policy.Error{Code: "connect_refused"}})
	require.Equal(t, "connect_refused", p.Status()[0].LastError)
	s[0].URL = "changed"
	require.Equal(t, url(0), p.Status()[0].URL, "Status returns a copy")
}

func TestSetTargets(t *testing.T) {
	t.Parallel()
	p := pool(t, 1, 1)
	a, b := pick(t, p), pick(t, p)
	held, err := p.Pick(balancer.Query{})
	require.NoError(t, err)
	require.Same(t, a, held)

	require.Error(t, p.SetTargets([]balancer.Target{{URL: "ftp://x"}}))
	require.Error(t, p.SetTargets(nil), "an empty list is more likely a failed discovery than a wish")
	require.Len(t, p.Status(), 2, "an error changes nothing")

	// b stays with another weight, a goes while it has a request, c is new.
	require.NoError(t, p.SetTargets([]balancer.Target{{URL: b.Target(), Weight: 3}, {URL: "http://c"}}))
	s := p.Status()
	require.Len(t, s, 3)
	require.True(t, s[2].Draining, "a, behind the others")
	require.EqualValues(t, 1, s[0].Requests, "the counters of b survive")
	require.Equal(t, 3, s[0].Weight)
	require.Equal(t, "http://c", s[1].URL)
	for range 20 {
		require.NotSame(t, a, pick(t, p))
	}
	p.Done(held, policy.Outcome{Status: 200})
	require.Zero(t, a.InFlight())
	require.Len(t, p.Status(), 2)

	// All out of service, then back.
	require.NoError(t, p.SetTargets([]balancer.Target{{URL: b.Target(), Weight: balancer.NoTraffic}}))
	_, err = p.Pick(balancer.Query{})
	require.ErrorIs(t, err, balancer.ErrNoTarget)
	require.NoError(t, p.SetTargets([]balancer.Target{{URL: b.Target()}}))
	require.Same(t, b, pick(t, p))
}

func TestSetTargetsToTheSameKeepsTheTurn(t *testing.T) {
	t.Parallel()
	p := pool(t, 1, 1, 1)
	for i := range 9 {
		require.Equal(t, url(i%3), pick(t, p).Target())
		require.NoError(t, p.SetTargets(targets(1, 1, 1)))
	}
}

func TestClosedAndZero(t *testing.T) {
	t.Parallel()
	p := pool(t, 1)
	m, err := p.Pick(balancer.Query{})
	require.NoError(t, err)
	require.NoError(t, p.Close())
	require.NoError(t, p.Close())
	_, err = p.Pick(balancer.Query{})
	require.ErrorIs(t, err, balancer.ErrNoTarget)
	require.Error(t, p.SetTargets(targets(1)))
	p.Done(m, policy.Outcome{Status: 200})
	require.Zero(t, p.Status()[0].InFlight)

	var zero *balancer.Pool
	for _, p := range []*balancer.Pool{zero, {}} {
		_, err = p.Pick(balancer.Query{})
		require.ErrorIs(t, err, balancer.ErrNoTarget)
		require.Empty(t, p.Status())
		p.Done(nil, policy.Outcome{})
		require.NoError(t, p.Close())
	}
	require.Error(t, new(balancer.Pool).SetTargets(targets(1)))
}

func TestRoundRobinOrder(t *testing.T) {
	t.Parallel()
	tests := []struct {
		weights []int
		want    string
	}{
		{[]int{1}, "aaa"},
		{[]int{0, 0}, "abab"},
		{[]int{100, 100, 100}, "abcabc"},
		{[]int{500, 100, 100}, "aabacaaaabacaa"},
		{[]int{2, 1}, "abaaba"},
		{[]int{balancer.NoTraffic, 1, 1}, "bcbc"},
	}
	for _, tt := range tests {
		p := pool(t, tt.weights...)
		got := make([]byte, 0, len(tt.want))
		for range tt.want {
			m := pick(t, p)
			for i := range tt.weights {
				if m.Target() == url(i) {
					got = append(got, byte('a'+i))
				}
			}
		}
		require.Equal(t, tt.want, string(got), "%v", tt.weights)
	}
}

func TestRoundRobinSkipsTried(t *testing.T) {
	t.Parallel()
	for _, weights := range [][]int{{1, 1, 1}, {65535, 1, 1}, {65535, 65534, 3, 1}} {
		p := pool(t, weights...)
		for range 100 {
			var tried []*balancer.Member
			for range weights {
				m := pick(t, p, tried...)
				require.NotContains(t, tried, m)
				tried = append(tried, m)
			}
			_, err := p.Pick(balancer.Query{Tried: tried})
			require.ErrorIs(t, err, balancer.ErrNoTarget)
		}
	}
}

// In every revolution each target gets exactly its share, and in no window is a target ahead or behind by more than a
// few requests: there are no bursts.
func TestRoundRobinShares(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.SampledFrom([]int{3, 100, 2000, balancer.MaxWeight}).Draw(t, "limit")
		weights := rapid.SliceOfN(rapid.IntRange(1, limit), 1, 6).Draw(t, "weights")
		sum, divisor := 0, 0
		for _, w := range weights {
			sum += w
			divisor = gcd(w, divisor)
		}
		p, err := balancer.NewPool(balancer.Config{Targets: targets(weights...)})
		if err != nil {
			t.Fatal(err)
		}
		index := map[string]int{}
		for i := range weights {
			index[url(i)] = i
		}
		counts := make([]int, len(weights))
		for n := 1; n <= sum/divisor; n++ {
			m, err := p.Pick(balancer.Query{})
			if err != nil {
				t.Fatal(err)
			}
			counts[index[m.Target()]]++
			if n > 1000 && n%97 != 0 {
				continue
			}
			for i, w := range weights {
				due := float64(n) * float64(w) / float64(sum)
				if off := float64(counts[i]) - due; off > 5 || off < -5 {
					t.Fatalf("after %d picks target %d of %v has %d, due are %.1f", n, i, weights, counts[i], due)
				}
			}
		}
		for i, w := range weights {
			if counts[i] != w/divisor {
				t.Fatalf("target %d of %v got %d in one revolution", i, weights, counts[i])
			}
		}
	})
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// A thousand targets with unequal weights have no wheel; equal ones keep their order at any number.
func TestRoundRobinManyTargets(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	weights := make([]int, 1000)
	sum := 0
	for i := range weights {
		weights[i] = 1 + rng.IntN(1000)
		sum += weights[i]
	}
	p := pool(t, weights...)
	counts := map[string]int{}
	for range sum {
		counts[pick(t, p).Target()]++
	}
	divisor := 0
	for _, w := range weights {
		divisor = gcd(w, divisor)
	}
	for i, w := range weights {
		require.Equal(t, w, counts[url(i)], i)
	}

	equal := pool(t, make([]int, 5000)...)
	for i := range 10_000 {
		require.Equal(t, url(i%5000), pick(t, equal).Target())
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	p := pool(t, 1, 2, 3)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				m, err := p.Pick(balancer.Query{})
				if err != nil {
					t.Error(err)
					return
				}
				if i%50 == 0 {
					if err := p.SetTargets(targets(1+g, 2, 3+i)[:1+i%3]); err != nil {
						t.Error(err)
					}
					p.Status()
				}
				p.Done(m, policy.Outcome{Status: 200})
			}
		})
	}
	wg.Wait()
	for _, s := range p.Status() {
		require.Zero(t, s.InFlight)
	}
}

func TestPickAllocatesNothing(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	unequal := make([]int, 1000)
	for i := range unequal {
		unequal[i] = 1 + i
	}
	for name, weights := range map[string][]int{"wheel": {5, 1, 1}, "stride": unequal} {
		p := pool(t, weights...)
		tried := []*balancer.Member{pick(t, p)}
		require.Zero(t, testing.AllocsPerRun(1000, func() {
			m, _ := p.Pick(balancer.Query{Tried: tried})
			p.Done(m, policy.Outcome{Status: 200})
		}), name)
	}
}

func BenchmarkPick(b *testing.B) {
	for _, n := range []int{2, 10, 100, 1000} {
		equal, unequal := make([]int, n), make([]int, n)
		for i := range unequal {
			unequal[i] = 1 + i*7%101
		}
		for name, weights := range map[string][]int{"equal": equal, "weighted": unequal} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				p := pool(b, weights...)
				b.ReportAllocs()
				for b.Loop() {
					m, err := p.Pick(balancer.Query{})
					if err != nil {
						b.Fatal(err)
					}
					p.Done(m, policy.Outcome{Status: 200})
				}
			})
		}
	}
}

func BenchmarkSetTargets(b *testing.B) {
	weights := make([]int, 1000)
	for i := range weights {
		weights[i] = 1 + i
	}
	sets := [2][]balancer.Target{targets(weights...), targets(make([]int, 1000)...)}
	p := pool(b, 1)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := p.SetTargets(sets[i%2]); err != nil {
			b.Fatal(err)
		}
	}
}

func TestSockets(t *testing.T) {
	t.Parallel()
	long := "/" + strings.Repeat("x", 103)
	_, err := balancer.NewPool(balancer.Config{Targets: []balancer.Target{
		{URL: "http://a.test", Socket: "relative"},
		{URL: "http://b.test", Socket: "@"},
		{URL: "http://c.test", Socket: long},
		{URL: "http://d.test", Socket: "/a\x00b"},
		{URL: "http://e.test", Socket: "/one"},
		{URL: "http://E.test:80/path", Socket: "/two"},
		{URL: "http://f.test", Socket: "@abstract"},
	}})
	for _, want := range []string{
		`Targets[0].Socket "relative": must be an absolute path`, `Targets[1].Socket "@": must be`, `Targets[2].Socket`, `Targets[3].Socket "/a\x00b": holds a zero byte`,
		`Targets[5].Socket "/two": differs from "/one"`,
	} {
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, err.Error(), "Targets[6]")
	p, err := balancer.NewPool(balancer.Config{Targets: []balancer.Target{{URL: "http://A.test", Socket: "/one"}, {URL: "https://[::1]"}}})
	require.NoError(t, err)
	require.Equal(t, "/one", p.Socket("a.test:80"))
	require.Empty(t, p.Socket("[::1]:443"))
	require.NoError(t, p.SetTargets([]balancer.Target{{URL: "http://A.test", Socket: "/two"}}))
	require.Equal(t, "/two", p.Socket("A.test:80"))
	require.NoError(t, p.Close())
	require.Equal(t, "/two", p.Socket("a.test:80"), "requests in flight may still need it")
	require.Empty(t, (*balancer.Pool)(nil).Socket("a.test:80"))
	require.Empty(t, new(balancer.Pool).Socket("a.test:80"))
}
