//go:build linux

// Command compare measures Gatehouse beside httputil.ReverseProxy, fasthttp and, where they are installed, nginx, nginx
// with Lua and haproxy, and prints one Markdown table for each workload. In the directory of this module:
//
//	go run ./cmd/compare
//	go run ./cmd/compare -workloads plain,policy -only httputil,gatehouse -rounds 3
//	go run ./cmd/compare -memory
//
// It needs wrk, and h2load for the workloads with HTTP/2. All processes are its own children, on loopback addresses, and end with it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gatehouse-go/gateway/bench/internal/certificate"
)

// settings are the command line.
type settings struct {
	workloads, only  []string
	rounds, conns    int
	measure, warmUp  time.Duration
	pin, memory      bool
	luaModules       string
	wrk, h2load      string // load generators
	progress, tables io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	s, err := parse(os.Args[1:], os.Stderr)
	if err == nil {
		s.progress, s.tables = os.Stderr, os.Stdout
		err = run(ctx, &s)
	}
	stop()
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func parse(args []string, usage io.Writer) (settings, error) {
	var s settings
	f := flag.NewFlagSet("compare", flag.ContinueOnError)
	f.SetOutput(usage)
	works := f.String("workloads", "", "workloads, separated by commas: "+strings.Join(workloadNames(), ", ")+"; empty for all")
	only := f.String("only", "", "candidates, separated by commas, such as httputil,gatehouse; empty for all")
	f.IntVar(&s.rounds, "rounds", 7, "how often each candidate is measured, in turn with the others")
	d := f.Int("d", 5, "seconds that are measured")
	w := f.Int("w", 2, "seconds to warm up before them")
	f.IntVar(&s.conns, "c", 64, "connections of the load generator")
	f.BoolVar(&s.pin, "pin", false, "give the proxy the first CPU and all else the second")
	f.BoolVar(&s.memory, "memory", false, "measure resident memory instead: idle, and for each idle connection")
	f.StringVar(&s.luaModules, "lua-modules", "", "directory of nginx's Lua module; empty to look where it usually is")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	s.measure, s.warmUp = time.Duration(*d)*time.Second, time.Duration(*w)*time.Second
	switch {
	case f.NArg() > 0:
		return s, fmt.Errorf("%q is no flag; see -help", f.Arg(0))
	case s.rounds < 1 || *d < 1 || *w < 0 || s.conns < 1:
		return s, errors.New("-rounds, -d and -c are at least 1, and -w at least 0")
	}
	s.workloads, s.only = list(*works), list(*only)
	for _, name := range s.workloads {
		if !slices.Contains(workloadNames(), name) {
			return s, fmt.Errorf("-workloads: there is no %q; there are %s", name, strings.Join(workloadNames(), ", "))
		}
	}
	for _, name := range s.only {
		if !slices.ContainsFunc(candidates, func(c candidate) bool { return c.name == name }) {
			return s, fmt.Errorf("-only: there is no candidate %q", name)
		}
	}
	return s, nil
}

// list splits a text at commas and leaves out what is empty.
func list(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}

// requirements looks for what cannot be left out.
func (s *settings) requirements() error {
	if s.pin {
		if runtime.NumCPU() < 2 {
			return errors.New("-pin needs two CPUs")
		}
		if _, err := exec.LookPath("taskset"); err != nil {
			return errors.New("-pin needs taskset, of the package util-linux")
		}
	}
	if s.memory {
		return nil
	}
	path, err := exec.LookPath("wrk")
	if err != nil {
		return errors.New("wrk, the load generator, is not installed: apt-get install wrk, or see https://github.com/wg/wrk")
	}
	s.wrk = path
	if s.h2load, err = exec.LookPath("h2load"); err != nil {
		s.h2load = "" // its workloads are left out
	}
	return nil
}

// bench is what all turns of a run share.
type bench struct {
	settings

	dir         string // for everything that is built and written
	bin         string // the programs of this module
	certificate string // of all that speak TLS, and its key
	origin      string // its address
	turns       int    // taken so far
}

func run(ctx context.Context, s *settings) (err error) {
	if err := s.requirements(); err != nil {
		return err
	}
	// The kernel ends a child when the thread that started it ends, so that thread must stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b := &bench{settings: *s}
	if b.dir, err = os.MkdirTemp("", "gatehouse-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if err := b.build(ctx); err != nil {
		return err
	}
	addrs, err := freeAddrs(ctx, 1)
	if err != nil {
		return err
	}
	b.origin = addrs[0]
	origin, err := b.start(ctx, command{args: []string{filepath.Join(b.bin, "origin"), "-listen", b.origin}, dir: b.dir})
	if err != nil {
		return err
	}
	defer origin.stop()
	if err := origin.listens(ctx, b.origin); err != nil {
		return fmt.Errorf("origin: %w", err)
	}
	if b.memory {
		return b.measureMemory(ctx)
	}
	return b.compare(ctx)
}

// build builds the other commands of this module, and makes the certificate.
func (b *bench) build(ctx context.Context) error {
	const module = "github.com/gatehouse-go/gateway/bench/cmd/"
	b.bin = filepath.Join(b.dir, "bin")
	//nolint:gosec // G204: a directory of our own is the only variable
	cmd := exec.CommandContext(ctx, "go", "build", "-o", b.bin+"/", module+"origin", module+"anchor", module+"gatehouse")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build, which has to run inside the module: %w\n%s", err, out)
	}
	b.certificate = filepath.Join(b.dir, "tls.pem")
	return certificate.Write(b.certificate)
}

// compare runs the workloads that are asked for, and prints a table after each.
func (b *bench) compare(ctx context.Context) error {
	present, err := b.present()
	if err != nil {
		return err
	}
	chosen, err := b.chosen()
	if err != nil {
		return err
	}
	failed := 0
	for _, w := range chosen {
		rows := rowsOf(w.name, present)
		for round := range b.rounds {
			for i := range rows {
				r := &rows[i]
				if r.candidate.lacks != "" {
					continue
				}
				s, err := b.turn(ctx, r.candidate, w)
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if err != nil {
					failed++
					r.failed++
					fmt.Fprintf(b.progress, "%s, %s, round %d: %v\n", w.name, r.candidate.name, round+1, err)
					continue
				}
				r.samples = append(r.samples, s)
				fmt.Fprintf(b.progress, "%s, %s, round %d: %.0f req/s, %.0f for a CPU second\n",
					w.name, r.candidate.name, round+1, s.rate, s.perCPU())
			}
		}
		if len(rows) > 0 {
			fmt.Fprintf(b.tables, "\n### %s: %s (%s, %v, %d rounds, %s)\n\n", w.name, w.about, w.load(b.conns), b.measure, b.rounds, b.cpus())
			fmt.Fprint(b.tables, table(rows))
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d turns failed", failed)
	}
	return nil
}

// chosen returns the workloads that are asked for and can be driven, and says which cannot.
func (b *bench) chosen() ([]workload, error) {
	var found []workload
	for _, w := range workloads {
		switch {
		case len(b.workloads) > 0 && !slices.Contains(b.workloads, w.name):
		case w.h2 && b.h2load == "":
			fmt.Fprintf(b.progress, "%s is left out: h2load, which drives it, is not installed: apt-get install nghttp2-client\n", w.name)
		default:
			found = append(found, w)
		}
	}
	if len(found) == 0 {
		return nil, errors.New("no workload is left")
	}
	return found, nil
}

func (b *bench) cpus() string {
	if b.pin {
		return "proxy pinned to one CPU"
	}
	return fmt.Sprintf("%d CPUs shared", runtime.NumCPU())
}
