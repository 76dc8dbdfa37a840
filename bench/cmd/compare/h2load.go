//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway/bench/conf"
)

// h2Streams is how many requests h2load has at a time on each connection.
const h2Streams = 4

// h2Connections returns how many connections have as many requests at a time as some of HTTP/1.1.
func h2Connections(conns int) int { return max(1, conns/h2Streams) }

// driveH2load runs h2load, which speaks HTTP/2.
func (b *bench) driveH2load(ctx context.Context, v conf.Values, w workload, d time.Duration) (load, error) {
	times := filepath.Join(v.Dir, "times")
	args := []string{
		b.h2load, "-t1", "-c", strconv.Itoa(h2Connections(b.conns)), "-m", strconv.Itoa(h2Streams),
		"-D", strconv.Itoa(int(d.Seconds())), "--log-file", times,
	}
	for _, h := range w.header {
		args = append(args, "-H", h)
	}
	if w.post {
		body := filepath.Join(v.Dir, "upload")
		if err := os.WriteFile(body, bytes.Repeat([]byte{'y'}, postBytes), 0o600); err != nil {
			return load{}, err
		}
		args = append(args, "-d", body)
	}
	cmd := b.command(ctx, command{args: append(args, w.url(v.Listen))})
	out, err := cmd.CombinedOutput()
	if err != nil {
		return load{}, fmt.Errorf("h2load: %w\n%s", err, out)
	}
	l, err := parseH2load(string(out))
	if err != nil {
		return l, fmt.Errorf("%w in what h2load says:\n%s", err, out)
	}
	f, err := os.Open(times)
	if err != nil {
		return l, err
	}
	l.p50, l.p99, err = parseTimes(f)
	// It would append to the file next time.
	return l, errors.Join(err, f.Close(), os.Remove(times))
}

// parseH2load reads the report of h2load, which has no percentiles.
func parseH2load(out string) (load, error) {
	var l load
	answered, failed, protocol := -1, -1, ""
	for line := range strings.Lines(out) {
		name, text, _ := strings.Cut(line, ":")
		var err error
		switch {
		case name == "Application protocol":
			protocol = strings.TrimSpace(text)
		case name == "requests":
			failed, err = numberOf(text, "failed") // answers and streams
		case name == "status codes":
			answered, err = numberOf(text, "2xx")
			moved, movedErr := numberOf(text, "3xx") // succeeded, it thinks
			l.errors += moved
			err = errors.Join(err, movedErr)
		case strings.HasPrefix(line, "finished in "):
			f := strings.Fields(line)
			if len(f) < 5 || f[4] != "req/s," {
				return l, fmt.Errorf("no requests a second in %q", line)
			}
			l.rate, err = strconv.ParseFloat(f[3], 64)
		}
		if err != nil {
			return l, err
		}
	}
	switch {
	case answered < 0 || failed < 0:
		return l, errors.New("no number of requests")
	case answered > 0 && protocol != "h2":
		return l, fmt.Errorf("protocol %q, not h2", protocol)
	}
	l.errors += failed
	l.only(answered+l.errors, answered)
	return l, nil
}

// numberOf finds the number before a word in a list such as "3 2xx, 4 3xx".
func numberOf(list, word string) (int, error) {
	for item := range strings.SplitSeq(list, ",") {
		if f := strings.Fields(item); len(f) == 2 && f[1] == word {
			return strconv.Atoi(f[0])
		}
	}
	return 0, fmt.Errorf("no %s in %q", word, list)
}

// parseTimes reads what h2load --log-file wrote, a line for each request: when it began, the status, and how many
// microseconds it took. Those that failed are left out. It returns zeros for none.
func parseTimes(r io.Reader) (p50, p99 time.Duration, err error) {
	var took []int
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Split(lines.Text(), "\t")
		if len(f) < 3 {
			return 0, 0, fmt.Errorf("no time in %q", lines.Text())
		}
		if !strings.HasPrefix(f[1], "2") {
			continue
		}
		n, err := strconv.Atoi(f[2])
		if err != nil {
			return 0, 0, err
		}
		took = append(took, n)
	}
	slices.Sort(took)
	at := func(part float64) time.Duration {
		if len(took) == 0 {
			return 0
		}
		return time.Duration(took[int(math.Ceil(part*float64(len(took))))-1]) * time.Microsecond
	}
	return at(0.50), at(0.99), lines.Err()
}
