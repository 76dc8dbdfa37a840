package http1_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
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

// on is a test of connections that come through a listener.
type on struct {
	*testing.T

	behind func(net.Listener) net.Listener
}

// eachListener runs f with connections of any listener, and of ours.
func eachListener(t *testing.T, f func(t on)) {
	t.Helper()
	for name, behind := range map[string]func(net.Listener) net.Listener{"any": nil, "ours": gate} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(on{t, behind})
		})
	}
}

const text = "Content-Length: %d\nContent-Type: text/plain; charset=utf-8\nDate: *\n\n%s"

// answered is the text of an answer with 200 that a handler wrote in one go.
func answered(body string) string { return "HTTP/1.1 200 OK\n" + fmt.Sprintf(text, len(body), body) }

func say(w io.Writer, s string) { _, _ = io.WriteString(w, s) }

// A client that leaves ends the request's context, whatever it was about.
// The context of a request that is over ends, too, and one that is served long is not ended without cause.
// An answer does not wait for a body that nobody reads. What of it is short is read away, and the connection goes on.
// A handler may read and write as it likes.
// 100 Continue goes out when the body is wanted, and not before; whoever does not get it is not expected to send.
// Time is bounded where clients could take it.
// The deadlines that handlers set hold, and only for their request.
// A connection is taken over with what came early, and its deadlines are lifted; nobody but the one who has it uses it.
func TestHijack(t *testing.T) {
	t.Parallel()
	eachListener(t, func(t on) {
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
		}, t.behind, nil)
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
				s = start(t, s.hs.Handler.ServeHTTP, t.behind, nil)
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
// A handler that breaks off is not taken for one that has ended, whatever its answer ends with.
func TestBrokenOff(t *testing.T) {
	t.Parallel()
	eachListener(t, func(t on) {
		s := start(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/sized" {
				w.Header().Set("Content-Length", "9")
			}
			say(w, "half")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, t.behind, nil)
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
		require.Error(t, http.NewResponseController(late).SetWriteDeadline(time.Now()))
		_, _, err = http.NewResponseController(late).Hijack()
		require.Error(t, err)
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
// Shutdown gives up when its time is over, and Close ends what is left.
// The http.Server's own Shutdown ends Serve, too.
// failing is a listener that fails a few times.
// Over TLS both versions of HTTP are served, by whoever can; framing is checked there as well.
// HTTP/2 without TLS is net/http's, where it is allowed.
// A server that is to speak no HTTP/1 speaks none, and listeners that leave framing to net/http are left to it.
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
