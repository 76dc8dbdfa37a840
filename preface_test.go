package gateway_test

import (
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync"
)

// prefaced is a listener whose connections begin with a header of the PROXY protocol, which it takes off and keeps.
type prefaced struct {
	net.Listener

	v2 bool

	mu  sync.Mutex
	got []string
}

func (l *prefaced) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &prefacedConn{Conn: c, l: l}, nil
}

func (l *prefaced) prefaces() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.got...)
}

type prefacedConn struct {
	net.Conn

	l    *prefaced
	once sync.Once
	err  error
}

func (c *prefacedConn) Read(p []byte) (int, error) {
	c.once.Do(func() {
		var head []byte
		head, c.err = c.readPreface()
		c.l.mu.Lock()
		defer c.l.mu.Unlock()
		c.l.got = append(c.l.got, string(head))
	})
	if c.err != nil {
		return 0, c.err
	}
	return c.Conn.Read(p)
}

func (c *prefacedConn) readPreface() ([]byte, error) {
	if c.l.v2 {
		head := make([]byte, 16)
		if _, err := io.ReadFull(c.Conn, head); err != nil {
			return head, err
		}
		rest := make([]byte, binary.BigEndian.Uint16(head[14:]))
		_, err := io.ReadFull(c.Conn, rest)
		return slices.Concat(head, rest), err
	}
	var head []byte
	for b := make([]byte, 1); len(head) < 107; {
		if _, err := io.ReadFull(c.Conn, b); err != nil {
			return head, err
		}
		if head = append(head, b[0]); b[0] == '\n' {
			break
		}
	}
	return head, nil
}
