package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-go/gateway/policy"
)

const (
	defaultUpgradeIdle = 5 * time.Minute
	// closing is how long both sides of a WebSocket have to end it once we have closed it.
	closing = 5 * time.Second
)

// fewBytes is what is held for each direction while little comes: most connections that have switched are silent most of the
// time.
const fewBytes = 4 << 10

// goingAway is a Close frame with status 1001, as a server sends it (RFC 6455 sections 5.5.1 and 7.4.1).
const goingAway = "\x88\x02\x03\xe9"

// tunnel passes on what two sides send each other over a connection that has switched protocols, until both have ended, one
// has failed, or it has to end. It takes two goroutines, one of which is the caller's.
type tunnel struct {
	client, target net.Conn
	in             io.Reader     // of the client's connection, with what it had sent before
	idle, lifetime time.Duration // not bounded unless positive
	buffers        *sync.Pool    // of *[bufferSize]byte

	toClient, toTarget direction

	began  time.Time
	active atomic.Int64 // when something came last, in nanoseconds since began

	mu     sync.Mutex
	timer  *time.Timer
	leave  bool      // a Close frame is to be sent to the client as soon as no other is under way
	cutoff time.Time // when both connections are closed whatever they do; zero before it has to end
	over   bool
}

// direction is what goes one way. It belongs to the goroutine that passes it on.
type direction struct {
	frames *frames // nil unless it is a WebSocket
	bytes  int64
	closed bool // a Close frame of ours was sent: nothing may follow
}

func (d *direction) traffic() policy.Traffic {
	t := policy.Traffic{Bytes: d.bytes}
	if d.frames != nil {
		t.Messages = d.frames.messages
	}
	return t
}

// run returns when both connections are closed. A WebSocket is closed when ending ends.
func (t *tunnel) run(ending context.Context) {
	t.began = time.Now()
	t.mu.Lock()
	t.timer = time.AfterFunc(time.Hour, t.tick)
	t.resetTimer(t.began)
	t.mu.Unlock()
	if t.toClient.frames != nil {
		defer context.AfterFunc(ending, t.goAway)()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		t.pass(t.target, t.client, t.in, &t.toTarget)
	}()
	t.pass(t.client, t.target, t.target, &t.toClient)
	<-done
	t.cut()
}

// pass sends to one side what the other says. It returns when that has ended.
func (t *tunnel) pass(dst, src net.Conn, in io.Reader, d *direction) {
	few := make([]byte, fewBytes)
	var many *[bufferSize]byte // while more comes than that
	defer func() {
		if many != nil {
			t.buffers.Put(many)
		}
	}()
	for {
		buf := few
		if many != nil {
			buf = many[:]
		}
		n, err := in.Read(buf)
		if n > 0 {
			t.active.Store(int64(time.Since(t.began)))
			if !d.closed {
				if _, err := dst.Write(buf[:n]); err != nil {
					t.cut()
					return
				}
				d.bytes += int64(n)
				if d.frames != nil {
					d.frames.feed(buf[:n])
				}
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded): // goAway
			_ = src.SetReadDeadline(time.Time{}) // what does not work is found by the next Read
		case err == io.EOF: // a wrapped EOF is not the end
			if closeWrite(dst) != nil {
				t.cut()
			}
			return
		default:
			t.cut()
			return
		}
		switch {
		case n == fewBytes && many == nil:
			many, _ = t.buffers.Get().(*[bufferSize]byte)
		case n < fewBytes && many != nil:
			t.buffers.Put(many)
			many = nil
		}
		if d == &t.toClient && !d.closed && t.leaves() && d.frames.between() {
			if _, err := io.WriteString(dst, goingAway); err != nil {
				t.cut()
				return
			}
			d.closed = true
			t.bound()
		}
	}
}

func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// goAway has a WebSocket closed towards the client, whose own Close frame then closes it towards the target.
func (t *tunnel) goAway() {
	t.mu.Lock()
	t.leave = true
	t.mu.Unlock()
	_ = t.target.SetReadDeadline(time.Unix(1, 0)) // so that who waits for the target looks
}

func (t *tunnel) leaves() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.leave
}

// bound gives both sides a moment to end it.
func (t *tunnel) bound() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cutoff.IsZero() {
		t.cutoff = time.Now().Add(closing)
		t.resetTimer(time.Now())
	}
}

// due returns when something is to be done next; zero for never. The caller holds the lock.
func (t *tunnel) due() time.Time {
	if !t.cutoff.IsZero() {
		return t.cutoff
	}
	var due time.Time
	if t.idle > 0 {
		due = t.began.Add(time.Duration(t.active.Load()) + t.idle)
	}
	if t.lifetime > 0 {
		if end := t.began.Add(t.lifetime); due.IsZero() || end.Before(due) {
			due = end
		}
	}
	return due
}

// resetTimer has tick called when it is time. The caller holds the lock.
func (t *tunnel) resetTimer(now time.Time) {
	if due := t.due(); t.over || due.IsZero() {
		t.timer.Stop()
	} else {
		t.timer.Reset(due.Sub(now))
	}
}

// tick ends the tunnel if it has lived, or slept, for too long.
func (t *tunnel) tick() {
	t.mu.Lock()
	now := time.Now()
	expired := !t.over && !now.Before(t.due())
	gently := expired && t.cutoff.IsZero() && t.toClient.frames != nil
	if gently {
		t.cutoff = now.Add(closing)
	}
	t.resetTimer(now)
	t.mu.Unlock()
	switch {
	case gently:
		t.goAway()
	case expired:
		t.cut()
	}
}

// cut closes both connections. It may be called more than once.
func (t *tunnel) cut() {
	t.mu.Lock()
	t.over = true
	t.timer.Stop()
	t.mu.Unlock()
	_ = t.client.Close()
	_ = t.target.Close()
}
