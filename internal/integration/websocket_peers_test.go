package integration_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// maxMessage is what both libraries are told to take.
const maxMessage = 8 << 20

// A message is one that was received.
type message struct {
	text bool
	data []byte
}

// A socket is one end of a WebSocket in either library. One goroutine reads, and one at a time does the rest.
type socket interface {
	read(ctx context.Context) (message, error)
	// write sends a message, and one in parts in several frames.
	write(ctx context.Context, text bool, parts ...[]byte) error
	// ping returns when the answer is there, which somebody has to read.
	ping(ctx context.Context) error
	// close begins the closing handshake; read sees its end.
	close(code int, reason string) error
	// drop gives the connection up.
	drop()
}

// A library is one way to open and to accept a WebSocket.
type library struct {
	name   string
	dial   func(ctx context.Context, url string, h http.Header, compress bool) (socket, *http.Response, error)
	accept func(w http.ResponseWriter, r *http.Request, compress bool) (socket, error)
	// closed returns what the other side closed with; the code is -1 when it did not.
	closed func(err error) (code int, reason string)
}

func libraries() []library {
	return []library{
		{"coder", dialCoder, acceptCoder, func(err error) (int, string) {
			var e coder.CloseError
			if errors.As(err, &e) {
				return int(e.Code), e.Reason
			}
			return -1, ""
		}},
		{"gorilla", dialGorilla, acceptGorilla, func(err error) (int, string) {
			var e *gorilla.CloseError
			if errors.As(err, &e) && e.Code != gorilla.CloseAbnormalClosure {
				return e.Code, e.Text
			}
			return -1, ""
		}},
	}
}

// protocols are the subprotocols that clients offer; servers take the second.
func protocols() []string { return []string{"superchat", "chat"} }

type coderSocket struct{ c *coder.Conn }

func compression(on bool) coder.CompressionMode {
	if on {
		return coder.CompressionContextTakeover
	}
	return coder.CompressionDisabled
}

func dialCoder(ctx context.Context, url string, h http.Header, compress bool) (socket, *http.Response, error) {
	transport := &http.Transport{TLSClientConfig: trusting(), ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	c, res, err := coder.Dial(ctx, url, &coder.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, HTTPHeader: h, Subprotocols: protocols(), CompressionMode: compression(compress),
	})
	if err != nil {
		return nil, res, err
	}
	c.SetReadLimit(maxMessage)
	return coderSocket{c}, res, nil
}

func acceptCoder(w http.ResponseWriter, r *http.Request, compress bool) (socket, error) {
	c, err := coder.Accept(w, r, &coder.AcceptOptions{
		Subprotocols: protocols()[1:], CompressionMode: compression(compress), InsecureSkipVerify: true, // the gateway looks at Origin
	})
	if err != nil {
		return nil, err
	}
	c.SetReadLimit(maxMessage)
	return coderSocket{c}, nil
}

func (s coderSocket) read(ctx context.Context) (message, error) {
	kind, data, err := s.c.Read(ctx)
	return message{kind == coder.MessageText, data}, err
}

func (s coderSocket) write(ctx context.Context, text bool, parts ...[]byte) error {
	kind := coder.MessageBinary
	if text {
		kind = coder.MessageText
	}
	if len(parts) == 1 {
		return s.c.Write(ctx, kind, parts[0])
	}
	w, err := s.c.Writer(ctx, kind)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if _, err := w.Write(p); err != nil {
			return err
		}
	}
	return w.Close()
}

func (s coderSocket) ping(ctx context.Context) error { return s.c.Ping(ctx) }

func (s coderSocket) close(code int, reason string) error {
	return s.c.Close(coder.StatusCode(code), reason)
}

func (s coderSocket) drop() { _ = s.c.CloseNow() }

type gorillaSocket struct {
	c     *gorilla.Conn
	pongs chan string
	mu    *sync.Mutex // of those that write
}

// fragment is the size at which this library ends a frame.
const fragment = 4096

func newGorilla(c *gorilla.Conn) socket {
	s := gorillaSocket{c, make(chan string, 1), new(sync.Mutex)}
	c.SetReadLimit(maxMessage)
	c.SetPongHandler(func(text string) error {
		s.pongs <- text
		return nil
	})
	return s
}

func dialGorilla(ctx context.Context, url string, h http.Header, compress bool) (socket, *http.Response, error) {
	d := gorilla.Dialer{TLSClientConfig: trusting(), Subprotocols: protocols(), EnableCompression: compress, WriteBufferSize: fragment}
	c, res, err := d.DialContext(ctx, url, h)
	if err != nil {
		return nil, res, err
	}
	return newGorilla(c), res, nil
}

func acceptGorilla(w http.ResponseWriter, r *http.Request, compress bool) (socket, error) {
	u := gorilla.Upgrader{
		Subprotocols: protocols()[1:], EnableCompression: compress, WriteBufferSize: fragment,
		CheckOrigin: func(*http.Request) bool { return true }, // the gateway looks at it
	}
	c, err := u.Upgrade(w, r, nil)
	if err != nil {
		return nil, err
	}
	return newGorilla(c), nil
}

func (s gorillaSocket) read(ctx context.Context) (message, error) {
	if end, ok := ctx.Deadline(); ok {
		if err := s.c.SetReadDeadline(end); err != nil {
			return message{}, err
		}
	}
	kind, data, err := s.c.ReadMessage()
	return message{kind == gorilla.TextMessage, data}, err
}

func (s gorillaSocket) write(_ context.Context, text bool, parts ...[]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	kind := gorilla.BinaryMessage
	if text {
		kind = gorilla.TextMessage
	}
	if len(parts) == 1 {
		return s.c.WriteMessage(kind, parts[0])
	}
	w, err := s.c.NextWriter(kind)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if _, err := w.Write(p); err != nil {
			return err
		}
	}
	return w.Close()
}

func (s gorillaSocket) ping(ctx context.Context) error {
	if err := s.c.WriteControl(gorilla.PingMessage, []byte("are you there"), time.Now().Add(patience)); err != nil {
		return err
	}
	select {
	case <-s.pongs:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s gorillaSocket) close(code int, reason string) error {
	return s.c.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(code, reason), time.Now().Add(patience))
}

func (s gorillaSocket) drop() { _ = s.c.Close() }

// inPieces cuts data so that either library sends it in several frames.
func inPieces(data []byte) [][]byte {
	third := len(data) / 3
	return [][]byte{data[:third], data[third : 2*third], data[2*third:]}
}

// requireClosed expects that the other side ended it with a code and a reason.
func requireClosed(t *testing.T, l library, err error, code int, reason string) {
	t.Helper()
	gotCode, gotReason := l.closed(err)
	require.Equal(t, code, gotCode, "%v", err)
	require.Equal(t, reason, gotReason)
}
