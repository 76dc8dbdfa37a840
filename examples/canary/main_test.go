package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestStory(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), 100*time.Millisecond, &out))
	rest := out.String()
	for _, want := range []string{
		`----- v2 gets 5 %\n`,
		`      v1  \d\d, v2   [1-9]; 0 users`,
		`----- v2 gets 50 %\n`,
		`      v1  \d\d, v2  \d\d; `,
		`----- v2 gets 100 %\n`,
		`      v2 100; `,
		`stable had \d+ requests and 0 errors, and has 0 in flight\n`,
		`canary had \d+ requests and 0 errors, and has 0 in flight\n`,
		`----- v2 is stable now`,
		`failed +\d+, v2 +\d+`,
		`rolled back: errors, \d+ of \d+ against 0 of \d+\n`,
		`      v2 100; `,
		`weights: map\[canary:0 stable:100\]\n`,
		`app: canary rolled back to stable, from 5 of 100: errors, `,
	} {
		at := regexp.MustCompile(want).FindStringIndex(rest)
		require.NotNil(t, at, "%q in\n%s", want, out.String())
		rest = rest[at[1]:]
	}
	require.NotContains(t, strings.SplitN(out.String(), "v3", 2)[0], "failed")
}
