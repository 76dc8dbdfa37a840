package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/policy"
)

// fuzzed is a server for clients in memory, in front of whatever handler is set, and a listener on loopback for targets, so
// that an execution makes neither. A target is on a socket, because a gateway looks into those.
type fuzzed struct {
	handler atomic.Value // http.HandlerFunc
	clients chan net.Conn
	targets net.Listener
	over    chan struct{}
}

// newFuzzed returns a server in which wrap, if there is one, stands around the handlers.
func newFuzzed(f *testing.F, wrap func(http.Handler) http.Handler) *fuzzed {
	f.Helper()
	l, err := new(net.ListenConfig).Listen(f.Context(), "tcp", "127.0.0.1:0")
	require.NoError(f, err)
	log.SetOutput(io.Discard) // where net/http complains of targets
	f.Cleanup(func() { log.SetOutput(os.Stderr) })
	z := &fuzzed{clients: make(chan net.Conn), targets: l, over: make(chan struct{})}
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { z.handler.Load().(http.HandlerFunc)(w, r) })
	if wrap != nil {
		h = wrap(h)
	}
	srv := gateway.NewServer("", h)
	srv.ErrorLog = log.New(io.Discard, "", 0)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(z)
	}()
	f.Cleanup(func() {
		_ = srv.Close()
		<-served
		_ = l.Close()
	})
	return z
}

// Accept implements [net.Listener].
func (z *fuzzed) Accept() (net.Conn, error) {
	select {
	case c := <-z.clients:
		return c, nil
	case <-z.over:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (z *fuzzed) Close() error {
	close(z.over)
	return nil
}

// Addr implements [net.Listener].
func (z *fuzzed) Addr() net.Addr { return z.targets.Addr() }

// client is a connection to the server.
func (z *fuzzed) client() *fuzzClient {
	near, far := net.Pipe()
	c := &fuzzClient{Conn: near, done: make(chan struct{})}
	_ = near.SetDeadline(time.Now().Add(8 * time.Second)) // nothing takes as long
	z.clients <- &fuzzServed{Conn: far, addr: z.targets.Addr(), client: c}
	c.in = bufio.NewReader(io.TeeReader(c, &c.raw))
	return c
}

// fuzzClient is the client's end of a connection.
type fuzzClient struct {
	net.Conn

	in   *bufio.Reader
	raw  bytes.Buffer  // what came
	done chan struct{} // closed when the server's last handler has returned, and nothing more comes
	once sync.Once
}

// Read implements [io.Reader].
func (c *fuzzClient) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		select {
		case <-c.done:
			err = io.EOF
		default:
		}
	}
	return n, err
}

// fuzzServed is the server's end.
type fuzzServed struct {
	net.Conn

	addr   net.Addr
	client *fuzzClient
}

// RemoteAddr implements [net.Conn].
func (s *fuzzServed) RemoteAddr() net.Addr { return s.addr }

// CloseWrite is called by net/http before it waits for half a second, so that a reset does not overtake the answer.
func (s *fuzzServed) CloseWrite() error {
	s.client.once.Do(func() {
		close(s.client.done)
		_ = s.client.SetReadDeadline(time.Unix(1, 0))
	})
	return nil
}

// Close implements [net.Conn].
func (s *fuzzServed) Close() error {
	_ = s.CloseWrite()
	return s.Conn.Close()
}

// dial returns a Dial function whose connections are served by serve, and how to wait for all of those to end.
func (z *fuzzed) dial(serve func(c net.Conn)) (dial func(context.Context, string, string) (net.Conn, error), wait func()) {
	var wg sync.WaitGroup
	var mu sync.Mutex // what is dialled is what is accepted
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		c, err := new(net.Dialer).DialContext(ctx, network, z.targets.Addr().String())
		if err != nil {
			return nil, err
		}
		s, err := z.targets.Accept()
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		wg.Go(func() {
			defer s.Close()
			serve(s)
		})
		return c, nil
	}, wg.Wait
}

// upstream is an upstream for one execution. Its limits are far beyond what anything may take.
func (z *fuzzed) upstream(t *testing.T, dial func(context.Context, string, string) (net.Conn, error), outbound ...func(http.RoundTripper) http.RoundTripper) *gateway.Upstream {
	t.Helper()
	u, err := gateway.NewUpstream(gateway.UpstreamConfig{
		Name: "up", Targets: []balancer.Target{{URL: "http://a.test"}}, Dial: dial, Outbound: outbound, MaxIdleConns: 2,
		Timeouts: gateway.Timeouts{FirstByte: 5 * time.Second, Idle: 5 * time.Second},
	})
	require.NoError(t, err)
	return u
}

// reading is how the standard library reads an answer.
type reading struct {
	res  *http.Response
	body string
	open bool // the answer ends before the connection
	rest bool // more follows it
	err  error

	named []string // by Connection, which net/http takes out
}

// readAnswer reads the final answer in raw.
func readAnswer(raw []byte, method string) reading {
	in := bufio.NewReader(bytes.NewReader(raw))
	for {
		res, err := http.ReadResponse(in, &http.Request{Method: method})
		switch {
		case err != nil:
			return reading{err: err}
		case res.StatusCode == http.StatusSwitchingProtocols:
			return reading{err: errors.New("not asked for")}
		case 100 <= res.StatusCode && res.StatusCode < 200:
			continue
		}
		body, err := io.ReadAll(res.Body)
		_, end := in.Peek(1)
		return reading{
			res: res, body: string(body), err: err, named: connectionNames(raw), rest: end == nil,
			open: res.ContentLength >= 0 || len(res.TransferEncoding) > 0 || method == http.MethodHead,
		}
	}
}

// connectionNames returns what the lines of any Connection field in raw name.
func connectionNames(raw []byte) []string {
	var names []string
	for line := range bytes.Lines(raw) {
		name, value, _ := strings.Cut(string(line), ":")
		if !strings.EqualFold(name, "Connection") {
			continue
		}
		for option := range strings.SplitSeq(value, ",") {
			names = append(names, http.CanonicalHeaderKey(strings.TrimSpace(option)))
		}
	}
	return names
}

// endToEnd tells of fields that Connection may not name (RFC 9110 section 7.6.1), such as a gateway keeps.
func endToEnd(name string) bool {
	return strings.HasPrefix(name, "Content-") || slices.Contains([]string{"Authorization", "Cache-Control", "Cookie", "Date", "Etag", "Expires", "Host", "Last-Modified",
		"Location", "Pragma", "Range", "Set-Cookie", "Strict-Transport-Security", "Vary", "Www-Authenticate"}, name)
}

// hopFields are what speaks of one connection, and what the gateway's server says itself.
var hopFields = [...]string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings",
	"Proxy-Authenticate", "Proxy-Authorization", "Proxy-Authentication-Info",
}

// FuzzForwardedAnswer: what a gateway passes on as whole is what the standard library reads in the target's bytes, what that
// refuses is never passed on as whole, the client gets well-formed HTTP or a broken connection, and the next request its own
// answer.
func FuzzForwardedAnswer(f *testing.F) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for _, s := range []string{
		ok + "Content-Length: 2\r\n\r\nok", ok + "Content-Length: 2\r\n\r\nok" + ok + "Content-Length: 6\r\n\r\npoison", ok + "Content-Length: 3\r\n\r\nok",
		ok + "Transfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n2;a=b\r\nok\r\n0\r\nX-T: v\r\nX-U: w\r\nSet-Cookie: a=b\r\n\r\n",
		ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nsurplus", ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
		ok + "Connection: X-Hop, close\r\nX-Hop: 1\r\nKeep-Alive: 1\r\nVia: 1.0 a\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + ok + "\r\nuntil the end", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
		"HTTP/1.1 304\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nx", "HTTP/1.1 099 X\r\n\r\n", "HTTP/1.1 600 X\r\n\r\n",
		ok + "A : b\r\n\r\n", ok + "A: b\r\n c\r\n\r\n", ok + "A: b\rc\r\n\r\n", ok + "A: \xff\x00\r\n\r\n", ok + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", ok + "Content-Length: 2, 2\r\n\r\nab",
		ok + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ok + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", ok + "Transfer-Encoding: chunked\r\n\r\n2\nok\n0\n\n",
		ok + "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 3\r\n\r\n", ok + "Content-Type: text/event-stream\r\nContent-Length: 2\r\n\r\nok",
		ok + "Pragma: no-cache\r\nDate: x\r\nContent-Length: 0\r\n\r\n", ok + "Trailer: Content-Length\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "", "\r\n" + ok + "\r\n", ok + "A: b\n\nbody",
		ok + "Content-Length: 9000\r\n\r\n" + strings.Repeat("x", 9000) + ok + "Content-Length: 6\r\n\r\npoison", // which stays in the socket
	} {
		for _, cut := range []uint16{0, 17, 40} {
			f.Add([]byte(s), cut, false, cut == 17)
			f.Add([]byte(s), cut, true, cut == 40)
		}
	}
	z := newFuzzed(f, policy.Must(policy.NewEntry(policy.EntryConfig{})).Wrap) // which an upstream would make for itself each time
	pass := wrapped(func(next http.RoundTripper, r *http.Request) (*http.Response, error) { return next.RoundTrip(r) })
	f.Fuzz(func(t *testing.T, raw []byte, cut uint16, head, standard bool) {
		if len(raw) > 32<<10 {
			return // more than a socket takes at once
		}
		method := http.MethodGet
		if head {
			method = http.MethodHead
		}
		want := readAnswer(raw, method)
		var asked, reused atomic.Int64
		dial, wait := z.dial(func(c net.Conn) {
			in := bufio.NewReader(c)
			first := false
			for r := readRequest(in); r != nil; r = readRequest(in) {
				if r.URL.Path == "/second" {
					if first {
						reused.Add(1)
					}
					_, _ = io.WriteString(c, ok+"X-Second: 1\r\nContent-Length: 6\r\n\r\nsecond")
					continue
				}
				asked.Add(1)
				first = true
				n := int(cut) % (len(raw) + 1)
				if early := readAnswer(raw[:n], method); early.err == nil && early.open {
					n = 0 // what follows a whole answer so much later that the next request is under way is that one's
				}
				_, _ = c.Write(raw[:n])
				_, _ = c.Write(raw[n:])
				if want.err != nil || !want.open {
					return
				}
			}
		})
		var outbound []func(http.RoundTripper) http.RoundTripper
		if standard {
			outbound = pass
		}
		u := z.upstream(t, dial, outbound...)
		h, ch := watched(u)
		z.handler.Store(http.HandlerFunc(h.ServeHTTP))

		c := z.client()
		_, _ = io.WriteString(c, method+" /first HTTP/1.1\r\nHost: h\r\n\r\n")
		var m *message
		var err error
		for m, err = readStrictly(c.in, method); err == nil && strings.HasPrefix(m.start, "HTTP/1.1 1"); {
			m, err = readStrictly(c.in, method)
		}
		sent := c.raw.Bytes()
		got := readAnswer(sent, method)
		was := <-ch
		require.EqualValues(t, 1, asked.Load(), "a request is sent once")
		require.Len(t, was.tries, 1)
		try := was.tries[0]
		var failed *policy.Error
		if errors.As(try.Err, &failed) {
			require.NotContains(t, failed.Code, "timeout")
		}
		again := false
		switch {
		case try.Err == nil:
			require.NoError(t, err, "%q", sent)
			require.NoError(t, want.err, "refused by the standard library, and passed on: %q", sent)
			require.NoError(t, got.err)
			// Beside close, net/http hides what else Connection names.
			comparePassed(t, want, got, standard && want.res.Close)
			again = !got.res.Close && !m.ended
		case try.Status == 0:
			require.NoError(t, err, "%q", sent)
			require.NoError(t, got.err)
			require.Equal(t, http.StatusBadGateway, got.res.StatusCode)
			for name := range got.res.Header {
				require.Contains(t, []string{"Content-Type", "Content-Length", "Date", "Connection", "X-Content-Type-Options", "Cache-Control", "Proxy-Status"}, name)
			}
			again = !got.res.Close
		default: // the end of the connection is all that tells
			require.ErrorIs(t, within(err), io.ErrUnexpectedEOF, "%q", sent)
			require.Error(t, got.err)
		}
		if !again {
			_ = c.Close()
			<-c.done
			c = z.client()
		}
		_, _ = io.WriteString(c, "GET /second HTTP/1.1\r\nHost: h\r\n\r\n")
		m, err = readStrictly(c.in, http.MethodGet)
		require.NoError(t, err)
		require.Equal(t, "HTTP/1.1 200 OK", m.start)
		require.Equal(t, "second", m.body)
		require.Equal(t, []string{"1"}, m.all("x-second"))
		if want.rest {
			require.Zero(t, reused.Load(), "a connection on which more was sent than was asked for is not used again")
		}
		_ = c.Close()
		<-c.done
		require.NoError(t, u.Close())
		wait()
	})
}

// comparePassed says that got, which the client has read, is want as far as a proxy may not change it.
func comparePassed(t *testing.T, want, got reading, hidden bool) {
	t.Helper()
	require.Equal(t, want.res.StatusCode, got.res.StatusCode)
	require.Equal(t, want.body, got.body)
	via := got.res.Header["Via"]
	require.Len(t, via, 1)
	require.True(t, strings.HasSuffix(via[0], fmt.Sprintf("1.%d gatehouse", want.res.ProtoMinor)))
	if want.res.StatusCode != http.StatusNoContent && want.res.StatusCode != http.StatusNotModified && want.res.ContentLength >= 0 {
		require.Equal(t, want.res.ContentLength, got.res.ContentLength)
	}
	for _, name := range hopFields {
		if name != "Connection" {
			require.NotContains(t, got.res.Header, name)
		}
	}
	mine := want.res.Header.Clone()
	for _, name := range want.named {
		if _, kept := got.res.Header[name]; !kept || !endToEnd(name) && !hidden {
			mine.Del(name)
		}
	}
	for _, name := range append(hopFields[:], "Via", "Content-Length") {
		mine.Del(name)
		got.res.Header.Del(name)
	}
	if _, ok := mine["Date"]; !ok {
		got.res.Header.Del("Date")
	}
	for _, values := range mine {
		for i, v := range values {
			values[i] = strings.Trim(v, " \t") // net/http leaves white space behind where it has joined folded lines
		}
	}
	require.Equal(t, mine, got.res.Header)
	for name, values := range got.res.Trailer {
		if len(values) > 0 {
			require.Equal(t, want.res.Trailer[name], values)
			require.NotContains(t, []string{"Set-Cookie", "Content-Length", "Transfer-Encoding", "Authorization", "Via", "Host"}, name)
		}
	}
}
