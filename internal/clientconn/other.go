package clientconn

import (
	"errors"
	"net"
	"time"
)

// other is a connection that is not TCP, such as a Unix socket.
type other struct {
	net.Conn
	guarded
}

// Read implements [io.Reader].
func (o *other) Read(p []byte) (int, error) {
	if o.stream.checked {
		return o.stream.read(o, p)
	}
	return o.Conn.Read(p)
}

func (o *other) receive(p []byte) (int, error) { return o.Conn.Read(p) }

// SetDeadline implements [net.Conn].
func (o *other) SetDeadline(t time.Time) error {
	o.stream.takeOver()
	return o.Conn.SetDeadline(t)
}

// CloseWrite closes one side of the connection where it can.
func (o *other) CloseWrite() error {
	if c, ok := o.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

// RemoteAddr implements [net.Conn].
func (o *other) RemoteAddr() net.Addr {
	if o.remote != nil {
		return o.remote
	}
	return o.Conn.RemoteAddr()
}

// Ambiguous tells the listener's owner that the framing of a request is, whoever has found that.
func (o *other) Ambiguous() {
	o.stream.mu.Lock()
	defer o.stream.mu.Unlock()
	o.stream.tell(o)
}

// NetConn returns the connection below.
func (o *other) NetConn() net.Conn { return o.Conn }

// Close implements [net.Conn].
func (o *other) Close() error {
	o.hold.release()
	return o.Conn.Close()
}
