package gateway_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
)

// asked is a request as the standard library reads it.
type asked struct{ method, body string }

// readRequests returns the whole requests in raw. bad reports that what follows them is none, and not only cut short.
func readRequests(raw []byte) (all []asked, bad bool) {
	in := bufio.NewReader(bytes.NewReader(raw))
	for {
		if n := len(all); n > 0 {
			next, err := in.Peek(4) // as many as net/http's server waits for
			if err != nil {
				return all, false
			}
			if all[n-1].method == http.MethodPost { // behind which it skips empty lines (RFC 9112 section 2.2)
				_, _ = in.Discard(len(next) - len(bytes.TrimLeft(next, "\r\n")))
			}
		}
		r, err := http.ReadRequest(in)
		if err != nil {
			_, ended := in.Peek(1)
			cut := ended != nil && !bytes.HasSuffix(raw, []byte("\n\r\n")) && !bytes.HasSuffix(raw, []byte("\n\n")) // net/http takes the end for that of a line
			return all, !cut && !isCut(err)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return all, !isCut(err)
		}
		all = append(all, asked{r.Method, string(body)})
	}
}

// isCut tells of an error that may say no more than that bytes are missing.
func isCut(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || strings.HasPrefix(err.Error(), "http: unexpected EOF reading trailer") ||
		strings.HasPrefix(err.Error(), "http: suspiciously long trailer")
}

// strictTarget reads what a gateway sends, strictly, and keeps it.
type strictTarget struct {
	early bool // it answers before it reads the body

	mu     sync.Mutex
	got    []asked
	faults []string
}

func (s *strictTarget) serve(c net.Conn) {
	var raw bytes.Buffer
	in := bufio.NewReader(io.TeeReader(c, &raw))
	for begin := 0; ; {
		m, err := strictHead(in, true)
		var method string
		if err == nil {
			method, _, _ = strings.Cut(m.start, " ")
			switch {
			case s.early:
				answerStrictly(c, method)
			case m.all("expect") != nil:
				_, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
			}
			m.body, err = m.strictBody(in, "")
		}
		if err != nil {
			if err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, net.ErrClosed) && !isReset(err) { //nolint:errorlint // the end in front of a message
				s.fault(fmt.Errorf("%w in %q", err, raw.Bytes()[begin:]))
			}
			return
		}
		end := raw.Len() - in.Buffered()
		if err := checkSent(m, raw.Bytes()[begin:end]); err != nil {
			s.fault(fmt.Errorf("%w in %q", err, raw.Bytes()[begin:end]))
		}
		begin = end
		s.mu.Lock()
		s.got = append(s.got, asked{method, m.body})
		s.mu.Unlock()
		if !s.early {
			answerStrictly(c, method)
		}
	}
}

func answerStrictly(c net.Conn, method string) {
	answer := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
	if method != http.MethodHead {
		answer += "up"
	}
	_, _ = io.WriteString(c, answer) // who is gone is seen by the next read
}

// isReset tells of a connection that was given up.
func isReset(err error) bool {
	var op *net.OpError
	return errors.As(err, &op)
}

func (s *strictTarget) fault(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, err.Error())
}

// checkSent says what is wrong with a request that a gateway has sent.
func checkSent(m *message, raw []byte) error {
	if hosts := m.all("host"); len(hosts) != 1 || hosts[0] == "" {
		return fmt.Errorf("hosts %q", hosts)
	}
	for _, name := range append(hopFields[:], "X-Consumer-Id", "Proxy") {
		if values := m.all(strings.ToLower(name)); len(values) > 0 && !(name == "Te" && slices.Equal(values, []string{"trailers"})) && name != "Transfer-Encoding" {
			return fmt.Errorf("%s: %q", name, values)
		}
	}
	for _, name := range []string{"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "forwarded", "via", "expect"} {
		if values := m.all(name); len(values) > 1 {
			return fmt.Errorf("%s: %q", name, values)
		}
	}
	in := bufio.NewReader(bytes.NewReader(raw))
	r, err := http.ReadRequest(in)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(r.Body)
	if _, left := in.Peek(1); err != nil || string(body) != m.body || left == nil {
		return fmt.Errorf("net/http reads the body %q, %w", body, err)
	}
	return nil
}

// FuzzForwardedRequests: whatever a client sends, the target gets whole, strictly framed requests, which are those that the
// standard library reads in the client's bytes, in this order, and each answer to the client is well-formed.
func FuzzForwardedRequests(f *testing.F) {
	const get, post = "GET /a?b HTTP/1.1\r\nHost: h\r\n", "POST /p HTTP/1.1\r\nHost: h\r\n"
	for _, s := range []string{
		get + "\r\n", get + "\r\n" + post + "Content-Length: 2\r\n\r\nab" + get + "\r\n", post + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n" + get + "\r\n",
		post + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + get + "\r\n", post + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", post + "Content-Length: 2, 2\r\n\r\nab",
		post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
		post + "Transfer-Encoding: chunked\r\n\r\n2;x=\"\r\n\"\r\nab\r\n0\r\nContent-Length: 3\r\n\r\n" + get + "\r\n", post + "Transfer-Encoding: chunked\r\n\r\n2\nab\n0\n\n" + get + "\r\n",
		post + "Transfer-Encoding: chunked\r\n\r\n-1\r\n", post + "Content-Length: 10\r\n\r\nabc", "GET / HTTP/1.1\nHost: h\n\n", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + get + "\r\n",
		"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n" + get + "\r\n", "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n" + get + "\r\n", "GET / HTTP/1.1\r\n\r\n",
		get + "Connection: close, X-Hop, Host, Content-Length, X-Forwarded-For\r\nX-Hop: 1\r\nKeep-Alive: 1\r\nTE: trailers\r\n\r\n" + get + "\r\n", get + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
		get + "Host: other\r\n\r\n", "GET http://other/x HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		post + "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nab" + get + "\r\n", post + "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", get + "Expect: 200-ok\r\n\r\n",
		post + "Content-Length: 40000\r\n\r\n" + strings.Repeat("GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n   ", 1000) + get + "\r\n",
		post + "Transfer-Encoding: chunked\r\n\r\n26\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n  \r\n0\r\n\r\n" + get + "\r\n",
		"POST /no/x HTTP/1.1\r\nHost: h\r\nContent-Length: 30\r\n\r\nGET /smuggled HTTP/1.1\r\nA: bcd\r\n" + get + "\r\n", "POST /no/x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab" + get + "\r\n",
		get + "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: a, \"b\r\nForwarded: for=\"a;b\r\nX_Forwarded_For: 1\r\nContent_Length: 5\r\nTransfer.Encoding: chunked\r\n\r\n", get + "A: b\r\n c\r\n\r\n", get + "A: \x00\r\n\r\n",
		get + "Content-Type: application/grpc\r\nTE: trailers\r\nContent-Length: 0\r\n\r\n", "GET /strip/../x%2f HTTP/1.1\r\nHost: h\r\n\r\n", "PUT /strip/a HTTP/1.1\r\nHost: h:99999\r\nContent-Length: 1\r\n\r\na", "\r\n\r\n" + get + "\r\n",
		post + "Trailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-T: 1\r\n\r\n" + get + "\r\n", get + "Via: 1.1 gatehouse\r\nVia: 1.0 a, 1.1 b (c)\r\nCookie: a\r\nCookie: b\r\n\r\n",
	} {
		f.Add([]byte(s), false, false)
		f.Add([]byte(s), true, false)
		f.Add([]byte(s), false, true)
	}
	var up atomic.Pointer[gateway.Upstream]
	forward := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { up.Load().ServeHTTP(w, r) })
	front := map[bool]http.Handler{}
	for trusting, proxies := range map[bool][]netip.Prefix{false: nil, true: {netip.MustParsePrefix("127.0.0.0/8")}} {
		front[trusting] = gateway.Must(gateway.New(gateway.Config{
			EntryConfig: policy.EntryConfig{TrustedProxies: proxies}, Logger: quiet(), Routes: []gateway.Route{
				{Name: "all", Handler: forward},
				{Name: "strip", Match: gateway.Match{Paths: []string{"/strip/*rest"}}, Forward: gateway.Forward{StripPath: true, PreserveHost: true}, Handler: forward},
				{Name: "no", Match: gateway.Match{Paths: []string{"/no/*rest"}}, Handler: gatewaytest.Respond(http.StatusForbidden, "no")},
			},
		}))
	}
	z := newFuzzed(f, nil)
	f.Fuzz(func(t *testing.T, raw []byte, trusting, early bool) {
		if len(raw) > 64<<10 {
			return
		}
		want, bad := readRequests(raw)
		target := &strictTarget{early: early}
		dial, wait := z.dial(target.serve)
		u := z.upstream(t, dial)
		up.Store(u)
		z.handler.Store(http.HandlerFunc(front[trusting].ServeHTTP))

		c := z.client()
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = c.Write(raw) })
		for i := 0; i < len(want) || bad; i++ {
			method := http.MethodGet
			if i < len(want) && want[i].method == http.MethodHead {
				method = http.MethodHead
			}
			m, err := readStrictly(c.in, method)
			for err == nil && strings.HasPrefix(m.start, "HTTP/1.1 1") {
				m, err = readStrictly(c.in, method)
			}
			if err == io.EOF { //nolint:errorlint // the end in front of an answer
				break
			}
			require.NoError(t, err, "%q", c.raw.Bytes())
			require.LessOrEqual(t, i, len(want), "an answer to what was no request: %q", c.raw.Bytes())
			if slices.Contains(m.all("connection"), "close") {
				break
			}
		}
		_ = c.Close()
		wg.Wait()
		<-c.done
		require.NoError(t, u.Close())
		wait()
		require.Empty(t, target.faults)
		left := want
		for _, got := range target.got {
			i := slices.Index(left, got)
			require.GreaterOrEqual(t, i, 0, "the target got %q, of %q", target.got, want)
			if early { // another connection may be ahead of this one
				left = slices.Delete(slices.Clone(left), i, i+1)
			} else {
				left = left[i+1:]
			}
		}
	})
}
