package policy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/policy"
)

// overTCP serves h behind an Entry with short bounds and returns a connection to it.
func overTCP(t *testing.T, h http.HandlerFunc) (net.Conn, *bufio.Reader) {
	t.Helper()
	entry := policy.Must(policy.NewEntry(policy.EntryConfig{
		ReadProgress: 200 * time.Millisecond, WriteProgress: time.Second, MinReadRate: 10,
	}))
	srv := httptest.NewServer(entry.Wrap(h))
	t.Cleanup(srv.Close)
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(srv.URL, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(30*time.Second))) // a test that hangs shall fail
	return c, bufio.NewReader(c)
}

func answer(t *testing.T, br *bufio.Reader) (*http.Response, string) {
	t.Helper()
	res, err := http.ReadResponse(br, &http.Request{Method: http.MethodPost})
	require.NoError(t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res, string(body)
}

// A client that stops in the middle of its body loses its connection, whatever the handler makes of that.
func TestStalledUploadIsCut(t *testing.T) {
	t.Parallel()
	handlers := map[string]http.HandlerFunc{
		"reads": func(w http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(r.Body)
			_, _ = fmt.Fprint(w, err)
		},
		"reads and refuses": func(w http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(r.Body)
			policy.Refuse(w, r, "test", &policy.Error{Status: http.StatusRequestTimeout, Message: fmt.Sprint(err)})
		},
		"reads a part": func(w http.ResponseWriter, r *http.Request) {
			_, err := io.ReadFull(r.Body, make([]byte, 4))
			_, _ = fmt.Fprint(w, "timeout", err)
		},
		"closes": func(w http.ResponseWriter, r *http.Request) {
			err := r.Body.Close()
			_, _ = fmt.Fprint(w, "timeout", err)
		},
		"answers": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "timeout") },
	}
	for name, h := range handlers {
		for _, framing := range []string{"Content-Length: 10\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"} {
			t.Run(name+" "+framing[:8], func(t *testing.T) {
				t.Parallel()
				c, br := overTCP(t, h)
				_, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\n"+framing)
				require.NoError(t, err)
				_, body := answer(t, br)
				require.Contains(t, body, "timeout")
				_, err = br.ReadByte()
				require.ErrorIs(t, err, io.EOF)
			})
		}
	}
}

// The rest of a body that an answer did not need is not what anybody waits for, however long pauses may be otherwise.
func TestRestOfTheBodyIsNotAwaited(t *testing.T) {
	t.Parallel()
	for name, framing := range map[string]string{"declared": "Content-Length: 10\r\n\r\nhalf", "chunked": "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(policy.Must(policy.NewEntry(policy.EntryConfig{})).Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, err := io.ReadFull(r.Body, make([]byte, 4))
				_, _ = fmt.Fprint(w, "read ", err)
			})))
			t.Cleanup(srv.Close)
			c, err := new(net.Dialer).DialContext(t.Context(), "tcp", srv.Listener.Addr().String())
			require.NoError(t, err)
			t.Cleanup(func() { _ = c.Close() })
			require.NoError(t, c.SetDeadline(time.Now().Add(policy.DefaultProgress/2)))
			_, err = io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\n"+framing)
			require.NoError(t, err)
			br := bufio.NewReader(c)
			_, body := answer(t, br)
			require.Equal(t, "read <nil>", body)
			_, err = br.ReadByte()
			require.ErrorIs(t, err, io.EOF)
		})
	}
}

func TestSlowButSteadyUploadIsNot(t *testing.T) {
	t.Parallel()
	c, br := overTCP(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprintln(w, len(b), err)
	})
	_, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 80\r\n\r\n")
	require.NoError(t, err)
	for range 8 {
		time.Sleep(60 * time.Millisecond) // 8 × 60 ms is beyond the bound, each pause within
		_, err = io.WriteString(c, "xxxxxxxxxx")
		require.NoError(t, err)
	}
	_, body := answer(t, br)
	require.Equal(t, "80 <nil>\n", body)
}

// A byte now and then is progress, but not enough.
func TestDrippingUploadIsCut(t *testing.T) {
	t.Parallel()
	for name, streaming := range map[string]bool{"cut": false, "streaming": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			type result struct {
				n   int
				err error
			}
			done := make(chan result, 1)
			c, _ := overTCP(t, func(_ http.ResponseWriter, r *http.Request) {
				if streaming {
					policy.ExchangeFrom(r.Context()).SetStreaming()
				}
				b, err := io.ReadAll(r.Body)
				done <- result{len(b), err}
			})
			_, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n")
			require.NoError(t, err)
			for range 9 {
				time.Sleep(60 * time.Millisecond)
				if _, err = io.WriteString(c, "x"); err != nil {
					break // the server has closed
				}
			}
			end := <-done
			if streaming {
				require.NoError(t, end.err)
				require.Equal(t, 9, end.n)
				return
			}
			require.ErrorContains(t, end.err, "timeout")
			require.Less(t, end.n, 9)
		})
	}
}

func TestLongAnswerAfterTheBody(t *testing.T) {
	t.Parallel()
	c, br := overTCP(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		select {
		case <-time.After(500 * time.Millisecond): // longer than the bound on pauses of the client
		case <-r.Context().Done():
			return
		}
		_, _ = io.WriteString(w, "done")
	})
	_, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok")
	require.NoError(t, err)
	_, body := answer(t, br)
	require.Equal(t, "done", body)
}

func TestRefusalDoesNotWaitForTheBody(t *testing.T) {
	t.Parallel()
	refuse := func(w http.ResponseWriter, r *http.Request) {
		policy.Refuse(w, r, "test", &policy.Error{Status: 403})
	}
	for name, length := range map[string]string{"short": "Content-Length: 100", "long": "Content-Length: 10000000", "unknown": "Transfer-Encoding: chunked"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, br := overTCP(t, refuse)
			_, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\n"+length+"\r\n\r\n") // and then nothing
			require.NoError(t, err)
			res, _ := answer(t, br)
			require.Equal(t, 403, res.StatusCode)
			require.True(t, res.Close, "what is left of the body must not be taken for a request")
		})
	}
	t.Run("body is there", func(t *testing.T) {
		t.Parallel()
		c, br := overTCP(t, refuse)
		for range 5 {
			_, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody")
			require.NoError(t, err)
			res, _ := answer(t, br)
			require.Equal(t, 403, res.StatusCode)
			require.False(t, res.Close, "the connection serves the next request")
		}
	})
}

func TestClientThatDoesNotReadIsCut(t *testing.T) {
	t.Parallel()
	failed := make(chan error, 1)
	c, _ := overTCP(t, func(w http.ResponseWriter, _ *http.Request) {
		chunk := make([]byte, 1<<20)
		for range 1 << 10 {
			if _, err := w.Write(chunk); err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	})
	_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	require.NoError(t, err)
	require.Error(t, <-failed)
}

// pausing is a body that a client sends a byte of every second.
type pausing struct{ left int }

func (p *pausing) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	p.left--
	time.Sleep(time.Second)
	b[0] = 'x'
	return 1, nil
}

// TestBodyWait: what is waited for the client is known at any time, and nothing else counts.
func TestBodyWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		entry := policy.Must(policy.NewEntry(policy.EntryConfig{}))
		serve := func(body io.Reader, h func(x *policy.Exchange, r *http.Request)) {
			entry.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { h(policy.ExchangeFrom(r.Context()), r) })).
				ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", body))
		}
		serve(&pausing{3}, func(x *policy.Exchange, r *http.Request) {
			time.Sleep(time.Minute)
			require.Zero(t, x.BodyWait(), "nobody has waited")
			b := make([]byte, 1)
			_, _ = r.Body.Read(b)
			time.Sleep(time.Minute)
			require.Equal(t, time.Second, x.BodyWait())
			go func() { _, _ = r.Body.Read(b) }()
			time.Sleep(500 * time.Millisecond)
			require.Equal(t, 1500*time.Millisecond, x.BodyWait(), "while somebody waits")
			synctest.Wait()
			time.Sleep(time.Minute)
			_, _ = io.ReadAll(r.Body)
			require.Equal(t, 3*time.Second, x.BodyWait())
		})
		serve(nil, func(x *policy.Exchange, _ *http.Request) { require.Zero(t, x.BodyWait()) })
	})
	var none *policy.Exchange
	require.Zero(t, none.BodyWait())
}
