//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// load is what wrk reports.
type load struct {
	requests int
	rate     float64 // requests a second
	p50, p99 time.Duration
	errors   int // answers that were none of 2xx and 3xx, and sockets that failed
}

// drive runs wrk for a while.
func (b *bench) drive(ctx context.Context, addr string, w workload, script string, d time.Duration) (load, error) {
	args := []string{b.wrk, "-t1", "-c", strconv.Itoa(b.conns), "-d", strconv.Itoa(int(d.Seconds())) + "s", "--latency"}
	for _, h := range w.header {
		args = append(args, "-H", h)
	}
	if script != "" {
		args = append(args, "-s", script)
	}
	cmd := b.command(ctx, command{args: append(args, "http://"+addr+w.path)})
	out, err := cmd.CombinedOutput()
	if err != nil {
		return load{}, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	l, err := parseWrk(string(out))
	if err != nil {
		return l, fmt.Errorf("%w in what wrk says:\n%s", err, out)
	}
	return l, nil
}

// parseWrk reads the report of wrk --latency.
func parseWrk(out string) (load, error) {
	l, rated := load{requests: -1}, false
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		var err error
		switch {
		case len(f) == 2 && f[0] == "50%":
			l.p50, err = time.ParseDuration(f[1])
		case len(f) == 2 && f[0] == "99%":
			l.p99, err = time.ParseDuration(f[1])
		case len(f) > 3 && f[1] == "requests" && f[2] == "in":
			l.requests, err = strconv.Atoi(f[0])
		case len(f) == 2 && f[0] == "Requests/sec:":
			l.rate, err = strconv.ParseFloat(f[1], 64)
			rated = true
		case strings.Contains(line, "Non-2xx or 3xx responses:"):
			err = l.count(f[len(f)-1:])
		case strings.Contains(line, "Socket errors:"):
			// connect 0, read 0, write 0, timeout 0
			err = l.count(f[2:])
		}
		if err != nil {
			return l, err
		}
	}
	switch {
	case l.requests < 0:
		return l, errors.New("no number of requests")
	case !rated:
		return l, errors.New("no requests a second")
	case l.requests > 0 && (l.p50 == 0 || l.p99 == 0):
		return l, errors.New("no latencies")
	}
	return l, nil
}

// count adds the numbers among some words.
func (l *load) count(words []string) error {
	found := false
	for _, word := range words {
		if n, err := strconv.Atoi(strings.TrimSuffix(word, ",")); err == nil {
			l.errors += n
			found = true
		}
	}
	if !found {
		return fmt.Errorf("no number of errors in %q", words)
	}
	return nil
}
