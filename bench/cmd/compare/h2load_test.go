//go:build linux

package main

import (
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

const h2report = `starting benchmark...
spawning thread #0: 16 total client(s). Timing-based test with 0s of warm-up time and 1s of main duration for measurements.
Warm-up started for thread #0.
progress: 100% of clients started
Warm-up phase is over for thread #0.
Main benchmark duration is started for thread #0.
TLS Protocol: TLSv1.3
Cipher: TLS_AES_128_GCM_SHA256
Server Temp Key: X25519 253 bits
Application protocol: h2
Main benchmark duration is over for thread #0. Stopping all clients.
Stopped all clients for thread #0

finished in 2.00s, 5000.50 req/s, 7.55MB/s
requests: 10001 total, 10065 started, 10001 done, 10001 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 10001 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 7.55MB (7917335) total, 5.10MB (5352432) headers (space savings 51.02%), 544.48KB (557545) data
                     min         max         mean         sd        +/- sd
time for request:       43us      1.01ms        87us        38us    92.44%
time for connect:     1.87ms      3.06ms      2.46ms       507us    50.00%
time to 1st byte:     3.17ms      3.37ms      3.29ms        88us    75.00%
req/s           :   27820.43    27922.57    27870.66       42.41    50.00%
`

func TestParseH2load(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		old, new []string // replaced in the report, pairwise
		want     load
	}{
		{"all well", nil, nil, load{requests: 10001, rate: 5000.5}},
		{
			"refusals", []string{"10001 2xx, 0 3xx, 0 4xx, 0 5xx", " 0 failed"}, []string{"9000 2xx, 0 3xx, 1 4xx, 1000 5xx", " 1001 failed"},
			load{requests: 9000, rate: 5000.5 * 9000 / 10001, errors: 1001},
		},
		{ // which h2load takes for successes
			"redirects", []string{"10001 2xx, 0 3xx"}, []string{"1 2xx, 10000 3xx"},
			load{requests: 1, rate: 5000.5 / 10001, errors: 10000},
		},
		{ // no answers, so no status
			"streams that were reset", []string{" 0 failed, 0 errored, 0 timeout"}, []string{" 9 failed, 9 errored, 3 timeout"},
			load{requests: 10001, rate: 5000.5 * 10001 / 10010, errors: 9},
		},
		{ // h2load connects to nobody without a word
			"nobody there", []string{"10001 2xx", "5000.50 req/s", "Application protocol: h2\n"}, []string{"0 2xx", "0.00 req/s", ""},
			load{},
		},
	}
	for _, tt := range tests {
		out := h2report
		for i, old := range tt.old {
			require.Contains(t, out, old, tt.name)
			out = strings.Replace(out, old, tt.new[i], 1)
		}
		l, err := parseH2load(out)
		require.NoError(t, err, tt.name)
		require.InDelta(t, tt.want.rate, l.rate, 1e-6, tt.name)
		l.rate = tt.want.rate
		require.Equal(t, tt.want, l, tt.name)
	}
}

func TestParseH2loadRefuses(t *testing.T) {
	t.Parallel()
	for _, change := range [][2]string{
		{h2report, ""},
		{"protocol: h2", "protocol: http/1.1"},
		{"Application protocol: h2\n", ""},
		{"status codes:", "statuses:"},
		{"requests:", "calls:"},
		{"0 failed", "0 unlucky"},
		{" 2xx", " fine"},
		{" 3xx", " moved"},
		{"10001 2xx", "many 2xx"},
		{"5000.50 req/s", "many req/s"},
		{"req/s, 7.55", "calls/s, 7.55"},
	} {
		require.Contains(t, h2report, change[0])
		_, err := parseH2load(strings.Replace(h2report, change[0], change[1], 1))
		require.Error(t, err, change)
	}
}

func TestParseTimes(t *testing.T) {
	t.Parallel()
	var hundred strings.Builder
	for _, n := range []string{"7", "3", "9", "1", "5", "2", "8", "10", "4", "6"} {
		hundred.WriteString("1795920256302600\t200\t" + n + "\n1795920256302600\t503\t1000\n1795920256302600\t-1\t1000\n")
	}
	tests := []struct {
		in       string
		p50, p99 int64 // microseconds
	}{
		{"", 0, 0},
		{"1\t204\t7\n", 7, 7},
		{"1\t200\t7\tmore\n1\t200\t9\n", 7, 9},
		{hundred.String(), 5, 10},
	}
	for _, tt := range tests {
		p50, p99, err := parseTimes(strings.NewReader(tt.in))
		require.NoError(t, err, tt.in)
		require.Equal(t, tt.p50, p50.Microseconds(), tt.in)
		require.Equal(t, tt.p99, p99.Microseconds(), tt.in)
	}
	for _, bad := range []string{"1\t200\n", "no line", "1\t200\tlong\n"} {
		_, _, err := parseTimes(strings.NewReader(bad))
		require.Error(t, err, bad)
	}
	_, _, err := parseTimes(iotest.ErrReader(iotest.ErrTimeout))
	require.ErrorIs(t, err, iotest.ErrTimeout)
}
