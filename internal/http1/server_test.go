package http1_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/clientconn"
	"github.com/gatehouse-go/gateway/internal/http1"
	"github.com/gatehouse-go/gateway/internal/rawtest"
)

// served is a server on a port of its own.
type served struct {
	*http1.Server

	hs   *http.Server
	l    net.Listener
	addr string
	log  *logged
}

// logged is what a server complains of.
type logged struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// start serves h until the test ends. Behind says what listener the connections come through.
func start(t testing.TB, h http.HandlerFunc, behind func(net.Listener) net.Listener, set func(*http.Server)) *served {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	if behind != nil {
		l = behind(l)
	}
	s := &served{l: l, addr: l.Addr().String(), log: new(logged)}
	s.hs = &http.Server{Handler: h, ErrorLog: log.New(s.log, "", 0), ReadHeaderTimeout: rawtest.Patience, IdleTimeout: rawtest.Patience}
	if set != nil {
		set(s.hs)
	}
	s.Server = http1.New(s.hs)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, errors.Join(s.Close(), s.hs.Close()))
		require.ErrorIs(t, <-ended, http.ErrServerClosed)
	})
	return s
}

func gate(l net.Listener) net.Listener {
	return clientconn.NewGate(l, clientconn.Options{Framing: true})
}

// listeners are those that connections come through.
var listeners = map[string]func(net.Listener) net.Listener{"any": nil, "ours": gate} //nolint:gochecknoglobals // of a test

// eachListener runs f with all of them.
func eachListener(t *testing.T, f func(t *testing.T, behind func(net.Listener) net.Listener)) {
	t.Helper()
	for name, behind := range listeners {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, behind)
		})
	}
}

const text = "Content-Length: %d\nContent-Type: text/plain; charset=utf-8\nDate: *\n\n%s"

// answered is the text of an answer with 200 that a handler wrote in one go.
func answered(body string) string { return "HTTP/1.1 200 OK\n" + fmt.Sprintf(text, len(body), body) }

func say(w io.Writer, s string) { _, _ = io.WriteString(w, s) }

// A client that leaves ends the request's context, whatever it was about.
func TestClientLeaves(t *testing.T) {
	t.Parallel()
	for about, send := range map[string]string{
		"no body": "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "a body that was read": "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
		"chunks that were read": "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "half a body": "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na",
		"pipelined": "GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
	} {
		for how, leave := range map[string]func(*rawtest.Conn){"closes": (*rawtest.Conn).Close, "resets": (*rawtest.Conn).Reset, "closes its side": (*rawtest.Conn).CloseWrite} {
			t.Run(about+", "+how, func(t *testing.T) {
				t.Parallel()
				eachListener(t, func(t *testing.T, behind func(net.Listener) net.Listener) {
					entered, left := make(chan struct{}), make(chan error, 2)
					s := start(t, func(_ http.ResponseWriter, r *http.Request) {
						close(entered)
						_, _ = io.ReadAll(r.Body)
						<-r.Context().Done()
						left <- r.Context().Err()
						panic(http.ErrAbortHandler)
					}, behind, nil)
					c := rawtest.Dial(t, s.addr)
					c.Send(send)
					<-entered
					leave(c)
					require.ErrorIs(t, <-left, context.Canceled)
				})
			})
		}
	}
}

// The context of a request that is over ends, too, and one that is served long is not ended without cause.
func TestClientStays(t *testing.T) {
	t.Parallel()
	eachListener(t, func(t *testing.T, behind func(net.Listener) net.Listener) {
		var last context.Context
		s := start(t, func(w http.ResponseWriter, r *http.Request) {
			if last != nil {
				<-last.Done()
			}
			last = r.Context()
			b, _ := io.ReadAll(r.Body)
			select {
			case <-r.Context().Done():
				t.Error("the client is there")
			case <-time.After(60 * time.Millisecond): // real connections, which no bubble holds
			}
			say(w, string(b))
		}, behind, nil)
		c := rawtest.Dial(t, s.addr)
		for range 3 {
			c.Send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n", "abc")
			require.Equal(t, answered("abc"), c.ReadAnswer("POST").Text())
		}
		// What comes meanwhile is the next request.
		c.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n", "POST / HTTP/1.1\r\nHost: h\r\nContent-", "Length: 3\r\n\r\nab", "c")
		require.Equal(t, answered(""), strings.Replace(c.ReadAnswer("GET").Text(), "\nDate", "\nContent-Type: text/plain; charset=utf-8\nDate", 1)+"\n")
		require.Equal(t, answered("abc"), c.ReadAnswer("POST").Text())
	})
}

// An answer does not wait for a body that nobody reads. What of it is short is read away, and the connection goes on.
func TestUnreadBodies(t *testing.T) {
	t.Parallel()
	eachListener(t, func(t *testing.T, behind func(net.Listener) net.Listener) {
		long := strings.Repeat("x", 8<<20)
		s := start(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/long" {
				say(w, long)
				return
			}
			say(w, "early")
		}, behind, nil)
		c := rawtest.Dial(t, s.addr)
		c.Send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n")
		require.Equal(t, answered("early"), c.ReadAnswer("POST").Text(), "before any of the body")
		c.Send("0123456789GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		require.Equal(t, answered("early"), c.ReadAnswer("GET").Text())
		c.Send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
		require.Equal(t, answered("early"), c.ReadAnswer("POST").Text())
		c.Send("3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n")
		require.Equal(t, answered("early"), c.ReadAnswer("GET").Text())

		// A client that sends all before it reads is not waited for without end, whichever side has more.
		body := strings.Repeat("y", 200<<10)
		sent := c.SendMeanwhile(fmt.Sprintf("POST /long HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		require.NoError(t, <-sent)
		require.Len(t, c.ReadAnswer("POST").Body, len(long))
		c.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		require.Equal(t, answered("early"), c.ReadAnswer("GET").Text())

		// What is long is not read, and the client is told so.
		c.Send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nxyz")
		require.Equal(t, strings.Replace(answered("early"), "\n", "\nConnection: close\n", 1), c.ReadAnswer("POST").Text())
		c.ExpectEnd()

		// So with one that goes on without end: it gets the answer, and is cut off.
		c = rawtest.Dial(t, s.addr)
		sent = c.SendMeanwhile("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1000\r\n"+strings.Repeat("z", 4096)+"\r\n", 4096))
		require.Equal(t, 200, c.ReadAnswer("POST").Status())
		c.ExpectEnd()
		require.Error(t, <-sent)

		// And one that sends nothing more is not waited for.
		c = rawtest.Dial(t, s.addr)
		c.Send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nxyz")
		require.Equal(t, answered("early"), c.ReadAnswer("POST").Text())
		c.ExpectEnd()
	})
}

// A handler may read and write as it likes.
func TestBothWays(t *testing.T) {
	t.Parallel()
	eachListener(t, func(t *testing.T, behind func(net.Listener) net.Listener) {
		s := start(t, func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).EnableFullDuplex()
			p := make([]byte, 1)
			for {
				_, err := io.ReadFull(r.Body, p)
				if err != nil {
					return
				}
				_, _ = w.Write(p)
				w.(http.Flusher).Flush()
			}
		}, behind, nil)
		c := rawtest.Dial(t, s.addr)
		c.Send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na")
		require.Equal(t, "HTTP/1.1 200 OK", c.ReadHead().Start)
		c.Expect("1\r\na\r\n")
		c.Send("b")
		c.Expect("1\r\nb\r\n")
		c.Send("c")
		c.Expect("1\r\nc\r\n0\r\n\r\n")
		c.Send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\na")
		require.Equal(t, "a", c.ReadAnswer("POST").Body)
	})
}

// 100 Continue goes out when the body is wanted, and not before; whoever does not get it is not expected to send.
func TestContinue(t *testing.T) {
	t.Parallel()
	const expects = " HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
	eachListener(t, func(t *testing.T, behind func(net.Listener) net.Listener) {
		s := start(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/read" {
				_, _ = io.Copy(w, r.Body)
			}
		}, behind, nil)
		c := rawtest.Dial(t, s.addr)
		c.Send("POST /read" + expects)
		c.Expect("HTTP/1.1 100 Continue\r\n\r\n")
		c.Send("abc")
		require.Equal(t, answered("abc"), c.ReadAnswer("POST").Text())
		c.Send("POST /read" + expects + "abc") // it need not wait
		c.Expect("HTTP/1.1 100 Continue\r\n\r\n")
		require.Equal(t, answered("abc"), c.ReadAnswer("POST").Text())
		c.Send("POST /" + expects)
		require.Equal(t, "HTTP/1.1 200 OK\nConnection: close\nContent-Length: 0\nDate: *\n", c.ReadAnswer("POST").Text())
		c.ExpectEnd()
	})
}

// Time is bounded where clients could take it.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	const brief = 50 * time.Millisecond
	for about, tt := range map[string]struct {
		set  func(*http.Server)
		send []string
		want string
	}{
		"no request":        {func(hs *http.Server) { hs.ReadHeaderTimeout = brief }, nil, ""},
		"half a head":       {func(hs *http.Server) { hs.ReadHeaderTimeout = brief }, []string{"GET / HTTP/1.1\r\n"}, ""},
		"half a later head": {func(hs *http.Server) { hs.ReadHeaderTimeout = brief }, []string{"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\n"}, "<nil>"},
		"no next request":   {func(hs *http.Server) { hs.IdleTimeout = brief }, []string{"GET / HTTP/1.1\r\nHost: h\r\n\r\n"}, "<nil>"},
		"half a body":       {func(hs *http.Server) { hs.ReadTimeout = brief }, []string{"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na"}, "i/o timeout"},
		"no next, as a whole": {func(hs *http.Server) { hs.ReadTimeout, hs.IdleTimeout = brief, 0 }, []string{"GET / HTTP/1.1\r\nHost: h\r\n\r\n"},
			"<nil>"},
	} {
		t.Run(about, func(t *testing.T) {
			t.Parallel()
			eachListener(t, func(t *testing.T, behind func(net.Listener) net.Listener) {
				s := start(t, func(w http.ResponseWriter, r *http.Request) {
					_, err := io.ReadAll(r.Body)
					fmt.Fprint(w, err)
				}, behind, tt.set)
				c := rawtest.Dial(t, s.addr)
				for _, text := range tt.send {
					c.Send(text)
					if strings.HasSuffix(text, "\r\n\r\n") {
						require.Contains(t, c.ReadAnswer("GET").Body, tt.want)
					}
				}
				if about == "half a body" {
					require.Contains(t, c.ReadAnswer("POST").Body, tt.want)
				}
				c.ExpectEnd()
				require.Empty(t, s.log.String())
			})
		})
	}
	t.Run("a client that takes nothing", func(t *testing.T) {
		t.Parallel()
		failed := make(chan error, 1)
		s := start(t, func(w http.ResponseWriter, _ *http.Request) {
			p := make([]byte, 1<<20)
			for {
				if _, err := w.Write(p); err != nil {
					failed <- err
					return
				}
			}
		}, gate, func(hs *http.Server) { hs.WriteTimeout = 100 * time.Millisecond })
		c := rawtest.Dial(t, s.addr)
		c.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		require.Error(t, <-failed)
	})
}

// The deadlines that handlers set hold, and only for their request.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	eachListener(t, func(t *testing.T, behind func(net.Listener) net.Listener) {
		s := start(t, func(w http.ResponseWriter, r *http.Request) {
			control := http.NewResponseController(w)
			switch r.URL.Path {
			case "/read":
				require.NoError(t, control.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
				_, err := io.ReadAll(r.Body)
				require.ErrorIs(t, err, os.ErrDeadlineExceeded)
				_, err = r.Body.Read(make([]byte, 1))
				require.ErrorIs(t, err, os.ErrDeadlineExceeded, "for good")
			case "/late":
				_, _ = io.ReadAll(r.Body)
				require.NoError(t, control.SetReadDeadline(time.Unix(1, 0)))
				require.NoError(t, control.SetWriteDeadline(time.Now().Add(time.Hour)))
				time.Sleep(40 * time.Millisecond) // until the client is watched
				require.NoError(t, r.Context().Err())
			case "/write":
				require.NoError(t, control.SetWriteDeadline(time.Unix(1, 0)))
				say(w, "x")
				require.Error(t, control.Flush())
				<-r.Context().Done()
			}
			say(w, "done")
		}, behind, nil)
		c := rawtest.Dial(t, s.addr)
		for range 2 {
			c.Send("POST /late HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
			require.Equal(t, answered("done"), c.ReadAnswer("POST").Text())
		}
		c.Send("POST /read HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na")
		require.Equal(t, "done", c.ReadAnswer("POST").Body)
		c.ExpectEnd()
		c = rawtest.Dial(t, s.addr)
		c.Send("GET /write HTTP/1.1\r\nHost: h\r\n\r\n")
		c.ExpectEnd()
	})
}

// A connection is taken over with what came early, and its deadlines are lifted; nobody but the one who has it uses it.
func TestHijack(t *testing.T) {
	t.Parallel()
	eachListener(t, func(t *testing.T, behind func(net.Listener) net.Listener) {
		over := make(chan struct{})
		s := start(t, func(w http.ResponseWriter, r *http.Request) {
			defer close(over)
			if r.URL.Path == "/late" {
				time.Sleep(40 * time.Millisecond) // until the client is watched
			}
			c, rw, err := http.NewResponseController(w).Hijack()
			require.NoError(t, err)
			_, _, err = http.NewResponseController(w).Hijack()
			require.ErrorIs(t, err, http.ErrHijacked)
			_, err = w.Write([]byte("x"))
			require.ErrorIs(t, err, http.ErrHijacked)
			w.WriteHeader(200)
			go func() {
				defer c.Close()
				<-r.Context().Done() // which ends with the handler
				for {
					line, err := rw.ReadString('\n')
					if err != nil {
						return
					}
					say(c, "> "+line)
				}
			}()
		}, behind, nil)
		for _, path := range []string{"/", "/late"} {
			over = make(chan struct{})
			c := rawtest.Dial(t, s.addr)
			c.Send("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\nearly\nhal")
			<-over
			c.Expect("> early\n")
			c.Send("f\n")
			c.Expect("> half\n")
			require.NoError(t, s.Shutdown(t.Context()), "which is no affair of a server's")
			c.Send("late\n")
			c.Expect("> late\n")
			c.CloseWrite()
			c.ExpectEnd()
			if path == "/" {
				s = start(t, s.hs.Handler.ServeHTTP, behind, nil)
			}
		}
	})
}

// What a handler sees of the server it sees in the context.
func TestContext(t *testing.T) {
	t.Parallel()
	type key string
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		hs, _ := r.Context().Value(http.ServerContextKey).(*http.Server)
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		fmt.Fprint(w, hs != nil && hs.Handler != nil, " ", local, " ", r.Context().Value(key("base")), " ", r.Context().Value(key("conn")) == r.RemoteAddr, " ", r.TLS)
	}, gate, func(hs *http.Server) {
		hs.BaseContext = func(l net.Listener) context.Context {
			return context.WithValue(context.Background(), key("base"), l.Addr())
		}
		hs.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, key("conn"), c.RemoteAddr().String())
		}
	})
	c := rawtest.Dial(t, s.addr)
	c.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	require.Equal(t, "true "+s.addr+" "+s.addr+" true <nil>", c.ReadAnswer("GET").Body)
}

// Who counts connections by their states can.
func TestStates(t *testing.T) {
	t.Parallel()
	states := make(chan http.ConnState, 100)
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/over":
			c, _, _ := http.NewResponseController(w).Hijack()
			_ = c.Close()
		case "/panic":
			panic("x")
		}
	}, gate, func(hs *http.Server) { hs.ConnState = func(_ net.Conn, state http.ConnState) { states <- state } })
	expect := func(want ...http.ConnState) {
		t.Helper()
		for _, w := range want {
			require.Equal(t, w, <-states)
		}
	}
	ask := func(path string) *rawtest.Conn {
		c := rawtest.Dial(t, s.addr)
		expect(http.StateNew)
		c.Send("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n")
		expect(http.StateActive)
		return c
	}
	c := ask("/")
	expect(http.StateIdle)
	c.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	expect(http.StateActive, http.StateIdle)
	c.Close()
	expect(http.StateClosed)
	ask("/over")
	expect(http.StateHijacked)
	ask("/panic")
	expect(http.StateClosed)
	c = rawtest.Dial(t, s.addr)
	c.Close()
	expect(http.StateNew, http.StateClosed)
	require.Contains(t, s.log.String(), "http: panic serving 127.0.0.1:")
}

// A handler that breaks off is not taken for one that has ended, whatever its answer ends with.
func TestBrokenOff(t *testing.T) {
	t.Parallel()
	eachListener(t, func(t *testing.T, behind func(net.Listener) net.Listener) {
		s := start(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/sized" {
				w.Header().Set("Content-Length", "9")
			}
			say(w, "half")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, behind, nil)
		c := rawtest.Dial(t, s.addr)
		c.Send("GET / HTTP/1.0\r\n\r\n")
		c.ReadHead()
		c.Expect("half")
		c.ExpectReset()
		c = rawtest.Dial(t, s.addr)
		c.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		require.Error(t, c.ReadAnswer("GET").Broken)
		c = rawtest.Dial(t, s.addr)
		c.Send("GET /sized HTTP/1.1\r\nHost: h\r\n\r\n")
		require.Error(t, c.ReadAnswer("GET").Broken)
		require.Empty(t, s.log.String())
	})
}

// Who uses a writer or a body too long finds it ended, and disturbs nobody.
func TestTooLate(t *testing.T) {
	t.Parallel()
	var late http.ResponseWriter
	var body io.ReadCloser
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		if late == nil {
			late, body = w, r.Body
			return
		}
		_, err := late.Write([]byte("late"))
		require.Error(t, err)
		require.Error(t, http.NewResponseController(late).Flush())
		late.WriteHeader(500)
		require.Error(t, http.NewResponseController(late).SetReadDeadline(time.Now()))
		require.Panics(t, func() { _, _, _ = http.NewResponseController(late).Hijack() })
		_, err = body.Read(make([]byte, 1))
		require.ErrorIs(t, err, http.ErrBodyReadAfterClose)
		require.NoError(t, body.Close())
		b, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		_, _ = w.Write(b)
	}, gate, nil)
	c := rawtest.Dial(t, s.addr)
	for _, want := range []string{"", "def"} {
		c.Send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n", "def")
		require.Equal(t, want, c.ReadAnswer("POST").Body)
	}
}

// A body that a goroutine still reads when the handler returns holds nobody up.
func TestReadBeyondTheHandler(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		begun := make(chan struct{})
		go func() {
			close(begun)
			_, err := io.ReadAll(r.Body)
			ended <- err
		}()
		<-begun
		say(w, "x")
	}, gate, nil)
	c := rawtest.Dial(t, s.addr)
	c.Send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na")
	require.Equal(t, "x", c.ReadAnswer("POST").Body)
	require.Error(t, <-ended)
	c.ExpectEnd()
}

// Shutdown ends idle connections, waits for requests, and serves what has come.
func TestShutdown(t *testing.T) {
	t.Parallel()
	eachListener(t, func(t *testing.T, behind func(net.Listener) net.Listener) {
		entered, leave := make(chan struct{}, 9), make(chan struct{})
		s := start(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/wait" {
				entered <- struct{}{}
				<-leave
			}
			say(w, "x")
		}, behind, nil)
		idle, busy, half, fresh := rawtest.Dial(t, s.addr), rawtest.Dial(t, s.addr), rawtest.Dial(t, s.addr), rawtest.Dial(t, s.addr)
		idle.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		require.Equal(t, answered("x"), idle.ReadAnswer("GET").Text())
		busy.Send("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
		<-entered
		half.Send("GET / HTTP/1.1\r\n")
		fresh.Send("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
		<-entered
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(t.Context()) }()
		idle.ExpectEnd()
		require.Empty(t, done)
		half.Send("Host: h\r\n\r\n")
		last := strings.Replace(answered("x"), "\n", "\nConnection: close\n", 1)
		require.Equal(t, last, half.ReadAnswer("GET").Text())
		half.ExpectEnd()
		close(leave)
		require.Equal(t, last, busy.ReadAnswer("GET").Text())
		require.Equal(t, last, fresh.ReadAnswer("GET").Text())
		require.NoError(t, <-done)
		require.ErrorIs(t, s.Serve(s.l), http.ErrServerClosed)
		_, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.addr)
		require.Error(t, err)
	})
}

// Shutdown gives up when its time is over, and Close ends what is left.
func TestClose(t *testing.T) {
	t.Parallel()
	left := make(chan struct{})
	entered := make(chan struct{})
	s := start(t, func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(left)
	}, gate, nil)
	c := rawtest.Dial(t, s.addr)
	c.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.Shutdown(ctx), context.DeadlineExceeded)
	require.NoError(t, s.Close())
	c.ExpectEnd()
	<-left
	require.NoError(t, s.Shutdown(t.Context()))
}

// The http.Server's own Shutdown ends Serve, too.
func TestShutdownOfTheOther(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	hs := &http.Server{ReadHeaderTimeout: time.Second}
	ended := make(chan error, 1)
	served := make(chan struct{})
	hs.BaseContext = func(net.Listener) context.Context {
		select {
		case served <- struct{}{}:
		default:
		}
		return context.Background()
	}
	go func() { ended <- http1.New(hs).Serve(l) }()
	<-served
	require.Eventually(t, func() bool { return hs.Shutdown(t.Context()) == nil && len(ended) == 1 }, rawtest.Patience, time.Millisecond)
	require.ErrorIs(t, <-ended, http.ErrServerClosed)
}

// failing is a listener that fails a few times.
type failing struct {
	net.Listener

	fails atomic.Int32
	err   error
}

func (l *failing) Accept() (net.Conn, error) {
	if l.fails.Add(-1) >= 0 {
		return nil, l.err
	}
	return l.Listener.Accept()
}

type temporary struct{ error }

func (temporary) Temporary() bool { return true }
func (temporary) Timeout() bool   { return false }

func TestAcceptFails(t *testing.T) {
	t.Parallel()
	f := &failing{err: temporary{errors.New("too many files")}}
	f.fails.Store(2)
	s := start(t, func(w http.ResponseWriter, _ *http.Request) { say(w, "x") }, func(l net.Listener) net.Listener {
		f.Listener = l
		return f
	}, nil)
	c := rawtest.Dial(t, s.addr)
	c.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	require.Equal(t, answered("x"), c.ReadAnswer("GET").Text())
	require.Equal(t, 2, strings.Count(s.log.String(), "Accept error: too many files"))

	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	broken := &failing{Listener: l, err: errors.New("broken")}
	broken.fails.Store(1)
	require.ErrorIs(t, http1.New(&http.Server{ReadHeaderTimeout: time.Second}).Serve(broken), broken.err)
}

// Over TLS both versions of HTTP are served, by whoever can; framing is checked there as well.
func TestTLS(t *testing.T) {
	t.Parallel()
	signed := httptest.NewUnstartedServer(nil)
	signed.StartTLS()
	defer signed.Close()
	pool := signed.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	config := &tls.Config{Certificates: signed.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}
	told := make(chan error, 9)
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Proto, " ", r.TLS != nil && r.TLS.HandshakeComplete)
	},
		func(l net.Listener) net.Listener {
			return tls.NewListener(clientconn.NewGate(l, clientconn.Options{Framing: true, Refused: func(_ net.Addr, err error) { told <- err }}), config)
		}, func(hs *http.Server) { hs.TLSConfig = config })
	dial := func(protos ...string) *tls.Conn {
		d := tls.Dialer{Config: &tls.Config{RootCAs: pool, ServerName: "example.com", NextProtos: protos, MinVersion: tls.VersionTLS12}}
		c, err := d.DialContext(t.Context(), "tcp", s.addr)
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		require.NoError(t, c.SetDeadline(time.Now().Add(rawtest.Patience)))
		return c.(*tls.Conn)
	}
	for _, protos := range [][]string{nil, {"http/1.1"}} {
		c := dial(protos...)
		in := bufio.NewReader(c)
		for range 2 {
			say(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			res, err := http.ReadResponse(in, nil)
			require.NoError(t, err)
			body, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			require.Equal(t, "HTTP/1.1 true", string(body))
		}
		require.Empty(t, told)
		say(c, post+"Content-Length: 3\r\n"+chunked+"\r\n"+abc)
		res, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		require.Equal(t, 400, res.StatusCode)
		require.ErrorIs(t, <-told, clientconn.ErrFraming)
	}
	for _, h2 := range []bool{true, false} {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "example.com", MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: h2}
		defer tr.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.addr, nil)
		require.NoError(t, err)
		res, err := tr.RoundTrip(req)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, map[bool]string{true: "HTTP/2.0 true", false: "HTTP/1.1 true"}[h2], string(body))
	}
	c := rawtest.Dial(t, s.addr)
	c.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	require.Equal(t, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n", c.ReadToEnd())
	require.Contains(t, s.log.String(), "client sent an HTTP request to an HTTPS server")
}

// HTTP/2 without TLS is net/http's, where it is allowed.
func TestUnencryptedHTTP2(t *testing.T) {
	t.Parallel()
	eachListener(t, func(t *testing.T, behind func(net.Listener) net.Listener) {
		for _, allowed := range []bool{true, false} {
			s := start(t, func(w http.ResponseWriter, r *http.Request) { say(w, r.Proto) }, behind, func(hs *http.Server) {
				hs.Protocols = new(http.Protocols)
				hs.Protocols.SetHTTP1(true)
				hs.Protocols.SetUnencryptedHTTP2(allowed)
			})
			var only http.Protocols
			only.SetUnencryptedHTTP2(true)
			tr := &http.Transport{Protocols: &only}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.addr, nil)
			require.NoError(t, err)
			res, err := tr.RoundTrip(req)
			if !allowed {
				require.Error(t, err)
				continue
			}
			require.NoError(t, err)
			body, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			require.Equal(t, "HTTP/2.0", string(body))
			tr.CloseIdleConnections()
			c := rawtest.Dial(t, s.addr)
			c.Drip("P")
			c.Send("RI / HTTP/1.1\r\nHost: h\r\n\r\n")
			require.Equal(t, answered("HTTP/1.1"), c.ReadAnswer("PRI").Text())
		}
	})
}

// A server that is to speak no HTTP/1 speaks none, and listeners that leave framing to net/http are left to it.
func TestLeftToNetHTTP(t *testing.T) {
	t.Parallel()
	s := start(t, func(http.ResponseWriter, *http.Request) {}, nil, func(hs *http.Server) {
		hs.Protocols = new(http.Protocols)
		hs.Protocols.SetUnencryptedHTTP2(true)
	})
	c := rawtest.Dial(t, s.addr)
	c.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	c.ExpectEnd()
	s = start(t, func(w http.ResponseWriter, _ *http.Request) { say(w, "x") }, func(l net.Listener) net.Listener { return clientconn.NewGate(l, clientconn.Options{}) }, nil)
	c = rawtest.Dial(t, s.addr)
	c.Send("GET / HTTP/1.1\nHost: h\n\n")
	require.Equal(t, answered("x"), c.ReadAnswer("GET").Text())
}

// "OPTIONS *" is the server's, unless it is the handler's.
func TestOptions(t *testing.T) {
	t.Parallel()
	for _, handlers := range []bool{false, true} {
		s := start(t, func(w http.ResponseWriter, r *http.Request) { say(w, r.RequestURI) }, gate, func(hs *http.Server) { hs.DisableGeneralOptionsHandler = handlers })
		c := rawtest.Dial(t, s.addr)
		c.Send("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n")
		require.Equal(t, map[bool]string{false: "", true: "*"}[handlers], c.ReadAnswer("OPTIONS").Body)
	}
}

// Whoever owns the listener hears of requests that two servers could have read differently.
func TestAmbiguous(t *testing.T) {
	t.Parallel()
	told := make(chan error, 9)
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		require.Error(t, err)
		require.NoError(t, r.Context().Err(), "the client is there")
		w.WriteHeader(400)
	}, func(l net.Listener) net.Listener {
		return clientconn.NewGate(l, clientconn.Options{Framing: true, Refused: func(_ net.Addr, err error) { told <- err }})
	}, nil)
	for _, send := range []string{post + "Content-Length: 3\r\n" + chunked + "\r\n" + abc, "GET / HTTP/1.1\nHost: h\r\n\r\n", post + chunked + "\r\n3\nabc\r\n0\r\n\r\n"} {
		c := rawtest.Dial(t, s.addr)
		c.Send(send)
		require.Equal(t, 400, c.ReadAnswer("GET").Status())
		require.ErrorIs(t, <-told, clientconn.ErrFraming)
		c.ExpectEnd()
	}
	c := rawtest.Dial(t, s.addr)
	c.Send("GET / HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n") // malformed for all
	require.Equal(t, "HTTP/1.1 400 Bad Request\nConnection: close\nContent-Length: 32\nContent-Type: text/plain; charset=utf-8\nDate: *\n\nBad Request: invalid header name",
		c.ReadAnswer("GET").Text())
	require.Empty(t, told)
}

// Many clients at a time get their own answers, whatever others do.
func TestMany(t *testing.T) {
	t.Parallel()
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		say(w, r.URL.Path)
		_, _ = w.Write(b)
	}, gate, nil)
	var all sync.WaitGroup
	for n := range 32 {
		all.Go(func() {
			tr := new(http.Transport)
			defer tr.CloseIdleConnections()
			for i := range 100 {
				body := strings.Repeat(string(rune('a'+n%26)), i*97%9000)
				var in io.Reader = strings.NewReader(body)
				if i%3 == 0 {
					in = struct{ io.Reader }{in} // in chunks
				}
				ctx, cancel := context.WithCancel(t.Context())
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("http://%s/%d/%d", s.addr, n, i), in)
				if err != nil {
					t.Error(err)
				}
				if i%10 == 9 {
					time.AfterFunc(time.Duration(i)*time.Microsecond, cancel)
				}
				res, err := tr.RoundTrip(req)
				if err == nil {
					var got []byte
					if got, err = io.ReadAll(res.Body); err == nil && string(got) != fmt.Sprintf("/%d/%d%s", n, i, body) {
						t.Errorf("%d/%d: %.80q", n, i, got)
					}
					_ = res.Body.Close()
				}
				if err != nil && i%10 != 9 {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	all.Wait()
}

