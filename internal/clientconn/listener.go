package clientconn

import "net"

// Listener makes each TCP connection a [Conn]. Others stay as they are.
type Listener struct{ net.Listener }

// Accept implements [net.Listener].
func (l Listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if t, ok := c.(*net.TCPConn); ok && err == nil {
		return New(t), nil
	}
	return c, err
}
