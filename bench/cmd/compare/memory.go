//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"
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
	routes, err := b.idle(ctx, candidate{command: "./gatehouse -routes {{.Routes}}"}, 0)
	if err != nil {
		return err
	}
	fmt.Fprintf(b.tables, "gatehouse with %d routes, idle for %v: %.1f MiB resident\n\n", numRoutes, settle, routes.before)
	fmt.Fprintf(b.tables, "| server | idle MiB | with %d idle connections MiB | KiB per connection |\n| --- | --: | --: | --: |\n", idleConns)
	for _, c := range []candidate{
		{name: "gatehouse", command: "./gatehouse"},
		{name: "noop (net/http alone)", command: "./anchor -mode noop"},
	} {
		m, err := b.idle(ctx, c, idleConns)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Fprintf(b.tables, "| %s | %.1f | %.1f | %.2f |\n", c.name, m.before, m.with, (m.with-m.before)*1024/idleConns)
	}
	return nil
}

// idleMemory is the MiB resident before there are connections and with them.
type idleMemory struct{ before, with float64 }

func (b *bench) idle(ctx context.Context, c candidate, conns int) (m idleMemory, err error) {
	v, err := b.values(ctx)
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
	if m.before, err = p.resident(current); err != nil || conns == 0 {
		return m, err
	}
	var open []net.Conn
	defer func() {
		for _, c := range open {
			err = errors.Join(err, c.Close())
		}
	}()
	for range conns {
		c, err := useOnce(ctx, v.Listen)
		if err != nil {
			return m, p.explain(err)
		}
		open = append(open, c)
	}
	pause(ctx, settle)
	m.with, err = p.resident(current)
	return m, errors.Join(err, ctx.Err())
}

// useOnce opens a connection and has one answer on it, after which the server waits for another request.
func useOnce(ctx context.Context, addr string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
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
