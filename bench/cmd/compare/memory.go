//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/gatehouse-go/gateway/bench/internal/certificate"
	"github.com/gatehouse-go/gateway/bench/internal/counters"
)

const (
	idleConns = 10_000
	// settle is how long a server is left alone before it is looked at.
	settle = 3 * time.Second
)

// measureMemory prints what servers hold when nothing happens.
func (b *bench) measureMemory(ctx context.Context) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if limit.Cur < idleConns+100 {
		return fmt.Errorf("%d files may be open, too few for %d connections: raise the limit with ulimit -n", limit.Cur, idleConns)
	}
	routes, err := b.idle(ctx, candidate{command: "./gatehouse -routes {{.Routes}}"}, workload{}, 0)
	if err != nil {
		return err
	}
	fmt.Fprintf(b.tables, "gatehouse with %d routes, idle for %v: %.1f MiB resident, %.1f MiB live\n\n",
		numRoutes, settle, routes[0].resident, routes[0].live)
	fmt.Fprintf(b.tables, "| server | resident MiB | with %[1]d idle connections | KiB per connection | live MiB | with %[1]d idle connections | KiB per connection |\n"+
		"| --- | --: | --: | --: | --: | --: | --: |\n", idleConns)
	for _, w := range []workload{{about: "HTTP", path: "/"}, {about: "HTTPS", path: "/", tls: true}} {
		for _, c := range []candidate{
			{name: "gatehouse", command: "./gatehouse"},
			{name: "noop (net/http alone)", command: "./anchor -mode noop"},
		} {
			m, err := b.idle(ctx, c, w, idleConns)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			each := func(mib float64) float64 { return mib * 1024 / idleConns }
			fmt.Fprintf(b.tables, "| %s, %s | %.1f | %.1f | %.2f | %.1f | %.1f | %.2f |\n", c.name, w.about,
				m[0].resident, m[1].resident, each(m[1].resident-m[0].resident), m[0].live, m[1].live, each(m[1].live-m[0].live))
		}
	}
	return nil
}

// held is the MiB a server holds: resident as it was found, garbage included, and then what of heap and stacks was left
// when the garbage had been collected.
type held struct{ resident, live float64 }

func (p *process) held(ctx context.Context, stats string) (h held, err error) {
	if h.resident, err = p.resident(current); err != nil {
		return h, err
	}
	l, err := counters.Collect(ctx, stats)
	h.live = l.MiB()
	return h, err
}

// idle returns what a server holds before there are connections, and with them.
func (b *bench) idle(ctx context.Context, c candidate, w workload, conns int) (m [2]held, err error) {
	v, err := b.values(ctx, w)
	if err != nil {
		return m, err
	}
	p, err := b.startCandidate(ctx, c, v)
	if err != nil {
		return m, err
	}
	defer p.stop()
	if err := p.listens(ctx, v.Listen); err != nil {
		return m, err
	}
	pause(ctx, settle)
	if m[0], err = p.held(ctx, v.Stats); err != nil || conns == 0 {
		return m, err
	}
	dialer, err := b.dialer(w)
	if err != nil {
		return m, err
	}
	var open []net.Conn
	defer func() {
		for _, c := range open {
			err = errors.Join(err, c.Close())
		}
	}()
	for range conns {
		c, err := useOnce(ctx, dialer, v.Listen)
		if err != nil {
			return m, p.explain(err)
		}
		open = append(open, c)
	}
	pause(ctx, settle)
	m[1], err = p.held(ctx, v.Stats)
	return m, errors.Join(err, ctx.Err())
}

// A dialer is a net.Dialer or a tls.Dialer.
type dialer interface {
	DialContext(ctx context.Context, network, addr string) (net.Conn, error)
}

func (b *bench) dialer(w workload) (dialer, error) {
	if !w.tls {
		return new(net.Dialer), nil
	}
	cfg, err := certificate.Client(b.certificate)
	return &tls.Dialer{Config: cfg}, err
}

// useOnce opens a connection and has one answer on it, after which the server waits for another request.
func useOnce(ctx context.Context, d dialer, addr string) (net.Conn, error) {
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+addr+"\r\n\r\n")
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if _, err = io.Copy(io.Discard, resp.Body); err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}
