//go:build linux

package main

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/bench/conf"
)

// A whole comparison, as short as it can be.
func TestCompare(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("wrk"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("wrk is not installed, and CI has to have it: apt-get install wrk")
		}
		t.Skip("needs wrk: apt-get install wrk")
	}
	s, err := parse([]string{"-workloads=plain", "-only=httputil,gatehouse", "-rounds=1", "-d=1", "-w=0", "-c=4"}, t.Output())
	require.NoError(t, err)
	var out bytes.Buffer
	s.tables, s.progress = &out, t.Output()
	require.NoError(t, run(t.Context(), &s))

	rows := map[string][]string{}
	for line := range strings.Lines(out.String()) {
		if cells := strings.Split(strings.Trim(line, "| \n"), " | "); len(cells) > 1 {
			rows[cells[0]] = cells
		}
	}
	require.Len(t, rows, 4, out.String())
	for _, name := range []string{"httputil", "gatehouse"} {
		row := rows[name]
		require.Len(t, row, 12, out.String())
		require.Equal(t, "0", row[11], out.String())
		for i := 1; i < 11; i++ {
			if i == 4 {
				continue // one round has no spread
			}
			x, err := strconv.ParseFloat(row[i], 64)
			require.NoError(t, err, row)
			require.Positive(t, x, row)
		}
	}
}

// The policies must be in force where a row claims so: this is what a probe is for.
func TestProbeFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	s, err := parse(nil, t.Output())
	require.NoError(t, err)
	b := &bench{settings: s, dir: t.TempDir()}
	require.NoError(t, b.build(t.Context()))
	addrs, err := freeAddrs(t.Context(), 1)
	require.NoError(t, err)
	b.origin = addrs[0]
	origin, err := b.start(t.Context(), command{args: []string{b.bin + "/origin", "-listen", b.origin}, dir: b.dir})
	require.NoError(t, err)
	defer origin.stop()
	require.NoError(t, origin.listens(t.Context(), b.origin))

	for _, w := range workloads {
		for _, c := range candidates {
			if !c.ours() || !slices.Contains(c.workloads, w.name) {
				continue
			}
			v, err := b.values(t.Context())
			require.NoError(t, err)
			p, err := b.startCandidate(t.Context(), c, v)
			require.NoError(t, err)
			require.NoError(t, p.listens(t.Context(), v.Listen), c.name)
			require.NoError(t, probe(t.Context(), v.Listen, w, c.policies), c.name)
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			if !c.policies && w.name == policy {
				require.ErrorContains(t, probeOnce(t.Context(), client, v.Listen, w, true), "not in force")
			}
			wrong := w
			wrong.length++
			require.ErrorContains(t, probeOnce(t.Context(), client, v.Listen, wrong, c.policies), "want 200 with")
			if w.name == routes1k {
				wrong.path = "/svc1000/items/5"
				require.ErrorContains(t, probeOnce(t.Context(), client, v.Listen, wrong, c.policies), "status 404")
			}
			p.stop()
			select {
			case <-p.done:
			default:
				t.Fatal("it still runs")
			}
		}
	}
}

func TestStopEndsDescendants(t *testing.T) {
	t.Parallel()
	b := &bench{dir: t.TempDir()}
	// A shell that minds no signal, and a child of its own.
	p, err := b.start(t.Context(), command{args: []string{"sh", "-c", "trap '' TERM; sleep 600 & wait; wait"}, dir: b.dir})
	require.NoError(t, err)
	var processes []stat
	require.Eventually(t, func() bool {
		processes, err = proc().tree(p.cmd.Process.Pid)
		return err == nil && len(processes) == 2
	}, 5*time.Second, 10*time.Millisecond)
	p.stop()
	require.Eventually(t, func() bool {
		for _, s := range processes {
			state, err := os.ReadFile("/proc/" + strconv.Itoa(s.pid) + "/stat")
			if err == nil && !strings.Contains(string(state), ") Z ") {
				return false
			}
		}
		return true
	}, 5*time.Second, 10*time.Millisecond)
	p.stop() // again, when nothing is left
}

func TestListensSaysWhy(t *testing.T) {
	t.Parallel()
	b := &bench{dir: t.TempDir()}
	p, err := b.start(t.Context(), command{args: []string{"sh", "-c", "echo no such luck"}, dir: b.dir})
	require.NoError(t, err)
	require.ErrorContains(t, p.listens(t.Context(), "127.0.0.1:1"), "no such luck")
	_, err = b.start(t.Context(), command{args: []string{"/no/such/program"}, dir: b.dir})
	require.Error(t, err)
}

func TestParse(t *testing.T) {
	t.Parallel()
	s, err := parse([]string{"-workloads", "plain,policy", "-only", "gatehouse, httputil", "-d", "3", "-w", "0", "-pin"}, t.Output())
	require.NoError(t, err)
	require.Equal(t, []string{"plain", "policy"}, s.workloads)
	require.Equal(t, []string{"gatehouse", "httputil"}, s.only)
	require.Equal(t, 3*time.Second, s.measure)
	require.True(t, s.pin)
	require.Equal(t, 7, s.rounds)
	for _, bad := range []string{"-workloads=plain,gone", "-only=gone", "-rounds=0", "-d=0", "-w=-1", "-c=0", "plain", "-nothing"} {
		_, err := parse([]string{bad}, t.Output())
		require.Error(t, err, bad)
	}
}

func TestCandidates(t *testing.T) {
	t.Parallel()
	for _, w := range workloads {
		names := map[string]bool{}
		for _, r := range rowsOf(w.name, candidates) {
			require.False(t, names[r.candidate.name], "%s has %s twice", w.name, r.candidate.name)
			names[r.candidate.name] = true
		}
		require.True(t, names[baseline], w.name)
		require.True(t, names["gatehouse"], w.name)
	}
	for _, c := range candidates {
		for _, name := range c.workloads {
			require.Contains(t, workloadNames(), name, c.name)
		}
		for _, name := range c.files {
			_, err := conf.Render(name, conf.Values{})
			require.NoError(t, err, c.name)
		}
	}
}

func TestMissingIsLeftOut(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	b := &bench{settings: settings{luaModules: t.TempDir(), only: []string{"gatehouse", "nginx+lua"}, progress: &said}}
	found, err := b.present()
	require.NoError(t, err)
	for _, c := range found {
		require.Equal(t, "gatehouse", c.name)
	}
	require.Len(t, found, 3)
	require.Equal(t, 1, strings.Count(said.String(), "nginx+lua is left out: "), said.String())

	b.only = []string{"nginx+lua"}
	_, err = b.present()
	require.Error(t, err)
}
