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
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestKeepTime(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]time.Duration{
		"":                             0,
		"timeout=5":                    4 * time.Second,
		"max=100, timeout=5":           4 * time.Second,
		"timeout=5, max=100":           4 * time.Second,
		" Timeout = 60 ":               59 * time.Second,
		`timeout="5"`:                  4 * time.Second,
		"timeout=3":                    2 * time.Second,
		"timeout=2":                    time.Second,
		"timeout=1":                    500 * time.Millisecond,
		"timeout=0":                    -1,
		"timeout=2147483647":           2147483646 * time.Second,
		"timeout=5, timeout=7":         4 * time.Second,
		"timeout=7, timeout=5":         4 * time.Second,
		"timeout=-1":                   0,
		"timeout=+5":                   0,
		"timeout=5s":                   0,
		"timeout=1.5":                  0,
		"timeout=99999999999999999999": 0,
		"timeout":                      0,
		"timeouts=5":                   0,
		"max=5":                        0,
		"x-timeout=5":                  0,
		",,=,":                         0,
	} {
		require.Equal(t, want, keepTime([]string{line}), line)
	}
	require.Zero(t, keepTime(nil))
	require.Equal(t, time.Second, keepTime([]string{"timeout=9", "max=3", "timeout=2"}))
	require.EqualValues(t, -1, keepTime([]string{"timeout=9", "timeout=0"}))
}

// A connection is not used again shortly before the target, by its own word, closes it.
func TestConnectionsThatTargetsKeep(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		keepAlive string
		idle      time.Duration // of which the client takes some to take the answer
		conns     int
	}{
		{"", 20 * time.Second, 1},
		{"timeout=5", 0, 1},
		{"timeout=5, max=100", 3999 * time.Millisecond, 1},
		{"timeout=5, max=100", 4 * time.Second, 2},
		{"timeout=1", 499 * time.Millisecond, 1},
		{"timeout=1", 500 * time.Millisecond, 2},
		{"timeout=0", 0, 2},
		{"max=1", 20 * time.Second, 1},
	} {
		for _, body := range []string{"", "body"} {
			head := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
			if tt.keepAlive != "" {
				head = strings.Replace(head, "\r\n", "\r\nKeep-Alive: "+tt.keepAlive+"\r\n", 1)
			}
			t.Run(tt.keepAlive+" "+tt.idle.String()+" "+body, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					conns := 0
					s := NewStandard(Config{Dial: func(context.Context, string, string) (net.Conn, error) {
						conns++
						client, server := net.Pipe()
						go answersAll(server, head)
						return client, nil
					}})
					postTwice(t, s, "target.test", body, func() { time.Sleep(tt.idle / 2) }, func() { time.Sleep(tt.idle - tt.idle/2) })
					require.Equal(t, tt.conns, conns, "Standard")
					require.NoError(t, s.Close())
				})

				l, err := net.Listen("tcp", "127.0.0.1:0")
				require.NoError(t, err)
				defer l.Close()
				conns := make(chan struct{}, 4)
				go func() {
					for {
						c, err := l.Accept()
						if err != nil {
							return
						}
						conns <- struct{}{}
						go answersAll(c, head)
					}
				}()
				d, host := NewDirect(Config{}), l.Addr().String()
				postTwice(t, d, host, body, func() {}, func() {
					for _, c := range d.pool(host).idle { // as if so much time had gone by
						if c.until.IsZero() {
							continue
						}
						if c.until = c.until.Add(-tt.idle); tt.conns == 1 {
							c.until = c.until.Add(time.Minute) // however busy the machine is
						}
					}
				})
				require.Len(t, conns, tt.conns, "Direct")
				require.NoError(t, d.Close())
			})
		}
	}
}

// answersAll is a target that answers all requests with answer.
func answersAll(c net.Conn, answer string) {
	defer c.Close()
	for in := bufio.NewReader(c); ; {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(c, answer)
	}
}

// postTwice makes two requests, of which the second may not be repeated.
func postTwice(t *testing.T, s Transport, host, body string, within, between func()) {
	t.Helper()
	for i := range 2 {
		if i > 0 {
			between()
		}
		var b io.Reader
		if body != "" {
			b = strings.NewReader(body)
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+host+"/", b)
		r.RequestURI = ""
		a, err := s.Send(r, Limits{Connect: time.Minute, FirstByte: time.Minute, Idle: time.Minute})
		require.NoError(t, err)
		if i == 0 {
			within()
		}
		_, err = io.Copy(io.Discard, a.Body)
		require.NoError(t, err)
		require.NoError(t, a.Body.Close())
	}
}

// Who waits for a connection that is not to be used any more makes one in its place, and does not begin to wait anew.
func TestWaitingForAConnectionThatEnds(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answersAll(c, "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=0\r\nContent-Length: 2\r\n\r\nok")
		}
	}()
	d := NewDirect(Config{MaxConns: 1})
	defer d.Close()
	send := func() (*Answer, error) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr().String()+"/", nil)
		return d.Send(r, Limits{Connect: time.Minute, FirstByte: time.Minute, Idle: time.Minute})
	}
	held, err := send()
	require.NoError(t, err)
	p := d.pool(l.Addr().String())
	served := make(chan int)
	for i := range 4 {
		go func() {
			a, err := send()
			if err != nil {
				t.Error(err)
			}
			served <- i
			<-served // the next may be
			if err == nil {
				_ = a.Body.Close()
			}
		}()
		for waiting := 0; waiting <= i; runtime.Gosched() {
			p.mu.Lock()
			waiting = len(p.waiters)
			p.mu.Unlock()
		}
	}
	_, err = io.Copy(io.Discard, held.Body)
	require.NoError(t, err)
	require.NoError(t, held.Body.Close())
	for i := range 4 {
		require.Equal(t, i, <-served)
		served <- i
	}
}

// opaqueConn is a connection that cannot be looked into.
type opaqueConn struct{ net.Conn }

// What was found out about an application's dialer is not found out again however many targets there are.
func TestOpaquePoolsStay(t *testing.T) {
	t.Parallel()
	var dials atomic.Int64
	d := NewDirect(Config{Dial: func(context.Context, string, string) (net.Conn, error) {
		dials.Add(1)
		client, server := net.Pipe()
		go answersAll(server, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		return &opaqueConn{client}, nil
	}})
	const targets = 2 * fewPools
	for range 3 {
		for i := range targets {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://t%d.test/", i), nil)
			a, err := d.Send(r, Limits{Connect: time.Minute, FirstByte: time.Minute, Idle: time.Minute})
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, a.Body)
			require.NoError(t, err)
			require.NoError(t, a.Body.Close())
		}
	}
	require.EqualValues(t, targets, dials.Load())
	require.NoError(t, d.Close())
}
