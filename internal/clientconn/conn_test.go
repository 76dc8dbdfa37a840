package clientconn_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/clientconn"
)

// pair returns both ends of a connection, which the test's end closes.
func pair(t testing.TB) (*clientconn.Conn, *net.TCPConn) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	client, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	c, err := clientconn.NewGate(l, clientconn.Options{}).Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c.(*clientconn.Conn), client.(*net.TCPConn)
}

// ends are those of a connection under test.
type ends struct {
	t      *testing.T
	c      *clientconn.Conn
	client *net.TCPConn
}

// outcome is that of a Read or Write.
type outcome struct {
	n   int
	err error
}

func begin(f func([]byte) (int, error), p []byte) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		n, err := f(p)
		done <- outcome{n, err}
	}()
	return done
}

// after waits until d has passed on the clock that deadlines of connections have.
func after(t *testing.T, d time.Duration) {
	t.Helper()
	c, _ := pair(t)
	require.NoError(t, c.TCPConn.SetReadDeadline(time.Now().Add(d)))
	_, err := c.TCPConn.Read(make([]byte, 8))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

const brief = 25 * time.Millisecond

// Reads of one byte rest, others do not; nobody can tell which.
func TestRead(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 100} {
		for _, tt := range []struct {
			about string
			do    func(e ends) <-chan outcome
			want  error
		}{
			{"bytes are there", func(e ends) <-chan outcome {
				_, err := e.client.Write([]byte("x"))
				require.NoError(e.t, err)
				return begin(e.c.Read, make([]byte, size))
			}, nil},
			{"bytes come", func(e ends) <-chan outcome {
				done := begin(e.c.Read, make([]byte, size))
				after(e.t, brief)
				_, err := e.client.Write([]byte("x"))
				require.NoError(e.t, err)
				return done
			}, nil},
			{"the client leaves", func(e ends) <-chan outcome {
				done := begin(e.c.Read, make([]byte, size))
				require.NoError(e.t, e.client.Close())
				return done
			}, io.EOF},
			{"it is closed", func(e ends) <-chan outcome {
				done := begin(e.c.Read, make([]byte, size))
				require.NoError(e.t, e.c.Close())
				return done
			}, net.ErrClosed},
			{"it is closed later", func(e ends) <-chan outcome {
				done := begin(e.c.Read, make([]byte, size))
				after(e.t, brief)
				require.NoError(e.t, e.c.Close())
				return done
			}, net.ErrClosed},
			{"the deadline has passed", func(e ends) <-chan outcome {
				_, err := e.client.Write([]byte("x"))
				require.NoError(e.t, err)
				require.NoError(e.t, e.c.SetReadDeadline(time.Unix(1, 0)))
				return begin(e.c.Read, make([]byte, size))
			}, os.ErrDeadlineExceeded},
			{"the deadline has just passed", func(e ends) <-chan outcome {
				require.NoError(e.t, e.c.SetReadDeadline(time.Now()))
				return begin(e.c.Read, make([]byte, size))
			}, os.ErrDeadlineExceeded},
			{"the deadline comes", func(e ends) <-chan outcome {
				require.NoError(e.t, e.c.SetReadDeadline(time.Now().Add(brief)))
				return begin(e.c.Read, make([]byte, size))
			}, os.ErrDeadlineExceeded},
			{"a deadline is set", func(e ends) <-chan outcome {
				done := begin(e.c.Read, make([]byte, size))
				require.NoError(e.t, e.c.SetReadDeadline(time.Now().Add(brief)))
				return done
			}, os.ErrDeadlineExceeded},
			{"a deadline is set that has passed", func(e ends) <-chan outcome {
				done := begin(e.c.Read, make([]byte, size))
				require.NoError(e.t, e.c.SetReadDeadline(time.Unix(1, 0)))
				return done
			}, os.ErrDeadlineExceeded},
			{"a deadline is set that has passed, later", func(e ends) <-chan outcome {
				done := begin(e.c.Read, make([]byte, size))
				after(e.t, brief)
				require.NoError(e.t, e.c.SetReadDeadline(time.Unix(1, 0)))
				return done
			}, os.ErrDeadlineExceeded},
			{"both deadlines are set", func(e ends) <-chan outcome {
				done := begin(e.c.Read, make([]byte, size))
				require.NoError(e.t, e.c.SetDeadline(time.Now().Add(brief)))
				return done
			}, os.ErrDeadlineExceeded},
			{"the deadline is brought forward", func(e ends) <-chan outcome {
				require.NoError(e.t, e.c.SetReadDeadline(time.Now().Add(time.Hour)))
				done := begin(e.c.Read, make([]byte, size))
				require.NoError(e.t, e.c.SetReadDeadline(time.Now().Add(brief)))
				return done
			}, os.ErrDeadlineExceeded},
			{"the deadline is lifted", func(e ends) <-chan outcome {
				require.NoError(e.t, e.c.SetReadDeadline(time.Now().Add(10*brief)))
				done := begin(e.c.Read, make([]byte, size))
				after(e.t, brief)
				require.NoError(e.t, e.c.SetReadDeadline(time.Time{}))
				after(e.t, 10*brief)
				require.Empty(e.t, done)
				_, err := e.client.Write([]byte("x"))
				require.NoError(e.t, err)
				return done
			}, nil},
			{"a read before was ended by one", func(e ends) <-chan outcome {
				require.NoError(e.t, e.c.SetReadDeadline(time.Now().Add(brief)))
				require.ErrorIs(e.t, (<-begin(e.c.Read, make([]byte, size))).err, os.ErrDeadlineExceeded)
				require.ErrorIs(e.t, (<-begin(e.c.Read, make([]byte, size))).err, os.ErrDeadlineExceeded, "it still is over")
				require.NoError(e.t, e.c.SetReadDeadline(time.Now().Add(time.Hour)))
				done := begin(e.c.Read, make([]byte, size))
				after(e.t, brief)
				require.Empty(e.t, done)
				_, err := e.client.Write([]byte("x"))
				require.NoError(e.t, err)
				return done
			}, nil},
			{"another goroutine reads", func(e ends) <-chan outcome {
				first, second := begin(e.c.Read, make([]byte, 1)), begin(e.c.Read, make([]byte, size))
				_, err := e.client.Write([]byte("x"))
				require.NoError(e.t, err)
				var done <-chan outcome
				select {
				case o := <-first:
					require.NoError(e.t, o.err)
					done = second
				case o := <-second:
					require.NoError(e.t, o.err)
					done = first
				}
				_, err = e.client.Write([]byte("x"))
				require.NoError(e.t, err)
				return done
			}, nil},
		} {
			t.Run(tt.about, func(t *testing.T) {
				t.Parallel()
				c, client := pair(t)
				got := <-tt.do(ends{t, c, client})
				if tt.want == nil {
					require.NoError(t, got.err)
					require.Equal(t, 1, got.n)
					return
				}
				require.ErrorIs(t, got.err, tt.want)
				var timeout net.Error
				require.Equal(t, errors.Is(tt.want, os.ErrDeadlineExceeded), errors.As(got.err, &timeout) && timeout.Timeout())
			})
		}
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	large := make([]byte, 64<<20) // more than the system keeps
	for _, tt := range []struct {
		about string
		do    func(e ends) <-chan outcome
		want  error
	}{
		{"the client reads", func(e ends) <-chan outcome {
			require.NoError(e.t, e.c.SetWriteDeadline(time.Now().Add(time.Hour)))
			go func() { _, _ = io.Copy(io.Discard, e.client) }()
			return begin(e.c.Write, large)
		}, nil},
		{"the deadline has passed", func(e ends) <-chan outcome {
			require.NoError(e.t, e.c.SetWriteDeadline(time.Now()))
			return begin(e.c.Write, []byte("x"))
		}, os.ErrDeadlineExceeded},
		{"the deadline comes", func(e ends) <-chan outcome {
			require.NoError(e.t, e.c.SetWriteDeadline(time.Now().Add(brief)))
			return begin(e.c.Write, large)
		}, os.ErrDeadlineExceeded},
		{"a deadline is set that has passed", func(e ends) <-chan outcome {
			done := begin(e.c.Write, large)
			require.NoError(e.t, e.c.SetWriteDeadline(time.Unix(1, 0)))
			return done
		}, os.ErrDeadlineExceeded},
		{"the deadline is lifted", func(e ends) <-chan outcome {
			require.NoError(e.t, e.c.SetWriteDeadline(time.Now().Add(10*brief)))
			done := begin(e.c.Write, large)
			after(e.t, brief)
			require.NoError(e.t, e.c.SetWriteDeadline(time.Time{}))
			after(e.t, 10*brief)
			require.Empty(e.t, done)
			go func() { _, _ = io.Copy(io.Discard, e.client) }()
			return done
		}, nil},
		{"it is closed", func(e ends) <-chan outcome {
			done := begin(e.c.Write, large)
			require.NoError(e.t, e.c.Close())
			return done
		}, net.ErrClosed},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			c, client := pair(t)
			got := <-tt.do(ends{t, c, client})
			if tt.want == nil {
				require.NoError(t, got.err)
				require.Equal(t, len(large), got.n, "nothing is lost between two deadlines")
				return
			}
			require.ErrorIs(t, got.err, tt.want)
		})
	}
}

// What only the poller sees must have the deadlines that are set.
func TestCopies(t *testing.T) {
	t.Parallel()
	c, _ := pair(t)
	require.NoError(t, c.SetWriteDeadline(time.Now().Add(brief)))
	_, err := c.ReadFrom(io.LimitReader(zeros{}, 64<<20))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)

	c, client := pair(t)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(brief)))
	_, err = client.Write([]byte("x"))
	require.NoError(t, err)
	n, err := c.WriteTo(io.Discard)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.EqualValues(t, 1, n)

	c, _ = pair(t)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(brief)))
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	require.ErrorIs(t, raw.Read(func(uintptr) bool { return false }), os.ErrDeadlineExceeded)
	require.Same(t, c.TCPConn, c.NetConn())
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// Whoever has taken the connection over may read byte by byte.
func TestNoRestAfterwards(t *testing.T) {
	t.Parallel()
	for about, takeOver := range map[string]func(*clientconn.Conn) error{
		"SetDeadline": func(c *clientconn.Conn) error { return c.SetDeadline(time.Time{}) },
		"SyscallConn": func(c *clientconn.Conn) error { _, err := c.SyscallConn(); return err },
	} {
		c, client := pair(t)
		first := begin(c.Read, make([]byte, 1))
		require.NoError(t, takeOver(c), about)
		const many = 2000 // with a rest of ten milliseconds before each it would take twenty seconds
		go func() {
			for range many + 1 {
				if _, err := client.Write([]byte("x")); err != nil {
					return
				}
			}
		}()
		require.NoError(t, (<-first).err, about)
		timer := time.AfterFunc(10*time.Second, func() { _ = c.Close() })
		for range many {
			_, err := c.Read(make([]byte, 1))
			require.NoError(t, err, about)
		}
		timer.Stop()
	}
}

func TestConnAllocations(t *testing.T) {
	c, client := pair(t)
	p, buf := []byte("x"), make([]byte, 100)
	due := time.Now().Add(time.Hour)
	require.Zero(t, testing.AllocsPerRun(200, func() { // what net/http does for a request
		require.NoError(t, errors.Join(c.SetReadDeadline(due), c.SetReadDeadline(time.Time{}), c.SetWriteDeadline(due)))
		_, err := client.Write(p)
		require.NoError(t, err)
		_, err = c.Read(buf)
		require.NoError(t, err)
		_, err = c.Write(p)
		require.NoError(t, err)
		_, err = client.Read(buf)
		require.NoError(t, err)
		require.NoError(t, c.SetReadDeadline(time.Unix(1, 0)))
		_, err = c.Read(buf[:1])
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	}))
}
