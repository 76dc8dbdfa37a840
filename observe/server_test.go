package observe_test

import (
	"bufio"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/observe"
	"github.com/gatehouse-go/gateway/policy"
)

// pipes is a listener whose connections are in memory.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// overServer serves h by net/http in a bubble with its own time, hands the client's end of a connection to client, and
// returns the one record.
func overServer(t *testing.T, h http.Handler, client func(c net.Conn, answer *bufio.Reader)) (line map[string]any) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var j journal
		l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		srv := &http.Server{
			Handler:  observer(t, &j, observe.Config{}).Wrap(h),
			ErrorLog: log.New(io.Discard, "", 0),
		}
		go func() { _ = srv.Serve(l) }()
		near, far := net.Pipe()
		l.conns <- far
		client(near, bufio.NewReader(near))
		_ = near.Close()
		synctest.Wait()
		_ = srv.Close()
		line = j.line(t)
	})
	return line
}

const getRoot = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"

func TestServerClientLeavesBeforeAnswer(t *testing.T) {
	t.Parallel()
	line := overServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
	}), func(c net.Conn, _ *bufio.Reader) {
		_, _ = io.WriteString(c, getRoot)
		synctest.Wait()
	})
	require.Equal(t, "client_gone", line["gateway.outcome"])
	require.InDelta(t, 499, line["http.response.status_code"], 0)
	require.Nil(t, line["client.address"], "a pipe has no address")
}

// TestServerStream sees that Flush passes the Observer, and that a client which leaves a stream is seen to.
func TestServerStream(t *testing.T) {
	t.Parallel()
	line := overServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			_, _ = io.WriteString(w, "data: 1\n\n")
			if http.NewResponseController(w).Flush() != nil {
				return
			}
			select {
			case <-time.After(time.Minute):
			case <-r.Context().Done():
				return
			}
		}
	}), func(c net.Conn, answer *bufio.Reader) {
		start := time.Now()
		_, _ = io.WriteString(c, getRoot)
		resp, err := http.ReadResponse(answer, nil)
		if err != nil {
			return
		}
		for range 3 {
			_, _ = io.ReadFull(resp.Body, make([]byte, 9))
		}
		if time.Since(start) != 2*time.Minute {
			panic("events were held back")
		}
	})
	require.Equal(t, "client_gone", line["gateway.outcome"])
	require.InDelta(t, 200, line["http.response.status_code"], 0)
	require.InDelta(t, 27, line["http.response.body.size"], 0)
	require.InDelta(t, 120, line["http.server.request.duration"], 0, "virtual time")
}

func TestServerAbort(t *testing.T) {
	t.Parallel()
	line := overServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "hel")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}), func(c net.Conn, answer *bufio.Reader) {
		_, _ = io.WriteString(c, getRoot)
		resp, err := http.ReadResponse(answer, nil)
		if err != nil {
			panic(err)
		}
		if _, err = io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
			panic("the client took a broken answer for a whole one")
		}
	})
	require.Equal(t, "aborted", line["gateway.outcome"])
	require.InDelta(t, 3, line["http.response.body.size"], 0)
}

func TestServerPanic(t *testing.T) {
	t.Parallel()
	line := overServer(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(errors.New("boom")) }),
		func(c net.Conn, answer *bufio.Reader) {
			_, _ = io.WriteString(c, getRoot)
			_, _ = answer.ReadByte()
		})
	require.Equal(t, "panic", line["gateway.outcome"])
	require.Equal(t, "*errors.errorString", line["exception.type"])
	require.Nil(t, line["exception.message"], "it may hold what a client sent")
}

func TestServerHijack(t *testing.T) {
	t.Parallel()
	line := overServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		time.Sleep(time.Hour)
		_ = conn.Close()
	}), func(c net.Conn, answer *bufio.Reader) {
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		_, _ = io.ReadAll(answer)
	})
	require.Equal(t, "hijacked", line["gateway.outcome"])
	require.Equal(t, "INFO", line["level"])
	require.Nil(t, line["http.response.status_code"], "what is written by hand is not seen")
	require.InDelta(t, 3600, line["http.server.request.duration"], 0)
}

// TestServerEmptyAnswer sees that the id is echoed on an answer nobody wrote.
func TestServerEmptyAnswer(t *testing.T) {
	t.Parallel()
	for _, entry := range []bool{false, true} {
		var h http.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
		if entry {
			h = policy.Must(policy.NewEntry(policy.EntryConfig{})).Wrap(h)
		}
		id := ""
		line := overServer(t, h, func(c net.Conn, answer *bufio.Reader) {
			_, _ = io.WriteString(c, getRoot)
			if resp, err := http.ReadResponse(answer, nil); err == nil && resp.StatusCode == http.StatusOK {
				id = resp.Header.Get("X-Request-ID")
			}
		})
		require.Equal(t, "ok", line["gateway.outcome"])
		require.InDelta(t, 200, line["http.response.status_code"], 0)
		require.Regexp(t, uuid7, id)
		require.Equal(t, id, line["gateway.request_id"])
	}
}

// TestServerStalledClient has a client that does not take its answer, and so is cut off by the Entry's limit.
func TestServerStalledClient(t *testing.T) {
	t.Parallel()
	entry := policy.Must(policy.NewEntry(policy.EntryConfig{WriteProgress: 10 * time.Second}))
	line := overServer(t, entry.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.WriteString(w, strings.Repeat("x", 1<<20)); err != nil {
			panic(http.ErrAbortHandler)
		}
	})), func(c net.Conn, _ *bufio.Reader) {
		_, _ = io.WriteString(c, getRoot)
		time.Sleep(time.Minute)
	})
	require.Equal(t, "aborted", line["gateway.outcome"])
	require.Equal(t, "WARN", line["level"])
	require.InDelta(t, 10, line["http.server.request.duration"], 0.1)
}
