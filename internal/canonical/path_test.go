package canonical_test

import (
	"bufio"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/internal/race"
)

// allowed is a result prefix in tables: the row holds when encoded slashes are
// allowed, and is refused as such when they are not.
const allowed = "%2F: "

// targets are request targets as a client sends them, with what becomes of
// them: a path, or "!" and the reason of the refusal.
var targets = []struct{ name, target, want string }{
	{"root", "/", "/"},
	{"plain", "/users/42", "/users/42"},
	{"slash at the end", "/users/42/", "/users/42/"},
	{"query is not the path", "/users?next=/../admin%00", "/users"},
	{"case is kept", "/Admin", "/Admin"},
	{"sub-delimiters and pchar", "/a!$&'()*+,;=:@b", "/a!$&'()*+,;=:@b"},
	{"escaped sub-delimiters stay escaped", "/a%21%24%28%29%2a", "/a%21%24%28%29%2A"},
	{"colon in the first segment", "/a:b", "/a:b"},
	{"absolute form", "http://example.com/a/../b", "/b"},
	{"absolute form without a path", "http://example.com", "/"},

	{"unreserved escapes are decoded", "/%41%7e%2D%5f%30/x", "/A~-_0/x"},
	{"other escapes in upper case", "/a%c3%a9%3a", "/a%C3%A9%3A"},
	{"raw UTF-8 is escaped", "/caf\u00e9", "/caf%C3%A9"},
	{"escaped UTF-8", "/caf%C3%A9", "/caf%C3%A9"},
	{"raw bytes outside the grammar", "/\"<>^`{|}[]", "/%22%3C%3E%5E%60%7B%7C%7D%5B%5D"},
	{"the same, escaped", "/%22%3c%3e%5e%60%7b%7c%7d%5b%5d", "/%22%3C%3E%5E%60%7B%7C%7D%5B%5D"},
	{"escaped space", "/a%20b", "/a%20b"},
	{"plus is not a space", "/a+b", "/a+b"},

	{"dot segment", "/a/./b", "/a/b"},
	{"dot segment at the end", "/a/.", "/a/"},
	{"parent", "/a/b/../c", "/a/c"},
	{"parent at the end", "/a/..", "/"},
	{"parent at the end, deeper", "/a/b/..", "/a/"},
	{"parent, slash at the end", "/a/b/../", "/a/"},
	{"never above the root", "/../../etc/passwd", "/etc/passwd"},
	{"never above the root, again", "/a/../../../b", "/b"},
	{"only parents", "/..", "/"},
	{"only a dot", "/.", "/"},
	{"escaped dots", "/a/%2e%2E/b", "/b"},
	{"half escaped dots", "/a/.%2e/%2e./b", "/b"},
	{"escaped single dot", "/a/%2e/b", "/a/b"},
	{"dots that are names", "/.well-known/...//..a/a../.a.", "/.well-known/.../..a/a../.a."},

	{"repeated slashes", "//a///b//", "/a/b/"},
	{"only slashes", "////", "/"},
	{"looks like an authority", "//evil.example/", "/evil.example/"},
	{"slashes are merged as segments are read", "/a//../b", "/b"},
	{"parent above merged slashes", "/a/b//..//..//c", "/c"},

	{"escaped percent is data", "/a%25b", "/a%25b"},
	{"double encoding stays double", "/%252e%252e/%252Fb%255c%2500", "/%252e%252e/%252Fb%255c%2500"},
	{"parameters are data", "/a;b=c/d;e", "/a;b=c/d;e"},
	{"parameters, escaped", "/a%3bb", "/a%3Bb"},
	{"a parameter before a parent", "/a/;/../b", "/a/b"},
	{"semicolon, then dots", "/a;../b", "/a;../b"},
	{"line ends are data", "/a%0d%0ab", "/a%0D%0Ab"},
	{"escaped DEL is data", "/a%7fb", "/a%7Fb"},
	{"escaped '?'", "/a%3fb", "/a%3Fb"},
	{"escaped '#'", "/a%23b", "/a%23b"},
	{"Unicode lookalikes are data", "/a/%EF%BC%8E%EF%BC%8E/b", "/a/%EF%BC%8E%EF%BC%8E/b"},

	{"escaped slash", "/a%2fb", allowed + "/a%2Fb"},
	{"escaped slashes around nothing", "/a%2F%2fb", allowed + "/a%2F%2Fb"},
	{"escaped slash and a parent that is plain", "/a%2Fb/../c%2F", allowed + "/c%2F"},
	{"hidden parent", "/public/..%2fadmin", "!hidden_dot_segment"},
	{"hidden parent, behind", "/public/x%2f..", "!hidden_dot_segment"},
	{"hidden parent, between", "/public%2f..%2fadmin", "!hidden_dot_segment"},
	{"hidden parent, escaped dots", "/public/%2e%2e%2fadmin", "!hidden_dot_segment"},
	{"hidden dot", "/public/.%2fadmin", "!hidden_dot_segment"},
	{"hidden dot, behind", "/public/a%2F%2e", "!hidden_dot_segment"},
	{"hidden parent with a parameter", "/public/a%2F..;x", "!dot_semicolon"},

	{"parent with a parameter", "/a/..;/b", "!dot_semicolon"},
	{"parent with a named parameter", "/a/..;x=y/b", "!dot_semicolon"},
	{"parent with an escaped semicolon", "/a/..%3b/b", "!dot_semicolon"},
	{"all of it escaped", "/a/%2e%2e%3B/b", "!dot_semicolon"},
	{"dot with a parameter", "/a/.;/b", "!dot_semicolon"},
	{"dot with an escaped semicolon", "/a/%2e%3bx", "!dot_semicolon"},
	{"even where a parent removes it", "/a/..;/../b", "!dot_semicolon"},

	{"escaped NUL", "/a%00b", "!nul"},
	{"raw backslash", `/a\..\b`, "!backslash"},
	{"escaped backslash", "/a%5c..%5Cb", "!backslash"},
	{"raw fragment", "/public#/../admin", "!fragment"},
	{"fragment and a query", "/a#b?c", "!fragment"},
	{"overlong dot", "/%c0%ae%c0%ae/", "!invalid_utf8"},
	{"overlong slash", "/a%c0%afb", "!invalid_utf8"},
	{"overlong slash, three bytes", "/a%e0%80%afb", "!invalid_utf8"},
	{"surrogate", "/%ed%a0%80", "!invalid_utf8"},
	{"Latin-1", "/caf%e9", "!invalid_utf8"},
	{"raw Latin-1", "/caf\xe9", "!invalid_utf8"},
	{"half a character", "/%c3", "!invalid_utf8"},
	{"a character cut by a slash", "/%c3/%a9", "!invalid_utf8"},
	{"asterisk form", "*", "!not_absolute"},
}

func TestPathOfRequestTargets(t *testing.T) {
	t.Parallel()
	for _, tt := range targets {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			method := http.MethodGet
			if tt.target == "*" {
				method = http.MethodOptions
			}
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(method + " " + tt.target + " HTTP/1.1\r\nHost: example.com\r\n\r\n")))
			require.NoError(t, err)
			before := *r.URL

			want, encoded := strings.CutPrefix(tt.want, allowed)
			strict := want
			if encoded {
				strict = "!encoded_slash"
			}
			requirePath(t, strict, r.URL, canonical.PathOptions{})
			requirePath(t, want, r.URL, canonical.PathOptions{AllowEncodedSlash: true})
			require.Equal(t, before, *r.URL, "Path must not change the URL")

			if path, _, _ := strings.Cut(tt.target, "?"); strings.HasPrefix(path, "/") {
				got, err := canonical.Literal(path, canonical.PathOptions{AllowEncodedSlash: true})
				requireResult(t, want, got, err)
			}
		})
	}
}

// Targets net/http lets nobody send, or that only a middleware can make.
func TestPathOfURLs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		u    *url.URL
		want string
	}{
		{"nil", nil, "!not_absolute"},
		{"empty", &url.URL{}, "!not_absolute"},
		{"empty with a host", &url.URL{Host: "example.com"}, "/"},
		{"no slash in front", &url.URL{Path: "admin"}, "!not_absolute"},
		{"no slash in front, escaped", &url.URL{Path: "/admin", RawPath: "%2Fadmin"}, "!not_absolute"},
		{"opaque", &url.URL{Scheme: "http", Opaque: "//example.com/a", Path: "/a"}, "!not_absolute"},
		{"path alone is data", &url.URL{Path: "/a b?c#d%2fe"}, "/a%20b%3Fc%23d%252fe"},
		{"path alone, control bytes are data", &url.URL{Path: "/a\r\nb\x7f"}, "/a%0D%0Ab%7F"},
		{"path alone, NUL", &url.URL{Path: "/a\x00"}, "!nul"},
		{"path alone, backslash", &url.URL{Path: `/a\b`}, "!backslash"},
		{"path alone, parent", &url.URL{Path: "/a/../b"}, "/b"},
		{"path alone, parent with a parameter", &url.URL{Path: "/a/..;/b"}, "!dot_semicolon"},
		{"path alone, default escaping", &url.URL{Path: "/a!b*"}, "/a%21b%2A"},
		{"path alone, invalid", &url.URL{Path: "/\xff"}, "!invalid_utf8"},
		{"raw form of another path", &url.URL{Path: "/new", RawPath: "/old%2Fpath"}, "/new"},
		{"raw form that is cut short", &url.URL{Path: "/new/er", RawPath: "/new"}, "/new/er"},
		{"raw form that is longer", &url.URL{Path: "/new", RawPath: "/new/er"}, "/new"},
		{"raw form that is malformed", &url.URL{Path: "/a%zz", RawPath: "/a%zz"}, "/a%25zz"},
		{"raw form that is cut in an escape", &url.URL{Path: "/a%2", RawPath: "/a%2"}, "/a%252"},
		{"raw control byte", &url.URL{Path: "/a\nb", RawPath: "/a\nb"}, "!control"},
		{"raw DEL", &url.URL{Path: "/a\x7f", RawPath: "/a\x7f"}, "!control"},
		{"raw NUL", &url.URL{Path: "/a\x00", RawPath: "/a\x00"}, "!nul"},
		{"raw tab", &url.URL{Path: "/a\tb", RawPath: "/a\tb"}, "!control"},
		{"raw '?'", &url.URL{Path: "/a?b", RawPath: "/a?b"}, "!query"},
		{"raw space", &url.URL{Path: "/a b", RawPath: "/a b"}, "/a%20b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			requirePath(t, tt.want, tt.u, canonical.PathOptions{})
		})
	}
}

func TestLiteral(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, in, want string }{
		{"empty", "", "!not_absolute"},
		{"no slash in front", "users", "!not_absolute"},
		{"stars and colons are ordinary", "/users/:id/*rest", "/users/:id/*rest"},
		{"space and UTF-8", "/überblick für alle", "/%C3%BCberblick%20f%C3%BCr%20alle"},
		{"escapes", "/%7euser/%c3%bc", "/~user/%C3%BC"},
		{"dots", "/a/./b/../c", "/a/c"},
		{"bad escape", "/100%", "!bad_escape"},
		{"bad escape at the end", "/a%2", "!bad_escape"},
		{"bad digits", "/a%zz", "!bad_escape"},
		{"bad second digit", "/a%4g", "!bad_escape"},
		{"query", "/search?q=1", "!query"},
		{"fragment", "/a#top", "!fragment"},
		{"tab", "/a\tb", "!control"},
		{"NUL", "/a\x00", "!nul"},
		{"invalid UTF-8", "/\xc0\xaf", "!invalid_utf8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := canonical.Literal(tt.in, canonical.PathOptions{})
			requireResult(t, tt.want, got, err)
		})
	}
}

func TestPathLongerThanTheScratchBuffer(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("/\u00e9", 3000)
	got, err := canonical.Literal(long+"/../x", canonical.PathOptions{})
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("/%C3%A9", 2999)+"/x", got)
}

func TestPathErrorNamesOnlyTheReason(t *testing.T) {
	t.Parallel()
	_, err := canonical.Path(&url.URL{Path: "/secret\\token"}, canonical.PathOptions{})
	require.EqualError(t, err, "canonical: path refused: backslash")
}

func TestUnescape(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":              "",
		"/a/b":          "/a/b",
		"/a%20b":        "/a b",
		"/%C3%A9%c3%a9": "/\u00e9\u00e9",
		"%252F":         "%2F",
		"/a%":           "/a%",
		"/a%4":          "/a%4",
		"/a%4g%41":      "/a%4gA",
	} {
		require.Equal(t, want, canonical.Unescape(in), "%q", in)
	}
}

func TestSetPathAgreesWithNetURL(t *testing.T) {
	t.Parallel()
	for _, tt := range targets {
		want, _ := strings.CutPrefix(tt.want, allowed)
		if strings.HasPrefix(want, "!") {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			u := &url.URL{Path: "/before", RawPath: "/before%2F", RawQuery: "q=1"}
			canonical.SetPath(u, want)
			require.Equal(t, want, u.EscapedPath())
			parsed, err := url.Parse(want + "?q=1")
			require.NoError(t, err)
			require.Equal(t, parsed, u)
		})
	}
}

func TestCanonicalPathsAllocateNothing(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	for _, s := range []string{
		"/", "/users/42/orders", "/.well-known/acme", "/a;b=c", "/caf%C3%A9/men%C3%BC", "/a!b", "/a%2Fb", "/..a/b", "/a%252Fb",
	} {
		u, err := url.Parse(s)
		require.NoError(t, err)
		held := u.RawPath
		if held == "" && u.Path == s {
			held = u.Path
		}
		var got string
		allocs := testing.AllocsPerRun(100, func() {
			got, _ = canonical.Path(u, canonical.PathOptions{AllowEncodedSlash: true})
		})
		require.Equal(t, s, got)
		// net/url keeps "/caf%C3%A9" in decoded form only: nobody holds the
		// escaped string, and making it is the one allocation.
		want := 0
		if held == "" {
			want = 1
		}
		require.Equal(t, want, int(allocs), "%q", s)
	}
	require.Zero(t, testing.AllocsPerRun(100, func() { _ = canonical.Unescape("/users/42") }))
	u := new(url.URL)
	require.Zero(t, testing.AllocsPerRun(100, func() { canonical.SetPath(u, "/users/42") }))
}

func requirePath(t *testing.T, want string, u *url.URL, o canonical.PathOptions) {
	t.Helper()
	got, err := canonical.Path(u, o)
	requireResult(t, want, got, err)
	if err != nil {
		return
	}
	again := new(url.URL)
	canonical.SetPath(again, got)
	twice, err := canonical.Path(again, o)
	requireResult(t, want, twice, err)
}

// requireResult compares with a path, or with "!" and a reason.
func requireResult(t *testing.T, want, got string, err error) {
	t.Helper()
	if reason, refused := strings.CutPrefix(want, "!"); refused {
		var pathErr *canonical.PathError
		require.ErrorAs(t, err, &pathErr, "got %q", got)
		require.Equal(t, reason, pathErr.Reason)
		require.Empty(t, got)
		return
	}
	require.NoError(t, err)
	require.Equal(t, want, got)
}
