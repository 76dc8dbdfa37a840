package transport

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// announcing is a target that announces a body with each answer, also with those that have none. What is sent over more goes
// out on the connection of the last HEAD.
func announcing(t *testing.T) (host string, more chan<- string, conns *atomic.Int64) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	behind := make(chan string)
	conns = new(atomic.Int64)
	serve := func(c net.Conn) {
		defer c.Close()
		for in := bufio.NewReader(c); ; {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			number := strconv.FormatInt(conns.Load(), 10)
			switch {
			case r.URL.Path == "/304":
				_, _ = io.WriteString(c, "HTTP/1.1 304 Not Modified\r\nContent-Length: 1\r\n\r\n")
			case r.Method == http.MethodHead:
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n")
			default:
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"+number)
				continue
			}
			if r.URL.Path == "/forging" {
				_, _ = io.WriteString(c, <-behind)
			}
		}
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			go serve(c)
		}
	}()
	return l.Addr().String(), behind, conns
}

// A connection over which a body may still come that nobody asked for rests before it is used again.
func TestRestBehindAnswersWithoutBody(t *testing.T) {
	t.Parallel()
	const forged = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nX"
	for _, tt := range []struct {
		about, method, path string
		max                 int
		rested              bool
		conns               int64 // after a GET behind it
	}{
		{"at once", "HEAD", "/", 0, false, 2},
		{"after a while", "HEAD", "/", 0, true, 1},
		{"304 with a length, at once", "GET", "/304", 0, false, 2},
		{"304 with a length, after a while", "GET", "/304", 0, true, 1},
		{"a body came", "HEAD", "/forging", 0, true, 2},
		{"no other connection may be open, at once", "HEAD", "/", 1, false, 2},
		{"no other connection may be open, after a while", "HEAD", "/", 1, true, 1},
		{"GET has a body", "GET", "/", 0, false, 1},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			host, more, conns := announcing(t)
			d := NewDirect(Config{MaxConns: tt.max})
			defer d.Close()
			ask := func(method, path string) string {
				r := httptest.NewRequestWithContext(t.Context(), method, "http://"+host+path, nil)
				a, err := d.Send(r, Limits{Connect: time.Minute, FirstByte: time.Minute, Idle: time.Minute})
				require.NoError(t, err)
				body, err := io.ReadAll(a.Body)
				require.NoError(t, err)
				require.NoError(t, a.Body.Close())
				return string(body)
			}
			ask(tt.method, tt.path)
			p := d.pool(host)
			require.Len(t, p.idle, 1, "it is kept")
			kept := p.idle[0]
			if tt.path == "/forging" {
				more <- forged
				for waiting := false; !waiting; waiting, _ = kept.under.peek() {
					runtime.Gosched()
				}
			}
			if kept.since = kept.since.Add(time.Hour); tt.rested {
				kept.since = time.Now().Add(-settling)
			}
			require.Equal(t, strconv.FormatInt(tt.conns, 10), ask("GET", "/"))
			require.Equal(t, tt.conns, conns.Load())
		})
	}
}

// Who waits for a place does not wait for a connection to have rested.
func TestWaitingBehindHEAD(t *testing.T) {
	t.Parallel()
	host, _, conns := announcing(t)
	d := NewDirect(Config{MaxConns: 1})
	defer d.Close()
	send := func(method string) (*Answer, error) {
		r := httptest.NewRequestWithContext(t.Context(), method, "http://"+host+"/", nil)
		return d.Send(r, Limits{Connect: time.Minute, FirstByte: time.Minute, Idle: time.Minute})
	}
	head, err := send(http.MethodHead)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		a, err := send(http.MethodGet)
		if err == nil {
			err = a.Body.Close()
		}
		done <- err
	}()
	p := d.pool(host)
	for waiting := 0; waiting == 0; runtime.Gosched() {
		p.mu.Lock()
		waiting = len(p.waiters)
		p.mu.Unlock()
	}
	require.NoError(t, head.Body.Close())
	require.NoError(t, <-done)
	require.EqualValues(t, 2, conns.Load())
}

// What is not used any more is not what a HEAD left behind, as long as there is something else.
func TestTakeFromIdle(t *testing.T) {
	t.Parallel()
	now := time.Now()
	conn := func(rested time.Duration, doubt bool) *wire { return &wire{since: now.Add(-rested), doubt: doubt} }
	p := &pool{idle: []*wire{conn(time.Hour, true), conn(time.Hour, false), conn(-time.Hour, true)}}
	first, second, third := p.idle[0], p.idle[1], p.idle[2]
	for _, want := range []*wire{second, first} {
		c, usable := p.take(false)
		require.True(t, usable)
		require.Same(t, want, c)
	}
	c, usable := p.take(false)
	require.Nil(t, c)
	require.False(t, usable)
	c, usable = p.take(true)
	require.Same(t, third, c)
	require.False(t, usable)
	require.Empty(t, p.idle)
}

// Targets come and go: what is kept of those that nobody asks any more is bounded, and what is used stays.
func TestPoolsOfTargetsThatAreGone(t *testing.T) {
	t.Parallel()
	const closing, keeping = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	serve := func(answer string) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go answersAll(c, answer)
			}
		}()
		return l.Addr().String()
	}
	addrs := map[string]string{"kept:80": serve(keeping), "gone": serve(closing)}
	var dials atomic.Int64
	d := NewDirect(Config{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		to, ok := addrs[addr]
		if !ok {
			to = addrs["gone"]
		} else {
			dials.Add(1)
		}
		return new(net.Dialer).DialContext(ctx, network, to)
	}})
	ask := func(host string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+"/", nil)
		a, err := d.Send(r, Limits{Connect: time.Minute, FirstByte: time.Minute, Idle: time.Minute})
		if err != nil {
			t.Error(err)
			return
		}
		if _, err = io.Copy(io.Discard, a.Body); err != nil {
			t.Error(err)
		}
		_ = a.Body.Close()
	}
	ask("kept")
	var clients sync.WaitGroup
	for i := range 4 {
		clients.Go(func() {
			for j := range 250 {
				ask(fmt.Sprintf("h%d", (i*100+j)%700)) // some of them by several
			}
		})
	}
	clients.Wait()
	require.LessOrEqual(t, len(*d.pools.Load()), 2*fewPools)
	ask("kept")
	require.EqualValues(t, 1, dials.Load())
	require.NoError(t, d.Close())
}
