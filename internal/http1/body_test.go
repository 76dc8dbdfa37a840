package http1_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/rawtest"
)

// A body whose end comes behind the answer leaves nothing behind that reads beside the next request, or lifts its bounds.
func TestBodyEndsBehindTheAnswer(t *testing.T) {
	t.Parallel()
	eachListener(t, func(t on) {
		long := strings.Repeat("x", 64<<10)
		reads := make(chan struct{}, 1)
		s := start(t, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/long":
				say(w, long)
			default:
				reads <- struct{}{}
				_, _ = io.Copy(w, r.Body)
			}
		}, t.behind, func(hs *http.Server) { hs.IdleTimeout = 200 * time.Millisecond })
		c := rawtest.Dial(t, s.addr)
		for range 3 {
			c.Send("POST /long HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na")
			require.Equal(t, long, c.ReadAnswer("POST").Body)
			c.Send("bc")
			time.Sleep(40 * time.Millisecond) // until a client would be watched
			c.Send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n")
			<-reads
			c.Send("a", "b", "c")
			require.Equal(t, answered("abc"), c.ReadAnswer("POST").Text())
		}
		c.Send("POST /long HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na")
		require.Equal(t, long, c.ReadAnswer("POST").Body)
		c.Send("bc")
		c.ExpectEnd() // as IdleTimeout has it
	})
}

// Who has begun to read a body may go on when it has begun to write, and gets all of it, whatever comes of the answer meanwhile.
func TestReadsOnWhileItWrites(t *testing.T) {
	t.Parallel()
	eachListener(t, func(t on) {
		s := start(t, func(w http.ResponseWriter, r *http.Request) {
			p := make([]byte, 8<<10)
			for {
				n, err := r.Body.Read(p)
				_, _ = w.Write(p[:n])
				if err != nil {
					return
				}
				time.Sleep(100 * time.Microsecond) // in which another could read
			}
		}, t.behind, nil)
		body := strings.Repeat("0123456789abcdef", 16<<10-1) // less than what would be read away
		for _, framed := range []string{
			fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body), fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body),
			fmt.Sprintf("Content-Length: %d\r\n\r\n%s%s%s", 3*len(body), body, body, body),
		} {
			c := rawtest.Dial(t, s.addr)
			sent := c.SendMeanwhile("POST / HTTP/1.1\r\nHost: h\r\n" + framed)
			got := c.ReadAnswer("POST")
			require.NoError(t, <-sent)
			require.NoError(t, got.Broken)
			require.Equal(t, strings.Count(framed, "0123456789abcdef"), strings.Count(got.Body, "0123456789abcdef"))
		}
	})
}

// So may who begins to read only when the answer has begun, as long as that is short: nobody waits for a client then.
func TestReadsWhenItHasWritten(t *testing.T) {
	t.Parallel()
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		for range 8 {
			say(w, strings.Repeat("x", 1<<10))
			w.(http.Flusher).Flush()
		}
		b, err := io.ReadAll(r.Body)
		fmt.Fprint(w, len(b), err)
	}, gate, nil)
	c := rawtest.Dial(t, s.addr)
	for _, send := range []string{"Content-Length: 3\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n" + abc} {
		c.Send("POST / HTTP/1.1\r\nHost: h\r\n" + send)
		require.Equal(t, strings.Repeat("x", 8<<10)+"3 <nil>", c.ReadAnswer("POST").Body)
	}
}

// Who begins to read when the body is read away is told so, and does not take what is left for all of it.
func TestReadsTooLate(t *testing.T) {
	t.Parallel()
	told := make(chan error, 1)
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		say(w, strings.Repeat("x", 32<<10))
		_, err := io.ReadAll(r.Body)
		told <- err
	}, gate, nil)
	c := rawtest.Dial(t, s.addr)
	for _, send := range []string{"Content-Length: 3\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n" + abc} {
		c.Send("POST / HTTP/1.1\r\nHost: h\r\n" + send)
		require.NoError(t, c.ReadAnswer("POST").Broken)
		require.ErrorIs(t, <-told, http.ErrBodyReadAfterClose)
	}
}

// Neither reading nor closing a body waits for a client that does not send it while it is read away.
func TestCloseDoesNotWait(t *testing.T) {
	t.Parallel()
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		say(w, strings.Repeat("x", 32<<10))
		_ = r.Body.Close()
		_, err := r.Body.Read(make([]byte, 1))
		fmt.Fprint(w, err)
	}, gate, nil)
	c := rawtest.Dial(t, s.addr)
	c.Send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na")
	require.Contains(t, c.ReadAnswer("POST").Body, http.ErrBodyReadAfterClose.Error())
}

// Trailers of a body that is read away are no affair of the handler's, which may look at its request meanwhile.
func TestTrailersReadAway(t *testing.T) {
	t.Parallel()
	written := make(chan struct{})
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		say(w, strings.Repeat("x", 32<<10))
		close(written)
		for by := time.Now().Add(50 * time.Millisecond); time.Now().Before(by); {
			if got := r.Clone(r.Context()).Trailer; len(got) != 1 || got["X"] != nil {
				t.Errorf("%v", got)
			}
		}
	}, gate, nil)
	c := rawtest.Dial(t, s.addr)
	c.Send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n3\r\nabc\r\n")
	<-written
	c.Send("0\r\nX: 1\r\nY: 2\r\n\r\n")
	require.NoError(t, c.ReadAnswer("POST").Broken)
}
