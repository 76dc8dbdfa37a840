//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway/bench/conf"
)

// driveWrk runs wrk, which speaks HTTP/1.1.
func (b *bench) driveWrk(ctx context.Context, v conf.Values, w workload, d time.Duration) (load, error) {
	args := []string{b.wrk, "-t1", "-c", strconv.Itoa(b.conns), "-d", strconv.Itoa(int(d.Seconds())) + "s", "--latency"}
	for _, h := range w.header {
		args = append(args, "-H", h)
	}
	if w.script != "" {
		script, err := write(w.script, v)
		if err != nil {
			return load{}, err
		}
		args = append(args, "-s", script)
	}
	cmd := b.command(ctx, command{args: append(args, w.url(v.Listen))})
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
	l, rated, answered := load{}, false, -1
	refused := 0 // answers with another status
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		var err error
		switch {
		case len(f) == 2 && f[0] == "50%":
			l.p50, err = time.ParseDuration(f[1])
		case len(f) == 2 && f[0] == "99%":
			l.p99, err = time.ParseDuration(f[1])
		case len(f) > 3 && f[1] == "requests" && f[2] == "in":
			answered, err = strconv.Atoi(f[0])
		case len(f) == 2 && f[0] == "Requests/sec:":
			l.rate, err = strconv.ParseFloat(f[1], 64)
			rated = true
		case strings.Contains(line, "Non-2xx or 3xx responses:"):
			before := l.errors
			err = l.count(f[len(f)-1:])
			refused = l.errors - before
		case strings.Contains(line, "Socket errors:"):
			// connect 0, read 0, write 0, timeout 0
			err = l.count(f[2:])
		}
		if err != nil {
			return l, err
		}
	}
	switch {
	case answered < 0:
		return l, errors.New("no number of requests")
	case !rated:
		return l, errors.New("no requests a second")
	case refused > answered:
		return l, errors.New("more refusals than answers")
	case answered > 0 && (l.p50 == 0 || l.p99 == 0):
		return l, errors.New("no latencies")
	}
	l.only(answered, answered-refused)
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
