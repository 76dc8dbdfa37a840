package http1_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/clientconn"
	"github.com/gatehouse-go/gateway/internal/rawtest"
)

// wrapped is a listener whose connections are wrapped, by which they hide what is below.
type wrapped struct {
	net.Listener

	wrap func(net.Conn) net.Conn
}

func (l *wrapped) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.wrap(c), nil
}

// late is a connection on which 100 Continue takes its time.
type late struct {
	net.Conn

	begun chan struct{}
}

func (c *late) Write(p []byte) (int, error) {
	if bytes.HasPrefix(p, []byte("HTTP/1.1 100 ")) {
		close(c.begun)
		time.Sleep(50 * time.Millisecond) // in which an answer could overtake it
	}
	return c.Conn.Write(p)
}

// 100 Continue does not come into an answer that another goroutine begins meanwhile.
func TestContinueBesideTheAnswer(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{})
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		go func() { _, _ = r.Body.Read(make([]byte, 1)) }()
		<-begun
		say(w, "x")
		w.(http.Flusher).Flush()
	}, func(l net.Listener) net.Listener {
		return &wrapped{l, func(c net.Conn) net.Conn { return &late{c, begun} }}
	}, nil)
	c := rawtest.Dial(t, s.addr)
	c.Send("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
	c.Expect("HTTP/1.1 100 Continue\r\n\r\n")
	require.Equal(t, "x", c.ReadAnswer("POST").Body)
}

// is out.
func TestCheckedBelow(t *testing.T) {
	t.Parallel()
	told := make(chan error, 9)
	s := start(t, func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(60 * time.Millisecond) // until the client is watched
		say(w, "x")
	}, func(l net.Listener) net.Listener {
		l = clientconn.NewGate(l, clientconn.Options{Framing: true, Refused: func(_ net.Addr, err error) { told <- err }})
		return &wrapped{l, func(c net.Conn) net.Conn { return struct{ net.Conn }{c} }}
	}, nil)
	for _, send := range [][]string{
		{get, post + "Content-Length: 3\r\n" + chunked + "\r\n" + abc}, {get + post + "Content-Length: 3\r\n" + chunked + "\r\n" + abc},
		{get, get, post + "Content-Length: 3\r\n" + chunked + "\r\n" + abc},
	} {
		c := rawtest.Dial(t, s.addr)
		c.Send(send...)
		for range len(send) / 3 {
			require.Equal(t, answered("x"), c.ReadAnswer("GET").Text())
		}
		require.Equal(t, answered("x"), c.ReadAnswer("GET").Text())
		require.Equal(t, 400, c.ReadAnswer("POST").Status())
		c.ExpectEnd()
		require.ErrorIs(t, <-told, clientconn.ErrFraming)
	}
}

// A connection that was taken over is none of the server's from then on, and not only when the handler returns.
func TestTakenOverWithinTheHandler(t *testing.T) {
	t.Parallel()
	for about, leave := range map[string]func(){"returns": func() {}, "panics": func() { panic(http.ErrAbortHandler) }, "ends its goroutine": runtime.Goexit} {
		t.Run(about, func(t *testing.T) {
			t.Parallel()
			states := make(chan http.ConnState, 9)
			conn, leaves := make(chan net.Conn, 1), make(chan struct{})
			s := start(t, func(w http.ResponseWriter, _ *http.Request) {
				c, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
				}
				conn <- c
				<-leaves
				leave()
			}, gate, func(hs *http.Server) { hs.ConnState = func(_ net.Conn, state http.ConnState) { states <- state } })
			c := rawtest.Dial(t, s.addr)
			c.Send(get)
			for _, want := range []http.ConnState{http.StateNew, http.StateActive, http.StateHijacked} {
				require.Equal(t, want, <-states)
			}
			over := <-conn
			defer over.Close()
			require.NoError(t, s.Shutdown(t.Context()))
			require.NoError(t, s.Close())
			say(over, "a")
			c.Expect("a")
			close(leaves)
			time.Sleep(20 * time.Millisecond) // in which the connection could be closed
			say(over, "b")
			c.Expect("b")
			require.Empty(t, states)
		})
	}
}

// Whoever takes over a connection is the only one that reads from it, and that the body was being read does not end the request.
func TestTakenOverWhileTheBodyIsRead(t *testing.T) {
	t.Parallel()
	eachListener(t, func(t on) {
		s := start(t, func(w http.ResponseWriter, r *http.Request) {
			var reading sync.WaitGroup
			defer reading.Wait()
			if r.URL.Path == "/read" {
				begun := make(chan struct{})
				reading.Go(func() {
					_, err := io.ReadFull(r.Body, make([]byte, 2))
					close(begun)
					for err == nil {
						_, err = r.Body.Read(make([]byte, 2))
					}
					if _, err := r.Body.Read(make([]byte, 2)); err == nil {
						t.Error("the body can be read")
					}
				})
				<-begun
				time.Sleep(20 * time.Millisecond) // until it reads on
			} else {
				w.Header().Set("Content-Length", "32768")
				_, _ = w.Write(bytes.Repeat([]byte{'x'}, 32<<10)) // the body is read away beside it
			}
			c, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_, _, err = http.NewResponseController(w).Hijack()
			if !errors.Is(err, http.ErrHijacked) {
				t.Error(err)
			}
			say(c, "over")
			if line, err := rw.ReadString('\n'); err != nil || line != "line\n" {
				t.Errorf("%q, %v", line, err)
			}
			if err := r.Context().Err(); err != nil {
				t.Error(err)
			}
		}, t.behind, nil)
		c := rawtest.Dial(t, s.addr)
		c.Send("POST /read HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nab")
		c.Expect("over")
		c.Send("line\n")
		c.ExpectEOF()
		c = rawtest.Dial(t, s.addr)
		c.Send("POST /away HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nab")
		require.Len(t, c.ReadAnswer("POST").Body, 32<<10)
		c.Expect("over")
		c.Send("line\n")
		c.ExpectEOF()
	})
}

// Behind a request for a tunnel nothing is taken for a request, whatever the answer was.
func TestConnect(t *testing.T) {
	t.Parallel()
	s := start(t, func(w http.ResponseWriter, r *http.Request) { say(w, r.Method) }, gate, nil)
	for version, end := range map[string]string{"HTTP/1.1": "\nConnection: close", "HTTP/1.0": ""} {
		c := rawtest.Dial(t, s.addr)
		c.Send("CONNECT h:1 " + version + "\r\nHost: h:1\r\nConnection: keep-alive\r\n\r\n" + get)
		require.Equal(t, version+strings.Replace(answered("CONNECT")[8:], "\n", end+"\n", 1), c.ReadAnswer("GET").Text())
		c.ExpectEnd()
	}
}

// tardy is a listener that has accepted a connection when it is closed.
type tardy struct {
	net.Listener

	closed chan struct{}
	then   func()
}

func (l *tardy) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		<-l.closed
		l.then()
	}
	return c, err
}

func (l *tardy) Close() error {
	err := l.Listener.Close()
	close(l.closed)
	return err
}

// Shutdown waits for connections that were accepted when it closed their listener.
func TestShutdownBesideAccept(t *testing.T) {
	t.Parallel()
	passes := make(chan struct{})
	s := start(t, func(w http.ResponseWriter, _ *http.Request) { say(w, "x") }, func(l net.Listener) net.Listener {
		return &tardy{l, make(chan struct{}), func() { <-passes }}
	}, nil)
	c := rawtest.Dial(t, s.addr)
	ended := make(chan error, 1)
	go func() { ended <- s.Shutdown(t.Context()) }()
	time.Sleep(20 * time.Millisecond) // in which it could have looked for connections
	require.Empty(t, ended)
	close(passes)
	time.Sleep(20 * time.Millisecond)
	require.Empty(t, ended)
	c.Send(get)
	require.Equal(t, strings.Replace(answered("x"), "\n", "\nConnection: close\n", 1), c.ReadAnswer("GET").Text())
	require.NoError(t, <-ended)
}

// Close ends those, too.
func TestCloseBesideAccept(t *testing.T) {
	t.Parallel()
	passes := make(chan struct{})
	s := start(t, nil, func(l net.Listener) net.Listener { return &tardy{l, make(chan struct{}), func() { <-passes }} }, nil)
	c := rawtest.Dial(t, s.addr)
	require.NoError(t, s.Close())
	close(passes)
	c.ExpectEnd()
}

// What has come on an idle connection when Shutdown ends it is served, and so is what has come behind the request in progress.
func TestShutdownBesideRequests(t *testing.T) {
	t.Parallel()
	eachListener(t, func(t on) {
		for range 20 {
			entered, leave := make(chan struct{}, 1), make(chan struct{})
			s := start(t, func(w http.ResponseWriter, r *http.Request) {
				say(w, "x")
				if r.URL.Path == "/busy" {
					w.(http.Flusher).Flush()
					entered <- struct{}{}
					<-leave
				}
			}, t.behind, nil)
			var all [8]*rawtest.Conn
			for i := range all {
				all[i] = rawtest.Dial(t, s.addr)
				all[i].Send(get)
				require.Equal(t, answered("x"), all[i].ReadAnswer("GET").Text())
			}
			busy := rawtest.Dial(t, s.addr)
			busy.Send("GET /busy HTTP/1.1\r\nHost: h\r\n\r\n" + get)
			<-entered
			for _, c := range all {
				c.Send(get)
			}
			ended := make(chan error, 1)
			go func() { ended <- s.Shutdown(t.Context()) }()
			for _, c := range all {
				require.Equal(t, 200, c.ReadAnswer("GET").Status())
			}
			close(leave)
			require.Equal(t, "x", busy.ReadAnswer("GET").Body)
			require.Equal(t, "x", busy.ReadAnswer("GET").Body)
			busy.ExpectEnd()
			require.NoError(t, <-ended)
		}
	})
}

// halting is a listener whose connections do not go on behind a short deadline before that has expired, for the first time.
type halting struct {
	net.Listener

	meanwhile func()
}

func (l *halting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &haltingConn{Conn: c, l: l}, err
}

type haltingConn struct {
	net.Conn

	l    *halting
	once sync.Once
}

func (c *haltingConn) SetReadDeadline(t time.Time) error {
	err := c.Conn.SetReadDeadline(t)
	if d := time.Until(t); d > 0 && d < time.Second {
		c.once.Do(func() {
			c.l.meanwhile()
			time.Sleep(time.Until(t))
		})
	}
	return err
}

// That holds on a machine, too, that is too busy to look in time.
func TestShutdownOnABusyMachine(t *testing.T) {
	t.Parallel()
	var c *rawtest.Conn
	s := start(t, func(w http.ResponseWriter, _ *http.Request) { say(w, "x") }, func(l net.Listener) net.Listener {
		return &halting{l, func() { c.Send(get) }}
	}, nil)
	c = rawtest.Dial(t, s.addr)
	c.Send(get)
	require.Equal(t, answered("x"), c.ReadAnswer("GET").Text())
	require.NoError(t, s.Shutdown(t.Context()))
	require.Equal(t, strings.Replace(answered("x"), "\n", "\nConnection: close\n", 1), c.ReadAnswer("GET").Text())
	c.ExpectEnd()
}

// Each connection that a hook hears the beginning of it hears the end of, whoever serves it.
func TestStatesOfHTTP2(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	s := start(t, func(w http.ResponseWriter, r *http.Request) { say(w, r.Proto) }, gate, func(hs *http.Server) {
		hs.Protocols = new(http.Protocols)
		hs.Protocols.SetHTTP1(true)
		hs.Protocols.SetUnencryptedHTTP2(true)
		hs.ConnState = func(c net.Conn, state http.ConnState) {
			mu.Lock()
			defer mu.Unlock()
			switch state {
			case http.StateNew:
				open[c] = true
			case http.StateClosed, http.StateHijacked:
				delete(open, c)
			}
		}
	})
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.addr, nil)
	require.NoError(t, err)
	res, err := tr.RoundTrip(req)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, 2, res.ProtoMajor)
	tr.CloseIdleConnections()
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(open) == 0
	}, rawtest.Patience, time.Millisecond)
}
