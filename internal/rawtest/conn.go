package rawtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience bounds each wait of a test for the other side.
const Patience = 10 * time.Second

// Conn is one end of a connection.
type Conn struct {
	t   testing.TB
	who string
	raw net.Conn     // which may be TLS over the next
	tcp *net.TCPConn // which a reset has to do with

	in  []byte // received and not taken yet
	end error  // how receiving ended

	mu  sync.Mutex
	got []byte // all that was received
}

// Dial connects a client to addr. The connection is closed when the test ends.
func Dial(t testing.TB, addr string) *Conn {
	t.Helper()
	raw, err := (&net.Dialer{Timeout: Patience}).DialContext(context.WithoutCancel(t.Context()), "tcp", addr)
	if err != nil {
		t.Fatalf("rawtest: %v", err)
	}
	c := newConn(t, "the client", raw)
	t.Cleanup(c.Close)
	return c
}

func newConn(t testing.TB, who string, raw net.Conn) *Conn {
	t.Helper()
	c := &Conn{t: t, who: who, raw: raw}
	c.tcp, _ = raw.(*net.TCPConn)
	return c
}

// Send sends the pieces, each in a write of its own.
func (c *Conn) Send(pieces ...string) {
	c.t.Helper()
	for _, p := range pieces {
		if err := c.write(p); err != nil {
			c.t.Fatalf("rawtest: %s could not send %s: %v", c.who, shown(p), err)
		}
	}
}

// Drip sends text byte by byte.
func (c *Conn) Drip(text string) {
	c.t.Helper()
	c.Send(strings.Split(text, "")...)
}

// SendMeanwhile sends text on a goroutine of its own, since the other side may not take it. The channel gets what became of
// that.
func (c *Conn) SendMeanwhile(text string) <-chan error {
	done := make(chan error, 1)
	go func() { done <- c.write(text) }()
	return done
}

func (c *Conn) write(text string) error {
	if err := c.raw.SetWriteDeadline(time.Now().Add(Patience)); err != nil {
		return err
	}
	_, err := io.WriteString(c.raw, text)
	return err
}

// Expect takes what comes next, which must be text.
func (c *Conn) Expect(text string) {
	c.t.Helper()
	by := time.Now().Add(Patience)
	for len(c.in) < len(text) {
		if err := c.fill(by); err != nil {
			c.t.Fatalf("rawtest: %s waited for %s, got %s: %v", c.who, shown(text), shown(string(c.in)), err)
		}
	}
	if got := string(c.in[:len(text)]); got != text {
		c.t.Fatalf("rawtest: %s expected %s, got %s", c.who, shown(text), shown(got))
	}
	c.in = c.in[len(text):]
}

// ExpectEOF says that the other side sends nothing more and ends the connection in the usual way.
func (c *Conn) ExpectEOF() {
	c.t.Helper()
	if err := c.untilEnd(); !errors.Is(err, io.EOF) {
		c.t.Fatalf("rawtest: %s expected the end of the connection, got %v", c.who, err)
	}
}

// ExpectReset says that the other side sends nothing more and resets the connection.
func (c *Conn) ExpectReset() {
	c.t.Helper()
	if err := c.untilEnd(); !errors.Is(err, syscall.ECONNRESET) {
		c.t.Fatalf("rawtest: %s expected a reset, got %v", c.who, err)
	}
}

// ExpectEnd says that the other side sends nothing more and ends the connection, whether in the usual way or not.
func (c *Conn) ExpectEnd() {
	c.t.Helper()
	if err := c.untilEnd(); errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, errMore) {
		c.t.Fatalf("rawtest: %s expected the end of the connection, got %v", c.who, err)
	}
}

// ReadToEnd takes what comes until the other side ends the connection, whether in the usual way or not, and returns it.
func (c *Conn) ReadToEnd() string {
	c.t.Helper()
	by := time.Now().Add(Patience)
	for {
		if err := c.fill(by); errors.Is(err, os.ErrDeadlineExceeded) {
			c.t.Fatalf("rawtest: %s waited in vain for the end of the connection, and got %s", c.who, shown(string(c.in)))
		} else if err != nil {
			all := string(c.in)
			c.in = nil
			return all
		}
	}
}

var errMore = errors.New("rawtest: more was sent")

// untilEnd returns how receiving ended.
func (c *Conn) untilEnd() error {
	by := time.Now().Add(Patience)
	for {
		if len(c.in) > 0 {
			return fmt.Errorf("%w: %s", errMore, shown(string(c.in)))
		}
		if err := c.fill(by); err != nil {
			return err
		}
	}
}

// SilentUntil waits for event, before which nothing may come, nor the connection end.
func (c *Conn) SilentUntil(event <-chan struct{}) {
	c.t.Helper()
	select {
	case <-event:
	case <-time.After(Patience):
		c.t.Fatalf("rawtest: %s waited in vain for what it has to be silent until", c.who)
	}
	c.ExpectSilence()
}

// ExpectSilence says that nothing has come, and that the connection has not ended.
func (c *Conn) ExpectSilence() {
	c.t.Helper()
	err := error(nil)
	for range 5 { // on a busy machine a moment may be over before it is looked
		if len(c.in) == 0 && (err == nil || errors.Is(err, os.ErrDeadlineExceeded)) {
			err = c.fill(time.Now().Add(time.Millisecond))
		}
	}
	if len(c.in) > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("rawtest: %s expected silence, got %s: %v", c.who, shown(string(c.in)), err)
	}
}

// fill receives more, at the latest at by; a zero by is never.
func (c *Conn) fill(by time.Time) error {
	if c.end != nil {
		return c.end
	}
	if err := c.raw.SetReadDeadline(by); err != nil {
		return err
	}
	b := make([]byte, 32<<10)
	n, err := c.raw.Read(b)
	c.in = append(c.in, b[:n]...)
	c.mu.Lock()
	c.got = append(c.got, b[:n]...)
	c.mu.Unlock()
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.end = err
	}
	if n > 0 {
		return nil
	}
	return err
}

// Received returns all bytes that have been received. It may be called from any goroutine.
func (c *Conn) Received() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.got)
}

// CloseWrite says to the other side that nothing more will be sent.
func (c *Conn) CloseWrite() {
	c.t.Helper()
	if err := c.closeWrite(); err != nil {
		c.t.Fatalf("rawtest: %s could not close its side: %v", c.who, err)
	}
}

func (c *Conn) closeWrite() error {
	if half, ok := c.raw.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close closes the connection. It may be called more than once.
func (c *Conn) Close() { _ = c.raw.Close() }

// Drop closes the connection without the farewell that TLS has for the end of what was sent. Without TLS it is Close.
func (c *Conn) Drop() {
	if c.tcp != nil {
		_ = c.tcp.Close()
	}
	_ = c.raw.Close()
}

// Reset ends the connection so that the other side gets an error and what was not delivered yet may be lost.
func (c *Conn) Reset() {
	if c.tcp != nil {
		_ = c.tcp.SetLinger(0)
		_ = c.tcp.Close() // past TLS, whose farewell would come first
	}
	_ = c.raw.Close()
}

// shown is text as a message has it.
func shown(text string) string {
	const most = 600
	if len(text) > most {
		return fmt.Sprintf("%q… (%d bytes)", text[:most], len(text))
	}
	return fmt.Sprintf("%q", text)
}
