package respw_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/respw"
)

// eachServer runs f against a real server of each protocol, with and without a
// limit on writes. The handler's writer is one Writer over a foreign wrapper
// over another Writer.
func eachServer(t *testing.T, handler func(w http.ResponseWriter, r *http.Request), f func(t *testing.T, s *server)) {
	t.Helper()
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		for _, limit := range []time.Duration{0, time.Minute} {
			t.Run(fmt.Sprintf("%s limit %s", proto, limit), func(t *testing.T) {
				t.Parallel()
				s := &server{}
				s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					outer := respw.Wrap(w)
					outer.LimitWrites(limit)
					outer.OnHeader(func(status int, h http.Header) { h.Add("X-Hook", fmt.Sprint("outer ", status)) })
					inner := respw.Wrap(foreign{outer})
					inner.OnHeader(func(status int, h http.Header) { h.Add("X-Hook", fmt.Sprint("inner ", status)) })
					handler(inner, r)
					inner.Finish()
					outer.Finish()
					s.status.Store(r.URL.Path, outer.Status())
					s.size.Store(r.URL.Path, outer.Size())
				}))
				s.EnableHTTP2 = proto == "HTTP/2.0"
				s.Config.ErrorLog = log.New(&s.log, "", 0)
				s.StartTLS()
				t.Cleanup(func() {
					s.Close()
					require.NotContains(t, s.log.String(), "superfluous")
					require.NotContains(t, s.log.String(), "hijacked")
				})
				f(t, s)
			})
		}
	}
}

type server struct {
	*httptest.Server
	log          lockedBuffer
	status, size sync.Map // by path, of the outer Writer
}

func (s *server) do(t *testing.T, method, path string) (*http.Response, string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, s.URL+path, http.NoBody)
	require.NoError(t, err)
	resp, err := s.Client().Do(r)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

func TestServerHooksAndHeads(t *testing.T) {
	t.Parallel()
	eachServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/empty":
		case "/head":
			w.WriteHeader(http.StatusTeapot)
			w.WriteHeader(http.StatusOK)
		case "/body":
			_, _ = io.WriteString(w, "hello")
			w.WriteHeader(http.StatusBadGateway)
		case "/invalid":
			w.WriteHeader(42)
		case "/early":
			w.Header().Set("Link", "</style.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusProcessing)
			w.WriteHeader(http.StatusNoContent)
		}
	}, func(t *testing.T, s *server) {
		t.Helper()
		for path, want := range map[string]int{"/empty": 200, "/head": 418, "/body": 200, "/invalid": 500, "/early": 204} {
			var early []int
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				early = append(early, code)
				if h.Get("X-Hook") != "" {
					return errors.New("functions ran for an informational head")
				}
				return nil
			}})
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+path, http.NoBody)
			require.NoError(t, err)
			resp, err := s.Client().Do(r)
			require.NoError(t, err)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, want, resp.StatusCode, path)
			require.Equal(t, []string{fmt.Sprint("inner ", want), fmt.Sprint("outer ", want)}, resp.Header["X-Hook"], path)
			if path == "/early" {
				require.Equal(t, []int{103, 102}, early)
				require.Equal(t, "</style.css>; rel=preload", resp.Header.Get("Link"))
			}
			if path == "/body" {
				require.Equal(t, "hello", string(body))
				require.Equal(t, int64(5), resp.ContentLength, "small answers still get a length")
			}
		}
	})
}

func TestServerHEAD(t *testing.T) {
	t.Parallel()
	eachServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/copy" {
			_, _ = io.Copy(w, onlyReader(strings.Repeat("x", 5000)))
			return
		}
		_, _ = io.WriteString(w, strings.Repeat("x", 5000))
	}, func(t *testing.T, s *server) {
		t.Helper()
		for _, path := range []string{"/write", "/copy"} {
			resp, body, err := s.do(t, http.MethodHead, path)
			require.NoError(t, err)
			require.Equal(t, 200, resp.StatusCode)
			require.Len(t, resp.Header["X-Hook"], 2)
			require.Empty(t, body)
		}
		s.Close()
		if size, _ := s.size.Load("/write"); !s.EnableHTTP2 {
			require.Equal(t, int64(5000), size)
		}
	})
}

func TestServerEventsArriveOneByOne(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	eachServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			_, _ = fmt.Fprintf(w, "data: %d\n", i)
			if i == 1 {
				w.(http.Flusher).Flush()
			} else if err := http.NewResponseController(w).Flush(); err != nil {
				panic(err)
			}
			select {
			case <-next:
			case <-r.Context().Done():
			}
		}
	}, func(t *testing.T, s *server) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, http.NoBody)
		require.NoError(t, err)
		resp, err := s.Client().Do(r)
		require.NoError(t, err)
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		for i := range 3 {
			require.True(t, lines.Scan(), "event %d was held back", i)
			require.Equal(t, fmt.Sprintf("data: %d", i), lines.Text())
			next <- struct{}{}
		}
		require.False(t, lines.Scan())
		require.NoError(t, lines.Err())
	})
}

func TestServerTrailers(t *testing.T) {
	t.Parallel()
	eachServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Declared")
		_, _ = io.WriteString(w, strings.Repeat("body", 2000))
		w.Header().Set("X-Declared", "yes")
		w.Header().Set(http.TrailerPrefix+"X-Prefixed", "too")
	}, func(t *testing.T, s *server) {
		t.Helper()
		resp, body, err := s.do(t, http.MethodGet, "/")
		require.NoError(t, err)
		require.Len(t, body, 8000)
		require.Equal(t, "yes", resp.Trailer.Get("X-Declared"))
		require.Equal(t, "too", resp.Trailer.Get("X-Prefixed"))
		require.Len(t, resp.Header["X-Hook"], 2)
	})
}

func TestServerReadFrom(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("0123456789abcdef", 20_000) // several slices
	file := filepath.Join(t.TempDir(), "text")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	eachServer(t, func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(file)
		if err != nil {
			panic(err)
		}
		defer func() { _ = f.Close() }()
		var src io.Reader = f
		want := int64(len(text))
		what, nested := strings.CutSuffix(r.URL.Path, "/nested")
		if !nested { // where the server's own ReadFrom is in reach
			w = w.(*respw.Writer).Unwrap().(foreign).ResponseWriter
		}
		switch what {
		case "/limited":
			src, want = &io.LimitedReader{R: f, N: 200_000}, 200_000
		case "/slice": // ends where a slice ends
			src, want = &io.LimitedReader{R: f, N: 128 << 10}, 128<<10
		case "/pipe":
			src = onlyReader(text)
		case "/length":
			w.Header().Set("Content-Length", fmt.Sprint(len(text)))
			w.WriteHeader(http.StatusOK)
		case "/content":
			http.ServeContent(w, r, "text.txt", time.Time{}, f)
			return
		}
		if n, err := w.(io.ReaderFrom).ReadFrom(src); err != nil || n != want {
			panic(fmt.Sprint(n, err))
		}
		if l, ok := src.(*io.LimitedReader); ok && l.N != 0 {
			panic(fmt.Sprint("left in the reader: ", l.N))
		}
	}, func(t *testing.T, s *server) {
		t.Helper()
		for path, want := range map[string]int{
			"/file": len(text), "/limited": 200_000, "/slice": 128 << 10, "/pipe": len(text), "/length": len(text), "/content": len(text),
		} {
			for _, path := range []string{path, path + "/nested"} {
				resp, body, err := s.do(t, http.MethodGet, path)
				require.NoError(t, err, path)
				require.Equal(t, text[:want], body, path)
				require.Contains(t, resp.Header.Get("Content-Type"), "text/plain", path)
				require.Contains(t, resp.Header["X-Hook"], "outer 200", path)
			}
		}
	})
}

func TestServerLargeWrites(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("0123456789abcdef", 20_000)
	eachServer(t, func(w http.ResponseWriter, r *http.Request) {
		var n int
		var err error
		if r.URL.Path == "/string" {
			n, err = io.WriteString(w, text)
		} else {
			n, err = w.Write([]byte(text))
		}
		if n != len(text) || err != nil {
			panic(fmt.Sprint(n, err))
		}
	}, func(t *testing.T, s *server) {
		t.Helper()
		for _, path := range []string{"/string", "/bytes"} {
			_, body, err := s.do(t, http.MethodGet, path)
			require.NoError(t, err)
			require.Equal(t, text, body)
			require.Eventually(t, func() bool { size, _ := s.size.Load(path); return size == int64(len(text)) }, time.Minute, time.Millisecond)
		}
	})
}

func TestServerPanics(t *testing.T) {
	t.Parallel()
	eachServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/recovered":
			defer func() {
				_ = recover()
				http.Error(w, "sorry", http.StatusInternalServerError)
			}()
			panic("before anything was sent")
		case "/aborted":
			_, _ = io.WriteString(w, strings.Repeat("x", 10_000))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	}, func(t *testing.T, s *server) {
		t.Helper()
		resp, body, err := s.do(t, http.MethodGet, "/recovered")
		require.NoError(t, err)
		require.Equal(t, 500, resp.StatusCode)
		require.Equal(t, []string{"inner 500", "outer 500"}, resp.Header["X-Hook"])
		require.Equal(t, "sorry\n", body)

		_, _, err = s.do(t, http.MethodGet, "/aborted")
		require.Error(t, err, "the client must be able to tell")
	})
}

func TestServerHijack(t *testing.T) {
	t.Parallel()
	result := make(chan error, 1)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(under http.ResponseWriter, r *http.Request) {
		outer := respw.Wrap(under)
		outer.LimitWrites(time.Minute)
		w := respw.Wrap(foreign{outer})
		w.OnHeader(func(status int, h http.Header) { h.Set("X-Hook", fmt.Sprint(status)) })
		if r.URL.Path == "/upgrade" {
			w.Header().Set("Upgrade", "echo")
			w.Header().Set("Connection", "Upgrade")
			w.WriteHeader(http.StatusSwitchingProtocols)
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			result <- err
			return
		}
		defer func() { _ = conn.Close() }()
		if r.URL.Path != "/upgrade" {
			_, _ = rw.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
		}
		_ = rw.Flush()
		// Nothing below may reach the connection, log or panic.
		w.WriteHeader(http.StatusInternalServerError)
		w.OnHeader(func(int, http.Header) {})
		w.Flush()
		_, errWrite := w.Write([]byte("x"))
		_, errString := w.WriteString("x")
		_, errCopy := w.ReadFrom(onlyReader("x"))
		w.Finish()
		outer.Finish()
		for _, err := range []error{errWrite, errString, errCopy, w.FlushError()} {
			if !errors.Is(err, http.ErrHijacked) {
				result <- fmt.Errorf("got %w", err)
				return
			}
		}
		if !w.Hijacked() || !outer.Hijacked() || w.Size() != 0 {
			err = errors.New("the hijack went unnoticed")
		}
		result <- err
	}))
	var logged lockedBuffer
	s.Config.ErrorLog = log.New(&logged, "", 0)
	s.Start()
	defer s.Close()
	for path, want := range map[string]int{"/raw": 200, "/upgrade": 101} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, http.NoBody)
		require.NoError(t, err)
		resp, err := s.Client().Do(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, want, resp.StatusCode)
		if want == 101 {
			require.Equal(t, "101", resp.Header.Get("X-Hook"))
		}
		require.NoError(t, <-result)
	}
	require.Empty(t, logged.String())
}

func TestServerResponseController(t *testing.T) {
	t.Parallel()
	eachServer(t, func(w http.ResponseWriter, _ *http.Request) {
		c := http.NewResponseController(w)
		err := errors.Join(
			c.SetReadDeadline(time.Now().Add(time.Minute)),
			c.SetWriteDeadline(time.Now().Add(time.Minute)),
			c.EnableFullDuplex(),
			c.Flush(),
		)
		_, _ = fmt.Fprint(w, err)
	}, func(t *testing.T, s *server) {
		t.Helper()
		_, body, err := s.do(t, http.MethodGet, "/")
		require.NoError(t, err)
		require.Equal(t, "<nil>", body)
	})
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
