//go:build linux

package main

import (
	"os"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"
)

func fakeProc() procfs {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	return procfs{fstest.MapFS{
		// A master, two workers, the child of one, and somebody else.
		"10/stat": file("10 (nginx) S 1 10 10 0 -1 4194560 231 0 0 0 3 4 0 0 20 0 1 0 1000 12345 678 18446744073709551615 1 1\n"),
		"11/stat": file("11 (ngi) nx (x) S 10 10 10 0 -1 4194560 231 0 0 0 100 50 7 7 20 0 1 0 1001 12345 678 18446744073709551615 1 1\n"),
		"12/stat": file("12 (nginx) R 10 10 10 0 -1 4194560 231 0 0 0 200 0 0 0 20 0 1 0 1002 12345 678 18446744073709551615 1 1\n"),
		"13/stat": file("13 (sh) S 12 10 10 0 -1 4194560 231 0 0 0 1 0 0 0 20 0 1 0 1003 12345 678 18446744073709551615 1 1\n"),
		"14/stat": file("14 (other) S 1 10 10 0 -1 4194560 231 0 0 0 900 900 0 0 20 0 1 0 1004 12345 678 18446744073709551615 1 1\n"),
		"stat":    file("cpu 1 2 3\n"),

		"10/status": file("Name:\tnginx\nVmPeak:\t   99999 kB\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n"),
		"11/status": file("Name:\tVmRSS: 5 kB\nVmHWM:\t    4096 kB\nVmRSS:\t    3072 kB\n"),
		"12/status": file("Name:\tkernel thread\n"),
		"13/status": file("Name:\tsh\nVmRSS:\tmany kB\n"),
	}}
}

func TestTree(t *testing.T) {
	t.Parallel()
	processes, err := fakeProc().tree(10)
	require.NoError(t, err)
	var pids []int
	var cpu time.Duration
	for _, s := range processes {
		pids = append(pids, s.pid)
		cpu += s.cpu
	}
	require.Equal(t, 10, pids[0])
	require.ElementsMatch(t, []int{10, 11, 12, 13}, pids)
	require.Equal(t, 3580*time.Millisecond, cpu)
	require.Equal(t, "1000", processes[0].started)
	_, err = fakeProc().tree(15)
	require.ErrorContains(t, err, "no process 15")

	processes, err = proc().tree(os.Getpid())
	require.NoError(t, err)
	require.Equal(t, os.Getppid(), processes[0].parent)
}

func TestParseStatRefuses(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"", "10 nginx S 1", "10 (nginx) S 1", "10 )nginx( S 1",
		"x (a) S 1 10 10 0 -1 4194560 231 0 0 0 3 4 0 0 20 0 1 0 1000 1",
		"10 (a) S 1 10 10 0 -1 4194560 231 0 0 0 x 4 0 0 20 0 1 0 1000 1",
	} {
		_, err := parseStat(bad)
		require.Error(t, err, bad)
	}
}

func TestResident(t *testing.T) {
	t.Parallel()
	two := []stat{{pid: 10}, {pid: 11}}
	now, err := fakeProc().resident(current, two)
	require.NoError(t, err)
	require.InDelta(t, 4.0, now, 0)
	most, err := fakeProc().resident(peak, two)
	require.NoError(t, err)
	require.InDelta(t, 6.0, most, 0)
	for _, pid := range []int{12, 13, 14} {
		_, err = fakeProc().resident(current, []stat{{pid: pid}})
		require.Error(t, err, pid)
	}
}
