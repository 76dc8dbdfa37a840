//go:build unix

package transport

import (
	"net"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Who reads a connection and who is about to write to it look at the same time where an exchange was given up before it could
// begin: each sees what there is.
func TestPeekFromTwoGoroutines(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	far, err := l.Accept()
	require.NoError(t, err)
	defer far.Close()
	s := newSocket(c.(syscall.Conn))
	_, err = far.Write([]byte("x"))
	require.NoError(t, err)
	for waiting := false; !waiting; waiting, _ = s.peek() {
		continue
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 10_000 {
				if waiting, ended := s.peek(); !waiting || ended {
					t.Error("peek saw nothing")
					return
				}
			}
		})
		wg.Go(func() {
			for range 10_000 {
				if waiting, taken, ended := s.since(0); !waiting || taken || ended {
					t.Error("since saw nothing")
					return
				}
			}
		})
	}
	wg.Wait()
}
