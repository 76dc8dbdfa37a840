package http1_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/rawtest"
)

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
				eachListener(t, func(t on) {
					entered, left := make(chan struct{}), make(chan error, 2)
					s := start(t, func(_ http.ResponseWriter, r *http.Request) {
						close(entered)
						_, _ = io.ReadAll(r.Body)
						<-r.Context().Done()
						left <- r.Context().Err()
						panic(http.ErrAbortHandler)
					}, t.behind, nil)
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

func TestClientStays(t *testing.T) {
	t.Parallel()
	eachListener(t, func(t on) {
		var over <-chan struct{}
		s := start(t, func(w http.ResponseWriter, r *http.Request) {
			if over != nil {
				<-over
			}
			over = r.Context().Done()
			b, _ := io.ReadAll(r.Body)
			select {
			case <-r.Context().Done():
				t.Error("the client is there")
			case <-time.After(60 * time.Millisecond): // real connections, which no bubble holds
			}
			say(w, string(b))
		}, t.behind, nil)
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

func TestUnreadBodies(t *testing.T) {
	t.Parallel()
	eachListener(t, func(t on) {
		long := strings.Repeat("x", 8<<20)
		s := start(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/long" {
				say(w, long)
				return
			}
			say(w, "early")
		}, t.behind, nil)
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

func TestBothWays(t *testing.T) {
	t.Parallel()
	eachListener(t, func(t on) {
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
		}, t.behind, nil)
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

func TestContinue(t *testing.T) {
	t.Parallel()
	const expects = " HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
	eachListener(t, func(t on) {
		s := start(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/read" {
				_, _ = io.Copy(w, r.Body)
			}
		}, t.behind, nil)
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
			eachListener(t, func(t on) {
				s := start(t, func(w http.ResponseWriter, r *http.Request) {
					_, err := io.ReadAll(r.Body)
					fmt.Fprint(w, err)
				}, t.behind, tt.set)
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

func TestDeadlines(t *testing.T) {
	t.Parallel()
	eachListener(t, func(t on) {
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
		}, t.behind, nil)
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
