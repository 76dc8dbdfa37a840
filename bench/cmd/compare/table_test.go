//go:build linux

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	x := []float64{5, 1, 3}
	require.InDelta(t, 3.0, median(x), 0)
	require.Equal(t, []float64{5, 1, 3}, x, "the order of the rounds stays")
	require.InDelta(t, 2.5, median([]float64{4, 1, 3, 2}), 0)
	require.InDelta(t, 7.0, median([]float64{7}), 0)
	require.Zero(t, median(nil))
}

func TestSpread(t *testing.T) {
	t.Parallel()
	require.InDelta(t, 0.1, spread([]float64{90, 110, 100}), 1e-9)
	require.Zero(t, spread([]float64{7}))
	require.Zero(t, spread(nil))
}

func TestCheck(t *testing.T) {
	t.Parallel()
	tests := []struct {
		requests, errors int
		cpu              time.Duration
		says             string
	}{
		{1000, 0, time.Second, ""},
		{1000, 10, time.Second, ""},
		{1000, 11, time.Second, "11 failures beside 1000 requests"},
		{99, 1, time.Second, "1 failures"},
		{0, 7, time.Second, "0 requests in 1s of CPU time, and 7 failures"},
		{1000, 0, 0, "1000 requests in 0s"},
	}
	for _, tt := range tests {
		err := sample{load: load{requests: tt.requests, errors: tt.errors}, cpu: tt.cpu}.check()
		if tt.says == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, tt.says)
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	turn := func(requests int, counted bool) sample {
		return sample{
			load: load{requests: requests, rate: float64(requests) / 2, p50: 1500 * time.Microsecond, p99: 20 * time.Millisecond, errors: 1},
			cpu:  time.Second, resident: 16.4, counted: counted, allocs: 22.64, bytes: 4203.6,
		}
	}
	got := table([]row{
		{candidate: candidate{name: baseline}, samples: []sample{turn(900, true), turn(1100, true), turn(1000, true)}},
		{candidate: candidate{name: "nginx"}, samples: []sample{turn(4000, false)}, failed: 2},
		{candidate: candidate{name: "haproxy"}, failed: 3},
		{candidate: candidate{name: "fasthttp", lacks: "no HTTP/2"}},
	})
	lines := strings.Split(got, "\n")
	require.Len(t, lines, 7)
	require.Equal(t, "| httputil | 500 | 1000 | 1.00 | ±10.0% | 1000.0 | 1.50 | 20.00 | 16 | 22.6 | 4204 | 3 |", lines[2])
	require.Equal(t, "| nginx | 2000 | 4000 | 4.00 | ±0.0% | 250.0 | 1.50 | 20.00 | 16 | - | - | 1, and 2 turns failed |", lines[3])
	require.Equal(t, "| haproxy | - | - | - | - | - | - | - | - | - | - | 0, and 3 turns failed |", lines[4])
	require.Equal(t, "| fasthttp | - | - | - | - | - | - | - | - | - | - | no HTTP/2 |", lines[5])
	for _, line := range lines[:6] {
		require.Equal(t, 13, strings.Count(line, "|"), line)
	}

	require.Contains(t, table([]row{{candidate: candidate{name: "nginx"}, samples: []sample{turn(1, false)}}}), "| 1 | - |", "no ratio without a baseline")
}
