//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway/bench/conf"
	"github.com/gatehouse-go/gateway/bench/internal/counters"
	"github.com/gatehouse-go/gateway/bench/internal/standin"
)

// sample is what one turn measured.
type sample struct {
	load

	cpu           time.Duration
	resident      float64 // MiB, at its most
	counted       bool    // the server counts its allocations
	allocs, bytes float64 // for each request
}

// oneInMany is of how many requests one may fail.
const oneInMany = 100

// check says why a turn has measured nothing: a server that refuses or drops requests saves what they would have cost.
func (s sample) check() error {
	switch {
	case s.requests == 0 || s.cpu <= 0:
		return fmt.Errorf("%d requests in %v of CPU time, and %d failures", s.requests, s.cpu, s.errors)
	case s.errors > s.requests/oneInMany:
		return fmt.Errorf("%d failures beside %d requests", s.errors, s.requests)
	}
	return nil
}

// perCPU is how many requests a CPU second was enough for.
func (s sample) perCPU() float64 { return float64(s.requests) / s.cpu.Seconds() }

// turn starts a candidate, makes sure that it answers rightly, measures it and ends it.
func (b *bench) turn(ctx context.Context, c candidate, w workload) (s sample, err error) {
	v, err := b.values(ctx, w)
	if err != nil {
		return s, err
	}
	p, err := b.startCandidate(ctx, c, v)
	if err != nil {
		return s, err
	}
	defer p.stop()
	if err := p.listens(ctx, v.Listen); err != nil {
		return s, err
	}
	client, err := b.client(w)
	if err != nil {
		return s, err
	}
	if err := probe(ctx, client, v.Listen, w, c.policies); err != nil {
		return s, p.explain(err)
	}
	if b.warmUp > 0 {
		if _, err := b.drive(ctx, v, w, b.warmUp); err != nil {
			return s, err
		}
	}
	var before, after counters.Counters
	if s.counted = c.ours(); s.counted {
		if before, err = counters.Read(ctx, v.Stats); err != nil {
			return s, err
		}
	}
	cpu, err := p.cpu()
	if err != nil {
		return s, err
	}
	if s.load, err = b.drive(ctx, v, w, b.measure); err != nil {
		return s, p.explain(err)
	}
	if s.cpu, err = p.cpu(); err != nil {
		return s, p.explain(err)
	}
	s.cpu -= cpu
	if err := s.check(); err != nil {
		return s, p.explain(err)
	}
	if s.counted {
		if after, err = counters.Read(ctx, v.Stats); err != nil {
			return s, err
		}
		s.allocs = float64(after.Mallocs-before.Mallocs) / float64(s.requests)
		s.bytes = float64(after.Bytes-before.Bytes) / float64(s.requests)
	}
	s.resident, err = p.resident(peak)
	return s, err
}

// values finds addresses and makes a directory for one turn.
func (b *bench) values(ctx context.Context, w workload) (conf.Values, error) {
	b.turns++
	v := conf.Values{
		Dir: filepath.Join(b.dir, strconv.Itoa(b.turns)), Upstream: b.origin, LuaModules: b.luaModules,
		Procs: runtime.NumCPU(), Routes: numRoutes, Keys: standin.NumKeys, Limit: standin.PerSecond,
	}
	if w.tls {
		v.Certificate = b.certificate
	}
	if b.pin {
		v.Procs = 1
	}
	addrs, err := freeAddrs(ctx, 2)
	if err != nil {
		return v, err
	}
	v.Listen, v.Stats = addrs[0], addrs[1]
	return v, os.Mkdir(v.Dir, 0o700)
}

func (b *bench) startCandidate(ctx context.Context, c candidate, v conf.Values) (*process, error) {
	for _, name := range c.files {
		if _, err := write(name, v); err != nil {
			return nil, err
		}
	}
	cmd := command{dir: v.Dir, proxy: true}
	for a := range strings.FieldsSeq(c.command) {
		text, err := conf.Expand(a, v)
		if err != nil {
			return nil, err
		}
		cmd.args = append(cmd.args, text)
	}
	if c.ours() {
		cmd.args[0] = filepath.Join(b.bin, cmd.args[0])
		cmd.args = append(cmd.args, "-listen", v.Listen, "-upstream", v.Upstream, "-stats", v.Stats)
		if v.Certificate != "" {
			cmd.args = append(cmd.args, "-tls-cert", v.Certificate, "-tls-key", v.Certificate)
		}
	} else {
		path, err := program(cmd.args[0])
		if err != nil {
			return nil, err
		}
		cmd.args[0] = path
	}
	return b.start(ctx, cmd)
}

// write renders a file into the directory of a turn.
func write(name string, v conf.Values) (string, error) {
	text, err := conf.Render(name, v)
	if err != nil {
		return "", err
	}
	path := filepath.Join(v.Dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}
