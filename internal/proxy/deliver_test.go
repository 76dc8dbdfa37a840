package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/proxy"
	"github.com/gatehouse-go/gateway/internal/transport"
	"github.com/gatehouse-go/gateway/policy"
)

func accept(t testing.TB, w http.ResponseWriter, r *http.Request) *proxy.Call {
	t.Helper()
	_, r = policy.Ensure(r)
	c, err := proxy.New().Accept(w, r)
	require.Nil(t, err)
	return c
}

func response(head string, body io.Reader) *transport.Answer {
	res, err := http.ReadResponse(bufio.NewReader(io.MultiReader(strings.NewReader(head+"\r\n"), body)), nil)
	if err != nil {
		panic(err)
	}
	return transport.AnswerOf(res)
}

// counting notes how often the answer was flushed, and what had been written by then.
type counting struct {
	*httptest.ResponseRecorder

	flushed []int
	fail    error
}

func (c *counting) FlushError() error {
	c.flushed = append(c.flushed, c.Body.Len())
	return c.fail
}

// steps is a body that gives one part per Read.
type steps []string

func (s *steps) Read(p []byte) (int, error) {
	if len(*s) == 0 {
		return 0, io.EOF
	}
	n := copy(p, (*s)[0])
	*s = (*s)[1:]
	return n, nil
}

func TestFlushing(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, head string
		want       []int
	}{
		{"declared", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n", nil},
		{"events, declared", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nContent-Type: Text/Event-Stream;x=y\r\n", []int{0, 2, 4, 6}},
		{"gRPC, declared", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nContent-Type: application/grpc-web\r\n", []int{0, 2, 4, 6}},
		{"until the end", "HTTP/1.1 200 OK\r\nConnection: close\r\n", []int{0, 2, 4, 6}},
	}
	for _, tt := range tests {
		w := &counting{ResponseRecorder: httptest.NewRecorder()}
		res := response(tt.head, strings.NewReader(""))
		res.Body = io.NopCloser(&steps{"ab", "cd", "ef"})
		d := accept(t, w, request(http.MethodGet, "/")).Deliver(w, res)
		require.Equal(t, proxy.Delivery{Sent: true}, d, tt.name)
		require.Equal(t, "abcdef", w.Body.String())
		require.Equal(t, tt.want, w.flushed, tt.name)
	}
	w := &counting{ResponseRecorder: httptest.NewRecorder(), fail: errors.New("gone")}
	d := accept(t, w, request(http.MethodGet, "/")).Deliver(w, response("HTTP/1.1 200 OK\r\n", strings.NewReader("abc")))
	require.True(t, d.Sent)
	require.True(t, d.Gone)
	require.Error(t, d.Err)
	w.fail = http.ErrNotSupported
	d = accept(t, w, request(http.MethodGet, "/")).Deliver(w, response("HTTP/1.1 200 OK\r\n", strings.NewReader("abc")))
	require.NoError(t, d.Err, "a writer that cannot flush need not")
}

type endless struct{}

func (endless) Read([]byte) (int, error) { return 0, nil }

func TestBodyWithoutProgress(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	res := response("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n", strings.NewReader(""))
	res.Body = io.NopCloser(endless{})
	d := accept(t, w, request(http.MethodGet, "/")).Deliver(w, res)
	require.Error(t, d.Err)
	require.False(t, d.Sent)
}

func TestFailure(t *testing.T) {
	t.Parallel()
	tests := []struct {
		err    error
		status int
		code   string
		gone   bool
	}{
		{&transport.Error{Code: transport.ConnectRefused, Err: io.EOF}, 502, "connect_refused", false},
		{&transport.Error{Code: transport.DNSFailed, Err: io.EOF}, 503, "dns_error", false},
		{&transport.Error{Code: transport.StaleConnection, Err: io.EOF}, 502, "stale_connection", false},
		{&transport.Error{Code: transport.ConnectTimeout, Err: io.EOF}, 504, "connect_timeout", false},
		{&transport.Error{Code: transport.IdleLimit, Err: io.EOF}, 504, "idle_timeout", false},
		{&transport.Error{Code: transport.TotalLimit, Err: io.EOF}, 504, "total_timeout", false},
		{&transport.Error{Code: transport.InvalidRequest, Err: io.EOF}, 500, "invalid_request", true},
		{&transport.Error{Code: transport.Closed, Err: io.EOF}, 503, "upstream_closed", true},
		{&transport.Error{Code: transport.Canceled, Err: io.EOF}, 0, "", true},
		{errors.New("10.0.0.1: odd"), 502, "invalid_response", false},
		{&transport.Error{Code: transport.InvalidResponse, Err: &policy.Error{Status: 418, Code: "own"}}, 418, "own", false},
	}
	for _, tt := range tests {
		e, gone := accept(t, httptest.NewRecorder(), request(http.MethodGet, "/")).Failure(tt.err)
		require.Equal(t, tt.gone, gone, "%v", tt.err)
		if tt.status == 0 {
			require.Nil(t, e)
			continue
		}
		require.Equal(t, tt.status, e.Status, "%v", tt.err)
		require.Equal(t, tt.code, e.Code)
		require.NotContains(t, e.Message, "10.0.0.1")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e, gone := accept(t, httptest.NewRecorder(), request(http.MethodGet, "/").WithContext(ctx)).Failure(errors.New("any"))
	require.Nil(t, e)
	require.True(t, gone)
}

// deadlines is a server's connection for a body: a Read waits until the deadline that was set last.
type deadlines struct {
	http.ResponseWriter

	mu     sync.Mutex
	until  time.Time
	change chan struct{}
	late   bool // the next Read sets a deadline of its own first, as policies that bound pauses do
}

func newDeadlines() *deadlines {
	return &deadlines{ResponseWriter: httptest.NewRecorder(), change: make(chan struct{}, 100)}
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.mu.Lock()
	d.until = t
	d.mu.Unlock()
	d.change <- struct{}{}
	return nil
}

func (d *deadlines) Read([]byte) (int, error) {
	if d.late {
		time.Sleep(5 * time.Millisecond)
		_ = d.SetReadDeadline(time.Now().Add(time.Hour))
	}
	for {
		d.mu.Lock()
		left := time.Until(d.until)
		if d.until.IsZero() {
			left = time.Hour
		}
		d.mu.Unlock()
		if left <= 0 {
			return 0, os.ErrDeadlineExceeded
		}
		select {
		case <-time.After(left):
		case <-d.change:
		}
	}
}

func (d *deadlines) Close() error { return nil }

// Release makes a Read that waits for the client return, at once or at the second attempt, and leaves the server some
// time to read what is left.
func TestReleaseEndsARead(t *testing.T) {
	t.Parallel()
	for _, late := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			d := newDeadlines()
			d.late = late
			r := httptest.NewRequest(http.MethodPost, "/", nil)
			r.Body, r.ContentLength = d, 10
			c := accept(t, d, r)
			out, failed := c.Outgoing(mustURL("http://up.test"))
			require.Nil(t, failed)
			read := make(chan error, 1)
			go func() {
				_, err := out.Body.Read(make([]byte, 1))
				read <- err
			}()
			time.Sleep(time.Millisecond)
			start := time.Now()
			c.Release()
			require.Less(t, time.Since(start), 50*time.Millisecond)
			err := <-read
			require.Error(t, err)
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "it was not the client that was late")
			require.Equal(t, time.Second, time.Until(d.until))
			_, err = out.Body.Read(make([]byte, 1))
			require.Error(t, err, "nothing is read afterwards")
			c.Release()
			e, gone := c.Failure(&transport.Error{Code: transport.ConnectionReset, Err: io.EOF})
			require.False(t, gone)
			require.Equal(t, "connection_reset", e.Code, "what we did ourselves is not the client's failure")
			time.Sleep(time.Second)
		})
	}
}

// A body behind a writer without deadlines is closed instead.
func TestReleaseClosesWhatHasNoDeadline(t *testing.T) {
	t.Parallel()
	pr, _ := io.Pipe()
	r := httptest.NewRequest(http.MethodPost, "/", pr)
	c := accept(t, httptest.NewRecorder(), r)
	out, failed := c.Outgoing(mustURL("http://up.test"))
	require.Nil(t, failed)
	began, read := make(chan struct{}), make(chan error, 1)
	go func() {
		close(began)
		_, err := out.Body.Read(make([]byte, 1))
		read <- err
	}()
	<-began
	c.Release()
	require.Error(t, <-read)
}

// FuzzDeliver passes on whatever net/http takes for an answer: what is written has no hop-by-hop field, and a body that
// breaks off is reported.
func FuzzDeliver(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: x-a\r\nX-A: 1\r\n\r\nabc", "GET")
	f.Add("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Set-Cookie\r\n\r\n1\r\na\r\n0\r\nSet-Cookie: a\r\nX-T: 1\r\n\r\n", "GET")
	f.Add("HTTP/1.0 099 \r\nVia: 1.1 a\r\n\r\nabc", "HEAD")
	f.Fuzz(func(t *testing.T, raw, method string) {
		if method != http.MethodHead {
			method = http.MethodGet
		}
		r := request(method, "/")
		res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(raw)), r)
		if err != nil {
			return
		}
		if s := res.StatusCode; s == http.StatusSwitchingProtocols || s >= 100 && s < 200 {
			return // the transport's business
		}
		w := httptest.NewRecorder()
		d := accept(t, w, r).Deliver(w, transport.AnswerOf(res))
		if !d.Sent {
			require.Error(t, d.Err)
			require.Empty(t, w.Header())
			require.Zero(t, w.Body.Len())
			return
		}
		require.Equal(t, res.StatusCode, w.Code)
		for _, name := range []string{"Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade", "Te", "Proxy-Authenticate"} {
			require.NotContains(t, w.Header(), name)
		}
		require.True(t, strings.HasSuffix(w.Header().Get("Via"), "gatehouse"))
		if d.Err == nil && method == http.MethodGet && res.ContentLength >= 0 && res.StatusCode != 204 && res.StatusCode != 304 {
			require.EqualValues(t, res.ContentLength, w.Body.Len())
		}
		for name := range w.Header() {
			if trailer, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
				require.NotContains(t, []string{"Set-Cookie", "Content-Length", "Authorization", "Via"}, trailer)
			}
		}
	})
}

// leaving is the writer of a client that leaves while an informational answer is written to it.
type leaving struct {
	http.ResponseWriter

	leave func()
}

func (l leaving) WriteHeader(int) { l.leave() }

// TestLeavesWhileInformed: net/http may still be reading the header then, so that nobody may write to it.
func TestLeavesWhileInformed(t *testing.T) {
	t.Parallel()
	ctx, leave := context.WithCancel(t.Context())
	w := leaving{httptest.NewRecorder(), leave}
	w.Header().Set("Prepared", "1")
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
	c := accept(t, w, r)
	c.Inform(http.StatusEarlyHints, http.Header{"Link": {"a"}})
	c.Inform(http.StatusEarlyHints, http.Header{"Link": {"b"}})
	d := c.Deliver(w, response("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", nil))
	require.Equal(t, proxy.Delivery{Err: context.Canceled, Gone: true}, d)
	require.Equal(t, http.Header{"Link": {"a"}}, w.Header())
}
