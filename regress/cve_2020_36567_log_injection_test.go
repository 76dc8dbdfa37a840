package regress_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// gin wrote the client's path and fields into its log as they were: line ends made records that nobody had logged, and escape
// sequences reached the terminal of who read it.
func TestLogIsNotWrittenByClients(t *testing.T) {
	t.Parallel()
	r := rigged(t, nil)
	r.passes("GET /open/plain HTTP/1.1\nUser-Agent: honest")
	for _, path := range []string{"/open/%0d%0alevel=INFO%20msg=forged", "/open/%1b[31m", "/open/%e2%80%a8forged", "/open/%c2%85x", "/open/%7f"} {
		r.ask("GET " + path + " HTTP/1.1")
		r.ask("GET /open/q?" + strings.TrimPrefix(path, "/open/") + "=1 HTTP/1.1")
	}
	for _, value := range []string{"\x1b[31m", "\xe2\x80\xa8forged", "\xc2\x85", "\xff\xfe", "a\tb\" msg=forged"} {
		r.ask("GET /open/a HTTP/1.1\nUser-Agent: " + value)
		r.ask("GET /open/a HTTP/1.1\nReferer: http://h/" + value)
	}
	text := r.log.String()
	require.Contains(t, text, "/open/plain", "there is a log")
	require.True(t, utf8.ValidString(text))
	for line := range strings.Lines(text) {
		require.True(t, strings.HasPrefix(line, "time="), "%q", line)
		require.False(t, strings.ContainsFunc(strings.TrimSuffix(line, "\n"), func(c rune) bool {
			return unicode.IsControl(c) || c == '\u2028' || c == '\u2029'
		}), "%q", line)
		require.LessOrEqual(t, strings.Count(line, " msg="), 1+strings.Count(line, "\\\" msg="), "%q", line)
	}
}
