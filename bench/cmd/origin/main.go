//go:build linux

// Command origin is the cheapest HTTP/1.1 server a proxy can be measured with: one thread, one epoll set, answers made
// beforehand. It costs the same, and little, whoever asks.
//
//	GET  /1m…      200, 1 MiB
//	GET  anything  200, 1 KiB
//	POST anything  reads the body, 200, 1 KiB
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"runtime"
	"syscall"
)

func main() {
	addr := flag.String("listen", "127.0.0.1:8001", "loopback address to serve")
	flag.Parse()
	runtime.LockOSThread()
	s, err := listen(*addr)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(s.serve())
}

// server is one loop over all connections.
type server struct {
	epoll, listener int
	conns           map[int]*conn
	buf             []byte
	small, large    []byte
}

func answer(length int) []byte {
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n", length)
	return append([]byte(head), bytes.Repeat([]byte{'x'}, length)...)
}

func listen(addr string) (*server, error) {
	a, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		return nil, err
	}
	if !a.IP.IsLoopback() {
		return nil, fmt.Errorf("%s is no loopback address", addr)
	}
	s := &server{conns: map[int]*conn{}, buf: make([]byte, 64<<10), small: answer(1 << 10), large: answer(1 << 20)}
	s.listener, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if s.epoll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	sa := &syscall.SockaddrInet4{Port: a.Port, Addr: [4]byte(a.IP.To4())}
	return s, errors.Join(
		syscall.SetsockoptInt(s.listener, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1),
		syscall.Bind(s.listener, sa),
		syscall.Listen(s.listener, 1024),
		s.watch(syscall.EPOLL_CTL_ADD, s.listener, syscall.EPOLLIN),
	)
}

func (s *server) watch(op, fd int, events uint32) error {
	return syscall.EpollCtl(s.epoll, op, fd, &syscall.EpollEvent{Events: events, Fd: int32(fd)})
}

func (s *server) serve() error {
	events := make([]syscall.EpollEvent, 256)
	for {
		n, err := syscall.EpollWait(s.epoll, events, -1)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		for _, e := range events[:n] {
			if int(e.Fd) == s.listener {
				s.accept()
			} else if c := s.conns[int(e.Fd)]; c != nil && !s.ready(c, e.Events) {
				delete(s.conns, c.fd)
				_ = syscall.Close(c.fd)
			}
		}
	}
}

// accept takes all connections that wait. One that fails is the client's to notice.
func (s *server) accept() {
	for {
		fd, _, err := syscall.Accept4(s.listener, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
		if s.watch(syscall.EPOLL_CTL_ADD, fd, syscall.EPOLLIN) != nil {
			_ = syscall.Close(fd)
			continue
		}
		s.conns[fd] = &conn{fd: fd}
	}
}

// ready reads and writes what a connection is ready for, and reports whether it goes on.
func (s *server) ready(c *conn, events uint32) bool {
	if events&syscall.EPOLLOUT != 0 && !s.flush(c) {
		return false
	}
	if events&(syscall.EPOLLIN|syscall.EPOLLHUP|syscall.EPOLLERR) == 0 {
		return true
	}
	n, err := syscall.Read(c.fd, s.buf)
	if errors.Is(err, syscall.EAGAIN) {
		return true
	}
	if err != nil || n == 0 {
		return false
	}
	c.in = append(c.in, s.buf[:n]...)
	for {
		switch c.next() {
		case needMore:
			return true
		case giveUp:
			return false
		case answerLarge:
			c.out = append(c.out, s.large)
		case answerSmall:
			c.out = append(c.out, s.small)
		}
		if !s.flush(c) {
			return false
		}
	}
}

// flush writes until the socket is full, and then asks to be told when it no longer is.
func (s *server) flush(c *conn) bool {
	for len(c.out) > 0 {
		n, err := syscall.Write(c.fd, c.out[0])
		if errors.Is(err, syscall.EAGAIN) {
			return c.waits || s.wait(c, true)
		}
		if err != nil {
			return false
		}
		if c.out[0] = c.out[0][n:]; len(c.out[0]) == 0 {
			c.out = append(c.out[:0], c.out[1:]...)
		}
	}
	return !c.waits || s.wait(c, false)
}

func (s *server) wait(c *conn, toWrite bool) bool {
	c.waits = toWrite
	events := uint32(syscall.EPOLLIN)
	if toWrite {
		events |= syscall.EPOLLOUT
	}
	return s.watch(syscall.EPOLL_CTL_MOD, c.fd, events) == nil
}
