//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// command is a program to start.
type command struct {
	args  []string
	dir   string // where its output goes
	proxy bool   // it is what is measured
}

// command makes a child that ends with us. Not by SIGKILL: the master of nginx has to end its workers.
func (b *bench) command(ctx context.Context, c command) *exec.Cmd {
	args := c.args
	if b.pin {
		cpu := "1"
		if c.proxy {
			cpu = "0"
		}
		args = append([]string{"taskset", "-c", cpu}, args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // G204: the candidates are a table of ours
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if b.pin && c.proxy {
		cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	}
	return cmd
}

// process is a child that runs until it is stopped.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
}

func (b *bench) start(ctx context.Context, c command) (*process, error) {
	p := &process{cmd: b.command(ctx, c), log: filepath.Join(c.dir, "output"), done: make(chan struct{})}
	f, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout, p.cmd.Stderr = f, f
	err = p.cmd.Start()
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // how it ended shows in what it printed
		close(p.done)
	}()
	return p, nil
}

// listens waits until somebody accepts connections at addr.
func (p *process) listens(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-p.done:
			return p.explain(errors.New("it ended"))
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	return p.explain(fmt.Errorf("nobody listens at %s", addr))
}

// explain adds the end of what a process printed to an error.
func (p *process) explain(err error) error {
	out, readErr := os.ReadFile(p.log)
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	return fmt.Errorf("%w; it said: %q", err, out[max(0, len(out)-400):])
}

func (p *process) cpu() (time.Duration, error) {
	processes, err := proc().tree(p.cmd.Process.Pid)
	var sum time.Duration
	for _, s := range processes {
		sum += s.cpu
	}
	return sum, err
}

func (p *process) resident(which string) (float64, error) {
	processes, err := proc().tree(p.cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	return proc().resident(which, processes)
}

// stop ends the process and what it has started, and nothing else: an id alone could be somebody else's by now.
func (p *process) stop() {
	processes, err := proc().tree(p.cmd.Process.Pid)
	if err != nil { // it has ended, and is waited for
		<-p.done
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(2 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	for _, s := range processes[1:] {
		if now, err := proc().tree(s.pid); err == nil && now[0].started == s.started {
			_ = syscall.Kill(s.pid, syscall.SIGKILL)
		}
	}
}

// freeAddrs finds loopback addresses that nobody listens at.
func freeAddrs(ctx context.Context, n int) (addrs []string, err error) {
	var held []net.Listener
	defer func() {
		for _, l := range held {
			err = errors.Join(err, l.Close())
		}
	}()
	for range n {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		held = append(held, l) // until the end, so that all differ
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}
