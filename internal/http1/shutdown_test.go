package http1_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/http1"
	"github.com/gatehouse-go/gateway/internal/rawtest"
)

func TestStates(t *testing.T) {
	t.Parallel()
	states := make(chan http.ConnState, 100)
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/over":
			c, _, _ := http.NewResponseController(w).Hijack()
			_ = c.Close()
		case "/panic":
			panic("x")
		}
	}, gate, func(hs *http.Server) { hs.ConnState = func(_ net.Conn, state http.ConnState) { states <- state } })
	expect := func(want ...http.ConnState) {
		t.Helper()
		for _, w := range want {
			require.Equal(t, w, <-states)
		}
	}
	ask := func(path string) *rawtest.Conn {
		c := rawtest.Dial(t, s.addr)
		expect(http.StateNew)
		c.Send("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n")
		expect(http.StateActive)
		return c
	}
	c := ask("/")
	expect(http.StateIdle)
	c.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	expect(http.StateActive, http.StateIdle)
	c.Close()
	expect(http.StateClosed)
	ask("/over")
	expect(http.StateHijacked)
	ask("/panic")
	expect(http.StateClosed)
	c = rawtest.Dial(t, s.addr)
	c.Close()
	expect(http.StateNew, http.StateClosed)
	require.Contains(t, s.log.String(), "http: panic serving 127.0.0.1:")
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	eachListener(t, func(t on) {
		entered, leave := make(chan struct{}, 9), make(chan struct{})
		s := start(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/wait" {
				entered <- struct{}{}
				<-leave
			}
			say(w, "x")
		}, t.behind, nil)
		idle, busy, half, fresh := rawtest.Dial(t, s.addr), rawtest.Dial(t, s.addr), rawtest.Dial(t, s.addr), rawtest.Dial(t, s.addr)
		idle.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		require.Equal(t, answered("x"), idle.ReadAnswer("GET").Text())
		busy.Send("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
		<-entered
		half.Send("GET / HTTP/1.1\r\n")
		fresh.Send("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
		<-entered
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(t.Context()) }()
		idle.ExpectEnd()
		require.Empty(t, done)
		half.Send("Host: h\r\n\r\n")
		last := strings.Replace(answered("x"), "\n", "\nConnection: close\n", 1)
		require.Equal(t, last, half.ReadAnswer("GET").Text())
		half.ExpectEnd()
		close(leave)
		require.Equal(t, last, busy.ReadAnswer("GET").Text())
		require.Equal(t, last, fresh.ReadAnswer("GET").Text())
		require.NoError(t, <-done)
		require.ErrorIs(t, s.Serve(s.l), http.ErrServerClosed)
		_, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.addr)
		require.Error(t, err)
	})
}

func TestClose(t *testing.T) {
	t.Parallel()
	left := make(chan struct{})
	entered := make(chan struct{})
	s := start(t, func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(left)
	}, gate, nil)
	c := rawtest.Dial(t, s.addr)
	c.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.Shutdown(ctx), context.DeadlineExceeded)
	require.NoError(t, s.Close())
	c.ExpectEnd()
	<-left
	require.NoError(t, s.Shutdown(t.Context()))
}

func TestShutdownOfTheOther(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	hs := &http.Server{ReadHeaderTimeout: time.Second}
	ended := make(chan error, 1)
	served := make(chan struct{})
	hs.BaseContext = func(net.Listener) context.Context {
		select {
		case served <- struct{}{}:
		default:
		}
		return context.Background()
	}
	go func() { ended <- http1.New(hs).Serve(l) }()
	<-served
	require.Eventually(t, func() bool { return hs.Shutdown(t.Context()) == nil && len(ended) == 1 }, rawtest.Patience, time.Millisecond)
	require.ErrorIs(t, <-ended, http.ErrServerClosed)
}
