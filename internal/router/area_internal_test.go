package router

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// universe lists short canonical paths, with and without a slash at the end.
func universe() []string {
	paths := []string{"/"}
	level := []string{""}
	for range 3 {
		var next []string
		for _, p := range level {
			for _, s := range []string{"a", "b", "ab", "a:b"} {
				next = append(next, p+"/"+s)
				paths = append(paths, p+"/"+s, p+"/"+s+"/")
			}
		}
		level = next
	}
	return paths
}

// TestAreasCover compares what areas say of each other with what tables of one route do for every path of a small world:
// a claim is never wrong, and the claims that can be made are made.
func TestAreasCover(t *testing.T) {
	t.Parallel()
	written := []Route{{}}
	for _, p := range []string{
		"/", "/a", "/a/", "/a/b", "/a:b", "/a%3Ab", "/:x", "/:x/", "/a/:x", "/:x/b", "/:x/:y", "/a/:x/b", "/*r", "/a/*r", "/:x/*r", "/a/:x/*r", "/a/b/*r", "/:x/b/*r",
	} {
		written = append(written, Route{Paths: []string{p}})
	}
	for _, p := range []string{"/", "/a", "/a/", "/ab", "/a:", "/a/b", "/a/b/"} {
		written = append(written, Route{Prefixes: []string{p}})
	}
	for _, p := range []string{"/", "/a", "/a/b", "/a$", "(/a|/b)", "(?i)/A", "^/a/", "/[ab]/b", ".*b", "/a/.*b", ".*", "/(.*)", "/a.*", "/ab?", "/a(/b)?$", "/a+", "/a{2}|/a/"} {
		written = append(written, Route{Regexps: []string{p}})
	}
	paths := universe()
	areas, sets := make([]area, len(written)), make([]string, len(written)) // a set is a byte for each path
	for i, r := range written {
		table, err := New([]Route{r}, Options{})
		require.NoError(t, err)
		areas[i] = areaOf(&table.entries[0])
		set := make([]byte, len(paths))
		for j, p := range paths {
			q := Request{Method: http.MethodGet, Path: p}
			set[j] = '-'
			if table.Lookup(&q, new(Match)) == Found {
				set[j] = 'x'
			}
			require.Equal(t, set[j] == 'x', areas[i].matches(p), "%v %s", r, p)
		}
		sets[i] = string(set)
		sample, ok := areas[i].sample()
		require.True(t, ok, "%v", r)
		require.Equal(t, Found, table.Lookup(&Request{Method: http.MethodGet, Path: sample}, new(Match)), "%v %s", r, sample)
	}
	claims := 0
	for i := range areas {
		for j := range areas {
			contained := true
			for k := range sets[i] {
				contained = contained && (sets[j][k] == '-' || sets[i][k] == 'x')
			}
			switch claimed := areas[i].covers(&areas[j]); {
			case claimed:
				claims++
				require.True(t, contained, "%v does not cover %v", written[i], written[j])
			case contained:
				// Missed only where an expression would have to be understood, or the world is too small to see it.
				require.True(t, areas[i].kind == Regexp && !areas[i].whole || areas[j].kind == Regexp || tooSmall(areas[i].kind, areas[j].kind),
					"%v covers %v", written[i], written[j])
			}
		}
	}
	require.Greater(t, claims, 200)
	require.Equal(t, strings.Repeat("x", len(paths)), sets[0])
}

// tooSmall tells whether a pattern of the first kind may take all paths of the small world that one of the second kind
// takes, without taking all there are: what is shorter than three segments, or ends in one of three letters.
func tooSmall(a, b Kind) bool {
	return a == Prefix && (b == Prefix || b == NoPath) || a == Subtree && b == Prefix
}
