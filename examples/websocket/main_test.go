package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// started runs the program until the test ends or stop is called, and returns where it serves.
func started(t *testing.T) (addr string, stop func()) {
	t.Helper()
	out, in := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, "127.0.0.1:0", in, io.Discard)
		_ = in.CloseWithError(err)
		ended <- err
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	t.Cleanup(cancel)
	addr, _, ok := strings.Cut(strings.TrimPrefix(line, "listening on http://"), "/")
	require.True(t, ok, line)
	return addr, func() {
		cancel()
		require.NoError(t, <-ended, "it drains and ends")
	}
}

type member struct {
	*testing.T

	ctx  context.Context
	conn *websocket.Conn
}

func enter(t *testing.T, addr, key, origin string) (member, *http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	conn, res, err := websocket.Dial(ctx, "ws://"+addr+"/chat?apikey="+key, &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {origin}}})
	if err == nil {
		t.Cleanup(func() { _ = conn.CloseNow() })
	}
	return member{t, ctx, conn}, res, err
}

func (m member) say(text string) {
	m.Helper()
	require.NoError(m, m.conn.Write(m.ctx, websocket.MessageText, []byte(text)))
}

func (m member) hears(want string) {
	m.Helper()
	_, text, err := m.conn.Read(m.ctx)
	require.NoError(m, err)
	require.Equal(m, want, string(text))
}

func TestChat(t *testing.T) {
	t.Parallel()
	addr, stop := started(t)
	for _, tt := range []struct {
		key, origin string
		status      int
	}{{"", "http://" + addr, http.StatusUnauthorized}, {"ann-key", "https://evil.test", http.StatusForbidden}} {
		_, res, err := enter(t, addr, tt.key, tt.origin)
		require.Error(t, err)
		require.Equal(t, tt.status, res.StatusCode)
	}

	ann, _, err := enter(t, addr, "ann-key", "http://"+addr)
	require.NoError(t, err)
	ann.hears("ann is here")
	bob, _, err := enter(t, addr, "bob-key", "http://"+addr)
	require.NoError(t, err)
	ann.hears("bob is here")
	bob.hears("bob is here")
	bob.say("hello")
	ann.hears("bob: hello")
	bob.hears("bob: hello")
	require.NoError(t, bob.conn.Close(websocket.StatusNormalClosure, ""))
	ann.hears("bob has left")

	ended := make(chan error, 1)
	go func() {
		_, _, err := ann.conn.Read(ann.ctx)
		ended <- err
	}()
	stop()
	require.Equal(t, websocket.StatusGoingAway, websocket.CloseStatus(<-ended))
}

func TestPage(t *testing.T) {
	t.Parallel()
	addr, stop := started(t)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/?apikey=ann-key", nil)
	require.NoError(t, err)
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	require.NoError(t, err)
	shown, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Contains(t, string(shown), "new WebSocket")
	stop()
}
