//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of times in /proc: a hundredth of a second for every program, whatever the kernel counts in.
const tick = 10 * time.Millisecond

// procfs is /proc, or what a test has instead.
type procfs struct{ fs.FS }

func proc() procfs { return procfs{os.DirFS("/proc")} }

// stat is what /proc/PID/stat says.
type stat struct {
	pid, parent int
	cpu         time.Duration // in user and kernel mode
	started     string        // in ticks since the machine was booted: tells a process from another with its id
}

// parseStat reads a line of /proc/PID/stat. The second field is a name in parentheses, with anything in it.
func parseStat(line string) (stat, error) {
	var s stat
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 0 || end < open {
		return s, fmt.Errorf("stat: no name in %q", line)
	}
	f := strings.Fields(line[end+1:]) // from the third field on
	if len(f) < 20 {
		return s, fmt.Errorf("stat: %d fields behind the name", len(f))
	}
	var err [4]error
	var user, kernel int64
	s.pid, err[0] = strconv.Atoi(strings.TrimSpace(line[:open]))
	s.parent, err[1] = strconv.Atoi(f[1])
	user, err[2] = strconv.ParseInt(f[11], 10, 64)
	kernel, err[3] = strconv.ParseInt(f[12], 10, 64)
	s.cpu, s.started = time.Duration(user+kernel)*tick, f[19]
	return s, errors.Join(err[:]...)
}

// tree returns a process and all that descend from it, the root first.
func (p procfs) tree(root int) ([]stat, error) {
	names, err := fs.Glob(p, "[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var found []stat
	children := map[int][]stat{}
	for _, name := range names {
		text, err := fs.ReadFile(p, name)
		if err != nil {
			continue // it ended since
		}
		s, err := parseStat(string(text))
		if err != nil {
			return nil, err
		}
		children[s.parent] = append(children[s.parent], s)
		if s.pid == root {
			found = append(found, s)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("there is no process %d", root)
	}
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i].pid]...)
	}
	return found, nil
}

// The names of two lines of /proc/PID/status.
const (
	current = "VmRSS:"
	peak    = "VmHWM:"
)

// resident returns the MiB that processes have in memory. What they share is counted for each.
func (p procfs) resident(which string, processes []stat) (float64, error) {
	var kib float64
	for _, s := range processes {
		text, err := fs.ReadFile(p, path.Join(strconv.Itoa(s.pid), "status"))
		if err != nil {
			return 0, err
		}
		_, line, ok := strings.Cut(string(text), "\n"+which)
		f := strings.Fields(line)
		if !ok || len(f) < 2 || f[1] != "kB" {
			return 0, fmt.Errorf("status of %d: no %s in kB", s.pid, which)
		}
		n, err := strconv.ParseFloat(f[0], 64)
		if err != nil {
			return 0, err
		}
		kib += n
	}
	return kib / 1024, nil
}
