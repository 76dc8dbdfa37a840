package observe

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/policy"
)

// jwt is shaped like a token and names nobody.
const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJzM2NyM3QifQ.c2lnbmF0dXJl"

func TestVisible(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in    string
		limit int
		want  string
	}{
		{"", 10, ""},
		{"plain", 10, "plain"},
		{`say "x"=1`, 20, `say "x"=1`},
		{"a\r\nb", 20, `a\r\nb`},
		{"a\tb\x00", 20, `a\tb\x00`},
		{"\x1b[31mred", 20, `\x1b[31mred`},
		{"\x7f\u0080\u009b", 30, `\x7f\u0080\u009b`},
		{"\u2028\u2029", 20, `\u2028\u2029`},
		{"\u202eevil\ufeff\u200b", 40, `\u202eevil\ufeff\u200b`},
		{"a\u00a0b", 20, `a\u00a0b`},
		{"\U000e0041", 20, `\U000e0041`},
		{"\xff\xc0\xaf", 20, `\xff\xc0\xaf`},
		{"\ufffd", 20, "\ufffd"},
		{`a\nb`, 20, `a\\nb`},
		{"Grüße 世界", 20, "Grüße 世界"},
		{"世界世界", 12, "世界世界"},
		{"世界世界", 11, "世界..."},
		{"abcdefghij", 10, "abcdefghij"},
		{"abcdefghijk", 10, "abcdefg..."},
		{"abc\n\n\n\n\n", 10, `abc\n\n...`},
		{jwt, 100, "REDACTED"},
		{"/reset/" + jwt + "/edit", 100, "/reset/REDACTED/edit"},
		{"x=" + jwt + "&y=1", 100, "x=REDACTED&y=1"},
		{jwt[:20], 100, "REDACTED"},
		{jwt + strings.Repeat("A", 5000), 100, "REDACTED"},
		{"eyJ", 100, "eyJ"},
		{"keyJournal", 100, "keyJournal"},
	}
	for _, tt := range tests {
		require.Equal(t, tt.want, visible(tt.in, tt.limit), "%q", tt.in)
	}
}

func TestQueryNames(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("n", 41)
	tests := []struct{ in, want string }{
		{"", ""},
		{"a=1&b=2&a=3", "a&b&a"},
		{"page=2&apikey=s3cr3t", "page=2&apikey"},
		{"page=", "page="},
		{"page", "page"},
		{"&&a=1&", "a"},
		{"=s3cr3t", ""},
		{"debug", "debug"},
		{strings.Repeat("s", 17), "*"},
		{long + "=1", "*"},
		{"a=s3cr3t=s3cr3t", "a"},
		{"a=1;b=2", "a"},
		{"a%0d%0a=1", "a%0d%0a"},
		{"a\n=1", `a\n`},
		{"page=" + strings.Repeat("9", 100), "page=" + strings.Repeat("9", 64) + "..."},
		{"page=" + jwt, "page=REDACTED"},
		{"page=a\nb", `page=a\nb`},
		{"filter[x]=1", "filter[x]"},
		{"page=1;apikey=SECRET", "page=1"},
		{"a;apikey;SECRET=1&b=2", "a&b"},
	}
	for _, tt := range tests {
		require.Equal(t, tt.want, queryNames(tt.in, []string{"page"}), "%q", tt.in)
	}
	require.Equal(t, strings.Repeat("abc&", 63)+"a...", queryNames(strings.Repeat("abc=1&", 10_000), nil))
}

func TestErrorText(t *testing.T) {
	t.Parallel()
	bad := url.Error{Op: "Get", URL: "https://user:s3cr3t@up.example/v1?apikey=s3cr3t&page=1", Err: errors.New("refused")}
	tests := []struct {
		err  error
		want string
	}{
		{nil, ""},
		{errors.New("dial tcp 10.0.0.1:80: connect: connection refused"), "dial tcp 10.0.0.1:80: connect: connection refused"},
		{&bad, `Get "https://REDACTED@up.example/v1?apikey&page": refused`},
		{fmt.Errorf("policy: %w", &bad), `policy: Get "https://REDACTED@up.example/v1?apikey&page": refused`},
		{errors.New("redis://:s3cr3t@cache:6379/0: timeout"), "redis://REDACTED@cache:6379/0: timeout"},
		{errors.New("http://a@b:s3cr3t@h/x"), "http://REDACTED@h/x"},
		{errors.New("mail to ann@example.com?"), "mail to ann@example.com?"},
		{errors.New("token " + jwt + " expired"), "token REDACTED expired"},
		{errors.New("sent Authorization: Bearer s3cr3t-0123"), "sent Authorization: Bearer REDACTED"},
		{errors.New("sent 'Basic dTpzM2NyM3Q='"), "sent 'Basic REDACTED'"},
		{errors.New("a basic mistake was made"), "a basic mistake was made"},
		{
			fmt.Errorf("transport: %w", textproto.ProtocolError("malformed MIME header line: Set-Cookie s3cr3t")),
			"transport: malformed MIME header line",
		},
		{errors.New("two\nlines"), `two\nlines`},
		{errors.New(strings.Repeat("e", 3000)), "..."},
		{errors.New(strings.Repeat("word ", 1000)), strings.Repeat("word ", 101) + "word..."},
		{(*policy.Error)(nil), "*policy.Error panicked in Error"},
	}
	for _, tt := range tests {
		require.Equal(t, tt.want, errorText(tt.err))
	}
}

func TestTargetText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                           "",
		"http://10.0.0.1:80":         "http://10.0.0.1:80",
		"http://u:s3cr3t@h:80/base":  "http://h:80/base",
		"http://h?apikey=s3cr3t":     "http://h",
		"http://u:s3cr3t@h:x/%zz?a=": "http://REDACTED@h:x/%zz?a",
		"unix\n":                     `unix\n`,
	} {
		require.Equal(t, want, targetText(in), in)
	}
}

func checkVisible(t *testing.T, got string, limit int) {
	t.Helper()
	require.LessOrEqual(t, len(got), limit)
	require.True(t, utf8.ValidString(got), "%q", got)
	for _, c := range got {
		require.True(t, strconv.IsPrint(c), "%q", got)
	}
	uncut := strings.TrimSuffix(got, ellipsis)
	if i := strings.Index(uncut, tokenPrefix); i >= 0 {
		require.Zero(t, tokenLength(uncut[i:]), "%q", got)
	}
}

func FuzzVisible(f *testing.F) {
	for _, s := range []string{"", "plain", "a\r\n\x1b\u2028\xff\\", jwt, "\xe2\x80", "世界世界世界", strings.Repeat("\x1b", 100)} {
		f.Add(s, 16)
		f.Add(s, 300)
	}
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = min(max(limit, 8), 1<<16)
		got := visible(s, limit)
		checkVisible(t, got, limit)
		if plain(s) && len(s) <= limit {
			require.Equal(t, s, got)
		}
		// What was not cut or replaced can be read back.
		if !strings.Contains(s, tokenPrefix) && !strings.HasSuffix(got, ellipsis) {
			back, err := strconv.Unquote(`"` + strings.ReplaceAll(got, `"`, `\"`) + `"`)
			require.NoError(t, err)
			require.Equal(t, s, back)
		}
		var decoded string
		require.NoError(t, json.Unmarshal(quote(nil, got), &decoded))
		require.Equal(t, got, decoded)
	})
}

func FuzzScrub(f *testing.F) {
	for _, s := range []string{"a b", "http://u:p@h/x?y=z", "Bearer abc12345", "://@", "?&=;", "\"'<>()", "x://@?@", "http://a@b@c"} {
		f.Add(s, "s3cr3t0")
	}
	f.Fuzz(func(t *testing.T, s, secret string) {
		checkVisible(t, scrub(s), maxError)
		checkVisible(t, queryNames(s, []string{"page"}), maxQuery)
		checkVisible(t, targetText(s), maxHost)
		if len(secret) < 3 || strings.ContainsAny(secret, separators+"/#?&@=") || strings.Contains(s, secret) || strings.Contains(redacted+ellipsis, secret) {
			return
		}
		require.NotContains(t, scrub("dial http://user:"+secret+"@h/: refused"), secret)
		require.NotContains(t, scrub("dial http://h/?user="+secret+": refused"), secret)
		require.NotContains(t, queryNames("abc="+secret+"&"+"d="+secret, nil), secret)
	})
}

func BenchmarkVisible(b *testing.B) {
	for name, s := range map[string]string{
		"plain":  "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
		"escape": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) \x1b[31m\r\n Firefox/140.0 \u2028",
		"huge":   strings.Repeat("A", 1<<20),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = visible(s, maxAgent)
			}
		})
	}
}
