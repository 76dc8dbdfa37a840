package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/policy"
)

func TestReverseProxyPost(t *testing.T) {
	t.Parallel()
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	srv := reverse(t, gateway.Config{}, gateway.Forward{}, gateway.UpstreamConfig{}, backend(t, func(w http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		fmt.Fprint(w, r.ContentLength, " ", bytes.Equal(got, sent), " ", err)
	}))
	for body, length := range map[io.Reader]int{bytes.NewReader(sent): len(sent), io.MultiReader(bytes.NewReader(sent)): -1} {
		res, err := srv.Client().Post(srv.URL, "text/plain", body)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(length, " true <nil>"), text(t, res))
	}
}

// Buffers are the gateway's own, there is no BufferPool; answers that are on their way at the same time do not mix.
func TestReverseProxyBuffersAreNotShared(t *testing.T) {
	t.Parallel()
	srv := reverse(t, gateway.Config{}, gateway.Forward{}, gateway.UpstreamConfig{}, backend(t, func(w http.ResponseWriter, r *http.Request) {
		for range 64 {
			_, _ = io.WriteString(w, strings.Repeat(r.URL.Path[1:], 4096))
		}
	}))
	var wg sync.WaitGroup
	for _, letter := range "abcdefgh" {
		wg.Go(func() {
			res, err := srv.Client().Get(srv.URL + "/" + string(letter))
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			got, err := io.ReadAll(res.Body)
			if want := bytes.Repeat([]byte(string(letter)), 64*4096); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%c: %d bytes, %v", letter, len(got), err)
			}
		})
	}
	wg.Wait()
}

// flushNoting is a writer of a plugin, which can flush.
type flushNoting struct {
	http.ResponseWriter

	flushed int
}

// Flush implements [http.Flusher].
func (f *flushNoting) Flush() {
	f.flushed++
	_ = http.NewResponseController(f.ResponseWriter).Flush()
}

// unwrapping is a writer around another that does nothing but to name it.
type unwrapping struct{ http.ResponseWriter }

// Unwrap tells [http.ResponseController] what is inside.
func (u unwrapping) Unwrap() http.ResponseWriter { return u.ResponseWriter }

// A writer is flushed through those around it.
func TestReverseProxyFlushesThroughWriters(t *testing.T) {
	t.Parallel()
	var inner *flushNoting
	srv := reverse(t, gateway.Config{Plugins: []gateway.Plugin{gateway.PluginFunc(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			inner = &flushNoting{ResponseWriter: w}
			next.ServeHTTP(unwrapping{inner}, r)
		})
	})}}, gateway.Forward{FlushInterval: -1}, gateway.UpstreamConfig{}, backend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hi") }))
	require.Equal(t, "hi", text(t, request(t, srv, "/")))
	require.Positive(t, inner.flushed)
}

// Whatever the interval: an answer is whole, the head of one of unknown length is there before its body, and each piece of
// that, of events and of gRPC arrives though the next does not come.
func TestReverseProxyFlushInterval(t *testing.T) {
	t.Parallel()
	for _, interval := range []time.Duration{-1, 0, time.Microsecond, time.Hour} {
		for _, tt := range []struct{ name, contentType, length string }{
			{"unknown length", "text/plain", ""},
			{"events", "text/event-stream", ""},
			{"events of declared length", "text/event-stream;charset=utf-8", "6"},
			{"gRPC of declared length", "application/grpc", "6"},
		} {
			next := make(chan string)
			srv := reverse(t, gateway.Config{}, gateway.Forward{FlushInterval: interval}, gateway.UpstreamConfig{}, backend(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", tt.contentType)
				if tt.length != "" {
					w.Header().Set("Content-Length", tt.length)
				}
				_ = http.NewResponseController(w).Flush()
				for piece := range next {
					_, _ = io.WriteString(w, piece)
					_ = http.NewResponseController(w).Flush()
				}
			}))
			res := request(t, srv, "/")
			for _, piece := range []string{"one", "two"} {
				next <- piece
				b := make([]byte, 3)
				_, err := io.ReadFull(res.Body, b)
				require.NoError(t, err)
				require.Equal(t, piece, string(b), "%s, %v", tt.name, interval)
			}
			close(next)
			require.Empty(t, text(t, res))
		}
		srv := reverse(t, gateway.Config{}, gateway.Forward{FlushInterval: interval}, gateway.UpstreamConfig{}, backend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hi") }))
		require.Equal(t, "hi", text(t, request(t, srv, "/")), "declared length, %v", interval)
	}
}

// A client that leaves ends the request at the target.
func TestReverseProxyCancellation(t *testing.T) {
	t.Parallel()
	arrived, ended := make(chan struct{}), make(chan struct{})
	srv := reverse(t, gateway.Config{}, gateway.Forward{}, gateway.UpstreamConfig{}, backend(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(ended)
	}))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL, nil)
	require.NoError(t, err)
	res, err := srv.Client().Do(r)
	if err == nil {
		_ = res.Body.Close()
	}
	require.ErrorIs(t, err, context.Canceled)
	<-ended
}

// lessThanDeclared answers with half of what it declares.
func lessThanDeclared(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "84")
	_, _ = io.WriteString(w, "less than the length that the head declares")
}

// An answer that breaks off does not pass for a whole one: the handler panics with [http.ErrAbortHandler], and what
// ReverseProxy logs stands in the record of the try.
func TestReverseProxyShortAnswer(t *testing.T) {
	t.Parallel()
	u := upstream(t, gateway.UpstreamConfig{}, backend(t, lessThanDeclared))
	h, ch := watched(u)
	srv := front(t, h)
	_, _, err := exchange(t, srv.Client(), http.MethodGet, srv.URL)
	require.Error(t, err)
	was := <-ch
	requireFault(t, was, "truncated_response")
	require.ErrorIs(t, was.tries[0].Err, io.ErrUnexpectedEOF)
	require.Equal(t, 200, was.tries[0].Status)
	require.PanicsWithValue(t, http.ErrAbortHandler, func() { u.ServeHTTP(httptest.NewRecorder(), get("/")) })
}

// Nor does that harm the server where the client is still sending.
func TestReverseProxyShortAnswerDuringUploads(t *testing.T) {
	t.Parallel()
	u := upstream(t, gateway.UpstreamConfig{}, backend(t, lessThanDeclared))
	h, ch := watched(u)
	srv := front(t, h)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 10 {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, bytes.NewReader(make([]byte, 6<<20)))
				if err != nil {
					t.Error(err)
					return
				}
				r.Close = true // a connection each, so that each reaches the gateway
				res, err := srv.Client().Do(r)
				if err != nil {
					continue // the connection broke while it was written to
				}
				if _, err = io.Copy(io.Discard, res.Body); err == nil && res.StatusCode == http.StatusOK {
					t.Error("half an answer was taken for whole")
				}
				_ = res.Body.Close()
			}
		})
	}
	wg.Wait()
	for range 20 {
		require.Len(t, (<-ch).tries, 1)
	}
}

func TestReverseProxyUnannouncedTrailer(t *testing.T) {
	t.Parallel()
	srv := reverse(t, gateway.Config{}, gateway.Forward{}, gateway.UpstreamConfig{}, backend(t, func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).Flush()
		w.Header().Set(http.TrailerPrefix+"X-Late", "1")
	}))
	res := request(t, srv, "/")
	require.Empty(t, text(t, res))
	require.Equal(t, http.Header{"X-Late": {"1"}}, res.Trailer)
}

// Hints come before the answer, each with what it says itself.
func TestReverseProxyInformationalAnswers(t *testing.T) {
	t.Parallel()
	srv := reverse(t, gateway.Config{}, gateway.Forward{}, gateway.UpstreamConfig{}, backend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("Link", "</a.css>; rel=preload")
		w.Header().Add("Link", "</b.js>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Add("Link", "</c.js>; rel=preload")
		w.WriteHeader(http.StatusProcessing)
		_, _ = io.WriteString(w, "hello")
	}))
	var hints []string
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(status int, h textproto.MIMEHeader) error {
		hints = append(hints, fmt.Sprint(status, " ", len(h["Link"])))
		return nil
	}})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL, nil)
	require.NoError(t, err)
	res, err := srv.Client().Do(r)
	require.NoError(t, err)
	require.Equal(t, []string{"103 2", "102 3"}, hints)
	require.Len(t, res.Header["Link"], 3)
	require.Equal(t, "hello", text(t, res))
}

// endingAtHints is the writer of a client that leaves with the first hint.
type endingAtHints struct {
	h     http.Header
	leave func()
}

func (e *endingAtHints) Header() http.Header         { return e.h }
func (e *endingAtHints) Write(p []byte) (int, error) { return len(p), nil }
func (e *endingAtHints) WriteHeader(int)             { e.leave() }

// Nobody touches the client's header once the handler has returned, though hints may still be on their way: the race
// detector watches.
func TestReverseProxyNoHintAfterTheReturn(t *testing.T) {
	t.Parallel()
	pass := wrapped(func(next http.RoundTripper, r *http.Request) (*http.Response, error) { return next.RoundTrip(r) })
	for _, outbound := range [][]func(http.RoundTripper) http.RoundTripper{nil, pass} {
		u := upstream(t, gateway.UpstreamConfig{Outbound: outbound}, backend(t, func(w http.ResponseWriter, _ *http.Request) {
			for range 5 {
				w.Header().Set("Link", "</a>")
				w.WriteHeader(http.StatusEarlyHints)
			}
		}))
		for range 20 {
			ctx, cancel := context.WithCancel(t.Context())
			w := &endingAtHints{h: http.Header{}, leave: cancel}
			_, r := policy.Ensure(get("/").WithContext(ctx))
			func() {
				defer func() { _ = recover() }() // a client that left is answered with ErrAbortHandler
				u.ServeHTTP(w, r)
			}()
			for name := range w.Header() {
				require.NotEmpty(t, name)
			}
		}
	}
}

// A client that asked for an upgrade and leaves is a client that left: ReverseProxy passes that on through the tunnel.
func TestReverseProxyLeavingAfterUpgrade(t *testing.T) {
	t.Parallel()
	arrived, ended := make(chan struct{}), make(chan struct{})
	srv := reverse(t, gateway.Config{}, gateway.Forward{}, gateway.UpstreamConfig{}, scripted(t, func(_ *net.TCPConn, in *bufio.Reader) {
		readRequest(in)
		close(arrived)
		_, _ = io.Copy(io.Discard, in)
		close(ended)
	}))
	c, _ := dialFront(t, srv)
	_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: u\r\n\r\n")
	require.NoError(t, err)
	<-arrived
	require.NoError(t, c.Close())
	<-ended
}
