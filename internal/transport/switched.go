package transport

import (
	"errors"
	"io"
	"net/http"
)

// Switched is a connection whose target has switched to another protocol (RFC 9110 section 7.8). It is an [io.ReadWriteCloser]
// with the deadlines of a [net.Conn], and belongs to whom it was given to.
type Switched struct {
	*http1

	body io.ReadWriteCloser // begins with what the target has sent behind its answer
}

var (
	errNoSwitch = errors.New("the target's connection cannot be taken over")
	errHidden   = errors.New("an outbound round tripper hides the connection of an answer with 101")
)

// switched takes over the connection of an answer with 101.
func switched(res *http.Response, c *http1) (*Switched, error) {
	body, ok := res.Body.(io.ReadWriteCloser)
	if !ok || c == nil {
		return nil, errNoSwitch
	}
	return &Switched{c, body}, nil
}

// Read implements [io.Reader].
func (s *Switched) Read(p []byte) (int, error) { return s.body.Read(p) }

// Close implements [io.Closer].
func (s *Switched) Close() error { return s.body.Close() }

// CloseWrite tells the target that nothing more is sent. It fails where the connection below has no such thing.
func (c *http1) CloseWrite() error { return closeWrite(c.Conn) }

// CloseWrite is that of the connection below.
func (t *tracked) CloseWrite() error { return closeWrite(t.Conn) }

func closeWrite(c io.Writer) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return http.ErrNotSupported
}

// asksToSwitch tells of requests that ask the target for another protocol.
func asksToSwitch(out *http.Request) bool { return len(out.Header["Upgrade"]) > 0 }
