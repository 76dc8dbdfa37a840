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
	require.NoError(t, run(t.Context(), 200*time.Millisecond, &out))
	rest := out.String()
	for _, want := range []string{
		`  2 s 100 answered,   0 by the fallback,   0 failed; breaker closed, 2 of 2 targets healthy`,
		`----- the first target answers 500 to everything`,
		`the first target is (ejected|failing): http_failures; 1 of 2 are healthy`,
		`  6 s 100 answered,   0 by the fallback,   0 failed; breaker closed, 1 of 2 targets healthy`,
		`----- the second one, too`,
		`the circuit breaker is open: consecutive_failures`,
		` [1-9][0-9]* by the fallback`,
		`the circuit breaker is half_open: open_time_over`,
		`----- both targets are well again`,
		`the circuit breaker is closed: probes_succeeded`,
		` 18 s 100 answered,   0 by the fallback,   0 failed; breaker closed, 2 of 2 targets healthy`,
	} {
		at := regexp.MustCompile(want).FindStringIndex(rest)
		require.NotNil(t, at, "%q in\n%s", want, out.String())
		rest = rest[at[1]:]
	}
	require.Equal(t, 18, strings.Count(out.String(), "by the fallback"))
}
