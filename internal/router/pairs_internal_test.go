package router

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestWorkGrowsWithEntries: what tells entries apart is found without trying all pairs of them, of which there are a
// thousand times as many as entries here.
func TestWorkGrowsWithEntries(t *testing.T) {
	t.Parallel()
	const n = 2000
	one := func(name, value string) map[string][]string { return map[string][]string{name: {value}} }
	for name, route := range map[string]func(i int) Route{
		"values of a header": func(i int) Route { return Route{Paths: []string{"/x"}, Headers: one("X-Tenant", fmt.Sprint(i))} },
		"values of a header, with others": func(i int) Route {
			return Route{Headers: map[string][]string{"X-Tenant": {fmt.Sprint(i)}, "X-Region": {fmt.Sprint(i % 3)}, "X-A": nil}}
		},
		"values of a parameter": func(i int) Route { return Route{Paths: []string{"/:x"}, Query: one("tenant", fmt.Sprint(i))} },
		"methods":               func(i int) Route { return Route{Paths: []string{"/x"}, Methods: []string{fmt.Sprint("M", i)}} },
		"names of servers":      func(i int) Route { return Route{Paths: []string{"/x"}, SNIs: []string{fmt.Sprintf("s%d.test", i)}} },
		"wildcard hosts": func(i int) Route {
			return Route{Paths: []string{"/x"}, Hosts: []string{fmt.Sprintf("*.t%04d.test", i)}}
		},
		"wildcard hosts, and one of the other kind": func(i int) Route {
			if i == 0 {
				return Route{Paths: []string{"/y"}, Hosts: []string{"a-longer-name.*"}}
			}
			return Route{Paths: []string{"/x"}, Hosts: []string{fmt.Sprintf("*.tenant%02d.test", i%100) + ":" + fmt.Sprint(i+1)}}
		},
		"expressions": func(i int) Route { return Route{Regexps: []string{fmt.Sprintf(`/svc%d/\d+$`, i)}} },
		"hosts with two shapes of patterns": func(i int) Route {
			return Route{Hosts: []string{fmt.Sprintf("h%d.test", i)}, Paths: []string{"/a/:x", "/:x/b"}}
		},
		"shapes of patterns": func(i int) Route {
			path := fmt.Sprint("/s", i)
			for k := range 6 {
				if i>>k&1 == 1 {
					path += fmt.Sprint("/:p", k)
				} else {
					path += fmt.Sprint("/s", i)
				}
			}
			return Route{Paths: []string{path}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			routes := []Route{}
			for i := range n {
				routes = append(routes, route(i))
			}
			table, err := New(routes, Options{})
			require.NoError(t, err)
			v := table.verifier()
			v.findAmbiguous()
			require.False(t, v.gaveUp)
			require.Less(t, maxWork-v.work, 50*n)
		})
	}
}

// TestWorkIsBounded: however alike entries are, and however dear it is to compare them.
func TestWorkIsBounded(t *testing.T) {
	t.Parallel()
	many := make([]string, 500)
	for i := range many {
		many[i] = fmt.Sprint("v", i)
	}
	for name, route := range map[string]func(i int) Route{
		"expressions": func(i int) Route { return Route{Regexps: []string{fmt.Sprintf(`/[a-z]+/svc%d/\d+$`, i)}} },
		"values": func(i int) Route {
			return Route{Headers: map[string][]string{"X-A": append([]string{fmt.Sprintf("~^%d$", i)}, many...)}}
		},
		"expressions of them": func(i int) Route { return Route{Headers: map[string][]string{"X-A": {fmt.Sprintf(`~^[a-z]+%d$`, i)}}} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			routes := []Route{}
			for i := range 1000 {
				routes = append(routes, route(i))
			}
			table, err := New(routes, Options{})
			require.NoError(t, err)
			v := table.verifier()
			v.visits, v.work = 1<<17, 1<<17
			for i := range table.entries {
				v.findShadow(i)
			}
			require.True(t, v.gaveUp)
			v.gaveUp = false
			v.findAmbiguous()
			require.True(t, v.gaveUp)
			const one = 1 << 16 // more than one comparison
			require.Less(t, -v.visits, one)
			require.Less(t, -v.work, one)
		})
	}
}

// TestPairsAreTried: those that are not tried have nothing in common. Trying all of them finds no more.
func TestPairsAreTried(t *testing.T) {
	t.Parallel()
	total := 0
	rapid.Check(t, func(t *rapid.T) {
		pick := func(name string, values ...string) []string {
			return rapid.SliceOfNDistinct(rapid.SampledFrom(values), 0, 2, rapid.ID[string]).Draw(t, name)
		}
		kind := rapid.IntRange(0, 3).Draw(t, "kind")
		wildcards := rapid.Bool().Draw(t, "wildcards")
		routes := make([]Route, rapid.IntRange(12, 40).Draw(t, "routes"))
		for i := range routes {
			r := &routes[i]
			switch kind {
			case 0:
				r.Paths = []string{rapid.SampledFrom([]string{"/:x/b/c", "/a/:y/c", "/a/b/:z", "/a/:x/d", "/:x/b/d"}).Draw(t, "pattern")}
			case 1:
				r.Regexps = []string{rapid.SampledFrom([]string{"/a", "/a/b$", "/a/[a-z]+", ".*b", "/a/b/(c|d)", "/c"}).Draw(t, "expression")}
			case 2:
				r.Paths = []string{"/a"}
			}
			if wildcards {
				r.Hosts = []string{rapid.SampledFrom([]string{"*.a.bb", "*.b.aa", "a.bb.*", "b.aa.*", "aa.b.*", "*.b.aa:81"}).Draw(t, "host")}
			}
			r.Methods = pick("methods", "GET", "HEAD", "PUT", "PURGE")
			r.SNIs = pick("servers", "a.test", "b.test", "*.test")
			if rapid.Bool().Draw(t, "has headers") {
				r.Headers = map[string][]string{rapid.SampledFrom([]string{"X-A", "X-B"}).Draw(t, "header"): pick("values", "1", "2", "3", "~1")}
			}
			if rapid.Bool().Draw(t, "has query") {
				r.Query = map[string][]string{rapid.SampledFrom([]string{"a", "b"}).Draw(t, "parameter"): pick("values", "1", "2", "3", "~1")}
			}
		}
		table, err := New(routes, Options{AllowIdentical: true, IgnoreSNIsWithoutTLS: rapid.Bool().Draw(t, "ignore SNIs without TLS")})
		require.NoError(t, err)
		v := table.verifier()
		for i := range table.entries {
			v.findShadow(i)
		}
		v.findings = nil
		v.findAmbiguous()
		found := map[[2]int32]bool{}
		for _, f := range v.findings {
			found[[2]int32{table.entries[f.Winner].route, table.entries[f.Entry].route}] = true
		}
		every := map[[2]int32]bool{}
		for a := range table.entries {
			for b := a + 1; b < len(table.entries) && v.rankKey(a) == v.rankKey(b); b++ {
				if !v.dead[a] && !v.dead[b] {
					v.tryPair(a, b, every)
				}
			}
		}
		require.ElementsMatch(t, slices.Collect(maps.Keys(every)), slices.Collect(maps.Keys(found)))
		total += len(every)
	})
	require.Positive(t, total, "the tables drawn had no such pairs")
}

// TestMarks: patterns are told apart in some of their segments.
func TestMarks(t *testing.T) {
	t.Parallel()
	var x, y, z area
	for i, a := range []*area{&x, &y, &z} {
		a.segments = [][]string{{"a", "b", "c"}, {"a", "d", "c"}, {"c", "b", "a"}}[i]
		a.mark()
	}
	require.Equal(t, x.marked(0b101), y.marked(0b101))
	require.NotEqual(t, x.marked(0b111), y.marked(0b111))
	require.NotEqual(t, x.marked(0b101), z.marked(0b101))
	require.Equal(t, x.marked(0), z.marked(0))
	var c chains
	for range 2 {
		c.reset(4)
		for i, mark := range []uint64{5, 1 << 40, 5, 7} {
			c.add(mark, i)
		}
		require.Equal(t, []int{2, 0}, slices.Collect(c.all(5)))
		require.Equal(t, []int{1}, slices.Collect(c.all(1<<40)))
		require.Empty(t, slices.Collect(c.all(6)))
	}
}
