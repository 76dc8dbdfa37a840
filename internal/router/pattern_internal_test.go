package router

import (
	"net/http"
	"regexp/syntax"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLiteralPrefix: what all matches begin with, and whether that is all they have to have.
func TestLiteralPrefix(t *testing.T) {
	t.Parallel()
	for expr, want := range map[string]struct {
		literal string
		whole   bool
	}{
		"/": {"/", true}, "^/a": {"/a", true}, "(/a)(?:/b)": {"/a/b", true}, "(^/a)": {"/a", true},
		".*": {"", true}, "/.*": {"/", true}, "^/.*": {"/", true}, "/(.*)": {"/", true}, "/a.*?": {"/a", true}, "/a(?s:.*)": {"/a", true},
		"/ab?": {"/a", true}, "/a(b)?": {"/a", true}, "/a{0,2}": {"/", true}, "/a(b|)": {"/a", true}, "/a|/ab": {"/a", true}, "/a(/.*)?(x|y*)": {"/a", true},
		"/a+": {"/a", true}, "/a{1,3}": {"/a", true}, "/(a*)+": {"/", true}, "/(ab)+c?": {"/ab", true},
		"/a{2}": {"/a", false}, "/a.*b": {"/a", false}, "/a?b": {"/", false}, "/a+b": {"/a", false}, "/a.": {"/a", false}, "/a|/b": {"/", false},
		"/a$": {"/a", false}, "/a.*$": {"/a", false}, `/a\b`: {"/a", false}, `/a.*\b`: {"/a", false}, "/a^b": {"/a", false}, "/a^": {"/a", false},
		"/(^a)": {"/", false}, "(?i)/a": {"/", false}, "(?i:/a).*": {"/", false}, "(?m)^/a": {"", false}, "[/a]": {"", false}, ".*b": {"", false}, "(?i:a)*": {"", true},
	} {
		tree, err := syntax.Parse(expr, syntax.Perl)
		require.NoError(t, err)
		literal, x := literalPrefix(tree, true)
		if strings.HasPrefix(expr, "(?i") { // how these are divided is the parser's
			literal, want.literal = "", ""
		}
		require.Equal(t, want.literal, literal, expr)
		require.Equal(t, want.whole, x != more, expr)
	}
}

// TestCapturesOfCatchAll: an expression that takes whatever begins with its text still has captures.
func TestCapturesOfCatchAll(t *testing.T) {
	t.Parallel()
	table, err := New([]Route{{Regexps: []string{"/a/(.*)"}}}, Options{})
	require.NoError(t, err)
	var m Match
	require.Equal(t, Found, table.Lookup(&Request{Method: http.MethodGet, Path: "/a/b/c"}, &m))
	_, value := m.Param(0)
	require.Equal(t, "b/c", value)
	require.Equal(t, len("/a/b/c"), m.Matched)
}
