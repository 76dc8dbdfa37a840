//go:build linux

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const report = `Running 1s test @ http://127.0.0.1:8000/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     3.33ms    1.96ms  28.97ms   97.63%
    Req/Sec     1.86k   336.06     2.21k    81.82%
  Latency Distribution
     50%  906.00us
     75%    3.60ms
     90%    4.22ms
     99%    1.02s
  2037 requests in 1.10s, 1.01MB read
Requests/sec:   1852.25
Transfer/sec:      0.92MB
`

func TestParseWrk(t *testing.T) {
	t.Parallel()
	want := load{requests: 2037, rate: 1852.25, p50: 906 * time.Microsecond, p99: 1020 * time.Millisecond}
	l, err := parseWrk(report)
	require.NoError(t, err)
	require.Equal(t, want, l)

	l, err = parseWrk(strings.Replace(report, "Requests/sec", "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 100\nRequests/sec", 1))
	require.NoError(t, err)
	want.errors, want.requests = 110, 1937
	require.InDelta(t, 1852.25*1937/2037, l.rate, 1e-6)
	want.rate = l.rate
	require.Equal(t, want, l)

	_, err = parseWrk("  0 requests in 1.10s, 0.00B read\nRequests/sec:      0.00\n")
	require.NoError(t, err, "nothing was answered, which is a result")
}

func TestParseWrkRefuses(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"",
		strings.ReplaceAll(report, "requests in", "calls in"),
		strings.ReplaceAll(report, "Requests/sec", "Calls/sec"),
		strings.ReplaceAll(report, "99%", "98%"),
		strings.ReplaceAll(report, "906.00us", "fast"),
		strings.ReplaceAll(report, "1852.25", "many"),
		report + "  Socket errors: none\n",
		report + "  Non-2xx or 3xx responses: 2038\n",
	} {
		_, err := parseWrk(bad)
		require.Error(t, err, bad)
	}
}
