package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
)

// raw notices no client that leaves and no connection that went stale, and passes no field of the request on.
type raw struct {
	addr string
	mu   sync.Mutex
	idle []*rawConn
}

type rawConn struct {
	net.Conn

	in  *bufio.Reader
	out []byte
}

func (p *raw) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, err := p.take(r.Context())
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	if err := c.exchange(w, r.RequestURI); err != nil {
		_ = c.Close()
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	p.mu.Lock()
	p.idle = append(p.idle, c)
	p.mu.Unlock()
}

func (p *raw) take(ctx context.Context) (*rawConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return c, nil
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", p.addr)
	if err != nil {
		return nil, err
	}
	return &rawConn{Conn: c, in: bufio.NewReader(c)}, nil
}

func (c *rawConn) exchange(w http.ResponseWriter, uri string) error {
	c.out = append(append(append(c.out[:0], "GET "...), uri...), " HTTP/1.1\r\nHost: origin\r\n\r\n"...)
	if _, err := c.Write(c.out); err != nil {
		return err
	}
	length := -1
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= len("\r\n") {
			break
		}
		if name, value, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return errors.New("no Content-Length")
	}
	w.Header()["Content-Length"] = []string{strconv.Itoa(length)}
	w.Header()["Content-Type"] = []string{"application/octet-stream"}
	body, err := c.in.Peek(length)
	if err != nil { // longer than the buffer
		_, err = io.CopyN(w, c.in, int64(length))
		return err
	}
	if _, err := w.Write(body); err != nil {
		return err
	}
	_, err = c.in.Discard(length)
	return err
}
