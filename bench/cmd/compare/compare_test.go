//go:build linux

package main

import (
	"bytes"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/bench/conf"
)

// needs skips a test where a program is not installed. CI has to have it.
func needs(t *testing.T, command, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(command); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed, and CI has to have it: apt-get install %s", command, pkg)
		}
		t.Skipf("needs %s: apt-get install %s", command, pkg)
	}
}

// A whole comparison, as short as it can be, with each of the load generators.
func TestCompare(t *testing.T) {
	t.Parallel()
	needs(t, "wrk", "wrk")
	needs(t, "h2load", "nghttp2-client")
	names := []string{https, h2post16k} // the first as plain, but for the TLS
	s, err := parse([]string{
		"-workloads=" + strings.Join(names, ","), "-only=httputil,gatehouse", "-rounds=1", "-d=1", "-w=0", "-c=8",
	}, t.Output())
	require.NoError(t, err)
	var out bytes.Buffer
	s.tables, s.progress = &out, t.Output()
	require.NoError(t, run(t.Context(), &s))

	tables := strings.Split(out.String(), "### ")[1:]
	require.Len(t, tables, len(names), out.String())
	for i, table := range tables {
		require.True(t, strings.HasPrefix(table, names[i]+":"), table)
		rows := map[string][]string{}
		for line := range strings.Lines(table) {
			if cells := strings.Split(strings.Trim(line, "| \n"), " | "); len(cells) > 1 {
				rows[cells[0]] = cells
			}
		}
		require.Len(t, rows, 4, table)
		for _, name := range []string{"httputil", "gatehouse"} {
			row := rows[name]
			require.Len(t, row, 12, table)
			require.Equal(t, "0", row[11], table)
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
}

// wrk has to ask with all keys, and with none more often than with others.
func TestKeysInTurn(t *testing.T) {
	t.Parallel()
	needs(t, "wrk", "wrk")
	var mu sync.Mutex
	seen := map[string]int{}
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen[r.Header.Get("Apikey")]++
	}))
	defer origin.Close()
	b := &bench{settings: settings{conns: 1, wrk: "wrk"}, dir: t.TempDir()}
	w := workloads[slices.IndexFunc(workloads, func(w workload) bool { return w.name == policy })]
	v, err := b.values(t.Context(), w)
	require.NoError(t, err)
	v.Listen, v.Keys = origin.Listener.Addr().String(), 100
	_, err = b.drive(t.Context(), v, w, time.Second)
	require.NoError(t, err)
	mu.Lock()
	defer mu.Unlock()
	counts := slices.Sorted(maps.Values(seen))
	require.Len(t, counts, 100)
	require.LessOrEqual(t, counts[99]-counts[0], 1)
}

// The tests that start all candidates, with programs that are built once.
func TestPrograms(t *testing.T) {
	t.Parallel()
	built := &bench{dir: t.TempDir()}
	require.NoError(t, built.build(t.Context()))
	for name, test := range map[string]func(*testing.T, *bench){
		"ProbeFindsWhatIsWrong": probeFindsWhatIsWrong,
		"SameFields":            sameFields,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := parse(nil, t.Output())
			require.NoError(t, err)
			s.progress = t.Output()
			test(t, &bench{settings: s, dir: t.TempDir(), bin: built.bin, certificate: built.certificate})
		})
	}
}

// The policies must be in force where a row claims so: this is what a probe is for.
func probeFindsWhatIsWrong(t *testing.T, b *bench) {
	t.Helper()
	addrs, err := freeAddrs(t.Context(), 1)
	require.NoError(t, err)
	b.origin = addrs[0]
	origin, err := b.start(t.Context(), command{args: []string{b.bin + "/origin", "-listen", b.origin}, dir: b.dir})
	require.NoError(t, err)
	defer origin.stop()
	require.NoError(t, origin.listens(t.Context(), b.origin))

	for _, w := range workloads {
		for _, c := range candidates {
			if !c.ours() || c.lacks != "" || !slices.Contains(c.workloads, w.name) {
				continue
			}
			v, err := b.values(t.Context(), w)
			require.NoError(t, err)
			p, err := b.startCandidate(t.Context(), c, v)
			require.NoError(t, err)
			require.NoError(t, p.listens(t.Context(), v.Listen), c.name)
			client, err := b.client(w)
			require.NoError(t, err)
			require.NoError(t, probe(t.Context(), client, v.Listen, w, c.policies), c.name)
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
			if w.tls {
				wrong = w
				wrong.h2 = !w.h2
				require.ErrorContains(t, probeOnce(t.Context(), client, v.Listen, wrong, c.policies), "want HTTP/")
				wrong.tls = false
				require.Error(t, probeOnce(t.Context(), client, v.Listen, wrong, c.policies))
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

	said.Reset()
	b.workloads = []string{plain, h2}
	chosen, err := b.chosen()
	require.NoError(t, err)
	require.Equal(t, workloads[:1], chosen)
	require.Contains(t, said.String(), "h2 is left out: h2load, which drives it, is not installed")
	b.workloads = []string{h2}
	_, err = b.chosen()
	require.Error(t, err)
	b.h2load = "h2load"
	chosen, err = b.chosen()
	require.NoError(t, err)
	require.Len(t, chosen, 1)
}

func TestLoad(t *testing.T) {
	t.Parallel()
	require.Equal(t, "64 connections", workload{}.load(64))
	require.Equal(t, "16 connections with 4 streams each", workload{h2: true}.load(64))
	require.Equal(t, "1 connections with 4 streams each", workload{h2: true}.load(1))
}
