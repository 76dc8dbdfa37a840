package http1_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/http1"
)

// canned is a connection whose client has sent everything, and then closed its side. How it is cut into reads says cuts.
type canned struct {
	mu   sync.Mutex
	in   []byte
	cuts *rand.Rand // nil: as much as there is room for
	out  bytes.Buffer
	done chan struct{}
	once sync.Once
}

func (c *canned) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	n := min(len(p), len(c.in))
	if c.cuts != nil && n > 1 {
		n = 1 + c.cuts.IntN(n)
	}
	copy(p, c.in[:n])
	c.in = c.in[n:]
	return n, nil
}

func (c *canned) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(p)
}

func (c *canned) Close() error {
	c.once.Do(func() { close(c.done) })
	return nil
}

func (*canned) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }
func (*canned) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2), Port: 4000} }
func (*canned) SetDeadline(time.Time) error      { return nil }
func (*canned) SetReadDeadline(time.Time) error  { return nil }
func (*canned) SetWriteDeadline(time.Time) error { return nil }

// cannery is a listener of canned connections.
type cannery chan net.Conn

func (l cannery) Accept() (net.Conn, error) {
	if c, ok := <-l; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (l cannery) Close() error   { return nil }
func (l cannery) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

// talk returns a function that has a server answer what a client has sent, to the end of the connection.
type talk func(in string, cuts *rand.Rand) string

// servers returns both servers with a handler: ours, and net/http's.
func servers(t testing.TB, h http.Handler, set func(*http.Server)) (ours, theirs talk) {
	t.Helper()
	start := func(serve func(*http.Server, net.Listener) error) talk {
		l := make(cannery)
		hs := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0), DisableGeneralOptionsHandler: true}
		if set != nil {
			set(hs)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = serve(hs, l)
		}()
		t.Cleanup(func() {
			close(l)
			<-ended
		})
		return func(in string, cuts *rand.Rand) string {
			c := &canned{in: []byte(in), cuts: cuts, done: make(chan struct{})}
			l <- c
			<-c.done
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.out.String()
		}
	}
	return start(func(hs *http.Server, l net.Listener) error { return http1.New(hs).Serve(l) }), start((*http.Server).Serve)
}

// told is what a client makes of bytes that it got, for requests with these methods.
func told(t testing.TB, got string, methods ...string) string {
	t.Helper()
	var all strings.Builder
	in := bufio.NewReader(strings.NewReader(got))
	for _, method := range methods {
		for {
			res, err := http.ReadResponse(in, &http.Request{Method: method})
			if err != nil {
				if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
					fmt.Fprintf(&all, "%s: %v\n", method, err)
				}
				break
			}
			fmt.Fprintf(&all, "%s: %s %s\n", method, res.Proto, res.Status)
			if date := res.Header["Date"]; len(date) == 1 && len(date[0]) == len(http.TimeFormat) {
				res.Header["Date"] = []string{"*"}
			}
			for _, name := range slices.Sorted(keys(res.Header)) {
				fmt.Fprintf(&all, "  %s: %q\n", name, res.Header[name])
			}
			if res.StatusCode < 200 && res.StatusCode != http.StatusSwitchingProtocols {
				continue
			}
			fmt.Fprintf(&all, "  length %d, %v, closes %t\n", res.ContentLength, res.TransferEncoding, res.Close)
			body, err := io.ReadAll(res.Body)
			fmt.Fprintf(&all, "  body %d %.80q %v\n  trailer %v\n", len(body), body, err, res.Trailer)
			break
		}
	}
	rest, err := io.ReadAll(in)
	require.NoError(t, err)
	fmt.Fprintf(&all, "rest %.200q\n", rest)
	return all.String()
}

func keys(h http.Header) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range h {
			if !yield(k) {
				return
			}
		}
	}
}

func testTime() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
