package canonical_test

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

func FuzzPath(f *testing.F) {
	for _, tt := range targets {
		path, _, _ := strings.Cut(tt.target, "?")
		f.Add(path, path, false)
		f.Add(path, path, true)
	}
	f.Add("/a b", "/a%20b", false)
	f.Add("/x", "/a%2Fb", true)
	f.Fuzz(func(t *testing.T, path, rawPath string, allow bool) {
		o := canonical.PathOptions{AllowEncodedSlash: allow}
		// A parsed target, a path alone, and two fields that may disagree.
		for _, u := range []*url.URL{parsed(rawPath), {Path: path}, {Path: path, RawPath: rawPath}} {
			if u == nil {
				continue
			}
			got, err := canonical.Path(u, o)
			if err != nil {
				var pathErr *canonical.PathError
				require.ErrorAs(t, err, &pathErr)
				continue
			}
			requireCanonical(t, got, o)
			if !strings.ContainsRune(u.EscapedPath(), '.') && !strings.Contains(u.EscapedPath(), "//") && !strings.Contains(strings.ToLower(u.EscapedPath()), "%2e") {
				require.Equal(t, u.Path, canonical.Unescape(got), "without dots and double slashes nothing but the spelling changes")
			}
		}
	})
}

func FuzzLiteral(f *testing.F) {
	for _, tt := range targets {
		path, _, _ := strings.Cut(tt.target, "?")
		f.Add(path, false)
		f.Add(path, true)
	}
	f.Fuzz(func(t *testing.T, s string, allow bool) {
		o := canonical.PathOptions{AllowEncodedSlash: allow}
		got, err := canonical.Literal(s, o)
		if err == nil {
			requireCanonical(t, got, o)
		}
		// Escaping what is unreserved changes no meaning, so it may change no result.
		if alias, aliasErr := canonical.Literal(escapeUnreserved(s), o); !strings.Contains(s, "%") {
			require.Equal(t, got, alias)
			require.Equal(t, err, aliasErr)
		}
		// A person's spelling and a client's are judged alike.
		if u := parsed(s); u != nil && !strings.Contains(s, "?") {
			sent, sentErr := canonical.Path(u, o)
			require.Equal(t, got, sent)
			require.Equal(t, err, sentErr)
		}
	})
}

// requireCanonical checks got by means that share nothing with the code.
func requireCanonical(t *testing.T, got string, o canonical.PathOptions) {
	t.Helper()
	require.True(t, strings.HasPrefix(got, "/"), "%q", got)
	require.NotContains(t, got, "//")
	require.NotContains(t, got, `\`)
	for i := range len(got) {
		require.True(t, got[i] > ' ' && got[i] < 0x7f && !strings.ContainsRune("\"#<>?[]^`{|}", rune(got[i])), "byte %d of %q", i, got)
	}
	if !o.AllowEncodedSlash {
		require.NotContains(t, got, "%2F")
	}

	// Idempotent, in both ways a path can reach the code again.
	again, err := canonical.Literal(got, o)
	require.NoError(t, err)
	require.Equal(t, got, again)
	u := new(url.URL)
	canonical.SetPath(u, got)
	again, err = canonical.Path(u, o)
	require.NoError(t, err)
	require.Equal(t, got, again)

	// net/url reads it back, and SetPath does as its parser does.
	back, err := url.Parse(got)
	require.NoError(t, err)
	require.Equal(t, got, back.EscapedPath())
	require.Equal(t, back, u)
	require.True(t, utf8.ValidString(u.Path))

	// No upstream finds a dot segment that we let through, whether it decodes
	// once or twice (%25 is data by contract, so it is kept apart), takes
	// escaped slashes or backslashes for separators, or drops parameters.
	decoded := strings.ReplaceAll(got, "%25", "\x01")
	for range 2 {
		decoded = naiveDecode(decoded)
		require.NotContains(t, decoded, "\x00")
		for _, segment := range strings.FieldsFunc(decoded, func(r rune) bool { return r == '/' || r == '\\' }) {
			segment, _, _ = strings.Cut(segment, ";")
			require.NotEqual(t, "..", segment, "%q", got)
			require.NotEqual(t, ".", segment, "%q", got)
		}
	}
}

func naiveDecode(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		var c byte
		if s[i] == '%' && i+3 <= len(s) {
			if _, err := fmt.Sscanf(strings.ToLower(s[i+1:i+3]), "%02x", &c); err == nil {
				b.WriteByte(c)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func escapeUnreserved(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.' || c == '-' || c == '~' || c == '_' || c >= '0' && c <= '9':
			fmt.Fprintf(&b, "%%%02x", c)
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			fmt.Fprintf(&b, "%%%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// parsed returns target as net/http's server would have parsed it, or nil.
func parsed(target string) *url.URL {
	u, err := url.ParseRequestURI(target)
	if err != nil || !strings.HasPrefix(target, "/") {
		return nil
	}
	return u
}

func FuzzHost(f *testing.F) {
	for _, tt := range authorities {
		f.Add(tt.authority)
	}
	f.Fuzz(func(t *testing.T, authority string) {
		host, port, err := canonical.Host(authority)
		if err != nil {
			var hostErr *canonical.HostError
			require.ErrorAs(t, err, &hostErr)
			require.Empty(t, host+port)
			return
		}
		require.Equal(t, strings.ToLower(host), host)
		require.NotContains(t, host, "..")
		require.False(t, host == "" || strings.HasPrefix(host, ".") || strings.HasSuffix(host, ".") || len(host) > 253)
		again := host
		if strings.Contains(host, ":") {
			addr, err := netip.ParseAddr(host)
			require.NoError(t, err)
			require.Equal(t, addr.String(), host)
			again = "[" + host + "]"
		}
		if port != "" {
			again += ":" + port
		}
		host2, port2, err := canonical.Host(again)
		require.NoError(t, err)
		require.Equal(t, [2]string{host, port}, [2]string{host2, port2})
	})
}

func FuzzNameSet(f *testing.F) {
	f.Add("X-User-Id", "x_user.id")
	f.Add("Host", "HOST")
	f.Add("\x80", "-")
	f.Fuzz(func(t *testing.T, member, name string) {
		set := canonical.NewNameSet("X-Request-Id", member)
		require.Equal(t, naiveFold(name), canonical.Fold(name))
		want := name != "" && (naiveFold(name) == "x-request-id" || naiveFold(name) == naiveFold(member))
		require.Equal(t, want, set.Contains(name))
		if set.Exact(name) {
			require.True(t, set.Contains(name))
		}
	})
}

func naiveFold(name string) string {
	b := []byte(strings.ToLower(strings.ToUpper(string(asciiOnly(name)))))
	for i, c := range b {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789", rune(c)) {
			b[i] = '-'
		}
	}
	return string(b)
}

func asciiOnly(name string) []byte {
	b := []byte(name)
	for i := range b {
		if b[i] >= 0x80 {
			b[i] = '-'
		}
	}
	return b
}
