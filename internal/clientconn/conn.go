package clientconn

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Conn is a TCP connection of a client. Its deadlines are kept exactly, like those of any [net.Conn], and its methods may be
// called by several goroutines.
//
// A read of a single byte is how net/http looks for a client that leaves while its request is served. For the first moment
// it does not look at the socket: most requests are over by then. Once somebody has taken the connection over, which
// begins with SetDeadline or SyscallConn, this is so no more.
//
// Where its framing is checked, what it reads is a stream of HTTP/1 requests until somebody takes the connection over.
type Conn struct {
	*net.TCPConn
	guarded

	born time.Time

	mu          sync.Mutex
	read, write deadline
	plain       int // deadlines go to the poller at once: it was taken over, or waits where only the poller sees it

	resting bool          // a read waits without the socket
	rests   int           // how many there were
	seen    int           // the one that was in progress when the timer fired last
	ticking bool          // the timer runs
	timer   *time.Timer   // nil before the first rest
	wake    chan struct{} // ends a rest
}

// deadline is one of the two of a connection.
type deadline struct {
	by      time.Time // what was asked for; zero for none
	set     time.Time // what the poller has: nothing later than by while somebody waits. It may be earlier, or have passed
	waiting int
}

// moment is how long a read rests at least. It may be twice that.
const moment = 10 * time.Millisecond

// New returns c as a Conn, which owns it.
func New(c *net.TCPConn) *Conn { return &Conn{TCPConn: c, born: time.Now()} }

// Ambiguous tells the listener's owner that the framing of a request is, whoever has found that.
func (c *Conn) Ambiguous() {
	c.stream.mu.Lock()
	defer c.stream.mu.Unlock()
	c.stream.tell(c)
}

// NetConn returns the connection below, as that of a TLS connection does.
func (c *Conn) NetConn() net.Conn { return c.TCPConn }

// late reports whether the poller would end a wait too late, or not at all.
func (d *deadline) late() bool {
	return !d.by.IsZero() && (d.set.IsZero() || d.by.Before(d.set))
}

// SetReadDeadline implements [net.Conn].
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read.by = t
	if c.resting && !t.IsZero() {
		c.endRest()
	}
	if c.plain > 0 || c.read.waiting > 0 && c.read.late() {
		return c.setRead()
	}
	return nil
}

// SetWriteDeadline implements [net.Conn].
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.write.by = t
	if c.plain > 0 || c.write.waiting > 0 && c.write.late() {
		return c.setWrite()
	}
	return nil
}

// SetDeadline implements [net.Conn].
func (c *Conn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read.by, c.write.by = t, t
	c.takeOver()
	c.stream.takeOver()
	return errors.Join(c.setRead(), c.setWrite())
}

// SyscallConn implements [syscall.Conn].
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	c.mu.Lock()
	c.takeOver()
	err := c.exact()
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return c.TCPConn.SyscallConn()
}

// takeOver makes the connection an ordinary one. The caller holds the lock, as that of all that follow.
func (c *Conn) takeOver() {
	c.plain++
	if c.resting {
		c.endRest()
	}
}

func (c *Conn) setRead() error {
	c.read.set = c.read.by
	return c.TCPConn.SetReadDeadline(c.read.by)
}

func (c *Conn) setWrite() error {
	c.write.set = c.write.by
	return c.TCPConn.SetWriteDeadline(c.write.by)
}

// exact lets the poller have both deadlines as they are.
func (c *Conn) exact() error {
	return errors.Join(c.setRead(), c.setWrite())
}

// RemoteAddr implements [net.Conn].
func (c *Conn) RemoteAddr() net.Addr {
	if c.remote != nil {
		return c.remote
	}
	return c.TCPConn.RemoteAddr()
}

// Read implements [io.Reader].
func (c *Conn) Read(p []byte) (int, error) {
	if c.stream.checked {
		return c.stream.read(c, p)
	}
	return c.receive(p)
}

// receive reads what comes.
func (c *Conn) receive(p []byte) (int, error) {
	c.mu.Lock()
	if len(p) == 1 && c.plain == 0 && !c.left && !c.resting && !c.rest() {
		c.mu.Unlock()
		return 0, os.ErrDeadlineExceeded
	}
	if c.read.late() {
		if err := c.setRead(); err != nil {
			c.mu.Unlock()
			return 0, err
		}
	}
	c.read.waiting++
	c.mu.Unlock()
	for {
		n, err := c.TCPConn.Read(p)
		c.mu.Lock()
		if err != nil && n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && c.read.early() && c.setRead() == nil {
			c.mu.Unlock()
			continue
		}
		c.read.waiting--
		c.mu.Unlock()
		return n, err
	}
}

// early reports whether the poller ended a wait before it was time.
func (d *deadline) early() bool { return d.by.IsZero() || time.Now().Before(d.by) }

// Write implements [io.Writer].
func (c *Conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	if c.write.late() {
		if err := c.setWrite(); err != nil {
			c.mu.Unlock()
			return 0, err
		}
	}
	c.write.waiting++
	c.mu.Unlock()
	for written := 0; ; {
		n, err := c.TCPConn.Write(p[written:])
		written += n
		c.mu.Lock()
		if err != nil && errors.Is(err, os.ErrDeadlineExceeded) && c.write.early() && c.setWrite() == nil {
			c.mu.Unlock()
			continue
		}
		c.write.waiting--
		c.mu.Unlock()
		return written, err
	}
}

// ReadFrom implements [io.ReaderFrom].
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	if err := c.bePlain(); err != nil {
		return 0, err
	}
	defer c.ceasePlain()
	return c.TCPConn.ReadFrom(r)
}

// WriteTo implements [io.WriterTo].
func (c *Conn) WriteTo(w io.Writer) (int64, error) {
	if c.stream.checked && !c.stream.open.Load() {
		return io.Copy(w, struct{ io.Reader }{c})
	}
	if err := c.bePlain(); err != nil {
		return 0, err
	}
	defer c.ceasePlain()
	return c.TCPConn.WriteTo(w)
}

func (c *Conn) bePlain() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.plain++
	err := c.exact()
	if err != nil {
		c.plain--
	}
	return err
}

func (c *Conn) ceasePlain() {
	c.mu.Lock()
	c.plain--
	c.mu.Unlock()
}

// Close implements [io.Closer].
func (c *Conn) Close() error {
	c.mu.Lock()
	c.plain++ // nothing rests any more
	if c.resting {
		c.endRest()
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	c.hold.release()
	return c.TCPConn.Close()
}

// rest waits for a moment, or until something happens to the connection. It reports false when the deadline has passed.
func (c *Conn) rest() bool {
	if c.read.by.IsZero() {
		if c.wake == nil {
			c.wake = make(chan struct{}, 1)
		}
		c.resting = true
		c.rests++
		if !c.ticking {
			c.ticking, c.seen = true, c.rests
			if c.timer == nil {
				c.timer = time.AfterFunc(moment, c.tick)
			} else {
				c.timer.Reset(moment)
			}
		}
		c.mu.Unlock()
		<-c.wake
		c.mu.Lock()
	}
	return !c.read.by.Before(c.born) || c.read.by.IsZero() // whether a later one has passed the poller knows
}

func (c *Conn) endRest() {
	c.resting = false
	c.wake <- struct{}{}
}

// tick ends a rest that was there the time before. It runs on as long as there are new ones, which is cheaper than to
// stop it each time.
func (c *Conn) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.resting:
		c.ticking = false
	case c.seen == c.rests:
		c.ticking = false
		c.endRest()
	default:
		c.seen = c.rests
		c.timer.Reset(moment)
	}
}
