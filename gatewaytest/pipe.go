package gatewaytest

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
)

// listener hands out pipes instead of accepting sockets.
type listener struct {
	addr  addr
	conns chan net.Conn
	once  sync.Once
	ended chan struct{}
}

func newListener(host string) *listener {
	return &listener{addr: addr(host), conns: make(chan net.Conn), ended: make(chan struct{})}
}

func (l *listener) dial(ctx context.Context, network string) (net.Conn, error) {
	client, server := net.Pipe()
	broken := new(atomic.Bool)
	select {
	case l.conns <- &conn{Conn: server, remote: "client.test:1", local: l.addr, broken: broken}:
		return &conn{Conn: client, remote: l.addr, local: "client.test:1", broken: broken}, nil
	case <-l.ended:
		return nil, refused(network, string(l.addr))
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Net: network, Addr: l.addr, Err: context.Cause(ctx)}
	}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.ended:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.ended) })
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l.addr }

type addr string

func (a addr) Network() string { return "memory" }
func (a addr) String() string  { return string(a) }

// conn is one end of a pipe that can break like a TCP connection.
type conn struct {
	net.Conn

	local, remote addr
	broken        *atomic.Bool // shared by both ends
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// reset closes the connection so that the other end sees a reset, not an end.
func (c *conn) reset() {
	c.broken.Store(true)
	_ = c.Close() // a pipe's Close does not fail
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	return n, c.explain("read", err)
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	return n, c.explain("write", err)
}

// explain gives a pipe's errors the shape a socket's have.
func (c *conn) explain(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case c.broken.Load():
		return &net.OpError{Op: op, Net: "memory", Addr: c.remote, Err: syscall.ECONNRESET}
	case op == "write" && errors.Is(err, io.ErrClosedPipe):
		return &net.OpError{Op: op, Net: "memory", Addr: c.remote, Err: syscall.EPIPE}
	case op == "read" && errors.Is(err, io.ErrClosedPipe):
		return net.ErrClosed
	default:
		return err
	}
}
