package canonical_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

func TestCookie(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		lines []string
		want  string
		ok    bool
	}{
		{nil, "", false},
		{[]string{""}, "", false},
		{[]string{"s=1"}, "1", true},
		{[]string{"a=b; s=1; s=2"}, "1", true},
		{[]string{"a=b", " s = 1 "}, " 1", true},
		{[]string{`s="q"`}, "q", true},
		{[]string{`s="`, "s=ok"}, "ok", true},
		{[]string{"s=a\x00b; s=c"}, "c", true},
		{[]string{"ss=1; S=2"}, "", false},
		{[]string{"s"}, "", true},
		{[]string{"s=a=b"}, "a=b", true},
	} {
		got, ok := canonical.Cookie(tt.lines, "s")
		require.Equal(t, tt.ok, ok, "%q", tt.lines)
		require.Equal(t, tt.want, got, "%q", tt.lines)
	}
}

// FuzzCookie compares with net/http, for a name that is a token.
func FuzzCookie(f *testing.F) {
	for _, line := range []string{"s=1", "a=b; s=1", `s="x"`, "s=\x01; s=2", " s\t=1;;=;s", "s=\"", "s=é;s=a,b c"} {
		f.Add(line, "s=2")
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		lines := []string{first, second}
		want, err := (&http.Request{Header: http.Header{"Cookie": lines}}).Cookie("s")
		got, ok := canonical.Cookie(lines, "s")
		if ok != (err == nil) {
			t.Fatalf("%q: found %t, net/http says %v", lines, ok, err)
		}
		if ok && got != want.Value {
			t.Fatalf("%q: got %q, net/http %q", lines, got, want.Value)
		}
	})
}
