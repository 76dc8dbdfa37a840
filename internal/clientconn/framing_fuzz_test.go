package clientconn

import (
	"context"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// canned is a connection whose client has sent all that it will.
type canned struct {
	net.Conn // nil: what is not here is not called

	mu   sync.Mutex
	in   []byte
	cuts *rand.Rand // nil for none

	handled []told
	done    chan struct{}
}

func (c *canned) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	n := min(len(p), len(c.in))
	if c.cuts != nil {
		n = 1 + c.cuts.IntN(n)
	}
	copy(p, c.in[:n])
	c.in = c.in[n:]
	return n, nil
}

func (c *canned) Write(p []byte) (int, error)      { return len(p), nil }
func (c *canned) Close() error                     { return nil }
func (c *canned) LocalAddr() net.Addr              { return &net.UnixAddr{} }
func (c *canned) RemoteAddr() net.Addr             { return &net.UnixAddr{} }
func (c *canned) SetDeadline(time.Time) error      { return nil }
func (c *canned) SetReadDeadline(time.Time) error  { return nil }
func (c *canned) SetWriteDeadline(time.Time) error { return nil }

// cannery listens for such connections.
type cannery chan net.Conn

func (l cannery) Accept() (net.Conn, error) {
	if c, ok := <-l; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (l cannery) Close() error   { return nil }
func (l cannery) Addr() net.Addr { return &net.UnixAddr{} }

// canServer serves connections with net/http, and returns what was handled whole.
func canServer(t testing.TB, wrap func(net.Listener) net.Listener) func(in []byte, cuts *rand.Rand) []told {
	t.Helper()
	l := make(cannery)
	type key struct{}
	below := func(c net.Conn) *canned {
		if o, ok := c.(*other); ok {
			c = o.NetConn()
		}
		return c.(*canned)
	}
	srv := &http.Server{
		ErrorLog: log.New(io.Discard, "", 0),
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if c := r.Context().Value(key{}).(*canned); err == nil {
				c.handled = append(c.handled, told{r.Method, string(body)})
			}
		}),
		DisableGeneralOptionsHandler: true,
		ConnContext:                  func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, key{}, below(c)) },
		ConnState: func(c net.Conn, s http.ConnState) {
			if s == http.StateClosed {
				close(below(c).done)
			}
		},
	}
	go func() { _ = srv.Serve(wrap(l)) }()
	t.Cleanup(func() { close(l) })
	return func(in []byte, cuts *rand.Rand) []told {
		c := &canned{in: in, cuts: cuts, done: make(chan struct{})}
		l <- c
		<-c.done
		return c.handled
	}
}

// What net/http handles behind the check is what a strict reader finds in the bytes, however they are cut; and where it finds
// no fault, the check takes nothing away.
func FuzzStrictFraming(f *testing.F) {
	for _, seed := range []string{
		getHead + getHead, postHead + "Content-Length: 3\r\n\r\nabc" + getHead,
		postHead + chunked + "\r\n3\r\nabc\r\na;x\r\n0123456789\r\n0\r\nX: y\r\n\r\n" + getHead,
		postHead + chunked + "Content-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + getHead,
		postHead + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc" + getHead, "POST / HTTP/1.0\r\nConnection: keep-alive\r\n" + chunked + "\r\n0\r\n\r\n" + getHead,
		"GET / HTTP/1.1\nHost: h\r\n\r\n" + getHead, postHead + "A: b\r\n Transfer-Encoding: chunked\r\n\r\n" + getHead,
		postHead + "A: b\rTransfer-Encoding: chunked\r\n\r\n" + getHead, postHead + "\r\n\r\n\r\n" + getHead,
		"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n" + getHead, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + getHead,
		"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + getHead + getHead, "\x16\x03\x01\n\n",
		postHead + "Upgrade: x\r\nContent-Length: 3\r\n\r\nabc\nxy" + getHead, postHead + "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc" + getHead,
		"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: x\r\n\r\nPOST / HTTP/1.1\r\nHost: h\r\n" + chunked + "Content-Length: 1\r\n\r\n0\r\n\r\n" + getHead,
	} {
		f.Add([]byte(seed), uint64(1))
	}
	checked := canServer(f, func(l net.Listener) net.Listener { return NewGate(l, Options{Framing: true}) })
	unchecked := canServer(f, func(l net.Listener) net.Listener { return l })
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		got := checked(in, nil)
		require.Equal(t, got, checked(in, rand.New(rand.NewPCG(seed, 0))), "cut otherwise")
		want, fault := strict(string(in))
		require.LessOrEqual(t, len(got), len(want))
		for i := range got {
			require.Equal(t, want[i], got[i])
		}
		if !fault {
			all := unchecked(in, nil)
			require.Equal(t, all[:min(len(all), len(want))], got)
		}
	})
}
